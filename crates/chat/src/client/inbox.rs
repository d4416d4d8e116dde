//! Envelopes from the server.

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::device_lists::has_sender;
use super::groups::GroupEnvelope;
use super::repair::Outcome;
use super::sealed::Incoming;
use super::store::Changes;
use super::{Client, ClientEvent, ClientOutput, Delivery, ReadError, Received, Unreadable};
use crate::address::{Address, Route};
use crate::content::{Content, SyncMessage};
use crate::envelope::{Envelope, EnvelopeKind};
use crate::key::PublicKey;
use crate::message::{PreKeySignalMessage, SignalMessage};
use crate::padding::unpad;
use crate::record::{FirstMessage, SessionRecord, Trust, UsedPreKeys};
use crate::retry::DecryptionErrorMessage;
use crate::sealed_sender::UnsealedMessage;
use crate::session::DecryptError;
use crate::time::Timestamp;

impl Client {
    /// Reads an envelope. It is always acknowledged, because the server would otherwise deliver it
    /// for ever; but only once its content, or why it could not be read, is durable. What comes from a device that we do not
    /// know waits for the newest list of its account.
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
            && self.is_unlisted(incoming)
        {
            return self.hold(now, delivery, envelope, incoming);
        }
        let named = envelope.source_account.zip(envelope.source_device);
        let named = named.map(|(account, device)| Address { account, device });
        let from = incoming.as_ref().ok().map(|incoming| incoming.from).or(named);
        let mut changes = Changes::default();
        let mut then = vec![ClientOutput::Acknowledge(delivery)];
        let opened = match &incoming {
            // Receipts of the server have no content.
            _ if envelope.kind == EnvelopeKind::Receipt => Ok(None),
            Ok(incoming) => self.open(now, envelope, incoming, &mut changes, rng),
            Err(why) => Err(*why),
        };
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
    ) -> Result<Option<Received>, ReadError> {
        let from = incoming.from;
        let content = match &incoming.message {
            UnsealedMessage::First(first) => {
                let opened = self.decrypt_first(from, first, changes, rng)?;
                let content = decode(envelope, &opened.plaintext);
                let is_shown = |content: &Content| {
                    content.is_visible() || self.is_about_our_group(from.account, content)
                };
                if self.is_unknown(from) && !content.as_ref().is_ok_and(is_shown) {
                    // Nothing is stored for senders who show nothing: anybody can invent them. The prekey stays, so a later
                    // message of the same session can still be read.
                    return content.map(|_| None);
                }
                self.start_session(now, from, opened, changes)?;
                content?
            }
            UnsealedMessage::Signal(message) => {
                let plaintext = self.decrypt(from, message, changes, rng)?;
                self.heard(now, from.account, changes);
                // From here on the session has changed, even if the plaintext is invalid.
                decode(envelope, &plaintext)?
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
                return self.read_group_message(message, changes);
            }
        };
        if content.timestamp().is_some_and(|inner| inner != envelope.timestamp) {
            return Err(ReadError::TimestampMismatch);
        }
        if let Content::Sync(sync) = &content
            && let Some(to) = self.sent_elsewhere(from.account, sync)?
        {
            // The user knows whom they write to.
            self.not_a_stranger(to, changes);
        }
        if let Content::Sync(sync) = &content
            && let Ok(SyncMessage::Identities(decisions)) = SyncMessage::decode(sync)
        {
            // It is stored before the envelope is acknowledged.
            self.learn_identities(now, &decisions);
        }
        let identity = self.sessions.get(&from).and_then(SessionRecord::their_identity).copied();
        let content = if let Content::Group(group) = content {
            let (group, timestamp) = (*group, envelope.timestamp);
            match self.read_group_content(from, identity, timestamp, group, changes) {
                Some(group) if group.inner.is_some() => Content::Group(Box::new(group)),
                Some(_) | None => return Ok(None),
            }
        } else {
            content
        };
        let peer = self.peers.get(&from.account);
        let identity_changed = peer.map(|peer| peer.identity) != identity;
        Ok(Some(Received { from, timestamp: envelope.timestamp, content, identity_changed }))
    }

    fn decrypt(
        &mut self,
        from: Address,
        message: &SignalMessage,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let route = Route { from, to: self.us };
        let listed = self.listed_installation(from);
        let record = self.sessions.get_mut(&from).ok_or(DecryptError::NoSession)?;
        let before = record.our_ratchet_key();
        let failed = record.failed_exchanges();
        let accepted = self.peers.get(&from.account).map(|peer| &peer.identity);
        let plaintext = match record.decrypt_preferring(route, message, accepted, rng) {
            Ok(plaintext) => plaintext,
            Err(error) => {
                if record.failed_exchanges() != failed {
                    self.store_session(from, changes);
                }
                return Err(error);
            }
        };
        if let Some(registration_id) = listed {
            record.prefer_installation(registration_id, accepted);
        }
        // What we have encrypted is for the accepted identity key, so steps of other sessions do not age it.
        let has_stepped = record.our_ratchet_key() != before && record.their_identity() == accepted;
        self.store_session(from, changes);
        if has_stepped {
            self.count_ratchet_step(from.account, changes);
        }
        Ok(plaintext)
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
    ) -> Result<OpenedFirst, DecryptError> {
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
        let first = match record.decrypt_first(&self.identity, route, message, named, trust, rng) {
            Ok(first) => first,
            Err(error) => {
                if record.failed_exchanges() != failed {
                    self.sessions.insert(from, record);
                    self.store_session(from, changes);
                }
                return Err(error);
            }
        };
        if let Some(registration_id) = self.listed_installation(from) {
            record.prefer_installation(registration_id, trust.accepted());
        }
        let is_accepted = trust.accepted().is_none_or(|key| record.their_identity() == Some(key));
        let has_stepped = record.our_ratchet_key() != before && is_accepted;
        let FirstMessage { plaintext, used } = first;
        Ok(OpenedFirst { identity: *message.identity(), record, has_stepped, used, plaintext })
    }

    /// Uses the session of a decrypted message from now on.
    fn start_session(
        &mut self,
        now: Timestamp,
        from: Address,
        opened: OpenedFirst,
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
        self.is_trusted(changes, from.account, opened.identity);
        if is_unknown {
            self.add_stranger(now, from.account, changes);
        } else {
            self.heard(now, from.account, changes);
        }
        self.record_post_quantum(from, changes);
        Ok(())
    }
}

/// A decrypted message that may start a session.
struct OpenedFirst {
    identity: PublicKey,
    record: SessionRecord,
    has_stepped: bool,
    used: Option<UsedPreKeys>,
    plaintext: Zeroizing<Vec<u8>>,
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
