//! The messages that the server has accepted lately, so that they can be sent again to a device that could not decrypt them.
//!
//! It is bounded in time, number and bytes, for each recipient and in total; what is too much is forgotten, the oldest first.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::outbox::Outgoing;
use super::retries::is_over;
use super::store::{RestoreError, read_device, read_flag, read_key, read_time};
use super::written;
use crate::address::{AccountId, Address, DeviceId};
use crate::key::PublicKey;
use crate::time::{DAY, Timestamp};

/// The recipient of a message, and its timestamp.
pub(super) type LoggedName = (AccountId, Timestamp);

/// A message that the server has accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Logged {
    /// When that was, by our clock.
    pub(super) since: Timestamp,
    /// The recipient's identity key. The message is sent to no other one.
    pub(super) identity: PublicKey,
    /// The devices that got it, without those that have confirmed it.
    pub(super) devices: Vec<LoggedDevice>,
    /// The padded content.
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    /// Milliseconds for which it is kept.
    pub(super) kept: u64,
}

/// A device that got a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LoggedDevice {
    pub(super) device: DeviceId,
    /// How often the message was sent to it again.
    pub(super) resends: u8,
    /// Whether the message must be sent to it now.
    pub(super) is_wanted: bool,
}

/// All such messages.
#[derive(Debug, Default)]
pub(super) struct SentLog {
    messages: BTreeMap<LoggedName, Logged>,
    /// The messages, oldest first.
    order: BTreeSet<(Timestamp, LoggedName)>,
    /// When each message must be forgotten.
    ends: BTreeSet<(Timestamp, LoggedName)>,
    accounts: BTreeMap<AccountId, Size>,
    total: Size,
    /// The messages that must be sent to a device now.
    wanted: BTreeSet<(Address, Timestamp)>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Size {
    messages: usize,
    bytes: usize,
}

impl Size {
    const fn exceeds(self, limit: Self) -> bool {
        self.messages > limit.messages || self.bytes > limit.bytes
    }

    const fn add(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    const fn remove(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl SentLog {
    pub(super) fn get(&self, name: &LoggedName) -> Option<&Logged> {
        self.messages.get(name)
    }

    /// Adds a message, or replaces it.
    pub(super) fn put(&mut self, name: LoggedName, logged: Logged) {
        self.remove(&name);
        let (account, timestamp) = name;
        self.order.insert((logged.since, name));
        self.ends.insert((logged.end(), name));
        self.accounts.entry(account).or_default().add(logged.plaintext.len());
        self.total.add(logged.plaintext.len());
        for device in logged.devices.iter().filter(|device| device.is_wanted) {
            self.wanted.insert((Address { account, device: device.device }, timestamp));
        }
        self.messages.insert(name, logged);
    }

    pub(super) fn remove(&mut self, name: &LoggedName) -> Option<Logged> {
        let logged = self.messages.remove(name)?;
        let (account, timestamp) = *name;
        self.order.remove(&(logged.since, *name));
        self.ends.remove(&(logged.end(), *name));
        self.total.remove(logged.plaintext.len());
        if let Some(size) = self.accounts.get_mut(&account) {
            size.remove(logged.plaintext.len());
            if size.messages == 0 {
                self.accounts.remove(&account);
            }
        }
        for device in &logged.devices {
            self.wanted.remove(&(Address { account, device: device.device }, timestamp));
        }
        Some(logged)
    }

    /// The messages that are too old or too many.
    pub(super) fn surplus(&self, now: Timestamp) -> Vec<LoggedName> {
        let (mut total, mut accounts) = (self.total, self.accounts.clone());
        let mut surplus = Vec::new();
        for (_, name) in &self.order {
            let Some(logged) = self.messages.get(name) else { continue };
            let of_account = accounts.entry(name.0).or_default();
            let is_too_much = total.exceeds(MAX) || of_account.exceeds(MAX_OF_ACCOUNT);
            if is_too_much || logged.is_over(now) {
                total.remove(logged.plaintext.len());
                of_account.remove(logged.plaintext.len());
                surplus.push(*name);
            }
        }
        surplus
    }

    /// Whether [`SentLog::surplus`] may find something, without looking at each message.
    pub(super) fn has_surplus(&self, now: Timestamp, account: AccountId) -> bool {
        let of_account = self.accounts.get(&account).copied().unwrap_or_default();
        let oldest = self.order.first().map(|(since, _)| *since);
        self.total.exceeds(MAX)
            || of_account.exceeds(MAX_OF_ACCOUNT)
            || oldest.is_some_and(|since| is_over(since, KEPT, now))
            || self.next_end().is_some_and(|end| end <= now)
    }

    /// When the next message must be forgotten.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LoggedName, &Logged)> {
        self.messages.iter()
    }

    /// The messages that must be sent again to the devices of an account.
    pub(super) fn wanted_by(&self, account: AccountId) -> Vec<(Address, Timestamp)> {
        let first = (Address { account, device: DeviceId::PRIMARY }, Timestamp(0));
        let of_account = self.wanted.range(first..);
        of_account.take_while(|(to, _)| to.account == account).copied().collect()
    }

    /// The accounts to which something must be sent again.
    pub(super) fn wanting_accounts(&self) -> BTreeSet<AccountId> {
        self.wanted.iter().map(|(to, _)| to.account).collect()
    }

    pub(super) fn names_of(&self, account: AccountId) -> Vec<LoggedName> {
        let of_account = self.messages.range((account, Timestamp(0))..);
        of_account.take_while(|((to, _), _)| *to == account).map(|(name, _)| *name).collect()
    }
}

impl Logged {
    /// A message that the server has accepted, or has at least delivered to one device. `None` if it was never encrypted.
    pub(super) fn new(now: Timestamp, identity: PublicKey, outgoing: &Outgoing) -> Option<Self> {
        let device =
            |device: &DeviceId| LoggedDevice { device: *device, resends: 0, is_wanted: false };
        let devices: Vec<_> = outgoing.encrypted_for.iter().map(device).collect();
        (!devices.is_empty()).then_some(())?;
        let (plaintext, kept) = (outgoing.plaintext.clone(), written::kept(&outgoing.plaintext));
        Some(Self { since: now, identity, devices, plaintext, kept })
    }

    fn end(&self) -> Timestamp {
        Timestamp(self.since.0.saturating_add(self.kept))
    }

    /// Whether it must not be sent again, and must be forgotten.
    pub(super) const fn is_over(&self, now: Timestamp) -> bool {
        is_over(self.since, self.kept, now)
    }

    /// The entry of a device, unless the message was not for it, or it has confirmed it.
    pub(super) fn device(&mut self, device: DeviceId) -> Option<&mut LoggedDevice> {
        self.devices.iter_mut().find(|logged| logged.device == device)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let mut value = Vec::with_capacity(41 + 3 * self.devices.len() + self.plaintext.len());
        value.extend(self.since.0.to_be_bytes());
        value.extend(self.identity.as_u());
        value.push(u8::try_from(self.devices.len()).unwrap_or(u8::MAX));
        for device in self.devices.iter().take(u8::MAX.into()) {
            value.extend([device.device.number(), device.resends, device.is_wanted.into()]);
        }
        value.extend(self.plaintext.iter());
        value
    }

    pub(super) fn decode(value: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let since = read_time(value)?;
        let identity = read_key(value)?;
        let count = value.u8()?;
        let device = |_| {
            let device = read_device(value)?;
            Ok::<_, RestoreError>(LoggedDevice {
                device,
                resends: value.u8()?,
                is_wanted: read_flag(value)?,
            })
        };
        let devices = (0..count).map(device).collect::<Result<_, _>>()?;
        let plaintext = Zeroizing::new(value.take(value.rest().len())?.to_vec());
        let kept = written::kept(&plaintext);
        Ok(Self { since, identity, devices, plaintext, kept })
    }
}

/// Milliseconds for which a message is kept.
pub(super) const KEPT: u64 = DAY;

/// Maximum number of bytes that are kept for one account: every message can have 256 KiB.
const MAX_OF_ACCOUNT: Size = Size { messages: 500, bytes: 2 << 20 };

/// Maximum number of bytes that are kept in total.
const MAX: Size = Size { messages: 2_000, bytes: 8 << 20 };

/// How often a message is sent again to one device.
pub(super) const MAX_RESENDS: u8 = 6;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::key::KeyPair;

    fn logged(since: u64, bytes: usize) -> Logged {
        let pair = KeyPair::random(&mut ChaCha8Rng::seed_from_u64(1));
        let device = LoggedDevice { device: DeviceId::PRIMARY, resends: 1, is_wanted: since == 1 };
        let plaintext = Zeroizing::new(vec![7; bytes]);
        let since = Timestamp(since);
        Logged { since, identity: *pair.public(), devices: vec![device], plaintext, kept: KEPT }
    }

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 16])
    }

    fn trim(log: &mut SentLog, now: u64) -> usize {
        let surplus = log.surplus(Timestamp(now));
        surplus.iter().for_each(|name| drop(log.remove(name)));
        surplus.len()
    }

    #[test]
    fn one_recipient_does_not_push_out_the_messages_of_others() {
        let mut log = SentLog::default();
        log.put((account(1), Timestamp(1)), logged(1, 10));
        for time in 2..=601 {
            log.put((account(2), Timestamp(time)), logged(time, 10));
        }
        assert!(log.has_surplus(Timestamp(700), account(2)));
        assert_eq!(trim(&mut log, 700), 100);
        assert!(!log.has_surplus(Timestamp(700), account(2)));
        assert!(log.get(&(account(1), Timestamp(1))).is_some());
        assert!(log.get(&(account(2), Timestamp(101))).is_none());
        for time in 1000..1009 {
            log.put((account(3), Timestamp(time)), logged(time, 256 << 10));
        }
        assert_eq!(trim(&mut log, 2000), 1);
        for number in 4..=9 {
            for time in 2000..2500 {
                log.put((account(number), Timestamp(time)), logged(time, 10));
            }
        }
        trim(&mut log, 3000);
        assert_eq!((log.messages.len(), log.order.len(), log.total.messages), (2000, 2000, 2000));
        assert!(log.get(&(account(1), Timestamp(1))).is_none() && log.wanted.is_empty());
    }

    #[test]
    fn messages_are_forgotten_after_a_day_and_when_the_clock_was_wrong() {
        let mut log = SentLog::default();
        log.put((account(1), Timestamp(1)), logged(1, 10));
        log.put((account(1), Timestamp(2)), logged(DAY, 10));
        log.put((account(1), Timestamp(3)), logged(9 * DAY, 10));
        assert_eq!(log.surplus(Timestamp(DAY)), [(account(1), Timestamp(3))]);
        assert!(log.has_surplus(Timestamp(DAY + 1), account(2)));
        assert_eq!(trim(&mut log, DAY + 1), 2);
        assert_eq!(log.accounts[&account(1)], Size { messages: 1, bytes: 10 });
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let logged = logged(1, 300);
        let value = logged.encode();
        assert_eq!(Logged::decode(&mut Reader::new(&value)), Ok(logged));
        assert_eq!(Logged::decode(&mut Reader::new(&value[..42])), Err(RestoreError::Damaged));
    }
}
