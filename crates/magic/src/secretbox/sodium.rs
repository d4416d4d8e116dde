//! Secretbox on libsodium, which has SIMD code for Salsa20 and picks it at run time.
//!
//! One of two modules of this crate with `unsafe`: calls into C, each with whole slices.

use std::sync::Once;

use libsodium_sys as sodium;

use super::{MAC, NONCE};

/// Encrypts in place and returns the MAC.
#[expect(unsafe_code, reason = "libsodium is C")]
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; NONCE], buffer: &mut [u8]) -> [u8; MAC] {
    initialize();
    let mut mac = [0; MAC];
    let text = buffer.as_mut_ptr();
    // SAFETY: `text` is valid for reading and writing `buffer.len()` bytes, and libsodium allows
    // plaintext and ciphertext to be the same memory; `mac`, `nonce` and `key` are arrays of
    // exactly the sizes that this function writes and reads.
    unsafe {
        sodium::crypto_secretbox_detached(
            text,
            mac.as_mut_ptr(),
            text,
            length(buffer),
            nonce.as_ptr(),
            key.as_ptr(),
        );
    }
    mac
}

/// Decrypts in place and returns true, or leaves the buffer alone and returns false.
#[expect(unsafe_code, reason = "libsodium is C")]
pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    mac: &[u8; MAC],
    buffer: &mut [u8],
) -> bool {
    initialize();
    let text = buffer.as_mut_ptr();
    // SAFETY: as in `seal`; `mac` is only read.
    let status = unsafe {
        sodium::crypto_secretbox_open_detached(
            text,
            text,
            mac.as_ptr(),
            length(buffer),
            nonce.as_ptr(),
            key.as_ptr(),
        )
    };
    status == 0
}

/// Lets libsodium detect the processor's features; without this call, libsodium uses its slow portable code.
#[expect(unsafe_code, reason = "libsodium is C")]
pub(crate) fn initialize() {
    static ONCE: Once = Once::new();
    // SAFETY: takes no arguments and may be called at any time from any thread.
    ONCE.call_once(|| unsafe {
        sodium::sodium_init();
    });
}

#[expect(clippy::as_conversions, reason = "usize has at most 64 bits, and so it does in C")]
const fn length(buffer: &[u8]) -> u64 {
    buffer.len() as u64
}
