//! A report that a message could not be decrypted, which asks its sender to send it again (docs/chat-protocol.md "Retry requests").
//!
//! It is the only content that travels unencrypted, because there may be no session that works.

use prost::Message as _;

use crate::address::DeviceId;
use crate::content::Content;
use crate::key::PublicKey;
use crate::message::{MessageError, PreKeySignalMessage, SignalMessage};
use crate::padding::unpad;
use crate::time::Timestamp;

/// Names a message that could not be decrypted. Anybody who can write to us can invent one, so it is only a hint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecryptionErrorMessage {
    /// The ratchet key of the message. It shows with which session it was encrypted. Messages to groups have none.
    pub ratchet_key: Option<PublicKey>,
    /// When the message was sent, which identifies it.
    pub timestamp: Timestamp,
    /// The device that sent it.
    pub device: DeviceId,
}

impl DecryptionErrorMessage {
    /// Describes a message that `device` has sent. `is_first`: it is a [`PreKeySignalMessage`].
    ///
    /// # Errors
    /// It is malformed, so no session can have produced it.
    pub fn new(
        message: &[u8],
        is_first: bool,
        timestamp: Timestamp,
        device: DeviceId,
    ) -> Result<Self, MessageError> {
        let ratchet_key = Some(ratchet_key(message, is_first)?);
        Ok(Self { ratchet_key, timestamp, device })
    }

    /// Encodes the bytes of a [`Content::DecryptionError`].
    pub fn encode(&self) -> Vec<u8> {
        let fields = Fields {
            ratchet_key: self.ratchet_key.map(|key| key.encode().to_vec()),
            timestamp: Some(self.timestamp.0),
            device: Some(self.device.number().into()),
        };
        fields.encode_to_vec()
    }

    /// Decodes the bytes of a [`Content::DecryptionError`]. `None` if they are malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::decode(bytes).ok()?;
        let ratchet_key = match fields.ratchet_key {
            Some(key) => Some(PublicKey::decode(&key).ok()?),
            None => None,
        };
        let device = DeviceId::new(fields.device?)?;
        Some(Self { ratchet_key, timestamp: Timestamp(fields.timestamp?), device })
    }

    /// Encodes the unencrypted content of an envelope of the kind
    /// [`PlaintextContent`](crate::EnvelopeKind::PlaintextContent).
    pub fn to_plaintext(&self) -> Vec<u8> {
        let content = Content::DecryptionError(self.encode()).encode();
        [&[PLAINTEXT_MARK], &content[..], &[PADDING_MARK]].concat()
    }

    /// Decodes the unencrypted content of an envelope. `None` if it is something else: nothing else is accepted without encryption.
    pub fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        plaintext(bytes).and_then(|error| Self::decode(&error))
    }
}

/// The bytes of the [`Content::DecryptionError`] in an unencrypted content.
pub(crate) fn plaintext(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mark, padded) = bytes.split_first()?;
    let content = unpad(padded).filter(|_| *mark == PLAINTEXT_MARK)?;
    match Content::decode(content) {
        Ok(Content::DecryptionError(error)) => Some(error),
        Ok(_) | Err(_) => None,
    }
}

/// The ratchet key of an encrypted message.
pub(crate) fn ratchet_key(message: &[u8], is_first: bool) -> Result<PublicKey, MessageError> {
    let message = match is_first {
        true => PreKeySignalMessage::decode(message)?.message,
        false => SignalMessage::decode(message)?,
    };
    Ok(message.ratchet_key)
}

#[derive(prost::Message)]
struct Fields {
    #[prost(bytes = "vec", optional, tag = "1")]
    ratchet_key: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "3")]
    device: Option<u32>,
}

/// The first byte of an unencrypted content.
const PLAINTEXT_MARK: u8 = 0xc0;

/// The byte after it.
const PADDING_MARK: u8 = 0x80;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::key::KeyPair;

    fn error() -> DecryptionErrorMessage {
        let key = KeyPair::random(&mut ChaCha8Rng::seed_from_u64(1));
        let device = DeviceId::new(3).unwrap();
        DecryptionErrorMessage { ratchet_key: Some(*key.public()), timestamp: Timestamp(7), device }
    }

    #[test]
    fn a_report_reads_as_it_was_written() {
        let error = error();
        let bytes = error.to_plaintext();
        assert_eq!((bytes[0], bytes.last()), (0xc0, Some(&0x80)));
        assert_eq!(DecryptionErrorMessage::from_plaintext(&bytes), Some(error));
        let without = DecryptionErrorMessage { ratchet_key: None, ..error };
        assert_eq!(DecryptionErrorMessage::decode(&without.encode()), Some(without));
    }

    #[test]
    fn nothing_else_is_accepted_without_encryption() {
        let mut bytes = error().to_plaintext();
        for at in [0, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(DecryptionErrorMessage::from_plaintext(&bad), None);
        }
        bytes.truncate(bytes.len() - 1);
        assert_eq!(DecryptionErrorMessage::from_plaintext(&bytes), None);
        let null = [&[0xc0][..], &Content::Null.encode(), &[0x80]].concat();
        assert_eq!(DecryptionErrorMessage::from_plaintext(&null), None);
        assert_eq!(DecryptionErrorMessage::from_plaintext(b""), None);
        // No timestamp, no device, a device out of range, and an invalid key.
        for bad in [
            &b"\x18\x01"[..],
            b"\x10\x01",
            b"\x10\x01\x18\x80\x01",
            b"\x0a\x01\x05\x10\x01\x18\x01",
        ] {
            assert_eq!(DecryptionErrorMessage::decode(bad), None, "{bad:?}");
        }
    }
}
