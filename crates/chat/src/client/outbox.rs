//! Messages that the server has not accepted yet.

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::exchange::{Request, Response, SealedMessage};
use super::store::{Changes, Peer};
use super::{Asked, Client, ClientEvent, ClientOutput, SendError};
use crate::address::{AccountId, Address, DeviceId, Route};
use crate::content::Content;
use crate::key::PublicKey;
use crate::padding::pad;
use crate::prekey::PreKeyBundle;
use crate::record::InitiateError;
use crate::session::EncryptError;
use crate::time::Timestamp;

/// One message of the outbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Outgoing {
    pub(super) to: AccountId,
    /// The padded content.
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    /// What may have been sent. It is sent again as it is until the server says what to change.
    pub(super) sealed: Option<Vec<SealedMessage>>,
    /// How often a session with the recipient has turned since. The recipient keeps few chains.
    pub(super) turns: u8,
    /// How often the server knew other devices.
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
        let outgoing = Outgoing { to, plaintext, sealed: None, turns: 0, attempts: 0 };
        self.outbox.insert(timestamp, outgoing);
        let mut changes = Changes::default();
        changes.put_last_written(timestamp);
        self.put_outgoing(&mut changes, timestamp);
        let accepted = ClientOutput::Event(ClientEvent::Accepted(timestamp, to));
        self.commit(changes, vec![accepted]);
        self.go_on(now, timestamp);
    }

    /// Does the next thing for a message: sends what is sealed, seals it, or asks for keys.
    pub(super) fn go_on(&mut self, now: Timestamp, timestamp: Timestamp) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let to = outgoing.to;
        if self.asked.values().any(|asked| *asked == Asked::Send(timestamp)) {
            return;
        }
        if let Some(messages) = outgoing.sealed.clone() {
            let request = Request::Send { to, timestamp, messages };
            let request = self.request(Asked::Send(timestamp), request);
            return self.after_commits(vec![request]);
        }
        if self.peers.get(&to).is_some_and(|peer| peer.changed.is_some()) {
            return;
        }
        let devices = self.devices(to);
        let usable =
            |device: &DeviceId| self.can_encrypt(now, Address { account: to, device: *device });
        if devices.is_empty() || !devices.iter().all(usable) {
            self.ask_for_bundles(to);
        } else {
            self.seal(now, timestamp, &devices);
        }
    }

    /// Goes on with everything for an account.
    fn go_on_with(&mut self, now: Timestamp, account: AccountId) {
        let waiting = self.outbox.iter().filter(|(_, outgoing)| outgoing.to == account);
        let waiting: Vec<_> = waiting.map(|(timestamp, _)| *timestamp).collect();
        waiting.into_iter().for_each(|timestamp| self.go_on(now, timestamp));
    }

    fn ask_for_bundles(&mut self, account: AccountId) {
        if !self.asked.values().any(|asked| *asked == Asked::Bundles(account)) {
            let request = self.request(Asked::Bundles(account), Request::Bundles(account));
            self.outputs.push_back(request);
        }
    }

    /// The devices of an account that we have ever had a session with, ours excluded.
    fn devices(&self, account: AccountId) -> Vec<DeviceId> {
        let ours = |address: &Address| *address == self.us;
        let of_account = self.sessions.keys().filter(|address| address.account == account);
        of_account.filter(|address| !ours(address)).map(|address| address.device).collect()
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
                Err(EncryptError::NoSession) => return self.ask_for_bundles(to),
            }
        }
        let Some(outgoing) = self.outbox.get_mut(&timestamp) else { return };
        (outgoing.sealed, outgoing.turns) = (Some(messages.clone()), 0);
        self.put_outgoing(&mut changes, timestamp);
        let request = Request::Send { to, timestamp, messages };
        let request = self.request(Asked::Send(timestamp), request);
        self.commit(changes, vec![request]);
    }

    pub(super) fn send_answered(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        response: Response,
    ) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let to = outgoing.to;
        match response {
            Response::Done => self.sent(timestamp),
            Response::Mismatched { missing, extra } => {
                self.seal_anew(now, timestamp, to, &extra, &missing);
            }
            Response::Stale(devices) => self.seal_anew(now, timestamp, to, &devices, &[]),
            Response::NotFound => self.give_up(timestamp, SendError::NoDevice),
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

    /// The server delivered nothing: what was sealed may be thrown away. Sessions with devices that
    /// are gone or new are not used any more; the next bundles say which devices there are.
    fn seal_anew(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        to: AccountId,
        gone: &[DeviceId],
        missing: &[DeviceId],
    ) {
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
        if !missing.is_empty() || !gone.is_empty() {
            self.ask_for_bundles(to);
        } else {
            self.go_on(now, timestamp);
        }
    }

    pub(super) fn bundles_answered(
        &mut self,
        now: Timestamp,
        account: AccountId,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        let result = match response {
            Response::Bundles(bundles) => self.begin(now, account, bundles, rng),
            Response::Done
            | Response::Mismatched { .. }
            | Response::NotFound
            | Response::Stale(_)
            | Response::Unavailable => Err(SendError::NoDevice),
        };
        match result {
            Ok(()) => self.go_on_with(now, account),
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

    /// Begins sessions with those devices that we cannot write to. All devices of an account have
    /// its identity key; one with another key is refused together with the rest.
    fn begin(
        &mut self,
        now: Timestamp,
        account: AccountId,
        bundles: Vec<PreKeyBundle>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), SendError> {
        let identity = bundles.first().ok_or(SendError::NoDevice)?.identity;
        if bundles.iter().any(|bundle| bundle.identity != identity) {
            return Err(SendError::NotGenuine);
        }
        let mut changes = Changes::default();
        if !self.is_trusted(&mut changes, account, identity) {
            self.commit(changes, Vec::new());
            return Ok(());
        }
        let current: Vec<_> = bundles.iter().map(|bundle| bundle.device).collect();
        for device in self.devices(account) {
            if !current.contains(&device) {
                let address = Address { account, device };
                self.sessions.remove(&address);
                changes.delete_session(address);
            }
        }
        for bundle in bundles {
            let address = Address { account, device: bundle.device };
            if address == self.us || self.can_encrypt(now, address) {
                continue;
            }
            let bundle = bundle.verify().map_err(|_| SendError::NotGenuine)?;
            let mut record = self.sessions.get(&address).cloned().unwrap_or_default();
            let begun = record.initiate(&self.identity, &bundle, now, rng);
            begun.map_err(|error| match error {
                InitiateError::BadKey(_) | InitiateError::Downgrade => SendError::NotGenuine,
            })?;
            changes.put_session(address, &record);
            self.sessions.insert(address, record);
        }
        self.commit(changes, Vec::new());
        if self.devices(account).is_empty() { Err(SendError::NoDevice) } else { Ok(()) }
    }

    /// Whether an account may have this identity key: the first one that we see, or the accepted
    /// one. Another one is noted, and stops sending.
    pub(super) fn is_trusted(
        &mut self,
        changes: &mut Changes,
        account: AccountId,
        identity: PublicKey,
    ) -> bool {
        let peer = self.peers.entry(account);
        let peer = peer.or_insert(Peer { identity, changed: None });
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
        let peer = Peer { identity, changed: None };
        let mut changes = Changes::default();
        changes.put_peer(account, &peer);
        self.peers.insert(account, peer);
        self.commit(changes, Vec::new());
        self.go_on_with(now, account);
    }

    /// Notes that a session with an account has turned. What was sealed several turns ago could not
    /// be read any more, and is sealed anew when it is sent again; the server takes one of the two.
    pub(super) fn turned(&mut self, account: AccountId, changes: &mut Changes) {
        for (timestamp, outgoing) in &mut self.outbox {
            if outgoing.to == account && outgoing.sealed.is_some() {
                outgoing.turns += 1;
                if outgoing.turns > MAX_TURNS {
                    (outgoing.sealed, outgoing.turns) = (None, 0);
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

/// How often a message is sealed anew because the server knows other devices.
const MAX_ATTEMPTS: u32 = 5;

/// Turns after which a sealed message is sealed anew: well below the chains that a peer keeps.
const MAX_TURNS: u8 = 2;
