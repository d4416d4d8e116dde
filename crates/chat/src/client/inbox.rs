//! Envelopes from the server.

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::device_lists::has_sender;
use super::groups::GroupEnvelope;
use super::repair::Outcome;
use super::sealed::Incoming;
use super::store::Changes;
use super::written::Written;
use super::{Client, ClientEvent, ClientOutput, Delivery, ReadError, Received, Unreadable};
use crate::address::{AccountId, Address, Route};
use crate::content::{Content, SyncMessage};
use crate::envelope::{Envelope, EnvelopeKind};
use crate::key::PublicKey;
use crate::message::{PreKeySignalMessage, SignalMessage};
use crate::padding::unpad;
use crate::record::{FirstMessage, SessionPeer, SessionRecord, Trust, UsedPreKeys};
use crate::retry::DecryptionErrorMessage;
use crate::sealed_sender::UnsealedMessage;
use crate::session::DecryptError;
use crate::time::Timestamp;

impl Client {
    /// Reads an envelope. It is acknowledged in any case, because the server would otherwise deliver it without end, but only when
    /// its content, or the reason why it cannot be read, is durable. A message of an unknown device waits for the newest list of the
    /// account.
    pub(super) fn read(
        &mut self,
        now: Timestamp,
        delivery: Delivery,
        envelope: &Envelope,
        rng: &mut impl CryptoRngCore,
    ) {
        let incoming = self.incoming(now, envelope);
        if let Ok(incoming) = &incoming
            && has_sender(envelope)
            && self.is_unlisted(incoming, envelope.timestamp)
        {
            let id = self.named_installation(incoming);
            return self.hold(now, delivery, envelope, incoming, id);
        }
        let named = envelope.source_account.zip(envelope.source_device);
        let named = named.map(|(account, device)| Address { account, device });
        let from = incoming.as_ref().ok().map(|incoming| incoming.from).or(named);
        let mut changes = Changes::default();
        let mut then = vec![ClientOutput::Acknowledge(delivery)];
        let opened = match &incoming {
            // Receipts of the server have no content.
            _ if envelope.kind == EnvelopeKind::Receipt => Ok(None),
            Ok(incoming) => match self.open(now, envelope, incoming, &mut changes, rng) {
                Err(NotOpened::Unlisted(id)) => {
                    return self.hold(now, delivery, envelope, incoming, Some(id));
                }
                Err(NotOpened::Unreadable(why)) => Err(why),
                Ok(received) => Ok(received),
            },
            Err(why) => Err(*why),
        };
        self.forget_decided(delivery);
        if opened.is_ok() && from.is_some_and(|from| from.account == self.us.account) {
            self.record_other_devices(true);
        }
        then.append(&mut self.take_group_events());
        let lacks_prekey = opened == Err(ReadError::Decrypt(DecryptError::MissingPreKey));
        let message = incoming.as_ref().ok().map(|incoming| &incoming.message);
        let outcome = match opened {
            Ok(Some(received)) => {
                self.record_receipt(&received, &mut changes);
                let (outcome, report) = self.settle_read(received, &mut changes);
                then.extend(report);
                outcome
            }
            Ok(None) => Outcome::Nothing,
            Err(why) => self.settle_unread(now, from, envelope, message, why, &mut changes),
        };
        match outcome {
            Outcome::Received(received) => {
                changes.received.push(received.clone());
                then.push(ClientOutput::Event(ClientEvent::Received(received)));
            }
            Outcome::Nothing => {}
            Outcome::NotRead(why) => {
                let timestamp = envelope.timestamp;
                changes.unreadable.push(Unreadable { from, timestamp, why });
                then.push(ClientOutput::Event(ClientEvent::NotRead(from, why)));
            }
        }
        // Even without changes: an earlier copy may wait for its commit.
        self.commit(changes, then);
        let asks_again = matches!(message, Some(UnsealedMessage::DecryptionError(_)));
        if lacks_prekey {
            self.replace_missing_prekeys(now, rng);
        }
        self.ask_waiting();
        if envelope.kind == EnvelopeKind::Receipt {
            self.check_receipt(now, envelope.timestamp, rng);
        }
        if let Some(from) = from.filter(|_| asks_again) {
            self.advance_resends(now, from.account, true);
        }
    }

    fn open(
        &mut self,
        now: Timestamp,
        envelope: &Envelope,
        incoming: &Incoming,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Received>, NotOpened> {
        let from = incoming.from;
        let opened = match &incoming.message {
            UnsealedMessage::First(first) => {
                self.open_first(now, envelope, from, first, changes, rng)
            }
            UnsealedMessage::Signal(message) => {
                self.open_message(now, envelope, from, message, changes, rng).map(Some)
            }
            UnsealedMessage::DecryptionError(error) => {
                if let Some(error) = DecryptionErrorMessage::decode(error) {
                    self.read_retry_request(now, from, &error, changes);
                }
                return Ok(None);
            }
            UnsealedMessage::SenderKey(message) => {
                let timestamp = envelope.timestamp;
                let message = GroupEnvelope { from, timestamp, message };
                let received = self.read_group_message(message, changes)?;
                self.record_newest((from, timestamp), changes);
                return Ok(received);
            }
        };
        let Some((content, peer)) = opened? else { return Ok(None) };
        self.accept_content(now, envelope.timestamp, (from, peer), content, changes)
    }

    /// Opens a message that may start a session. `None`: its sender is unknown, and shows nothing.
    fn open_first(
        &mut self,
        now: Timestamp,
        envelope: &Envelope,
        from: Address,
        first: &PreKeySignalMessage,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<(Content, SessionPeer)>, NotOpened> {
        let opened = self.decrypt_first(from, first, changes, rng)?;
        self.check_installation(from, opened.peer, envelope.timestamp)?;
        let peer = opened.peer;
        let content = decode(envelope, &opened.plaintext);
        let is_shown = |content: &Content| {
            content.is_visible() || self.is_about_our_group(from.account, content)
        };
        if self.is_unknown(from) && !content.as_ref().is_ok_and(is_shown) {
            // Nothing is stored for senders who show nothing: anybody can invent them. The prekey stays, so a later message of the
            // same session can still be read.
            return Ok(content.map(|_| None)?);
        }
        self.start_session(now, from, opened, changes)?;
        Ok(Some((content?, peer)))
    }

    /// Opens a message of a session.
    fn open_message(
        &mut self,
        now: Timestamp,
        envelope: &Envelope,
        from: Address,
        message: &SignalMessage,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Content, SessionPeer), NotOpened> {
        let opened = self.decrypt(from, message, changes, rng)?;
        self.check_installation(from, opened.peer, envelope.timestamp)?;
        self.sessions.insert(from, opened.record);
        self.store_session(from, changes);
        if opened.has_stepped {
            self.count_ratchet_step(from.account, changes);
        }
        self.heard(now, from.account, changes);
        // From here on the session has changed, even if the plaintext is invalid.
        Ok((decode(envelope, &opened.plaintext)?, opened.peer))
    }

    /// Handles what `peer` has encrypted in a session. Returns what the application learns.
    fn accept_content(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        (from, peer): (Address, SessionPeer),
        content: Content,
        changes: &mut Changes,
    ) -> Result<Option<Received>, NotOpened> {
        if content.timestamp().is_some_and(|inner| inner != timestamp) {
            return Err(ReadError::TimestampMismatch.into());
        }
        // Also if it has nothing for the user: it may be delivered again.
        self.record_newest((from, timestamp), changes);
        if let Content::Sync(sync) = &content
            && let Some(to) = self.sent_elsewhere(from.account, sync)?
        {
            // The user knows whom they write to.
            self.not_a_stranger(to, changes);
        }
        if let Content::Sync(sync) = &content
            && let Ok(sync) = SyncMessage::decode(sync)
        {
            match sync {
                // It is stored before the envelope is acknowledged.
                SyncMessage::Identities(decisions) => self.learn_identities(now, &decisions),
                SyncMessage::DeviceList(list) => self.learn_own_list(*list),
                SyncMessage::Configuration(_)
                | SyncMessage::GroupsWanted
                | SyncMessage::Names(_)
                | SyncMessage::Other
                | SyncMessage::Read(_)
                | SyncMessage::Requests(_)
                | SyncMessage::Timers(_) => {}
                sent @ (SyncMessage::Sent(_) | SyncMessage::SentToGroup(_)) => {
                    self.forget_deleted(Written::from_copy(sent), changes);
                }
            }
        }
        let content = if let Content::Group(group) = content {
            match self.read_group_content(now, from, peer, timestamp, *group, changes) {
                Some(group) if group.inner.is_some() => Content::Group(Box::new(group)),
                Some(_) | None => return Ok(None),
            }
        } else {
            content
        };
        // The session that has decrypted the message counts, and not the current one.
        let accepted = self.peers.get(&from.account).map(|peer| peer.identity);
        let identity_changed = accepted != Some(peer.identity);
        Ok(Some(Received { from, timestamp, content, identity_changed }))
    }

    /// Decrypts a message of a session that exists. Nothing has changed, except that a failed exchange was counted.
    fn decrypt(
        &mut self,
        from: Address,
        message: &SignalMessage,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Opened, DecryptError> {
        let route = Route { from, to: self.us };
        let record = self.sessions.get(&from);
        let mut record = record.cloned().ok_or(DecryptError::NoSession)?;
        let (before, failed) = (record.our_ratchet_key(), record.failed_exchanges());
        let accepted = self.accepted_identity(from.account);
        let hidden = record.take_refused(&self.refused_identities(from.account));
        let decrypted = record.decrypt_preferring(route, message, accepted.as_ref(), rng);
        record.put_back(hidden, accepted.as_ref());
        match decrypted {
            Ok((plaintext, peer)) => {
                let accepted = accepted.as_ref();
                Ok(self.opened(from, record, (before, accepted), None, peer, plaintext))
            }
            Err(error) => {
                self.keep_failed_exchange(from, record, failed, changes);
                Err(error)
            }
        }
    }

    /// A message could not be decrypted. If that shows that an exchange has failed, it is counted.
    fn keep_failed_exchange(
        &mut self,
        from: Address,
        record: SessionRecord,
        failed: usize,
        changes: &mut Changes,
    ) {
        if record.failed_exchanges() != failed {
            self.sessions.insert(from, record);
            self.store_session(from, changes);
        }
    }

    /// The session or key that decrypts a message. Changes nothing.
    fn opened(
        &self,
        from: Address,
        mut record: SessionRecord,
        (before, accepted): (Option<PublicKey>, Option<&PublicKey>),
        used: Option<UsedPreKeys>,
        peer: SessionPeer,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Opened {
        if let Some(registration_id) = self.listed_installation(from) {
            record.prefer_installation(registration_id, accepted);
        }
        // What we have encrypted is for the accepted identity key, so steps of other sessions do not age it.
        let is_accepted = accepted.is_none_or(|key| record.their_identity() == Some(key));
        let has_stepped = record.our_ratchet_key() != before && is_accepted;
        Opened { peer, record, has_stepped, used, plaintext }
    }

    /// Refuses what an installation has encrypted that is not in the list of its account, with the accepted identity key. About other
    /// identity keys, the user decides.
    fn check_installation(
        &self,
        from: Address,
        peer: SessionPeer,
        sent: Timestamp,
    ) -> Result<(), NotOpened> {
        let is_accepted = self.accepted_identity(from.account) == Some(peer.identity);
        let id = peer.registration_id;
        if is_accepted && !self.reads_installation(from, Some(id), sent) {
            return Err(NotOpened::Unlisted(id));
        }
        Ok(())
    }

    /// The identity key that an account must have.
    pub(super) fn accepted_identity(&self, account: AccountId) -> Option<PublicKey> {
        let ours = (account == self.us.account).then(|| *self.identity.pair.public());
        ours.or_else(|| self.peers.get(&account).map(|peer| peer.identity))
    }

    /// Whether we have never exchanged a message with the sender's account.
    fn is_unknown(&self, from: Address) -> bool {
        from.account != self.us.account && !self.peers.contains_key(&from.account)
    }

    /// Decrypts a message that may start a session. Nothing has changed, except that a failed exchange was counted.
    fn decrypt_first(
        &mut self,
        from: Address,
        message: &PreKeySignalMessage,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Opened, DecryptError> {
        let route = Route { from, to: self.us };
        if self.is_refused(from.account, message.identity()) {
            return Err(DecryptError::UntrustedIdentity(*message.identity()));
        }
        let named = self.prekeys.named(message);
        let mut record = self.sessions.get(&from).cloned().unwrap_or_default();
        let (before, failed) = (record.our_ratchet_key(), record.failed_exchanges());
        // Our own devices have our identity key. Of others, a new key is read and reported.
        let trust = match self.peers.get(&from.account) {
            _ if from.account == self.us.account => Trust::Only(self.identity.pair.public()),
            Some(peer) => Trust::Prefer(&peer.identity),
            None => Trust::Any,
        };
        match record.decrypt_first(&self.identity, route, message, named, trust, rng) {
            Ok(FirstMessage { plaintext, peer, used }) => {
                let accepted = trust.accepted();
                Ok(self.opened(from, record, (before, accepted), used, peer, plaintext))
            }
            Err(error) => {
                self.keep_failed_exchange(from, record, failed, changes);
                Err(error)
            }
        }
    }

    /// Uses the session of a decrypted message from now on.
    fn start_session(
        &mut self,
        now: Timestamp,
        from: Address,
        opened: Opened,
        changes: &mut Changes,
    ) -> Result<(), DecryptError> {
        let crowded_out = self.room_for(from)?;
        if let Some(used) = opened.used {
            self.prekeys.record_use(from.account, &used, changes)?;
        }
        if let Some(device) = crowded_out {
            self.forget_device(device, changes);
        }
        self.sessions.insert(from, opened.record);
        self.store_session(from, changes);
        if opened.has_stepped {
            self.count_ratchet_step(from.account, changes);
        }
        let is_unknown = self.is_unknown(from);
        self.is_trusted(changes, from.account, opened.peer.identity);
        if is_unknown {
            self.add_stranger(now, from.account, changes);
        } else {
            self.heard(now, from.account, changes);
        }
        self.record_post_quantum(from, changes);
        Ok(())
    }
}

/// A decrypted message, and the sessions with its sender after it.
struct Opened {
    /// Who has encrypted it.
    peer: SessionPeer,
    record: SessionRecord,
    has_stepped: bool,
    used: Option<UsedPreKeys>,
    plaintext: Zeroizing<Vec<u8>>,
}

/// Why an envelope was not read.
enum NotOpened {
    /// An installation with this registration id has encrypted it, which is not in the list of its account. Nothing has changed.
    Unlisted(u32),
    Unreadable(ReadError),
}

impl<E: Into<ReadError>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self::Unreadable(error.into())
    }
}

/// The content of an envelope, once it is decrypted.
fn decode(envelope: &Envelope, plaintext: &[u8]) -> Result<Content, ReadError> {
    let plaintext = unpad(plaintext).ok_or(ReadError::Malformed)?;
    let content = match envelope.content {
        Some(_) => Content::decode(plaintext),
        None => Content::decode_body(plaintext),
    };
    content.map_err(|_| ReadError::Malformed)
}
