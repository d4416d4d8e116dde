//! Why the chat does not do what the user wants, in words for people.

mod request;

use std::io;
use std::path::PathBuf;

use wormhole_chat::group::{ChangeError, GroupId};
use wormhole_chat::rules::ChangeRefusal;
use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, GroupFailure, PublicKey, RestoreError, SendFailure};

use super::account::Account;
use super::attachment::{MAX_BLOB, MAX_FILE};
use super::driver::MAX_BLOCKED;
use super::server::ServerUrl;
use super::store::StoreError;
pub use request::{RequestError, ServerFault};

/// Why a number could not be registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The store has a registered account already.
    #[error("this message store has an account already: use another store")]
    AlreadyRegistered,
    /// The server does not permit that a registered number is registered again.
    #[error(
        "this number is registered already, and the server does not allow to register it again"
    )]
    NumberTaken,
    /// No code was requested.
    #[error("no verification code was requested: register a number first")]
    NotRequested,
    /// The server is on another computer and does not use TLS, and the application has not permitted that with
    /// [`Server::allow_plain_http`](super::Server::allow_plain_http).
    #[error("the connection to {0} is not encrypted: others could read your password")]
    PlainHttp(ServerUrl),
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The code is wrong or old.
    #[error("this verification code is wrong, was used, or is too old")]
    WrongCode,
}

impl RegisterError {
    /// Whether another attempt may succeed without any change by the user.
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Request(error) => error.may_retry(),
            Self::AlreadyRegistered
            | Self::NotRequested
            | Self::NumberTaken
            | Self::PlainHttp(_)
            | Self::Store(_)
            | Self::WrongCode => false,
        }
    }
}

/// Why a client cannot be started.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A stored value cannot be read.
    #[error("the message store is damaged: {0}")]
    Damaged(#[from] RestoreError),
    /// The number is not confirmed yet.
    #[error(
        "this message store has no account: register a number and confirm the verification code"
    )]
    NotRegistered,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a client was not started, and the account, so that it can be opened again.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct NotOpened {
    /// The account, as before.
    pub account: Account,
    /// Why.
    pub why: OpenError,
}

/// The client has ended: the store failed, or the client was closed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// It was closed.
    #[error("the chat client was closed")]
    Closed,
    /// It has panicked, because of a defect of this program. Nothing is lost; open the client again.
    #[error("the chat client has failed because of a defect in this program: start it again")]
    Failed,
    /// The store cannot be used. Nothing is lost; open the client again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a change is not in the store of a client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotStored {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The store does not accept the change, or cannot be written. The client continues.
    #[error(transparent)]
    Store(StoreError),
}

/// Why a decision about somebody is not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// It is the own account.
    #[error("this is your own account")]
    OwnAccount,
    /// So many accounts are blocked that the service does not accept another one.
    #[error("you have blocked {MAX_BLOCKED} people: unblock somebody first")]
    TooManyBlocked,
}

/// Why a group is not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The change could not be made, because of a defect of this program.
    #[error("the group could not be changed, because of a defect in this program")]
    Internal,
    /// This device does not know the group, or has not read its first change yet.
    #[error("this device does not know the group, or has not read it yet")]
    NotFound,
    /// This account is not a member: it was removed, or the invitation or the link is no longer valid.
    #[error(
        "you are not a member of the group: you were removed, or the invitation or the link is no longer valid"
    )]
    NotMember,
    /// The change is not permitted, or has become pointless.
    #[error(transparent)]
    NotPermitted(#[from] ChangeError),
    /// The server has refused the change.
    #[error("the server does not accept the change of the group")]
    ServerRefused,
    /// With the change, the state of the group would be longer than the server accepts.
    #[error("the group is too large for this change: remove members or invitations first")]
    TooLong,
    /// Too many changes of the group wait for the server.
    #[error("too many changes of the group wait for the server: try again later")]
    TooManyWaiting,
}

impl From<GroupFailure> for GroupError {
    fn from(failure: GroupFailure) -> Self {
        match failure {
            GroupFailure::NotPermitted(why) => Self::NotPermitted(why),
            GroupFailure::Refused => Self::ServerRefused,
            GroupFailure::TooLong => Self::TooLong,
            GroupFailure::TooManyChanges => Self::TooManyWaiting,
            GroupFailure::Unknown => Self::NotMember,
            GroupFailure::Internal | _ => Self::Internal,
        }
    }
}

/// Why the name of the account, or what the directory shows, is not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Only the primary device of an account can change what the directory shows.
    #[error("only the primary device of the account can change this")]
    NotPrimaryDevice,
    /// The account cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Somebody else has the name.
    #[error("somebody else has this name")]
    Taken,
}

/// Why a message was not put into the outbox.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The user has blocked the recipient.
    #[error("you have blocked this person")]
    Blocked(AccountId),
    /// The draft was discarded, or sent by another call, while its files were being delivered.
    #[error("the draft was discarded or sent meanwhile")]
    DraftGone,
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The message has neither text nor files.
    #[error("the message is empty")]
    Empty,
    /// A file cannot be read.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::ErrorKind),
    /// A file is too large for the service, and cannot be sent directly: the recipient is a group, direct files are off, or it is larger
    /// than [`DirectFiles::max_bytes`](super::DirectFiles::max_bytes).
    #[error("{}: the file is too large to be sent", .0.display())]
    FileTooLarge(PathBuf),
    /// This account is not a member of the group.
    #[error("this account is not a member of the group")]
    NotMember(GroupId),
    /// A file is too large for the service, and there is no direct connection to the recipient. It goes when both are online.
    #[error(
        "{}: the service takes files of up to {} MiB, and the other person cannot be reached directly now",
        .0.display(),
        mebibytes(MAX_FILE)
    )]
    NotReachable(PathBuf),
    /// A message cannot be changed like this.
    #[error(transparent)]
    NotAllowed(#[from] ChangeRefusal),
    /// No account has this number or id.
    #[error("{0} is not registered at this server")]
    NoSuchRecipient(Destination),
    /// The server says that a known number belongs to another account now. Nothing is sent until the user accepts that
    /// with [`Client::accept_number`](super::Client::accept_number).
    #[error(
        "{number} belongs to another account now: it may be somebody else. Ask the person before you accept it"
    )]
    NumberMoved {
        /// The number.
        number: Destination,
        /// The account that it belonged to.
        from: AccountId,
        /// The account that it belongs to now, according to the server.
        to: AccountId,
    },
    /// The recipient's identity key has changed, and some messages wait for the user to accept or refuse it already.
    #[error(
        "the recipient's identity key has changed, and several messages wait for you to accept it: compare the safety \
         number first"
    )]
    IdentityChanged {
        /// The recipient.
        account: AccountId,
        /// The new key.
        key: PublicKey,
    },
    /// Too many messages wait, in all or for this recipient.
    #[error("too many messages wait for the server: try again when it can be reached")]
    OutboxFull,
    /// Too many messages [have failed](super::Client::failed) and were not [forgotten](super::Client::forget_failed).
    #[error("too many messages could not be sent: read and remove them first")]
    TooManyFailed,
    /// Thousands of conversations have a timer, and there is no room for another one.
    #[error("too many conversations have a timer: switch one off first")]
    TooManyTimers,
    /// The app delivers messages to this account itself: [`Options::route`](super::Options::route) has said so.
    #[error("messages to this account are not sent through this server")]
    OwnRoute(AccountId),
    /// A request failed. Another attempt may succeed: [`QueueError::may_retry`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The message is too long.
    #[error("the message is too long: send it as a file")]
    TooLong,
}

impl QueueError {
    /// Whether another attempt may succeed without any change by the user.
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Request(error) => error.may_retry(),
            Self::OutboxFull | Self::NotReachable(_) => true,
            Self::DraftGone
            | Self::Empty
            | Self::Ended(_)
            | Self::File(..)
            | Self::FileTooLarge(_)
            | Self::IdentityChanged { .. }
            | Self::NoSuchRecipient(_)
            | Self::NotAllowed(_)
            | Self::NotMember(_)
            | Self::NumberMoved { .. }
            | Self::OwnRoute(_)
            | Self::TooLong
            | Self::Blocked(_)
            | Self::TooManyFailed
            | Self::TooManyTimers => false,
        }
    }
}

/// Why the server does not have a message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// It was removed from the outbox by [`Client::cancel`](super::Client::cancel).
    #[error("the message was cancelled")]
    Cancelled,
    /// The last attempt has failed. The message waits in the outbox, and the client tries again.
    #[error("the message waits in the outbox: {0}")]
    Delayed(RequestError),
    /// The client has ended. It sends the message when it is opened again.
    #[error(
        "the chat was closed before the server had the message: it is sent when the chat is opened again"
    )]
    Ended,
    /// The message was removed from the outbox. It is among [`Client::failed`](super::Client::failed).
    #[error(transparent)]
    Failed(#[from] SendFailure),
    /// The recipient's identity key has changed. The message waits in the outbox until the user accepts or refuses the key.
    #[error(
        "the recipient's identity key has changed: the message waits until you have accepted the new key. Compare the \
         safety number first"
    )]
    IdentityChanged(PublicKey),
}

impl DeliveryError {
    /// Whether the client may still send the message without any change by the user.
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Delayed(error) => error.may_retry(),
            Self::Cancelled | Self::Ended | Self::Failed(_) | Self::IdentityChanged(_) => false,
        }
    }
}

/// Why a message that has arrived could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It was received, but cannot be read from the store any more.
    #[error("the stored message is damaged")]
    Damaged,
    /// Its decrypted content is invalid.
    #[error("the message has invalid content")]
    Malformed,
    /// It needs a key that this device never had, or no longer has.
    #[error("the message was encrypted for another session or with an old key")]
    MissingKey,
    /// It was not encrypted for us, or was modified.
    #[error("the message cannot be decrypted")]
    NotDecryptable,
    /// The user has refused the identity key of its sender.
    #[error("the message has an identity key that you have refused")]
    RefusedIdentity,
    /// The timestamp of the envelope differs from that of the message.
    #[error("the server changed the message's timestamp")]
    TimestampMismatch,
    /// It claims that so many others are missing, or so many sessions were started, that it is not processed.
    #[error("the message exceeds a limit")]
    TooMany,
    /// It would change an earlier message or the conversation, and its sender has an identity key that the user has not accepted. Nothing was changed.
    #[error(
        "it would change an earlier message or the timer, with an identity key that you have not accepted"
    )]
    UnacceptedIdentity,
    /// It is sealed, but does not prove who has sent it.
    #[error("the message does not prove who has sent it")]
    Unproven,
    /// The sender's account has a signed list of its devices, and the device that has sent the message is not in it.
    #[error("the device that has sent the message is not signed by its owner")]
    UnsignedDevice,
    /// It is of a kind that this program does not support.
    #[error("this kind of message is not supported")]
    Unsupported,
}

/// Why something about the identity of another account cannot be done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The numbers differ.
    #[error(
        "the safety numbers differ: somebody may read your messages, or one of you has reinstalled the program. Compare \
         again, with the number that is shown now"
    )]
    Mismatch,
    /// The other person has the accepted key, not the new one.
    #[error(
        "the other person still has the previous identity key: the new one belongs to somebody else. Do not accept it"
    )]
    NewKeyNotTheirs,
    /// The key that should be accepted or refused is not the one that the account has now.
    #[error("the identity key has changed again: look at the safety number again")]
    NotCurrent,
    /// The other person has this key, which was refused.
    #[error("you have refused this safety number")]
    Refused(PublicKey),
    /// We have not exchanged a message with the account yet.
    #[error("the identity key of this account is not known yet: exchange a message first")]
    Unknown,
}

/// Why an attachment was not downloaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachmentError {
    /// There is something with this name.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The server does not have it any more.
    #[error("the server does not have this file any more: ask the sender to send it again")]
    Expired,
    /// The attachment was modified or replaced.
    #[error("the attachment is not what its sender uploaded")]
    NotAuthentic,
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It is larger than the limit.
    #[error("the attachment is larger than {} MiB", mebibytes(MAX_BLOB))]
    TooLarge,
    /// The file cannot be written.
    #[error("{}: {}", .0.display(), .1)]
    WriteFailed(PathBuf, io::ErrorKind),
}

impl AttachmentError {
    /// Whether another attempt may succeed without any change by the user.
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Request(error) => error.may_retry(),
            Self::Exists(_)
            | Self::Expired
            | Self::NotAuthentic
            | Self::TooLarge
            | Self::WriteFailed(..) => false,
        }
    }
}

/// A limit in MiB, rounded up: the largest file leaves some bytes for its encryption.
const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
