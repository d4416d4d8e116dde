//! secp256k1 keys: key agreement, recoverable signatures, node ids.
//!
//! The arithmetic is in the `k256` crate. This module adds the encodings of devp2p: points without the `04`
//! prefix, signatures as `r ‖ s ‖ v` (docs/whisper-protocol.md "Data").

use std::fmt;

use data_encoding::HEXLOWER;
use k256::{
    ecdh::diffie_hellman,
    ecdsa::{
        RecoveryId, Signature as Rs, SigningKey, VerifyingKey, signature::hazmat::PrehashVerifier,
    },
};
use rand_core::CryptoRngCore;
use sha3::{Digest, Keccak256};
use wormhole_kit::Secret;
use zeroize::Zeroizing;

/// A scalar of secp256k1, not zero and below the group order.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// Generates a random key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(SigningKey::random(rng))
    }

    /// Creates a key from 32 big-endian bytes.
    ///
    /// # Errors
    /// The number is zero, or not below the group order.
    pub fn from_secret(secret: &Secret<32>) -> Result<Self, KeyError> {
        SigningKey::from_slice(secret.expose()).map(Self).map_err(|_| KeyError::NotAScalar)
    }

    /// The key as 32 big-endian bytes.
    pub fn to_secret(&self) -> Secret<32> {
        Secret::new(*Zeroizing::new(<[u8; 32]>::from(self.0.to_bytes())))
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// Computes the shared secret with the holder of `peer`: the x-coordinate of the product.
    pub fn agree(&self, peer: &PublicKey) -> Secret<32> {
        let shared = diffie_hellman(self.0.as_nonzero_scalar(), peer.0.as_affine());
        Secret::new(*Zeroizing::new(<[u8; 32]>::from(*shared.raw_secret_bytes())))
    }

    /// Signs a digest deterministically (RFC 6979), with low `s` and `v` of 0 or 1.
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let mut bytes = [0; SIGNATURE];
        let signed = self.0.sign_prehash_recoverable(digest);
        debug_assert!(signed.is_ok(), "a digest of 32 bytes can always be signed");
        if let Ok((rs, v)) = signed {
            let parts = rs.to_bytes().into_iter().chain([v.to_byte()]);
            bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        }
        Signature(bytes)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A point of secp256k1, never the identity.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Parses SEC 1: 65 bytes with prefix `04`, or 33 bytes with prefix `02` or `03`.
    ///
    /// # Errors
    /// The bytes are not a point of the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        VerifyingKey::from_sec1_bytes(bytes).map(Self).map_err(|_| KeyError::NotAPoint)
    }

    /// The uncompressed SEC 1 form: 65 bytes with prefix `04`.
    pub fn to_uncompressed(&self) -> [u8; UNCOMPRESSED] {
        copied(self.0.to_encoded_point(false).as_bytes())
    }

    /// The compressed SEC 1 form: 33 bytes with prefix `02` or `03`.
    pub fn to_compressed(&self) -> [u8; 33] {
        copied(self.0.to_encoded_point(true).as_bytes())
    }

    /// Verifies the signature `r ‖ s` of `digest`; `s` must be low.
    pub fn verifies(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let signature = Rs::from_slice(signature);
        signature.is_ok_and(|signature| self.0.verify_prehash(digest, &signature).is_ok())
    }

    /// The key as a node id.
    pub fn node_id(&self) -> NodeId {
        let [_, id @ ..] = self.to_uncompressed();
        NodeId(id)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", HEXLOWER.encode(&self.to_compressed()))
    }
}

/// A node id: a public key without the prefix `04`. May be invalid as a key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub [u8; 64]);

impl NodeId {
    /// The public key.
    ///
    /// # Errors
    /// The id is not a point of the curve.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let mut sec1 = [UNCOMPRESSED_TAG; UNCOMPRESSED];
        let [_, point @ ..] = &mut sec1;
        *point = self.0;
        PublicKey::from_sec1(&sec1)
    }

    /// The position in the discovery table: keccak256 of the id (discv4 "Node Identities").
    pub fn digest(&self) -> [u8; 32] {
        keccak256(&[&self.0])
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// 128 lower-case hexadecimal digits.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A recoverable signature: `r ‖ s ‖ v`. Any 65 bytes; [`Signature::recover`] verifies them.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Signature(pub [u8; SIGNATURE]);

impl Signature {
    /// Recovers the key that signed `digest`. `v` may be 27 or 28 as in EIP-627, or 0 or 1 as all clients send it;
    /// a high `s` is accepted, as in go-ethereum.
    ///
    /// # Errors
    /// The signature is invalid.
    pub fn recover(&self, digest: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let [rs @ .., v] = &self.0;
        let v = match v {
            0 | 27 => 0,
            1 | 28 => 1,
            _ => return Err(KeyError::NotASignature),
        };
        let rs = Rs::from_slice(rs).map_err(|_| KeyError::NotASignature)?;
        // `k256` rejects a high `s`. The negated `s` with the other `v` is an equivalent signature.
        let (rs, v) = rs.normalize_s().map_or((rs, v), |low| (low, v ^ 1));
        let v = RecoveryId::from_byte(v).ok_or(KeyError::NotASignature)?;
        let key = VerifyingKey::recover_from_prehash(digest, &rs, v);
        key.map(PublicKey).map_err(|_| KeyError::NotASignature)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", HEXLOWER.encode(&self.0))
    }
}

/// keccak256 of the concatenated parts. Not SHA3-256, which has different padding.
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Copies bytes whose length is known to be `N`.
fn copied<const N: usize>(bytes: &[u8]) -> [u8; N] {
    debug_assert_eq!(bytes.len(), N);
    bytes.try_into().unwrap_or([0; N])
}

/// Why a key or signature is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Not a point of the curve.
    #[error("not a point of secp256k1")]
    NotAPoint,
    /// Zero, or not below the group order.
    #[error("not a secp256k1 private key")]
    NotAScalar,
    /// No key can have made this signature.
    #[error("not a signature")]
    NotASignature,
}

/// Size of a signature in bytes.
pub const SIGNATURE: usize = 65;

/// Size of an uncompressed point in bytes.
pub const UNCOMPRESSED: usize = 65;

/// Prefix of an uncompressed point (SEC 1 §2.3.3).
pub const UNCOMPRESSED_TAG: u8 = 4;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    fn key(seed: u64) -> PrivateKey {
        PrivateKey::random(&mut ChaCha12Rng::seed_from_u64(seed))
    }

    #[test]
    fn both_sides_agree_on_one_secret() {
        let (alice, bob) = (key(1), key(2));
        assert_eq!(alice.agree(&bob.public_key()), bob.agree(&alice.public_key()));
    }

    #[test]
    fn the_signer_is_recovered_from_every_spelling_of_v() {
        let (signer, digest) = (key(1), [7; 32]);
        let mut signature = signer.sign(&digest);
        assert!(signature.0[64] < 2);
        assert_eq!(signature.recover(&digest), Ok(signer.public_key()));
        signature.0[64] += 27;
        assert_eq!(signature.recover(&digest), Ok(signer.public_key()));
        signature.0[64] += 2;
        assert_eq!(signature.recover(&digest), Err(KeyError::NotASignature));
    }

    #[test]
    fn a_high_s_names_the_same_signer() {
        let (signer, digest) = (key(1), [7; 32]);
        let Signature(mut bytes) = signer.sign(&digest);
        let (r, s) = Rs::from_slice(&bytes[..64]).unwrap().split_scalars();
        let high = Rs::from_scalars(*r, -*s).unwrap();
        bytes[..64].copy_from_slice(&high.to_bytes());
        bytes[64] ^= 1;
        assert_eq!(Signature(bytes).recover(&digest), Ok(signer.public_key()));
    }

    #[test]
    fn bytes_off_the_curve_are_no_key() {
        assert_eq!(NodeId([1; 64]).public_key(), Err(KeyError::NotAPoint));
        assert_eq!(NodeId([0; 64]).public_key(), Err(KeyError::NotAPoint));
        assert_eq!(PublicKey::from_sec1(&[0]), Err(KeyError::NotAPoint));
        let zero = PrivateKey::from_secret(&Secret::new([0; 32]));
        assert_eq!(zero.err(), Some(KeyError::NotAScalar));
        let past_the_order = PrivateKey::from_secret(&Secret::new([255; 32]));
        assert_eq!(past_the_order.err(), Some(KeyError::NotAScalar));
        assert_eq!(Signature([0; 65]).recover(&[7; 32]), Err(KeyError::NotASignature));
    }

    #[test]
    fn every_form_of_a_public_key_reads_back() {
        let public = key(1).public_key();
        assert_eq!(PublicKey::from_sec1(&public.to_uncompressed()), Ok(public));
        assert_eq!(PublicKey::from_sec1(&public.to_compressed()), Ok(public));
        assert_eq!(public.node_id().public_key(), Ok(public));
    }

    #[test]
    fn a_private_key_does_not_print() {
        assert_eq!(format!("{:?}", key(1)), "PrivateKey(…)");
    }
}
