//! Messages of ours, and their progress.

use std::fmt;

use wormhole_chat::{Content, SendFailure, Timestamp};

use super::Attachment;
use crate::chat::Conversation;
use crate::chat::error::DeliveryError;

/// The progress of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// It is not on the server, for this reason.
    NotSent(DeliveryError),
    /// The server has it for all devices of the recipient, or of all members of the group.
    OnServer,
    /// It waits for its turn, or is being sent.
    #[default]
    Waiting,
}

/// The result of [`Client::cancel`](crate::chat::Client::cancel).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The message is removed from the outbox, and the server does not get it.
    Cancelled,
    /// The message is removed from the outbox and is not sent again. But an attempt has ended without an answer, perhaps before
    /// the client was opened: the server may have the message.
    MaybeSent,
    /// There is no such message in the outbox: it is on the server, has [failed](crate::chat::Client::failed), or was cancelled before.
    NotWaiting,
    /// The server has the message: it has confirmed that just now.
    Sent,
}

impl CancelOutcome {
    /// Returns the result of cancelling a message with this progress.
    pub(in crate::chat) const fn from_progress(
        progress: &Progress,
        may_have_arrived: bool,
    ) -> Self {
        match progress {
            Progress::NotSent(DeliveryError::Cancelled) if may_have_arrived => Self::MaybeSent,
            Progress::NotSent(DeliveryError::Cancelled) => Self::Cancelled,
            Progress::OnServer => Self::Sent,
            Progress::NotSent(_) | Progress::Waiting => Self::NotWaiting,
        }
    }
}

/// A message in the outbox of a client, and why it waits there. [`Account::outbox`](crate::chat::Account::outbox) has its text.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// Identifies the message.
    pub timestamp: Timestamp,
    /// The recipient.
    pub to: Conversation,
    /// Why it waits.
    pub progress: Progress,
}

/// A message in the outbox of an account without a client, and what it says. `Debug` does not print the text.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct WaitingMessage {
    /// Identifies the message.
    pub timestamp: Timestamp,
    /// The recipient.
    pub to: Conversation,
    /// Its text.
    pub text: Option<String>,
    /// Its files, which the server has for some time.
    pub files: Vec<Attachment>,
}

impl fmt::Debug for WaitingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, to, text: _, files: _ } = self;
        f.debug_struct("WaitingMessage")
            .field("timestamp", timestamp)
            .field("to", to)
            .finish_non_exhaustive()
    }
}

/// A message that was removed from the outbox, because it can never be sent. `Debug` does not print the text.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct FailedMessage {
    /// Identifies the message.
    pub timestamp: Timestamp,
    /// The recipient; an account of zeros if the row in the store is damaged.
    pub to: Conversation,
    /// Its text.
    pub text: Option<String>,
    /// Its files, which the server has for some time. [`Attachment::name`] says what they were.
    pub files: Vec<Attachment>,
    /// The reason why it cannot be sent. `None` if the row in the store is damaged.
    pub why: Option<SendFailure>,
}

impl fmt::Debug for FailedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, to, text: _, files: _, why } = self;
        f.debug_struct("FailedMessage")
            .field("timestamp", timestamp)
            .field("to", to)
            .field("why", why)
            .finish_non_exhaustive()
    }
}

/// The text and the files of a message that was written here.
pub(in crate::chat) fn written(content: Content) -> (Option<String>, Vec<Attachment>) {
    let (text, pointers) = match content {
        Content::Data(data) => (data.body, data.attachments),
        Content::Edit(edit) => (edit.message.body, Vec::new()),
        Content::Group(group) => {
            return group.inner.map(|inner| written(*inner)).unwrap_or_default();
        }
        Content::Call(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Null
        | Content::Receipt(_)
        | Content::SenderKeyDistribution(_)
        | Content::Sync(_)
        | Content::Typing(_)
        | Content::Unknown => (None, Vec::new()),
    };
    (text, pointers.into_iter().map(Attachment).collect())
}
