//! Attachments: each is encrypted with its own key and stored where anyone may fetch it
//! (docs/chat-protocol.md "Attachments").
//!
//! A blob is `IV ‖ ciphertext ‖ MAC`. Both directions accept pieces of any length, so large files
//! need little memory.

mod blocks;

use std::fmt;

use hmac::{Hmac, Mac};
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::kdf::{halves, hmac, tag_matches};
use blocks::{Decrypting, Encrypting};

/// The keys of one attachment: 32 bytes for AES and 32 for HMAC.
#[derive(Clone, Eq, PartialEq)]
pub struct AttachmentKey(Secret<64>);

impl AttachmentKey {
    /// Generates a key. Use it for one attachment only.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *bytes);
        Self(Secret::new(*bytes))
    }

    /// Creates a key from exactly 64 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Secret::new(bytes)))
    }

    /// The 64 bytes.
    pub const fn expose(&self) -> &[u8; 64] {
        self.0.expose()
    }

    /// The AES key and the HMAC key.
    fn parts(&self) -> (Secret<32>, Secret<32>) {
        halves(self.0.expose())
    }
}

impl fmt::Debug for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachmentKey(…)")
    }
}

/// Encrypts one attachment, piece by piece.
pub struct AttachmentSealer {
    cipher: Encrypting,
    mac: Hmac<Sha256>,
    digest: Sha256,
}

impl AttachmentSealer {
    /// Starts a blob: appends its IV to `blob`.
    pub fn new(key: &AttachmentKey, rng: &mut impl CryptoRngCore, blob: &mut Vec<u8>) -> Self {
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        Self::with_iv(key, iv, blob)
    }

    /// Starts the same blob again, to continue an upload: with the same key, IV and file, every byte is the same. Never use the
    /// pair for another file.
    pub fn with_iv(key: &AttachmentKey, iv: [u8; 16], blob: &mut Vec<u8>) -> Self {
        let (cipher, mac) = key.parts();
        let mut sealer = Self {
            cipher: Encrypting::new(&cipher, &iv),
            mac: hmac(mac.expose()),
            digest: Sha256::new(),
        };
        blob.extend(iv);
        sealer.hash(&iv);
        sealer
    }

    /// The SHA-256 of the blob so far.
    pub fn digest_so_far(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    /// Encrypts the next piece and appends it to `blob`.
    pub fn update(&mut self, piece: &[u8], blob: &mut Vec<u8>) {
        let start = blob.len();
        self.cipher.update(piece, blob);
        self.hash(blob.get(start..).unwrap_or_default());
    }

    /// Finishes the blob and returns its digest for the pointer.
    pub fn finish(mut self, blob: &mut Vec<u8>) -> [u8; 32] {
        let start = blob.len();
        self.cipher.finish(blob);
        let end = blob.get(start..).unwrap_or_default();
        self.mac.update(end);
        self.digest.update(end);
        let mac = self.mac.finalize().into_bytes();
        self.digest.update(mac);
        blob.extend(mac);
        self.digest.finalize().into()
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
        self.digest.update(bytes);
    }
}

impl fmt::Debug for AttachmentSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachmentSealer(…)")
    }
}

/// Decrypts one attachment, piece by piece.
pub struct AttachmentOpener {
    key: Secret<32>,
    cipher: Option<Decrypting>,
    mac: Hmac<Sha256>,
    digest: Sha256,
    /// Bytes that may belong to the IV or the MAC.
    held: Vec<u8>,
}

impl AttachmentOpener {
    /// Starts to decrypt with a key.
    pub fn new(key: &AttachmentKey) -> Self {
        let (cipher, mac) = key.parts();
        let (mac, digest) = (hmac(mac.expose()), Sha256::new());
        Self { key: cipher, cipher: None, mac, digest, held: Vec::new() }
    }

    /// Decrypts the next piece of the blob and appends it to `plaintext`. Do not use any of it
    /// before [`AttachmentOpener::finish`] has confirmed that the blob is authentic.
    pub fn update(&mut self, piece: &[u8], plaintext: &mut Vec<u8>) {
        self.digest.update(piece);
        self.held.extend(piece);
        if self.cipher.is_none()
            && let Some((iv, _)) = self.held.split_first_chunk::<16>()
        {
            self.cipher = Some(Decrypting::new(&self.key, iv));
            self.mac.update(iv);
            self.held.drain(..16);
        }
        if let Some(cipher) = &mut self.cipher {
            let ready = self.held.len().saturating_sub(MAC);
            let ciphertext = self.held.get(..ready).unwrap_or_default();
            self.mac.update(ciphertext);
            cipher.update(ciphertext, plaintext);
            self.held.drain(..ready);
        }
    }

    /// Finishes the blob: appends the rest of the plaintext if the blob is authentic. `digest`
    /// comes from the pointer; omit it only if the sender's client sent none.
    ///
    /// # Errors
    /// The blob is not what the sender uploaded. Discard the plaintext written so far.
    pub fn finish(
        self,
        digest: Option<&[u8; 32]>,
        plaintext: &mut Vec<u8>,
    ) -> Result<(), AttachmentError> {
        let found: [u8; 32] = self.digest.finalize().into();
        if digest.is_some_and(|digest| !bool::from(digest.ct_eq(&found))) {
            return Err(AttachmentError::NotAuthentic);
        }
        let mac: [u8; 32] = self.mac.finalize().into_bytes().into();
        if self.held.len() != MAC || !tag_matches(&mac, &self.held) {
            return Err(AttachmentError::NotAuthentic);
        }
        let last = self.cipher.and_then(Decrypting::finish).ok_or(AttachmentError::NotAuthentic)?;
        plaintext.extend(last.iter());
        Ok(())
    }
}

impl fmt::Debug for AttachmentOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachmentOpener(…)")
    }
}

/// The size to which a plaintext of `size` bytes should be padded with zeros, so that its length
/// reveals little.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "far below 2^53, and positive"
)]
pub fn attachment_padding(size: u64) -> u64 {
    let mut padded = 541.0_f64;
    if size > 541 {
        padded = 1.0;
        while padded < size as f64 {
            padded *= 1.05;
        }
    }
    (padded as u64).max(size)
}

/// The blob does not match its pointer. All reasons give the same error, because naming the failed
/// check would help an attacker.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AttachmentError {
    /// It was damaged, truncated or replaced.
    #[error("the attachment is not what its sender uploaded")]
    NotAuthentic,
}

/// Length of the MAC at the end.
const MAC: usize = 32;

#[cfg(test)]
mod tests;
