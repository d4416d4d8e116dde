//! Archived sessions: which session is in use, and how much is kept for late messages.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::mem::take;

use super::{Place, SessionRecord};
use crate::key::PublicKey;
use crate::ratchet::MAX_SKIPPED;
use crate::session::Session;
use crate::x3dh::Version;

impl SessionRecord {
    /// Archives the current session. Its late messages can still be decrypted.
    pub fn archive(&mut self) {
        let identity = self.their_identity().copied();
        self.archive_current();
        self.limit_archived(identity.as_ref());
    }

    fn archive_current(&mut self) {
        if let Some(session) = self.current.take() {
            self.archived.push_front(session);
        }
    }

    /// Makes a session the current one. The caller limits the archived sessions.
    pub(super) fn put_in_use(&mut self, session: Session, accepted: Option<&PublicKey>) {
        self.archive_current();
        self.pin_post_quantum(&session, accepted);
        self.current = Some(session);
    }

    /// Adds a session that the peer has started. It becomes the current one, but never replaces one with more
    /// post-quantum protection by one with less: a server that removed our post-quantum keys could choose the weaker one. Its
    /// messages can be read in any case.
    pub(super) fn add_started(&mut self, session: Session, accepted: Option<&PublicKey>) {
        if self.current.as_ref().is_some_and(|current| is_downgrade(current, &session)) {
            self.archived.push_front(session);
        } else {
            self.put_in_use(session, accepted);
        }
    }

    /// Remembers that the device has post-quantum keys and the post-quantum ratchet, if a session shows that. Anybody who controls
    /// the server can start sessions with other identity keys, so these say nothing about the device.
    fn pin_post_quantum(&mut self, session: &Session, accepted: Option<&PublicKey>) {
        let is_foreign = is_foreign(session, accepted);
        self.had_post_quantum |= session.version == Version::Pqxdh && !is_foreign;
        self.had_spqr = session.spqr_pin().filter(|_| !is_foreign).or(self.had_spqr);
    }

    /// Makes an archived session the current one, because it has just decrypted a message. A session with less post-quantum
    /// protection never replaces one with more: a server that held a message back could choose the weaker one. Neither does a
    /// session whose post-quantum exchange has failed. `accepted` is the identity key whose late messages are kept before others.
    pub(super) fn promote(&mut self, place: Place, accepted: Option<&PublicKey>) {
        let shown = self.at(place).filter(|session| !is_foreign(session, accepted));
        let shown = shown.and_then(|session| session.spqr_pin());
        self.had_spqr = shown.or(self.had_spqr);
        let has_failed = self.at(place).is_some_and(|session| session.has_failed());
        if let Place::Archived(index) = place
            && !has_failed
            && let Some(session) = self.archived.remove(index)
        {
            self.add_started(session, accepted);
        }
        self.limit_skipped(usize::try_from(MAX_SKIPPED).unwrap_or(usize::MAX), accepted);
    }

    /// Uses a session with this registration id, if the current one has another: late messages of an earlier installation of the
    /// device are read, but nothing is sent to it. Without this, each of them would make us start one more session. Of several, the
    /// one with the most post-quantum protection is used, and the newest of these; that of another installation does not count. A
    /// session with another identity key stays in use, because its messages are reported with this key.
    pub(crate) fn prefer_installation(
        &mut self,
        registration_id: u32,
        accepted: Option<&PublicKey>,
    ) {
        let Some(current) = &self.current else { return };
        if current.their_registration_id == registration_id {
            return;
        }
        let usable = self.archived.iter().enumerate().filter(|(_, it)| {
            it.their_registration_id == registration_id
                && it.their_identity == current.their_identity
                && !it.has_failed()
        });
        let best = usable.max_by_key(|(index, session)| (protection(session), Reverse(*index)));
        let Some((index, _)) = best else { return };
        if let Some(session) = self.archived.remove(index) {
            self.put_in_use(session, accepted);
        }
    }

    /// The user has refused these identity keys. Their sessions are archived behind all others, because the user may accept one of
    /// the keys after all; until then, [`take_refused`](Self::take_refused) keeps them from being used. The newest other session is
    /// in use. Sessions with these keys have pinned nothing about the ratchet, so that pin stays. The device must have post-quantum
    /// keys if the account with the accepted key `had_post_quantum` ones.
    pub(crate) fn refuse_identities(
        &mut self,
        refused: &[PublicKey],
        accepted: &PublicKey,
        had_post_quantum: bool,
    ) {
        self.had_post_quantum = had_post_quantum;
        let is_in_use = self.their_identity().is_some_and(|key| refused.contains(key));
        if is_in_use {
            self.archive_current();
        }
        let hidden = self.take_refused(refused);
        if is_in_use {
            self.current = self.archived.pop_front();
        }
        self.put_back(hidden, Some(accepted));
    }

    /// Removes the archived sessions with refused identity keys, newest first, until [`put_back`](Self::put_back) adds them again.
    pub(crate) fn take_refused(&mut self, refused: &[PublicKey]) -> VecDeque<Session> {
        let is_refused = |session: &Session| refused.contains(&session.their_identity);
        let (hidden, others) = take(&mut self.archived).into_iter().partition(is_refused);
        self.archived = others;
        hidden
    }

    /// Adds what [`take_refused`](Self::take_refused) has removed, behind all other sessions.
    pub(crate) fn put_back(&mut self, hidden: VecDeque<Session>, accepted: Option<&PublicKey>) {
        self.archived.extend(hidden);
        self.limit_archived(accepted);
    }

    /// Applies the limits of a record after a session was added. `accepted` is the identity key whose sessions are
    /// kept before others.
    pub(super) fn limit_archived(&mut self, accepted: Option<&PublicKey>) {
        // A current session with another key must not displace one with the accepted key.
        let is_foreign =
            accepted.is_some_and(|key| self.their_identity().is_some_and(|it| it != key));
        while self.archived.len() > MAX_ARCHIVED
            && (!is_foreign
                || self.archived.len() > MAX_ARCHIVED + 1
                || self.archived.iter().any(|it| Some(&it.their_identity) != accepted))
        {
            self.drop_archived(accepted);
        }
        self.limit_skipped(usize::try_from(MAX_SKIPPED).unwrap_or(usize::MAX), accepted);
    }

    /// Deletes the oldest archived session with another identity key than `accepted`, or the oldest of all.
    pub(crate) fn drop_archived(&mut self, accepted: Option<&PublicKey>) {
        let oldest = self.archived.len().saturating_sub(1);
        let other = self.archived.iter().rposition(|session| is_foreign(session, accepted));
        let index = other.unwrap_or(oldest);
        self.archived.remove(index);
    }

    /// Number of archived sessions.
    pub(crate) fn archived_len(&self) -> usize {
        self.archived.len()
    }

    /// Number of messages that were skipped and whose seeds are kept.
    pub(crate) fn skipped_len(&self) -> usize {
        self.current.iter().chain(&self.archived).map(Session::skipped_len).sum()
    }

    /// Seeds of sessions with another identity key than `accepted`: a dishonest server can start such sessions.
    pub(crate) fn foreign_skipped_len(&self, accepted: Option<&PublicKey>) -> usize {
        let sessions = self.current.iter().chain(&self.archived);
        let foreign = sessions.filter(|session| is_foreign(session, accepted));
        foreign.map(Session::skipped_len).sum()
    }

    /// Deletes the oldest seeds of skipped messages above `max`: first those of sessions with another identity key than
    /// `accepted`, then those of archived sessions.
    pub(crate) fn limit_skipped(&mut self, max: usize, accepted: Option<&PublicKey>) {
        let mut room = max;
        for foreign in [false, true] {
            let sessions = self.current.iter_mut().chain(&mut self.archived);
            for session in sessions.filter(|session| is_foreign(session, accepted) == foreign) {
                session.limit_skipped(room);
                room -= session.skipped_len();
            }
        }
    }
}

/// Whether a session has another identity key than the accepted one.
fn is_foreign(session: &Session, accepted: Option<&PublicKey>) -> bool {
    accepted.is_some_and(|key| session.their_identity != *key)
}

fn is_downgrade(from: &Session, to: &Session) -> bool {
    protection(to) < protection(from) && from.their_identity == to.their_identity
}

/// How much a session is protected against quantum computers: more is greater.
fn protection(session: &Session) -> (bool, bool) {
    (session.version == Version::Pqxdh, session.has_spqr())
}

/// Maximum number of sessions kept for late messages, the same as in deployed clients.
pub(super) const MAX_ARCHIVED: usize = 40;
