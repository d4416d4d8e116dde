//! Token buckets: how much a peer, or an address, may send.
//!
//! What exceeds the rate is dropped; who does not stop is cut. Nothing is ever delayed here.

use std::time::Instant;

/// How much of something may come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// What may come in a second, for ever.
    pub per_second: f64,
    /// What may come at once, after a time of silence.
    pub burst: f64,
}

/// What of a rate has been used up.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// What may still come now. Negative once more has come than may.
    left: f64,
    filled: Instant,
}

/// What to do with something that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// Take it.
    Within,
    /// Drop it.
    Over,
    /// Drop it, and cut the sender: it went on for another burst.
    Flood,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn new(now: Instant, rate: Rate) -> Self {
        Self { rate, left: rate.burst, filled: now }
    }

    /// Whether it would matter to begin anew with a full bucket.
    pub(super) fn owes(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left + passed * self.rate.per_second < self.rate.burst
    }

    /// Uses up `amount`.
    pub(super) fn take(&mut self, now: Instant, amount: f64) -> Admission {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.left = (self.left + passed * self.rate.per_second).min(self.rate.burst) - amount;
        if self.left >= 0.0 {
            Admission::Within
        } else if self.left >= -self.rate.burst {
            Admission::Over
        } else {
            Admission::Flood
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_taken_then_the_rate_then_nothing() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let mut bucket = Bucket::new(now, Rate { per_second: 2.0, burst: 10.0 });
        assert_eq!(bucket.take(now, 10.0), Admission::Within);
        assert_eq!(bucket.take(now, 1.0), Admission::Over);
        let later = now + Duration::from_secs(2);
        assert_eq!(bucket.take(later, 3.0), Admission::Within);
        assert_eq!(bucket.take(later, 10.0), Admission::Over);
        assert_eq!(bucket.take(later, 1.0), Admission::Flood);
        let long_after = now + Duration::from_secs(1000);
        assert_eq!(bucket.take(long_after, 11.0), Admission::Over);
    }
}
