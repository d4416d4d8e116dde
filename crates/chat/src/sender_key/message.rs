//! The two wire messages of sender keys (docs/chat-protocol.md "Sender keys").
//!
//! Decoding checks everything that needs no key. The record checks the signature.

use std::fmt;

use prost::Message;
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::{Zeroize, Zeroizing};

use super::DistributionId;
use crate::key::{KeyPair, PublicKey, Signature};
use crate::message::{MAX_MESSAGE, MessageError};
use crate::ratchet::ChainKey;

/// A message to a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SenderKeyMessage {
    pub(super) distribution: DistributionId,
    pub(super) chain_id: u32,
    /// Its place in the chain, from 0.
    pub(super) iteration: u32,
    pub(super) ciphertext: Vec<u8>,
    /// The bytes that the signature covers: everything before it.
    signed: Vec<u8>,
    signature: Signature,
}

impl SenderKeyMessage {
    /// Decodes a complete message: version, fields, signature.
    ///
    /// # Errors
    /// It is not a message of version 3. Discard it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (signed, signature) =
            bytes.split_last_chunk::<SIGNATURE>().ok_or(MessageError::Malformed)?;
        let fields = without_version(signed, bytes.len())?;
        let proto = MessageFields::decode(fields).map_err(|_| MessageError::Malformed)?;
        let (Some(id), Some(chain_id), Some(iteration), Some(ciphertext)) =
            (proto.distribution, proto.chain_id, proto.iteration, proto.ciphertext)
        else {
            return Err(MessageError::Malformed);
        };
        Ok(Self {
            distribution: distribution(&id)?,
            chain_id,
            iteration,
            ciphertext,
            signed: signed.to_vec(),
            signature: Signature(*signature),
        })
    }

    /// The id of the sender key.
    pub const fn distribution(&self) -> DistributionId {
        self.distribution
    }

    /// Encodes the message as it was decoded.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.signed[..], &self.signature.0].concat()
    }

    /// Whether the owner of `key` has signed exactly this message.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify(&self.signed, &self.signature)
    }
}

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Unsigned {
    pub(super) distribution: DistributionId,
    pub(super) chain_id: u32,
    pub(super) iteration: u32,
    pub(super) ciphertext: Vec<u8>,
}

impl Unsigned {
    /// Encodes the message with its signature.
    pub(super) fn sign(self, signing: &KeyPair, rng: &mut impl CryptoRngCore) -> Vec<u8> {
        let fields = MessageFields {
            distribution: Some(self.distribution.as_bytes().to_vec()),
            chain_id: Some(self.chain_id),
            iteration: Some(self.iteration),
            ciphertext: Some(self.ciphertext),
        };
        let mut bytes = Vec::with_capacity(1 + fields.encoded_len() + SIGNATURE);
        bytes.push(VERSION);
        fields.encode_raw(&mut bytes);
        let signature = signing.sign(&bytes, rng);
        bytes.extend(signature.0);
        bytes
    }
}

/// A sender key, as its owner sends it to the members of a group. It is not signed: it comes inside a session, which shows
/// whose it is.
#[derive(Clone, Eq, PartialEq)]
pub struct SenderKeyDistributionMessage {
    pub(super) distribution: DistributionId,
    pub(super) chain_id: u32,
    pub(super) chain: ChainKey,
    pub(super) signing_key: PublicKey,
}

impl SenderKeyDistributionMessage {
    /// Decodes a complete message.
    ///
    /// # Errors
    /// It is not a message of version 3. Discard it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = without_version(bytes, bytes.len())?;
        let proto = KeyFields::decode(fields).map_err(|_| MessageError::Malformed)?;
        let key = proto.chain_key.map(Zeroizing::new);
        let (Some(id), Some(chain_id), Some(index), Some(key), Some(signing_key)) =
            (proto.distribution, proto.chain_id, proto.iteration, key, proto.signing_key)
        else {
            return Err(MessageError::Malformed);
        };
        let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| MessageError::Malformed)?;
        Ok(Self {
            distribution: distribution(&id)?,
            chain_id,
            chain: ChainKey { key: Secret::new(*key), index },
            signing_key: PublicKey::decode(&signing_key)?,
        })
    }

    /// Encodes the message. The bytes are secret.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut fields = KeyFields {
            distribution: Some(self.distribution.as_bytes().to_vec()),
            chain_id: Some(self.chain_id),
            iteration: Some(self.chain.index),
            chain_key: Some(self.chain.key.expose().to_vec()),
            signing_key: Some(self.signing_key.encode().to_vec()),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + fields.encoded_len()));
        bytes.push(VERSION);
        fields.encode_raw(&mut *bytes);
        fields.chain_key.zeroize();
        bytes
    }

    /// The id of the sender key.
    pub const fn distribution(&self) -> DistributionId {
        self.distribution
    }

    /// Whether it is a state of the same key, perhaps an earlier or a later one.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        self.distribution == other.distribution
            && self.chain_id == other.chain_id
            && self.signing_key == other.signing_key
    }
}

impl fmt::Debug for SenderKeyDistributionMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderKeyDistributionMessage")
            .field("distribution", &self.distribution)
            .field("chain_id", &self.chain_id)
            .finish_non_exhaustive()
    }
}

/// The version is the high half of the first byte; the low half is the sender's maximum version, which is not used.
fn without_version(bytes: &[u8], length: usize) -> Result<&[u8], MessageError> {
    if length > MAX_MESSAGE {
        return Err(MessageError::TooLong(length));
    }
    let (first, rest) = bytes.split_first().ok_or(MessageError::Malformed)?;
    let version = first >> 4;
    if version != VERSION >> 4 {
        return Err(MessageError::UnsupportedVersion(version));
    }
    Ok(rest)
}

fn distribution(bytes: &[u8]) -> Result<DistributionId, MessageError> {
    bytes.try_into().map(DistributionId::from_bytes).map_err(|_| MessageError::Malformed)
}

#[derive(Message)]
struct MessageFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    distribution: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "2")]
    chain_id: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    iteration: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    ciphertext: Option<Vec<u8>>,
}

#[derive(Message)]
struct KeyFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    distribution: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "2")]
    chain_id: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    iteration: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    chain_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    signing_key: Option<Vec<u8>>,
}

/// The version of sender keys, in both halves of the first byte.
const VERSION: u8 = 0x33;

/// Length of a signature.
const SIGNATURE: usize = 64;
