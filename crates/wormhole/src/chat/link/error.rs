//! Errors of linking: one for the new device, one for the primary device, and one for copying.

use wormhole_chat::{LinkDecodeError, LinkRefusal};

use super::host::Withdrawal;
use crate::chat::error::{OpenError, RequestError};
use crate::chat::peer_channel::PeerChannelError;
use crate::chat::server::ServerUrl;
use crate::chat::store::StoreError;
use crate::code;
use crate::transit::{self, PipeError};

/// Why this device was not linked to an account.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// This store has an account already.
    #[error("this message store has an account already: use another store")]
    AlreadyRegistered,
    /// The code of the server was used or is too old. Use a new wormhole code.
    #[error("the server does not accept the new device any more")]
    Expired,
    /// The keys that the other device sends cannot be decrypted or do not belong together.
    #[error("the other device sends keys that cannot be used")]
    InvalidKeys,
    /// The account is at another server than the user wants.
    #[error("the account of the other device is at {offered}, not at {wanted}")]
    OtherServer {
        /// The server that the user wants.
        wanted: String,
        /// The server of the account.
        offered: String,
    },
    /// The exchange with the primary device has failed.
    #[error(transparent)]
    Peer(LinkPeerError),
    /// The server of the account is on another computer and does not use TLS, and the application has not permitted that.
    #[error(
        "the connection to {0} is not encrypted: others could read the password of the account"
    )]
    PlainHttp(ServerUrl),
    /// The server was not reached, or has not answered. If it has accepted the new device anyway, the same request succeeds
    /// later: [`Account::finish_link`](crate::chat::Account::finish_link).
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The stored account cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The account has six devices already.
    #[error("the account has as many devices as it may have")]
    TooManyDevices,
}

/// Why the primary device has not linked another one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptLinkError {
    /// The key of the new device cannot be used.
    #[error("the other device sends keys that cannot be used")]
    InvalidKeys,
    /// The new device has not confirmed that it is linked, but may have got the key of the account.
    #[error("{cause}")]
    KeyGiven {
        /// Why it was not linked.
        cause: Box<Self>,
        /// The state of the link.
        withdrawal: Withdrawal,
    },
    /// The new device is linked according to its own words, but the server does not list a new device with its number.
    #[error("the new device says that it is linked, but the server has not added it")]
    NotListed,
    /// Only the primary device of an account can link others.
    #[error("only the primary device of the account can link others")]
    NotPrimaryDevice,
    /// No device waits at the address in the QR code: the code is too old, was used already, or belongs to another server.
    #[error("no device waits at the address in the QR code")]
    NotWaiting,
    /// This store has no account that can be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The exchange with the new device has failed.
    #[error(transparent)]
    Peer(LinkPeerError),
    /// The server was not reached, or has not answered.
    #[error(transparent)]
    Request(RequestError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The account has six devices already.
    #[error("the account has as many devices as it may have")]
    TooManyDevices,
}

/// Why contacts and messages were not copied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The connection to the other device was lost.
    #[error("the connection to the other device was lost: {0}")]
    Lost(#[from] PipeError),
    /// The two devices cannot connect.
    #[error("cannot connect to the other device: {0}")]
    NotConnected(#[from] transit::Error),
    /// This store has no account that can be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The other device belongs to another account.
    #[error("the other device belongs to another account")]
    OtherAccount,
    /// The exchange with the other device has failed.
    #[error(transparent)]
    Peer(#[from] LinkPeerError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why two devices that are linked, or copy, have not exchanged their messages.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkPeerError {
    /// The two sides have not met.
    #[error(transparent)]
    Code(#[from] code::Error),
    /// The other device has sent an invalid message: it may be another program.
    #[error(transparent)]
    Decode(#[from] LinkDecodeError),
    /// The other device is silent: it was stopped, or has no connection.
    #[error("the other device has stopped answering")]
    Gone,
    /// The other device has ended the exchange.
    #[error(transparent)]
    Refused(#[from] LinkRefusal),
    /// The two devices do not fit together: both want to be linked, or both link.
    #[error("the other device sent an unexpected message")]
    Unexpected,
}

impl LinkError {
    /// Returns the error of linking for an error of a request.
    pub(super) fn from_request(error: RequestError) -> Self {
        if error == RequestError::Refused(411) {
            Self::TooManyDevices
        } else if error == RequestError::Refused(403) {
            Self::Expired
        } else {
            Self::Request(error)
        }
    }

    /// Whether the server has not accepted the device, and never will with the same request.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::TooManyDevices
                | Self::Request(
                    RequestError::AppRefused | RequestError::Invalid(_) | RequestError::Refused(_)
                )
        )
    }

    /// Returns the reason for the other device.
    pub(super) const fn refusal(&self) -> LinkRefusal {
        match self {
            Self::TooManyDevices => LinkRefusal::TooManyDevices,
            Self::OtherServer { .. } | Self::PlainHttp(_) => LinkRefusal::OtherServer,
            Self::Request(error) => refusal(error),
            Self::Expired => LinkRefusal::Rejected,
            Self::AlreadyRegistered
            | Self::InvalidKeys
            | Self::Open(_)
            | Self::Peer(_)
            | Self::Store(_) => LinkRefusal::Other,
        }
    }
}

impl AcceptLinkError {
    /// Returns the reason for the other device.
    pub(super) const fn refusal(&self) -> LinkRefusal {
        match self {
            Self::TooManyDevices => LinkRefusal::TooManyDevices,
            Self::Request(error) => refusal(error),
            Self::InvalidKeys
            | Self::KeyGiven { .. }
            | Self::NotListed
            | Self::NotPrimaryDevice
            | Self::NotWaiting
            | Self::Open(_)
            | Self::Peer(_)
            | Self::Store(_) => LinkRefusal::Other,
        }
    }
}

const fn refusal(error: &RequestError) -> LinkRefusal {
    if error.may_retry() { LinkRefusal::Unreachable } else { LinkRefusal::Rejected }
}

impl From<RequestError> for AcceptLinkError {
    fn from(error: RequestError) -> Self {
        if error == RequestError::Refused(411) {
            Self::TooManyDevices
        } else {
            Self::Request(error)
        }
    }
}

impl From<LinkPeerError> for LinkError {
    fn from(error: LinkPeerError) -> Self {
        if error == LinkPeerError::Refused(LinkRefusal::TooManyDevices) {
            Self::TooManyDevices
        } else {
            Self::Peer(error)
        }
    }
}

impl From<LinkPeerError> for AcceptLinkError {
    fn from(error: LinkPeerError) -> Self {
        if error == LinkPeerError::Refused(LinkRefusal::TooManyDevices) {
            Self::TooManyDevices
        } else {
            Self::Peer(error)
        }
    }
}

impl From<PeerChannelError> for LinkPeerError {
    fn from(error: PeerChannelError) -> Self {
        match error {
            PeerChannelError::Code(error) => error.into(),
            PeerChannelError::PeerGone => Self::Gone,
        }
    }
}
