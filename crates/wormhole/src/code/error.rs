//! Why a wormhole ended badly, or would not do what was asked.

use wormhole_magic::wormhole::{
    self as core, PeerMisbehaved, ServerMisbehaved, ServerText, WormholeError,
};

use crate::net::LinkFailure;

/// Why a wormhole ended badly, or would not do what was asked, by whose fault it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This program asked for something it may not. The wormhole goes on.
    #[error("wormhole misused: {0}")]
    ApiMisuse(#[from] ApiMisuse),
    /// The wormhole was closed, or its runtime shut down.
    #[error("the wormhole is closed")]
    Closed,
    /// The server has forgotten the code while the link to it was lost: it was lost for longer than
    /// the server keeps unused codes, or the server lost its data.
    #[error("the mailbox server has forgotten this code")]
    MailboxLost,
    /// The peer, or somebody in its place, broke the protocol.
    #[error("the other side misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The server broke the protocol.
    #[error("the mailbox server misbehaved: {0}")]
    ServerMisbehaved(#[from] ServerMisbehaved),
    /// The server would not do what we asked.
    #[error("the mailbox server refused: {0}")]
    ServerRefused(ServerText),
    /// No link to the server came about.
    #[error("the mailbox server cannot be reached: {0}")]
    ServerUnreachable(LinkFailure),
    /// The server does not want this client.
    #[error("the mailbox server says: {0}")]
    Unwelcome(ServerText),
    /// The peer has another code: a typing error on either side, or an attacker's wrong guess.
    #[error("the codes of the two sides do not match")]
    WrongCode,
}

impl Error {
    /// Translates an error of the core; `failure` is what happened to the last link.
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

/// What a program asked for and may not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// The code, or its nameplate, was chosen before.
    #[error("the code is chosen already")]
    CodeAlreadyChosen,
    /// Messages go to the delegate.
    #[error("messages go to the delegate")]
    Delegated,
    /// More than 8160 bytes of key.
    #[error("cannot derive {0} bytes")]
    KeyTooLong(usize),
    /// A message longer than 4 MiB.
    #[error("a message of {0} bytes is too long")]
    MessageTooLong(usize),
    /// The words of a code came before its nameplate.
    #[error("the nameplate must be chosen first")]
    NameplateNotChosen,
    /// There is no key yet.
    #[error("there is no key yet")]
    NoKey,
    /// More was sent than is kept.
    #[error("too much is waiting to be sent")]
    TooMuchUnsent,
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
