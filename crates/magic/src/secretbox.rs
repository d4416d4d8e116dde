//! The secretbox of `NaCl`: XSalsa20-Poly1305 (`crypto_secretbox`).
//!
//! [`seal`] and [`open`] are for mailbox messages, which carry a random nonce in front.
//! [`seal_in_place`] and [`open_in_place`] are for transit records, whose nonce is a counter and
//! whose buffers are reused. With the `libsodium` feature they run on libsodium's SIMD code, else
//! on portable Rust; the results are the same.

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

/// Seals a message under a random nonce: nonce, MAC, ciphertext. [`OVERHEAD`] bytes longer.
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

/// Opens what [`seal`] made.
///
/// # Errors
/// Another key, or not a sealed message at all: the two are not told apart.
pub fn open(key: &Secret<32>, message: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (nonce, rest) = message.split_first_chunk().ok_or(OpenError)?;
    let (mac, ciphertext) = rest.split_first_chunk().ok_or(OpenError)?;
    let mut plaintext = ciphertext.to_vec();
    open_in_place(key, nonce, mac, &mut plaintext)?;
    Ok(plaintext)
}

/// Encrypts `buffer` where it stands and returns its MAC. A nonce must never be used twice with the
/// same key.
pub fn seal_in_place(key: &Secret<32>, nonce: &[u8; NONCE], buffer: &mut [u8]) -> [u8; MAC] {
    backend::seal(key.expose(), nonce, buffer)
}

/// Decrypts `buffer` where it stands.
///
/// # Errors
/// The MAC does not fit; `buffer` is still the ciphertext.
pub fn open_in_place(
    key: &Secret<32>,
    nonce: &[u8; NONCE],
    mac: &[u8; MAC],
    buffer: &mut [u8],
) -> Result<(), OpenError> {
    if backend::open(key.expose(), nonce, mac, buffer) { Ok(()) } else { Err(OpenError) }
}

/// The message is not from someone who has the key, or was changed on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message does not open with this key")]
pub struct OpenError;

/// Bytes of a nonce.
pub const NONCE: usize = 24;

/// Bytes of a message authentication code.
pub const MAC: usize = 16;

/// Bytes by which a sealed message is longer than its plaintext.
pub const OVERHEAD: usize = NONCE + MAC;

#[cfg(test)]
mod tests;
