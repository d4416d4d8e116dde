//! What this node asks of envelopes: work, topics, size and lifetime (docs/whisper.md "States").
//!
//! A change takes its time to reach the peers, so for a while the old value is good enough, too.
//! What a peer asks of us is in `peer`.

use std::time::{Duration, Instant};

use super::{bloom::Bloom, topic::Topic, work::Work};

/// What this node asks for, now and a moment ago.
#[derive(Clone, Debug)]
pub struct Requirements {
    min_work: Work,
    bloom: Bloom,
    max_size: usize,
    max_ttl: u32,
    tolerated: Option<Tolerated>,
}

/// What was asked for a moment ago.
#[derive(Clone, Debug)]
struct Tolerated {
    min_work: Work,
    bloom: Bloom,
    until: Instant,
}

impl Requirements {
    /// Asks for this much work, and for everything else as by default.
    pub const fn new(min_work: Work) -> Self {
        Self {
            min_work,
            bloom: Bloom::FULL,
            max_size: DEFAULT_MAX_SIZE,
            max_ttl: DEFAULT_MAX_TTL,
            tolerated: None,
        }
    }

    /// Asks for envelopes of at most `bytes`, and of at most `seconds` of life.
    #[must_use]
    pub const fn with_limits(mut self, bytes: usize, seconds: u32) -> Self {
        self.max_size = bytes;
        self.max_ttl = seconds;
        self
    }

    /// The work that peers must be told to ask of their envelopes.
    pub const fn min_work(&self) -> Work {
        self.min_work
    }

    /// The Bloom filter that peers must be told.
    pub const fn bloom(&self) -> &Bloom {
        &self.bloom
    }

    /// Largest envelope, in bytes.
    pub const fn max_size(&self) -> usize {
        self.max_size
    }

    /// Largest packet, in bytes: half again as much as an envelope, as peers send several in one.
    pub const fn max_packet(&self) -> usize {
        self.max_size.saturating_mul(3) / 2
    }

    /// Longest life of an envelope, in seconds.
    pub const fn max_ttl(&self) -> u32 {
        self.max_ttl
    }

    /// Takes envelopes of at most this many bytes from now on, within [`MAX_SIZE_LIMIT`].
    pub fn set_max_size(&mut self, bytes: usize) {
        self.max_size = bytes.min(MAX_SIZE_LIMIT);
    }

    /// Asks for this much work from now on.
    pub fn set_min_work(&mut self, now: Instant, work: Work) {
        self.tolerate_present(now);
        self.min_work = work;
    }

    /// Asks for these topics from now on.
    pub fn set_bloom(&mut self, now: Instant, bloom: Bloom) {
        self.tolerate_present(now);
        self.bloom = bloom;
    }

    /// Whether this much work suffices.
    pub fn accepts_work(&self, now: Instant, work: Work) -> bool {
        work >= self.min_work || self.tolerated(now).is_some_and(|old| work >= old.min_work)
    }

    /// Whether this topic was asked for.
    pub fn accepts_topic(&self, now: Instant, topic: Topic) -> bool {
        self.bloom.wants(topic) || self.tolerated(now).is_some_and(|old| old.bloom.wants(topic))
    }

    fn tolerated(&self, now: Instant) -> Option<&Tolerated> {
        self.tolerated.as_ref().filter(|old| now < old.until)
    }

    /// Keeps what holds now good enough for a while, together with what still is from before.
    fn tolerate_present(&mut self, now: Instant) {
        let (mut min_work, mut bloom) = (self.min_work, self.bloom);
        if let Some(old) = self.tolerated(now) {
            min_work = min_work.min(old.min_work);
            bloom = bloom.union(&old.bloom);
        }
        self.tolerated = Some(Tolerated { min_work, bloom, until: now + TOLERANCE });
    }
}

/// How long a peer may go on as if it had not heard of a change (geth `DefaultSyncAllowance`).
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// Largest envelope unless told otherwise, in bytes (geth `DefaultMaxMessageSize`).
pub const DEFAULT_MAX_SIZE: usize = 1024 * 1024;

/// Largest envelope that anyone may ask for, in bytes (geth `MaxMessageSize`).
pub const MAX_SIZE_LIMIT: usize = 10 * 1024 * 1024;

/// Longest life unless told otherwise, in seconds. The reference has no limit but the work;
/// two days are as long as any user of the network needed.
pub const DEFAULT_MAX_TTL: u32 = 2 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Topic = Topic([1, 2, 3, 4]);

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        Instant::now()
    }

    #[test]
    fn more_work_is_asked_for_only_after_a_while() {
        let (now, low, high) = (start(), Work::new(0.2).unwrap(), Work::new(5.0).unwrap());
        let mut requirements = Requirements::new(low);
        requirements.set_min_work(now, high);
        assert_eq!(requirements.min_work(), high);
        assert!(requirements.accepts_work(now + Duration::from_secs(9), low));
        assert!(!requirements.accepts_work(now + TOLERANCE, low));
        assert!(requirements.accepts_work(now + TOLERANCE, high));
    }

    #[test]
    fn a_narrower_filter_is_enforced_only_after_a_while() {
        let now = start();
        let mut requirements = Requirements::new(Work::NONE);
        requirements.set_bloom(now, Bloom::EMPTY);
        assert!(requirements.accepts_topic(now, TOPIC));
        assert!(!requirements.accepts_topic(now + TOLERANCE, TOPIC));
    }

    #[test]
    fn two_changes_in_a_row_tolerate_the_older_value_too() {
        let (now, low, high) = (start(), Work::new(0.2).unwrap(), Work::new(5.0).unwrap());
        let mut requirements = Requirements::new(low);
        requirements.set_min_work(now, high);
        requirements.set_bloom(now + Duration::from_secs(5), Bloom::EMPTY);
        assert!(requirements.accepts_work(now + Duration::from_secs(9), low));
        assert!(requirements.accepts_topic(now + Duration::from_secs(14), TOPIC));
    }
}
