//! ECIES as defined by devp2p: secp256k1, one block of the NIST concatenation KDF, AES-128-CTR,
//! HMAC-SHA256 (rlpx.md "ECIES Encryption", docs/whisper-protocol.md "Data").
//!
//! It encrypts a message for a public key, but does not authenticate the sender.
//!
//! ```text
//! ephemeral point (65) ‖ IV (16) ‖ ciphertext ‖ tag (32)
//! ```

use std::fmt;

use aes::{
    Aes128,
    cipher::{KeyInit, KeyIvInit, StreamCipher},
};
use ctr::Ctr128BE;
use hmac::{Hmac, Mac};
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::key::{PrivateKey, PublicKey, UNCOMPRESSED};

/// Encrypts `plaintext` for the holder of `to`; it becomes [`OVERHEAD`] bytes longer. `context` is
/// authenticated but not sent; the recipient must know it.
pub fn seal(
    to: &PublicKey,
    plaintext: &[u8],
    context: &[u8],
    rng: &mut impl CryptoRngCore,
) -> Vec<u8> {
    Randomness::draw(rng).seal(to, plaintext, context)
}

/// The random values of one message, generated ahead of its use. Consumed by it, because they must never be
/// used twice.
pub(crate) struct Randomness {
    ephemeral: PrivateKey,
    iv: [u8; IV],
}

impl Randomness {
    /// Generates a key pair and an initialisation vector.
    pub(crate) fn draw(rng: &mut impl CryptoRngCore) -> Self {
        let ephemeral = PrivateKey::random(rng);
        let mut iv = [0; IV];
        rng.fill_bytes(&mut iv);
        Self { ephemeral, iv }
    }

    /// See [`seal`].
    pub(crate) fn seal(self, to: &PublicKey, plaintext: &[u8], context: &[u8]) -> Vec<u8> {
        let keys = Keys::derive(&self.ephemeral.agree(to));
        let mut ciphertext = plaintext.to_vec();
        keys.cipher(&self.iv).apply_keystream(&mut ciphertext);
        let tag = keys.tag(&self.iv, &ciphertext, context).finalize().into_bytes();
        let point = self.ephemeral.public_key().to_uncompressed();
        [point.as_slice(), &self.iv, &ciphertext, &tag].concat()
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Randomness(…)")
    }
}

/// Decrypts the output of [`seal`].
///
/// # Errors
/// Encrypted for another key or with another context, modified, or not encrypted at all; these cases cannot be
/// distinguished.
pub fn open(
    key: &PrivateKey,
    sealed: &[u8],
    context: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut reader = Reader::new(sealed);
    let point: [u8; UNCOMPRESSED] = reader.array().map_err(|_| OpenError)?;
    let iv = reader.array().map_err(|_| OpenError)?;
    let (ciphertext, tag) = reader.rest().split_last_chunk::<TAG>().ok_or(OpenError)?;
    let ephemeral = PublicKey::from_sec1(&point).map_err(|_| OpenError)?;
    let keys = Keys::derive(&key.agree(&ephemeral));
    keys.tag(&iv, ciphertext, context).verify_slice(tag).map_err(|_| OpenError)?;
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    keys.cipher(&iv).apply_keystream(&mut plaintext);
    Ok(plaintext)
}

/// The two keys of one message.
struct Keys {
    encryption: Zeroizing<[u8; 16]>,
    /// Padded with zeros to one block of the hash, as HMAC does.
    authentication: Zeroizing<[u8; 64]>,
}

impl Keys {
    /// Derives the keys from the shared secret (NIST SP 800-56 §5.8.1, first and only block).
    fn derive(shared: &Secret<32>) -> Self {
        let block = Sha256::new().chain_update([0, 0, 0, 1]).chain_update(shared.expose());
        let block = Zeroizing::new(<[u8; 32]>::from(block.finalize()));
        let (encryption, seed) = block.split_at(16);
        let mut keys = Self { encryption: Zeroizing::default(), authentication: [0; 64].into() };
        keys.encryption.iter_mut().zip(encryption).for_each(|(to, from)| *to = *from);
        let seeded = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(seed)));
        keys.authentication.iter_mut().zip(*seeded).for_each(|(to, from)| *to = from);
        keys
    }

    fn cipher(&self, iv: &[u8; IV]) -> Ctr128BE<Aes128> {
        <Ctr128BE<Aes128> as KeyIvInit>::new((&*self.encryption).into(), iv.into())
    }

    fn tag(&self, iv: &[u8; IV], ciphertext: &[u8], context: &[u8]) -> Hmac<Sha256> {
        let mac = <Hmac<Sha256> as KeyInit>::new((&*self.authentication).into());
        mac.chain_update(iv).chain_update(ciphertext).chain_update(context)
    }
}

/// The message cannot be decrypted with this key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message cannot be decrypted with this key")]
pub struct OpenError;

/// Additional bytes of an encrypted message.
pub const OVERHEAD: usize = UNCOMPRESSED + IV + TAG;

/// Size of the initialisation vector in bytes.
const IV: usize = 16;

/// Size of the authentication tag in bytes.
const TAG: usize = 32;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn any_changed_byte_and_any_missing_byte_is_noticed() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let key = PrivateKey::random(&mut rng);
        let sealed = seal(&key.public_key(), b"hello", b"context", &mut rng);
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(open(&key, &sealed, b"context").unwrap().as_slice(), b"hello");
        assert_eq!(open(&key, &sealed, b"other"), Err(OpenError));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(open(&key, &changed, b"context"), Err(OpenError), "byte {place}");
            assert_eq!(open(&key, &sealed[..place], b"context"), Err(OpenError));
        }
    }

    #[test]
    fn an_empty_message_can_be_sealed() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let key = PrivateKey::random(&mut rng);
        let sealed = seal(&key.public_key(), b"", b"", &mut rng);
        assert_eq!(open(&key, &sealed, b"").unwrap().as_slice(), b"");
    }
}
