//! Sealed messages: the server does not say who has sent them, the certificate inside does.

use rand_core::CryptoRngCore;

use super::exchange::DeviceCiphertext;
use super::{Client, ReadError};
use crate::address::Address;
use crate::certificate::{CertificateError, SenderCertificate};
use crate::envelope::{Envelope, EnvelopeKind};
use crate::key::{KeyError, KeyPair, PublicKey};
use crate::message::{CiphertextKind, MessageError, PreKeySignalMessage, SignalMessage};
use crate::retry;
use crate::sealed_sender::{
    ContentHint, SealedContent, SealedKind, UnsealError, UnsealRules, Unsealed, UnsealedMessage,
};
use crate::sender_key::SenderKeyMessage;
use crate::time::Timestamp;

/// An encrypted message, and who has sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Incoming {
    pub(super) from: Address,
    pub(super) message: UnsealedMessage,
}

impl Client {
    /// Sets the keys that sign the certificates of the service. Until then, sealed messages cannot be read. The driver passes
    /// them in after each start; they must never change, and never come from a message.
    pub fn set_roots(&mut self, roots: Vec<PublicKey>) {
        self.roots = roots;
    }

    /// The [`Sealer`] for messages of this device, which also works while the client is busy.
    pub fn sealer(&self) -> Sealer {
        Sealer { us: self.us, pair: self.identity.pair.clone() }
    }

    /// The message in an envelope, and its sender: according to the server, or according to the certificate in a sealed one.
    pub(super) fn incoming(
        &self,
        now: Timestamp,
        envelope: &Envelope,
    ) -> Result<Incoming, ReadError> {
        let bytes = envelope.content.as_ref().or(envelope.body.as_ref());
        let bytes = || bytes.ok_or(ReadError::Malformed);
        let message = match envelope.kind {
            EnvelopeKind::Ciphertext => UnsealedMessage::Signal(Box::new(
                SignalMessage::decode(bytes()?).map_err(malformed)?,
            )),
            EnvelopeKind::PreKeyBundle => {
                let first = PreKeySignalMessage::decode(bytes()?).map_err(malformed)?;
                UnsealedMessage::First(Box::new(first))
            }
            EnvelopeKind::SenderKey => UnsealedMessage::SenderKey(Box::new(
                SenderKeyMessage::decode(bytes()?).map_err(malformed)?,
            )),
            EnvelopeKind::UnidentifiedSender => {
                let Unsealed { sender, message, .. } = self.unseal(now, envelope, bytes()?)?;
                return Ok(Incoming { from: sender.address, message });
            }
            EnvelopeKind::PlaintextContent => {
                // Nothing else is accepted without encryption. What is malformed names no message, and is ignored.
                UnsealedMessage::DecryptionError(retry::plaintext(bytes()?).unwrap_or_default())
            }
            EnvelopeKind::KeyExchange
            | EnvelopeKind::Plaintext
            | EnvelopeKind::Receipt
            | EnvelopeKind::Unknown(_) => return Err(ReadError::Unsupported),
        };
        let from = envelope.source_account.zip(envelope.source_device);
        let (account, device) = from.ok_or(ReadError::Malformed)?;
        Ok(Incoming { from: Address { account, device }, message })
    }

    /// Opens a sealed envelope. The certificate must have been valid when the server got the message: it may wait for longer
    /// than a certificate is valid. A server that names another time could as well certify whom it likes.
    fn unseal(
        &self,
        now: Timestamp,
        envelope: &Envelope,
        bytes: &[u8],
    ) -> Result<Unsealed, UnsealError> {
        let accepted = envelope.server_timestamp.unwrap_or(now);
        let rules = UnsealRules { us: self.us, roots: &self.roots, now: accepted };
        Unsealed::open(bytes, &self.identity.pair, rules)
    }
}

/// Seals messages of one device.
#[derive(Clone, Debug)]
pub struct Sealer {
    us: Address,
    pair: KeyPair,
}

impl Sealer {
    /// Whether a certificate is ours, and valid at this time.
    ///
    /// # Errors
    /// It is not valid, or names another sender (`BadSignature`).
    pub fn check(
        &self,
        certificate: &SenderCertificate,
        roots: &[PublicKey],
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let sender = certificate.verify(roots, now)?;
        let is_ours = sender.address == self.us && sender.identity == *self.pair.public();
        is_ours.then_some(()).ok_or(CertificateError::BadSignature)
    }

    /// Seals an encrypted message for the account with this identity key.
    ///
    /// # Errors
    /// The key is of low order.
    pub fn seal(
        &self,
        certificate: &SenderCertificate,
        message: &DeviceCiphertext,
        to: &PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, KeyError> {
        let content = SealedContent {
            certificate: certificate.clone(),
            kind: match message.ciphertext.kind {
                CiphertextKind::PreKey => SealedKind::PreKey,
                CiphertextKind::Signal => SealedKind::Signal,
            },
            message: message.ciphertext.bytes.clone(),
            hint: ContentHint::Default,
            group: None,
        };
        content.seal(&self.pair, to, rng)
    }
}

/// Converts the error of a message that cannot be decoded: callers treat it like a failed decryption.
fn malformed(error: MessageError) -> ReadError {
    ReadError::Decrypt(error.into())
}
