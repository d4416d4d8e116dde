//! Messages that the server has not yet accepted.

use std::collections::BTreeSet;

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::exchange::{Request, Response, SealedMessage};
use super::store::{Changes, Peer};
use super::{Client, ClientEvent, ClientOutput, PendingRequest, SendError};
use crate::address::{AccountId, Address, DeviceId, Route};
use crate::content::Content;
use crate::key::PublicKey;
use crate::padding::pad;
use crate::prekey::{PreKeyBundle, VerifiedBundle};
use crate::record::InitiateError;
use crate::session::EncryptError;
use crate::time::Timestamp;

/// One message of the outbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Outgoing {
    pub(super) to: AccountId,
    /// The padded content.
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    /// Ciphertexts that may have been sent. They are sent again unchanged until the server requires
    /// a change.
    pub(super) sealed: Option<Vec<SealedMessage>>,
    /// Number of ratchet steps of sessions with the recipient since then. The recipient keeps only
    /// a few chains.
    pub(super) steps: u8,
    /// Number of times the server reported different devices.
    pub(super) attempts: u32,
}

impl Client {
    pub(super) fn send(&mut self, now: Timestamp, to: AccountId, content: &Content) {
        let timestamp = Timestamp(now.0.max(self.last_written.0.saturating_add(1)));
        self.last_written = timestamp;
        let mut content = content.clone();
        if let Content::Data(data) = &mut content {
            data.timestamp = Some(timestamp);
        }
        let plaintext = pad(&content.encode());
        let outgoing = Outgoing { to, plaintext, sealed: None, steps: 0, attempts: 0 };
        self.outbox.insert(timestamp, outgoing);
        let mut changes = Changes::default();
        changes.put_last_written(timestamp);
        self.put_outgoing(&mut changes, timestamp);
        let accepted = ClientOutput::Event(ClientEvent::Accepted(timestamp, to));
        self.commit(changes, vec![accepted]);
        self.advance(now, timestamp);
    }

    /// Continues with a message: sends its ciphertexts, encrypts it, or requests keys.
    pub(super) fn advance(&mut self, now: Timestamp, timestamp: Timestamp) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let to = outgoing.to;
        if self.pending.values().any(|pending| *pending == PendingRequest::Send(timestamp)) {
            return;
        }
        if let Some(messages) = outgoing.sealed.clone() {
            let request = Request::Send { to, timestamp, messages };
            let request = self.request(PendingRequest::Send(timestamp), request);
            return self.after_commits(vec![request]);
        }
        if self.peers.get(&to).is_some_and(|peer| peer.changed.is_some()) {
            return;
        }
        let devices = self.devices(to);
        let usable =
            |device: &DeviceId| self.can_encrypt(now, Address { account: to, device: *device });
        if devices.is_empty() || !devices.iter().all(usable) {
            self.request_bundles(to);
        } else {
            self.seal(now, timestamp, &devices);
        }
    }

    /// Continues with all messages for an account.
    fn advance_account(&mut self, now: Timestamp, account: AccountId) {
        let waiting = self.outbox.iter().filter(|(_, outgoing)| outgoing.to == account);
        let waiting: Vec<_> = waiting.map(|(timestamp, _)| *timestamp).collect();
        waiting.into_iter().for_each(|timestamp| self.advance(now, timestamp));
    }

    fn request_bundles(&mut self, account: AccountId) {
        if !self.pending.values().any(|pending| *pending == PendingRequest::Bundles(account)) {
            let request = self.request(PendingRequest::Bundles(account), Request::Bundles(account));
            self.outputs.push_back(request);
        }
    }

    /// The devices of an account with which we have ever had a session, except our own device.
    fn devices(&self, account: AccountId) -> Vec<DeviceId> {
        let ours = |address: &Address| *address == self.us;
        let of_account = self.sessions.iter().filter(|(address, _)| address.account == account);
        let others = of_account.filter(|(address, record)| !ours(address) && record.has_sessions());
        others.map(|(address, _)| address.device).collect()
    }

    fn can_encrypt(&self, now: Timestamp, address: Address) -> bool {
        let pinned = self.peers.get(&address.account).map(|peer| &peer.identity);
        self.sessions
            .get(&address)
            .is_some_and(|record| record.can_encrypt(now) && record.their_identity() == pinned)
    }

    fn seal(&mut self, now: Timestamp, timestamp: Timestamp, devices: &[DeviceId]) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let (to, plaintext) = (outgoing.to, outgoing.plaintext.clone());
        let mut changes = Changes::default();
        let mut messages = Vec::with_capacity(devices.len());
        for device in devices {
            let address = Address { account: to, device: *device };
            let route = Route { from: self.us, to: address };
            let Some(record) = self.sessions.get_mut(&address) else { continue };
            let registration_id = record.their_registration_id().unwrap_or_default();
            match record.encrypt(&self.identity, route, &plaintext, now) {
                Ok(ciphertext) => {
                    messages.push(SealedMessage { device: *device, registration_id, ciphertext });
                    changes.put_session(address, record);
                }
                Err(EncryptError::TooLong(_)) => {
                    return self.give_up(timestamp, SendError::TooLong);
                }
                Err(EncryptError::NoSession) => return self.request_bundles(to),
            }
        }
        let Some(outgoing) = self.outbox.get_mut(&timestamp) else { return };
        (outgoing.sealed, outgoing.steps) = (Some(messages.clone()), 0);
        self.put_outgoing(&mut changes, timestamp);
        let request = Request::Send { to, timestamp, messages };
        let request = self.request(PendingRequest::Send(timestamp), request);
        self.commit(changes, vec![request]);
    }

    pub(super) fn handle_send_response(&mut self, timestamp: Timestamp, response: Response) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let to = outgoing.to;
        match response {
            Response::Done => self.sent(timestamp),
            // It names no reason to encrypt again, which could deliver the message twice.
            Response::Mismatched { missing, extra } if missing.is_empty() && extra.is_empty() => {}
            Response::Mismatched { extra, .. } => {
                self.encrypt_again(timestamp, to, &extra);
            }
            Response::Stale(devices) if devices.is_empty() => {}
            Response::Stale(devices) => self.encrypt_again(timestamp, to, &devices),
            Response::NotFound => self.give_up(timestamp, SendError::NoDevice),
            Response::Refused => self.give_up(timestamp, SendError::Refused),
            Response::Bundles(_) | Response::Unavailable => {}
        }
    }

    fn sent(&mut self, timestamp: Timestamp) {
        self.outbox.remove(&timestamp);
        let mut changes = Changes::default();
        changes.delete_outgoing(timestamp);
        self.commit(changes, vec![ClientOutput::Event(ClientEvent::Sent(timestamp))]);
    }

    pub(super) fn give_up(&mut self, timestamp: Timestamp, error: SendError) {
        self.outbox.remove(&timestamp);
        let mut changes = Changes::default();
        changes.delete_outgoing(timestamp);
        let event = ClientEvent::NotSent(timestamp, error);
        self.commit(changes, vec![ClientOutput::Event(event)]);
    }

    /// The server delivered nothing, so the ciphertexts may be discarded. Sessions with removed or
    /// replaced devices are no longer used; the next bundles list the current devices.
    fn encrypt_again(&mut self, timestamp: Timestamp, to: AccountId, gone: &[DeviceId]) {
        let Some(outgoing) = self.outbox.get_mut(&timestamp) else { return };
        outgoing.sealed = None;
        outgoing.attempts += 1;
        if outgoing.attempts > MAX_ATTEMPTS {
            return self.give_up(timestamp, SendError::DevicesKeepChanging);
        }
        let mut changes = Changes::default();
        for device in gone {
            let address = Address { account: to, device: *device };
            if let Some(record) = self.sessions.get_mut(&address) {
                record.archive();
                changes.put_session(address, record);
            }
        }
        self.put_outgoing(&mut changes, timestamp);
        self.commit(changes, Vec::new());
        self.request_bundles(to);
    }

    pub(super) fn handle_bundles(
        &mut self,
        now: Timestamp,
        account: AccountId,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        let result = match response {
            Response::Bundles(bundles) => self.begin(now, account, bundles, rng),
            Response::Refused => Err(SendError::Refused),
            Response::Done
            | Response::Mismatched { .. }
            | Response::NotFound
            | Response::Stale(_)
            | Response::Unavailable => Err(SendError::NoDevice),
        };
        match result {
            Ok(()) => self.advance_account(now, account),
            Err(error) => {
                let waiting = self
                    .outbox
                    .iter()
                    .filter(|(_, outgoing)| outgoing.to == account && outgoing.sealed.is_none());
                let waiting: Vec<_> = waiting.map(|(timestamp, _)| *timestamp).collect();
                waiting.into_iter().for_each(|timestamp| self.give_up(timestamp, error));
            }
        }
    }

    /// Starts sessions with those devices to which we cannot send yet. What has changed is committed also after an error.
    fn begin(
        &mut self,
        now: Timestamp,
        account: AccountId,
        bundles: Vec<PreKeyBundle>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), SendError> {
        let bundles = self.verify_bundles(account, bundles)?;
        let identity = bundles.first().ok_or(SendError::NoDevice)?.bundle().identity;
        if self.is_refused(account, &identity) {
            return Err(SendError::NotAuthentic);
        }
        let mut changes = Changes::default();
        if !self.is_trusted(&mut changes, account, identity) {
            self.commit(changes, Vec::new());
            return Ok(());
        }
        let started = self.start_sessions(now, account, &bundles, &mut changes, rng);
        self.commit(changes, Vec::new());
        started?;
        if self.devices(account).is_empty() { Err(SendError::NoDevice) } else { Ok(()) }
    }

    /// Verifies the bundles of all devices of an account, before anything depends on one of them. All devices share the
    /// account's identity key, and each has its own signed prekey; otherwise the server invented one.
    fn verify_bundles(
        &self,
        account: AccountId,
        bundles: Vec<PreKeyBundle>,
    ) -> Result<Vec<VerifiedBundle>, SendError> {
        let identity = bundles.first().ok_or(SendError::NoDevice)?.identity;
        let claims_ours = account != self.us.account && identity == *self.identity.pair.public();
        let signed: BTreeSet<_> = bundles.iter().map(|bundle| bundle.signed.1).collect();
        let devices: BTreeSet<_> = bundles.iter().map(|bundle| bundle.device).collect();
        let is_unique = signed.len() == bundles.len() && devices.len() == bundles.len();
        let is_shared = bundles.iter().all(|bundle| bundle.identity == identity);
        if claims_ours || !is_unique || !is_shared || bundles.len() > MAX_DEVICES {
            return Err(SendError::NotAuthentic);
        }
        let verified = bundles.into_iter().map(PreKeyBundle::verify).collect::<Result<_, _>>();
        verified.map_err(|_| SendError::NotAuthentic)
    }

    /// Starts all missing sessions, or none.
    fn start_sessions(
        &mut self,
        now: Timestamp,
        account: AccountId,
        bundles: &[VerifiedBundle],
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), SendError> {
        let lacks_kem = |bundle: &VerifiedBundle| bundle.bundle().kem.is_none();
        let had_kem = self.peers.get(&account).is_some_and(|peer| peer.had_post_quantum);
        let has_kem = had_kem || !bundles.iter().all(lacks_kem);
        if has_kem && bundles.iter().any(lacks_kem) {
            return Err(SendError::NotAuthentic);
        }
        let mut started = Vec::new();
        for bundle in bundles {
            let address = Address { account, device: bundle.bundle().device };
            if address == self.us || self.can_encrypt(now, address) {
                continue;
            }
            let mut record = self.sessions.get(&address).cloned().unwrap_or_default();
            let initiated = record.initiate(&self.identity, bundle, now, rng);
            initiated.map_err(|error| match error {
                InitiateError::BadKey(_) | InitiateError::Downgrade => SendError::NotAuthentic,
            })?;
            started.push((address, record));
        }
        let current: Vec<_> = bundles.iter().map(|bundle| bundle.bundle().device).collect();
        for device in self.devices(account) {
            if !current.contains(&device) {
                self.delete_sessions(Address { account, device }, changes);
            }
        }
        for (address, record) in started {
            changes.put_session(address, &record);
            self.sessions.insert(address, record);
            self.note_post_quantum(address, changes);
        }
        Ok(())
    }

    /// Remembers that an account has post-quantum prekeys, if a session with its accepted identity key shows that.
    pub(super) fn note_post_quantum(&mut self, address: Address, changes: &mut Changes) {
        if let (Some(peer), Some(record)) =
            (self.peers.get_mut(&address.account), self.sessions.get(&address))
            && !peer.had_post_quantum
            && record.is_post_quantum(&peer.identity)
        {
            peer.had_post_quantum = true;
            changes.put_peer(address.account, peer);
        }
    }

    fn delete_sessions(&mut self, address: Address, changes: &mut Changes) {
        if let Some(record) = self.sessions.get_mut(&address) {
            record.delete_sessions();
            changes.put_session(address, record);
        }
    }

    /// Whether an account may have this identity key: the first one that we saw, or the accepted
    /// one. A different key is recorded and blocks sending. All our own devices have our key.
    pub(super) fn is_trusted(
        &mut self,
        changes: &mut Changes,
        account: AccountId,
        identity: PublicKey,
    ) -> bool {
        let first =
            if account == self.us.account { *self.identity.pair.public() } else { identity };
        let peer = self.peers.entry(account);
        let peer = peer.or_insert_with(|| Peer::new(first));
        let trusted = peer.identity == identity;
        let is_news = !trusted && peer.changed != Some(identity);
        if is_news {
            peer.changed = Some(identity);
        }
        changes.put_peer(account, peer);
        if is_news {
            self.event(ClientEvent::IdentityChanged(account, identity));
        }
        trusted
    }

    pub(super) fn accept_identity(
        &mut self,
        now: Timestamp,
        account: AccountId,
        identity: PublicKey,
    ) {
        if account == self.us.account {
            return;
        }
        let mut changes = Changes::default();
        let known = self.peers.get(&account).filter(|peer| peer.identity == identity);
        let is_new = known.is_none();
        let mut peer = Peer::new(identity);
        peer.had_post_quantum = known.is_some_and(|peer| peer.had_post_quantum);
        if let Some(known) = self.peers.get(&account) {
            peer.refused = known.refused.iter().filter(|key| **key != identity).copied().collect();
        }
        for (address, record) in &mut self.sessions {
            if is_new && address.account == account {
                record.accept_identity(&identity);
                peer.had_post_quantum |= record.is_post_quantum(&identity);
                changes.put_session(*address, record);
            }
        }
        changes.put_peer(account, &peer);
        self.peers.insert(account, peer);
        self.commit(changes, Vec::new());
        self.advance_account(now, account);
    }

    /// Keeps the accepted identity key of an account. Messages with the refused key are rejected from now on, and
    /// sending fails while the server names it.
    pub(super) fn refuse_identity(
        &mut self,
        now: Timestamp,
        account: AccountId,
        identity: PublicKey,
    ) {
        let Some(peer) = self.peers.get_mut(&account) else { return };
        if peer.changed != Some(identity) {
            return;
        }
        peer.changed = None;
        peer.refused.truncate(MAX_REFUSED - 1);
        peer.refused.insert(0, identity);
        let mut changes = Changes::default();
        changes.put_peer(account, peer);
        for (address, record) in &mut self.sessions {
            if address.account == account {
                record.refuse_identity(&identity);
                changes.put_session(*address, record);
            }
        }
        self.commit(changes, Vec::new());
        self.advance_account(now, account);
    }

    /// Whether the user has refused this identity key of an account.
    pub(super) fn is_refused(&self, account: AccountId, identity: &PublicKey) -> bool {
        self.peers.get(&account).is_some_and(|peer| peer.refused.contains(identity))
    }

    /// Records a ratchet step of a session with an account. A ciphertext that is several steps old
    /// could not be decrypted any more, so it is encrypted again before it is sent again; the
    /// server accepts only one of the two.
    pub(super) fn count_ratchet_step(&mut self, account: AccountId, changes: &mut Changes) {
        for (timestamp, outgoing) in &mut self.outbox {
            if outgoing.to == account && outgoing.sealed.is_some() {
                outgoing.steps += 1;
                if outgoing.steps > MAX_STEPS {
                    (outgoing.sealed, outgoing.steps) = (None, 0);
                }
                changes.put_outgoing(*timestamp, outgoing);
            }
        }
    }

    fn put_outgoing(&self, changes: &mut Changes, timestamp: Timestamp) {
        if let Some(outgoing) = self.outbox.get(&timestamp) {
            changes.put_outgoing(timestamp, outgoing);
        }
    }
}

/// How many times a message is encrypted again because the server reported different devices.
const MAX_ATTEMPTS: u32 = 5;

/// Maximum number of devices of an account. Each one costs an encryption and a row for every message.
const MAX_DEVICES: usize = 16;

/// Maximum number of refused identity keys that are remembered for each account; the oldest is dropped first.
const MAX_REFUSED: usize = 8;

/// Ratchet steps after which a message is encrypted again: well below the number of chains that a
/// peer keeps.
const MAX_STEPS: u8 = 2;
