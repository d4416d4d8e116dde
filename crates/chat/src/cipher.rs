//! AES-256-CBC with PKCS #7 padding: the cipher of messages, attachments and push payloads.
//!
//! It does not authenticate anything. Callers must check the MAC before they decrypt.

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use wormhole_kit::Secret;
use zeroize::Zeroizing;

/// Encrypts `plaintext` and appends it to `output`.
pub(crate) fn encrypt(key: &Secret<32>, iv: &[u8; 16], plaintext: &[u8], output: &mut Vec<u8>) {
    let start = output.len();
    output.resize(start + padded(plaintext.len()), 0);
    let cipher = cbc::Encryptor::<Aes256>::new(key.expose().into(), iv.into());
    let room = output.get_mut(start..).unwrap_or_default();
    let written = cipher.encrypt_padded_b2b_mut::<Pkcs7>(plaintext, room);
    debug_assert!(written.is_ok(), "the room was measured");
}

/// Decrypts; `None` if the padding is invalid.
pub(crate) fn decrypt(
    key: &Secret<32>,
    iv: &[u8; 16],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = cbc::Decryptor::<Aes256>::new(key.expose().into(), iv.into());
    let mut output = Zeroizing::new(ciphertext.to_vec());
    let length = cipher.decrypt_padded_mut::<Pkcs7>(&mut output).ok()?.len();
    output.truncate(length);
    Some(output)
}

/// Length of the ciphertext of `length` bytes, including the padding, which is never empty.
pub(crate) const fn padded(length: usize) -> usize {
    length - length % BLOCK + BLOCK
}

/// Size of an AES block.
const BLOCK: usize = 16;
