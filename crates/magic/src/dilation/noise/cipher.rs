//! The two ciphers of Noise that we use: `ChaChaPoly`, and `AESGCM` where both processors have instructions for AES.
//!
//! (The Noise Protocol Framework, revision 34, section 12)

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use wormhole_kit::Secret;

#[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
use super::aes::Aes256Gcm;
use super::{BadNoise, TAG};

/// The cipher of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoiseCipher {
    /// AES-256-GCM, which needs [`aes_is_available`].
    AesGcm,
    /// ChaCha20-Poly1305, which every client has.
    ChaChaPoly,
}

impl NoiseCipher {
    /// The name of the protocol, which is longer than a hash and is therefore hashed.
    pub(super) const fn protocol(self) -> &'static [u8] {
        match self {
            Self::AesGcm => b"Noise_NNpsk0_25519_AESGCM_BLAKE2s",
            Self::ChaChaPoly => b"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s",
        }
    }
}

/// Whether this computer can use [`NoiseCipher::AesGcm`]: its processor must have instructions for AES, and this crate must
/// be built with libsodium. Without them, AES would be slow, and not constant in time.
pub fn aes_is_available() -> bool {
    #[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
    return super::aes::is_available();
    #[cfg(not(all(feature = "libsodium", not(target_arch = "wasm32"))))]
    false
}

/// A cipher with its key.
pub(super) enum KeyedCipher {
    #[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
    AesGcm(Aes256Gcm),
    ChaChaPoly(Box<ChaCha20Poly1305>),
}

impl KeyedCipher {
    /// A key for a cipher that is available.
    pub(super) fn new(cipher: NoiseCipher, key: &Secret<32>) -> Self {
        match cipher {
            #[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
            NoiseCipher::AesGcm if aes_is_available() => Self::AesGcm(Aes256Gcm::new(key)),
            // The name of the protocol then differs from the peer's, so the handshake fails.
            NoiseCipher::AesGcm | NoiseCipher::ChaChaPoly => {
                let key = Key::from_slice(key.expose());
                Self::ChaChaPoly(Box::new(ChaCha20Poly1305::new(key)))
            }
        }
    }

    /// Encrypts a buffer in place; returns its tag. The counter must not repeat.
    pub(super) fn seal(
        &self,
        counter: u64,
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG], BadNoise> {
        match self {
            #[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
            Self::AesGcm(aes) => aes.seal(&nonce(counter.to_be_bytes()), associated, buffer),
            Self::ChaChaPoly(cipher) => cipher
                .encrypt_in_place_detached(
                    &Nonce::from(nonce(counter.to_le_bytes())),
                    associated,
                    buffer,
                )
                .map(Into::into)
                .map_err(|_| BadNoise),
        }
    }

    /// Decrypts a buffer in place.
    pub(super) fn open(
        &self,
        counter: u64,
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), BadNoise> {
        match self {
            #[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
            Self::AesGcm(aes) => aes.open(&nonce(counter.to_be_bytes()), associated, buffer, tag),
            Self::ChaChaPoly(cipher) => {
                let nonce = Nonce::from(nonce(counter.to_le_bytes()));
                let tag = Tag::from_slice(tag);
                cipher
                    .decrypt_in_place_detached(&nonce, associated, buffer, tag)
                    .map_err(|_| BadNoise)
            }
        }
    }
}

/// Four zero bytes and the counter, whose order of bytes depends on the cipher.
fn nonce(counter: [u8; 8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.iter_mut().skip(4).zip(counter).for_each(|(to, byte)| *to = byte);
    nonce
}
