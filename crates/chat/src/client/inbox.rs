//! Envelopes from the server.

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::store::Changes;
use super::{Client, ClientEvent, ClientOutput, Delivery, ReadError, Received, Unreadable};
use crate::address::{Address, Route};
use crate::content::Content;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::message::{PreKeySignalMessage, SignalMessage};
use crate::padding::unpad;
use crate::record::{SessionRecord, Trust};
use crate::session::DecryptError;

impl Client {
    /// Reads an envelope. It is always acknowledged, because the server would otherwise deliver it
    /// for ever; but only once its content, or why it could not be read, is durable.
    pub(super) fn read(
        &mut self,
        delivery: Delivery,
        envelope: &Envelope,
        rng: &mut impl CryptoRngCore,
    ) {
        let from = envelope.source_account.zip(envelope.source_device);
        let from = from.map(|(account, device)| Address { account, device });
        let mut changes = Changes::default();
        let mut then = vec![ClientOutput::Acknowledge(delivery)];
        match self.open(envelope, from, &mut changes, rng) {
            Ok(Some(received)) => {
                changes.received.push(received.clone());
                then.push(ClientOutput::Event(ClientEvent::Received(received)));
            }
            // A duplicate: the acknowledgement was lost.
            Ok(None) | Err(ReadError::Decrypt(DecryptError::Duplicate)) => {}
            Err(why) => {
                let timestamp = envelope.timestamp;
                changes.unreadable.push(Unreadable { from, timestamp, why });
                then.push(ClientOutput::Event(ClientEvent::NotRead(from, why)));
            }
        }
        // Even without changes: an earlier copy may wait for its commit.
        self.commit(changes, then);
    }

    fn open(
        &mut self,
        envelope: &Envelope,
        from: Option<Address>,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Received>, ReadError> {
        let is_first = match envelope.kind {
            EnvelopeKind::Ciphertext => false,
            EnvelopeKind::PreKeyBundle => true,
            EnvelopeKind::Receipt => return Ok(None),
            EnvelopeKind::KeyExchange
            | EnvelopeKind::Plaintext
            | EnvelopeKind::PlaintextContent
            | EnvelopeKind::SenderKey
            | EnvelopeKind::UnidentifiedSender
            | EnvelopeKind::Unknown(_) => return Err(ReadError::Unsupported),
        };
        let from = from.ok_or(ReadError::Malformed)?;
        let bytes = envelope.content.as_ref().or(envelope.body.as_ref());
        let bytes = bytes.ok_or(ReadError::Malformed)?;
        let plaintext = if is_first {
            self.decrypt_first(from, bytes, changes, rng)?
        } else {
            self.decrypt(from, bytes, changes, rng)?
        };
        // From here on the session has changed, even if the plaintext is invalid.
        let plaintext = unpad(&plaintext).ok_or(ReadError::Malformed)?;
        let content = match envelope.content {
            Some(_) => Content::decode(plaintext),
            None => Content::decode_body(plaintext),
        };
        let content = content.map_err(|_| ReadError::Malformed)?;
        if content.timestamp().is_some_and(|inner| inner != envelope.timestamp) {
            return Err(ReadError::TimestampMismatch);
        }
        let peer = self.peers.get(&from.account);
        let identity = self.sessions.get(&from).and_then(SessionRecord::their_identity);
        let identity_changed = peer.map(|peer| &peer.identity) != identity;
        Ok(Some(Received { from, timestamp: envelope.timestamp, content, identity_changed }))
    }

    fn decrypt(
        &mut self,
        from: Address,
        bytes: &[u8],
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let message = SignalMessage::decode(bytes)?;
        let route = Route { from, to: self.us };
        let record = self.sessions.get_mut(&from).ok_or(DecryptError::NoSession)?;
        let before = record.our_ratchet_key();
        let plaintext = record.decrypt(route, &message, rng)?;
        let has_stepped = record.our_ratchet_key() != before;
        self.store_session(from, changes);
        if has_stepped {
            self.count_ratchet_step(from.account, changes);
        }
        Ok(plaintext)
    }

    fn decrypt_first(
        &mut self,
        from: Address,
        bytes: &[u8],
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let message = PreKeySignalMessage::decode(bytes)?;
        let route = Route { from, to: self.us };
        if self.is_refused(from.account, message.identity()) {
            return Err(DecryptError::UntrustedIdentity(*message.identity()));
        }
        let named = self.prekeys.named(&message);
        let mut record = self.sessions.get(&from).cloned().unwrap_or_default();
        let before = record.our_ratchet_key();
        // Our own devices have our identity key. Of others, a new key is read and reported.
        let trust = match self.peers.get(&from.account) {
            _ if from.account == self.us.account => Trust::Only(self.identity.pair.public()),
            Some(peer) => Trust::Prefer(&peer.identity),
            None => Trust::Any,
        };
        let first = record.decrypt_first(&self.identity, route, &message, named, trust, rng)?;
        if let Some(used) = first.used {
            self.prekeys.record_use(&used, changes)?;
        }
        let has_stepped = record.our_ratchet_key() != before;
        self.sessions.insert(from, record);
        self.store_session(from, changes);
        if has_stepped {
            self.count_ratchet_step(from.account, changes);
        }
        self.is_trusted(changes, from.account, *message.identity());
        self.note_post_quantum(from, changes);
        Ok(first.plaintext)
    }
}
