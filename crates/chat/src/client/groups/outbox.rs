//! The messages to groups that the server has not accepted yet, as an application sees them.

use super::super::pending::Purpose;
use super::super::store::{Changes, OutboxChange, StoreKey};
use super::super::{Client, ClientEvent, ClientOutput, Failed, SendFailure};
use super::message::GroupMessage;
use super::{Group, Membership};
use crate::address::AccountId;
use crate::content::{Content, GroupContent};
use crate::group::GroupId;
use crate::time::Timestamp;

impl Client {
    /// The groups of the messages to groups, and the bytes of each message.
    pub fn group_outbox_bytes(&self) -> impl Iterator<Item = (GroupId, usize)> {
        let messages = self.groups.outbox.values().filter(|message| message.is_written());
        messages.map(|message| {
            let encrypted = message.encrypted.as_ref().map_or(0, |bytes| bytes.len());
            (message.group, message.content.len() + encrypted)
        })
    }

    /// The contents of a message to a group. `None` if there is no such message.
    pub fn group_outbox_content(&self, message: Timestamp) -> Option<Content> {
        let message = self.groups.outbox.get(&message).filter(|message| message.is_written())?;
        Content::decode_stored(&message.content).ok()
    }

    pub(in super::super) fn is_group_message_encrypted(&self, message: Timestamp) -> bool {
        self.groups.outbox.get(&message).is_some_and(|message| message.encrypted.is_some())
    }

    /// Whether an account is a member of one of our groups.
    pub fn shares_group_with(&self, account: AccountId) -> bool {
        let us = self.us.account;
        let is_shared = |group: &Group| {
            let state = group.state();
            group.membership(us) == Membership::Member
                && state.is_some_and(|state| state.members.contains_key(&account))
        };
        self.groups.groups.values().any(is_shared)
    }

    /// Whether an account is a member of a group.
    pub fn is_in_group(&self, id: GroupId, account: AccountId) -> bool {
        self.group_state(id).is_some_and(|state| state.members.contains_key(&account))
    }

    /// Removes a message to a group, as the user wanted.
    pub(in super::super) fn cancel_group_message(&mut self, timestamp: Timestamp) {
        if !self.groups.outbox.get(&timestamp).is_some_and(GroupMessage::is_written) {
            return;
        }
        let Some(message) = self.groups.outbox.remove(&timestamp) else { return };
        self.pending.forget(Purpose::GroupSend(timestamp));
        self.drop_requests(timestamp);
        let mut changes = Changes::default();
        changes.delete(StoreKey::GroupOutgoing(timestamp));
        let is_encrypted = message.encrypted.is_some();
        changes.outbox.push(OutboxChange::Cancelled { timestamp, is_encrypted });
        self.groups.dirty.insert(message.group);
        self.commit(changes, vec![ClientOutput::Event(ClientEvent::Cancelled(timestamp))]);
    }
}

impl GroupMessage {
    /// The stored form of a message that can never be sent. `us` is our own account: there is no single recipient.
    pub(super) fn failed(&self, timestamp: Timestamp, us: AccountId, why: SendFailure) -> Failed {
        let mut content = GroupContent::notice(self.group, 0);
        content.inner = Content::decode_stored(&self.content).ok().map(Box::new);
        let content = Content::Group(Box::new(content)).encode();
        Failed { timestamp, to: us, content, why }
    }
}
