//! The metrics of the relay, and the numbers of the `current` row of the usage database.
//!
//! All tasks share them. [`super::usage`] records pairs that have ended.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use wormhole_magic::relay::{Mood, Usage};

use crate::metrics::Reading;

/// The metrics of one relay.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pairs: Gauge,
    forwarded: Counter,
    /// Forwarded bytes of the pairs that have ended.
    bytes_of_ended: AtomicU64,
    pub(super) refused: Counter,
    ended: Family<MoodLabel, Counter>,
}

/// The label of the number of pairs and links that have ended in one mood.
type MoodLabel = [(&'static str, &'static str); 1];

const fn label(mood: Mood) -> MoodLabel {
    [("mood", mood.as_str())]
}

/// The `current` row, apart from its times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Statistics {
    /// Links in pairs.
    pub(super) connected: u64,
    /// Links that wait for a partner.
    pub(super) waiting: u64,
    /// Forwarded bytes of the pairs that have not ended.
    pub(super) incomplete_bytes: u64,
}

impl Counters {
    /// Two links became a pair.
    pub(super) fn paired(&self) {
        self.pairs.inc();
    }

    /// One link of a pair received bytes from the other.
    pub(super) fn forwarded(&self, bytes: u64) {
        self.forwarded.inc_by(bytes);
    }

    /// A pair or a single link has ended.
    pub(super) fn ended(&self, usage: &Usage) {
        if usage.mood == Mood::Happy {
            self.pairs.dec();
        }
        self.bytes_of_ended.fetch_add(usage.bytes, Ordering::Relaxed);
        self.ended.get_or_create(&label(usage.mood)).inc();
    }

    /// A link was refused because of a limit.
    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    /// The current numbers, with this many `waiting` links that have no partner.
    pub(super) fn statistics(&self, waiting: usize) -> Statistics {
        let pairs = u64::try_from(self.pairs.get()).unwrap_or(0);
        Statistics {
            connected: pairs.saturating_mul(2),
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
            incomplete_bytes: self
                .forwarded
                .get()
                .saturating_sub(self.bytes_of_ended.load(Ordering::Relaxed)),
        }
    }

    /// Registers the metrics. `waiting` returns the number of links without a partner.
    pub(super) fn register(
        &self,
        registry: &mut Registry,
        waiting: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        let waiting = move || u64::try_from(waiting()).unwrap_or(u64::MAX);
        registry.register("pairs", "Open pairs", self.pairs.clone());
        registry.register(
            "waiting_links",
            "Connections that wait for a partner",
            Reading::gauge(waiting),
        );
        registry.register("bytes", "Bytes relayed", self.forwarded.clone());
        registry.register(
            "refused",
            "Connections refused because of a limit",
            self.refused.clone(),
        );
        for mood in Mood::ALL {
            // The metrics page then shows every mood from the start.
            drop(self.ended.get_or_create(&label(mood)));
        }
        registry.register(
            "ended",
            "Pairs and single connections that have ended",
            self.ended.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn bytes_of_open_pairs_are_incomplete_until_they_end() {
        let counters = Counters::default();
        counters.paired();
        counters.paired();
        counters.forwarded(100);
        counters.forwarded(10);
        let statistics = Statistics { connected: 4, waiting: 3, incomplete_bytes: 110 };
        assert_eq!(counters.statistics(3), statistics);
        let (total, waiting) = (Duration::from_secs(1), Some(Duration::ZERO));
        counters.ended(&Usage { total, waiting, bytes: 100, mood: Mood::Happy });
        let statistics = Statistics { connected: 2, waiting: 0, incomplete_bytes: 10 };
        assert_eq!(counters.statistics(0), statistics);
    }

    #[test]
    fn the_metrics_page_shows_every_mood() {
        let (counters, metrics) = (Counters::default(), Metrics::default());
        metrics.register("relay", |registry| counters.register(registry, || 7));
        let usage = Usage { total: Duration::ZERO, waiting: None, bytes: 0, mood: Mood::Impatient };
        counters.ended(&usage);
        counters.refused();
        let page = metrics.render();
        for line in [
            "wormhole_relay_waiting_links 7",
            "wormhole_relay_refused_total 1",
            "wormhole_relay_ended_total{mood=\"impatient\"} 1",
            "wormhole_relay_ended_total{mood=\"redundant\"} 0",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}: {page}");
        }
        assert_eq!(page.matches("ended_total{").count(), Mood::ALL.len());
    }
}
