//! Curve25519 keys of messaging clients: key agreement and signatures.
//!
//! `curve25519-dalek` and `graviola` do the arithmetic. This file adds the encoding (a type byte before the
//! u-coordinate) and rejects unsafe keys (X3DH §2.1, XEdDSA §2).

mod x25519;
mod xeddsa;

use std::fmt;

use rand_core::CryptoRngCore;
use subtle::ConstantTimeEq;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

pub use xeddsa::Signature;

/// A public key: a canonical u-coordinate that is not of low order.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Decodes a public key of 33 bytes: type byte `0x05`, then the u-coordinate.
    ///
    /// # Errors
    /// The length or type is wrong, or the key is unsafe. Reject the message that contains it.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; ENCODED_KEY] = bytes.try_into().map_err(|_| KeyError::BadLength)?;
        let [kind, u @ ..] = bytes;
        if *kind != CURVE25519 {
            return Err(KeyError::UnknownType(*kind));
        }
        Self::from_u(*u)
    }

    /// Creates a key from a u-coordinate in little-endian order.
    ///
    /// # Errors
    /// It is not canonical or is of low order.
    pub fn from_u(u: [u8; 32]) -> Result<Self, KeyError> {
        if !is_canonical(&u) {
            return Err(KeyError::NotCanonical);
        }
        if LOW_ORDER.contains(&u) {
            return Err(KeyError::LowOrder);
        }
        Ok(Self(u))
    }

    /// Encodes the key in 33 bytes.
    pub fn encode(&self) -> [u8; ENCODED_KEY] {
        let mut bytes = [CURVE25519; ENCODED_KEY];
        let [_, u @ ..] = &mut bytes;
        *u = self.0;
        bytes
    }

    /// The u-coordinate in little-endian order.
    pub const fn as_u(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the owner of this key signed `message`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        xeddsa::verify(&self.0, message, signature)
    }
}

/// Prints the first bytes: enough to distinguish keys.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A private key: a clamped scalar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrivateKey(Secret<32>);

impl PrivateKey {
    /// Generates a key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self::from_secret(&Secret::new(*bytes))
    }

    /// Creates a key from any 32 bytes by clamping them.
    pub fn from_secret(secret: &Secret<32>) -> Self {
        let mut bytes = Zeroizing::new(*secret.expose());
        let [first, .., last] = &mut *bytes;
        *first &= 248;
        *last = (*last & 127) | 64;
        Self(Secret::new(*bytes))
    }

    /// The clamped bytes in little-endian order.
    pub const fn as_secret(&self) -> &Secret<32> {
        &self.0
    }

    /// Computes the public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519::public_key(self.0.expose()))
    }

    /// Computes the shared secret with the owner of `peer`.
    ///
    /// # Errors
    /// The result is all zeros, so the peer's key was of low order.
    pub fn agree(&self, peer: &PublicKey) -> Result<Secret<32>, KeyError> {
        let shared = x25519::agree(self.0.expose(), &peer.0);
        if bool::from(shared.ct_eq(&[0; 32])) {
            return Err(KeyError::LowOrder);
        }
        Ok(Secret::new(*shared))
    }

    /// Signs `message`. Signatures are randomised.
    pub fn sign(&self, message: &[u8], rng: &mut impl CryptoRngCore) -> Signature {
        xeddsa::sign(self.0.expose(), message, rng)
    }
}

/// A private key with its public key, which is computed only once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyPair {
    private: PrivateKey,
    public: PublicKey,
}

impl KeyPair {
    /// Generates a pair.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        PrivateKey::random(rng).into()
    }

    /// The private key.
    pub const fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// The public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// See [`PrivateKey::agree`].
    ///
    /// # Errors
    /// See [`PrivateKey::agree`].
    pub fn agree(&self, peer: &PublicKey) -> Result<Secret<32>, KeyError> {
        self.private.agree(peer)
    }

    /// See [`PrivateKey::sign`].
    pub fn sign(&self, message: &[u8], rng: &mut impl CryptoRngCore) -> Signature {
        self.private.sign(message, rng)
    }

    /// Restores a stored pair without checking that the keys belong together: computing the public
    /// key again would cost more than the rest of loading a session.
    pub(crate) const fn from_stored(private: PrivateKey, public: PublicKey) -> Self {
        Self { private, public }
    }
}

impl From<PrivateKey> for KeyPair {
    fn from(private: PrivateKey) -> Self {
        Self { public: private.public_key(), private }
    }
}

/// Why a key was rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The length is not 33 bytes.
    #[error("the public key has the wrong length")]
    BadLength,
    /// The sender of such a key would control the shared secret.
    #[error("the public key is of low order")]
    LowOrder,
    /// The u-coordinate is not less than the prime of the field.
    #[error("the public key is not canonical")]
    NotCanonical,
    /// The type byte is not the one of Curve25519.
    #[error("unknown public key type {0:#04x}")]
    UnknownType(u8),
}

/// Whether `u` is less than 2^255 - 19.
fn is_canonical(u: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = u;
    *last < 0x7f || (*last == 0x7f && (*first < 0xed || middle.iter().any(|byte| *byte != 0xff)))
}

/// Length of an encoded public key.
pub const ENCODED_KEY: usize = 33;

/// The type byte of Curve25519 keys.
const CURVE25519: u8 = 0x05;

/// All canonical u-coordinates whose order divides 8, on the curve or its twist (RFC 7748 §6.1
/// refers to them; `attack_21_each_point_of_low_order_gives_zeros_and_is_refused` checks the list).
const LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn private(byte: u8) -> PrivateKey {
        PrivateKey::from_secret(&Secret::new([byte; 32]))
    }

    #[test]
    fn attack_21_each_point_of_low_order_gives_zeros_and_is_refused() {
        for u in LOW_ORDER {
            assert_eq!(private(7).agree(&PublicKey(u)), Err(KeyError::LowOrder));
            assert_eq!(PublicKey::from_u(u), Err(KeyError::LowOrder));
        }
    }

    #[test]
    fn attack_21_a_key_has_33_bytes_and_the_type_5() {
        let key = private(1).public_key();
        assert_eq!(PublicKey::decode(&key.encode()), Ok(key));
        assert_eq!(PublicKey::decode(key.as_u()), Err(KeyError::BadLength));
        assert_eq!(PublicKey::decode(&[]), Err(KeyError::BadLength));
        let mut longer = key.encode().to_vec();
        longer.push(0);
        assert_eq!(PublicKey::decode(&longer), Err(KeyError::BadLength));
        let mut other = key.encode();
        other[0] = 6;
        assert_eq!(PublicKey::decode(&other), Err(KeyError::UnknownType(6)));
    }

    #[test]
    fn attack_21_a_u_coordinate_from_the_prime_upwards_is_refused() {
        let mut u = [0xff; 32];
        u[31] = 0x7f;
        for low in 0xed..=0xff {
            u[0] = low;
            assert_eq!(PublicKey::from_u(u), Err(KeyError::NotCanonical));
        }
        u[0] = 0xeb;
        assert!(PublicKey::from_u(u).is_ok());
        let mut u = *private(1).public_key().as_u();
        u[31] |= 0x80;
        assert_eq!(PublicKey::from_u(u), Err(KeyError::NotCanonical));
    }

    #[test]
    fn both_sides_agree() {
        let (a, b) = (private(1), private(2));
        assert_eq!(a.agree(&b.public_key()), b.agree(&a.public_key()));
    }

    #[test]
    fn no_secret_is_printed() {
        let pair = KeyPair::from(private(0x41));
        assert!(!format!("{pair:?}").contains("41, 41"));
        assert!(format!("{pair:?}").contains("Secret(32 bytes)"));
    }
}
