//! How often a number, an account or a network may do something.
//!
//! Each limit is a bucket that holds a burst and refills evenly (the generic cell rate algorithm, so that frequent
//! refused requests do not slow the refill). Buckets are kept in memory, by a keyed hash of their owner.
//!
//! Each action has a table of its own with a limited number of buckets. When it is full, the buckets that were not used
//! for longest are forgotten. So a client that fills a table gets a few more attempts, but cannot take attempts from others.

mod action;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};

pub(super) use action::Action;
use action::Rate;

/// The buckets of all owners.
#[derive(Debug)]
pub(super) struct RateLimits {
    key: RandomState,
    buckets: Mutex<HashMap<Action, Buckets>>,
    /// Whether clients on this computer are limited as a network.
    limit_loopback: bool,
}

/// The buckets of one action.
#[derive(Debug, Default)]
struct Buckets {
    /// When each bucket will be full again.
    used: HashMap<u64, Instant>,
    /// Buckets that were not used since `used` was last full.
    unused: HashMap<u64, Instant>,
}

impl RateLimits {
    pub(super) fn new(limit_loopback: bool) -> Self {
        Self { key: RandomState::new(), buckets: Mutex::default(), limit_loopback }
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
        let owner = self.key.hash_one((action, owner));
        let mut buckets = self.buckets();
        let bucket = buckets.entry(action).or_default().bucket(owner, now);
        *bucket = action.rate().take(*bucket, amount, now)?;
        Ok(())
    }

    /// Empties a bucket, however much it holds: it is full again after its whole time.
    pub(super) fn empty(&self, action: Action, owner: impl Hash, now: Instant) {
        let owner = self.key.hash_one((action, owner));
        let rate = action.rate();
        let mut buckets = self.buckets();
        *buckets.entry(action).or_default().bucket(owner, now) = now + rate.refill(rate.burst);
    }

    /// Fills a bucket, however little it holds.
    pub(super) fn fill(&self, action: Action, owner: impl Hash) {
        let owner = self.key.hash_one((action, owner));
        if let Some(Buckets { used, unused }) = self.buckets().get_mut(&action) {
            used.remove(&owner);
            unused.remove(&owner);
        }
    }

    /// Checks that a bucket is not empty, but takes nothing: of some actions, only the failed ones count.
    ///
    /// # Errors
    /// The bucket is empty. Returns the time until it is not.
    pub(super) fn check(
        &self,
        action: Action,
        owner: impl Hash,
        now: Instant,
    ) -> Result<(), Duration> {
        self.check_amount(action, owner, 1, now)
    }

    /// Checks that a bucket holds `amount`, but takes nothing.
    ///
    /// # Errors
    /// It does not hold so much. Returns the time until it does.
    fn check_amount(
        &self,
        action: Action,
        owner: impl Hash,
        amount: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let owner = self.key.hash_one((action, owner));
        let full_at = self.buckets().get(&action).and_then(|buckets| buckets.get(owner));
        // An owner without a bucket has done nothing yet. No bucket is created, so that no others are forgotten.
        let full_at = full_at.unwrap_or(now);
        action.rate().take(full_at, amount, now).map(drop)
    }

    /// Takes `amount` out of the bucket of a client's network, and out of the larger one of its wide network.
    ///
    /// # Errors
    /// One of them does not hold so much. Returns the time until it does; nothing is taken.
    pub(super) fn spend_of_network(
        &self,
        action: Action,
        client: IpAddr,
        amount: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut buckets = self.buckets();
        let buckets = buckets.entry(action).or_default();
        let take = |(owner, rate): (u64, Rate)| {
            let full_at = buckets.get(owner).unwrap_or(now);
            rate.take(full_at, amount, now).map(|full_at| (owner, full_at))
        };
        let taken = self.network_buckets(action, client).map(take);
        let taken = taken.collect::<Result<Vec<_>, Duration>>()?;
        taken.into_iter().for_each(|(owner, full_at)| *buckets.bucket(owner, now) = full_at);
        Ok(())
    }

    /// Checks that neither the bucket of a client's network nor that of its wide network is empty, but takes nothing.
    ///
    /// # Errors
    /// One of them is empty. Returns the time until it is not.
    pub(super) fn check_network(
        &self,
        action: Action,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let buckets = self.buckets();
        let Some(buckets) = buckets.get(&action) else { return Ok(()) };
        self.network_buckets(action, client).try_for_each(|(owner, rate)| {
            let full_at = buckets.get(owner);
            full_at.map_or(Ok(()), |full_at| rate.take(full_at, 1, now).map(drop))
        })
    }

    /// The owners of the buckets of a client's networks; none if it has no limits of its own. An IPv4 address is both networks.
    fn network_buckets(
        &self,
        action: Action,
        client: IpAddr,
    ) -> impl Iterator<Item = (u64, Rate)> + use<> {
        let network = self.network(client);
        let wide = network.filter(IpAddr::is_ipv6).map(wider_network);
        let narrow = network.map(|it| (self.key.hash_one((action, it)), action.rate()));
        let wide = wide.map(|it| {
            let rate = action.rate().of_wide_network();
            (self.key.hash_one((action, "wide", it)), rate)
        });
        narrow.into_iter().chain(wide)
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<Action, Buckets>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner of the buckets of a client's network; `None` if it has no limits of its own.
    pub(super) fn network(&self, client: IpAddr) -> Option<IpAddr> {
        let client = client.to_canonical();
        (self.limit_loopback || !client.is_loopback()).then(|| network(client))
    }
}

impl Buckets {
    /// When the bucket of an owner will be full again, if the owner has one.
    fn get(&self, owner: u64) -> Option<Instant> {
        self.used.get(&owner).or_else(|| self.unused.get(&owner)).copied()
    }

    /// The bucket of an owner.
    fn bucket(&mut self, owner: u64, now: Instant) -> &mut Instant {
        if !self.used.contains_key(&owner) && self.used.len() >= MAX_BUCKETS {
            self.unused = std::mem::take(&mut self.used);
        }
        let unused = &mut self.unused;
        self.used.entry(owner).or_insert_with(|| unused.remove(&owner).unwrap_or(now))
    }
}

/// Limits for requests that are executed together.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    pub(super) limits: Arc<RateLimits>,
    pub(super) now: Instant,
}

impl Budget {
    /// Takes `amount` out of the bucket of an owner.
    ///
    /// # Errors
    /// The bucket does not hold so much. Returns the time until it does; nothing is taken.
    pub(super) fn spend(
        &self,
        action: Action,
        owner: impl Hash,
        amount: u32,
    ) -> Result<(), Duration> {
        self.limits.spend(action, owner, amount, self.now)
    }

    /// Checks that the bucket of an owner holds `amount`, but takes nothing.
    ///
    /// # Errors
    /// It does not hold so much. Returns the time until it does.
    pub(super) fn check(
        &self,
        action: Action,
        owner: impl Hash,
        amount: u32,
    ) -> Result<(), Duration> {
        self.limits.check_amount(action, owner, amount, self.now)
    }

    /// Takes `amount` out of the buckets of a client's networks.
    ///
    /// # Errors
    /// One of them does not hold so much. Returns the time until it does; nothing is taken.
    pub(super) fn spend_of_network(
        &self,
        action: Action,
        client: IpAddr,
        amount: u32,
    ) -> Result<(), Duration> {
        self.limits.spend_of_network(action, client, amount, self.now)
    }
}

/// Maximum number of buckets of one action that were used lately. As many that were not are kept. About 6 MiB for both.
const MAX_BUCKETS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> (RateLimits, Instant) {
        (RateLimits::new(false), Instant::now())
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (limits, start) = limits();
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
    fn more_than_the_burst_is_never_allowed() {
        let (limits, start) = limits();
        assert!(limits.spend(Action::Attachment, 1, 51, start).is_err());
        assert_eq!(limits.spend(Action::Attachment, 1, 50, start), Ok(()));
    }

    #[test]
    fn a_check_takes_nothing() {
        let (limits, start) = limits();
        let check = || limits.check(Action::VoiceCodePerDay, "a", start);
        for _ in 0..20 {
            assert_eq!(check(), Ok(()));
        }
        assert!(limits.buckets().is_empty(), "no bucket was created");
        assert_eq!(limits.spend(Action::VoiceCodePerDay, "a", 10, start), Ok(()));
        assert!(check().is_err());
    }

    #[test]
    fn an_emptied_bucket_holds_nothing_and_refills_as_usual() {
        let (limits, start) = limits();
        let check = |after| limits.check(Action::SmsCode, "a", start + Duration::from_secs(after));
        limits.empty(Action::SmsCode, "a", start);
        assert_eq!(check(0), Err(Duration::from_secs(30)));
        // It is no longer empty.
        limits.empty(Action::SmsCode, "a", start + Duration::from_secs(50));
        assert_eq!(check(50), Err(Duration::from_secs(30)));
        assert_eq!(check(80), Ok(()));
        limits.fill(Action::SmsCode, "a");
        assert_eq!(limits.spend(Action::SmsCode, "a", 2, start), Ok(()));
    }

    #[test]
    fn an_account_uploads_a_gibibyte_at_once() {
        let (limits, start) = limits();
        for _ in 0..10 {
            assert_eq!(limits.spend(Action::AttachmentKib, "a", 100 << 10, start), Ok(()));
        }
        assert!(limits.spend(Action::AttachmentKib, "a", 100 << 10, start).is_err());
        assert_eq!(limits.spend(Action::AttachmentKib, "b", 100 << 10, start), Ok(()));
    }

    #[test]
    fn all_networks_of_a_customer_share_ten_times_as_much_as_one() {
        let (limits, start) = limits();
        let spend = |client: &str| {
            limits.spend_of_network(Action::LinkDevice, client.parse().unwrap(), 1, start)
        };
        let spent = |client: &str| (0..1000).filter(|_| spend(client).is_ok()).count();
        let check = |client: &str| {
            limits.check_network(Action::LinkDevice, client.parse().unwrap(), start).is_ok()
        };
        for network in 0..10 {
            assert!(check(&format!("2001:db8:1:{network:x}::1")));
            assert_eq!(spent(&format!("2001:db8:1:{network:x}::1")), 60);
            assert!(!check(&format!("2001:db8:1:{network:x}::2")));
        }
        assert!(!check("2001:db8:1:ffff::1"));
        assert_eq!(spent("2001:db8:1:ffff::1"), 0);
        assert_eq!(spent("2001:db8:2:ffff::1"), 60);
        assert_eq!(spent("192.0.2.1"), 60, "an IPv4 address is one network");
        assert_eq!(spent("127.0.0.1"), 1000);
    }

    #[test]
    fn actions_and_owners_have_buckets_of_their_own() {
        let (limits, start) = limits();
        let spend = |action| limits.spend(action, "a", 2, start);
        assert_eq!(spend(Action::SmsCode), Ok(()));
        assert!(spend(Action::SmsCode).is_err());
        assert_eq!(spend(Action::ConfirmCode), Ok(()));
    }

    #[test]
    fn nobody_is_refused_because_others_have_used_up_the_buckets() {
        let (limits, start) = limits();
        for owner in 0..4 * MAX_BUCKETS {
            assert_eq!(limits.spend(Action::SmsCode, owner, 2, start), Ok(()));
        }
        // Those who came last are still limited.
        assert!(limits.spend(Action::SmsCode, 4 * MAX_BUCKETS - 1, 1, start).is_err());
        let buckets = limits.buckets.lock().unwrap();
        let Buckets { used, unused } = &buckets[&Action::SmsCode];
        assert!(used.len() + unused.len() <= 2 * MAX_BUCKETS);
    }

    #[test]
    fn a_client_is_counted_with_its_network_and_loopback_if_wanted() {
        let network = |limit_loopback, address: &str| {
            RateLimits::new(limit_loopback).network(address.parse().unwrap())
        };
        assert_eq!(network(false, "2001:db8::1:2:3:4"), network(false, "2001:db8::5:6:7:8"));
        assert_ne!(network(false, "2001:db8::1"), network(false, "2001:db8:0:1::1"));
        assert_eq!(network(false, "::ffff:192.0.2.1"), network(false, "192.0.2.1"));
        assert_eq!(network(false, "127.0.0.1"), None);
        assert_eq!(network(false, "::ffff:127.0.0.1"), None);
        assert!(network(true, "127.0.0.1").is_some());
    }
}
