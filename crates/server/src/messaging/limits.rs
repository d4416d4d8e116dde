//! How often a number, an account or an address may do something.
//!
//! Each limit is a bucket that holds a burst and refills evenly (the generic cell rate algorithm, so that frequent
//! refused requests do not slow the refill). Buckets are kept in memory, by a keyed hash of their owner; their number
//! is limited.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An action with a limit. The comments say whose bucket it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Action {
    /// A number: a code by SMS.
    SmsCode,
    /// A number: a code by voice.
    VoiceCode,
    /// A number: a code by voice, within a day.
    VoiceCodePerDay,
    /// An address: codes of any kind.
    CodePerAddress,
    /// A number: an attempt to confirm a code.
    ConfirmCode,
    /// An account: an attachment is allocated or fetched.
    Attachment,
    /// An account: bytes of attachments are uploaded, in KiB.
    AttachmentKib,
    /// An account: a number is looked up in the directory.
    Contact,
    /// An account and a device of another one: keys are fetched.
    PreKeys,
    /// An account and another one: a message is sent.
    Message,
    /// An account: bytes are received, in KiB.
    InboundKib,
}

/// A bucket: how much at once, and how much per minute in the long run.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    per_minute: f64,
}

impl Action {
    /// The limits of deployed servers. (docs/chat-service.md "Limits")
    const fn rate(self) -> Rate {
        let (burst, per_minute) = match self {
            Self::SmsCode | Self::ConfirmCode => (2.0, 2.0),
            Self::VoiceCode => (2.0, 0.5),
            Self::VoiceCodePerDay => (10.0, 10.0 / DAY_MINUTES),
            Self::CodePerAddress => (1000.0, 1000.0),
            Self::Attachment => (50.0, 50.0),
            // A GiB, and another one in an hour.
            Self::AttachmentKib => (1_048_576.0, 17_477.0),
            Self::Contact => (50_000.0, 50_000.0),
            Self::PreKeys => (6.0, 0.1),
            Self::Message => (60.0, 60.0),
            Self::InboundKib => (131_072.0, 118.0),
        };
        Rate { burst, per_minute }
    }
}

/// The buckets of all owners.
#[derive(Debug)]
pub(super) struct RateLimits {
    key: RandomState,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    /// When each bucket will be full again. A full bucket is not stored.
    full_at: HashMap<u64, Instant>,
    /// When full buckets were last removed.
    swept: Instant,
}

impl RateLimits {
    pub(super) fn new(now: Instant) -> Self {
        let buckets = Buckets { full_at: HashMap::new(), swept: now };
        Self { key: RandomState::new(), buckets: Mutex::new(buckets) }
    }

    /// Takes `amount` out of the bucket of an owner.
    ///
    /// # Errors
    /// The bucket does not hold so much. Returns the time until it does; nothing is taken.
    pub(super) fn spend(
        &self,
        action: Action,
        owner: impl Hash,
        amount: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let Rate { burst, per_minute } = action.rate();
        let seconds = |amount: f64| Duration::from_secs_f64(amount * 60.0 / per_minute);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.bucket(self.key.hash_one((action, owner)), now);
        let full_at = (*bucket).max(now) + seconds(amount.into());
        let limit = now + seconds(burst.max(amount.into()));
        if full_at > limit {
            return Err(full_at - limit);
        }
        *bucket = full_at;
        Ok(())
    }
}

impl Buckets {
    /// The bucket with this key. When there are too many, all new owners share one.
    fn bucket(&mut self, key: u64, now: Instant) -> &mut Instant {
        let is_full = self.full_at.len() >= MAX_BUCKETS && !self.full_at.contains_key(&key);
        if is_full && now.saturating_duration_since(self.swept) >= SWEEP_PERIOD {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let is_full = self.full_at.len() >= MAX_BUCKETS && !self.full_at.contains_key(&key);
        self.full_at.entry(if is_full { SHARED } else { key }).or_insert(now)
    }
}

const DAY_MINUTES: f64 = 24.0 * 60.0;

/// Most buckets, about 64 MiB.
const MAX_BUCKETS: usize = 1 << 20;

/// Least time between two searches for full buckets.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// The key of the bucket of all owners that found no room.
const SHARED: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let start = Instant::now();
        let limits = RateLimits::new(start);
        let spend = |owner: &str, after: f64| {
            let now = start + Duration::from_secs_f64(after);
            limits.spend(Action::SmsCode, owner, 1, now)
        };
        assert_eq!(spend("a", 0.0), Ok(()));
        assert_eq!(spend("a", 0.0), Ok(()));
        assert_eq!(spend("a", 0.0), Err(Duration::from_secs(30)));
        assert_eq!(spend("b", 0.0), Ok(()));
        // Refused requests do not slow the refill.
        for second in 1..30 {
            assert!(spend("a", f64::from(second)).is_err());
        }
        assert_eq!(spend("a", 30.0), Ok(()));
        assert!(spend("a", 30.0).is_err());
    }

    #[test]
    fn an_amount_above_the_burst_needs_a_full_bucket() {
        let start = Instant::now();
        let limits = RateLimits::new(start);
        assert_eq!(limits.spend(Action::Attachment, 1, 60, start), Ok(()));
        assert!(limits.spend(Action::Attachment, 1, 60, start).is_err());
    }

    #[test]
    fn an_account_uploads_a_gibibyte_at_once() {
        let start = Instant::now();
        let limits = RateLimits::new(start);
        for _ in 0..10 {
            assert_eq!(limits.spend(Action::AttachmentKib, "a", 100 << 10, start), Ok(()));
        }
        assert!(limits.spend(Action::AttachmentKib, "a", 100 << 10, start).is_err());
        assert_eq!(limits.spend(Action::AttachmentKib, "b", 100 << 10, start), Ok(()));
    }

    #[test]
    fn actions_and_owners_have_buckets_of_their_own() {
        let start = Instant::now();
        let limits = RateLimits::new(start);
        let spend = |action| limits.spend(action, "a", 2, start);
        assert_eq!(spend(Action::SmsCode), Ok(()));
        assert!(spend(Action::SmsCode).is_err());
        assert_eq!(spend(Action::ConfirmCode), Ok(()));
    }
}
