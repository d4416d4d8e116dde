//! What the relay counts while it runs, for `/metrics` and the `current` row.
//!
//! Numbers only, shared by all tasks; ended pairs are recorded in [`super::usage`].

use std::sync::atomic::{AtomicU64, Ordering};

use wormhole_magic::relay::{Mood, Usage};

/// The counters of one relay.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pairs: AtomicU64,
    carried: AtomicU64,
    /// Bytes of pairs that have ended.
    settled: AtomicU64,
    refused: AtomicU64,
    /// In the order of [`Mood::ALL`].
    ended: [AtomicU64; Mood::ALL.len()],
}

/// The `current` row, apart from its times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Statistics {
    /// Links in pairs.
    pub(super) connected: u64,
    /// Links that wait for a partner.
    pub(super) waiting: u64,
    /// Bytes carried by pairs that have not ended.
    pub(super) incomplete_bytes: u64,
}

impl Counters {
    /// A pair has come together.
    pub(super) fn paired(&self) {
        self.pairs.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes went from one link of a pair to the other.
    pub(super) fn carried(&self, bytes: u64) {
        self.carried.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A pair or a single link is over.
    pub(super) fn ended(&self, usage: &Usage) {
        if usage.mood == Mood::Happy {
            self.pairs.fetch_sub(1, Ordering::Relaxed);
        }
        self.settled.fetch_add(usage.bytes, Ordering::Relaxed);
        let counts = Mood::ALL.iter().zip(&self.ended);
        for (_, count) in counts.filter(|(mood, _)| **mood == usage.mood) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A link was turned away by its number.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The state of things, with `waiting` links that have no partner.
    pub(super) fn statistics(&self, waiting: usize) -> Statistics {
        let carried = self.carried.load(Ordering::Relaxed);
        Statistics {
            connected: self.pairs.load(Ordering::Relaxed).saturating_mul(2),
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
            incomplete_bytes: carried.saturating_sub(self.settled.load(Ordering::Relaxed)),
        }
    }

    /// Appends the metrics to the page.
    pub(super) fn write(&self, page: &mut String, waiting: usize) {
        let now = self.statistics(waiting);
        for (name, kind, help, value) in [
            ("pairs", "gauge", "Pairs that are open.", now.connected / 2),
            ("waiting_links", "gauge", "Links that wait for a partner.", now.waiting),
            ("bytes_total", "counter", "Bytes carried.", self.carried.load(Ordering::Relaxed)),
            (
                "refused_total",
                "counter",
                "Links over a limit.",
                self.refused.load(Ordering::Relaxed),
            ),
        ] {
            crate::metrics::write(page, &format!("transit_relay_{name}"), kind, help, value);
        }
        let ended = Mood::ALL.iter().zip(&self.ended);
        crate::metrics::write_labelled(
            page,
            "transit_relay_ended_total",
            "counter",
            "Pairs and single links that have ended.",
            "mood",
            ended.map(|(mood, count)| (mood.to_string(), count.load(Ordering::Relaxed))),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bytes_of_open_pairs_are_incomplete_until_they_end() {
        let counters = Counters::default();
        counters.paired();
        counters.paired();
        counters.carried(100);
        counters.carried(10);
        let statistics = Statistics { connected: 4, waiting: 3, incomplete_bytes: 110 };
        assert_eq!(counters.statistics(3), statistics);
        let (total, waiting) = (Duration::from_secs(1), Some(Duration::ZERO));
        counters.ended(&Usage { total, waiting, bytes: 100, mood: Mood::Happy });
        let statistics = Statistics { connected: 2, waiting: 0, incomplete_bytes: 10 };
        assert_eq!(counters.statistics(0), statistics);
    }

    #[test]
    fn the_page_names_every_mood() {
        let counters = Counters::default();
        let usage = Usage { total: Duration::ZERO, waiting: None, bytes: 0, mood: Mood::Impatient };
        counters.ended(&usage);
        counters.refused();
        let mut page = String::new();
        counters.write(&mut page, 7);
        assert!(page.contains("\nwormhole_transit_relay_waiting_links 7\n"), "{page}");
        assert!(page.contains("\nwormhole_transit_relay_refused_total 1\n"), "{page}");
        assert!(
            page.contains("\nwormhole_transit_relay_ended_total{mood=\"impatient\"} 1\n"),
            "{page}"
        );
        assert!(
            page.ends_with("wormhole_transit_relay_ended_total{mood=\"redundant\"} 0\n"),
            "{page}"
        );
    }
}
