//! The requirements of this node for envelopes: work, topics, size and lifetime (docs/whisper-protocol.md "States").
//!
//! Changes reach peers with a delay, so the previous value remains valid for a while. Module `peer` contains the
//! requirements of peers.

use std::time::Duration;

use wormhole_kit::Instant;

use super::{bloom::Bloom, topic::Topic, work::Work};

/// Current and recent requirements.
#[derive(Clone, Debug)]
pub struct Requirements {
    min_work: Work,
    bloom: Bloom,
    max_size: usize,
    max_ttl: u32,
    /// Earlier values that are still accepted.
    tolerated: Option<Past>,
    /// Earlier values for which peers are not disconnected.
    forgiven: Option<Past>,
}

/// The weakest requirements within some time.
#[derive(Clone, Debug)]
struct Past {
    min_work: Work,
    bloom: Bloom,
    until: Instant,
}

impl Requirements {
    /// Requirements with this minimum work and defaults for the rest.
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

    /// Sets the maximum size in bytes and the maximum lifetime in seconds.
    #[must_use]
    pub const fn with_limits(mut self, bytes: usize, seconds: u32) -> Self {
        self.max_size = bytes;
        self.max_ttl = seconds;
        self
    }

    /// The minimum work to announce to peers.
    pub const fn min_work(&self) -> Work {
        self.min_work
    }

    /// The Bloom filter to announce to peers.
    pub const fn bloom(&self) -> &Bloom {
        &self.bloom
    }

    /// Maximum size of an envelope in bytes.
    pub const fn max_size(&self) -> usize {
        self.max_size
    }

    /// Maximum size of a packet in bytes: one and a half envelopes, because peers send several in one packet.
    pub const fn max_packet(&self) -> usize {
        self.max_size.saturating_mul(3) / 2
    }

    /// Maximum lifetime of an envelope in seconds.
    pub const fn max_ttl(&self) -> u32 {
        self.max_ttl
    }

    /// Changes the maximum size of an envelope in bytes, up to [`MAX_SIZE_LIMIT`].
    pub fn set_max_size(&mut self, bytes: usize) {
        self.max_size = bytes.min(MAX_SIZE_LIMIT);
    }

    /// Changes the minimum work.
    pub fn set_min_work(&mut self, now: Instant, work: Work) {
        self.keep_current(now);
        self.min_work = work;
    }

    /// Changes the Bloom filter.
    pub fn set_bloom(&mut self, now: Instant, bloom: Bloom) {
        self.keep_current(now);
        self.bloom = bloom;
    }

    /// Whether this much work is enough.
    pub fn accepts_work(&self, now: Instant, work: Work) -> bool {
        work >= self.min_work || at(now, &self.tolerated).is_some_and(|old| work >= old.min_work)
    }

    /// Whether this much work was enough recently; a slow connection may have delayed the envelope.
    pub fn forgives_work(&self, now: Instant, work: Work) -> bool {
        at(now, &self.forgiven).is_some_and(|old| work >= old.min_work)
    }

    /// Whether the Bloom filter matches this topic.
    pub fn accepts_topic(&self, now: Instant, topic: Topic) -> bool {
        self.bloom.matches(topic)
            || at(now, &self.tolerated).is_some_and(|old| old.bloom.matches(topic))
    }

    /// Whether the Bloom filter matched this topic recently; a slow connection may have delayed the envelope.
    pub fn forgives_topic(&self, now: Instant, topic: Topic) -> bool {
        at(now, &self.forgiven).is_some_and(|old| old.bloom.matches(topic))
    }

    /// Keeps the current values, and earlier ones that are still valid, as tolerated and as forgiven values.
    fn keep_current(&mut self, now: Instant) {
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

/// Earlier values if they have not expired.
fn at(now: Instant, past: &Option<Past>) -> Option<&Past> {
    past.as_ref().filter(|old| now < old.until)
}

/// Time during which peers may use the previous values (geth `DefaultSyncAllowance`).
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// Time during which peers are not disconnected for using previous values. go-ethereum disconnects peers
/// whose connection has a delay of more than [`TOLERANCE`].
pub const FORGIVENESS: Duration = Duration::from_secs(70);

/// Default maximum size of an envelope in bytes (geth `DefaultMaxMessageSize`).
pub const DEFAULT_MAX_SIZE: usize = 1024 * 1024;

/// Upper limit for the maximum size of an envelope in bytes (geth `MaxMessageSize`).
pub const MAX_SIZE_LIMIT: usize = 10 * 1024 * 1024;

/// Default maximum lifetime in seconds. go-ethereum has no limit except the work; no known user of the network
/// needed more than two days.
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
    fn recent_values_are_tolerated_for_a_while_longer() {
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
