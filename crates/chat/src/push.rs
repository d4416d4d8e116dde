//! Push payloads: envelopes encrypted with the device's signaling key, so that a push service
//! cannot read them (docs/chat-protocol.md "Signaling key").

use std::fmt;

use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use crate::cipher;
use crate::kdf::{tag, tag_matches};

/// 32 bytes for AES and 20 bytes for the MAC: a secret shared by a device and its server.
#[derive(Clone, Eq, PartialEq)]
pub struct SignalingKey {
    cipher: Secret<32>,
    mac: Secret<20>,
}

impl SignalingKey {
    /// Generates a key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let (mut cipher, mut mac) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 20]));
        rng.fill_bytes(&mut *cipher);
        rng.fill_bytes(&mut *mac);
        Self { cipher: Secret::new(*cipher), mac: Secret::new(*mac) }
    }

    /// Creates a key from exactly 52 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let cipher = Secret::new(reader.array().ok()?);
        let mac = Secret::new(reader.array().ok()?);
        reader.is_empty().then_some(Self { cipher, mac })
    }

    /// The 52 bytes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&self.cipher.expose()[..], &self.mac.expose()[..]].concat())
    }

    /// Encrypts an encoded envelope.
    pub fn seal(&self, envelope: &[u8], rng: &mut impl CryptoRngCore) -> Vec<u8> {
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        let mut payload = Vec::with_capacity(OVERHEAD + cipher::padded(envelope.len()));
        payload.push(VERSION);
        payload.extend(iv);
        cipher::encrypt(&self.cipher, &iv, envelope, &mut payload);
        let tag = tag(self.mac.expose(), &[&payload]);
        payload.extend(tag.iter().take(TAG));
        payload
    }

    /// Decrypts a payload.
    ///
    /// # Errors
    /// The payload was encrypted with a different key, or modified.
    pub fn open(&self, payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, PushError> {
        let (signed, mac) = payload.split_last_chunk::<TAG>().ok_or(PushError)?;
        if !tag_matches(&tag(self.mac.expose(), &[signed]), mac) {
            return Err(PushError);
        }
        let mut reader = Reader::new(signed);
        if reader.u8() != Ok(VERSION) {
            return Err(PushError);
        }
        let iv = reader.array().map_err(|_| PushError)?;
        cipher::decrypt(&self.cipher, &iv, reader.rest()).ok_or(PushError)
    }
}

impl fmt::Debug for SignalingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignalingKey(…)")
    }
}

/// The payload was encrypted with a different key, or modified. Discard it; the server still has
/// the message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the push payload cannot be decrypted")]
pub struct PushError;

/// The only version.
const VERSION: u8 = 1;

/// Length of the MAC, a truncated HMAC-SHA256 (the first API description calls its key
/// an HMAC-SHA1 key).
const TAG: usize = 10;

/// Length of version, IV and MAC.
const OVERHEAD: usize = 1 + 16 + TAG;
