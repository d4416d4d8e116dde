//! The signed lists of the devices of accounts: nothing is sent to a device that its owner has not signed, and nothing that it
//! sends is read.
//!
//! The newest list that we have seen of an account is pinned: the server cannot show an older one later, or none. An account
//! that never had a list, because none of its programs knows lists, is treated as if all its devices were signed.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_kit::Reader;

use super::exchange::{DeviceCiphertext, LeftOut, RequestId, Response};
use super::held::{HeldEnvelope, HeldEnvelopes, MAX_HELD};
use super::own_list::OwnList;
use super::pending::Purpose;
use super::sealed::Incoming;
use super::store::{Changes, RestoreError, StoreKey};
use super::{Client, ClientEvent, ClientOutput, Delivery, ReadError, SendFailure, Unreadable};
use crate::address::{AccountId, Address, DeviceId};
use crate::device_list::DeviceList;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::key::PublicKey;
use crate::prekey::VerifiedBundle;
use crate::sealed_sender::UnsealedMessage;
use crate::time::Timestamp;

/// The known lists of all accounts, including ours.
#[derive(Debug, Default)]
pub(super) struct DeviceLists {
    pinned: BTreeMap<AccountId, PinnedList>,
    /// Envelopes of devices that are not in the pinned list: a newer one is requested.
    held: HeldEnvelopes,
    /// Envelopes that the driver passes in again, after the newest list has arrived.
    decided: BTreeSet<Delivery>,
    pub(super) own: OwnList,
}

/// The newest list of an account.
#[derive(Clone, Debug)]
pub(super) struct PinnedList {
    pub(super) list: DeviceList,
    /// Devices, with their registration ids, that the server has named and the account has not signed. The user knows of them. A
    /// registration id of 0 stands for any: the server has delivered messages of the device.
    unsigned: BTreeSet<(DeviceId, u32)>,
    /// When the server has shown it last, since this program was started.
    checked: Option<Timestamp>,
    /// Devices for which it was requested again before it was old, and when.
    early: Vec<(DeviceId, Timestamp)>,
}

impl DeviceLists {
    /// The pinned list of an account.
    pub(super) fn of(&self, account: AccountId) -> Option<&DeviceList> {
        self.pinned.get(&account).map(|pinned| &pinned.list)
    }

    /// Adds a stored row.
    pub(super) fn restore(
        &mut self,
        account: AccountId,
        value: &mut Reader<'_>,
    ) -> Result<(), RestoreError> {
        let mut unsigned = BTreeSet::new();
        for _ in 0..value.u8()? {
            let device = DeviceId::new(value.u8()?.into()).ok_or(RestoreError::Damaged)?;
            unsigned.insert((device, value.u32_be()?));
        }
        let bytes = value.take(value.rest().len())?;
        let list = DeviceList::decode(bytes).map_err(|_| RestoreError::Damaged)?;
        self.pinned
            .insert(account, PinnedList { list, unsigned, checked: None, early: Vec::new() });
        Ok(())
    }
}

impl PinnedList {
    fn row(&self) -> Vec<u8> {
        // There are at most 16, and one for each number.
        let mut value = vec![u8::try_from(self.unsigned.len()).unwrap_or(u8::MAX)];
        for (device, registration_id) in &self.unsigned {
            value.push(device.number());
            value.extend(registration_id.to_be_bytes());
        }
        value.extend(self.list.encode());
        value
    }
}

impl Client {
    /// The newest signed list of the devices of an account that we have seen. `None` if it has none, so far as we know.
    pub fn device_list(&self, account: AccountId) -> Option<&DeviceList> {
        self.lists.of(account)
    }

    /// Devices that the server has named for an account, and that are not in its list: nothing is sent to them. Each with its
    /// registration id, which is 0 if only messages were delivered.
    pub fn unsigned_devices(&self, account: AccountId) -> impl Iterator<Item = (DeviceId, u32)> {
        let unsigned = self.lists.pinned.get(&account).map(|pinned| &pinned.unsigned);
        unsigned.into_iter().flatten().copied()
    }

    /// The devices of an account that we leave out on purpose, if the server has them.
    pub(super) fn left_out(&self, account: AccountId) -> Option<LeftOut> {
        let revision = self.lists.of(account)?.revision;
        // Devices of which only messages have named a number may not exist.
        let named = self.unsigned_devices(account).filter(|(_, id)| *id != 0);
        let devices: BTreeSet<_> = named.map(|(device, _)| device).collect();
        let devices: Vec<_> = devices.into_iter().collect();
        (!devices.is_empty()).then_some(LeftOut { revision, devices })
    }

    /// Whether all these devices, at least one, are left out on purpose.
    pub(super) fn are_left_out(&self, account: AccountId, devices: &[DeviceId]) -> bool {
        let left_out = self.left_out(account);
        let is_in = |it: &LeftOut| devices.iter().all(|device| it.devices.contains(device));
        !devices.is_empty() && left_out.as_ref().is_some_and(is_in)
    }

    /// Checks the list that the server shows together with the keys of an account, and pins it if it is newer.
    ///
    /// # Errors
    /// It is not from the account, or the server has shown a newer one, or another one, before.
    pub(super) fn check_list(
        &mut self,
        account: AccountId,
        identity: &PublicKey,
        shown: Option<&[u8]>,
        changes: &mut Changes,
    ) -> Result<(), SendFailure> {
        let shown = shown.map(|bytes| DeviceList::open(bytes, account, identity)).transpose();
        let pinned = self.lists.of(account);
        match shown {
            Ok(None) if pinned.is_none() => Ok(()),
            Ok(Some(list))
                if pinned.is_none_or(|known| known.revision < list.revision)
                    && list.may_follow(pinned) =>
            {
                self.pin(list, changes);
                Ok(())
            }
            Ok(Some(list)) if pinned == Some(&list) => Ok(()),
            // We know which of our devices are signed, and publish the list again with the next connection.
            Ok(_) | Err(_) if account == self.us.account => Ok(()),
            Ok(_) | Err(_) => Err(SendFailure::DeviceList),
        }
    }

    /// Pins the newest list of an account.
    pub(super) fn pin(&mut self, list: DeviceList, changes: &mut Changes) {
        let account = list.account;
        let known = self.lists.pinned.remove(&account);
        let checked = known.as_ref().and_then(|known| known.checked);
        let (mut unsigned, early) =
            known.map(|known| (known.unsigned, known.early)).unwrap_or_default();
        unsigned.retain(|(device, id)| match id {
            0 => list.listed(*device).is_none(),
            id => !list.has(*device, *id),
        });
        let pinned = PinnedList { list, unsigned, checked, early };
        changes.put(StoreKey::DeviceList(account), pinned.row());
        self.lists.pinned.insert(account, pinned);
        if account == self.us.account {
            self.must_tell_own_list();
        }
        self.unseal_for_unlisted(account, changes);
    }

    /// Messages that were encrypted for a device which is not in the list any more are encrypted again before they are sent.
    fn unseal_for_unlisted(&mut self, account: AccountId, changes: &mut Changes) {
        for timestamp in self.outbox.encrypted_for(account) {
            let ciphertexts =
                self.outbox.get(&timestamp).and_then(|outgoing| outgoing.ciphertexts.clone());
            let is_listed = |it: &DeviceCiphertext| self.is_device_listed(account, it.device);
            if !ciphertexts.iter().flat_map(|ciphertexts| ciphertexts.iter()).all(is_listed) {
                self.pending.forget(Purpose::Send(timestamp));
                self.drop_requests(timestamp);
                self.outbox.set_ciphertexts(timestamp, None);
                self.put_outgoing(changes, timestamp);
            }
        }
    }

    /// Whether a device has a place in the list of its account, or there is none.
    pub(super) fn is_device_listed(&self, account: AccountId, device: DeviceId) -> bool {
        self.lists.of(account).is_none_or(|list| list.listed(device).is_some())
    }

    /// The registration id with which a device is in the list of its account.
    pub(super) fn listed_installation(&self, device: Address) -> Option<u32> {
        let list = self.lists.of(device.account)?;
        list.listed(device.device).map(|it| it.registration_id)
    }

    /// Forgets the list of an account: it has another identity key, or we forget the account.
    pub(super) fn unpin(&mut self, account: AccountId, changes: &mut Changes) {
        if self.lists.pinned.remove(&account).is_some() {
            changes.delete(StoreKey::DeviceList(account));
        }
    }

    /// Without the bundles of devices that the account has not signed. The user learns of each of them once.
    pub(super) fn signed_only(
        &mut self,
        account: AccountId,
        bundles: Vec<VerifiedBundle>,
        changes: &mut Changes,
    ) -> Vec<VerifiedBundle> {
        let Some(list) = self.lists.of(account) else { return bundles };
        let us = (account == self.us.account).then_some(self.us.device);
        let (signed, unsigned): (Vec<_>, Vec<_>) = bundles.into_iter().partition(|bundle| {
            let bundle = bundle.bundle();
            Some(bundle.device) == us || list.has(bundle.device, bundle.registration_id)
        });
        for bundle in &unsigned {
            let bundle = bundle.bundle();
            self.report_unsigned(account, bundle.device, bundle.registration_id, changes);
        }
        signed
    }

    /// Tells the user about a device that its account has not signed, unless that has happened. A registration id of 0 stands for any:
    /// those in messages prove nothing, so a number is enough there.
    pub(super) fn report_unsigned(
        &mut self,
        account: AccountId,
        device: DeviceId,
        registration_id: u32,
        changes: &mut Changes,
    ) {
        let Some(pinned) = self.lists.pinned.get_mut(&account) else { return };
        let is_same = |it: &(DeviceId, u32)| {
            it.0 == device && (registration_id == 0 || it.1 == registration_id)
        };
        if pinned.unsigned.iter().any(is_same) {
            return;
        }
        // Another device may have its number now.
        let before = pinned.unsigned.len();
        pinned.unsigned.retain(|(number, _)| *number != device);
        let is_new = pinned.unsigned.len() == before;
        let mut named = pinned.unsigned.iter().filter(|(_, id)| *id != 0);
        let oldest = named.next().copied();
        if registration_id != 0 && named.count() + 1 >= MAX_UNSIGNED {
            oldest.map(|oldest| pinned.unsigned.remove(&oldest));
        }
        pinned.unsigned.insert((device, registration_id));
        changes.put(StoreKey::DeviceList(account), pinned.row());
        if is_new {
            self.event(ClientEvent::UnsignedDevice(Address { account, device }));
        }
    }

    /// Whether messages of an installation of a device are read. `None` stands for any registration id.
    pub(super) fn reads_installation(
        &self,
        from: Address,
        registration_id: Option<u32>,
        sent: Timestamp,
    ) -> bool {
        let list = self.lists.of(from.account);
        list.is_none_or(|list| list.reads(from.device, registration_id, sent))
    }

    /// Whether a message comes from a device that is not in the pinned list of its account, and was not in it lately, as far as that
    /// can be seen before it is decrypted. The list says nothing about devices with another identity key: about that, the user decides.
    pub(super) fn is_unlisted(&self, incoming: &Incoming, sent: Timestamp) -> bool {
        let from = incoming.from;
        let accepted = self.accepted_identity(from.account);
        let may_be_other = match &incoming.message {
            UnsealedMessage::First(first) => accepted.is_some_and(|key| *first.identity() != key),
            UnsealedMessage::Signal(_) => {
                self.sessions.get(&from).zip(accepted).is_some_and(|(record, key)| {
                    record.has_other_identity(&key, &self.refused_identities(from.account))
                })
            }
            UnsealedMessage::DecryptionError(_) | UnsealedMessage::SenderKey(_) => false,
        };
        !may_be_other && !self.reads_installation(from, self.named_installation(incoming), sent)
    }

    /// The registration id of the sender, if it is known before the message is decrypted.
    pub(super) fn named_installation(&self, incoming: &Incoming) -> Option<u32> {
        match &incoming.message {
            UnsealedMessage::First(first) => Some(first.registration_id()),
            UnsealedMessage::SenderKey(message) => {
                self.sender_key_installation(incoming.from, message)
            }
            UnsealedMessage::DecryptionError(_) | UnsealedMessage::Signal(_) => None,
        }
    }

    /// An envelope is from a device that is not in the pinned list: keeps it until the newest one is known, or refuses it if that
    /// has happened. The server delivers nothing more while too many envelopes are not acknowledged, so few are kept.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        delivery: Delivery,
        envelope: &Envelope,
        incoming: &Incoming,
        registration_id: Option<u32>,
    ) {
        // Nobody has written a request to send something again.
        let is_written = !matches!(incoming.message, UnsealedMessage::DecryptionError(_));
        let new = HeldEnvelope {
            from: incoming.from,
            registration_id,
            delivery,
            envelope: envelope.clone(),
            is_written,
            after: RequestId(self.last_request),
            answers: 0,
        };
        if self.lists.decided.remove(&delivery) || !self.may_ask_about(now, new.from) {
            return self.refuse_unlisted(new);
        }
        let account = new.from.account;
        let held = &mut self.lists.held;
        held.retain(|it| it.from.account != account || it.envelope != *envelope);
        let Some(displaced) = held.make_room(&new) else {
            return self.refuse(new, Changes::default());
        };
        self.lists.held.push_back(new);
        displaced.into_iter().for_each(|it| self.refuse(it, Changes::default()));
        self.request_bundles(account);
    }

    /// An envelope was read.
    pub(super) fn forget_decided(&mut self, delivery: Delivery) {
        self.lists.decided.remove(&delivery);
    }

    /// Whether envelopes wait for the newest list of an account: an answer that was known before is not enough.
    pub fn awaits_list(&self, account: AccountId) -> bool {
        self.lists.held.iter().any(|it| it.from.account == account)
    }

    /// Whether the list of an account is requested for a message of a device that is not in it. If the device was not in it a short
    /// time ago, it may have been signed since: then once in an hour for each device, and a few times for each account. So neither
    /// another device nor another account can use that up.
    fn may_ask_about(&mut self, now: Timestamp, from: Address) -> bool {
        let Some(pinned) = self.lists.pinned.get_mut(&from.account) else { return true };
        let is_recent = pinned.checked.is_some_and(|at| is_within(now, at, RECENT));
        if !is_recent || pinned.unsigned.iter().all(|(device, _)| *device != from.device) {
            return true;
        }
        pinned.early.retain(|(_, at)| is_within(now, *at, EARLY_TIME));
        let is_known = pinned.early.iter().any(|(device, _)| *device == from.device);
        if is_known || pinned.early.len() >= MAX_EARLY {
            return false;
        }
        pinned.early.push((from.device, now));
        true
    }

    /// Requests the list of an account, unless that has happened a short time ago.
    pub(super) fn refresh_list(&mut self, now: Timestamp, account: AccountId) {
        let checked = self.lists.pinned.get(&account).and_then(|pinned| pinned.checked);
        if !checked.is_some_and(|at| is_within(now, at, RECENT)) {
            self.request_bundles(account);
        }
    }

    /// Pins the list in a response, if the accepted key of its account has signed it and it is not older: whatever else is wrong with
    /// the response. Whether it is the newest list.
    pub(super) fn check_shown_list(
        &mut self,
        now: Timestamp,
        account: AccountId,
        response: &Response,
    ) -> bool {
        let Response::Bundles(_, Some(list)) = response else { return false };
        let Some(identity) = self.accepted_identity(account) else { return false };
        let mut changes = Changes::default();
        let is_valid = self.check_list(account, &identity, Some(list), &mut changes).is_ok();
        self.commit(changes, Vec::new());
        if let Some(pinned) = self.lists.pinned.get_mut(&account).filter(|_| is_valid) {
            pinned.checked = Some(now);
        }
        is_valid
    }

    /// A request for the newest list of an account has an answer: what its devices had sent before the request is read or refused. For
    /// what has arrived since, the list is requested once more.
    pub(super) fn release_held(&mut self, account: AccountId, answered: RequestId, is_valid: bool) {
        let list = self.lists.of(account);
        let is_decided =
            |it: &HeldEnvelope| it.after < answered && (is_valid || it.answers >= MAX_ANSWERS);
        let of_account = self.lists.held.iter().filter(|it| it.from.account == account);
        // A device signs itself before it sends anything, so what was found for its first message is true of the others.
        let installation = |it: &HeldEnvelope| (it.from.device, it.registration_id);
        let decided: BTreeSet<_> =
            of_account.filter(|it| is_decided(it)).map(installation).collect();
        let is_ready = |it: &&HeldEnvelope| {
            let (device, id) = installation(it);
            let is_known = list.is_none_or(|list| list.reads(device, id, it.envelope.timestamp));
            it.from.account == account && (is_known || decided.contains(&(device, id)))
        };
        let ready = self.lists.held.iter().filter(is_ready).map(|it| it.delivery);
        let ready: BTreeSet<_> = ready.collect();
        let ready = self.lists.held.take_if(|it| ready.contains(&it.delivery));
        let mut must_ask = false;
        for it in self.lists.held.iter_mut().filter(|it| it.from.account == account) {
            must_ask |= it.after >= answered;
            it.answers = it.answers.saturating_add(u8::from(it.after < answered));
        }
        if must_ask {
            self.request_bundles(account);
        }
        for HeldEnvelope { delivery, envelope, .. } in ready {
            if self.lists.decided.len() >= MAX_HELD {
                self.lists.decided.pop_first();
            }
            self.lists.decided.insert(delivery);
            self.outputs.push_back(ClientOutput::ReadAgain(delivery, Box::new(envelope)));
        }
    }

    /// Asks again for the lists for which envelopes wait.
    pub(super) fn ask_for_lists(&mut self) {
        let accounts: BTreeSet<_> = self.lists.held.iter().map(|it| it.from.account).collect();
        accounts.into_iter().for_each(|account| self.request_bundles(account));
    }

    /// Does not read a message of a device that its account has not signed.
    fn refuse_unlisted(&mut self, held: HeldEnvelope) {
        let mut changes = Changes::default();
        self.report_unsigned(held.from.account, held.from.device, 0, &mut changes);
        self.refuse(held, changes);
    }

    /// Acknowledges an envelope without reading it.
    fn refuse(&mut self, held: HeldEnvelope, mut changes: Changes) {
        let (from, timestamp) = (Some(held.from), held.envelope.timestamp);
        let mut then = vec![ClientOutput::Acknowledge(held.delivery)];
        if held.is_written {
            let why = ReadError::UnsignedDevice;
            changes.unreadable.push(Unreadable { from, timestamp, why });
            then.push(ClientOutput::Event(ClientEvent::NotRead(from, why)));
        }
        self.commit(changes, then);
    }
}

/// Whether the device that has sent an envelope matters.
pub(super) const fn has_sender(envelope: &Envelope) -> bool {
    !matches!(envelope.kind, EnvelopeKind::Receipt)
}

/// Whether less than so many milliseconds lie between two times.
const fn is_within(now: Timestamp, at: Timestamp, time: u64) -> bool {
    now.since(at) < time && at.since(now) < time
}

/// Number of answers without a valid list after which an envelope is refused with the next one.
const MAX_ANSWERS: u8 = 3;

/// Milliseconds for which a list counts as the newest one for a device that is known not to be in it. The server hands out one list
/// in that time, on average.
const RECENT: u64 = 10 * 60 * 1000;

/// Milliseconds for which a request counts that was made before the list was old.
const EARLY_TIME: u64 = 60 * 60 * 1000;

/// Number of such requests for an account in that time. The server hands out 6 lists at once.
const MAX_EARLY: usize = 3;

/// Number of unsigned devices of an account that are remembered, apart from those of which only messages were delivered.
const MAX_UNSIGNED: usize = 16;
