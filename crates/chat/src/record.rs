//! The sessions with one device of a peer: the current one and archived ones.
//!
//! There are several sessions when both sides started one at the same time, or when one side lost
//! its state. The session that decrypted last is used for sending, so both sides converge (Sesame
//! §3.4).

mod archive;
pub(crate) mod fields;
mod storage;

use std::collections::VecDeque;

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::address::Route;
use crate::key::{KeyError, KeyPair, PublicKey};
use crate::message::{Ciphertext, PreKeySignalMessage, SignalMessage};
use crate::prekey::{KemPreKey, OneTimePreKey, SignedPreKey, VerifiedBundle};
use crate::ratchet::Ratchet;
use crate::session::{DecryptError, EncryptError, MAX_SKIP_FIRST, Pending, Session};
use crate::spqr::Spqr;
use crate::time::Timestamp;
use crate::x3dh::{self, ChosenPreKeys, Version};

pub(crate) use storage::ArchivedRow;
pub use storage::StoredRecordError;

/// Our own identity in every session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The account's identity key, shared by all its devices.
    pub pair: KeyPair,
    /// Chosen at random when this device was registered, 1 to 16380.
    pub registration_id: u32,
}

/// The sessions with one device of a peer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionRecord {
    current: Option<Session>,
    /// Newest first.
    archived: VecDeque<Session>,
    /// Whether the device ever had a post-quantum prekey with the accepted identity key: it must then always have one.
    had_post_quantum: bool,
    /// The device that has used the post-quantum ratchet with the accepted identity key: sessions that we start with it must then
    /// have it.
    had_spqr: Option<SpqrPin>,
}

/// A device that has used the post-quantum ratchet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SpqrPin {
    /// The one with this registration id. Another device, perhaps with another program, can get the same number later.
    Device(u32),
    /// An earlier version of this program has not stored which one.
    Unknown,
}

impl SpqrPin {
    const fn requires(self, registration_id: u32) -> bool {
        match self {
            Self::Device(pinned) => pinned == registration_id,
            Self::Unknown => true,
        }
    }
}

/// The identity keys that the sender of a first message may have. Our own key from another account is never accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust<'a> {
    /// Any key.
    Any,
    /// Only this key.
    Only(&'a PublicKey),
    /// Any key. But a session with another key than this one never displaces an archived session with this key, or the
    /// keys of its late messages.
    Prefer(&'a PublicKey),
}

impl<'a> Trust<'a> {
    /// The key whose sessions are kept before others.
    pub(crate) const fn accepted(self) -> Option<&'a PublicKey> {
        match self {
            Self::Any => None,
            Self::Only(key) | Self::Prefer(key) => Some(key),
        }
    }
}

/// Our prekeys to which a first message refers.
#[derive(Clone, Copy, Debug)]
pub struct ReferencedPreKeys<'a> {
    /// The key with [`PreKeySignalMessage::signed_pre_key_id`].
    pub signed: Option<&'a SignedPreKey>,
    /// The key with [`PreKeySignalMessage::pre_key_id`].
    pub one_time: Option<&'a OneTimePreKey>,
    /// The key with [`PreKeySignalMessage::kem_pre_key_id`].
    pub kem: Option<&'a KemPreKey>,
}

/// The owner of the other end of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionPeer {
    /// The identity key. Only who has it can have encrypted the messages of the session.
    pub identity: PublicKey,
    /// The registration id that the device has claimed, or that its keys were published with.
    pub registration_id: u32,
}

/// A decrypted first message.
#[derive(Debug, Eq, PartialEq)]
pub struct FirstMessage {
    /// The plaintext.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The session that has encrypted it. The current session may be another one.
    pub peer: SessionPeer,
    /// How to change our prekeys, if the message started a session. Store that change in one
    /// transaction with the record, or a replay would be accepted.
    pub used: Option<UsedPreKeys>,
}

/// The prekeys that started a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsedPreKeys {
    /// Delete this one-time prekey.
    pub one_time: Option<u32>,
    /// Delete this post-quantum prekey, unless it is the last resort.
    pub kem: Option<u32>,
    /// The signed prekey, which is kept.
    pub signed: u32,
    /// The initiator's base key. If no prekey was deleted, remember the two keys and this one, and
    /// reject other messages that would start a session with them.
    pub base_key: PublicKey,
}

impl SessionRecord {
    /// Starts a session with the device of a bundle and makes it the current one.
    ///
    /// # Errors
    /// The bundle is invalid, or lacks protection that the device had before. Nothing has changed.
    pub fn initiate(
        &mut self,
        us: &Identity,
        bundle: &VerifiedBundle,
        now: Timestamp,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), InitiateError> {
        let theirs = bundle.bundle();
        if self.had_post_quantum && theirs.kem.is_none() {
            return Err(InitiateError::Downgrade);
        }
        let initiated = x3dh::initiate(&us.pair, bundle, rng)?;
        let (signed_pre_key_id, signed, _) = &theirs.signed;
        let needs_spqr = self.had_spqr.is_some_and(|pin| pin.requires(theirs.registration_id));
        let pending = Pending {
            pre_key_id: theirs.one_time.as_ref().map(|(id, _)| *id),
            signed_pre_key_id: *signed_pre_key_id,
            kem: initiated.kem,
            since: now,
        };
        let session = Session {
            version: initiated.agreed.version,
            our_identity: *us.pair.public(),
            their_identity: theirs.identity,
            their_registration_id: theirs.registration_id,
            base_key: initiated.base_key,
            ratchet: Ratchet::initiator(&initiated.agreed.root, signed, rng)?,
            spqr: initiated.agreed.spqr.map(|key| Spqr::initiator(key, needs_spqr, rng)),
            pending: Some(pending),
        };
        self.put_in_use(session, Some(&theirs.identity));
        self.limit_archived(Some(&theirs.identity));
        Ok(())
    }

    /// Encrypts one message. Store the record before the message is sent.
    ///
    /// # Errors
    /// There is no usable session. Nothing has changed.
    pub fn encrypt(
        &mut self,
        us: &Identity,
        route: Route,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Result<Ciphertext, EncryptError> {
        let usable = self.current.as_mut().filter(|session| session.is_usable(now));
        let session = usable.ok_or(EncryptError::NoSession)?;
        session.encrypt(route, us.registration_id, plaintext)
    }

    /// Decrypts a message of an existing session. Store the record before the message is
    /// acknowledged.
    ///
    /// # Errors
    /// The message cannot be decrypted. Nothing has changed.
    pub fn decrypt(
        &mut self,
        route: Route,
        message: &SignalMessage,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        self.decrypt_preferring(route, message, None, rng).map(|(plaintext, _)| plaintext)
    }

    /// Like [`decrypt`](Self::decrypt), but keeps the late messages of sessions with the identity key `accepted` longest. Also returns who has encrypted
    /// the message: the current session may be another one.
    pub(crate) fn decrypt_preferring(
        &mut self,
        route: Route,
        message: &SignalMessage,
        accepted: Option<&PublicKey>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Zeroizing<Vec<u8>>, SessionPeer), DecryptError> {
        // A known chain belongs to exactly one session, so no other session is tried.
        if let Some(place) = self.find(|session| session.ratchet.knows(&message.ratchet_key)) {
            let session = self.at(place).ok_or(DecryptError::NoSession)?;
            let limit = session.skip_limit(route);
            let plaintext = session.decrypt(route, message, limit, rng)?;
            let peer = session.peer();
            self.promote(place, accepted);
            return Ok((plaintext, peer));
        }
        self.decrypt_with_any(route, message, accepted, rng)
    }

    /// The peer has a new ratchet key: the message may belong to any session.
    fn decrypt_with_any(
        &mut self,
        route: Route,
        message: &SignalMessage,
        accepted: Option<&PublicKey>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Zeroizing<Vec<u8>>, SessionPeer), DecryptError> {
        let mut first_error = None;
        // All sessions share one budget of skipped messages; otherwise a forged message would cost
        // 41 jumps.
        let mut archived_steps = MAX_ARCHIVED_STEPS;
        for place in self.places() {
            let Some(session) = self.at(place) else { continue };
            let limit = match place {
                Place::Current => session.skip_limit(route),
                Place::Archived(_) => session.skip_limit(route).min(archived_steps),
            };
            let derivations = session.max_derivations(message, limit);
            match session.decrypt(route, message, limit, rng) {
                Ok(plaintext) => {
                    let peer = session.peer();
                    self.promote(place, accepted);
                    return Ok((plaintext, peer));
                }
                Err(error) => {
                    if let Place::Archived(_) = place {
                        archived_steps = archived_steps.saturating_sub(derivations);
                    }
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or(DecryptError::NoSession))
    }

    /// Decrypts a message that may start a session. Store the record and the changes of our prekeys before the message is
    /// acknowledged.
    ///
    /// # Errors
    /// The message cannot be decrypted. Nothing has changed.
    pub fn decrypt_first(
        &mut self,
        us: &Identity,
        route: Route,
        message: &PreKeySignalMessage,
        prekeys: ReferencedPreKeys<'_>,
        trust: Trust<'_>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<FirstMessage, DecryptError> {
        let is_ours = message.identity == *us.pair.public();
        let claims_ours = is_ours && route.from.account != route.to.account;
        let is_wrong = matches!(trust, Trust::Only(trusted) if *trusted != message.identity);
        if claims_ours || is_wrong {
            return Err(DecryptError::UntrustedIdentity(message.identity));
        }
        let known = self.find(|session| {
            session.base_key == message.base_key
                && session.version == message.version
                && session.their_identity == message.identity
        });
        if let Some(place) = known {
            let session = self.at(place).ok_or(DecryptError::NoSession)?;
            let limit = session.skip_limit(route);
            let plaintext = session.decrypt(route, &message.message, limit, rng)?;
            let peer = session.peer();
            self.promote(place, trust.accepted());
            return Ok(FirstMessage { plaintext, peer, used: None });
        }
        let mut session = respond(us, message, prekeys)?;
        let plaintext = session.decrypt(route, &message.message, MAX_SKIP_FIRST, rng)?;
        let peer = session.peer();
        self.add_started(session, trust.accepted());
        self.limit_archived(trust.accepted());
        let used = UsedPreKeys {
            one_time: message.pre_key_id,
            kem: message.kem_pre_key_id(),
            signed: message.signed_pre_key_id,
            base_key: message.base_key,
        };
        Ok(FirstMessage { plaintext, peer, used: Some(used) })
    }

    /// Deletes all sessions, because the device was removed from its account. The record still knows whether the device
    /// had post-quantum keys: the server could otherwise remove a device and add it again without them.
    pub(crate) fn delete_sessions(&mut self) {
        self.current = None;
        self.archived.clear();
    }

    /// Whether there is a session, perhaps an archived one.
    pub(crate) fn has_sessions(&self) -> bool {
        self.current.is_some() || !self.archived.is_empty()
    }

    /// Whether there is a session with another identity key than this one, except those with refused keys.
    pub(crate) fn has_other_identity(&self, identity: &PublicKey, refused: &[PublicKey]) -> bool {
        let is_other = |key: &PublicKey| key != identity && !refused.contains(key);
        self.sessions().any(|session| is_other(&session.their_identity))
    }

    /// Whether there is a session with this identity key.
    pub(crate) fn has_identity(&self, identity: &PublicKey) -> bool {
        self.current.iter().chain(&self.archived).any(|it| it.their_identity == *identity)
    }

    /// Whether nothing needs to be stored.
    pub(crate) fn is_blank(&self) -> bool {
        !self.has_sessions() && !self.had_post_quantum && self.had_spqr.is_none()
    }

    /// The user has accepted this identity key. It may belong to another program, which has no post-quantum keys, so
    /// only sessions with this key count.
    pub(crate) fn accept_identity(&mut self, identity: &PublicKey) {
        self.had_post_quantum = self.is_post_quantum(identity);
        let of_key = |it: &&Session| it.their_identity == *identity;
        let had_spqr = self.sessions().filter(of_key).find_map(Session::spqr_pin);
        self.had_spqr = had_spqr;
    }

    /// Whether a session with this identity key has post-quantum protection.
    pub(crate) fn is_post_quantum(&self, identity: &PublicKey) -> bool {
        self.current
            .iter()
            .chain(&self.archived)
            .any(|session| session.their_identity == *identity && session.version == Version::Pqxdh)
    }

    /// Whether [`SessionRecord::encrypt`] would find a usable session.
    pub fn can_encrypt(&self, now: Timestamp) -> bool {
        self.current.as_ref().is_some_and(|session| session.is_usable(now))
    }

    /// Number of messages that were refused, because they show that the exchange of a post-quantum key cannot be completed.
    /// If it changes, store the record, although the message was not decrypted. After three in a row,
    /// [`SessionRecord::encrypt`] needs another session.
    pub fn failed_exchanges(&self) -> usize {
        self.sessions().map(Session::failed_exchanges).sum()
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.current.iter().chain(&self.archived)
    }

    /// Whether the current session has post-quantum protection.
    pub(crate) fn uses_post_quantum(&self) -> bool {
        self.version() == Some(Version::Pqxdh)
    }

    /// Whether both sides use the post-quantum ratchet in the current session.
    pub fn has_post_quantum_ratchet(&self) -> bool {
        self.current.as_ref().is_some_and(Session::has_spqr)
    }

    /// Whether the peer has not yet replied in the current session.
    pub fn is_unanswered(&self) -> bool {
        self.current.as_ref().is_some_and(|session| session.pending.is_some())
    }

    /// The peer's identity key in the current session.
    pub fn their_identity(&self) -> Option<&PublicKey> {
        self.current.as_ref().map(|session| &session.their_identity)
    }

    /// The registration id of the peer's device in the current session.
    pub fn their_registration_id(&self) -> Option<u32> {
        self.current.as_ref().map(|session| session.their_registration_id)
    }

    /// Our ratchet key in the current session: it changes with each Diffie-Hellman step.
    pub(crate) fn our_ratchet_key(&self) -> Option<PublicKey> {
        self.current.as_ref().map(|session| *session.ratchet.ours.public())
    }

    /// The key agreement with which the current session started.
    pub fn version(&self) -> Option<Version> {
        self.current.as_ref().map(|session| session.version)
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let current = self.current.as_ref().map(|_| Place::Current);
        current.into_iter().chain((0..self.archived.len()).map(Place::Archived))
    }

    fn find(&mut self, is_wanted: impl Fn(&Session) -> bool) -> Option<Place> {
        let mut places = self.places();
        places.find(|place| self.at(*place).is_some_and(|session| is_wanted(session)))
    }

    fn at(&mut self, place: Place) -> Option<&mut Session> {
        match place {
            Place::Current => self.current.as_mut(),
            Place::Archived(index) => self.archived.get_mut(index),
        }
    }
}

impl Session {
    const fn peer(&self) -> SessionPeer {
        let (identity, registration_id) = (self.their_identity, self.their_registration_id);
        SessionPeer { identity, registration_id }
    }

    /// The session's evidence about its device.
    fn spqr_pin(&self) -> Option<SpqrPin> {
        self.has_spqr().then_some(SpqrPin::Device(self.their_registration_id))
    }
}

/// The place of a session in its record.
#[derive(Clone, Copy, Debug)]
enum Place {
    Current,
    Archived(usize),
}

/// Creates the responder's session, before anything is decrypted with it.
fn respond(
    us: &Identity,
    message: &PreKeySignalMessage,
    prekeys: ReferencedPreKeys<'_>,
) -> Result<Session, DecryptError> {
    let signed = prekeys.signed.filter(|key| key.id == message.signed_pre_key_id);
    let signed = signed.ok_or(DecryptError::MissingPreKey)?;
    let one_time = prekeys.one_time.filter(|key| Some(key.id) == message.pre_key_id);
    if one_time.is_none() && message.pre_key_id.is_some() {
        return Err(DecryptError::MissingPreKey);
    }
    let kem = match &message.kem {
        None => None,
        Some((id, ciphertext)) => {
            let key = prekeys.kem.filter(|key| key.id == *id);
            Some((key.ok_or(DecryptError::MissingPreKey)?, ciphertext))
        }
    };
    let chosen = ChosenPreKeys { signed, one_time, kem };
    let agreed = x3dh::respond(&us.pair, chosen, &message.identity, &message.base_key)?;
    Ok(Session {
        version: agreed.version,
        our_identity: *us.pair.public(),
        their_identity: message.identity,
        their_registration_id: message.registration_id,
        base_key: message.base_key,
        ratchet: Ratchet::responder(agreed.root, signed.pair.clone(), agreed.chain),
        spqr: agreed.spqr.map(Spqr::responder),
        pending: None,
    })
}

/// Why a session could not be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InitiateError {
    /// A key of the bundle is invalid.
    #[error("the bundle contains an invalid key: {0}")]
    BadKey(#[from] KeyError),
    /// The device had a post-quantum prekey before, and the bundle does not have one: someone has removed it.
    #[error(
        "the bundle has no post-quantum prekey, although earlier bundles of this device had one"
    )]
    Downgrade,
}

/// Maximum number of messages that one with an unknown ratchet key may skip in all archived
/// sessions together.
const MAX_ARCHIVED_STEPS: u32 = 2_000;

#[cfg(test)]
mod tests;
