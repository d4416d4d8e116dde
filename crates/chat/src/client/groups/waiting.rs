//! Messages to groups that the server has for some members only: it had no room for the others.
//!
//! Such a message is set aside, so that later ones do not wait for it.
//!
//! | a member without room | gets the message |
//! |---|---|
//! | has its key | unchanged: it is sent again and again, with pauses that grow |
//! | does not have our sender key yet | unchanged, as soon as the server has the message that carries the key |
//! | does not have our sender key, and it was replaced since | encrypted again with the new key, once all that have the old one have got it |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::CryptoRngCore;

use super::super::pending::Purpose;
use super::super::store::Changes;
use super::super::{ClientEvent, ClientOutput, SendFailure};
use super::message::GroupMessage;
use super::{Client, GroupEvent, Membership, PartlySent};
use crate::address::{AccountId, Address, DeviceId};
use crate::group::GroupId;
use crate::sealed_sender::SealedRecipient;
use crate::time::Timestamp;

/// The members who have not got a message yet, after others have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Waiting {
    pub(super) accounts: BTreeSet<AccountId>,
    /// Their devices that have the key of the encrypted message, and their registration ids. Accounts without any need our sender key
    /// first.
    pub(super) devices: BTreeMap<Address, u32>,
    /// How often the server had no room, since this program was started.
    tries: u32,
    /// When to try again.
    due: Timestamp,
    /// Whether that time has come.
    is_awake: bool,
}

impl Waiting {
    fn postpone(&mut self, now: Timestamp) {
        let pause = Client::pause(self.tries.saturating_add(FIRST_PAUSE));
        self.due = later(now, pause);
        self.is_awake = false;
    }

    /// Whether an account needs our sender key first.
    pub(super) fn lacks_key(&self, account: AccountId) -> bool {
        self.accounts.contains(&account) && !self.has_key(account)
    }

    fn has_key(&self, account: AccountId) -> bool {
        let first = Address { account, device: DeviceId::PRIMARY };
        let next = self.devices.range(first..).next();
        next.is_some_and(|(address, _)| address.account == account)
    }
}

impl GroupMessage {
    /// Whether devices of members without room have its key.
    pub(super) fn can_be_repeated(&self) -> bool {
        let waiting = self.waiting.as_ref();
        self.encrypted.is_some() && waiting.is_some_and(|waiting| !waiting.devices.is_empty())
    }

    /// If no waiting member has the key of the message, it is encrypted again.
    fn drop_old_ciphertext(&mut self) {
        if self.has_old_key && self.waiting.is_some() && !self.can_be_repeated() {
            (self.encrypted, self.has_old_key) = (None, false);
        }
    }
}

impl Client {
    /// The members who have not got one of our messages yet, because the server had no room for them.
    pub fn waiting_members(&self, message: Timestamp) -> Vec<AccountId> {
        let waiting = self.groups.outbox.get(&message).and_then(|it| it.waiting.as_ref());
        waiting.into_iter().flat_map(|waiting| waiting.accounts.iter().copied()).collect()
    }

    /// Whether later messages may be sent before a message. `keyless` are the members to whom our sender key is on its way.
    pub(super) fn is_set_aside(
        &self,
        message: &GroupMessage,
        keyless: &BTreeSet<AccountId>,
    ) -> bool {
        let Some(waiting) = &message.waiting else { return false };
        let is_encrypted = message.encrypted.is_some();
        let waits = |account: &&AccountId| {
            // An unencrypted message waits like any other message, if the key may arrive soon.
            let has_time = is_encrypted || self.groups.without_room.contains(account);
            has_time && keyless.contains(account)
        };
        let (waiting_for_key, others): (Vec<_>, Vec<_>) = waiting.accounts.iter().partition(waits);
        let group = self.groups.groups.get(&message.group);
        let is_reachable = |account: &AccountId| {
            group.is_some_and(|group| group.is_staying(*account))
                && !self.groups.absent.contains(account)
                && !self.is_unsettled(message.group, *account)
        };
        message.can_be_repeated()
            || !waiting_for_key.is_empty() && !others.into_iter().any(is_reachable)
    }

    /// When the next message must be sent again.
    pub(in super::super) fn waiting_deadline(&self) -> Option<Timestamp> {
        let messages = self.groups.outbox.values().filter(|message| message.can_be_repeated());
        messages.filter_map(|message| Some(message.waiting.as_ref()?.due)).min()
    }

    /// The time for some messages may have come.
    pub(in super::super) fn wake_waiting(&mut self, now: Timestamp) {
        let groups = &mut self.groups;
        for message in groups.outbox.values_mut().filter(|message| message.can_be_repeated()) {
            let Some(waiting) = &mut message.waiting else { continue };
            // A time far in the future comes from a clock that was wrong.
            if waiting.due <= now || waiting.due > later(now, super::super::MAX_PAUSE) {
                waiting.postpone(now);
                waiting.is_awake = true;
                groups.dirty.insert(message.group);
            }
        }
    }

    /// An account has our sender key now: it gets what has waited for that.
    pub(super) fn wake_waiting_for(&mut self, id: GroupId, account: AccountId) {
        let messages = self.groups.outbox.values_mut().filter(|message| message.group == id);
        for waiting in messages.filter_map(|message| message.waiting.as_mut()) {
            waiting.is_awake |= waiting.lacks_key(account);
        }
    }

    /// Our sender key is replaced: members who have waited for the old key do not get it any more.
    pub(super) fn encrypt_waiting_again(&mut self, id: GroupId, changes: &mut Changes) {
        let messages = self.groups.outbox.iter_mut().filter(|(_, message)| message.group == id);
        for (timestamp, message) in messages.filter(|(_, message)| message.encrypted.is_some()) {
            message.has_old_key = true;
            message.drop_old_ciphertext();
            changes.put_group_outgoing(*timestamp, message);
            self.groups.dirty.insert(id);
        }
    }

    /// Devices that had to wait for our sender key get a message: from now on, they are among those that have its key.
    pub(super) fn add_recipients(
        &mut self,
        timestamp: Timestamp,
        recipients: &[SealedRecipient],
        changes: &mut Changes,
    ) {
        let Some(message) = self.groups.outbox.get_mut(&timestamp) else { return };
        let Some(waiting) = &mut message.waiting else { return };
        let is_new = |address: &Address| !waiting.devices.contains_key(address);
        if message.sealed_for.keys().any(is_new) {
            waiting.devices.extend(&message.sealed_for);
            changes.put_group_outgoing(timestamp, message);
            self.extend_sent_to_group(timestamp, recipients, changes);
        }
    }

    /// Sends the messages of a group again for which the time has come.
    pub(super) fn send_waiting_messages(
        &mut self,
        now: Timestamp,
        id: GroupId,
        rng: &mut impl CryptoRngCore,
    ) {
        if self.group_membership(id) != Some(Membership::Member) {
            return;
        }
        let is_awake = |message: &GroupMessage| {
            let waiting = message.waiting.as_ref();
            message.group == id
                && message.can_be_repeated()
                && waiting.is_some_and(|it| it.is_awake)
        };
        let awake = self.groups.outbox.iter().filter(|(_, message)| is_awake(message));
        let awake: Vec<_> = awake.map(|(timestamp, _)| *timestamp).collect();
        for timestamp in awake {
            if !self.pending.has(Purpose::GroupSend(timestamp)) {
                self.send_group_message(now, timestamp, rng);
            }
        }
    }

    /// No device can get a message now.
    pub(super) fn nobody_to_send_to(&mut self, now: Timestamp, timestamp: Timestamp) {
        let Some(message) = self.groups.outbox.get(&timestamp) else { return };
        let members = self.group_state(message.group).map(|state| &state.members);
        let is_member = |account: &AccountId| members.is_some_and(|it| it.contains_key(account));
        let waits = message.waiting.as_ref().is_some_and(|it| it.accounts.iter().any(is_member));
        let is_for_somebody = message.audience.as_ref().is_some_and(|it| !it.is_empty());
        if !waits && is_for_somebody && message.waiting.is_none() {
            // The people for whom it was written do not join any more.
            let changes = Changes::default();
            return self.give_up_group_message(timestamp, SendFailure::NoDevice, changes);
        }
        if !waits {
            return self.group_message_sent(now, timestamp);
        }
        if !message.can_be_repeated() {
            // Those who had no room have no device any more, or another identity key.
            let changes = Changes::default();
            return self.give_up_group_message(timestamp, SendFailure::NoDevice, changes);
        }
        // The user has not accepted the new identity key of somebody.
        if let Some(message) = self.groups.outbox.get_mut(&timestamp)
            && let Some(waiting) = &mut message.waiting
        {
            waiting.postpone(now);
        }
    }

    /// The server has a message, but not for the members for whom it has no room.
    pub(super) fn group_message_stored(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        full: &[AccountId],
    ) {
        let Some(message) = self.groups.outbox.get(&timestamp) else { return };
        if !message.is_written() {
            // Its contents are also in the log.
            return self.group_message_sent(now, timestamp);
        }
        let mut waiting = self.left_over(message, full);
        let report = self.reach(timestamp, message, &waiting.accounts);
        let id = message.group;
        let is_first = message.waiting.is_none();
        if waiting.accounts.is_empty() {
            if is_first && !report.unreachable.is_empty() {
                let event = ClientEvent::Group(id, GroupEvent::PartlySent(report));
                self.after_commits(vec![ClientOutput::Event(event)]);
            }
            return self.group_message_sent(now, timestamp);
        }
        waiting.tries = waiting.tries.saturating_add(1);
        waiting.postpone(now);
        self.set_aside(now, timestamp, waiting, report);
    }

    /// The members that have to wait for a message, after the server has had no room for `full`.
    fn left_over(&self, message: &GroupMessage, full: &[AccountId]) -> Waiting {
        let sealed_for = &message.sealed_for;
        let group = self.groups.groups.get(&message.group);
        let stays = |account: &AccountId| group.is_some_and(|group| group.is_staying(*account));
        let tried: BTreeSet<_> = sealed_for.keys().map(|address| address.account).collect();
        let mut waiting = message.waiting.clone().unwrap_or_default();
        waiting.accounts.extend(&message.keyless);
        waiting.accounts.retain(|account| !tried.contains(account) && stays(account));
        waiting.accounts.extend(full.iter().filter(|account| tried.contains(account)));
        waiting.devices.extend(sealed_for);
        waiting.devices.retain(|address, _| waiting.accounts.contains(&address.account));
        waiting
    }

    /// The members that get a message now, while others wait for it.
    fn reach(
        &self,
        timestamp: Timestamp,
        message: &GroupMessage,
        waiting: &BTreeSet<AccountId>,
    ) -> PartlySent {
        let sealed_for: BTreeSet<_> =
            message.sealed_for.keys().map(|address| address.account).collect();
        let before = message.waiting.as_ref();
        // A member that did not have to wait before has already got it.
        let has_it = |account: &AccountId| match before {
            None => {
                let is_gone = self.groups.absent.contains(account);
                sealed_for.contains(account) && !waiting.contains(account) && !is_gone
            }
            Some(before) => !before.accounts.contains(account) || !waiting.contains(account),
        };
        let members = self.group_state(message.group).map(|state| state.members.keys());
        let others = members.into_iter().flatten();
        let others = others.filter(|it| **it != self.us.account && message.is_for(**it));
        let (sent, rest): (Vec<_>, Vec<_>) = others.copied().partition(has_it);
        let unreachable = rest.into_iter().filter(|account| !waiting.contains(account));
        let waiting = waiting.iter().copied().collect();
        PartlySent { timestamp, sent: sent.len(), waiting, unreachable: unreachable.collect() }
    }

    /// Keeps a message for those who have not got it.
    fn set_aside(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        waiting: Waiting,
        report: PartlySent,
    ) {
        let Some(mut message) = self.groups.outbox.remove(&timestamp) else { return };
        let mut changes = Changes::default();
        let (id, is_first) = (message.group, message.waiting.is_none());
        let copy =
            if is_first { self.copy_of(now, timestamp, &message, &mut changes) } else { None };
        let is_new = message.waiting.as_ref().map(|it| &it.accounts) != Some(&waiting.accounts);
        message.waiting = Some(waiting);
        message.drop_old_ciphertext();
        changes.put_group_outgoing(timestamp, &message);
        self.renew_sent_to_group(now, timestamp, &mut changes);
        self.groups.outbox.insert(timestamp, message);
        self.groups.dirty.insert(id);
        self.limit_waiting(&mut changes);
        let mut events = self.take_group_events();
        if is_new {
            let event = ClientEvent::Group(id, GroupEvent::PartlySent(report));
            events.push(ClientOutput::Event(event));
        }
        self.commit(changes, events);
        if let Some(copy) = copy {
            self.advance(now, copy);
        }
    }

    /// Gives up the oldest messages that wait, if there are too many: a member may never fetch anything again.
    fn limit_waiting(&mut self, changes: &mut Changes) {
        let waiting = self.groups.outbox.iter().filter(|(_, message)| message.waiting.is_some());
        let (mut count, mut bytes, mut surplus) = (0_usize, 0_usize, Vec::new());
        for (timestamp, message) in waiting.rev() {
            let encrypted = message.encrypted.as_ref().map_or(0, |it| it.len());
            count += 1;
            bytes = bytes.saturating_add(encrypted).saturating_add(message.content.len());
            if count > MAX_WAITING || bytes > MAX_WAITING_BYTES {
                surplus.push(*timestamp);
            }
        }
        for timestamp in surplus {
            self.drop_group_message(timestamp, SendFailure::NoRoom, changes);
        }
    }
}

/// The time after a pause.
pub(super) fn later(now: Timestamp, pause: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
}

/// The first pause is that of so many attempts: 8 seconds.
const FIRST_PAUSE: u32 = 2;

/// Maximum number of messages that wait for members.
const MAX_WAITING: usize = 500;

/// Maximum number of their bytes.
const MAX_WAITING_BYTES: usize = 8 << 20;
