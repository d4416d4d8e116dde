//! Messages as the application sends and receives them.

mod event;
mod outgoing;
mod states;

use std::fmt;
use std::path::PathBuf;

use wormhole_chat::group::GroupId;
use wormhole_chat::service::Destination;
use wormhole_chat::{
    AttachmentPointer, BodyRange, DataMessage, DeviceId, LinkPreview, MessageRef, Quote, Received,
    Timestamp,
};
use wormhole_kit::is_deceptive;
use wormhole_magic::transfer::PeerName;

use super::Conversation;
use super::store::{Contact, ReceivedId};
use super::written::Written;
pub use event::Event;
pub(super) use outgoing::written;
pub use outgoing::{CancelOutcome, FailedMessage, OutboxMessage, Progress, WaitingMessage};
pub use states::{
    AcceptedNumber, Connection, IdentityChange, KeyState, Me, RefusedNumber, Route, SafetyNumber,
};

/// The recipient of a message: a person, or all members of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Recipient {
    /// The members of this group.
    Group(GroupId),
    /// A person.
    Person(Destination),
}

impl From<Destination> for Recipient {
    fn from(person: Destination) -> Self {
        Self::Person(person)
    }
}

impl From<&Destination> for Recipient {
    fn from(person: &Destination) -> Self {
        Self::Person(person.clone())
    }
}

impl From<GroupId> for Recipient {
    fn from(group: GroupId) -> Self {
        Self::Group(group)
    }
}

impl From<Conversation> for Recipient {
    fn from(conversation: Conversation) -> Self {
        match conversation {
            Conversation::Account(account) => Self::Person(Destination::Account(account)),
            Conversation::Group(group) => Self::Group(group),
        }
    }
}

/// A message to send. Start with [`Message::text`]. `Debug` does not print the text.
///
/// ```
/// use wormhole::chat::Message;
///
/// let message = Message::text("the photo").with_file("photo.jpg");
/// assert_eq!(message.files.len(), 1);
/// ```
#[derive(Clone, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The text; may be empty if there are files.
    pub text: String,
    /// Files to attach, of at most 100 MiB each.
    pub files: Vec<PathBuf>,
    /// The message that this one replies to.
    pub quote: Option<Quote>,
    /// Mentions of people in the text: [`BodyRange::mention`].
    pub mentions: Vec<BodyRange>,
}

impl Message {
    /// A message with this text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Makes the message a reply to another one.
    #[must_use]
    pub fn with_quote(mut self, quote: Quote) -> Self {
        self.quote = Some(quote);
        self
    }

    /// Adds a file to the message.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("text_bytes", &self.text.len())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// A message from another account, or one that another device of our own account has sent. `Debug` does not print the text.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// Pass it to [`Client::done`](super::Client::done) when the message is stored or shown.
    pub id: ReceivedId,
    /// The sender.
    pub from: Contact,
    /// The recipient, if another device of our own account has sent it. `None`: it is for us, or in a group.
    pub sent_to: Option<Contact>,
    /// The group to which it was sent.
    pub group: Option<GroupId>,
    /// The sender's device.
    pub device: DeviceId,
    /// When it was sent, according to the sender. Identifies the message together with the sender.
    pub timestamp: Timestamp,
    /// The text.
    pub text: Option<String>,
    /// Mentions and styles in the text: [`text_parts`](super::text_parts).
    pub ranges: Vec<BodyRange>,
    /// The message that it replies to, as the sender quotes it.
    pub quote: Option<Quote>,
    /// Previews of links in the text, in the words of the sender. Never fetch anything to show them.
    pub previews: Vec<LinkPreview>,
    /// After how many seconds it disappears once it was read. `None`: it stays.
    pub expire_timer: Option<u32>,
    /// The attached files, which are still on the server.
    pub files: Vec<Attachment>,
    /// Whether the sender's identity key differs from the accepted one: it may be somebody else who has taken over the
    /// number.
    pub identity_changed: bool,
}

impl fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedMessage")
            .field("id", &self.id)
            .field("from", &self.from.account)
            .field("sent_to", &self.sent_to.as_ref().map(|to| to.account))
            .field("timestamp", &self.timestamp)
            .field("text_bytes", &self.text.as_ref().map(String::len))
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl ReceivedMessage {
    /// Creates the message that the application sees.
    pub(in crate::chat) fn new(
        id: ReceivedId,
        received: &Received,
        written: Option<Written>,
        from: Contact,
        sent_to: Option<Contact>,
    ) -> Self {
        let Received { from: address, identity_changed, .. } = received;
        let timestamp = written.as_ref().map_or(received.timestamp, |written| written.timestamp);
        let group = written.as_ref().and_then(Written::group);
        // Others are not stored.
        let data = written.map(|written| written.message).unwrap_or_default();
        let DataMessage { body, attachments, ranges, quote, previews, expire_timer, .. } = data;
        Self {
            id,
            from,
            sent_to,
            group,
            device: address.device,
            timestamp,
            text: body,
            ranges,
            quote,
            previews,
            expire_timer: expire_timer.filter(|seconds| *seconds > 0),
            files: attachments.into_iter().map(Attachment).collect(),
            identity_changed: *identity_changed,
        }
    }

    /// Where it was written.
    pub fn conversation(&self) -> Conversation {
        let other = self.sent_to.as_ref().unwrap_or(&self.from).account;
        self.group.map_or(Conversation::Account(other), Conversation::Group)
    }

    /// Identifies the message, for reactions and replies.
    pub const fn reference(&self) -> MessageRef {
        MessageRef { author: self.from.account, timestamp: self.timestamp }
    }
}

/// Somebody that the user does not know, and whose messages wait for a decision. `Debug` does not print the texts.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MessageRequest {
    /// The sender. Its number and app are what the server claims.
    pub from: Contact,
    /// The messages, the first one first: at most 20, and one MiB of them. They cannot be [`done`](super::Client::done).
    pub messages: Vec<ReceivedMessage>,
}

/// A file that is attached to a message. [`Client::download`](super::Client::download) gets it from the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment(pub(crate) AttachmentPointer);

impl Attachment {
    /// The name that the sender wants the file to have. Its `Display` is safe to show.
    pub fn name(&self) -> Option<PeerName> {
        self.0.file_name.as_ref().map(PeerName::new)
    }

    /// A similar name that is safe in any folder: no path, and no characters that hide its extension or other parts.
    pub fn file_name(&self) -> String {
        let shown = |c: char| if is_deceptive(c) { '_' } else { c };
        let wanted = self.0.file_name.as_deref().unwrap_or("attachment");
        let wanted: String = wanted.chars().map(shown).collect();
        PeerName::new(wanted.trim_start_matches('.')).to_safe_name().into_owned()
    }

    /// The MIME type that the sender claims, such as `image/jpeg`.
    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type.as_deref()
    }

    /// The size in bytes that the sender claims.
    pub fn size(&self) -> Option<u64> {
        self.0.size.map(u64::from)
    }
}

#[cfg(test)]
mod tests {
    use wormhole_chat::{AccountId, Address, Content, SendFailure};

    use super::*;

    #[test]
    fn no_text_of_a_message_is_printed() {
        let (secret, timestamp) = ("Treffpunkt", Timestamp(1));
        let account = AccountId::from_bytes([7; 16]);
        let address = Address { account, device: DeviceId::PRIMARY };
        let data = DataMessage { body: Some(secret.to_owned()), ..DataMessage::default() };
        let content = Content::Data(Box::new(data));
        let received = Received { from: address, timestamp, content, identity_changed: false };
        let from = Contact { name: Some(secret.to_owned()), ..crate::chat::contact(account) };
        let why = Some(SendFailure::TooLong);
        let text = Some(secret.to_owned());
        let to = Conversation::Account(account);
        let waiting = WaitingMessage { timestamp, to, text: text.clone(), files: Vec::new() };
        let failed = FailedMessage { timestamp, to, text, files: Vec::new(), why };
        let sent = Message::text(secret).with_file(secret);
        let read = ReceivedMessage::new(
            ReceivedId(1),
            &received,
            Written::from_received(&received),
            from,
            None,
        );
        let event = Event::Message(Box::new(read.clone()));
        let printed = format!("{sent:?} {read:?} {event:?} {failed:?} {received:?} {waiting:?}");
        assert!(!printed.contains(secret), "{printed}");
    }
}
