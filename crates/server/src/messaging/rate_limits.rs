//! How often a number, an account or a network may do something.
//!
//! Each limit is a bucket that holds a burst and refills evenly (the generic cell rate algorithm, so that frequent
//! refused requests do not slow the refill). Buckets are kept in memory, by a keyed hash of their owner.
//!
//! Each action has a table of its own with a limited number of buckets. When it is full, the buckets that were not used
//! for longest are forgotten. So whoever fills a table gets a few more attempts, but keeps nobody else from his.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};

/// An action with a limit. The comments say whose bucket it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Action {
    /// An account: a code for another device is requested.
    AllocateDevice,
    /// An account: an attachment is allocated or fetched.
    Attachment,
    /// An account: bytes of attachments are uploaded, in KiB.
    AttachmentKib,
    /// An account: a request of an upload that can be continued.
    AttachmentPart,
    /// An attachment: it is downloaded, in thousandths of its length.
    AttachmentRead,
    /// An account and another one: something is sent that no person has written, such as a receipt. It uses up nothing that messages
    /// need.
    Background,
    /// A network: codes of any kind.
    CodePerNetwork,
    /// A number and a network: an attempt to confirm a code.
    ConfirmCode,
    /// A device: a certificate for a sender is requested.
    Certificate,
    /// An account: a number is looked up in the directory, or a stranger's name elsewhere.
    Contact,
    /// A network: a request to the directory.
    ContactPerNetwork,
    /// A network: attachments are downloaded, in KiB.
    DownloadKib,
    /// A number and a wide network: codes that it gets even if those of the number are used up, within a day.
    ExtraCode,
    /// A number: such codes of all networks together, within a day. Those that the number has logged in from do not count.
    ExtraCodePerNumber,
    /// A number: a code by SMS, if those of the number are used up and the last one was not sent a short time ago.
    ExtraSmsCode,
    /// A number: the same by voice.
    ExtraVoiceCode,
    /// A name and a network: a wrong password. Those that the device has logged in with are not refused because of it.
    FailedLogin,
    /// A name and a wide network: the same, for those who have many networks.
    FailedLoginFromWide,
    /// A network: wrong passwords for any name. It is the same with these.
    FailedLoginPerNetwork,
    /// A network: the first wrong code was entered for a code that the network has asked for.
    FirstWrongCodePerNetwork,
    /// An account: an entry of a group's log is appended.
    GroupEntry,
    /// An account: bytes of entries of groups are appended, in KiB.
    GroupKib,
    /// An account: entries of a group are read.
    GroupRead,
    /// An account: a group is created.
    GroupCreation,
    /// An account: bytes are received, in KiB.
    InboundKib,
    /// An account and a sender: bytes are received, in KiB. A sender gets a quarter of what the recipient may get.
    InboundKibFromSender,
    /// A device, a password and a wide network: it has logged in with it from there within a month. This limits nothing: each
    /// login empties the bucket.
    KnownLogin,
    /// A number and a wide network: the same with any password.
    KnownNumber,
    /// A network: a failed attempt to link a device.
    LinkDevice,
    /// An account and another one: a message is sent.
    Message,
    /// A network, or an account that shows its credentials: a sealed message to many is sent.
    MessageToMany,
    /// An account or a network, and a device of another account: keys are fetched.
    PreKeys,
    /// A device: its keys are fetched without credentials.
    PreKeysOfStrangers,
    /// An account: a profile is read.
    Profile,
    /// An account: a message for a device that waits to be linked.
    Provisioning,
    /// A network: a device begins to wait to be linked.
    ProvisioningAddress,
    /// All networks together: a device begins to wait to be linked.
    ProvisioningPerNode,
    /// An account: a report about a message.
    Report,
    /// An account: somebody that it does not know writes to it.
    Request,
    /// An account: bytes of those that it does not know are received, in KiB.
    RequestKib,
    /// A network, or an account that shows its credentials: bytes of sealed messages are stored, in KiB.
    SealedKib,
    /// A network and an account: a sealed message is sent without credentials.
    SealedMessage,
    /// An account: a sealed message is received from somebody without credentials.
    SealedPerAccount,
    /// A number: a code by SMS.
    SmsCode,
    /// A number: a code by SMS, within a day.
    SmsCodePerDay,
    /// A network: a request with an access key instead of credentials.
    UnidentifiedCaller,
    /// A number: a code by voice.
    VoiceCode,
    /// A number: a code by voice, within a day.
    VoiceCodePerDay,
    /// A device: its keys, attributes, name or push id are written.
    Write,
    /// A network: a wrong access key, or one for an account that does not exist.
    WrongAccessKey,
    /// A number: a wrong code was entered in a network that has not asked for the code.
    WrongCode,
    /// A number and a wide network: a wrong code was entered.
    WrongCodeFromNetwork,
    /// A network: a wrong code was entered for any number.
    WrongCodePerNetwork,
}

/// A bucket: how much at once, and how much per minute in the long run.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    per_minute: f64,
}

impl Action {
    /// The limits of deployed servers, and some of our own. (docs/chat-service.md "Limits")
    const fn rate(self) -> Rate {
        let (burst, per_minute) = match self {
            Self::AllocateDevice => (6.0, 0.5),
            Self::Attachment => (50.0, 50.0),
            // A GiB, and another one in an hour.
            Self::AttachmentKib => (1_048_576.0, 17_477.0),
            // Several for each attachment that is allocated.
            Self::AttachmentPart => (300.0, 300.0),
            // 200 times a day.
            Self::AttachmentRead => (200_000.0, 200_000.0 / DAY),
            Self::Certificate => (10.0, 10.0 / HOUR),
            Self::CodePerNetwork | Self::UnidentifiedCaller => (1000.0, 1000.0),
            Self::ConfirmCode | Self::SmsCode => (2.0, 2.0),
            Self::Contact => (50_000.0, 50_000.0),
            Self::ContactPerNetwork => (200.0, 100.0 / HOUR),
            // 20 GiB a day: many people may share the address of their provider.
            Self::DownloadKib => (20_971_520.0, 20_971_520.0 / DAY),
            Self::ExtraCode => (2.0, 2.0 / DAY),
            Self::ExtraCodePerNumber => (100.0, 100.0 / DAY),
            // As long as a code is valid: then at any time, the owner of a number has one or gets one.
            Self::ExtraSmsCode | Self::ExtraVoiceCode => (1.0, 0.1),
            Self::FailedLogin => (20.0, 6.0),
            Self::FailedLoginFromWide => (40.0, 12.0),
            Self::FailedLoginPerNetwork => (1000.0, 60.0),
            Self::FirstWrongCodePerNetwork => (1000.0, 10.0),
            Self::GroupEntry => (120.0, 60.0),
            // 32 MiB: a hundred entries of a group with a thousand members, and four of them in a minute.
            Self::GroupKib => (32_768.0, 1024.0),
            Self::GroupRead => (600.0, 600.0),
            Self::GroupCreation => (100.0, 100.0 / HOUR),
            Self::InboundKib => (131_072.0, 118.0),
            Self::InboundKibFromSender => (32_768.0, 29.5),
            Self::KnownLogin | Self::KnownNumber => (1.0, 1.0 / (30.0 * DAY)),
            Self::Background
            | Self::LinkDevice
            | Self::Message
            | Self::MessageToMany
            | Self::ProvisioningAddress
            | Self::SealedMessage => (60.0, 60.0),
            Self::PreKeys => (6.0, 0.1),
            Self::PreKeysOfStrangers => (60.0, 1.0),
            Self::Profile => (4320.0, 3.0),
            Self::Provisioning => (10.0, 10.0),
            Self::ProvisioningPerNode => (200.0, 1200.0),
            // 256 MiB, and 4 MiB per minute: a message to a thousand devices is stored a thousand times.
            Self::SealedKib => (262_144.0, 4096.0),
            Self::SealedPerAccount => (1000.0, 300.0),
            Self::Report | Self::SmsCodePerDay | Self::WrongCode => (50.0, 50.0 / DAY),
            // A tenth of the messages of a queue, and an eighth of the bytes.
            Self::Request => (1000.0, 1000.0 / DAY),
            Self::RequestKib => (16_384.0, 15.0),
            Self::VoiceCode => (2.0, 0.5),
            Self::VoiceCodePerDay | Self::WrongCodeFromNetwork => (10.0, 10.0 / DAY),
            Self::Write => (60.0, 30.0),
            Self::WrongAccessKey => (100.0, 10.0),
            Self::WrongCodePerNetwork => (100.0, 2.0),
        };
        Rate { burst, per_minute }
    }
}

impl Rate {
    /// For a wide network: one customer of a provider may have all networks in it, or thousands may share it.
    fn of_wide_network(self) -> Self {
        Self {
            burst: self.burst * NETWORKS_OF_A_WIDE_ONE,
            per_minute: self.per_minute * NETWORKS_OF_A_WIDE_ONE,
        }
    }

    /// When a bucket will be full again after `amount` is taken out of it.
    ///
    /// # Errors
    /// It does not hold so much. Returns the time until it does.
    fn take(self, full_at: Instant, amount: u32, now: Instant) -> Result<Instant, Duration> {
        let full_at = full_at.max(now) + self.refill(amount.into());
        let limit = now + self.refill(self.burst);
        if full_at > limit { Err(full_at - limit) } else { Ok(full_at) }
    }

    /// How long it takes until a bucket holds `amount` more.
    fn refill(self, amount: f64) -> Duration {
        Duration::from_secs_f64(amount * 60.0 / self.per_minute)
    }
}

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
    /// When the bucket of an owner will be full again, if there is one.
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

/// How many networks may do at the same time what one network may do, if they are in one wide network.
const NETWORKS_OF_A_WIDE_ONE: f64 = 10.0;

/// Minutes of a day.
const DAY: f64 = 24.0 * 60.0;

/// Minutes of an hour.
const HOUR: f64 = 60.0;

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
