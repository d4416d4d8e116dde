//! Messages to groups: the outbox, and who gets them.

use rand_core::OsRng;
use tokio::sync::oneshot;
use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, Changes, Content, GroupEvent, Membership, OutboxChange, Received, Timestamp,
};

use super::{Driver, Sending};
use crate::chat::Conversation;
use crate::chat::account::now;
use crate::chat::error::{DeliveryError, QueueError};
use crate::chat::message::Progress;
use crate::chat::store::HistoryChange;
use crate::chat::written::Written;

impl Driver {
    /// Whether we are a member of a group.
    ///
    /// # Errors
    /// We are not.
    pub(in crate::chat) fn check_membership(&self, group: GroupId) -> Result<(), QueueError> {
        match self.core.group_membership(group) {
            Some(Membership::Member) => Ok(()),
            Some(Membership::Invited | Membership::Outside | Membership::Unread | _) | None => {
                Err(QueueError::NotMember(group))
            }
        }
    }

    /// Whether the outbox has room for a message to this group.
    ///
    /// # Errors
    /// The group has no link, or we are not a member.
    pub(super) fn check_capacity_for_group(&self, group: GroupId) -> Result<(), QueueError> {
        self.check_membership(group)?;
        let of_group = self.core.group_outbox_bytes().filter(|(of, _)| *of == group);
        let (count, bytes) = of_group.fold((0, 0), |(count, sum), (_, it)| (count + 1, sum + it));
        let all: usize = self.core.group_outbox_bytes().map(|(_, bytes)| bytes).sum();
        let is_full = count >= MAX_FOR_ONE || bytes >= MAX_BYTES_FOR_ONE || all >= MAX_BYTES;
        if is_full { Err(QueueError::OutboxFull) } else { Ok(()) }
    }

    /// Puts a message to a group, for which there is room, into the outbox, and answers when it is durable.
    pub(super) fn send_to_group(
        &mut self,
        group: GroupId,
        content: &Content,
        reply: oneshot::Sender<Sending>,
    ) -> Result<(), QueueError> {
        let sent = self.core.send_to_group(now(), group, content, &mut OsRng);
        let timestamp = sent.map_err(|_| QueueError::NotMember(group))?;
        self.accepting_groups.insert(timestamp, reply);
        Ok(())
    }

    /// Updates the progress of a message to a group.
    pub(super) fn group_message(&mut self, group: GroupId, event: &GroupEvent) {
        match event {
            GroupEvent::Accepted(timestamp) => {
                let progress = self.outbox.add(*timestamp, Conversation::Group(group));
                if let Some(reply) = self.accepting_groups.remove(timestamp) {
                    // The one who asked may be gone. The message is sent anyway.
                    let _gone = reply.send((*timestamp, progress));
                }
            }
            GroupEvent::NotSent(timestamp, why) => {
                self.report_left(*timestamp, Progress::NotSent(DeliveryError::Failed(*why)));
            }
            // The others have it: the application learns from the event who does not.
            GroupEvent::NotSentTo(timestamp, ..) | GroupEvent::Sent(timestamp) => {
                self.report_left(*timestamp, Progress::OnServer);
            }
            GroupEvent::ChangeFailed(..)
            | GroupEvent::ChangeMissing { .. }
            | GroupEvent::Changed(..)
            | GroupEvent::Invited(_)
            | GroupEvent::Joined { .. }
            | GroupEvent::PartlySent(_)
            | GroupEvent::Removed
            | _ => {}
        }
    }

    /// Returns the recipients of our messages to groups in these changes, from this device or another one.
    pub(super) fn recipients_of(&self, changes: &Changes) -> Vec<HistoryChange> {
        let added = changes.outbox.iter().filter_map(|change| match change {
            OutboxChange::AddedToGroup { timestamp, group, content } => {
                content.is_visible().then_some((*group, *timestamp))
            }
            OutboxChange::Added { .. } | OutboxChange::Cancelled { .. } | OutboxChange::Sent(_) => {
                None
            }
        });
        let copies = changes.received.iter().filter_map(sent_to_group);
        let sent = added.chain(copies);
        sent.map(|(group, timestamp)| HistoryChange::Recipients {
            group,
            timestamp,
            members: self.other_members(group),
        })
        .collect()
    }

    /// The members of a group without us.
    fn other_members(&self, group: GroupId) -> Vec<AccountId> {
        let state = self.core.group_state(group);
        let members = state.into_iter().flat_map(|state| state.members.keys());
        members.filter(|account| **account != self.own).copied().collect()
    }
}

/// The group and the timestamp of a message that another device of ours has sent to a group.
fn sent_to_group(received: &Received) -> Option<(GroupId, Timestamp)> {
    let written = Written::from_received(received).filter(|it| it.is_ours && it.is_message())?;
    Some((written.group()?, written.timestamp))
}

/// Maximum number of messages in the outbox for one group.
const MAX_FOR_ONE: usize = 1000;

/// Maximum number of bytes of messages in the outbox for one group.
const MAX_BYTES_FOR_ONE: usize = 16 << 20;

/// Maximum number of bytes of messages in the outbox for all groups: they are in memory.
const MAX_BYTES: usize = 64 << 20;
