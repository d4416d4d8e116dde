//! What this node asks of envelopes: work, topics, size and lifetime (docs/whisper-protocol.md "States").
//!
//! A change takes its time to reach the peers, so for a while the old value is good enough, too.
//! What a peer asks of us is in `peer`.

use std::time::Duration;

use wormhole_kit::Instant;

use super::{bloom::Bloom, topic::Topic, work::Work};

/// What this node asks for, now and a moment ago.
#[derive(Clone, Debug)]
pub struct Requirements {
    min_work: Work,
    bloom: Bloom,
    max_size: usize,
    max_ttl: u32,
    /// What was asked for a moment ago, and is good enough still.
    tolerated: Option<Past>,
    /// What was asked for lately, and is nobody's fault.
    forgiven: Option<Past>,
}

/// The least that was asked for in some time.
#[derive(Clone, Debug)]
struct Past {
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
            forgiven: None,
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
        self.remember_present(now);
        self.min_work = work;
    }

    /// Asks for these topics from now on.
    pub fn set_bloom(&mut self, now: Instant, bloom: Bloom) {
        self.remember_present(now);
        self.bloom = bloom;
    }

    /// Whether this much work suffices.
    pub fn accepts_work(&self, now: Instant, work: Work) -> bool {
        work >= self.min_work || at(now, &self.tolerated).is_some_and(|old| work >= old.min_work)
    }

    /// Whether this much work sufficed lately: a slow link may have held it up.
    pub fn forgives_work(&self, now: Instant, work: Work) -> bool {
        at(now, &self.forgiven).is_some_and(|old| work >= old.min_work)
    }

    /// Whether this topic was asked for.
    pub fn accepts_topic(&self, now: Instant, topic: Topic) -> bool {
        self.bloom.wants(topic)
            || at(now, &self.tolerated).is_some_and(|old| old.bloom.wants(topic))
    }

    /// Whether this topic was asked for lately: a slow link may have held it up.
    pub fn forgives_topic(&self, now: Instant, topic: Topic) -> bool {
        at(now, &self.forgiven).is_some_and(|old| old.bloom.wants(topic))
    }

    /// Keeps what holds now good enough for a while, and free of blame for a longer one, together
    /// with what still is from before.
    fn remember_present(&mut self, now: Instant) {
        for (past, time) in [(&mut self.tolerated, TOLERANCE), (&mut self.forgiven, FORGIVENESS)] {
            let (mut min_work, mut bloom) = (self.min_work, self.bloom);
            if let Some(old) = at(now, past) {
                min_work = min_work.min(old.min_work);
                bloom = bloom.union(&old.bloom);
            }
            *past = Some(Past { min_work, bloom, until: now + time });
        }
    }
}

/// What was asked for before, while that still matters.
fn at(now: Instant, past: &Option<Past>) -> Option<&Past> {
    past.as_ref().filter(|old| now < old.until)
}

/// How long a peer may go on as if it had not heard of a change (geth `DefaultSyncAllowance`).
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// How long nobody is blamed for what was right before a change. Ours: the reference cuts a peer
/// whose link takes longer than [`TOLERANCE`] for what was on its way.
pub const FORGIVENESS: Duration = Duration::from_secs(70);

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
    fn what_was_right_lately_is_forgiven_a_while_longer() {
        let (now, low, high) = (start(), Work::new(0.2).unwrap(), Work::new(5.0).unwrap());
        let mut requirements = Requirements::new(low);
        requirements.set_min_work(now, high);
        requirements.set_bloom(now + TOLERANCE, Bloom::EMPTY);
        let later = now + TOLERANCE + FORGIVENESS - Duration::from_secs(1);
        assert!(
            requirements.forgives_work(later, low) && requirements.forgives_topic(later, TOPIC)
        );
        assert!(!requirements.forgives_work(later, Work::new(0.1).unwrap()));
        let too_late = later + Duration::from_secs(1);
        assert!(!requirements.forgives_work(too_late, low));
        assert!(!requirements.forgives_topic(too_late, TOPIC));
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
