//! Sender keys: a message to a group is encrypted once for all its members (docs/chat-protocol.md "Sender keys").
//!
//! A device draws a [`SenderKey`] for a group, and sends it to each member inside the session with that member, as a
//! [`SenderKeyDistributionMessage`]. Each member keeps it in a [`SenderKeyRecord`]. All members can derive the message keys,
//! so a signature shows which one wrote a message.
//!
//! This module does not know who is a member. When a member or one of its devices is removed, the other devices must draw new
//! keys: anybody with a sender key can read everything that is encrypted with it later.

mod message;
mod record;
mod storage;

use std::fmt;
use std::str::FromStr;

use rand_core::CryptoRngCore;
use uuid::Uuid;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::address::{AccountId, NotAnAccountId};
use crate::cipher;
use crate::key::KeyPair;
use crate::ratchet::ChainKey;
use crate::session::{EncryptError, MAX_PLAINTEXT};

pub use message::{SenderKeyDistributionMessage, SenderKeyMessage};
pub use record::{SenderKeyError, SenderKeyRecord};

/// Identifies the sender keys of a group: a UUID that the sender chooses. It says nothing about the group.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DistributionId([u8; 16]);

impl DistributionId {
    /// Chooses a new id: a UUID of version 4.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
    }

    /// Creates an id from the 16 bytes of a UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the UUID.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DistributionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(Uuid::from_bytes_ref(&self.0).as_hyphenated(), f)
    }
}

impl FromStr for DistributionId {
    type Err = NotAnAccountId;

    /// Parses the hyphenated form of 36 characters.
    fn from_str(text: &str) -> Result<Self, NotAnAccountId> {
        text.parse().map(|id: AccountId| Self(*id.as_bytes()))
    }
}

/// The key with which this device encrypts and signs its messages to a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SenderKey {
    distribution: DistributionId,
    /// Distinguishes the keys of one distribution id.
    chain_id: u32,
    chain: ChainKey,
    signing: KeyPair,
}

impl SenderKey {
    /// Draws a key. Members cannot read anything before they have its [`SenderKey::distribution_message`].
    pub fn random(distribution: DistributionId, rng: &mut impl CryptoRngCore) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *key);
        Self {
            distribution,
            // Deployed clients use 31 bits.
            chain_id: rng.next_u32() >> 1,
            chain: ChainKey { key: Secret::new(*key), index: 0 },
            signing: KeyPair::random(rng),
        }
    }

    /// The id with which members find the key.
    pub const fn distribution(&self) -> DistributionId {
        self.distribution
    }

    /// How many messages were encrypted with the key.
    pub const fn messages(&self) -> u32 {
        self.chain.index
    }

    /// The key with which a member can read all messages from now on. It is secret: send it inside a session.
    pub fn distribution_message(&self) -> SenderKeyDistributionMessage {
        SenderKeyDistributionMessage {
            distribution: self.distribution,
            chain_id: self.chain_id,
            chain: self.chain.clone(),
            signing_key: *self.signing.public(),
        }
    }

    /// Encrypts and signs one message for all who have the key. Store the key before the message is sent.
    ///
    /// # Errors
    /// The plaintext is too long; or the key was used 2^32 - 1 times: draw another. Nothing has changed.
    pub fn encrypt(
        &mut self,
        plaintext: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, EncryptError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(EncryptError::TooLong(plaintext.len()));
        }
        let (seed, next) = self.chain.step().ok_or(EncryptError::NoSession)?;
        let keys = seed.group_keys();
        let mut ciphertext = Vec::with_capacity(cipher::padded(plaintext.len()));
        cipher::encrypt(&keys.cipher, &keys.iv, plaintext, &mut ciphertext);
        let message = message::Unsigned {
            distribution: self.distribution,
            chain_id: self.chain_id,
            iteration: self.chain.index,
            ciphertext,
        };
        let bytes = message.sign(&self.signing, rng);
        self.chain = next;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
