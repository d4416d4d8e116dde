//! HKDF and HMAC with SHA-256, the key derivation of every protocol in this crate.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

/// Derives `N` bytes from `input` and `salt`.
pub(crate) fn hkdf<const N: usize>(salt: &[u8], input: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    let mut output = Zeroizing::new([0; N]);
    let expanded = Hkdf::<Sha256>::new(Some(salt), input).expand(info, &mut *output);
    debug_assert!(expanded.is_ok(), "HKDF gives up to 8160 bytes");
    output
}

/// Splits 64 bytes into two secrets.
pub(crate) fn halves(bytes: &[u8; 64]) -> (Secret<32>, Secret<32>) {
    let (mut left, mut right) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    let (from_left, from_right) = bytes.split_at(32);
    left.iter_mut().zip(from_left).for_each(|(to, from)| *to = *from);
    right.iter_mut().zip(from_right).for_each(|(to, from)| *to = *from);
    (Secret::new(*left), Secret::new(*right))
}

/// Splits 96 bytes into three secrets.
pub(crate) fn thirds(bytes: &[u8; 96]) -> (Secret<32>, Secret<32>, Secret<32>) {
    let third = |start: usize| {
        let mut third = Zeroizing::new([0; 32]);
        third.iter_mut().zip(bytes.iter().skip(start)).for_each(|(to, from)| *to = *from);
        Secret::new(*third)
    };
    (third(0), third(32), third(64))
}

/// Starts an HMAC-SHA256 with a key of any length.
pub(crate) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    // This never fails: HMAC accepts keys of any length.
    <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()))
}

/// The HMAC of the concatenated `parts`.
pub(crate) fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = hmac(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Whether `tag` is a prefix of `expected`, in constant time. An empty tag never matches.
pub(crate) fn tag_matches(expected: &[u8; 32], tag: &[u8]) -> bool {
    let start = expected.get(..tag.len()).unwrap_or_default();
    !tag.is_empty() && start.len() == tag.len() && bool::from(start.ct_eq(tag))
}
