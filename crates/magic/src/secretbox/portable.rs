//! Secretbox in portable Rust, for wasm and for builds without libsodium.

use crypto_secretbox::{AeadInPlace, KeyInit, XSalsa20Poly1305};

use super::{MAC, NONCE};

/// Encrypts in place and returns the MAC.
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; NONCE], buffer: &mut [u8]) -> [u8; MAC] {
    let cipher = XSalsa20Poly1305::new(key.into());
    // Fails only for associated data, which secretbox does not have.
    cipher.encrypt_in_place_detached(nonce.into(), &[], buffer).unwrap_or_default().into()
}

/// Decrypts in place and returns true, or leaves the buffer alone and returns false.
pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    mac: &[u8; MAC],
    buffer: &mut [u8],
) -> bool {
    let cipher = XSalsa20Poly1305::new(key.into());
    cipher.decrypt_in_place_detached(nonce.into(), &[], buffer, mac.into()).is_ok()
}
