//! Signatures by Curve25519 keys (XEdDSA §2.2 and §3).
//!
//! Our signatures have the sign bit 0, as the specification requires, and all clients accept them.
//! Older clients store the sign of the Edwards key in the top bit of the signature; we accept that,
//! too.

use std::fmt;

use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar};
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha512};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, Zeroizing};

/// `R ‖ s`, 64 bytes.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Creates a signature from exactly 64 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

/// Signs `message` with the clamped scalar `key`.
pub(super) fn sign(key: &[u8; 32], message: &[u8], rng: &mut impl CryptoRngCore) -> Signature {
    let (mut a, public) = edwards_pair(key);
    let mut random = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *random);

    let hash = Sha512::new()
        .chain_update(HASH_1)
        .chain_update(Zeroizing::new(a.to_bytes()))
        .chain_update(message)
        .chain_update(*random);
    let mut r = scalar(hash);
    let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
    let s = r + challenge(&big_r, &public, message) * a;
    a.zeroize();
    r.zeroize();

    let mut signature = [0; 64];
    let parts = big_r.into_iter().chain(s.to_bytes());
    signature.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    Signature(signature)
}

/// Whether the owner of `u` signed `message`. Only canonical signatures are valid.
pub(super) fn verify(u: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    check(u, message, signature).is_some_and(|valid| valid)
}

fn check(u: &[u8; 32], message: &[u8], signature: &Signature) -> Option<bool> {
    let (big_r, rest) = signature.0.split_first_chunk::<32>()?;
    let mut s = *rest.first_chunk::<32>()?;
    let [.., last] = &mut s;
    let sign = *last >> 7;
    *last &= 0x7f;
    let s: Scalar = Option::from(Scalar::from_canonical_bytes(s))?;
    let key = MontgomeryPoint(*u).to_edwards(sign)?;

    let h = challenge(big_r, &key.compress().to_bytes(), message);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&h, &-key, &s);
    Some(expected.compress().as_bytes() == big_r)
}

/// The Edwards scalar of a Montgomery key, negated if its point would have the sign bit 1, and the
/// point (XEdDSA §2.3).
fn edwards_pair(key: &[u8; 32]) -> (Scalar, [u8; 32]) {
    let mut a = Scalar::from_bytes_mod_order(*key);
    let mut public = EdwardsPoint::mul_base(&a).compress().to_bytes();
    let [.., last] = &mut public;
    let sign = *last >> 7;
    *last &= 0x7f;
    // Branch-free, because the sign reveals something about the key.
    let negated = -a;
    a = Scalar::conditional_select(&a, &negated, Choice::from(sign));
    (a, public)
}

fn challenge(big_r: &[u8; 32], public: &[u8; 32], message: &[u8]) -> Scalar {
    scalar(Sha512::new().chain_update(big_r).chain_update(public).chain_update(message))
}

fn scalar(hash: Sha512) -> Scalar {
    let wide = Zeroizing::new(<[u8; 64]>::from(hash.finalize()));
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// 2^256 - 2 in little-endian order: separates nonces from all other hash inputs.
const HASH_1: [u8; 32] = [
    0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

#[cfg(test)]
mod tests;
