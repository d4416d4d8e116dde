//! One session: a key agreement and its ratchet.
//!
//! There may be several sessions with one device of a peer; `record.rs` keeps them.

use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::address::Route;
use crate::cipher;
use crate::kem::KemCiphertext;
use crate::key::{KeyError, PublicKey};
use crate::message::{
    self, Ciphertext, CiphertextKind, Header, MessageError, Opening, SignalMessage,
};
use crate::ratchet::{self, FindError, Ratchet};
use crate::spqr::{self, IncomingField, Spqr, SpqrError, SpqrStep};
use crate::time::{DAY, Timestamp};
use crate::x3dh::Version;

/// The state of one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Session {
    pub(crate) version: Version,
    pub(crate) our_identity: PublicKey,
    pub(crate) their_identity: PublicKey,
    pub(crate) their_registration_id: u32,
    /// The initiator's base key. It is unique, so it identifies the session.
    pub(crate) base_key: PublicKey,
    pub(crate) ratchet: Ratchet,
    /// The post-quantum ratchet, unless the peer does not have it. Only in version 4.
    pub(crate) spqr: Option<Spqr>,
    /// The fields that our messages must carry until the peer has replied.
    pub(crate) pending: Option<Pending>,
}

/// The data that the responder needs to start the session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pending {
    pub(crate) pre_key_id: Option<u32>,
    pub(crate) signed_pre_key_id: u32,
    pub(crate) kem: Option<(u32, KemCiphertext)>,
    pub(crate) since: Timestamp,
}

impl Session {
    /// Encrypts one message. `registration_id` is our device's.
    ///
    /// # Errors
    /// The session cannot send any more: start another. Nothing has changed.
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
        let (spqr, key) = match &mut self.spqr {
            None => (None, None),
            Some(spqr) => {
                let (field, key) = spqr.send().map_err(|_| EncryptError::NoSession)?;
                (Some(field), key)
            }
        };
        let header = Header {
            version: self.version,
            ratchet_key: self.ratchet.ours.public(),
            counter: self.ratchet.sender.index,
            previous_counter: self.ratchet.previous_counter,
            spqr,
            route: self.pending.as_ref().map(|_| route),
        };
        let (ours, theirs) = (&self.our_identity, &self.their_identity);
        let bytes = message::seal(header, &seed.keys(key.as_ref()), ours, theirs, plaintext);
        self.ratchet.sender = chain;
        Ok(self.opened_with(registration_id, bytes))
    }

    /// Whether we can send with it.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        !self.is_stale(now) && !self.has_failed()
    }

    /// Whether our first messages have been unanswered for so long that the peer may have deleted
    /// the prekeys that they use.
    fn is_stale(&self, now: Timestamp) -> bool {
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

    /// Decrypts one message, skipping at most `limit` others. Success shows that the peer has
    /// replied.
    ///
    /// # Errors
    /// The message belongs to a different session, or is a duplicate. Nothing has changed, except perhaps
    /// [`Session::failed_exchanges`].
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
        let is_known = !matches!(step, ratchet::Step::DhRatchet { .. });
        let spqr = self.receive_spqr(message, limit, rng);
        let (spqr, key) = spqr.map_err(|error| spqr_error(error, is_known))?;
        let keys = seed.keys(key.as_ref());
        if !message.is_authentic(&keys, &self.their_identity, &self.our_identity) {
            return Err(DecryptError::BadMac);
        }
        if message.route.is_some_and(|wire| wire != route.to_wire()) {
            return Err(DecryptError::WrongParties);
        }
        let plaintext = cipher::decrypt(&keys.cipher, &keys.iv, &message.ciphertext)
            .ok_or(DecryptError::BadMac)?;
        if let Some(SpqrStep::Failed(error)) = spqr {
            self.count_failed_exchange(message.mac());
            return Err(spqr_error(error, is_known));
        }
        self.ratchet.commit(step, rng)?;
        self.commit_spqr(spqr);
        self.pending = None;
        Ok(plaintext)
    }

    /// Finds the message's key of the post-quantum ratchet. Changes nothing.
    pub(crate) fn receive_spqr(
        &self,
        message: &SignalMessage,
        limit: u32,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Option<SpqrStep>, Option<Secret<32>>), SpqrError> {
        let is_first = message.is_first && self.ratchet.may_be_first(&message.ratchet_key);
        match &self.spqr {
            Some(spqr) => {
                let incoming = IncomingField { field: &message.spqr, is_first, limit };
                spqr.receive(incoming, rng).map(|(step, key)| (Some(step), key))
            }
            None if spqr::is_unused(&message.spqr) => Ok((None, None)),
            // The session is older than the ratchet in our program, and the peer does not know yet that it does not have
            // it. Our answer says so.
            None if self.is_started_by_peer() && is_first && spqr::is_offer(&message.spqr) => {
                Ok((None, None))
            }
            None => Err(SpqrError::NotAgreed),
        }
    }

    /// Whether the peer has started the session with version 4, and we have nothing to say about that in our messages.
    fn is_started_by_peer(&self) -> bool {
        self.version == Version::Pqxdh && self.pending.is_none()
    }

    /// Remembers an authentic message whose part of the post-quantum exchange is wrong.
    fn count_failed_exchange(&mut self, mac: [u8; message::MAC]) {
        if let Some(spqr) = &mut self.spqr {
            spqr.count_failure(mac);
        }
    }

    /// Number of such messages, since the last one that was right.
    pub(crate) fn failed_exchanges(&self) -> usize {
        self.spqr.as_ref().map_or(0, Spqr::failures)
    }

    /// Whether the post-quantum exchange has failed for good: the peer's messages cannot be read any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.spqr.as_ref().is_some_and(Spqr::has_failed)
    }

    fn commit_spqr(&mut self, step: Option<SpqrStep>) {
        match step {
            None | Some(SpqrStep::Failed(_)) => {}
            Some(SpqrStep::FellBack) => self.spqr = None,
            Some(SpqrStep::Received(changes)) => {
                if let Some(spqr) = &mut self.spqr {
                    spqr.commit(*changes);
                }
            }
        }
    }

    /// Whether both sides use the post-quantum ratchet.
    pub(crate) fn has_spqr(&self) -> bool {
        self.spqr.as_ref().is_some_and(Spqr::is_agreed)
    }

    /// How many derivations it takes at most to find the keys of a message with an unknown ratchet key, if at most `limit`
    /// messages may be skipped. A longer jump is refused before anything is derived.
    pub(crate) fn max_derivations(&self, message: &SignalMessage, limit: u32) -> u32 {
        if message.counter > limit {
            return 0;
        }
        let jump = self.spqr.as_ref().map_or(0, |spqr| spqr.jump(&message.spqr));
        message.counter.saturating_add(if jump > limit { 0 } else { jump })
    }

    /// Number of messages that were skipped and whose seeds or keys are kept.
    pub(crate) fn skipped_len(&self) -> usize {
        self.ratchet.skipped_len().max(self.spqr.as_ref().map_or(0, Spqr::skipped_len))
    }

    /// Deletes the oldest seeds and keys of skipped messages above `max`.
    pub(crate) fn limit_skipped(&mut self, max: usize) {
        let mut room = max;
        for chain in self.ratchet.receivers.iter_mut().rev() {
            chain.limit_skipped(room);
            room -= chain.skipped.len();
        }
        if let Some(spqr) = &mut self.spqr {
            spqr.limit_skipped(max);
        }
    }

    /// How many messages one message may skip: many more from another device of our own account, which may
    /// have sent messages for a long time while we were offline. Only a session that has decrypted a message is known
    /// to be with such a device: until then, its identity key is what the sender claims.
    pub(crate) fn skip_limit(&self, route: Route) -> u32 {
        let is_ours = route.from.account == route.to.account
            && self.our_identity == self.their_identity
            && !self.ratchet.receivers.is_empty();
        if is_ours { MAX_SKIP_OWN_DEVICE } else { MAX_SKIP }
    }
}

/// The kinds of errors of the post-quantum ratchet are not distinguished, except those that say that too many messages were
/// skipped. Whether the message's ratchet key `is_known` shows whether it belongs to this session.
const fn spqr_error(error: SpqrError, is_known: bool) -> DecryptError {
    match error {
        SpqrError::KeyJump(missing) => DecryptError::TooFarAhead(missing),
        SpqrError::EpochTooOld | SpqrError::KeyTrimmed if is_known => DecryptError::DeletedKey,
        // Not a duplicate even if that key was used before: the key of the Double Ratchet was not.
        SpqrError::ChainEnded
        | SpqrError::CiphertextMac
        | SpqrError::Decode(_)
        | SpqrError::Downgrade
        | SpqrError::EpochTooNew
        | SpqrError::EpochTooOld
        | SpqrError::HeaderMac
        | SpqrError::KeyMismatch
        | SpqrError::KeyReused
        | SpqrError::KeyTrimmed
        | SpqrError::NoKey
        | SpqrError::NotAgreed => DecryptError::BadMac,
    }
}

/// Why a message could not be encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncryptError {
    /// There is no usable session. Fetch a bundle and start one.
    #[error("no session with this device")]
    NoSession,
    /// The plaintext is too long.
    #[error("a plaintext of {0} bytes is too long")]
    TooLong(usize),
}

/// Why a message could not be decrypted. Nothing has changed, except perhaps [`crate::SessionRecord::failed_exchanges`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecryptError {
    /// The message was modified, or belongs to a session that we do not have.
    #[error("the message cannot be decrypted")]
    BadMac,
    /// So many messages were late that the key of this one was deleted. It may also be a duplicate from before that.
    #[error("the key of this message was deleted, because too many messages were late")]
    DeletedKey,
    /// The message is a duplicate.
    #[error("the message is a duplicate")]
    Duplicate,
    /// The bytes are not a valid message.
    #[error(transparent)]
    Malformed(#[from] MessageError),
    /// The sender or the recipient in the message is not that of this session.
    #[error("the message is for another device")]
    WrongParties,
    /// A prekey that the message uses was deleted or never existed.
    #[error("the message uses a prekey that does not exist")]
    MissingPreKey,
    /// There is no session with the sender.
    #[error("no session with the sender")]
    NoSession,
    /// The message skips more messages than permitted.
    #[error("the message skips {0} others, which is too many")]
    TooFarAhead(u32),
    /// So many sessions started with the same signed prekey and without a one-time prekey that no more can be
    /// remembered. Or so many devices of the account have sessions that no more are accepted.
    #[error("too many sessions were started")]
    TooManySessions,
    /// The sender's identity key differs from the trusted one.
    #[error("the sender's identity key has changed")]
    UntrustedIdentity(PublicKey),
}

impl From<FindError> for DecryptError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Deleted => Self::DeletedKey,
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

/// Maximum number of messages that one message may skip, the same as in deployed clients.
pub(crate) const MAX_SKIP: u32 = 25_000;

/// Maximum number of messages that the message which starts a session may skip. Anyone can claim any identity key in it.
pub(crate) const MAX_SKIP_FIRST: u32 = 2_000;

/// Maximum for a message of another device of our own. Deployed clients have no limit there, but the MAC can only be
/// checked after the jump, so anyone could make us count to 2^32. It takes about 200 ms in a development build.
const MAX_SKIP_OWN_DEVICE: u32 = 100_000;

/// Milliseconds for which a session is used for sending without a reply, the same as in deployed
/// clients.
const MAX_UNANSWERED: u64 = 30 * DAY;

/// Maximum length of a plaintext: together with the first-message fields it fits into
/// [`message::MAX_MESSAGE`].
pub(crate) const MAX_PLAINTEXT: usize = message::MAX_MESSAGE - 4096;
