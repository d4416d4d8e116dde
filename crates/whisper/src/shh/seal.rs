//! Encryption of messages with a shared key or for a public key (docs/whisper-protocol.md "Data").
//!
//! An envelope does not say which of the two it uses; a reader tries all its keys. There is no forward
//! secrecy: a stolen key decrypts all messages that were ever encrypted with it.

use std::fmt;

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInPlace, KeyInit},
};
use rand_core::CryptoRngCore;
use sha2::Sha256;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::devp2p::{
    ecies::{self, OpenError},
    key::{PrivateKey, PublicKey, keccak256},
};

/// A shared key.
#[derive(Clone)]
pub struct SymmetricKey {
    secret: Secret<32>,
    /// Expanded only once, because it is tried on every envelope.
    cipher: Box<Aes256Gcm>,
}

impl SymmetricKey {
    /// Creates a key from 32 bytes.
    ///
    /// # Errors
    /// All bytes are zero, which is a sign of an uninitialised key.
    pub fn new(secret: Secret<32>) -> Result<Self, ZeroKey> {
        if secret == Secret::new([0; 32]) {
            return Err(ZeroKey);
        }
        let cipher = Box::new(Aes256Gcm::new(secret.expose().into()));
        Ok(Self { secret, cipher })
    }

    /// Generates a random key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            rng.fill_bytes(bytes.as_mut_slice());
            if let Ok(key) = Self::new(Secret::new(*bytes)) {
                return key;
            }
        }
    }

    /// Derives a key from a password. Takes tens of milliseconds on purpose.
    ///
    /// There is no salt, so everyone derives the same key from the same password: use a strong one.
    pub fn from_password(password: &str) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &[], ITERATIONS, bytes.as_mut_slice());
        let secret = Secret::new(*bytes);
        let cipher = Box::new(Aes256Gcm::new(secret.expose().into()));
        Self { secret, cipher }
    }

    /// The bytes of the key.
    pub const fn secret(&self) -> &Secret<32> {
        &self.secret
    }

    /// An identifier that does not reveal the key.
    pub fn fingerprint(&self) -> [u8; 32] {
        keccak256(&[self.secret.expose()])
    }

    /// Encrypts a message, which becomes [`SYMMETRIC_OVERHEAD`] bytes longer.
    pub fn seal(&self, plaintext: &[u8], rng: &mut impl CryptoRngCore) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(plaintext.len() + SYMMETRIC_OVERHEAD);
        sealed.extend_from_slice(plaintext);
        let tag = self.cipher.encrypt_in_place_detached(&nonce.into(), &[], &mut sealed);
        // Only fails for more than 64 GiB.
        sealed.extend_from_slice(&tag.unwrap_or_default());
        sealed.extend_from_slice(&nonce);
        sealed
    }

    /// Decrypts a message.
    ///
    /// # Errors
    /// Encrypted with another key, or not a message.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = self.open_in_place(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Decrypts a message in place and returns the length of its plaintext, so that many keys can be tried on one
    /// copy.
    ///
    /// # Errors
    /// See [`SymmetricKey::open`]; `sealed` is unchanged.
    pub fn open_in_place(&self, sealed: &mut [u8]) -> Result<usize, OpenError> {
        let (sealed, nonce) = sealed.split_last_chunk_mut::<NONCE>().ok_or(OpenError)?;
        let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(OpenError)?;
        let (nonce, tag) = ((&*nonce).into(), (&*tag).into());
        let opened = self.cipher.decrypt_in_place_detached(nonce, &[], ciphertext, tag);
        opened.map_err(|_| OpenError)?;
        Ok(ciphertext.len())
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(…)")
    }
}

/// Encrypts a message for the holder of `to`; it becomes [`ASYMMETRIC_OVERHEAD`] bytes longer.
pub fn seal_for(to: &PublicKey, plaintext: &[u8], rng: &mut impl CryptoRngCore) -> Vec<u8> {
    ecies::seal(to, plaintext, &[], rng)
}

/// Decrypts a message for `key`.
///
/// # Errors
/// Encrypted for another key, or not a message.
pub fn open_for(key: &PrivateKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    ecies::open(key, sealed, &[])
}

/// All bytes of a key are zero, which is a sign of an uninitialised key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key is all zero")]
pub struct ZeroKey;

/// Additional bytes of a message encrypted by [`SymmetricKey::seal`].
pub const SYMMETRIC_OVERHEAD: usize = TAG + NONCE;

/// Additional bytes of a message encrypted by [`seal_for`].
pub const ASYMMETRIC_OVERHEAD: usize = ecies::OVERHEAD;

/// Iterations of PBKDF2. Not 65536: go-ethereum swapped two digits, and all implementations copied that
/// number.
const ITERATIONS: u32 = 65_356;

/// Size of the nonce at the end, in bytes.
const NONCE: usize = 12;

/// Size of the authentication tag in bytes.
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn any_changed_or_missing_byte_is_noticed_and_the_bytes_stay_as_they_were() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let key = SymmetricKey::random(&mut rng);
        let sealed = key.seal(b"hello", &mut rng);
        assert_eq!(sealed.len(), 5 + SYMMETRIC_OVERHEAD);
        assert_eq!(key.open(&sealed).unwrap().as_slice(), b"hello");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            let before = changed.clone();
            assert_eq!(key.open_in_place(&mut changed), Err(OpenError), "byte {place}");
            assert_eq!(changed, before);
            assert_eq!(key.open(&sealed[..place]), Err(OpenError));
        }
    }

    #[test]
    fn a_key_of_zeros_is_refused() {
        assert_eq!(SymmetricKey::new(Secret::new([0; 32])).err(), Some(ZeroKey));
    }

    #[test]
    fn a_key_does_not_print() {
        let key = SymmetricKey::new(Secret::new([0x41; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "SymmetricKey(…)");
    }
}
