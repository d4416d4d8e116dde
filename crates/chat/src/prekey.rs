//! Prekeys: what a device publishes so that others can write to it while it is away.
//!
//! The private halves, the bundle that a server hands out, and the check that the bundle is the
//! account's own (X3DH §2, PQXDH §2).

use rand_core::CryptoRngCore;

use crate::address::DeviceId;
use crate::kem::{KemKeyPair, KemPublicKey};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::time::Timestamp;

/// A key for one session, then gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OneTimePreKey {
    /// Chosen by the device, below 2^24.
    pub id: u32,
    /// The key.
    pub pair: KeyPair,
}

/// The key every session of a week or so begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedPreKey {
    /// Chosen by the device, below 2^24.
    pub id: u32,
    /// The key.
    pub pair: KeyPair,
    /// By the identity key, over the 33 encoded bytes.
    pub signature: Signature,
    /// When it was made.
    pub created: Timestamp,
}

impl SignedPreKey {
    /// Draws and signs a key.
    pub fn random(
        id: u32,
        identity: &KeyPair,
        created: Timestamp,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let pair = KeyPair::random(rng);
        let signature = identity.sign(&pair.public().encode(), rng);
        Self { id, pair, signature, created }
    }
}

/// A post-quantum key: for one session, or for all sessions that find no other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KemPreKey {
    /// Chosen by the device, below 2^24.
    pub id: u32,
    /// The key.
    pub pair: KemKeyPair,
    /// By the identity key, over the encoded bytes with their type.
    pub signature: Signature,
    /// Whether the key serves many sessions.
    pub last_resort: bool,
    /// When it was made.
    pub created: Timestamp,
}

impl KemPreKey {
    /// Draws and signs a key.
    pub fn random(
        id: u32,
        last_resort: bool,
        identity: &KeyPair,
        created: Timestamp,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let pair = KemKeyPair::random(rng);
        let signature = identity.sign(&pair.public().encode(), rng);
        Self { id, pair, signature, last_resort, created }
    }
}

/// The keys of a device from the server. Nothing in them has been checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreKeyBundle {
    /// Whose keys these are.
    pub device: DeviceId,
    /// Changes when the device is set up anew.
    pub registration_id: u32,
    /// The account's identity key.
    pub identity: PublicKey,
    /// The signed prekey: id, key, signature.
    pub signed: (u32, PublicKey, Signature),
    /// The one-time prekey, if the server had one left: id, key.
    pub one_time: Option<(u32, PublicKey)>,
    /// The post-quantum prekey, if the device has any: id, key, signature.
    pub kem: Option<(u32, KemPublicKey, Signature)>,
}

impl PreKeyBundle {
    /// Checks that the holder of the identity key signed the prekeys.
    ///
    /// # Errors
    /// A signature does not hold. Do not start a session.
    pub fn verify(self) -> Result<VerifiedBundle, BundleError> {
        let (_, key, signature) = &self.signed;
        if !self.identity.verify(&key.encode(), signature) {
            return Err(BundleError::BadSignedPreKey);
        }
        if let Some((_, key, signature)) = &self.kem
            && !self.identity.verify(&key.encode(), signature)
        {
            return Err(BundleError::BadKemPreKey);
        }
        Ok(VerifiedBundle(self))
    }
}

/// A bundle whose prekeys were signed by its identity key. Whether that identity is the right
/// person's is another question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedBundle(PreKeyBundle);

impl VerifiedBundle {
    /// What was checked.
    pub const fn bundle(&self) -> &PreKeyBundle {
        &self.0
    }
}

/// Why a bundle was refused. Each means that the server, or someone on the way, changed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// The post-quantum prekey is not signed by the identity key.
    #[error("the post-quantum prekey is not signed by the identity key")]
    BadKemPreKey,
    /// The signed prekey is not signed by the identity key.
    #[error("the signed prekey is not signed by the identity key")]
    BadSignedPreKey,
}
