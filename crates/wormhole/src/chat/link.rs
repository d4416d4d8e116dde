//! Linking a device by a wormhole code: the new device gets the account's identity key under the code, so nobody can put
//! another device in between (docs/chat-protocol.md "Linking by a code").
//!
//! The new device stores what it has got before it asks the server to accept it. So if it is killed at any moment, the same
//! request can be made again ([`Account::finish_link`](super::Account::finish_link)), or a new code works.

mod copy;
mod guest;
mod host;
mod qr;
mod uri;

use wormhole_chat::{LinkDecodeError, LinkMessage, LinkRefusal};

use super::error::{OpenError, RequestError};
use super::peer_channel::{PeerChannel, PeerChannelError};
use super::server::ServerUrl;
use super::store::StoreError;
use crate::code;
use crate::transit::{self, PipeError};

#[cfg(feature = "fuzzing")]
pub use copy::fuzz;
pub use copy::{Copied, ReceivingCopy};
pub use guest::{InterruptedLink, LinkGuest, LinkOptions, OfferedAccount};
pub use host::{LinkHost, LinkRequest, LinkedDevice, Withdrawal};
pub use qr::{QrLinking, ScannedDevice};
pub use uri::{LinkUri, NotALinkUri};

/// Why a device was not linked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// This store has an account already.
    #[error("this profile has an account already: use another profile")]
    AlreadyRegistered,
    /// The two sides have not met.
    #[error(transparent)]
    Code(#[from] code::Error),
    /// The other device has sent an invalid message: it may be another program.
    #[error(transparent)]
    Decode(#[from] LinkDecodeError),
    /// The code of the server was used or is too old. Use a new wormhole code.
    #[error("the server does not accept the new device any more")]
    Expired,
    /// The keys that the other device sends cannot be decrypted or do not belong together.
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
    /// Only the primary device of an account can link others.
    #[error("only the primary device of the account can link others")]
    NotPrimaryDevice,
    /// No device waits where the QR code says: it is too old, was used already, or belongs to another server.
    #[error("no device waits at the address in the QR code")]
    NotWaiting,
    /// The new device is linked according to its own words, but the server does not list a new device with its number.
    #[error("the new device says that it is linked, but the server has not added it")]
    NotListed,
    /// This store has no account that can be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The other device belongs to another account.
    #[error("the other device belongs to another account")]
    OtherAccount,
    /// The account is at another server than the user wants.
    #[error("the account of the other device is at {offered}, not at {wanted}")]
    OtherServer {
        /// The server that the user wants.
        wanted: String,
        /// The server of the account.
        offered: String,
    },
    /// The other device is silent: it was stopped, or has no connection.
    #[error("the other device has stopped answering")]
    PeerGone,
    /// The other device gives up.
    #[error(transparent)]
    PeerRefused(#[from] LinkRefusal),
    /// The server of the account is on another computer and does not use TLS, and the application has not permitted that.
    #[error(
        "the connection to {0} is not encrypted: others could read the password of the account"
    )]
    PlainHttp(ServerUrl),
    /// The connection to the other device was lost while contacts and messages were copied.
    #[error("the connection to the other device was lost: {0}")]
    Lost(#[from] PipeError),
    /// The two devices cannot connect to copy contacts and messages.
    #[error("cannot connect to the other device: {0}")]
    NotConnected(#[from] transit::Error),
    /// The server was not reached, or has not answered. If it has accepted the new device anyway, the same request succeeds
    /// later: [`Account::finish_link`](super::Account::finish_link).
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The account has six devices already.
    #[error("the account has as many devices as it may have")]
    TooManyDevices,
    /// The two devices do not fit together: both want to be linked, or both link.
    #[error("the other device does not do what was expected")]
    Unexpected,
}

impl LinkError {
    /// Returns the error of linking for an error of a request.
    fn from_request(error: RequestError) -> Self {
        if error == RequestError::Refused(411) {
            Self::TooManyDevices
        } else if error == RequestError::Refused(403) {
            Self::Expired
        } else {
            Self::Request(error)
        }
    }

    /// Whether the server has not accepted the device, and never will with the same request.
    const fn is_final(&self) -> bool {
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
    fn refusal(&self) -> LinkRefusal {
        match self {
            Self::TooManyDevices => LinkRefusal::TooManyDevices,
            Self::OtherServer { .. } | Self::PlainHttp(_) => LinkRefusal::OtherServer,
            Self::Request(error) if error.may_retry() => LinkRefusal::Unreachable,
            Self::Expired | Self::Request(_) => LinkRefusal::Rejected,
            Self::KeyGiven { cause, .. } => cause.refusal(),
            Self::AlreadyRegistered
            | Self::Code(_)
            | Self::Decode(_)
            | Self::InvalidKeys
            | Self::Lost(_)
            | Self::NotConnected(_)
            | Self::NotPrimaryDevice
            | Self::NotListed
            | Self::NotWaiting
            | Self::Open(_)
            | Self::OtherAccount
            | Self::PeerGone
            | Self::PeerRefused(_)
            | Self::Store(_)
            | Self::Unexpected => LinkRefusal::Other,
        }
    }
}

impl From<PeerChannelError> for LinkError {
    fn from(error: PeerChannelError) -> Self {
        match error {
            PeerChannelError::Code(error) => error.into(),
            PeerChannelError::PeerGone => Self::PeerGone,
        }
    }
}

/// The next message of the other device.
async fn next(channel: &PeerChannel, limit: std::time::Duration) -> Result<LinkMessage, LinkError> {
    let bytes = zeroize::Zeroizing::new(channel.next(limit).await?);
    match LinkMessage::decode(&bytes)? {
        LinkMessage::Refused(LinkRefusal::TooManyDevices) => Err(LinkError::TooManyDevices),
        LinkMessage::Refused(refusal) => Err(refusal.into()),
        message @ (LinkMessage::Copy(_)
        | LinkMessage::Linked { .. }
        | LinkMessage::Offer(_)
        | LinkMessage::Ready(_)
        | LinkMessage::Request { .. }) => Ok(message),
    }
}

async fn send(channel: &PeerChannel, message: &LinkMessage) -> Result<(), LinkError> {
    Ok(channel.send(message.encode().to_vec()).await?)
}

/// Tells the other device that this one gives up, and closes the wormhole.
async fn give_up(channel: PeerChannel, refusal: LinkRefusal) {
    // The wormhole may have ended already.
    let _told = send(&channel, &LinkMessage::Refused(refusal)).await;
    channel.close().await;
}

/// The application of the wormhole: only devices that are linked meet.
const APP_ID: &str = "wormholeim.org/chat/link-device";
