//! Sealed sender: the server learns to whom a message goes, but not from whom it comes (docs/chat-protocol.md "Sealed sender").
//!
//! The message, the sender's certificate and what is inside are encrypted for the identity key of the recipient. In version 2
//! the long part is encrypted once for any number of recipients.

mod content;
mod multi;
mod v1;
mod v2;

use rand_core::CryptoRngCore;

use crate::address::Address;
use crate::certificate::{CertificateError, CertifiedSender};
use crate::key::{KeyError, KeyPair, PublicKey};
use crate::message::MAX_MESSAGE;
use crate::time::Timestamp;

pub use content::{ContentHint, SealedContent, SealedKind, UnsealedMessage};
pub use multi::{MalformedMultiRecipient, MultiRecipientMessage, SealedDevice, SealedRecipient};

/// The conditions for accepting a sealed message.
#[derive(Clone, Copy, Debug)]
pub struct UnsealRules<'a> {
    /// Our device, whose own messages are refused.
    pub us: Address,
    /// The public keys that sign the certificates of servers. They belong to the program or its configuration, and never come
    /// from the network.
    pub roots: &'a [PublicKey],
    /// When the message was sent, as far as we know. The certificate must be valid then. A server that names an earlier time
    /// could make an expired certificate valid, so our own clock decides if it is right.
    pub now: Timestamp,
}

/// A message of a sender whose certificate was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsealed {
    /// The device that has sealed it.
    pub sender: CertifiedSender,
    /// The message inside, which is still encrypted.
    pub message: UnsealedMessage,
    /// What to do if we cannot decrypt it.
    pub hint: ContentHint,
    /// The group to which the sender says it belongs.
    pub group: Option<Vec<u8>>,
}

impl SealedContent {
    /// Seals a message for one recipient with version 1, which all clients read.
    ///
    /// # Errors
    /// The recipient's key is of low order.
    pub fn seal(
        &self,
        us: &KeyPair,
        to: &PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, KeyError> {
        v1::seal(&self.encode(), us, to, rng)
    }
}

impl Unsealed {
    /// Opens a message of version 1 or 2 that was sealed for our identity key, and verifies who has sealed it.
    ///
    /// # Errors
    /// Discard it. Its sender is unknown.
    pub fn open(bytes: &[u8], us: &KeyPair, rules: UnsealRules<'_>) -> Result<Self, UnsealError> {
        let content = open_for(bytes, us)?;
        let sender = content.certificate.verify(rules.roots, rules.now)?.clone();
        if sender.address == rules.us {
            return Err(UnsealError::OwnMessage);
        }
        let message = content.message()?;
        if let UnsealedMessage::First(first) = &message
            && *first.identity() != sender.identity
        {
            return Err(UnsealError::WrongSender);
        }
        Ok(Self { sender, message, hint: content.hint, group: content.group })
    }
}

/// Opens a message that the holder of the identity key in its certificate has sealed for us. The certificate is not verified.
fn open_for(bytes: &[u8], us: &KeyPair) -> Result<SealedContent, UnsealError> {
    if bytes.len() > MAX_SEALED {
        return Err(UnsealError::Malformed);
    }
    let (version, rest) = bytes.split_first().ok_or(UnsealError::Malformed)?;
    let (content, is_by_sender) = match version >> 4 {
        1 => {
            let (sender, content) = v1::open(rest, us)?;
            let content = SealedContent::decode(&content)?;
            let is_by_sender = *content.certificate.claimed_identity() == sender;
            (content, is_by_sender)
        }
        2 => {
            let opened = v2::open(rest, us)?;
            let content = SealedContent::decode(&opened.content)?;
            let is_by_sender = opened.is_by(content.certificate.claimed_identity(), us)?;
            (content, is_by_sender)
        }
        _ => return Err(UnsealError::UnsupportedVersion(*version)),
    };
    if is_by_sender { Ok(content) } else { Err(UnsealError::WrongSender) }
}

/// Why a sealed message was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnsealError {
    /// The certificate of the sender is not valid.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The bytes are not a sealed message, or what is inside is malformed.
    #[error("the sealed message is malformed")]
    Malformed,
    /// It was modified, or sealed for another identity key.
    #[error("the sealed message cannot be opened")]
    NotAuthentic,
    /// This device has sealed it itself.
    #[error("the sealed message comes from this device")]
    OwnMessage,
    /// The version is neither 1 nor 2.
    #[error("unsupported version {0:#04x} of sealed messages")]
    UnsupportedVersion(u8),
    /// The key that has sealed it is not the one in the certificate or in the message inside.
    #[error("the sealed message names another sender than the one who sealed it")]
    WrongSender,
}

impl From<KeyError> for UnsealError {
    fn from(_: KeyError) -> Self {
        Self::Malformed
    }
}

/// Maximum length of a sealed message: a message, and room for the certificate.
const MAX_SEALED: usize = MAX_MESSAGE + 8192;

#[cfg(test)]
mod tests;
