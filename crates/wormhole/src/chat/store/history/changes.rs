//! What messages, receipts and our own decisions change in the history.

use wormhole_chat::{
    AccountId, Content, DataMessage, MessageRef, OutboxChange, Reaction, Receipt, ReceiptKind,
    Received, SyncMessage, Timestamp,
};

use super::edits::MessageChange;
use super::row::HistoryRow;
use super::write::HistoryWriter;
use crate::chat::history::{Conversation, EarlierMessage, HistoryState};
use crate::chat::message::transcript;
use crate::chat::store::StoreError;

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
}

/// The change that a received content means, if it is not a message of its own.
pub(in crate::chat) fn change_of(received: &Received) -> Option<HistoryChange> {
    let (author, timestamp) = (received.from.account, received.timestamp);
    if let Content::Receipt(receipt) = &received.content {
        return Some(HistoryChange::Receipt(author, receipt.clone()));
    }
    if let Content::Sync(sync) = &received.content {
        return change_elsewhere(author, SyncMessage::decode(sync).ok()?);
    }
    let (conversation, change) =
        (Conversation::Account(author), change_in_content(&received.content)?);
    Some(HistoryChange::Message { conversation, author, timestamp, change })
}

/// The change that another device of our account reports.
fn change_elsewhere(own: AccountId, sync: SyncMessage) -> Option<HistoryChange> {
    let sent = match sync {
        SyncMessage::Other | SyncMessage::Requests(_) | SyncMessage::SentToGroup(_) => return None,
        SyncMessage::Read(read) => return Some(HistoryChange::Read(read)),
        SyncMessage::Sent(sent) => sent,
    };
    let change = match sent.edits {
        Some(target) => MessageChange::Edit(target, Box::new(sent.message)),
        None => change_in(&sent.message)?,
    };
    let (conversation, timestamp) = (Conversation::Account(sent.to), sent.timestamp);
    Some(HistoryChange::Message { conversation, author: own, timestamp, change })
}

/// The change of an earlier message that a content means.
fn change_in_content(content: &Content) -> Option<MessageChange> {
    match content {
        Content::Data(message) => change_in(message),
        Content::Edit(edit) => {
            Some(MessageChange::Edit(edit.target, Box::new(edit.message.clone())))
        }
        // Whoever checks that the author is a member of the group can pass its changes in.
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
    let sent = transcript(&received);
    let Received { from, timestamp, content, identity_changed } = received;
    let is_ours = sent.is_some();
    let (conversation, timestamp, message) = match (sent, content) {
        (Some(sent), _) => {
            let message = Some(sent.message).filter(|_| sent.edits.is_none())?;
            (Conversation::Account(sent.to), sent.timestamp, message)
        }
        (None, Content::Data(data)) => (Conversation::Account(from.account), timestamp, *data),
        (None, Content::Group(group)) => {
            let inner = group.inner.map(|inner| *inner);
            let Some(Content::Data(data)) = inner else { return None };
            (Conversation::Group(*group.group.as_bytes()), timestamp, *data)
        }
        (None, _) => return None,
    };
    let message = Box::new(Some(message).filter(DataMessage::is_visible)?);
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

/// A message that nobody has changed.
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

    /// The application has shown or stored a message of somebody, here or on another device.
    pub(in crate::chat::store) fn read(&mut self, message: MessageRef) -> Result<(), StoreError> {
        let MessageRef { author, timestamp } = message;
        let Some((number, row)) = self.find(author, timestamp, None)? else { return Ok(()) };
        if row.state != HistoryState::Unread {
            return Ok(());
        }
        let now = self.now;
        self.change(number, |row| {
            row.state = HistoryState::Read;
            row.start_timer(now);
        })
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
            HistoryChange::Failed(timestamp) => {
                self.set_state(*timestamp, HistoryState::Failed, None)
            }
            HistoryChange::Read(messages) => messages.iter().try_for_each(|it| self.read(*it)),
            HistoryChange::Receipt(from, Receipt { kind, timestamps }) => {
                let state = match kind {
                    ReceiptKind::Delivery => HistoryState::Delivered,
                    ReceiptKind::Read | ReceiptKind::Viewed => HistoryState::Read,
                };
                let mut timestamps = timestamps.iter();
                timestamps.try_for_each(|it| self.set_state(*it, state, Some(*from)))
            }
        }
    }

    fn apply_outbox(&mut self, change: &OutboxChange) -> Result<(), StoreError> {
        match change {
            OutboxChange::Added { timestamp, to, content } => {
                self.write_ours(*to, *timestamp, content)
            }
            OutboxChange::Cancelled { timestamp, is_encrypted: false } => {
                self.remove_ours(*timestamp)
            }
            OutboxChange::Cancelled { timestamp, is_encrypted: true } => {
                self.set_state(*timestamp, HistoryState::MaybeSent, None)
            }
            OutboxChange::Sent(timestamp) => {
                self.set_state(*timestamp, HistoryState::OnServer, None)
            }
        }
    }

    /// Adds a message of ours, or changes an earlier one.
    fn write_ours(
        &mut self,
        to: AccountId,
        timestamp: Timestamp,
        content: &Content,
    ) -> Result<(), StoreError> {
        let (Some(own), conversation) = (self.history.own, Conversation::Account(to)) else {
            return Ok(());
        };
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

    /// Something has become of a message of ours, perhaps because its recipient says so. The state only advances.
    fn set_state(
        &mut self,
        timestamp: Timestamp,
        state: HistoryState,
        says: Option<AccountId>,
    ) -> Result<(), StoreError> {
        let Some(own) = self.history.own else { return Ok(()) };
        let with = says.map(Conversation::Account);
        let Some((number, row)) = self.find(own, timestamp, with)? else { return Ok(()) };
        if row.state >= state {
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
}
