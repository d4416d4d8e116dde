//! The events of a client.

use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, Address, CopyFailure, Emoji, GroupEvent, MessageRef, PublicKey, ReceiptKind,
    Timestamp,
};

use super::{Progress, ReceivedMessage};
use crate::chat::Conversation;
use crate::chat::change::Change;
use crate::chat::error::{ReadError, RequestError};
use crate::chat::store::ReceivedId;

/// An event of a client.
///
/// Nothing is lost if these events are not read: messages and changes of messages come from the store until the
/// application is [`done`](crate::chat::Client::done) with them, and the other states can be queried.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The client is connected to the server. The state can be queried with [`Client::connection`](crate::chat::Client::connection).
    Connected,
    /// Somebody has deleted a message for all.
    Deleted(Box<Change>),
    /// The client is not connected, and tries again.
    Disconnected(RequestError),
    /// Somebody has edited a message: `message` has the new text, and the id for [`done`](crate::chat::Client::done).
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
        /// The event.
        event: GroupEvent,
    },
    /// The identity key of an account has changed. Nothing is sent to it until the new key is accepted or refused. All of
    /// them are in [`Client::identity_changes`](crate::chat::Client::identity_changes).
    IdentityChanged {
        /// The account.
        account: AccountId,
        /// The new key.
        key: PublicKey,
    },
    /// The server refuses our prekeys, so others cannot start a conversation with us. The client tries again every hour. The state
    /// can be queried with [`Client::key_state`](crate::chat::Client::key_state).
    KeysRefused(RequestError),
    /// A message has arrived.
    Message(Box<ReceivedMessage>),
    /// The application was so slow that this number of events were left out. None of them was `Message` or `NotRead`. Query
    /// the states that matter.
    Missed(u64),
    /// Our other devices do not learn of a message that was sent from this one. Its recipient has got it.
    NotCopied(CopyFailure),
    /// A message has arrived, but cannot be read. The store keeps the newest 1,000 of them, and 100 of one account.
    NotRead {
        /// Pass it to [`Client::done`](crate::chat::Client::done) when the user knows that a message is lost.
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
    /// [`Client::outbox`](crate::chat::Client::outbox), and those that have failed in [`Client::failed`](crate::chat::Client::failed).
    Progress {
        /// Identifies the message.
        message: Timestamp,
        /// The recipient.
        to: Conversation,
        /// Its progress.
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
        /// The event.
        kind: ReceiptKind,
        /// The messages.
        messages: Vec<Timestamp>,
    },
    /// Somebody that the user does not know has written. All of them are in [`Client::requests`](crate::chat::Client::requests).
    Request {
        /// The account.
        account: AccountId,
    },
    /// The store is older than what this device has done since: somebody has restored a backup. The client starts new sessions with
    /// everybody. What the device had received and sent meanwhile is not in the store.
    StoreIsOlder,
    /// Somebody has set after how many seconds messages of the conversation disappear.
    TimerChanged {
        /// The author and the conversation.
        change: Box<Change>,
        /// `None`: they stay.
        seconds: Option<u32>,
    },
    /// The server has shown this device another list of the account's devices than to another device of ours. A new list replaces
    /// both. Reported once after each start.
    ListsDiffer,
    /// Somebody types a message to us or to a group, or has stopped. Not stored.
    Typing {
        /// The person who types.
        from: AccountId,
        /// The group. `None`: the message is to us alone.
        group: Option<GroupId>,
        /// Whether they type now.
        started: bool,
    },
    /// The server names a device that its account has not signed, or delivers a message of it. Nothing is sent to it, and what it
    /// sends is not read. If the account is ours, the user can [sign](crate::chat::Account::sign_device) or
    /// [remove](crate::chat::Account::remove_device) the device. Each device is reported once; this one,
    /// whenever it cannot complete the list.
    UnsignedDevice {
        /// The device.
        device: Address,
    },
    /// The server certifies senders with another key than the one that was pinned when this account was registered: somebody
    /// else may run it. Messages of senders whom it certifies are refused, and ours are sent openly.
    UntrustedCertificates,
    /// All messages that had waited at the server have arrived.
    UpToDate,
}
