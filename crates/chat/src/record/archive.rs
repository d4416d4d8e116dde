//! Archived sessions: which session is in use, and how much is kept for late messages.

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
    pub(super) fn put_in_use(&mut self, session: Session) {
        self.archive_current();
        self.had_post_quantum |= session.version == Version::Pqxdh;
        self.current = Some(session);
    }

    /// Makes an archived session the current one, because it has just decrypted a message. A session without post-quantum
    /// protection never replaces one with it: a server that held a message back could choose the weaker one.
    pub(super) fn promote(&mut self, place: Place) {
        if let Place::Archived(index) = place
            && let Some(session) = self.archived.remove(index)
        {
            if self.current.as_ref().is_some_and(|current| is_downgrade(current, &session)) {
                self.archived.push_front(session);
            } else {
                self.put_in_use(session);
            }
        }
        self.limit_skipped(usize::try_from(MAX_SKIPPED).unwrap_or(usize::MAX));
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
        self.limit_skipped(usize::try_from(MAX_SKIPPED).unwrap_or(usize::MAX));
    }

    /// Deletes the oldest archived session with another identity key than `accepted`, or the oldest of all.
    pub(crate) fn drop_archived(&mut self, accepted: Option<&PublicKey>) {
        let is_other =
            |session: &Session| accepted.is_some_and(|key| session.their_identity != *key);
        let oldest = self.archived.len().saturating_sub(1);
        let index = self.archived.iter().rposition(is_other).unwrap_or(oldest);
        self.archived.remove(index);
    }

    /// Number of archived sessions.
    pub(crate) fn archived_len(&self) -> usize {
        self.archived.len()
    }

    /// Number of messages that were skipped and whose seeds are kept.
    pub(crate) fn skipped_len(&self) -> usize {
        self.current.iter().chain(&self.archived).map(|session| session.ratchet.skipped_len()).sum()
    }

    /// Deletes the oldest seeds of skipped messages above `max`, first those of archived sessions.
    pub(crate) fn limit_skipped(&mut self, max: usize) {
        let mut room = max;
        for session in self.current.iter_mut().chain(&mut self.archived) {
            for chain in session.ratchet.receivers.iter_mut().rev() {
                let excess = chain.skipped.len().saturating_sub(room);
                chain.skipped.drain(..excess);
                room -= chain.skipped.len();
            }
        }
    }
}

fn is_downgrade(from: &Session, to: &Session) -> bool {
    let is_weaker = from.version == Version::Pqxdh && to.version == Version::X3dh;
    is_weaker && from.their_identity == to.their_identity
}

/// Maximum number of sessions kept for late messages, the same as in deployed clients.
pub(super) const MAX_ARCHIVED: usize = 40;
