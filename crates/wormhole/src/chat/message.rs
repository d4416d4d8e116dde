//! Messages as the application sends and receives them.

use std::fmt;
use std::path::PathBuf;

use wormhole_chat::group::GroupId;
use wormhole_chat::service::{AppName, PhoneNumber};
use wormhole_chat::{
    AccountId, Address, AttachmentPointer, BodyRange, Content, CopyFailure, DataMessage, DeviceId,
    Emoji, GroupEvent, LinkPreview, MessageRef, PublicKey, Quote, ReceiptKind, Received,
    SendFailure, SentTranscript, SyncMessage, Timestamp,
};
use wormhole_kit::is_deceptive;
use wormhole_magic::transfer::PeerName;

use super::change::Change;
use super::error::{NotSent, ReadError, RequestError};
use super::safety_words;
use super::store::{Contact, ReceivedId};

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

    /// The same message as a reply to another one.
    #[must_use]
    pub fn with_quote(mut self, quote: Quote) -> Self {
        self.quote = Some(quote);
        self
    }

    /// The same message with one more file.
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
    /// Who sent it.
    pub from: Contact,
    /// To whom another device of our own account has sent it. `None`: it is for us.
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
    /// What the sender says about links in the text. Never fetch anything to show them.
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
    /// What the application sees of a message.
    pub(crate) fn new(
        id: ReceivedId,
        received: Received,
        from: Contact,
        sent_to: Option<Contact>,
    ) -> Self {
        let transcript = transcript(&received);
        let Received { from: address, timestamp, content, identity_changed } = received;
        let timestamp = transcript.as_ref().map_or(timestamp, |sent| sent.timestamp);
        let (group, content) = of_group(content);
        let data = match content {
            Content::Data(data) => *data,
            Content::Edit(edit) => edit.message,
            Content::Sync(_) => transcript.map(|sent| sent.message).unwrap_or_default(),
            // Others are not stored.
            Content::Call(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Group(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::SenderKeyDistribution(_)
            | Content::Typing(_)
            | Content::Unknown => DataMessage::default(),
        };
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
            identity_changed,
        }
    }

    /// What identifies the message, for reactions and replies.
    pub const fn reference(&self) -> MessageRef {
        MessageRef { author: self.from.account, timestamp: self.timestamp }
    }
}

/// The text and the files of a message that was written here.
pub(super) fn written(content: Content) -> (Option<String>, Vec<Attachment>) {
    let (text, pointers) = match content {
        Content::Data(data) => (data.body, data.attachments),
        Content::Edit(edit) => (edit.message.body, Vec::new()),
        Content::Call(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Group(_)
        | Content::Null
        | Content::Receipt(_)
        | Content::SenderKeyDistribution(_)
        | Content::Sync(_)
        | Content::Typing(_)
        | Content::Unknown => (None, Vec::new()),
    };
    (text, pointers.into_iter().map(Attachment).collect())
}

/// The group of a message, and the message itself. What another device of ours has sent to a group counts as a message there.
fn of_group(content: Content) -> (Option<GroupId>, Content) {
    if let Content::Group(group) = content {
        return (Some(group.group), group.inner.map_or(Content::Null, |inner| *inner));
    }
    if let Content::Sync(sync) = &content
        && let Ok(SyncMessage::SentToGroup(sent)) = SyncMessage::decode(sync)
    {
        return (Some(sent.group), Content::Data(Box::new(sent.message)));
    }
    (None, content)
}

/// To whom another device of our account has sent this message. `None`: it is for us.
pub(super) fn sent_to(received: &Received) -> Option<AccountId> {
    transcript(received).map(|sent| sent.to)
}

/// The message, if another device of our account has sent it. The core accepts such messages only from our account.
pub(super) fn transcript(received: &Received) -> Option<SentTranscript> {
    let Content::Sync(sync) = &received.content else { return None };
    match SyncMessage::decode(sync) {
        Ok(SyncMessage::Sent(sent)) => Some(*sent),
        Ok(
            SyncMessage::Other
            | SyncMessage::Read(_)
            | SyncMessage::Requests(_)
            | SyncMessage::SentToGroup(_),
        )
        | Err(_) => None,
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

/// What happens in a client.
///
/// What must not be lost does not depend on these events: messages and changes of messages come from the store until the
/// application is [`done`](super::Client::done) with them, and the other states can be queried.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The client is connected to the server. The state can be queried with [`Client::connection`](super::Client::connection).
    Connected,
    /// Somebody has deleted a message for all.
    Deleted(Box<Change>),
    /// The client is not connected, and tries again.
    Disconnected(RequestError),
    /// Somebody has edited a message: `message` has the new text, and the id for [`done`](super::Client::done).
    Edited {
        /// The message that is replaced, or one of its earlier edits.
        target: MessageRef,
        /// The new text.
        message: Box<ReceivedMessage>,
    },
    /// The server names a device of our own account that does not have our identity key: somebody attacks, or the number was
    /// registered again elsewhere. Nothing is sent to it, and what was sent is not copied to our other devices.
    ForeignDevice,
    /// Something has happened in a group.
    Group {
        /// The group.
        group: GroupId,
        /// What has happened.
        event: GroupEvent,
    },
    /// The identity key of an account has changed. Nothing is sent to it until the new key is accepted or refused. All of
    /// them are in [`Client::identity_changes`](super::Client::identity_changes).
    IdentityChanged {
        /// The account.
        account: AccountId,
        /// The new key.
        key: PublicKey,
    },
    /// The server refuses our prekeys, so others cannot start a conversation with us. The client tries again every hour. The state
    /// can be queried with [`Client::key_state`](super::Client::key_state).
    KeysRefused(RequestError),
    /// A message has arrived.
    Message(Box<ReceivedMessage>),
    /// The application was so slow that this number of events were left out. None of them was `Message` or `NotRead`. Query
    /// the states that matter.
    Missed(u64),
    /// Our other devices do not learn a message that was sent from this one. Whoever it was for has got it.
    NotCopied(CopyFailure),
    /// A message has arrived, but cannot be read. The store keeps the newest 1,000 of them, and 100 of one account.
    NotRead {
        /// Pass it to [`Client::done`](super::Client::done) when the user knows that a message is lost.
        id: ReceivedId,
        /// The device that sent it, according to the server.
        from: Option<Address>,
        /// When it was sent, according to the server.
        timestamp: Option<Timestamp>,
        /// Why it cannot be read.
        why: ReadError,
        /// How many later messages of the same account could not be read and were only counted.
        more: u64,
    },
    /// A message of ours has left the outbox: it is on the server, has failed or was cancelled. Those that have not are in
    /// [`Client::outbox`](super::Client::outbox), and those that have failed in [`Client::failed`](super::Client::failed).
    Progress {
        /// Identifies the message.
        message: Timestamp,
        /// The recipient.
        to: AccountId,
        /// What has become of it.
        progress: Progress,
    },
    /// Somebody has reacted to a message.
    Reaction {
        /// The message, and who has reacted.
        change: Box<Change>,
        /// The emoji. `None`: the reaction is taken back.
        emoji: Option<Emoji>,
    },
    /// The user has read these messages on another device. Not stored: it is lost if nobody listens.
    ReadElsewhere(Vec<MessageRef>),
    /// Messages of ours have arrived, or were read. Not stored: it is lost if nobody listens. Ignore messages that were not sent to
    /// this account.
    Receipt {
        /// The recipient.
        from: AccountId,
        /// What has happened.
        kind: ReceiptKind,
        /// The messages.
        messages: Vec<Timestamp>,
    },
    /// Somebody that the user does not know has written. All of them are in [`Client::requests`](super::Client::requests).
    Request {
        /// The account.
        account: AccountId,
    },
    /// The store is older than what this device has done since: somebody has restored a backup. The client starts new sessions with
    /// everybody. What the device had received and sent meanwhile is not in the store.
    StoreIsOlder,
    /// Somebody has set after how many seconds messages of the conversation disappear.
    TimerChanged {
        /// Who, in which conversation.
        change: Box<Change>,
        /// `None`: they stay.
        seconds: Option<u32>,
    },
    /// Somebody types a message to us, or has stopped. Not stored.
    Typing {
        /// Who.
        from: AccountId,
        /// Whether they type now.
        started: bool,
    },
    /// The server certifies senders with another key than the one that was pinned when this account was registered: somebody
    /// else may run it. Messages of senders whom it certifies are refused, and ours are sent openly.
    UntrustedCertificates,
    /// All messages that had waited at the server have arrived.
    UpToDate,
}

/// What has become of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// It is not on the server, for this reason.
    NotSent(NotSent),
    /// The server has it for all devices of the recipient.
    OnServer,
    /// It waits for its turn, or is being sent.
    #[default]
    Waiting,
}

/// What [`Client::cancel`](super::Client::cancel) has achieved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The message is removed from the outbox, and the server does not get it.
    Cancelled,
    /// The message is removed from the outbox and is not sent again. But an attempt has ended without an answer, perhaps before
    /// the client was opened: the server may have the message.
    MaybeSent,
    /// There is no such message in the outbox: it is on the server, has [failed](super::Client::failed), or was cancelled before.
    NotWaiting,
    /// The server has the message: it has confirmed that just now.
    Sent,
}

impl CancelOutcome {
    /// What has become of a message that somebody wanted to cancel.
    pub(super) const fn of(progress: &Progress, may_have_arrived: bool) -> Self {
        match progress {
            Progress::NotSent(NotSent::Cancelled) if may_have_arrived => Self::MaybeSent,
            Progress::NotSent(NotSent::Cancelled) => Self::Cancelled,
            Progress::OnServer => Self::Sent,
            Progress::NotSent(_) | Progress::Waiting => Self::NotWaiting,
        }
    }
}

/// A message in the outbox of a client, and why it waits there. [`Account::outbox`](super::Account::outbox) has its text.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// Identifies the message.
    pub timestamp: Timestamp,
    /// The recipient.
    pub to: AccountId,
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
    pub to: AccountId,
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
    /// The recipient; zeros if the row in the store is damaged.
    pub to: AccountId,
    /// Its text.
    pub text: Option<String>,
    /// Its files, which the server has for some time. [`Attachment::name`] says what they were.
    pub files: Vec<Attachment>,
    /// Why it cannot be sent. `None` if the row in the store is damaged, so that nobody knows it any more.
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

/// An identity key that waits to be accepted or refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IdentityChange {
    /// The account.
    pub account: AccountId,
    /// The key that was accepted last, or the first one.
    pub accepted: PublicKey,
    /// The new key.
    pub changed: PublicKey,
}

/// Whether a client is connected to its server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Connection {
    /// It is connected, and messages are arriving.
    Connected,
    /// It connects for the first time.
    #[default]
    Connecting,
    /// It is not connected, and tries again.
    Disconnected(RequestError),
    /// It is connected, and all messages that had waited at the server have arrived.
    UpToDate,
}

/// Whether the server has our prekeys, with which others start a conversation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyState {
    /// It has the newest.
    Published,
    /// They are on the way, or the server cannot be reached.
    #[default]
    Publishing,
    /// The server refuses them. The client tries again every hour.
    Refused(RequestError),
}

/// Who delivers the messages to an account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Route {
    /// The application itself.
    Own,
    /// This server.
    #[default]
    Wormhole,
}

/// The safety number of two accounts. Both see the same digits; if they do not, somebody else may read their messages.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SafetyNumber {
    /// 60 digits.
    pub digits: String,
    /// The identity key of the other account.
    pub key: PublicKey,
    /// Whether the user has compared these digits.
    pub is_verified: bool,
    /// Whether this key is a new one, which waits for [`Client::accept_identity`](super::Client::accept_identity) or
    /// [`Client::refuse_identity`](super::Client::refuse_identity).
    pub is_new: bool,
    /// The number with the accepted key, if this key is a new one. If the other person sees these digits, the new key belongs
    /// to somebody else.
    pub accepted: Option<AcceptedNumber>,
    /// The numbers with keys that the user has refused, the latest first. After a mistake, one of them can still be
    /// [accepted](super::Client::accept_identity).
    pub refused: Vec<RefusedNumber>,
}

impl SafetyNumber {
    /// The same number as words: a half of 13 words for each side, in the order of the digits.
    pub fn words(&self) -> [Vec<&'static str>; 2] {
        safety_words::words(&self.digits).unwrap_or_default()
    }

    /// The digits of a safety number that somebody has typed as digits or as [words](Self::words). `None` if it is neither:
    /// a mistake, and not a sign of an attack.
    pub fn digits_of(typed: &str) -> Option<String> {
        safety_words::digits(typed)
    }
}

/// The safety number with an identity key that the user has refused.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RefusedNumber {
    /// 60 digits.
    pub digits: String,
    /// The refused identity key.
    pub key: PublicKey,
}

/// The safety number with the accepted identity key of an account that has a new one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AcceptedNumber {
    /// 60 digits.
    pub digits: String,
    /// The accepted identity key.
    pub key: PublicKey,
    /// Whether the user has compared these digits.
    pub is_verified: bool,
}

/// Our account.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Me {
    /// The account and this device.
    pub address: Address,
    /// Its phone number.
    pub number: PhoneNumber,
    /// Its app; `None` if it is the server's default app.
    pub app: Option<AppName>,
    /// The address of the server.
    pub server: String,
}

#[cfg(test)]
mod tests {
    use wormhole_chat::DataMessage;

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
        let waiting =
            WaitingMessage { timestamp, to: account, text: text.clone(), files: Vec::new() };
        let failed = FailedMessage { timestamp, to: account, text, files: Vec::new(), why };
        let sent = Message::text(secret).with_file(secret);
        let read = ReceivedMessage::new(ReceivedId(1), received.clone(), from, None);
        let event = Event::Message(Box::new(read.clone()));
        let printed = format!("{sent:?} {read:?} {event:?} {failed:?} {received:?} {waiting:?}");
        assert!(!printed.contains(secret), "{printed}");
    }
}
