//! Sealed messages of version 1: one for each recipient.
//!
//! A generated key encrypts the sender's identity key, and then both identity keys encrypt the content. So only the holder of
//! the sender's identity key can have sealed it.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use prost::Message;
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::UnsealError;
use crate::kdf::{hkdf, tag, tag_matches, thirds};
use crate::key::{KeyError, KeyPair, PublicKey};

/// Seals `content`.
pub(super) fn seal(
    content: &[u8],
    us: &KeyPair,
    to: &PublicKey,
    rng: &mut impl CryptoRngCore,
) -> Result<Vec<u8>, KeyError> {
    let ephemeral = KeyPair::random(rng);
    let outer = Layer::outer(&ephemeral.agree(to)?, to, ephemeral.public());
    let identity = outer.seal(&us.public().encode());
    let inner = Layer::inner(&us.agree(to)?, &outer, &identity);
    let fields = SealedFields {
        ephemeral: Some(ephemeral.public().encode().to_vec()),
        message: Some(inner.seal(content)),
        identity: Some(identity),
    };
    let mut bytes = Vec::with_capacity(1 + fields.encoded_len());
    bytes.push(VERSION);
    fields.encode_raw(&mut bytes);
    Ok(bytes)
}

/// Opens a message without its version: the identity key of the one who has sealed it, and the content.
pub(super) fn open(
    bytes: &[u8],
    us: &KeyPair,
) -> Result<(PublicKey, Zeroizing<Vec<u8>>), UnsealError> {
    let fields = SealedFields::decode(bytes).map_err(|_| UnsealError::Malformed)?;
    let (Some(ephemeral), Some(identity), Some(message)) =
        (fields.ephemeral, fields.identity, fields.message)
    else {
        return Err(UnsealError::Malformed);
    };
    let ephemeral = PublicKey::decode(&ephemeral)?;
    let outer = Layer::outer(&us.agree(&ephemeral)?, us.public(), &ephemeral);
    let sender = outer.open(&identity).ok_or(UnsealError::NotAuthentic)?;
    let sender = PublicKey::decode(&sender)?;
    let inner = Layer::inner(&us.agree(&sender)?, &outer, &identity);
    let content = inner.open(&message).ok_or(UnsealError::NotAuthentic)?;
    Ok((sender, content))
}

/// The keys of one of the two encryptions.
struct Layer {
    chain: Secret<32>,
    cipher: Secret<32>,
    mac: Secret<32>,
}

impl Layer {
    /// The encryption of the sender's identity key.
    fn outer(shared: &Secret<32>, recipient: &PublicKey, ephemeral: &PublicKey) -> Self {
        let salt = [LABEL, &recipient.encode(), &ephemeral.encode()].concat();
        Self::derive(&salt, shared)
    }

    /// The encryption of the content.
    fn inner(shared: &Secret<32>, outer: &Self, sealed_identity: &[u8]) -> Self {
        let salt = Zeroizing::new([outer.chain.expose().as_slice(), sealed_identity].concat());
        Self::derive(&salt, shared)
    }

    fn derive(salt: &[u8], shared: &Secret<32>) -> Self {
        let derived = hkdf(salt, shared.expose(), b"");
        let (chain, cipher, mac) = thirds(&derived);
        Self { chain, cipher, mac }
    }

    fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(plaintext.len() + TAG);
        bytes.extend(plaintext);
        self.apply_cipher(&mut bytes);
        let tag = self.tag(&bytes);
        bytes.extend(tag.iter().take(TAG));
        bytes
    }

    fn open(&self, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (ciphertext, tag) = bytes.split_last_chunk::<TAG>()?;
        if !tag_matches(&self.tag(ciphertext), tag) {
            return None;
        }
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        self.apply_cipher(&mut plaintext);
        Some(plaintext)
    }

    fn tag(&self, ciphertext: &[u8]) -> [u8; 32] {
        tag(self.mac.expose(), &[ciphertext])
    }

    /// AES-256-CTR from block 0. The key is used only once.
    fn apply_cipher(&self, bytes: &mut [u8]) {
        Ctr128BE::<Aes256>::new(self.cipher.expose().into(), &[0; 16].into())
            .apply_keystream(bytes);
    }
}

#[derive(Message)]
struct SealedFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    ephemeral: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    message: Option<Vec<u8>>,
}

/// The version, in both halves of the first byte.
const VERSION: u8 = 0x11;

/// Length of a MAC.
const TAG: usize = 10;

const LABEL: &[u8] = b"UnidentifiedDelivery";
