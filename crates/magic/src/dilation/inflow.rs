//! How much data the peer was sending when it was last heard.

use std::time::Duration;

use wormhole_kit::Instant;

/// Counts the data of the last one to two seconds.
#[derive(Debug)]
pub(super) struct Inflow {
    start: Instant,
    current: usize,
    previous: usize,
}

impl Inflow {
    pub(super) const fn new(now: Instant) -> Self {
        Self { start: now, current: 0, previous: 0 }
    }

    /// Data of this length arrived.
    pub(super) fn add(&mut self, now: Instant, length: usize) {
        if now >= self.start + PERIOD {
            let is_next = now < self.start + 2 * PERIOD;
            self.previous = if is_next { self.current } else { 0 };
            (self.start, self.current) = (now, 0);
        }
        self.current = self.current.saturating_add(length);
    }

    /// Whether much data arrived until this moment.
    pub(super) fn was_much(&self, heard: Instant) -> bool {
        heard < self.start + 2 * PERIOD && self.current.saturating_add(self.previous) >= MUCH
    }
}

/// Time in which data is added up.
const PERIOD: Duration = Duration::from_secs(1);

/// Data in bytes that a system accepts from an application without a delay.
const MUCH: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the start of the time in this test")]
    fn only_the_data_of_the_last_seconds_counts() {
        let start = Instant::now();
        let mut inflow = Inflow::new(start);
        inflow.add(start, MUCH - 1);
        assert!(!inflow.was_much(start));
        inflow.add(start + PERIOD, 1);
        assert!(inflow.was_much(start + PERIOD));
        assert!(!inflow.was_much(start + 3 * PERIOD));
        inflow.add(start + 4 * PERIOD, 1);
        assert!(!inflow.was_much(start + 4 * PERIOD));
    }
}
