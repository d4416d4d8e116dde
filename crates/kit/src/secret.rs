//! Fixed-size secrets that are wiped on drop, compared in constant time and never printed.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes.
///
/// ```
/// let key = wormhole_kit::Secret::new([7; 32]);
/// assert_eq!(format!("{key:?}"), "Secret(32 bytes)");
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Wraps the bytes. The caller must wipe its own copy, if any.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({N} bytes)")
    }
}

/// Compares in constant time.
impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_its_length_only() {
        assert_eq!(format!("{:?}", Secret::new([0x41; 16])), "Secret(16 bytes)");
    }

    #[test]
    fn secrets_are_equal_when_their_bytes_are() {
        assert_eq!(Secret::new([1, 2, 3]), Secret::new([1, 2, 3]));
        assert_ne!(Secret::new([1, 2, 3]), Secret::new([1, 2, 4]));
    }
}
