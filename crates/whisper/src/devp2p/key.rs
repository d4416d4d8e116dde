//! secp256k1 keys, as nodes and people hold them: agreement, recoverable signatures, node ids.
//!
//! The arithmetic is the `k256` crate's. What stands here are the encodings of the field: points
//! without their `04`, signatures as `r ‖ s ‖ v` (docs/whisper-protocol.md "Data").

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

/// A scalar of secp256k1, neither zero nor past the group order.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// Draws a key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(SigningKey::random(rng))
    }

    /// Takes 32 bytes, most significant first.
    ///
    /// # Errors
    /// They are zero, or not below the group order.
    pub fn from_secret(secret: &Secret<32>) -> Result<Self, KeyError> {
        SigningKey::from_slice(secret.expose()).map(Self).map_err(|_| KeyError::NotAScalar)
    }

    /// The 32 bytes, most significant first.
    pub fn to_secret(&self) -> Secret<32> {
        Secret::new(*Zeroizing::new(<[u8; 32]>::from(self.0.to_bytes())))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// Agrees with the holder of `peer` on a secret: the x-coordinate of the product.
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
    /// Reads the SEC 1 form: 65 bytes from `04`, or 33 bytes from `02` or `03`.
    ///
    /// # Errors
    /// The bytes are no point of the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        VerifyingKey::from_sec1_bytes(bytes).map(Self).map_err(|_| KeyError::NotAPoint)
    }

    /// The 65-byte SEC 1 form, from `04`.
    pub fn to_uncompressed(&self) -> [u8; UNCOMPRESSED] {
        copied(self.0.to_encoded_point(false).as_bytes())
    }

    /// The 33-byte SEC 1 form, from `02` or `03`.
    pub fn to_compressed(&self) -> [u8; 33] {
        copied(self.0.to_encoded_point(true).as_bytes())
    }

    /// Whether this key signed `digest` with `r ‖ s`, `s` being low.
    pub fn verifies(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let signature = Rs::from_slice(signature);
        signature.is_ok_and(|signature| self.0.verify_prehash(digest, &signature).is_ok())
    }

    /// The key as a node's name.
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

/// A node's name: its public key without the leading `04`. Not checked to be a point.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub [u8; 64]);

impl NodeId {
    /// The key behind the name.
    ///
    /// # Errors
    /// The name is no point of the curve, so nobody can hold its private key.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let mut sec1 = [UNCOMPRESSED_TAG; UNCOMPRESSED];
        let [_, point @ ..] = &mut sec1;
        *point = self.0;
        PublicKey::from_sec1(&sec1)
    }

    /// The position in the discovery table: keccak256 of the name (discv4 "Node Identities").
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

/// A recoverable signature: `r ‖ s ‖ v`. Any 65 bytes; only [`Signature::recover`] judges them.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Signature(pub [u8; SIGNATURE]);

impl Signature {
    /// Finds the key that signed `digest`. The `v` of 27 and 28 that EIP-627 writes counts as 0 and
    /// 1, which everybody sends; a high `s` is taken as go-ethereum takes it.
    ///
    /// # Errors
    /// No key made this signature.
    pub fn recover(&self, digest: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let [rs @ .., v] = &self.0;
        let v = match v {
            0 | 27 => 0,
            1 | 28 => 1,
            _ => return Err(KeyError::NotASignature),
        };
        let rs = Rs::from_slice(rs).map_err(|_| KeyError::NotASignature)?;
        // `k256` refuses high `s`. The negated `s` with the other `v` is the same signature.
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

/// keccak256 of the parts, one after another. This is not SHA3-256, which pads differently.
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Copies what is known to be `N` bytes long.
fn copied<const N: usize>(bytes: &[u8]) -> [u8; N] {
    debug_assert_eq!(bytes.len(), N);
    bytes.try_into().unwrap_or([0; N])
}

/// Why bytes are not what they were taken for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not on the curve, or not encoded as a point at all.
    #[error("not a point of secp256k1")]
    NotAPoint,
    /// Zero, or not below the group order.
    #[error("not a secp256k1 private key")]
    NotAScalar,
    /// No key could have made it.
    #[error("not a signature")]
    NotASignature,
}

/// Bytes of a signature.
pub const SIGNATURE: usize = 65;

/// Bytes of a point with both coordinates.
pub const UNCOMPRESSED: usize = 65;

/// First byte of a point with both coordinates (SEC 1 §2.3.3).
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
