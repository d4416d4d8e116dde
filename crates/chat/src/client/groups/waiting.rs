//! Messages to groups that the server has for some members only: it had no room for the others.
//!
//! Such a message is set aside, so that later ones do not wait for it. It is sent to the others again and again, with pauses
//! that grow, unchanged for the same devices: they have its key, whatever has become of our current one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::CryptoRngCore;

use super::super::pending::Purpose;
use super::super::store::Changes;
use super::super::{ClientEvent, ClientOutput, SendFailure};
use super::send::GroupMessage;
use super::{Client, GroupEvent, Membership, PartlySent};
use crate::address::{AccountId, Address};
use crate::group::GroupId;
use crate::time::Timestamp;

/// The members who have not got a message yet, after others have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Waiting {
    pub(super) accounts: BTreeSet<AccountId>,
    /// Their devices that have the key of the encrypted message, and their registration ids. Empty if it must be encrypted again.
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
}

impl GroupMessage {
    /// Whether later messages may be sent before it.
    pub(super) fn is_set_aside(&self) -> bool {
        let waits = self.waiting.as_ref().is_some_and(|waiting| !waiting.devices.is_empty());
        waits && self.encrypted.is_some()
    }
}

impl Client {
    /// The members who have not got one of our messages yet, because the server had no room for them.
    pub fn waiting_members(&self, message: Timestamp) -> Vec<AccountId> {
        let waiting = self.groups.outbox.get(&message).and_then(|it| it.waiting.as_ref());
        waiting.into_iter().flat_map(|waiting| waiting.accounts.iter().copied()).collect()
    }

    /// When the next message must be sent again.
    pub(in super::super) fn waiting_deadline(&self) -> Option<Timestamp> {
        let messages = self.groups.outbox.values().filter(|message| message.is_set_aside());
        messages.filter_map(|message| Some(message.waiting.as_ref()?.due)).min()
    }

    /// The time for some messages may have come.
    pub(in super::super) fn wake_waiting(&mut self, now: Timestamp) {
        let groups = &mut self.groups;
        for message in groups.outbox.values_mut().filter(|message| message.is_set_aside()) {
            let Some(waiting) = &mut message.waiting else { continue };
            // A time far in the future comes from a clock that was wrong.
            if waiting.due <= now || waiting.due > later(now, super::super::MAX_PAUSE) {
                waiting.postpone(now);
                waiting.is_awake = true;
                groups.dirty.insert(message.group);
            }
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
            message.group == id && message.is_set_aside() && waiting.is_some_and(|it| it.is_awake)
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
        if !waits {
            return self.group_message_sent(now, timestamp);
        }
        if !message.is_set_aside() {
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
        let mut waiting = message.waiting.clone().unwrap_or_default();
        let sealed_for = &message.sealed_for;
        let is_full = |address: &Address| full.contains(&address.account);
        let devices = sealed_for.iter().filter(|(address, _)| is_full(address));
        waiting.devices = devices.map(|(address, id)| (*address, *id)).collect();
        waiting.accounts = waiting.devices.keys().map(|address| address.account).collect();
        if !message.is_written() {
            // What it says is also in the log.
            return self.group_message_sent(now, timestamp);
        }
        let report = self.reach(timestamp, message, &waiting.accounts);
        let id = message.group;
        let is_first = message.waiting.is_none();
        if waiting.devices.is_empty() {
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

    /// Who gets a message for whose recipients some have to wait.
    fn reach(
        &self,
        timestamp: Timestamp,
        message: &GroupMessage,
        waiting: &BTreeSet<AccountId>,
    ) -> PartlySent {
        let sealed_for: BTreeSet<_> =
            message.sealed_for.keys().map(|address| address.account).collect();
        let before = message.waiting.as_ref();
        // Whoever is not among those who had to wait before has got it already.
        let has_it = |account: &AccountId| match before {
            None => {
                let is_gone = self.groups.absent.contains(account);
                sealed_for.contains(account) && !waiting.contains(account) && !is_gone
            }
            Some(before) => !before.accounts.contains(account) || !waiting.contains(account),
        };
        let members = self.group_state(message.group).map(|state| state.members.keys());
        let others = members.into_iter().flatten().filter(|it| **it != self.us.account);
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
        let waiting = self.groups.outbox.iter().filter(|(_, message)| message.is_set_aside());
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

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
}

/// The first pause is that of so many attempts: 8 seconds.
const FIRST_PAUSE: u32 = 2;

/// Maximum number of messages that wait for members.
const MAX_WAITING: usize = 500;

/// Maximum number of their bytes.
const MAX_WAITING_BYTES: usize = 8 << 20;
