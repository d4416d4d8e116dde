//! The messages to groups that the server may have got lately, so that they can be sent again to a device that could not decrypt
//! them: in its session, with our sender key.
//!
//! It is bounded like the log of messages to single accounts. A message goes only to devices for which it was encrypted.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::super::retries::is_over;
use super::super::sent_log::MAX_RESENDS;
use super::super::store::{Changes, RestoreError, StoreKey, read_flag, read_key, read_time};
use super::super::written::{self, Written};
use super::rows::{put_address, read_address};
use super::{Client, GroupId};
use crate::address::{AccountId, Address};
use crate::key::PublicKey;
use crate::sealed_sender::SealedRecipient;
use crate::time::{DAY, Timestamp};

/// A message to a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SentToGroup {
    /// When we encrypted it, or the server has accepted it.
    since: Timestamp,
    group: GroupId,
    /// The members that got it, and their identity keys at that time. It is sent to no other key.
    members: BTreeMap<AccountId, PublicKey>,
    /// The devices for which it was encrypted.
    devices: BTreeSet<Address>,
    /// The padded content.
    plaintext: Zeroizing<Vec<u8>>,
    /// Milliseconds for which it is kept.
    kept: u64,
}

/// The state of a device's requests for a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Resend {
    /// How often the message was sent to the device again.
    count: u8,
    /// Whether it must be sent now.
    is_wanted: bool,
}

/// All such messages.
#[derive(Debug, Default)]
pub(in super::super) struct GroupSentLog {
    messages: BTreeMap<Timestamp, SentToGroup>,
    resends: BTreeMap<(Timestamp, Address), Resend>,
}

/// The result of a request for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Requested {
    /// The message is not in the log.
    Unknown,
    /// It is not sent to this device.
    Refused,
    /// It is sent, or was sent often enough.
    Accepted,
}

impl SentToGroup {
    const fn is_over(&self, now: Timestamp) -> bool {
        is_over(self.since, self.kept, now)
    }

    fn len(&self) -> usize {
        self.plaintext.len() + 48 * self.members.len() + 17 * self.devices.len()
    }

    fn encode(&self) -> Vec<u8> {
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let mut value = Vec::with_capacity(32 + self.len());
        value.extend(self.since.0.to_be_bytes());
        value.extend(self.group.as_bytes());
        // A group has at most 1000 members.
        value.extend(u32::try_from(self.members.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (account, identity) in &self.members {
            value.extend(account.as_bytes());
            value.extend(identity.as_u());
        }
        value.extend(u32::try_from(self.devices.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.devices.iter().for_each(|address| put_address(&mut value, *address));
        value.extend(self.plaintext.iter());
        value
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let since = read_time(value)?;
        let group = GroupId::from_bytes(value.array()?);
        let (mut members, mut devices) = (BTreeMap::new(), BTreeSet::new());
        for _ in 0..value.u32_be()? {
            members.insert(AccountId::from_bytes(value.array()?), read_key(value)?);
        }
        for _ in 0..value.u32_be()? {
            devices.insert(read_address(value)?);
        }
        let plaintext = Zeroizing::new(value.take(value.rest().len())?.to_vec());
        let kept = written::kept(&plaintext);
        Ok(Self { since, group, members, devices, plaintext, kept })
    }
}

impl GroupSentLog {
    /// The messages that are too old or too many, for each group and in total.
    fn surplus(&self, now: Timestamp) -> Vec<Timestamp> {
        let mut newest: Vec<_> = self.messages.iter().collect();
        newest.sort_unstable_by_key(|(timestamp, sent)| (sent.since, **timestamp));
        let (mut total, mut groups) = ((0, 0), BTreeMap::<_, (usize, usize)>::new());
        let with = |size: (usize, usize), sent: &SentToGroup, max: (usize, usize)| {
            let (count, bytes) = (size.0 + 1, size.1.saturating_add(sent.len()));
            (count <= max.0 && bytes <= max.1).then_some((count, bytes))
        };
        let is_surplus = |(timestamp, sent): (&Timestamp, &SentToGroup)| {
            let of_group = groups.entry(sent.group).or_default();
            let sizes = with(*of_group, sent, MAX_OF_GROUP).zip(with(total, sent, MAX));
            let Some(sizes) = sizes.filter(|_| !sent.is_over(now)) else {
                return Some(*timestamp);
            };
            (*of_group, total) = sizes;
            None
        };
        newest.into_iter().rev().filter_map(is_surplus).collect()
    }

    /// When the next message must be forgotten.
    pub(in super::super) fn next_end(&self) -> Option<Timestamp> {
        let ends = self.messages.values().map(|sent| sent.since.0.saturating_add(sent.kept));
        ends.min().map(Timestamp)
    }

    /// The messages that must be sent again to the devices of an account.
    pub(in super::super) fn wanted_by(&self, account: AccountId) -> Vec<(Address, Timestamp)> {
        self.wanted().filter(|(to, _)| to.account == account).collect()
    }

    /// The accounts to which something must be sent again.
    pub(in super::super) fn wanting_accounts(&self) -> BTreeSet<AccountId> {
        self.wanted().map(|(to, _)| to.account).collect()
    }

    fn wanted(&self) -> impl Iterator<Item = (Address, Timestamp)> {
        let wanted = self.resends.iter().filter(|(_, resend)| resend.is_wanted);
        wanted.map(|((timestamp, to), _)| (*to, *timestamp))
    }

    /// The padded content of a message.
    pub(in super::super) fn plaintext(&self, timestamp: Timestamp) -> Option<&Zeroizing<Vec<u8>>> {
        self.messages.get(&timestamp).map(|sent| &sent.plaintext)
    }

    /// Restores one of its rows.
    pub(super) fn restore(
        &mut self,
        key: StoreKey,
        value: &mut Reader<'_>,
    ) -> Result<(), RestoreError> {
        if let StoreKey::SentToGroup(timestamp) = key {
            self.messages.insert(timestamp, SentToGroup::decode(value)?);
        } else if let StoreKey::ResentToGroup { to, timestamp } = key {
            let resend = Resend { count: value.u8()?, is_wanted: read_flag(value)? };
            self.resends.insert((timestamp, to), resend);
        }
        Ok(())
    }
}

impl Client {
    /// A message to a group is encrypted: remembers it in case that a device cannot decrypt it.
    pub(super) fn log_sent_to_group(
        &mut self,
        now: Timestamp,
        (group, timestamp): (GroupId, Timestamp),
        recipients: &[SealedRecipient],
        plaintext: Zeroizing<Vec<u8>>,
        changes: &mut Changes,
    ) {
        let members = recipients.iter().map(|member| (member.account, member.identity)).collect();
        let devices = recipients.iter().flat_map(|member| {
            let account = member.account;
            member.devices.iter().map(move |it| Address { account, device: it.device })
        });
        let devices = devices.collect();
        let kept = written::kept(&plaintext);
        let mut sent = SentToGroup { since: now, group, members, devices, plaintext, kept };
        // If it was encrypted before, others may have got it then.
        if let Some(before) = self.groups.sent.messages.get(&timestamp) {
            before.members.iter().for_each(|(account, identity)| {
                sent.members.entry(*account).or_insert(*identity);
            });
            sent.devices.extend(&before.devices);
        }
        self.forget_deleted(Written::read(timestamp, &sent.plaintext), changes);
        self.put_sent_to_group(timestamp, sent, changes);
        self.trim_sent_to_groups(now, changes);
    }

    /// Forgets the messages that are too old or too many.
    pub(in super::super) fn trim_sent_to_groups(&mut self, now: Timestamp, changes: &mut Changes) {
        for surplus in self.groups.sent.surplus(now) {
            self.forget_sent_to_group(surplus, changes);
        }
    }

    /// Forgets all versions of a message.
    pub(in super::super) fn forget_versions_to_groups(
        &mut self,
        message: Timestamp,
        changes: &mut Changes,
    ) {
        let sent = self.groups.sent.messages.iter();
        let sent = sent.map(|(name, sent)| (*name, Written::read(*name, &sent.plaintext)));
        for version in written::versions_of(message, sent) {
            self.forget_sent_to_group(version, changes);
            changes.erases = true;
        }
    }

    /// A message goes to more members, who had to wait for its key.
    pub(super) fn extend_sent_to_group(
        &mut self,
        timestamp: Timestamp,
        recipients: &[SealedRecipient],
        changes: &mut Changes,
    ) {
        let Some(mut sent) = self.groups.sent.messages.get(&timestamp).cloned() else { return };
        for SealedRecipient { account, identity, devices } in recipients {
            sent.members.entry(*account).or_insert(*identity);
            let address = |device| Address { account: *account, device };
            sent.devices.extend(devices.iter().map(|it| address(it.device)));
        }
        self.put_sent_to_group(timestamp, sent, changes);
    }

    /// The server has accepted a message, perhaps long after it was encrypted.
    pub(super) fn renew_sent_to_group(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        changes: &mut Changes,
    ) {
        let sent = self.groups.sent.messages.get(&timestamp);
        if let Some(sent) = sent.filter(|sent| now.since(sent.since) >= RENEWED).cloned() {
            self.put_sent_to_group(timestamp, SentToGroup { since: now, ..sent }, changes);
        }
    }

    fn put_sent_to_group(
        &mut self,
        timestamp: Timestamp,
        sent: SentToGroup,
        changes: &mut Changes,
    ) {
        changes.put(StoreKey::SentToGroup(timestamp), sent.encode());
        self.groups.sent.messages.insert(timestamp, sent);
    }

    fn forget_sent_to_group(&mut self, timestamp: Timestamp, changes: &mut Changes) {
        self.groups.sent.messages.remove(&timestamp);
        changes.delete(StoreKey::SentToGroup(timestamp));
        self.groups.sent.resends.retain(|(message, to), _| {
            if *message == timestamp {
                changes.delete(StoreKey::ResentToGroup { to: *to, timestamp });
            }
            *message != timestamp
        });
    }

    /// Whether a device may get a message again: it was encrypted for the device, and the identity key of that time is still the
    /// accepted one. Whether its owner has left the group since does not matter.
    pub(in super::super) fn may_get_again(&self, to: Address, timestamp: Timestamp) -> bool {
        let Some(sent) = self.groups.sent.messages.get(&timestamp) else { return false };
        let identity = sent.members.get(&to.account);
        let accepted = self.peers.get(&to.account).map(|peer| &peer.identity);
        sent.devices.contains(&to) && identity.is_some() && identity == accepted
    }

    /// A device could not decrypt a message to a group, or somebody claims that.
    pub(in super::super) fn group_message_requested(
        &mut self,
        now: Timestamp,
        from: Address,
        timestamp: Timestamp,
        changes: &mut Changes,
    ) -> Requested {
        let Some(sent) = self.groups.sent.messages.get(&timestamp) else {
            return Requested::Unknown;
        };
        let group = sent.group;
        if !self.may_get_again(from, timestamp) {
            return Requested::Refused;
        }
        let mut resend =
            self.groups.sent.resends.get(&(timestamp, from)).copied().unwrap_or_default();
        if !resend.is_wanted && resend.count < MAX_RESENDS {
            resend = Resend { count: resend.count + 1, is_wanted: true };
            self.put_resend(from, timestamp, resend, changes);
            self.send_key_again(now, group, from, changes);
        }
        Requested::Accepted
    }

    fn put_resend(
        &mut self,
        to: Address,
        timestamp: Timestamp,
        resend: Resend,
        changes: &mut Changes,
    ) {
        let value = vec![resend.count, resend.is_wanted.into()];
        changes.put(StoreKey::ResentToGroup { to, timestamp }, value);
        self.groups.sent.resends.insert((timestamp, to), resend);
    }

    /// A device may have lost our sender key. Others that do not have it get it with the next message.
    fn send_key_again(
        &mut self,
        now: Timestamp,
        group: GroupId,
        to: Address,
        changes: &mut Changes,
    ) {
        // Nor to somebody whom an administrator is removing at the moment.
        let known = self.groups.groups.get(&group).filter(|it| !it.is_removing(to.account));
        let members = known.and_then(|group| group.state()).map(|state| &state.members);
        let member = members.and_then(|members| members.get(&to.account));
        let accepted = self.peers.get(&to.account).map(|peer| peer.identity);
        let is_member = member.is_some_and(|member| Some(member.identity) == accepted);
        let own = self.groups.own.get(&group);
        let is_holder = own.is_some_and(|own| own.holders.contains_key(&to));
        // One at a time is enough.
        let mut controls = self.groups.controls.iter().filter_map(|it| self.outbox.get(it));
        let is_on_its_way = controls.any(|outgoing| outgoing.to == to.account);
        if is_member
            && is_holder
            && !is_on_its_way
            && self.repairs.may_send_key(now, to)
            && let Some(content) = self.key_for_members(group)
        {
            self.put_group_control(now, to.account, content, changes);
        }
    }

    /// A message does not need to be sent to a device any more.
    pub(in super::super) fn end_group_resend(&mut self, to: Address, timestamp: Timestamp) {
        let resend = self.groups.sent.resends.get(&(timestamp, to)).copied();
        if let Some(resend) = resend.filter(|resend| resend.is_wanted) {
            let mut changes = Changes::default();
            self.put_resend(to, timestamp, Resend { is_wanted: false, ..resend }, &mut changes);
            self.commit(changes, Vec::new());
        }
    }

    /// The device was registered again: tries once more. Whether there was such a message.
    pub(in super::super) fn repeat_group_resend(
        &mut self,
        to: Address,
        timestamp: Timestamp,
        changes: &mut Changes,
    ) -> bool {
        let resend = self.groups.sent.resends.get(&(timestamp, to)).copied();
        let Some(resend) = resend.filter(|resend| resend.is_wanted) else { return false };
        let is_wanted = resend.count < MAX_RESENDS;
        let count = resend.count.saturating_add(1);
        self.put_resend(to, timestamp, Resend { count, is_wanted }, changes);
        true
    }
}

/// Milliseconds after which a message that the server accepts is kept as if it were new.
const RENEWED: u64 = DAY / 24;

/// Messages and bytes that are kept for one group.
const MAX_OF_GROUP: (usize, usize) = (500, 2 << 20);

/// Messages and bytes that are kept in total.
const MAX: (usize, usize) = (2_000, 8 << 20);

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::address::DeviceId;
    use crate::client::sent_log::KEPT;
    use crate::key::KeyPair;

    fn sent(since: u64, group: u8, bytes: usize) -> SentToGroup {
        let pair = KeyPair::random(&mut ChaCha8Rng::seed_from_u64(1));
        let account = AccountId::from_bytes([1; 16]);
        SentToGroup {
            since: Timestamp(since),
            group: GroupId::from_bytes([group; 16]),
            members: BTreeMap::from([(account, *pair.public())]),
            devices: BTreeSet::from([Address { account, device: DeviceId::PRIMARY }]),
            plaintext: Zeroizing::new(vec![7; bytes]),
            kept: KEPT,
        }
    }

    #[test]
    fn the_log_is_bounded_for_each_group_in_total_and_in_time() {
        let mut log = GroupSentLog::default();
        let mut put = |time: u64, group, bytes| {
            log.messages.insert(Timestamp(time), sent(time, group, bytes));
            let surplus = log.surplus(Timestamp(time));
            surplus.iter().for_each(|old| drop(log.messages.remove(old)));
            surplus
        };
        assert_eq!(put(1, 1, 10), []);
        let dropped: Vec<_> = (2..=601).flat_map(|time| put(time, 2, 10)).collect();
        assert_eq!(dropped.len(), 100, "of the other group only");
        assert!(!dropped.contains(&Timestamp(1)));
        assert_eq!(put(700, 3, 2 << 20), [Timestamp(700)], "longer than everything together");
        let dropped: Vec<_> =
            (4..=9).flat_map(|group| put(1000 + u64::from(group), group, 2_000_000)).collect();
        assert_eq!(dropped, [1004, 1005].map(Timestamp), "the oldest for which there is no room");
        assert_eq!(put(DAY + 1005, 1, 10).len(), 501, "older than a day");
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let sent = sent(1, 2, 300);
        let value = sent.encode();
        assert_eq!(SentToGroup::decode(&mut Reader::new(&value)), Ok(sent));
        assert_eq!(SentToGroup::decode(&mut Reader::new(&value[..90])), Err(RestoreError::Damaged));
    }
}
