//! The two wire messages of a session: `SignalMessage` and `PreKeySignalMessage`
//! (docs/chat-protocol.md "Messages").
//!
//! Decoding checks everything that needs no key. The session checks the MAC with the message keys.

use prost::Message;

use crate::address::{ROUTE, Route};
use crate::cipher;
use crate::kdf::{hmac, tag_matches};
use crate::kem::{KemCiphertext, KemError};
use crate::key::{KeyError, PublicKey};
use crate::ratchet::MessageKeys;
use crate::x3dh::Version;

/// A message of a session that both sides have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignalMessage {
    pub(crate) version: Version,
    pub(crate) ratchet_key: PublicKey,
    pub(crate) counter: u32,
    pub(crate) ciphertext: Vec<u8>,
    /// The field of the post-quantum ratchet; empty in a session without it.
    pub(crate) spqr: Vec<u8>,
    pub(crate) route: Option<[u8; ROUTE]>,
    /// Whether it came inside a [`PreKeySignalMessage`].
    pub(crate) is_first: bool,
    /// The MAC's input, apart from the identities.
    signed: Vec<u8>,
    mac: [u8; MAC],
}

impl SignalMessage {
    /// Decodes a complete message: version, fields, MAC.
    ///
    /// # Errors
    /// It is not a message of version 3 or 4. Discard it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (signed, mac) = bytes.split_last_chunk().ok_or(MessageError::Malformed)?;
        let (version, fields) = split_version(signed, bytes.len())?;
        let proto = SignalFields::decode(fields).map_err(|_| MessageError::Malformed)?;
        let (Some(key), Some(counter), Some(ciphertext)) =
            (proto.ratchet_key, proto.counter, proto.ciphertext)
        else {
            return Err(MessageError::Malformed);
        };
        let route = proto.route.filter(|route| !route.is_empty());
        let route = route.map(|route| route.try_into()).transpose();
        Ok(Self {
            version,
            ratchet_key: PublicKey::decode(&key)?,
            counter,
            ciphertext,
            spqr: proto.spqr.unwrap_or_default(),
            is_first: false,
            route: route.map_err(|_| MessageError::Malformed)?,
            signed: signed.to_vec(),
            mac: *mac,
        })
    }

    /// Its MAC.
    pub(crate) const fn mac(&self) -> [u8; MAC] {
        self.mac
    }

    /// Whether the MAC shows that a holder of `keys` sent exactly this message from `sender` to
    /// `recipient`.
    pub(crate) fn is_authentic(
        &self,
        keys: &MessageKeys,
        sender: &PublicKey,
        recipient: &PublicKey,
    ) -> bool {
        tag_matches(&mac(keys, sender, recipient, &self.signed), &self.mac)
    }
}

/// The fields that [`seal`] writes in addition to the plaintext.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) version: Version,
    pub(crate) ratchet_key: &'a PublicKey,
    pub(crate) counter: u32,
    pub(crate) previous_counter: u32,
    /// The field of the post-quantum ratchet, if the session has one.
    pub(crate) spqr: Option<Vec<u8>>,
    pub(crate) route: Option<Route>,
}

/// Encrypts and authenticates one message from `sender` to `recipient`.
pub(crate) fn seal(
    header: Header<'_>,
    keys: &MessageKeys,
    sender: &PublicKey,
    recipient: &PublicKey,
    plaintext: &[u8],
) -> Vec<u8> {
    let mut ciphertext = Vec::with_capacity(cipher::padded(plaintext.len()));
    cipher::encrypt(&keys.cipher, &keys.iv, plaintext, &mut ciphertext);
    let fields = SignalFields {
        ratchet_key: Some(header.ratchet_key.encode().to_vec()),
        counter: Some(header.counter),
        previous_counter: Some(header.previous_counter),
        ciphertext: Some(ciphertext),
        spqr: header.spqr,
        route: header.route.map(|route| route.to_wire().to_vec()),
    };
    let mut bytes = with_version(header.version, &fields, MAC);
    let tag = mac(keys, sender, recipient, &bytes);
    bytes.extend(tag.iter().take(MAC));
    bytes
}

fn mac(keys: &MessageKeys, sender: &PublicKey, recipient: &PublicKey, signed: &[u8]) -> [u8; 32] {
    use ::hmac::Mac;
    let mut mac = hmac(keys.mac.expose());
    mac.update(&sender.encode());
    mac.update(&recipient.encode());
    mac.update(signed);
    mac.finalize().into_bytes().into()
}

/// A message that can start a session: it carries the data that the recipient needs for that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreKeySignalMessage {
    pub(crate) version: Version,
    pub(crate) registration_id: u32,
    pub(crate) pre_key_id: Option<u32>,
    pub(crate) signed_pre_key_id: u32,
    pub(crate) kem: Option<(u32, KemCiphertext)>,
    pub(crate) base_key: PublicKey,
    pub(crate) identity: PublicKey,
    pub(crate) message: SignalMessage,
}

impl PreKeySignalMessage {
    /// Decodes a complete message and the inner one.
    ///
    /// # Errors
    /// It is not a message of version 3 or 4. Discard it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (version, fields) = split_version(bytes, bytes.len())?;
        let proto = PreKeyFields::decode(fields).map_err(|_| MessageError::Malformed)?;
        let (Some(signed_pre_key_id), Some(base_key), Some(identity), Some(message)) =
            (proto.signed_pre_key_id, proto.base_key, proto.identity, proto.message)
        else {
            return Err(MessageError::Malformed);
        };
        let kem = match (version, proto.kem_pre_key_id, proto.kem_ciphertext) {
            (Version::X3dh, None, None) => None,
            (Version::Pqxdh, Some(id), Some(bytes)) => Some((id, KemCiphertext::decode(&bytes)?)),
            _ => return Err(MessageError::Malformed),
        };
        let mut message = SignalMessage::decode(&message)?;
        message.is_first = true;
        if message.version != version {
            return Err(MessageError::Malformed);
        }
        Ok(Self {
            version,
            registration_id: proto.registration_id.unwrap_or_default(),
            pre_key_id: proto.pre_key_id,
            signed_pre_key_id,
            kem,
            base_key: PublicKey::decode(&base_key)?,
            identity: PublicKey::decode(&identity)?,
            message,
        })
    }

    /// The sender's identity, as claimed. It is verified once the message has been decrypted.
    pub const fn identity(&self) -> &PublicKey {
        &self.identity
    }

    /// The registration id of the sender's device.
    pub const fn registration_id(&self) -> u32 {
        self.registration_id
    }

    /// The id of our one-time prekey that the sender used.
    pub const fn pre_key_id(&self) -> Option<u32> {
        self.pre_key_id
    }

    /// The id of our signed prekey that the sender used.
    pub const fn signed_pre_key_id(&self) -> u32 {
        self.signed_pre_key_id
    }

    /// The id of our post-quantum prekey that the sender used.
    pub fn kem_pre_key_id(&self) -> Option<u32> {
        self.kem.as_ref().map(|(id, _)| *id)
    }
}

/// The fields that [`seal_first`] adds around a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) version: Version,
    pub(crate) registration_id: u32,
    pub(crate) pre_key_id: Option<u32>,
    pub(crate) signed_pre_key_id: u32,
    pub(crate) kem: Option<&'a (u32, KemCiphertext)>,
    pub(crate) base_key: &'a PublicKey,
    pub(crate) identity: &'a PublicKey,
}

/// Wraps an encrypted message for a recipient who may not have the session yet.
pub(crate) fn seal_first(opening: &Opening<'_>, message: Vec<u8>) -> Vec<u8> {
    let fields = PreKeyFields {
        pre_key_id: opening.pre_key_id,
        base_key: Some(opening.base_key.encode().to_vec()),
        identity: Some(opening.identity.encode().to_vec()),
        message: Some(message),
        registration_id: Some(opening.registration_id),
        signed_pre_key_id: Some(opening.signed_pre_key_id),
        kem_pre_key_id: opening.kem.map(|(id, _)| *id),
        kem_ciphertext: opening.kem.map(|(_, ciphertext)| ciphertext.encode()),
    };
    with_version(opening.version, &fields, 0)
}

/// An encrypted message and its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ciphertext {
    /// The kind of message in `bytes`.
    pub kind: CiphertextKind,
    /// The bytes to send.
    pub bytes: Vec<u8>,
}

/// The kind of a [`Ciphertext`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CiphertextKind {
    /// A [`PreKeySignalMessage`].
    PreKey,
    /// A [`SignalMessage`].
    Signal,
}

/// Why bytes are not a valid message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// A post-quantum ciphertext in it is invalid.
    #[error("the message contains an invalid ciphertext: {0}")]
    BadCiphertext(#[from] KemError),
    /// A key in it is invalid.
    #[error("the message contains an invalid key: {0}")]
    BadKey(#[from] KeyError),
    /// A field is missing, or the bytes do not have the structure of a message.
    #[error("malformed message")]
    Malformed,
    /// It is too long.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// It is neither version 3 nor version 4; or, of a sender key, not version 3.
    #[error("unsupported message version {0}")]
    UnsupportedVersion(u8),
}

/// The message's version is the high half of the first byte; the low half is the sender's maximum
/// version, which is not used.
fn split_version(bytes: &[u8], length: usize) -> Result<(Version, &[u8]), MessageError> {
    if length > MAX_MESSAGE {
        return Err(MessageError::TooLong(length));
    }
    let (first, rest) = bytes.split_first().ok_or(MessageError::Malformed)?;
    let number = first >> 4;
    let version = Version::from_number(number).ok_or(MessageError::UnsupportedVersion(number))?;
    Ok((version, rest))
}

/// Writes the version in both halves of the first byte, as old clients require, then the fields;
/// reserves space for the rest.
fn with_version(version: Version, fields: &impl Message, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + fields.encoded_len() + room);
    bytes.push(version.number() * 0x11);
    fields.encode_raw(&mut bytes);
    bytes
}

#[derive(Message)]
struct SignalFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    ratchet_key: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "2")]
    counter: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    previous_counter: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    ciphertext: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    spqr: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    route: Option<Vec<u8>>,
}

#[derive(Message)]
struct PreKeyFields {
    #[prost(uint32, optional, tag = "5")]
    registration_id: Option<u32>,
    #[prost(uint32, optional, tag = "1")]
    pre_key_id: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    signed_pre_key_id: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    kem_pre_key_id: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "8")]
    kem_ciphertext: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    base_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    message: Option<Vec<u8>>,
}

/// Length of the MAC on the wire.
pub(crate) const MAC: usize = 8;

/// Maximum length of a message: the limit of the service.
pub const MAX_MESSAGE: usize = 256 * 1024;

#[cfg(test)]
mod tests;
