//! Prekeys: keys that a device publishes so that others can write to it while it is offline.
//!
//! This module has the private keys, the bundle that a server hands out, and the check that the
//! bundle belongs to the account (X3DH §2, PQXDH §2).

use rand_core::CryptoRngCore;

use crate::address::DeviceId;
use crate::kem::{KemKeyPair, KemPublicKey};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::time::Timestamp;

/// A key for one session. It is deleted after use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OneTimePreKey {
    /// Chosen by the device, below 2^24.
    pub id: u32,
    /// The key.
    pub pair: KeyPair,
}

/// The key with which all sessions start for about a week.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedPreKey {
    /// Chosen by the device, below 2^24.
    pub id: u32,
    /// The key.
    pub pair: KeyPair,
    /// The identity key's signature of the 33 encoded bytes.
    pub signature: Signature,
    /// When it was created.
    pub created: Timestamp,
}

impl SignedPreKey {
    /// Generates and signs a key.
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

/// A post-quantum key: for one session, or the last resort for all sessions without another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KemPreKey {
    /// Chosen by the device, below 2^24.
    pub id: u32,
    /// The key.
    pub pair: KemKeyPair,
    /// The identity key's signature of the encoded bytes, including their type.
    pub signature: Signature,
    /// Whether the key may be used for many sessions.
    pub last_resort: bool,
    /// When it was created.
    pub created: Timestamp,
}

impl KemPreKey {
    /// Generates and signs a key.
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

/// The keys of a device, as received from the server and not yet verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreKeyBundle {
    /// The device that owns the keys.
    pub device: DeviceId,
    /// Changes when the device is registered again.
    pub registration_id: u32,
    /// The account's identity key.
    pub identity: PublicKey,
    /// The signed prekey: id, key, signature.
    pub signed: (u32, PublicKey, Signature),
    /// The one-time prekey, if the server has one left: id, key.
    pub one_time: Option<(u32, PublicKey)>,
    /// The post-quantum prekey, if the device has one: id, key, signature.
    pub kem: Option<(u32, KemPublicKey, Signature)>,
}

impl PreKeyBundle {
    /// Checks that the owner of the identity key signed the prekeys.
    ///
    /// # Errors
    /// A signature is invalid. Do not start a session.
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

/// A bundle whose prekeys are signed by its identity key. This does not show that the identity key
/// belongs to the expected person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedBundle(PreKeyBundle);

impl VerifiedBundle {
    /// The verified bundle.
    pub const fn bundle(&self) -> &PreKeyBundle {
        &self.0
    }
}

/// Why a bundle was rejected. In each case the server, or someone in between, modified it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// The post-quantum prekey is not signed by the identity key.
    #[error("the post-quantum prekey is not signed by the identity key")]
    BadKemPreKey,
    /// The signed prekey is not signed by the identity key.
    #[error("the signed prekey is not signed by the identity key")]
    BadSignedPreKey,
}
