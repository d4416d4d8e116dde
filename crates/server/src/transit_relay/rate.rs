//! Limits the bytes per second of one pair.
//!
//! Time is an argument; the pump does the waiting.

use std::time::{Duration, Instant};

/// Computes how long to pause after each piece of data.
///
/// The pause comes after the bytes: each piece that was too early is followed by one. Up to
/// [`CREDIT`] of unused time is carried over, so that short bursts pass undelayed.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: u64,
    /// When the bytes carried so far are within the limit.
    paid: Instant,
}

impl RateLimit {
    /// A limit that begins at `now`. Zero bytes per second count as one.
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid: now }
    }

    /// Counts bytes that were carried. Returns until when to pause.
    pub(super) fn carried(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        self.paid = self.paid.max(earliest).checked_add(price).unwrap_or(self.paid);
        (self.paid > now).then_some(self.paid)
    }
}

/// Unused time that is carried over.
const CREDIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_gets_its_bytes_per_second_and_no_more() {
        let start = Instant::now();
        let (mut now, mut rate, mut carried) = (start, RateLimit::new(1_000_000, start), 0);
        while now < start + Duration::from_secs(10) {
            carried += 65_536;
            now = rate.carried(65_536, now).unwrap_or(now);
        }
        assert!((9_900_000..=10_200_000).contains(&carried), "{carried}");
    }

    #[test]
    fn a_short_burst_after_a_rest_is_not_delayed() {
        let start = Instant::now();
        let mut rate = RateLimit::new(1_000_000, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.carried(100_000, later), None);
        assert_eq!(rate.carried(50_000, later), Some(later + Duration::from_millis(50)));
    }
}
