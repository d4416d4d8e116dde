//! Token buckets: how much may come from a peer or an address, and how fast a peer is told.
//!
//! What comes beyond a rate is dropped here, or is read later by whoever drives the node. Nobody is
//! parted with for it: who passes much on may only have been told much.

use std::time::Duration;

use wormhole_kit::Instant;

/// How much of something may come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// What may come in a second, for ever.
    pub per_second: f64,
    /// What may come at once, after a time of silence.
    pub burst: f64,
}

impl Rate {
    /// At which to send to those who take this much: clocks, and what waits on the way, must not
    /// make it too much.
    pub(super) fn to_send(self) -> Self {
        let Self { per_second, burst } = self;
        Self { per_second: per_second * SENT_SHARE, burst: (burst * SENT_SHARE).max(1.0) }
    }
}

/// What of a rate has been used up.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// What may still come now. Negative once more was charged than there was.
    left: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub const fn new(now: Instant, rate: Rate) -> Self {
        Self { rate, left: rate.burst, filled: now }
    }

    /// Uses up `amount` if there is as much. Returns whether there was.
    pub(super) fn take(&mut self, now: Instant, amount: f64) -> bool {
        self.fill(now);
        let enough = self.left >= amount;
        if enough {
            self.left -= amount;
        }
        enough
    }

    /// Uses up `amount`, which has come already, and owes what is missing.
    pub fn charge(&mut self, now: Instant, amount: f64) {
        self.fill(now);
        self.left -= amount;
    }

    /// When nothing is owed any more; `None` if nothing is.
    pub fn settled(&self) -> Option<Instant> {
        if self.left >= 0.0 {
            return None;
        }
        let wait = Duration::try_from_secs_f64(-self.left / self.rate.per_second);
        self.filled.checked_add(wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    }

    /// How many whole ones there are.
    #[expect(
        clippy::as_conversions,
        reason = "a float becomes the nearest integer that fits: none if it is negative"
    )]
    pub(super) fn whole(&mut self, now: Instant) -> usize {
        self.fill(now);
        self.left as usize
    }

    /// Whether it would matter to begin anew with a full bucket.
    pub fn owes(&self, now: Instant) -> bool {
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

/// Of what we take ourselves, the share that we send to others.
const SENT_SHARE: f64 = 0.9;

/// Longest time until a debt is settled, however low the rate.
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
    fn what_is_charged_beyond_the_burst_is_settled_by_waiting() {
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
