//! Messages that could not be decrypted: asking their senders to send them again, and telling the user if they do not arrive.
//!
//! | what happens | what follows |
//! |---|---|
//! | the session may be broken | the request is stored, then sent. The user learns nothing yet |
//! | the message arrives again and can be read | it is delivered. Further copies of it are dropped |
//! | it arrives again and cannot be read | we ask again, three times in all |
//! | the sender answers with an empty message, or the request fails | the user learns that it could not be read |
//! | an hour has passed | the same; the message may still arrive later |

use rand_core::CryptoRngCore;
use sha2::{Digest as _, Sha256};

use super::exchange::{Request, Response};
use super::pending::Purpose;
use super::retries::{self, ContentHash, MAX_OF_STRANGERS, MessageName, Retry, RetryStep};
use super::store::{Changes, StoreKey};
use super::{Client, ClientEvent, ClientOutput, ReadError, Received, Unreadable};
use crate::address::Address;
use crate::content::Content;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::key::PublicKey;
use crate::retry::DecryptionErrorMessage;
use crate::sealed_sender::UnsealedMessage;
use crate::session::DecryptError;
use crate::time::Timestamp;

/// The result of an envelope for the user.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is a message.
    Received(Received),
    /// Nothing: it is a duplicate, it has nothing for the user, or we have asked for it again.
    Nothing,
    /// It could not be read.
    NotRead(ReadError),
}

impl Client {
    /// When [`ClientInput::Timeout`](super::ClientInput::Timeout) should be passed in. `None` if nothing waits for a time.
    pub fn deadline(&self) -> Option<Timestamp> {
        let of_groups = self.waiting_deadline().into_iter().chain(self.missing_deadline());
        let of_sent = self.sent_log.next_end().into_iter().chain(self.groups.sent.next_end());
        self.retries.deadline().into_iter().chain(of_groups).chain(of_sent).min()
    }

    /// A message could be read. Drops what has arrived before.
    pub(super) fn settle_read(
        &mut self,
        received: Received,
        changes: &mut Changes,
    ) -> (Outcome, Option<ClientOutput>) {
        let name = (received.from, received.timestamp);
        self.record_newest(name, changes);
        // A message with another identity key does not answer our request.
        let retry = self.retries.get(&name).copied().filter(|_| !received.identity_changed);
        let Some(retry) = retry else { return (Outcome::Received(received), None) };
        let hash = hash(&received.content.encode());
        if let RetryStep::Received(known) = retry.step {
            // Some programs use a timestamp twice, for different messages.
            let is_copy = known == hash;
            return (if is_copy { Outcome::Nothing } else { Outcome::Received(received) }, None);
        }
        if received.content == Content::Null {
            // The sender does not have it any more, or never sent it to us.
            return (Outcome::Nothing, self.report(name, changes));
        }
        self.put_retry(name, Retry { step: RetryStep::Received(hash), ..retry }, changes);
        (Outcome::Received(received), None)
    }

    /// A message could not be read. Asks for it again if a new session may help.
    pub(super) fn settle_unread(
        &mut self,
        now: Timestamp,
        from: Option<Address>,
        envelope: &Envelope,
        message: Option<&UnsealedMessage>,
        why: ReadError,
        changes: &mut Changes,
    ) -> Outcome {
        if envelope.ephemeral == Some(true) {
            // Typing: it has nothing for the user, and nobody sends it again.
            return Outcome::Nothing;
        }
        let Some(from) = from else { return Outcome::NotRead(why) };
        let name = (from, envelope.timestamp);
        let known = self.retries.get(&name).copied();
        if known.is_some_and(|retry| retry.is_received()) {
            return Outcome::Nothing;
        }
        let ReadError::Decrypt(error) = why else { return self.not_read(name, why, changes) };
        if error == DecryptError::Duplicate && known.is_none() && !self.is_newest(name) {
            // The acknowledgement was lost.
            return Outcome::Nothing;
        }
        let ciphertext = envelope.content.as_deref().or(envelope.body.as_deref());
        let ciphertext = hash(ciphertext.unwrap_or_default());
        if known.is_some_and(|retry| retry.has_failed(&ciphertext)) {
            return Outcome::Nothing;
        }
        // Nothing is sent to a device that is not in the list of its account.
        let is_known = self.reads_installation(from, None, envelope.timestamp);
        let may_help = is_about_session(error) && from != self.us && is_known;
        let key = message.and_then(named_key);
        let key = key.filter(|_| may_help && self.make_room(name, changes));
        let Some(key) = key else { return self.not_read(name, why, changes) };
        let asked = self.next_timestamp(now);
        let mut retry = known.unwrap_or_else(|| Retry::new(now, error, key));
        if !retry.add_failure(ciphertext) {
            return self.not_read(name, why, changes);
        }
        changes.put_last_written(asked);
        let step = RetryStep::Waiting;
        self.put_retry(name, Retry { asked, step, ratchet_key: key, ..retry }, changes);
        Outcome::Nothing
    }

    /// The user learns that a message could not be read, once.
    fn not_read(&mut self, name: MessageName, why: ReadError, changes: &mut Changes) -> Outcome {
        let Some(retry) = self.retries.get(&name).copied() else { return Outcome::NotRead(why) };
        if retry.is_reported {
            return Outcome::Nothing;
        }
        // It is not requested again, unless it arrives once more.
        let step = match retry.step {
            RetryStep::Waiting | RetryStep::Asked => RetryStep::Asked,
            RetryStep::Received(hash) => RetryStep::Received(hash),
        };
        self.put_retry(name, Retry { is_reported: true, step, ..retry }, changes);
        Outcome::NotRead(ReadError::Decrypt(retry.why))
    }

    /// Makes room for another message that we request. Returns false if there is no room.
    fn make_room(&mut self, name: MessageName, changes: &mut Changes) -> bool {
        if self.retries.get(&name).is_some() {
            return true;
        }
        let account = name.0.account;
        let is_stranger = self.is_stranger(account);
        if is_stranger && self.asked_strangers() >= MAX_OF_STRANGERS {
            return false;
        }
        match self.retries.room_for(account, is_stranger) {
            Ok(oldest) => {
                oldest.into_iter().for_each(|oldest| self.forget_retry(oldest, changes));
                true
            }
            Err(retries::NoRoom) => false,
        }
    }

    /// Number of messages of accounts that the user does not know, and that we have asked for.
    fn asked_strangers(&self) -> usize {
        self.retries.names().filter(|(from, _)| self.is_stranger(from.account)).count()
    }

    /// Sends the requests that are not at the server yet. Those for messages that use missing prekeys wait until the server
    /// has our newest ones, because the sender needs them.
    pub(super) fn ask_waiting(&mut self) {
        if !self.is_listed() {
            return;
        }
        for name in self.retries.waiting() {
            let Some(retry) = self.retries.get(&name).copied() else { continue };
            if !self.is_device_listed(name.0.account, name.0.device) {
                self.cannot_ask(name, retry);
                continue;
            }
            let needs_keys = retry.why == DecryptError::MissingPreKey;
            let purpose = Purpose::Ask(name);
            if self.pending.has(purpose) || needs_keys && self.is_publishing() {
                continue;
            }
            let (to, timestamp) = name;
            let ratchet_key = retry.ratchet_key;
            let error = DecryptionErrorMessage { ratchet_key, timestamp, device: to.device };
            let request = Request::SendToDevice {
                to,
                registration_id: None,
                timestamp: retry.asked,
                kind: EnvelopeKind::PlaintextContent,
                bytes: error.to_plaintext(),
            };
            let request = self.request(purpose, request);
            self.after_commits(vec![request]);
        }
    }

    /// The device that has sent a message cannot be asked any more. The message may be on its way nevertheless.
    fn cannot_ask(&mut self, name: MessageName, retry: Retry) {
        let mut changes = Changes::default();
        self.put_retry(name, Retry { step: RetryStep::Asked, ..retry }, &mut changes);
        self.commit(changes, Vec::new());
    }

    /// The server has answered to a request for a message.
    pub(super) fn handle_ask_response(
        &mut self,
        now: Timestamp,
        name: MessageName,
        response: &Response,
    ) {
        let Some(retry) = self.retries.get(&name).copied() else { return };
        if matches!(response, Response::Mismatched { .. } | Response::Stale(_)) {
            let Address { account, device } = name.0;
            // The device has no keys at the server yet, or is gone: the newest list says so.
            if self.lists.of(account).is_some_and(|list| list.listed(device).is_some()) {
                // It is asked again after the next connection.
                return self.refresh_list(now, account);
            }
            return self.cannot_ask(name, retry);
        }
        let mut changes = Changes::default();
        self.put_retry(name, Retry { step: RetryStep::Asked, ..retry }, &mut changes);
        let is_asked = matches!(response, Response::Done | Response::Sent { .. });
        let report = if is_asked { None } else { self.report(name, &mut changes) };
        self.commit(changes, report.into_iter().collect());
    }

    /// Reports messages that have not arrived in time, and forgets old ones.
    pub(super) fn report_overdue(&mut self, now: Timestamp) {
        let mut changes = Changes::default();
        let overdue = self.retries.overdue(now);
        let reports: Vec<_> =
            overdue.into_iter().filter_map(|name| self.report(name, &mut changes)).collect();
        for name in self.retries.expired(now) {
            self.forget_retry(name, &mut changes);
        }
        self.commit(changes, reports);
    }

    /// Tells the user that a message could not be read, unless that has happened.
    fn report(&mut self, name: MessageName, changes: &mut Changes) -> Option<ClientOutput> {
        let Outcome::NotRead(why) = self.not_read(name, ReadError::Malformed, changes) else {
            return None;
        };
        let (from, timestamp) = (Some(name.0), name.1);
        changes.unreadable.push(Unreadable { from, timestamp, why });
        Some(ClientOutput::Event(ClientEvent::NotRead(from, why)))
    }

    fn put_retry(&mut self, name: MessageName, retry: Retry, changes: &mut Changes) {
        let (from, timestamp) = name;
        changes.put(StoreKey::Retry { from, timestamp }, retry.encode());
        self.retries.put(name, retry);
    }

    pub(super) fn forget_retry(&mut self, name: MessageName, changes: &mut Changes) {
        let (from, timestamp) = name;
        changes.delete(StoreKey::Retry { from, timestamp });
        self.retries.remove(&name);
    }

    /// A first message uses prekeys that we do not have. If the server hands out some that we have lost, it needs others.
    pub(super) fn replace_missing_prekeys(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        if !self.is_publishing() && self.prekeys.may_refill(now) {
            self.renew_keys(now, Changes::default(), rng);
        }
    }

    /// Remembers the newest timestamps of each device. A duplicate with another one is another message: the sender has lost its
    /// state, and uses old keys again.
    pub(super) fn record_newest(&mut self, (from, timestamp): MessageName, changes: &mut Changes) {
        let newest = self.newest.entry(from).or_default();
        if !newest.insert(timestamp) {
            return;
        }
        if newest.len() > MAX_NEWEST {
            newest.pop_first();
        }
        let value = newest.iter().flat_map(|time| time.0.to_be_bytes()).collect();
        changes.put(StoreKey::Newest(from), value);
    }

    /// Forgets the newest timestamps of a device.
    pub(super) fn forget_newest(&mut self, device: Address, changes: &mut Changes) {
        if self.newest.remove(&device).is_some() {
            changes.delete(StoreKey::Newest(device));
        }
    }

    /// Whether no message with this timestamp can have been read before.
    fn is_newest(&self, (from, timestamp): MessageName) -> bool {
        let Some(newest) = self.newest.get(&from) else { return false };
        // A list that is not full has forgotten none.
        let is_full = newest.len() >= MAX_NEWEST;
        let is_older = is_full && newest.first().is_none_or(|oldest| timestamp < *oldest);
        !is_older && !newest.contains(&timestamp)
    }
}

fn hash(bytes: &[u8]) -> ContentHash {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let mut start = ContentHash::default();
    start.iter_mut().zip(hash).for_each(|(to, byte)| *to = byte);
    start
}

/// The ratchet key of an encrypted message; those to groups have none. `None` if it is not encrypted.
const fn named_key(message: &UnsealedMessage) -> Option<Option<PublicKey>> {
    match message {
        UnsealedMessage::First(first) => Some(Some(first.message.ratchet_key)),
        UnsealedMessage::Signal(message) => Some(Some(message.ratchet_key)),
        UnsealedMessage::SenderKey(_) => Some(None),
        UnsealedMessage::DecryptionError(_) => None,
    }
}

/// Whether a message may be readable in another session. Other errors are the sender's fault, or an attack.
const fn is_about_session(error: DecryptError) -> bool {
    match error {
        DecryptError::BadMac
        | DecryptError::DeletedKey
        | DecryptError::Duplicate
        | DecryptError::MissingPreKey
        | DecryptError::NoSession
        | DecryptError::TooFarAhead(_) => true,
        DecryptError::Malformed(_)
        | DecryptError::TooManySessions
        | DecryptError::UntrustedIdentity(_)
        | DecryptError::WrongParties => false,
    }
}

/// Number of timestamps of a device that are remembered.
const MAX_NEWEST: usize = 32;
