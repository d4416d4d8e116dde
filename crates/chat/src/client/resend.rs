//! Sends a message again to one device that could not decrypt it.
//!
//! A request for that is not authenticated: a dishonest server can invent one. So a message goes only to a device that
//! got it before, only to the identity key for which it was written and which is still the accepted one, and only a few times.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::{Request, Response};
use super::groups::Requested;
use super::pending::Purpose;
use super::sent_log::{Logged, LoggedName, MAX_RESENDS};
use super::store::{Changes, StoreKey};
use super::written::{self, Written};
use super::{Client, Received};
use crate::address::{AccountId, Address, Route};
use crate::content::Content;
use crate::envelope::EnvelopeKind;
use crate::key::PublicKey;
use crate::message::CiphertextKind;
use crate::padding::pad;
use crate::retry::DecryptionErrorMessage;
use crate::time::{DAY, Timestamp};

/// Work that requests of others have caused. It is forgotten when the program ends.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Empty messages that answer requests for messages that we do not have.
    empty: BTreeSet<(Address, Timestamp)>,
    budgets: BTreeMap<Address, Budget>,
}

/// Work that one device has caused since a time.
#[derive(Clone, Copy, Debug)]
struct Budget {
    since: Timestamp,
    archived: u8,
    /// Our ratchet key in the session that was archived last. Messages that were on their way make it the current one again, and
    /// the next request is about the same session.
    archived_key: Option<PublicKey>,
    empty: u8,
    sender_keys: u8,
}

impl Repairs {
    fn budget(&mut self, now: Timestamp, device: Address) -> &mut Budget {
        let new = Budget { since: now, archived: 0, archived_key: None, empty: 0, sender_keys: 0 };
        let budget = self.budgets.entry(device).or_insert(new);
        if now.since(budget.since) >= BUDGET_TIME {
            *budget = new;
        }
        budget
    }

    /// Whether a device gets our sender key of a group again.
    pub(super) fn may_send_key(&mut self, now: Timestamp, device: Address) -> bool {
        let budget = self.budget(now, device);
        let has_some = budget.sender_keys < MAX_SENDER_KEYS;
        budget.sender_keys = budget.sender_keys.saturating_add(1);
        has_some
    }

    /// Whether a device could not read what we have encrypted with this ratchet key.
    pub(super) fn is_broken(&self, device: Address, ratchet_key: Option<PublicKey>) -> bool {
        let budget = self.budgets.get(&device);
        ratchet_key.is_some() && budget.is_some_and(|budget| budget.archived_key == ratchet_key)
    }

    fn empty_for(&self, account: AccountId) -> Vec<(Address, Timestamp)> {
        self.empty.iter().filter(|(to, _)| to.account == account).copied().collect()
    }
}

impl Client {
    /// The server has a message: remembers it in case that a device cannot decrypt it.
    pub(super) fn log_sent(
        &mut self,
        now: Timestamp,
        name: LoggedName,
        logged: Option<Logged>,
        changes: &mut Changes,
    ) {
        let Some(mut logged) = logged else { return };
        if let Some(known) = self.sent_log.get(&name) {
            // A device has asked for it before the server has answered.
            logged
                .devices
                .retain(|device| known.devices.iter().all(|it| it.device != device.device));
            logged.devices.extend(&known.devices);
        }
        self.put_logged(name, logged, changes);
        self.trim_sent_log(now, name.0, changes);
    }

    pub(super) fn trim_sent_log(
        &mut self,
        now: Timestamp,
        account: AccountId,
        changes: &mut Changes,
    ) {
        if self.sent_log.has_surplus(now, account) {
            for name in self.sent_log.surplus(now) {
                self.forget_logged(name, changes);
            }
        }
    }

    /// Forgets the messages that are not sent again any more.
    pub(super) fn forget_old_sent(&mut self, now: Timestamp) {
        let mut changes = Changes::default();
        self.trim_sent(now, &mut changes);
        self.commit(changes, Vec::new());
    }

    fn trim_sent(&mut self, now: Timestamp, changes: &mut Changes) {
        let ends = [self.sent_log.next_end(), self.groups.sent.next_end()];
        if ends.into_iter().flatten().any(|end| end <= now) {
            self.trim_sent_log(now, self.us.account, changes);
            self.trim_sent_to_groups(now, changes);
            changes.erases = true;
        }
    }

    /// If we have deleted a message for all, forgets it, its edits, and the copies for our other devices.
    pub(super) fn forget_deleted(&mut self, deletion: Option<Written>, changes: &mut Changes) {
        let Some(message) = deletion.and_then(|written| written.deletes()) else { return };
        let sent = self.sent_log.iter();
        let sent = sent.map(|(name, logged)| (*name, Written::read(name.1, &logged.plaintext)));
        for version in written::versions_of(message, sent) {
            self.forget_logged(version, changes);
            changes.erases = true;
        }
        self.forget_versions_to_groups(message, changes);
    }

    /// A device could not decrypt one of our messages, or somebody claims that.
    pub(super) fn read_retry_request(
        &mut self,
        now: Timestamp,
        from: Address,
        error: &DecryptionErrorMessage,
        changes: &mut Changes,
    ) {
        let is_known = self.sessions.contains_key(&from) && from != self.us;
        if error.device != self.us.device || !is_known {
            return;
        }
        self.trim_sent(now, changes);
        let is_archived = self.archive_broken(now, from, error, changes);
        match self.group_message_requested(now, from, error.timestamp, changes) {
            Requested::Unknown => {}
            Requested::Accepted => return,
            Requested::Refused => {
                return self.answer_empty(now, from, error.timestamp, is_archived);
            }
        }
        let name = (from.account, error.timestamp);
        let logged = self.sent_log.get(&name).cloned().or_else(|| self.delivered(now, name));
        let Some(mut logged) = logged.filter(|it| self.may_get(from.account, it)) else {
            return self.answer_empty(now, from, error.timestamp, is_archived);
        };
        let Some(device) = logged.device(from.device) else {
            return self.answer_empty(now, from, error.timestamp, is_archived);
        };
        if !device.is_wanted && device.resends < MAX_RESENDS {
            device.resends += 1;
            device.is_wanted = true;
            self.put_logged(name, logged, changes);
        }
    }

    /// A message that is still in the outbox, although the server may have it.
    fn delivered(&self, now: Timestamp, (to, timestamp): LoggedName) -> Option<Logged> {
        let outgoing = self.outbox.get(&timestamp).filter(|outgoing| outgoing.to == to)?;
        Logged::new(now, self.peers.get(&to)?.identity, outgoing)
    }

    /// Whether the identity key for which a message was written is still the accepted one.
    fn may_get(&self, account: AccountId, logged: &Logged) -> bool {
        self.peers.get(&account).is_some_and(|peer| peer.identity == logged.identity)
    }

    /// Archives the current session with a device, if it is the one with which the message was encrypted.
    fn archive_broken(
        &mut self,
        now: Timestamp,
        from: Address,
        error: &DecryptionErrorMessage,
        changes: &mut Changes,
    ) -> bool {
        let Some(record) = self.sessions.get_mut(&from) else { return false };
        let is_current =
            error.ratchet_key.is_some() && record.our_ratchet_key() == error.ratchet_key;
        let budget = self.repairs.budget(now, from);
        let is_again = budget.archived_key == error.ratchet_key;
        if !is_current || budget.archived >= MAX_ARCHIVED && !is_again {
            return false;
        }
        budget.archived += u8::from(!is_again);
        budget.archived_key = error.ratchet_key;
        record.archive();
        changes.put_session(from, record, &mut self.archived_rows);
        true
    }

    /// We do not have the message. An empty one says so, and starts a session that works.
    fn answer_empty(
        &mut self,
        now: Timestamp,
        to: Address,
        timestamp: Timestamp,
        is_archived: bool,
    ) {
        let has_room = self.repairs.empty.len() < MAX_EMPTY_OF_ALL;
        let budget = self.repairs.budget(now, to);
        if has_room && (is_archived || budget.empty < MAX_EMPTY) {
            budget.empty = budget.empty.saturating_add(1);
            self.repairs.empty.insert((to, timestamp));
        }
    }

    /// Sends what devices of an account want. Without a session that works, it asks for keys first, if it `may_ask`.
    pub(super) fn advance_resends(&mut self, now: Timestamp, account: AccountId, may_ask: bool) {
        let wanted = self.all_wanted_by(account);
        let is_blocked = self.peers.get(&account).is_none_or(|peer| peer.changed.is_some());
        if wanted.is_empty() || is_blocked || !self.is_listed() {
            return;
        }
        let mut lacks_session = false;
        for (to, timestamp) in wanted {
            let name = (account, timestamp);
            let logged = self.sent_log.get(&name);
            let is_for_group = self.groups.sent.plaintext(timestamp).is_some();
            if logged.is_some_and(|logged| !self.may_get(account, logged))
                || is_for_group && !self.may_get_now(to, timestamp)
            {
                self.end_resend(to, timestamp);
            } else if self.pending.has(Purpose::Resend((to, timestamp))) {
                // It is on its way.
            } else if self.can_encrypt(now, to) {
                self.resend(now, to, timestamp);
            } else if may_ask {
                lacks_session = true;
            } else {
                self.end_resend(to, timestamp);
            }
        }
        if lacks_session {
            self.request_bundles(account);
        }
    }

    /// Everything that the devices of an account must get.
    fn all_wanted_by(&self, account: AccountId) -> Vec<(Address, Timestamp)> {
        let (log, groups) = (&self.sent_log, &self.groups.sent);
        [log.wanted_by(account), groups.wanted_by(account), self.repairs.empty_for(account)]
            .concat()
    }

    /// Whether a device may get a message to a group, or an empty one instead.
    fn may_get_now(&self, to: Address, timestamp: Timestamp) -> bool {
        self.repairs.empty.contains(&(to, timestamp)) || self.may_get_again(to, timestamp)
    }

    fn resend(&mut self, now: Timestamp, to: Address, timestamp: Timestamp) {
        let empty = || pad(&Content::Null.encode());
        let logged = self.sent_log.get(&(to.account, timestamp)).map(|logged| &logged.plaintext);
        let of_group =
            || self.groups.sent.plaintext(timestamp).filter(|_| self.may_get_again(to, timestamp));
        let plaintext = logged.or_else(of_group).map_or_else(empty, Clone::clone);
        let Some(record) = self.sessions.get_mut(&to) else { return };
        let route = Route { from: self.us, to };
        let registration_id = record.their_registration_id();
        let Ok(ciphertext) = record.encrypt(&self.identity, route, &plaintext, now) else {
            return self.end_resend(to, timestamp);
        };
        let mut changes = Changes::default();
        changes.put_session(to, record, &mut self.archived_rows);
        let kind = match ciphertext.kind {
            CiphertextKind::PreKey => EnvelopeKind::PreKeyBundle,
            CiphertextKind::Signal => EnvelopeKind::Ciphertext,
        };
        let bytes = ciphertext.bytes;
        let request = Request::SendToDevice { to, registration_id, timestamp, kind, bytes };
        let request = self.request(Purpose::Resend((to, timestamp)), request);
        self.commit(changes, vec![request]);
    }

    pub(super) fn handle_resend_response(
        &mut self,
        now: Timestamp,
        (to, timestamp): (Address, Timestamp),
        response: &Response,
    ) {
        if !matches!(response, Response::Stale(_)) {
            return self.end_resend(to, timestamp);
        }
        // The device was registered again.
        let name = (to.account, timestamp);
        let mut changes = Changes::default();
        if let Some(record) = self.sessions.get_mut(&to) {
            record.archive();
            changes.put_session(to, record, &mut self.archived_rows);
        }
        if self.repeat_group_resend(to, timestamp, &mut changes) {
            self.commit(changes, Vec::new());
            return self.advance_resends(now, to.account, true);
        }
        let logged = self.sent_log.get(&name).cloned();
        let Some(mut logged) = logged else {
            self.commit(changes, Vec::new());
            return self.end_resend(to, timestamp);
        };
        if let Some(device) = logged.device(to.device) {
            device.is_wanted = device.resends < MAX_RESENDS;
            device.resends = device.resends.saturating_add(1);
            self.put_logged(name, logged, &mut changes);
        }
        self.commit(changes, Vec::new());
        self.advance_resends(now, to.account, true);
    }

    /// A message does not need to be sent to a device any more.
    fn end_resend(&mut self, to: Address, timestamp: Timestamp) {
        self.repairs.empty.remove(&(to, timestamp));
        self.end_group_resend(to, timestamp);
        let name = (to.account, timestamp);
        let Some(mut logged) = self.sent_log.get(&name).cloned() else { return };
        let Some(device) = logged.device(to.device) else { return };
        device.is_wanted = false;
        let mut changes = Changes::default();
        self.put_logged(name, logged, &mut changes);
        self.commit(changes, Vec::new());
    }

    /// The keys of an account cannot be had: nothing is sent again to it.
    pub(super) fn end_resends(&mut self, account: AccountId) {
        let wanted = self.all_wanted_by(account);
        wanted.into_iter().for_each(|(to, timestamp)| self.end_resend(to, timestamp));
    }

    /// A device says in a session that it has read messages of ours: they need not be sent again to it.
    pub(super) fn record_receipt(&mut self, received: &Received, changes: &mut Changes) {
        let Content::Receipt(receipt) = &received.content else { return };
        if received.identity_changed {
            return;
        }
        for timestamp in &receipt.timestamps {
            let name = (received.from.account, *timestamp);
            let Some(mut logged) = self.sent_log.get(&name).cloned() else { continue };
            logged.devices.retain(|device| device.device != received.from.device);
            if logged.devices.is_empty() {
                self.forget_logged(name, changes);
            } else {
                self.put_logged(name, logged, changes);
            }
        }
    }

    fn put_logged(&mut self, name: LoggedName, logged: Logged, changes: &mut Changes) {
        let (to, timestamp) = name;
        changes.put(StoreKey::SentMessage { to, timestamp }, logged.encode());
        self.sent_log.put(name, logged);
    }

    pub(super) fn forget_logged(&mut self, name: LoggedName, changes: &mut Changes) {
        let (to, timestamp) = name;
        changes.delete(StoreKey::SentMessage { to, timestamp });
        self.sent_log.remove(&name);
    }
}

/// Milliseconds for which the limits below hold.
const BUDGET_TIME: u64 = DAY / 24;

/// Sessions that requests of one device make us give up.
const MAX_ARCHIVED: u8 = 5;

/// How often a device gets our sender key of a group again.
const MAX_SENDER_KEYS: u8 = 10;

/// Empty messages that wait to be sent.
const MAX_EMPTY_OF_ALL: usize = 1_000;

/// Empty messages that one device gets, except for those that start a session.
const MAX_EMPTY: u8 = 20;
