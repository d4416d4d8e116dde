//! AES-256-GCM of libsodium, which uses the instructions of the processor.
//!
//! One of two modules of this crate with `unsafe`: calls into C, each with whole slices.

use libsodium_sys as sodium;
use wormhole_kit::Secret;
use zeroize::Zeroize;

use super::{BadNoise, TAG};
use crate::secretbox::initialize_sodium;

/// Whether the processor has the instructions.
#[expect(unsafe_code, reason = "libsodium is C")]
pub(super) fn is_available() -> bool {
    initialize_sodium();
    // SAFETY: takes no arguments.
    unsafe { sodium::crypto_aead_aes256gcm_is_available() == 1 }
}

/// A key with its round keys.
pub(super) struct Aes256Gcm(Box<State>);

/// libsodium's state. It has to be aligned to 16 bytes, which the bindings do not say.
#[repr(C, align(16))]
struct State(sodium::crypto_aead_aes256gcm_state);

impl Aes256Gcm {
    /// Expands a key. Only if [`is_available`].
    #[expect(unsafe_code, reason = "libsodium is C")]
    pub(super) fn new(key: &Secret<32>) -> Self {
        let opaque = [0; 512];
        let mut state = Box::new(State(sodium::crypto_aead_aes256gcm_state { opaque }));
        // SAFETY: the state has the size and the alignment that this function needs, and the key has 32 bytes.
        unsafe {
            sodium::crypto_aead_aes256gcm_beforenm(&raw mut state.0, key.expose().as_ptr());
        }
        Self(state)
    }

    /// Encrypts in place; returns the tag.
    #[expect(unsafe_code, reason = "libsodium is C")]
    pub(super) fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG], BadNoise> {
        let mut tag = [0; TAG];
        let text = buffer.as_mut_ptr();
        // SAFETY: `text` is valid for reading and writing `buffer.len()` bytes, and libsodium allows plaintext and
        // ciphertext to be the same memory; `associated` is valid for its length; tag, nonce and state have exactly the
        // sizes that this function writes and reads.
        let status = unsafe {
            sodium::crypto_aead_aes256gcm_encrypt_detached_afternm(
                text,
                tag.as_mut_ptr(),
                std::ptr::null_mut(),
                text,
                length(buffer),
                associated.as_ptr(),
                length(associated),
                std::ptr::null(),
                nonce.as_ptr(),
                &raw const self.0.0,
            )
        };
        if status == 0 { Ok(tag) } else { Err(BadNoise) }
    }

    /// Decrypts in place.
    #[expect(unsafe_code, reason = "libsodium is C")]
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), BadNoise> {
        let text = buffer.as_mut_ptr();
        // SAFETY: as in `seal`; the tag is only read.
        let status = unsafe {
            sodium::crypto_aead_aes256gcm_decrypt_detached_afternm(
                text,
                std::ptr::null_mut(),
                text,
                length(buffer),
                tag.as_ptr(),
                associated.as_ptr(),
                length(associated),
                nonce.as_ptr(),
                &raw const self.0.0,
            )
        };
        if status == 0 { Ok(()) } else { Err(BadNoise) }
    }
}

impl Drop for Aes256Gcm {
    fn drop(&mut self) {
        self.0.0.opaque.zeroize();
    }
}

#[expect(clippy::as_conversions, reason = "usize has at most 64 bits, and so it does in C")]
const fn length(buffer: &[u8]) -> u64 {
    buffer.len() as u64
}

#[cfg(test)]
mod tests {
    use aes_gcm::aead::{Aead, Payload};
    use aes_gcm::{KeyInit, Nonce};

    use super::*;

    #[test]
    fn it_agrees_with_another_implementation_in_both_directions() {
        if !is_available() {
            return;
        }
        let (key, nonce, aad) = ([7; 32], [8; 12], [9; 32]);
        let (ours, other) =
            (Aes256Gcm::new(&Secret::new(key)), aes_gcm::Aes256Gcm::new(&key.into()));
        for length in [0, 1, 15, 16, 17, 1000, 65519] {
            let plaintext: Vec<u8> = (0..=255).cycle().take(length).collect();
            let mut buffer = plaintext.clone();
            let tag = ours.seal(&nonce, &aad, &mut buffer).unwrap();
            let payload = Payload { msg: &plaintext, aad: &aad };
            let theirs = other.encrypt(&Nonce::from(nonce), payload).unwrap();
            assert_eq!([&buffer[..], &tag].concat(), theirs);
            let mut changed = buffer.clone();
            ours.open(&nonce, &aad, &mut buffer, &tag).unwrap();
            assert_eq!(buffer, plaintext);
            let mut wrong = tag;
            wrong[0] ^= 1;
            assert_eq!(ours.open(&nonce, &aad, &mut changed, &wrong), Err(BadNoise));
        }
    }
}
