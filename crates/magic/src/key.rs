//! The shared key and everything derived from it (client-protocol.md; docs/codes.md "From the code to a key").
//!
//! Every derivation is HKDF-SHA256 without salt; only the `info` differs.

use std::fmt;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::app_id::AppId;

/// The key two sides share after SPAKE2.
///
/// ```
/// use wormhole_kit::Secret;
/// use wormhole_magic::key::Key;
///
/// // Both sides of a wormhole have such a key, and so derive the same from it.
/// let key = Key::new(Secret::new([7; 32]));
/// assert_eq!(key.derive("example.com/backup", 16).unwrap().len(), 16);
/// assert_eq!(key.verifier().to_string().len(), 64);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key(Secret<32>);

impl Key {
    /// Creates a key from the output of SPAKE2.
    pub const fn new(bytes: Secret<32>) -> Self {
        Self(bytes)
    }

    /// The key itself, for derivations of this crate.
    pub(crate) const fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// Derives `length` bytes for the application's `purpose`, which is normalised to NFC. Both sides
    /// derive the same bytes.
    ///
    /// # Errors
    /// `length` exceeds 8160 bytes (255 hashes).
    pub fn derive(&self, purpose: &str, length: usize) -> Result<Zeroizing<Vec<u8>>, TooLong> {
        let purpose: String = purpose.nfc().collect();
        let mut derived = Zeroizing::new(vec![0; length]);
        expand(&self.0, &[purpose.as_bytes()], &mut derived).ok_or(TooLong(length))?;
        Ok(derived)
    }

    /// A value that both users can compare to detect a man in the middle.
    pub fn verifier(&self) -> Verifier {
        Verifier(*derive_32(&self.0, &[b"wormhole:verifier"]).expose())
    }

    /// The key of one mailbox message: `phase` as sent by `side`.
    pub fn phase_key(&self, side: &str, phase: &str) -> Secret<32> {
        let (side, phase) = (Sha256::digest(side), Sha256::digest(phase));
        derive_32(&self.0, &[b"wormhole:phase:", &side, &phase])
    }

    /// The transit key of application `app_id`, from which transit derives all other keys. File transfer always uses
    /// [`AppId::FILE_TRANSFER`] here, even under another identifier, as the Python client and all others do.
    pub fn transit_key(&self, app_id: &AppId) -> Secret<32> {
        derive_32(&self.0, &[app_id.normalized().as_bytes(), b"/transit-key"])
    }
}

/// Derives 32 bytes from `key`; `info` is given in pieces.
pub(crate) fn derive_32(key: &Secret<32>, info: &[&[u8]]) -> Secret<32> {
    let mut derived = Zeroizing::new([0; 32]);
    let fits = expand(key, info, derived.as_mut_slice());
    debug_assert!(fits.is_some(), "32 bytes always fit into HKDF");
    Secret::new(*derived)
}

fn expand(key: &Secret<32>, info: &[&[u8]], derived: &mut [u8]) -> Option<()> {
    Hkdf::<Sha256>::new(None, key.expose()).expand_multi_info(info, derived).ok()
}

/// A fingerprint of the shared key, to be compared by the users. Not secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verifier(pub [u8; 32]);

/// 64 lower-case hexadecimal digits.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// More bytes than HKDF can derive (8160).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot derive {0} bytes: the limit is 8160")]
pub struct TooLong(pub usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_255_hashes_are_refused() {
        let key = Key::new(Secret::new([1; 32]));
        assert!(key.derive("purpose", 8160).is_ok());
        assert_eq!(key.derive("purpose", 8161), Err(TooLong(8161)));
    }

    #[test]
    fn a_purpose_means_the_same_in_either_unicode_form() {
        let key = Key::new(Secret::new([1; 32]));
        assert_eq!(key.derive("caf\u{e9}", 32), key.derive("cafe\u{301}", 32));
    }

    #[test]
    fn a_key_does_not_print() {
        let key = Key::new(Secret::new([0x41; 32]));
        assert_eq!(format!("{key:?}"), "Key(Secret(32 bytes))");
    }
}
