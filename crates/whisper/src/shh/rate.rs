//! Token buckets: limits for what peers and addresses send, and for what we send to peers.
//!
//! Envelopes beyond the limit are dropped; the caller delays reading bytes beyond the limit. Peers are not
//! disconnected for it, because they may only forward what others sent.

use std::time::Duration;

use wormhole_kit::Instant;

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Sustained rate per second.
    pub per_second: f64,
    /// Maximum at once after a pause.
    pub burst: f64,
}

impl Rate {
    /// The rate at which to send to a peer with this limit: slightly lower, because clocks differ and buffers
    /// release data in bursts.
    pub(super) fn to_send(self) -> Self {
        let Self { per_second, burst } = self;
        Self { per_second: per_second * SENT_SHARE, burst: (burst * SENT_SHARE).max(1.0) }
    }
}

/// A token bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Available tokens. Negative after a charge beyond the limit.
    left: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub const fn new(now: Instant, rate: Rate) -> Self {
        Self { rate, left: rate.burst, filled: now }
    }

    /// Takes `amount` tokens if available. Returns whether they were.
    pub(super) fn take(&mut self, now: Instant, amount: f64) -> bool {
        self.fill(now);
        let enough = self.left >= amount;
        if enough {
            self.left -= amount;
        }
        enough
    }

    /// Takes `amount` tokens, even if the balance becomes negative.
    pub fn charge(&mut self, now: Instant, amount: f64) {
        self.fill(now);
        self.left -= amount;
    }

    /// When the balance is no longer negative; `None` if it is not negative.
    pub fn settled(&self) -> Option<Instant> {
        if self.left >= 0.0 {
            return None;
        }
        let wait = Duration::try_from_secs_f64(-self.left / self.rate.per_second);
        self.filled.checked_add(wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    }

    /// Number of whole tokens available.
    #[expect(
        clippy::as_conversions,
        reason = "a float becomes the nearest integer that fits: zero if it is negative"
    )]
    pub(super) fn whole(&mut self, now: Instant) -> usize {
        self.fill(now);
        self.left as usize
    }

    /// Whether the bucket is not full, so that it must not be replaced by a new one.
    pub fn is_charged(&self, now: Instant) -> bool {
        self.left_at(now) < self.rate.burst
    }

    fn fill(&mut self, now: Instant) {
        self.left = self.left_at(now);
        self.filled = self.filled.max(now);
    }

    fn left_at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        (self.left + passed * self.rate.per_second).min(self.rate.burst)
    }
}

/// Share of our own limit that we send to peers.
const SENT_SHARE: f64 = 0.9;

/// Maximum time until a negative balance is settled, even at a low rate.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        Instant::now()
    }

    #[test]
    fn a_burst_is_taken_then_the_rate_and_what_is_refused_costs_nothing() {
        let now = start();
        let mut bucket = Bucket::new(now, Rate { per_second: 2.0, burst: 10.0 });
        assert!(bucket.take(now, 10.0));
        for _ in 0..1000 {
            assert!(!bucket.take(now, 1.0));
        }
        let later = now + Duration::from_secs(2);
        assert_eq!(bucket.whole(later), 4);
        assert!(bucket.take(later, 4.0) && !bucket.take(later, 1.0));
        let long_after = now + Duration::from_secs(1000);
        assert!(!bucket.take(long_after, 11.0) && bucket.take(long_after, 10.0));
    }

    #[test]
    fn a_negative_balance_is_settled_by_waiting() {
        let now = start();
        let mut bucket = Bucket::new(now, Rate { per_second: 2.0, burst: 10.0 });
        bucket.charge(now, 10.0);
        assert_eq!(bucket.settled(), None);
        bucket.charge(now, 6.0);
        assert_eq!((bucket.whole(now), bucket.settled()), (0, Some(now + Duration::from_secs(3))));
        bucket.charge(now + Duration::from_secs(3), 0.0);
        assert_eq!(bucket.settled(), None);
        let mut never = Bucket::new(now, Rate { per_second: 0.0, burst: 0.0 });
        never.charge(now, 1.0);
        assert_eq!(never.settled(), Some(now + LONGEST_WAIT));
    }

    #[test]
    fn we_send_less_than_we_take_but_something() {
        let rate = Rate { per_second: 2_000.0, burst: 100.0 };
        assert_eq!(rate.to_send(), Rate { per_second: 1_800.0, burst: 90.0 });
        assert_eq!(Rate { per_second: 1.0, burst: 1.0 }.to_send().burst, 1.0);
    }
}
