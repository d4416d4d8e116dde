//! The secretbox of `NaCl`: XSalsa20-Poly1305 (`crypto_secretbox`).
//!
//! [`seal`] and [`open`] are for mailbox messages, which begin with a random nonce. [`seal_in_place`] and
//! [`open_in_place`] are for transit records, whose nonce is a counter and whose buffers are reused. With the
//! `libsodium` feature they use libsodium's SIMD code, otherwise portable Rust; the results are the same.

use rand_core::CryptoRngCore;
use wormhole_kit::Secret;

#[cfg(any(test, not(all(feature = "libsodium", not(target_arch = "wasm32")))))]
mod portable;
#[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
mod sodium;

#[cfg(not(all(feature = "libsodium", not(target_arch = "wasm32"))))]
use portable as backend;
#[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
use sodium as backend;
#[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
pub(crate) use sodium::initialize as initialize_sodium;

/// Encrypts a message with a random nonce: nonce, MAC, ciphertext. [`OVERHEAD`] bytes longer.
pub fn seal(key: &Secret<32>, plaintext: &[u8], rng: &mut impl CryptoRngCore) -> Vec<u8> {
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);
    seal_with_nonce(key, &nonce, plaintext)
}

fn seal_with_nonce(key: &Secret<32>, nonce: &[u8; NONCE], plaintext: &[u8]) -> Vec<u8> {
    let mut ciphertext = plaintext.to_vec();
    let mac = seal_in_place(key, nonce, &mut ciphertext);
    [nonce.as_slice(), &mac, &ciphertext].concat()
}

/// Decrypts the output of [`seal`].
///
/// # Errors
/// Encrypted with another key, modified, or not encrypted at all.
pub fn open(key: &Secret<32>, message: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (nonce, rest) = message.split_first_chunk().ok_or(OpenError)?;
    let (mac, ciphertext) = rest.split_first_chunk().ok_or(OpenError)?;
    let mut plaintext = ciphertext.to_vec();
    open_in_place(key, nonce, mac, &mut plaintext)?;
    Ok(plaintext)
}

/// Encrypts `buffer` in place and returns its MAC. A nonce must never be used twice with the same
/// key.
pub fn seal_in_place(key: &Secret<32>, nonce: &[u8; NONCE], buffer: &mut [u8]) -> [u8; MAC] {
    backend::seal(key.expose(), nonce, buffer)
}

/// Decrypts `buffer` in place.
///
/// # Errors
/// The MAC is wrong; `buffer` still contains the ciphertext.
pub fn open_in_place(
    key: &Secret<32>,
    nonce: &[u8; NONCE],
    mac: &[u8; MAC],
    buffer: &mut [u8],
) -> Result<(), OpenError> {
    if backend::open(key.expose(), nonce, mac, buffer) { Ok(()) } else { Err(OpenError) }
}

/// The message was encrypted with another key, or was modified.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message cannot be decrypted with this key")]
pub struct OpenError;

/// Size of a nonce in bytes.
pub const NONCE: usize = 24;

/// Size of a MAC in bytes.
pub const MAC: usize = 16;

/// Additional bytes of an encrypted message.
pub const OVERHEAD: usize = NONCE + MAC;

#[cfg(test)]
mod tests;
