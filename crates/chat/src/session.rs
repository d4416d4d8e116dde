//! One session: a key agreement and the ratchet that grew from it.
//!
//! A peer's device may have several; `record.rs` keeps them.

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::address::Route;
use crate::cipher;
use crate::kem::KemCiphertext;
use crate::key::{KeyError, PublicKey};
use crate::message::{
    self, Ciphertext, CiphertextKind, Header, MessageError, Opening, SignalMessage,
};
use crate::ratchet::{FindError, Ratchet};
use crate::time::{DAY, Timestamp};
use crate::x3dh::Version;

/// The state of one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Session {
    pub(crate) version: Version,
    pub(crate) our_identity: PublicKey,
    pub(crate) their_identity: PublicKey,
    pub(crate) their_registration_id: u32,
    /// The initiator's base key. It names the session: no other has the same.
    pub(crate) base_key: PublicKey,
    pub(crate) ratchet: Ratchet,
    /// What our messages must open with until the peer has answered one.
    pub(crate) pending: Option<Pending>,
}

/// What the responder needs to begin the session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pending {
    pub(crate) pre_key_id: Option<u32>,
    pub(crate) signed_pre_key_id: u32,
    pub(crate) kem: Option<(u32, KemCiphertext)>,
    pub(crate) since: Timestamp,
}

impl Session {
    /// Encrypts one message from our device with `registration_id`.
    ///
    /// # Errors
    /// The session can send no more: begin another. Nothing has changed.
    pub(crate) fn encrypt(
        &mut self,
        route: Route,
        registration_id: u32,
        plaintext: &[u8],
    ) -> Result<Ciphertext, EncryptError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(EncryptError::TooLong(plaintext.len()));
        }
        let (seed, chain) = self.ratchet.next().map_err(|_| EncryptError::NoSession)?;
        let header = Header {
            version: self.version,
            ratchet_key: self.ratchet.ours.public(),
            counter: self.ratchet.sender.index,
            previous_counter: self.ratchet.previous_counter,
            route: self.pending.as_ref().map(|_| route),
        };
        let (ours, theirs) = (&self.our_identity, &self.their_identity);
        let bytes = message::seal(&header, &seed.keys(), ours, theirs, plaintext);
        self.ratchet.sender = chain;
        Ok(self.opened_with(registration_id, bytes))
    }

    /// Whether our first messages have been unanswered for so long that the prekeys they use may
    /// be gone.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.pending.as_ref().is_some_and(|pending| now.since(pending.since) > MAX_UNANSWERED)
    }

    fn opened_with(&self, registration_id: u32, bytes: Vec<u8>) -> Ciphertext {
        let Some(pending) = &self.pending else {
            return Ciphertext { kind: CiphertextKind::Signal, bytes };
        };
        let opening = Opening {
            version: self.version,
            registration_id,
            pre_key_id: pending.pre_key_id,
            signed_pre_key_id: pending.signed_pre_key_id,
            kem: pending.kem.as_ref(),
            base_key: &self.base_key,
            identity: &self.our_identity,
        };
        Ciphertext { kind: CiphertextKind::PreKey, bytes: message::seal_first(&opening, bytes) }
    }

    /// Decrypts one message, skipping at most `limit` others. On success the peer has answered.
    ///
    /// # Errors
    /// The message is not of this session, or not new. Nothing has changed.
    pub(crate) fn decrypt(
        &mut self,
        route: Route,
        message: &SignalMessage,
        limit: u32,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        if message.version != self.version {
            return Err(DecryptError::BadMac);
        }
        let (step, seed) = self.ratchet.find(&message.ratchet_key, message.counter, limit)?;
        let keys = seed.keys();
        if !message.is_authentic(&keys, &self.their_identity, &self.our_identity) {
            return Err(DecryptError::BadMac);
        }
        if message.route.is_some_and(|wire| wire != route.to_wire()) {
            return Err(DecryptError::Misdelivered);
        }
        let plaintext = cipher::decrypt(&keys.cipher, &keys.iv, &message.ciphertext)
            .ok_or(DecryptError::BadMac)?;
        self.ratchet.commit(step, rng)?;
        self.pending = None;
        Ok(plaintext)
    }

    /// How many messages one message may skip: far more from another device of our own, which may
    /// have sent for long without our being there.
    pub(crate) fn jump_limit(&self) -> u32 {
        if self.our_identity == self.their_identity { MAX_JUMP_OWN } else { MAX_JUMP }
    }
}

/// Why a message was not encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncryptError {
    /// There is no session that may still be used. Fetch a bundle and begin one.
    #[error("no session with this device")]
    NoSession,
    /// The plaintext is longer than any message may be.
    #[error("a plaintext of {0} bytes is too long")]
    TooLong(usize),
}

/// Why a message was not decrypted. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecryptError {
    /// The message was altered, or is of a session that we do not have.
    #[error("the message cannot be decrypted")]
    BadMac,
    /// The message was read before.
    #[error("the message was read before")]
    Duplicate,
    /// The bytes are no message.
    #[error(transparent)]
    Malformed(#[from] MessageError),
    /// The message was meant for another device, or comes from another.
    #[error("the message was meant for another device")]
    Misdelivered,
    /// A prekey that the message was made with is gone, or never was.
    #[error("the message uses a prekey that is gone")]
    MissingPreKey,
    /// There is no session with the sender.
    #[error("no session with the sender")]
    NoSession,
    /// The message claims to come after more missing ones than can be true.
    #[error("the message comes after {0} missing ones, which is too many")]
    TooFarAhead(u32),
    /// The sender has another identity key than the one that is trusted.
    #[error("the sender's identity key has changed")]
    UntrustedIdentity(PublicKey),
}

impl From<FindError> for DecryptError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Duplicate => Self::Duplicate,
            FindError::Key(error) => error.into(),
            FindError::TooFarAhead(missing) => Self::TooFarAhead(missing),
        }
    }
}

impl From<KeyError> for DecryptError {
    fn from(error: KeyError) -> Self {
        Self::Malformed(error.into())
    }
}

/// Messages that one message may skip. What deployed clients allow.
pub(crate) const MAX_JUMP: u32 = 25_000;

/// The same from our own devices. Deployed clients have no limit there, but the MAC can be checked
/// after the jump only, so anyone could have us count to 2^32.
const MAX_JUMP_OWN: u32 = 1_000_000;

/// Milliseconds that a session is used for sending without an answer. What deployed clients wait.
const MAX_UNANSWERED: u64 = 30 * DAY;

/// Bytes of a plaintext at most: together with the opening it fits [`message::MAX_MESSAGE`].
const MAX_PLAINTEXT: usize = message::MAX_MESSAGE - 4096;
