//! Limits the bytes per second of one pair.
//!
//! Time is an argument; the pump does the waiting.

use std::time::{Duration, Instant};

/// Computes how long to pause after each piece of data.
///
/// The pause comes after the data: if a piece was forwarded too early, the caller pauses after it. Up to [`CREDIT`] of
/// unused time is saved, so that short bursts are not delayed.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: u64,
    /// The time at which all bytes forwarded so far are within the limit.
    within_limit_at: Instant,
}

impl RateLimit {
    /// A limit that begins at `now`. Zero bytes per second count as one.
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), within_limit_at: now }
    }

    /// Counts forwarded bytes. Returns the time until which the caller must pause; `None` if it need not.
    pub(super) fn forwarded(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let duration = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        self.within_limit_at = self
            .within_limit_at
            .max(earliest)
            .checked_add(duration)
            .unwrap_or(self.within_limit_at);
        (self.within_limit_at > now).then_some(self.within_limit_at)
    }
}

/// Maximum unused time that is saved.
const CREDIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_can_use_its_rate_but_not_exceed_it() {
        let start = Instant::now();
        let (mut now, mut rate, mut forwarded) = (start, RateLimit::new(1_000_000, start), 0);
        while now < start + Duration::from_secs(10) {
            forwarded += 65_536;
            now = rate.forwarded(65_536, now).unwrap_or(now);
        }
        assert!((9_900_000..=10_200_000).contains(&forwarded), "{forwarded}");
    }

    #[test]
    fn a_short_burst_after_a_pause_is_not_delayed() {
        let start = Instant::now();
        let mut rate = RateLimit::new(1_000_000, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.forwarded(100_000, later), None);
        assert_eq!(rate.forwarded(50_000, later), Some(later + Duration::from_millis(50)));
    }
}
