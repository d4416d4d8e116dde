//! Errors of wormholes.

use wormhole_magic::wormhole::{
    self as core, MAX_MESSAGE, PeerMisbehaved, ServerMisbehaved, ServerText, WormholeError,
};

use crate::net::LinkFailure;

/// Why a wormhole ended or rejected a call. The variants name the party at fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The application used the wormhole incorrectly. The wormhole continues.
    #[error("wormhole misused: {0}")]
    ApiMisuse(#[from] ApiMisuse),
    /// The wormhole was closed, or its runtime shut down.
    #[error("the wormhole is closed")]
    Closed,
    /// The server deleted the code during a lost connection: the connection was lost for longer than the server keeps unused
    /// codes, or the server lost its data.
    #[error("the mailbox server has forgotten this code")]
    MailboxLost,
    /// The peer, or an attacker, violated the protocol.
    #[error("the other side misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The server violated the protocol.
    #[error("the mailbox server misbehaved: {0}")]
    ServerMisbehaved(#[from] ServerMisbehaved),
    /// The server rejected a request.
    #[error("the mailbox server refused: {0}")]
    ServerRefused(ServerText),
    /// No connection to the server succeeded.
    #[error("the mailbox server cannot be reached: {0}")]
    ServerUnreachable(LinkFailure),
    /// The server rejects this client.
    #[error("the mailbox server says: {0}")]
    Unwelcome(ServerText),
    /// The peer has another code: a typing mistake on either side, or a wrong guess of an attacker.
    #[error("the codes of the two sides do not match")]
    WrongCode,
}

impl Error {
    /// Converts an error of the core; `failure` is the error of the last link.
    pub(super) fn new(error: WormholeError, failure: Option<&LinkFailure>) -> Self {
        match error {
            WormholeError::MailboxLost => Self::MailboxLost,
            WormholeError::PeerMisbehaved(what) => Self::PeerMisbehaved(what),
            WormholeError::ServerMisbehaved(what) => Self::ServerMisbehaved(what),
            WormholeError::ServerRefused(text) => Self::ServerRefused(text),
            WormholeError::ServerUnreachable => {
                Self::ServerUnreachable(failure.cloned().unwrap_or(LinkFailure::TimedOut))
            }
            WormholeError::Unwelcome(text) => Self::Unwelcome(text),
            WormholeError::WrongCode => Self::WrongCode,
            WormholeError::ApiMisuse(what) => Self::ApiMisuse(what.into()),
        }
    }
}

/// How the application used a wormhole incorrectly.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// The code or its nameplate has already been chosen.
    #[error("the code is already chosen")]
    CodeAlreadyChosen,
    /// Messages are delivered to the delegate.
    #[error("messages are delivered to the delegate")]
    Delegated,
    /// More bytes than can be derived (8160).
    #[error("cannot derive {0} bytes")]
    KeyTooLong(usize),
    /// A message longer than [`Wormhole::MAX_MESSAGE`](super::Wormhole::MAX_MESSAGE).
    #[error("a message of {0} bytes is too long: the limit is {MAX_MESSAGE} bytes")]
    MessageTooLong(usize),
    /// The words were given before the nameplate.
    #[error("the nameplate must be chosen first")]
    NameplateNotChosen,
    /// The key exchange is not complete.
    #[error("there is no key yet")]
    NoKey,
    /// Too many messages are waiting to be sent.
    #[error("too much is waiting to be sent")]
    TooMuchUnsent,
    /// [`Config::app_versions`](super::Config::app_versions) is longer than
    /// [`Wormhole::MAX_MESSAGE`](super::Wormhole::MAX_MESSAGE).
    #[error("the versions have {0} bytes as JSON: the limit is {MAX_MESSAGE} bytes")]
    VersionsTooLong(usize),
}

impl From<core::ApiMisuse> for ApiMisuse {
    fn from(misuse: core::ApiMisuse) -> Self {
        match misuse {
            core::ApiMisuse::CodeAlreadyChosen => Self::CodeAlreadyChosen,
            core::ApiMisuse::MessageTooLong(length) => Self::MessageTooLong(length),
            core::ApiMisuse::NameplateNotChosen => Self::NameplateNotChosen,
            core::ApiMisuse::TooMuchUnsent => Self::TooMuchUnsent,
        }
    }
}
