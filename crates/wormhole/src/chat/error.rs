//! Why the chat does not do what the user wants, in words for people.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, PublicKey, RestoreError};

use super::server::ServerUrl;
use super::store::StoreError;
use crate::net::{LinkFailure, TlsFailure};

/// Why a request to the server failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The app's name or token is wrong or was revoked.
    #[error(
        "the server does not accept the app's name and token: ask its operator for a new token"
    )]
    AppRefused,
    /// The account does not exist any more, or its number was registered again elsewhere.
    #[error(
        "the server does not accept this account any more: it was deleted, or its number was registered again"
    )]
    CredentialsRefused,
    /// The server does not know what we asked for.
    #[error("the server does not know it")]
    NotFound,
    /// The address belongs to something else.
    #[error("this is not the address of a messaging service")]
    NotAService,
    /// The server cannot be reached.
    #[error("the server cannot be reached: {}", describe(.0))]
    Link(LinkFailure),
    /// The server refuses the request.
    #[error("the server refuses this (HTTP status {0})")]
    Refused(u16),
    /// We asked too often.
    #[error("too many requests: try again in {} s", .0.as_secs().max(1))]
    TooMany(Duration),
    /// The server has a problem.
    #[error("the server is not available at the moment (HTTP status {0})")]
    Unavailable(u16),
}

impl RequestError {
    /// Whether the same request may succeed later.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Link(_) | Self::TooMany(_) | Self::Unavailable(_) => true,
            Self::AppRefused
            | Self::CredentialsRefused
            | Self::NotAService
            | Self::NotFound
            | Self::Refused(_) => false,
        }
    }

    /// How long the server asks us to wait.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany(pause) => Some(*pause),
            Self::AppRefused
            | Self::CredentialsRefused
            | Self::Link(_)
            | Self::NotAService
            | Self::NotFound
            | Self::Refused(_)
            | Self::Unavailable(_) => None,
        }
    }
}

/// The text of a lost link; the advice of some of them is for WebSockets.
fn describe(failure: &LinkFailure) -> String {
    if *failure == LinkFailure::Tls(TlsFailure::NotTls) {
        "it does not use TLS at this address: use http://".to_owned()
    } else if *failure == LinkFailure::TlsExpected {
        "it requires TLS: use https://".to_owned()
    } else {
        failure.to_string()
    }
}

/// Why a number could not be registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The store has a registered account already.
    #[error("this profile has an account already: use another profile")]
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
    #[error("this verification code is wrong, was used, or is older than 10 minutes")]
    WrongCode,
}

/// Why a client cannot be started.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A stored value cannot be read.
    #[error("the profile is damaged: {0}")]
    Damaged(#[from] RestoreError),
    /// The number is not confirmed yet.
    #[error("this profile has no account: register a number and confirm the verification code")]
    NotRegistered,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The client has ended: the store failed, or the client was closed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// It was closed.
    #[error("the chat client was closed")]
    Closed,
    /// The store cannot be used. Nothing is lost; open the client again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a message was not put into the outbox.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The message has neither text nor files.
    #[error("the message is empty")]
    Empty,
    /// A file cannot be read.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::ErrorKind),
    /// A file is too large.
    #[error("{}: files of up to 100 MiB can be sent", .0.display())]
    FileTooLarge(PathBuf),
    /// Nobody is registered under this number or id.
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
    /// The outbox is full.
    #[error("too many messages wait for the server: try again when it can be reached")]
    OutboxFull,
    /// The app delivers messages to this account itself: [`Options::route`](super::Options::route) has said so.
    #[error("messages to this account are not sent through this server")]
    OwnRoute(AccountId),
    /// A request failed. Its cause may be temporary: [`RequestError::is_temporary`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The message is too long.
    #[error("the message is too long: send it as a file")]
    TooLong,
}

/// Why the server does not have a message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// The client has ended. It sends the message when it is opened again.
    #[error("the message is in the outbox and will be sent later")]
    Ended,
    /// The recipient's identity key has changed. The message waits in the outbox until the user accepts the key, or for
    /// ever.
    #[error(
        "the recipient's identity key has changed: the message waits until you have accepted the new key. Compare the \
         safety number first"
    )]
    IdentityChanged(PublicKey),
    /// The message was removed from the outbox.
    #[error(transparent)]
    Failed(#[from] wormhole_chat::SendError),
    /// The server does not accept us. The message waits in the outbox.
    #[error("the message waits in the outbox: {0}")]
    Refused(RequestError),
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
    /// The key that should be accepted is not the one that the account has now.
    #[error("the identity key has changed again: look at the safety number again")]
    NotCurrent,
    /// We have not exchanged a message with the account yet.
    #[error("the identity key of this account is not known yet: exchange a message first")]
    Unknown,
}

/// Why an attachment was not downloaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachmentError {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
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
    /// It is larger than its sender has announced, or than the limit.
    #[error("the attachment is larger than its sender has announced")]
    TooLarge,
    /// The file cannot be written.
    #[error("{}: {}", .0.display(), .1)]
    WriteFailed(PathBuf, io::ErrorKind),
}
