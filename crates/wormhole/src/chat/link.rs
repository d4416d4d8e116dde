//! Linking a device by a wormhole code: the new device gets the account's identity key under the code, so nobody can put
//! another device in between (docs/chat-protocol.md "Linking by a code").
//!
//! The new device stores what it has got before it asks the server to accept it. So if it is killed at any moment, the same
//! request can be made again ([`Account::finish_link`](super::Account::finish_link)), or a new code works.

mod copy;
mod error;
mod guest;
mod host;
mod qr;
mod uri;

use wormhole_chat::{LinkMessage, LinkRefusal};

use super::peer_channel::PeerChannel;

#[cfg(feature = "fuzzing")]
pub use copy::fuzz;
pub use copy::{Copied, ReceivingCopy};
pub use error::{AcceptLinkError, CopyError, LinkError, LinkPeerError};
pub use guest::{InterruptedLink, LinkGuest, LinkOptions, OfferedAccount};
pub use host::{LinkHost, LinkRequest, LinkedDevice, Withdrawal};
pub use qr::{QrLinking, ScannedDevice};
pub use uri::{LinkUri, NotALinkUri};

/// The next message of the other device.
async fn next(
    channel: &PeerChannel,
    limit: std::time::Duration,
) -> Result<LinkMessage, LinkPeerError> {
    let bytes = zeroize::Zeroizing::new(channel.next(limit).await?);
    match LinkMessage::decode(&bytes)? {
        LinkMessage::Refused(refusal) => Err(refusal.into()),
        message @ (LinkMessage::Copy(_)
        | LinkMessage::Linked { .. }
        | LinkMessage::Offer(_)
        | LinkMessage::Ready(_)
        | LinkMessage::Request { .. }) => Ok(message),
    }
}

async fn send(channel: &PeerChannel, message: &LinkMessage) -> Result<(), LinkPeerError> {
    Ok(channel.send(message.encode().to_vec()).await?)
}

/// Tells the other device that this one gives up, and closes the wormhole.
async fn give_up(channel: PeerChannel, refusal: LinkRefusal) {
    // The wormhole may have ended already.
    let _sent = send(&channel, &LinkMessage::Refused(refusal)).await;
    channel.close().await;
}

/// The application of the wormhole: only devices that are linked meet.
const APP_ID: &str = "wormholeim.org/chat/link-device";
