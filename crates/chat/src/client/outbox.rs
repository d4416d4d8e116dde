//! Messages that the server has not yet accepted.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::exchange::{DeviceCiphertext, Request, Response};
use super::groups::Permission;
use super::sent_log::Logged;
use super::store::{Changes, OutboxChange};
use super::written::Written;
use super::{Client, ClientEvent, ClientOutput, CopyFailure, Failed, Purpose, SendFailure};
use crate::address::{AccountId, Address, DeviceId, Route};
use crate::content::Content;
use crate::padding::{pad, unpad};
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
    pub(super) ciphertexts: Option<Arc<[DeviceCiphertext]>>,
    /// The devices for which it was encrypted. Some may have got it, although the ciphertexts were discarded since.
    pub(super) encrypted_for: BTreeSet<DeviceId>,
    /// Number of ratchet steps of sessions with the recipient since then. The recipient keeps only
    /// a few chains.
    pub(super) steps: u8,
    /// Number of times the server reported different devices.
    pub(super) attempts: u32,
    pub(super) lifetime: Lifetime,
}

/// How long a message waits in the outbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lifetime {
    /// Until the server has it. It survives the end of the program.
    Durable,
    /// Until the next attempt, and only for devices that are connected: typing.
    Online,
    /// Until the program ends: receipts.
    Volatile,
}

impl Outgoing {
    /// A message that is not encrypted yet.
    pub(super) const fn new(
        to: AccountId,
        plaintext: Zeroizing<Vec<u8>>,
        lifetime: Lifetime,
    ) -> Self {
        let encrypted_for = BTreeSet::new();
        Self { to, plaintext, ciphertexts: None, encrypted_for, steps: 0, attempts: 0, lifetime }
    }

    /// Bytes of its content and its ciphertexts.
    pub(super) fn len(&self) -> usize {
        let ciphertexts = self.ciphertexts.iter().flat_map(|ciphertexts| ciphertexts.iter());
        self.plaintext.len()
            + ciphertexts.map(|message| message.ciphertext.bytes.len()).sum::<usize>()
    }
}

impl Outgoing {
    /// Whether a person has sent it on purpose.
    fn wants_answers(&self) -> bool {
        let content = unpad(&self.plaintext).map(Content::decode_stored);
        self.lifetime == Lifetime::Durable
            && matches!(content, Some(Ok(content)) if content.is_on_purpose())
    }
}

impl Client {
    /// The recipients of the messages in the outbox, and the bytes of each message, ciphertexts included. Without those for our
    /// other devices, which have a limit of their own.
    pub fn outbox_bytes(&self) -> impl Iterator<Item = (AccountId, usize)> {
        let messages = self.outbox.values().filter(|outgoing| !self.is_sync(outgoing));
        messages.map(|outgoing| (outgoing.to, outgoing.len()))
    }

    pub(super) fn send(&mut self, now: Timestamp, to: AccountId, content: &Content) {
        let mut changes = Changes::default();
        let timestamp = self.put_new(now, to, content, Lifetime::Durable, &mut changes);
        self.not_a_stranger(to, &mut changes);
        let is_sync = to == self.us.account && matches!(content, Content::Sync(_));
        let mut added = Box::new(content.clone());
        added.set_timestamp(timestamp);
        self.forget_deleted(Written::from_content(timestamp, content.clone()), &mut changes);
        changes.outbox.push(OutboxChange::Added { timestamp, to, content: added });
        let accepted = ClientOutput::Event(ClientEvent::Accepted(timestamp, to));
        let then = if is_sync { self.limit_syncs(&mut changes) } else { vec![accepted] };
        self.commit(changes, then);
        self.advance(now, timestamp);
    }

    /// Sends something that is not worth a place in the store. There are no events about it.
    pub(super) fn send_volatile(
        &mut self,
        now: Timestamp,
        to: AccountId,
        content: &Content,
        is_online: bool,
    ) {
        let lifetime = if is_online { Lifetime::Online } else { Lifetime::Volatile };
        let mut changes = Changes::default();
        let timestamp = self.put_new(now, to, content, lifetime, &mut changes);
        self.commit(changes, Vec::new());
        self.advance(now, timestamp);
    }

    /// Number of messages in the outbox for an account that do not survive the end of the program.
    pub fn volatile_messages(&self, account: AccountId) -> usize {
        let waiting = [self.outbox.encrypted_for(account), self.outbox.unencrypted_for(account)];
        let waiting = waiting.iter().flatten().filter_map(|timestamp| self.outbox.get(timestamp));
        waiting.filter(|outgoing| outgoing.lifetime != Lifetime::Durable).count()
    }

    /// Forgets what was only for devices that were connected.
    pub(super) fn drop_online(&mut self) {
        let online = self.outbox.iter().filter(|(_, it)| it.lifetime == Lifetime::Online);
        let online: Vec<_> = online.map(|(timestamp, _)| *timestamp).collect();
        for timestamp in online {
            self.outbox.remove(&timestamp);
        }
    }

    /// Removes a message, and drops requests for it that the caller has not taken yet.
    pub(super) fn cancel(&mut self, timestamp: Timestamp) {
        let (mut changes, is_encrypted) = (Changes::default(), self.is_encrypted(timestamp));
        if !self.drop_outgoing(timestamp, &mut changes) {
            return self.cancel_group_message(timestamp);
        }
        changes.outbox.push(OutboxChange::Cancelled { timestamp, is_encrypted });
        self.commit(changes, vec![ClientOutput::Event(ClientEvent::Cancelled(timestamp))]);
    }

    /// Removes a message, and drops requests for it that the caller has not taken yet. False if there is no such message.
    pub(super) fn drop_outgoing(&mut self, timestamp: Timestamp, changes: &mut Changes) -> bool {
        if self.outbox.remove(&timestamp).is_none() {
            return false;
        }
        self.pending.forget(Purpose::Send(timestamp));
        self.drop_requests(timestamp);
        changes.delete_outgoing(timestamp);
        true
    }

    /// Drops requests for a message that the caller has not taken yet.
    pub(super) fn drop_requests(&mut self, message: Timestamp) {
        let is_other = |output: &ClientOutput| !sends(output, message);
        self.outputs.retain(is_other);
        self.held.iter_mut().for_each(|(_, held)| held.retain(is_other));
    }

    /// Continues with a message: sends its ciphertexts, encrypts it, or requests keys.
    pub(super) fn advance(&mut self, now: Timestamp, timestamp: Timestamp) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let to = outgoing.to;
        if self.pending.has(Purpose::Send(timestamp)) || !self.is_listed() {
            return;
        }
        let (is_online, wants_answers) =
            (outgoing.lifetime == Lifetime::Online, outgoing.wants_answers());
        if let Some(messages) = outgoing.ciphertexts.clone() {
            let left_out = self.left_out(to);
            let request =
                Request::Send { to, timestamp, messages, left_out, is_online, wants_answers };
            let request = self.request(Purpose::Send(timestamp), request);
            return self.after_commits(vec![request]);
        }
        if self.peers.get(&to).is_some_and(|peer| peer.changed.is_some()) {
            return;
        }
        match self.permission(outgoing) {
            Permission::Now => {}
            Permission::Later => return,
            Permission::Never => return self.drop_keys_of_group(timestamp),
        }
        if self.waits_for_own_list(outgoing) {
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

    /// Continues with the messages for an account that are not encrypted yet. The others wait for a response, or for the next
    /// connection.
    pub(super) fn advance_account(&mut self, now: Timestamp, account: AccountId) {
        let waiting = self.outbox.unencrypted_for(account);
        waiting.into_iter().for_each(|timestamp| self.advance(now, timestamp));
    }

    pub(super) fn request_bundles(&mut self, account: AccountId) {
        if !self.pending.has(Purpose::Bundles(account)) {
            let request = self.request(Purpose::Bundles(account), Request::Bundles(account));
            self.outputs.push_back(request);
        }
    }

    fn seal(&mut self, now: Timestamp, timestamp: Timestamp, devices: &[DeviceId]) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let (to, plaintext) = (outgoing.to, outgoing.plaintext.clone());
        let (is_online, wants_answers) =
            (outgoing.lifetime == Lifetime::Online, outgoing.wants_answers());
        let mut changes = Changes::default();
        let mut messages = Vec::with_capacity(devices.len());
        for device in devices {
            let address = Address { account: to, device: *device };
            let route = Route { from: self.us, to: address };
            let Some(record) = self.sessions.get_mut(&address) else { continue };
            let registration_id = record.their_registration_id().unwrap_or_default();
            match record.encrypt(&self.identity, route, &plaintext, now) {
                Ok(ciphertext) => {
                    messages.push(DeviceCiphertext {
                        device: *device,
                        registration_id,
                        ciphertext,
                    });
                    changes.put_session(address, record, &mut self.archived_rows);
                }
                Err(EncryptError::TooLong(_)) => {
                    return self.give_up(timestamp, SendFailure::TooLong);
                }
                Err(EncryptError::NoSession) => return self.request_bundles(to),
            }
        }
        let messages: Arc<[DeviceCiphertext]> = messages.into();
        self.outbox.set_ciphertexts(timestamp, Some(Arc::clone(&messages)));
        self.put_outgoing(&mut changes, timestamp);
        let left_out = self.left_out(to);
        let request = Request::Send { to, timestamp, messages, left_out, is_online, wants_answers };
        let request = self.request(Purpose::Send(timestamp), request);
        self.commit(changes, vec![request]);
    }

    pub(super) fn handle_send_response(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        response: Response,
    ) {
        let Some(outgoing) = self.outbox.get(&timestamp) else { return };
        let to = outgoing.to;
        self.record_room(to);
        match response {
            Response::Done => self.sent(now, timestamp, false),
            Response::Sent { needs_sync } => {
                self.record_other_devices(needs_sync);
                self.sent(now, timestamp, needs_sync);
            }
            // It names no reason to encrypt again, which could deliver the message twice.
            Response::Mismatched { missing, extra } if missing.is_empty() && extra.is_empty() => {}
            Response::Mismatched { missing, extra } => {
                self.encrypt_again(timestamp, to, &missing, &extra);
            }
            Response::Stale(devices) if devices.is_empty() => {}
            Response::Stale(devices) => self.encrypt_again(timestamp, to, &[], &devices),
            Response::IntraApp => self.give_up(timestamp, SendFailure::IntraApp),
            Response::NotFound => self.give_up(timestamp, SendFailure::NoDevice),
            Response::Refused => self.give_up(timestamp, SendFailure::Refused),
            Response::Bundles(..)
            | Response::Certificate(_)
            | Response::DeviceList(_)
            | Response::DeviceListConflict
            | Response::GroupConflict { .. }
            | Response::GroupEntries { .. }
            | Response::GroupMismatched(_)
            | Response::GroupSent { .. }
            | Response::NoRoom
            | Response::Unavailable => {}
        }
    }

    /// The server has a message. If our other devices must learn that, a transcript takes its place in the outbox, so no crash
    /// can prevent it.
    fn sent(&mut self, now: Timestamp, timestamp: Timestamp, needs_sync: bool) {
        let Some(outgoing) = self.outbox.remove(&timestamp) else { return };
        if outgoing.lifetime != Lifetime::Durable {
            return;
        }
        let mut changes = Changes::default();
        changes.delete_outgoing(timestamp);
        self.groups.controls.remove(&timestamp);
        self.record_distribution(timestamp, &outgoing, &mut changes);
        let identity = self.peers.get(&outgoing.to).map(|peer| peer.identity);
        let logged = identity.and_then(|identity| Logged::new(now, identity, &outgoing));
        self.forget_deleted(Written::read(timestamp, &outgoing.plaintext), &mut changes);
        self.log_sent(now, (outgoing.to, timestamp), logged, &mut changes);
        let event = ClientOutput::Event(ClientEvent::Sent(timestamp));
        let is_sync = self.is_background(&outgoing);
        changes.outbox.extend((!is_sync).then_some(OutboxChange::Sent(timestamp)));
        let transcript = self.transcript(timestamp, &outgoing).filter(|_| needs_sync);
        let transcript = transcript.map(|content| self.put_sync(now, &content, &mut changes));
        let mut events = if is_sync { Vec::new() } else { vec![event] };
        events.extend(self.limit_syncs(&mut changes));
        self.commit(changes, events);
        if let Some(transcript) = transcript {
            self.advance(now, transcript);
        }
    }

    /// Puts a message for our other devices into the outbox. Returns its timestamp.
    pub(super) fn put_sync(
        &mut self,
        now: Timestamp,
        content: &Content,
        changes: &mut Changes,
    ) -> Timestamp {
        let own = self.us.account;
        let timestamp = self.put_new(now, own, content, Lifetime::Durable, changes);
        self.trust_own_devices_again(changes);
        timestamp
    }

    /// Puts a message into the outbox. Returns its timestamp.
    pub(super) fn put_new(
        &mut self,
        now: Timestamp,
        to: AccountId,
        content: &Content,
        lifetime: Lifetime,
        changes: &mut Changes,
    ) -> Timestamp {
        let timestamp = self.next_timestamp(now);
        let mut content = content.clone();
        content.set_timestamp(timestamp);
        let plaintext = pad(&content.encode());
        let outgoing = Outgoing::new(to, plaintext, lifetime);
        self.outbox.insert(timestamp, outgoing);
        changes.put_last_written(timestamp);
        self.put_outgoing(changes, timestamp);
        timestamp
    }

    pub(super) fn next_timestamp(&mut self, now: Timestamp) -> Timestamp {
        let timestamp = Timestamp(now.0.max(self.last_written.0.saturating_add(1)));
        self.last_written = timestamp;
        timestamp
    }

    pub(super) fn give_up(&mut self, timestamp: Timestamp, error: SendFailure) {
        let Some(outgoing) = self.outbox.remove(&timestamp) else { return };
        if outgoing.lifetime != Lifetime::Durable {
            return;
        }
        let mut changes = Changes::default();
        changes.delete_outgoing(timestamp);
        self.groups.controls.remove(&timestamp);
        self.record_failed_distribution(timestamp);
        let is_own = outgoing.to == self.us.account;
        if is_own && error == SendFailure::NoDevice {
            self.record_other_devices(false);
        }
        if !is_own && self.is_background(&outgoing) {
            // The user has not written it.
            return self.commit(changes, Vec::new());
        }
        if self.is_background(&outgoing) {
            // The user has not written it.
            let event = match error {
                // There is no other device any more.
                SendFailure::NoDevice => None,
                SendFailure::NotAuthentic => Some(ClientEvent::ForeignDevice),
                SendFailure::DeviceList
                | SendFailure::DevicesKeepChanging
                | SendFailure::IntraApp
                | SendFailure::NotMember
                | SendFailure::NoPostQuantum
                | SendFailure::NoRoom
                | SendFailure::Refused
                | SendFailure::RefusedIdentity
                | SendFailure::TooLong
                | SendFailure::UnsignedDevice => {
                    Some(ClientEvent::NotCopied(timestamp, CopyFailure::NotSent(error)))
                }
            };
            return self.commit(changes, event.map(ClientOutput::Event).into_iter().collect());
        }
        let content = Zeroizing::new(unpad(&outgoing.plaintext).unwrap_or_default().to_vec());
        changes.failed.push(Failed { timestamp, to: outgoing.to, content, why: error });
        let event = ClientEvent::NotSent(timestamp, error);
        self.commit(changes, vec![ClientOutput::Event(event)]);
    }

    /// The server delivered nothing, so the ciphertexts may be discarded. Sessions with removed or
    /// replaced devices are no longer used; the next bundles list the current devices.
    fn encrypt_again(
        &mut self,
        timestamp: Timestamp,
        to: AccountId,
        missing: &[DeviceId],
        gone: &[DeviceId],
    ) {
        let attempts = self.outbox.update(timestamp, |outgoing| {
            outgoing.ciphertexts = None;
            outgoing.encrypted_for.retain(|device| !gone.contains(device));
            outgoing.attempts += 1;
            outgoing.attempts
        });
        // The list of the recipient may be newer than ours, so it is fetched once more.
        let insists = gone.is_empty() && self.are_left_out(to, missing);
        let (most, why) = match insists {
            true => (MAX_INSISTENCE, SendFailure::UnsignedDevice),
            false => (MAX_ATTEMPTS, SendFailure::DevicesKeepChanging),
        };
        if attempts.is_none_or(|attempts| attempts > most) {
            return self.give_up(timestamp, why);
        }
        let mut changes = Changes::default();
        // The server may name a device any number of times.
        for device in gone.iter().collect::<BTreeSet<_>>() {
            let address = Address { account: to, device: *device };
            if let Some(record) = self.sessions.get_mut(&address) {
                record.archive();
                changes.put_session(address, record, &mut self.archived_rows);
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
            Response::Bundles(bundles, list) => {
                self.begin(now, account, bundles, list.as_deref(), rng)
            }
            Response::IntraApp => Err(SendFailure::IntraApp),
            Response::Refused => Err(SendFailure::Refused),
            Response::Certificate(_)
            | Response::DeviceList(_)
            | Response::DeviceListConflict
            | Response::Done
            | Response::GroupConflict { .. }
            | Response::GroupEntries { .. }
            | Response::GroupMismatched(_)
            | Response::GroupSent { .. }
            | Response::Mismatched { .. }
            | Response::NoRoom
            | Response::NotFound
            | Response::Sent { .. }
            | Response::Stale(_)
            | Response::Unavailable => Err(SendFailure::NoDevice),
        };
        self.record_bundles(account, result.is_ok());
        match result {
            Ok(()) => {
                self.advance_account(now, account);
                self.advance_resends(now, account, false);
            }
            Err(error) => {
                self.end_resends(account);
                let waiting = self.outbox.unencrypted_for(account);
                waiting.into_iter().for_each(|timestamp| self.give_up(timestamp, error));
            }
        }
    }

    /// Records a ratchet step of a session with an account. A ciphertext that is several steps old
    /// could not be decrypted any more, so it is encrypted again before it is sent again; the
    /// server accepts only one of the two.
    pub(super) fn count_ratchet_step(&mut self, account: AccountId, changes: &mut Changes) {
        for timestamp in self.outbox.encrypted_for(account) {
            self.outbox.update(timestamp, |outgoing| {
                outgoing.steps += 1;
                if outgoing.steps > MAX_STEPS {
                    (outgoing.ciphertexts, outgoing.steps) = (None, 0);
                }
            });
            self.put_outgoing(changes, timestamp);
        }
    }

    pub(super) fn put_outgoing(&self, changes: &mut Changes, timestamp: Timestamp) {
        if let Some(outgoing) = self.outbox.get(&timestamp)
            && outgoing.lifetime == Lifetime::Durable
        {
            changes.put_outgoing(timestamp, outgoing);
        }
    }
}

/// Whether an output delivers the message with this timestamp.
fn sends(output: &ClientOutput, message: Timestamp) -> bool {
    matches!(
        output,
        ClientOutput::Request(_, Request::Send { timestamp, .. } | Request::SendGroup { timestamp, .. })
            if *timestamp == message
    )
}

/// How many times a message is encrypted again because the server reported different devices.
const MAX_ATTEMPTS: u32 = 10;

/// The same, if it wants the message to go to devices that the recipient has not signed.
const MAX_INSISTENCE: u32 = 2;

/// Ratchet steps after which a message is encrypted again: well below the number of chains that a
/// peer keeps.
const MAX_STEPS: u8 = 2;
