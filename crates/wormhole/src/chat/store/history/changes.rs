//! The changes of the history by messages, receipts and our own decisions.

use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, Content, DataMessage, MessageRef, OutboxChange, Reaction, Receipt, ReceiptKind,
    Received, SyncMessage, Timestamp,
};

use super::edits::MessageChange;
use super::row::{HistoryRow, StoredRecipient};
use super::write::HistoryWriter;
use crate::chat::history::{Conversation, EarlierMessage, HistoryState};
use crate::chat::store::StoreError;
use crate::chat::written::Written;

/// A change of the history. `Debug` does not print texts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::chat) enum HistoryChange {
    /// An earlier message was edited or deleted, or somebody has reacted to it.
    Message {
        conversation: Conversation,
        author: AccountId,
        timestamp: Timestamp,
        change: MessageChange,
    },
    /// Something has become of a message of ours.
    Outbox(OutboxChange),
    /// A message of ours cannot be sent.
    Failed(Timestamp),
    /// We have read these messages on another device.
    Read(Vec<MessageRef>),
    /// An account confirms messages of ours.
    Receipt(AccountId, Receipt),
    /// The recipients of a message of ours to a group.
    Recipients { group: GroupId, timestamp: Timestamp, members: Vec<AccountId> },
}

/// The change that a received content means, if it is not a message of its own.
pub(in crate::chat) fn change_of(received: &Received) -> Option<HistoryChange> {
    let author = received.from.account;
    match &received.content {
        Content::Receipt(receipt) => return Some(HistoryChange::Receipt(author, receipt.clone())),
        Content::Sync(sync) => {
            if let Ok(SyncMessage::Read(read)) = SyncMessage::decode(sync) {
                return Some(HistoryChange::Read(read));
            }
        }
        Content::Call(_)
        | Content::Data(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Edit(_)
        | Content::Group(_)
        | Content::Null
        | Content::SenderKeyDistribution(_)
        | Content::Typing(_)
        | Content::Unknown => {}
    }
    let written = Written::from_received(received)?;
    let (conversation, timestamp) = (written.conversation, written.timestamp);
    let change = match written.edits {
        Some(target) => MessageChange::Edit(target, Box::new(written.message)),
        None => change_in(&written.message)?,
    };
    Some(HistoryChange::Message { conversation, author, timestamp, change })
}

/// The change of an earlier message that a content means.
fn change_in_content(content: &Content) -> Option<MessageChange> {
    match content {
        Content::Data(message) => change_in(message),
        Content::Edit(edit) => {
            Some(MessageChange::Edit(edit.target, Box::new(edit.message.clone())))
        }
        Content::Call(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Group(_)
        | Content::Null
        | Content::Receipt(_)
        | Content::SenderKeyDistribution(_)
        | Content::Sync(_)
        | Content::Typing(_)
        | Content::Unknown => None,
    }
}

fn change_in(message: &DataMessage) -> Option<MessageChange> {
    let delete = message.delete.map(MessageChange::Delete);
    let react = |reaction: &Reaction| MessageChange::React(reaction.clone());
    delete.or_else(|| message.reaction.as_ref().map(react))
}

/// The row of a received message, or of one that another device of ours has sent. `None` if there is nothing to see.
fn received_row(received: Received, now: Timestamp) -> Option<HistoryRow> {
    let written = Written::from_received(&received).filter(Written::is_message)?;
    let Written { conversation, is_ours, timestamp, message, edits: _ } = written;
    let Received { from, identity_changed, .. } = received;
    let message = Box::new(message);
    let state = if is_ours { HistoryState::OnServer } else { HistoryState::Unread };
    let mut row = HistoryRow {
        device: Some(from.device),
        is_ours,
        identity_changed,
        ..new_row(conversation, from.account, timestamp, now, state, message)
    };
    if is_ours {
        // It was sent then, but a wrong clock must not keep it for longer.
        row.start_timer(timestamp.min(now));
    }
    Some(row)
}

/// An unchanged message.
const fn new_row(
    conversation: Conversation,
    author: AccountId,
    timestamp: Timestamp,
    stored: Timestamp,
    state: HistoryState,
    message: Box<DataMessage>,
) -> HistoryRow {
    HistoryRow {
        conversation,
        author,
        device: None,
        is_ours: false,
        timestamp,
        stored,
        state,
        identity_changed: false,
        expires: None,
        message: Some(message),
        edited: None,
        edits: Vec::new(),
        reactions: Vec::new(),
        recipients: Vec::new(),
    }
}

impl EarlierMessage {
    /// The row of a message that was read or sent long ago. `None` if it is ours, and our account is not known.
    pub(super) fn row(&self, own: Option<AccountId>, now: Timestamp) -> Option<HistoryRow> {
        let is_ours = self.author.is_none();
        let state = if is_ours { HistoryState::OnServer } else { HistoryState::Read };
        let (body, timestamp) = (Some(self.text.clone()), self.timestamp);
        let message = DataMessage { body, timestamp: Some(timestamp), ..DataMessage::default() };
        let (author, message) = (self.author.or(own)?, Box::new(message));
        let stored = timestamp.min(now);
        let row = new_row(self.conversation, author, timestamp, stored, state, message);
        Some(HistoryRow { is_ours, ..row })
    }
}

impl HistoryWriter<'_, '_> {
    /// Adds a message that has arrived.
    pub(in crate::chat::store) fn receive(&mut self, message: Received) -> Result<(), StoreError> {
        let row = received_row(message, self.now);
        row.map_or(Ok(()), |row| self.add(&row))
    }

    /// Marks a message as read: the application has shown or stored it, here or on another device.
    pub(in crate::chat::store) fn read(&mut self, message: MessageRef) -> Result<(), StoreError> {
        self.mark_read(message).map(drop)
    }

    /// Marks a message as read. Returns whether it is here.
    pub(super) fn mark_read(&mut self, message: MessageRef) -> Result<bool, StoreError> {
        let MessageRef { author, timestamp } = message;
        let Some((number, row)) = self.find(author, timestamp, None)? else { return Ok(false) };
        if row.state == HistoryState::Unread {
            let now = self.now;
            self.change(number, |row| {
                row.state = HistoryState::Read;
                row.start_timer(now);
            })?;
        }
        Ok(true)
    }

    /// Marks a message as read that we have read on another device.
    fn read_elsewhere(&mut self, message: MessageRef) -> Result<(), StoreError> {
        match (self.mark_read(message)?, self.history.own) {
            (false, Some(own)) => self.keep_receipt(message, HistoryState::Read, own),
            (false, None) | (true, _) => Ok(()),
        }
    }

    /// Applies a change.
    pub(in crate::chat::store) fn apply(
        &mut self,
        change: &HistoryChange,
    ) -> Result<(), StoreError> {
        match change {
            HistoryChange::Message { conversation, author, timestamp, change } => {
                self.change_message(*conversation, *author, *timestamp, change)
            }
            HistoryChange::Outbox(change) => self.apply_outbox(change),
            HistoryChange::Failed(timestamp) => self.set_state(*timestamp, HistoryState::Failed),
            HistoryChange::Read(messages) => {
                messages.iter().try_for_each(|it| self.read_elsewhere(*it))
            }
            HistoryChange::Receipt(from, Receipt { kind, timestamps }) => {
                let state = match kind {
                    ReceiptKind::Delivery => HistoryState::Delivered,
                    ReceiptKind::Read | ReceiptKind::Viewed => HistoryState::Read,
                };
                let mut timestamps = timestamps.iter();
                timestamps.try_for_each(|it| self.receipt(*it, state, *from))
            }
            HistoryChange::Recipients { group, timestamp, members } => {
                self.add_recipients(*group, *timestamp, members)
            }
        }
    }

    fn apply_outbox(&mut self, change: &OutboxChange) -> Result<(), StoreError> {
        match change {
            OutboxChange::Added { timestamp, to, content } => {
                self.write_ours(Conversation::Account(*to), *timestamp, content)
            }
            OutboxChange::AddedToGroup { timestamp, group, content } => {
                self.write_ours(Conversation::Group(*group), *timestamp, content)
            }
            OutboxChange::Cancelled { timestamp, is_encrypted: false } => {
                self.remove_ours(*timestamp)
            }
            OutboxChange::Cancelled { timestamp, is_encrypted: true } => {
                self.set_state(*timestamp, HistoryState::MaybeSent)
            }
            OutboxChange::Sent(timestamp) => self.set_state(*timestamp, HistoryState::OnServer),
        }
    }

    /// Adds a message of ours, or changes an earlier one.
    fn write_ours(
        &mut self,
        conversation: Conversation,
        timestamp: Timestamp,
        content: &Content,
    ) -> Result<(), StoreError> {
        let Some(own) = self.history.own else { return Ok(()) };
        if let Some(change) = change_in_content(content) {
            return self.change_message(conversation, own, timestamp, &change);
        }
        let Content::Data(message) = content else { return Ok(()) };
        if !message.is_visible() {
            return Ok(());
        }
        let state = HistoryState::Waiting;
        self.add(&HistoryRow {
            device: self.history.device,
            is_ours: true,
            ..new_row(conversation, own, timestamp, self.now, state, message.clone())
        })
    }

    fn remove_ours(&mut self, timestamp: Timestamp) -> Result<(), StoreError> {
        let Some(own) = self.history.own else { return Ok(()) };
        let found = self.find(own, timestamp, None)?;
        found.map_or(Ok(()), |(number, _)| self.delete(number))
    }

    /// Sets the state of a message of ours. The state only advances.
    fn set_state(&mut self, timestamp: Timestamp, state: HistoryState) -> Result<(), StoreError> {
        let Some(own) = self.history.own else { return Ok(()) };
        let found = self.find(own, timestamp, None)?;
        found.map_or(Ok(()), |(number, row)| self.advance(number, row.state, state))
    }

    fn advance(
        &mut self,
        number: i64,
        current: HistoryState,
        state: HistoryState,
    ) -> Result<(), StoreError> {
        if current >= state {
            return Ok(());
        }
        let now = self.now;
        self.change(number, |row| {
            row.state = state;
            if state >= HistoryState::MaybeSent {
                row.start_timer(now);
            }
        })
    }

    /// Applies the receipt for a message of ours, which another device of ours may have sent, so that it is not here yet.
    fn receipt(
        &mut self,
        timestamp: Timestamp,
        state: HistoryState,
        from: AccountId,
    ) -> Result<(), StoreError> {
        let Some(author) = self.history.own else { return Ok(()) };
        if self.confirm(timestamp, state, from)? {
            return Ok(());
        }
        self.keep_receipt(MessageRef { author, timestamp }, state, from)
    }

    /// Applies the receipt for a message of ours by the person to whom it was sent, or a member of the group who got it. Returns whether the
    /// message is here, and its recipients are known.
    pub(super) fn confirm(
        &mut self,
        timestamp: Timestamp,
        state: HistoryState,
        from: AccountId,
    ) -> Result<bool, StoreError> {
        let Some(own) = self.history.own else { return Ok(true) };
        let with = Some(Conversation::Account(from));
        if let Some((number, row)) = self.find(own, timestamp, with)? {
            return self.advance(number, row.state, state).map(|()| true);
        }
        let Some((number, row)) = self.find(own, timestamp, None)? else { return Ok(false) };
        let is_in_group = matches!(row.conversation, Conversation::Group(_));
        if is_in_group && row.recipients.is_empty() {
            return Ok(false);
        }
        let known = row.recipients.iter().find(|it| it.account == from);
        if known.is_none_or(|known| known.state >= state) {
            return Ok(true);
        }
        let now = self.now;
        self.change(number, |row| {
            for recipient in row.recipients.iter_mut().filter(|it| it.account == from) {
                recipient.state = state;
            }
            let least = row.recipients.iter().map(|it| it.state).min();
            row.state = row.state.max(least.unwrap_or(HistoryState::Waiting));
            row.start_timer(now);
        })?;
        Ok(true)
    }

    fn add_recipients(
        &mut self,
        group: GroupId,
        timestamp: Timestamp,
        members: &[AccountId],
    ) -> Result<(), StoreError> {
        let Some(own) = self.history.own else { return Ok(()) };
        let found = self.find(own, timestamp, Some(Conversation::Group(group)))?;
        let Some((number, row)) = found.filter(|(_, row)| row.recipients.is_empty()) else {
            return Ok(());
        };
        // No recipient has it yet, whatever the state of our own copy.
        let state = row.state.min(HistoryState::OnServer);
        self.change(number, |row| {
            let members = members.iter().take(MAX_RECIPIENTS);
            let recipient = |account: &AccountId| StoredRecipient { account: *account, state };
            row.recipients = members.map(recipient).collect();
        })?;
        self.apply_early(MessageRef { author: own, timestamp })
    }
}

/// Maximum number of recipients of a message whose receipts are kept. A group has at most 1,000 members.
const MAX_RECIPIENTS: usize = 1000;
