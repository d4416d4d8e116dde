//! The response of the server to a message to a group: the message is stored, must be encrypted again, or can never be sent.

use std::collections::BTreeSet;

use super::GroupEvent;
use super::message::GroupMessage;
use crate::address::Address;
use crate::client::exchange::{AccountDevices, Response};
use crate::client::pending::Purpose;
use crate::client::store::{Changes, OutboxChange, StoreKey};
use crate::client::{Client, ClientEvent, ClientOutput, SendFailure};
use crate::content::{Content, GroupTranscript, SyncMessage};
use crate::time::Timestamp;

impl Client {
    /// Handles the response to a message.
    pub(in crate::client) fn handle_group_send_response(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        response: Response,
    ) {
        match response {
            Response::Done | Response::Sent { .. } => {
                self.group_message_stored(now, timestamp, &[]);
            }
            Response::GroupSent { gone, full } => {
                self.groups.absent.extend(gone);
                self.group_message_stored(now, timestamp, &full);
            }
            Response::GroupMismatched(accounts) if accounts.is_empty() => {}
            Response::GroupMismatched(accounts) => self.repair_group(timestamp, accounts),
            Response::Refused | Response::NotFound | Response::IntraApp => {
                self.give_up_group_message(timestamp, SendFailure::Refused, Changes::default());
            }
            Response::Bundles(..)
            | Response::Certificate(_)
            | Response::DeviceList(_)
            | Response::DeviceListConflict
            | Response::GroupConflict { .. }
            | Response::GroupEntries { .. }
            | Response::Mismatched { .. }
            | Response::NoRoom
            | Response::Stale(_)
            | Response::Unavailable => {}
        }
    }

    /// The server has delivered nothing: members have other devices than those with our key.
    fn repair_group(&mut self, timestamp: Timestamp, accounts: Vec<AccountDevices>) {
        let mut changes = Changes::default();
        let groups = &mut self.groups;
        let Some(message) = groups.outbox.get_mut(&timestamp) else { return };
        let id = message.group;
        (message.encrypted, message.has_old_key) = (None, false);
        if let Some(waiting) = &mut message.waiting {
            waiting.devices.clear();
        }
        message.attempts += 1;
        let attempts = message.attempts;
        let insists = |it: &&AccountDevices| {
            let is_gone = !it.extra.is_empty() || !it.stale.is_empty();
            !is_gone && self.are_left_out(it.account, &it.missing)
        };
        // The others get it without these members.
        let refused: BTreeSet<_> = match attempts > MAX_INSISTENCE {
            true => accounts.iter().filter(insists).map(|it| it.account).collect(),
            false => BTreeSet::new(),
        };
        if attempts > MAX_ATTEMPTS && refused.is_subset(&self.groups.absent) {
            let why = SendFailure::DevicesKeepChanging;
            return self.give_up_group_message(timestamp, why, changes);
        }
        let groups = &mut self.groups;
        groups.absent.extend(&refused);
        if accounts.iter().all(|it| refused.contains(&it.account)) {
            // Nothing else is requested whose answer would continue.
            groups.dirty.insert(id);
        }
        let Some(message) = groups.outbox.get_mut(&timestamp) else { return };
        changes.put_group_outgoing(timestamp, message);
        // A device that has left can read what is encrypted with this key.
        let has_left = accounts.iter().any(|it| !it.extra.is_empty() || !it.stale.is_empty());
        if has_left && groups.own.remove(&id).is_some() {
            changes.delete(StoreKey::OwnSenderKey(id));
            self.cancel_distributions(id, &mut changes);
        }
        for AccountDevices { account, extra, stale, .. } in &accounts {
            // The server may name a device any number of times.
            for device in extra.iter().chain(stale).collect::<BTreeSet<_>>() {
                let address = Address { account: *account, device: *device };
                if let Some(record) = self.sessions.get_mut(&address) {
                    record.archive();
                    changes.put_session(address, record, &mut self.archived_rows);
                }
            }
        }
        self.commit(changes, Vec::new());
        let asked = accounts.into_iter().filter(|it| !refused.contains(&it.account));
        asked.for_each(|it| self.request_bundles(it.account));
    }

    /// The server has a message for all members.
    pub(super) fn group_message_sent(&mut self, now: Timestamp, timestamp: Timestamp) {
        let Some(message) = self.groups.outbox.remove(&timestamp) else { return };
        let mut changes = Changes::default();
        changes.delete(StoreKey::GroupOutgoing(timestamp));
        changes.outbox.extend(message.is_written().then_some(OutboxChange::Sent(timestamp)));
        self.renew_sent_to_group(now, timestamp, &mut changes);
        self.groups.dirty.insert(message.group);
        // If some had to wait, our other devices know it already.
        let is_new = message.waiting.is_none();
        let copy = if is_new { self.copy_of(now, timestamp, &message, &mut changes) } else { None };
        let sent = ClientEvent::Group(message.group, GroupEvent::Sent(timestamp));
        let event = message.is_written().then_some(ClientOutput::Event(sent));
        self.commit(changes, event.into_iter().collect());
        if let Some(copy) = copy {
            self.advance(now, copy);
        }
    }

    /// Our other devices must learn what we have sent. Returns the timestamp of the message for them.
    pub(super) fn copy_of(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        message: &GroupMessage,
        changes: &mut Changes,
    ) -> Option<Timestamp> {
        let content = Content::decode_stored(&message.content).ok();
        let written = if let Some(Content::Data(data)) = content {
            Some((*data, None))
        } else if let Some(Content::Edit(edit)) = content {
            Some((edit.message, Some(edit.target)))
        } else {
            None
        };
        match written {
            Some((written, edits)) if self.groups.other_devices != Some(false) => {
                let group = message.group;
                let transcript = GroupTranscript { group, timestamp, message: written, edits };
                let sync = SyncMessage::SentToGroup(Box::new(transcript)).encode();
                Some(self.put_sync(now, &Content::Sync(sync.to_vec()), changes))
            }
            Some(_) | None => None,
        }
    }

    pub(super) fn give_up_group_message(
        &mut self,
        timestamp: Timestamp,
        why: SendFailure,
        mut changes: Changes,
    ) {
        self.drop_group_message(timestamp, why, &mut changes);
        let events = self.take_group_events();
        self.commit(changes, events);
    }

    /// Removes a message from the outbox, because it cannot be sent.
    pub(super) fn drop_group_message(
        &mut self,
        timestamp: Timestamp,
        why: SendFailure,
        changes: &mut Changes,
    ) {
        let Some(message) = self.groups.outbox.remove(&timestamp) else { return };
        self.pending.forget(Purpose::GroupSend(timestamp));
        changes.delete(StoreKey::GroupOutgoing(timestamp));
        if message.is_written() {
            let event = match message.waiting {
                None => {
                    changes.failed.push(message.failed(timestamp, self.us.account, why));
                    GroupEvent::NotSent(timestamp, why)
                }
                // The others have it.
                Some(waiting) => {
                    changes.outbox.push(OutboxChange::Sent(timestamp));
                    GroupEvent::NotSentTo(timestamp, waiting.accounts.into_iter().collect(), why)
                }
            };
            self.group_event(message.group, event);
        }
    }
}

/// How many times a message is encrypted again because the server reported different devices.
const MAX_ATTEMPTS: u32 = 5;

/// The same, if it wants the message to go to devices that a member has not signed: then this member does not get it.
const MAX_INSISTENCE: u32 = 2;
