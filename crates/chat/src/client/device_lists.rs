//! The signed lists of the devices of accounts: nothing is sent to a device that its owner has not signed, and nothing that it
//! sends is read.
//!
//! The newest list that we have seen of an account is pinned: the server cannot show an older one later, or none. An account
//! that never had a list, because none of its programs knows lists, is treated as if all its devices were signed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wormhole_kit::Reader;

use super::exchange::LeftOut;
use super::own_list::OwnList;
use super::sealed::Incoming;
use super::store::{Changes, RestoreError, StoreKey};
use super::{Client, ClientEvent, ClientOutput, Delivery, ReadError, SendFailure, Unreadable};
use crate::address::{AccountId, Address, DeviceId};
use crate::device_list::DeviceList;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::key::PublicKey;
use crate::prekey::VerifiedBundle;
use crate::record::SessionRecord;
use crate::sealed_sender::UnsealedMessage;

/// What is known about the lists of all accounts, ours included.
#[derive(Debug, Default)]
pub(super) struct DeviceLists {
    pinned: BTreeMap<AccountId, PinnedList>,
    /// Envelopes of devices that are not in the pinned list: a newer one is requested.
    held: VecDeque<HeldEnvelope>,
    /// Envelopes that the driver passes in again, after the newest list has arrived.
    decided: BTreeSet<Delivery>,
    pub(super) own: OwnList,
}

/// The newest list of an account.
#[derive(Clone, Debug)]
pub(super) struct PinnedList {
    pub(super) list: DeviceList,
    /// Devices, with their registration ids, that the server has named and the account has not signed. The user knows of them.
    unsigned: BTreeSet<(DeviceId, u32)>,
}

#[derive(Debug)]
struct HeldEnvelope {
    from: AccountId,
    delivery: Delivery,
    envelope: Envelope,
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
        self.pinned.insert(account, PinnedList { list, unsigned });
        Ok(())
    }
}

impl PinnedList {
    fn row(&self) -> Vec<u8> {
        // There are at most 16.
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
    /// registration id, which is 0 if it is unknown.
    pub fn unsigned_devices(&self, account: AccountId) -> impl Iterator<Item = (DeviceId, u32)> {
        let unsigned = self.lists.pinned.get(&account).map(|pinned| &pinned.unsigned);
        unsigned.into_iter().flatten().copied()
    }

    /// The devices of an account that we leave out on purpose, if the server has them.
    pub(super) fn left_out(&self, account: AccountId) -> Option<LeftOut> {
        let revision = self.lists.of(account)?.revision;
        let devices: BTreeSet<_> =
            self.unsigned_devices(account).map(|(device, _)| device).collect();
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
            Ok(Some(list)) if pinned.is_none_or(|known| known.revision < list.revision) => {
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
        let mut unsigned = known.map(|known| known.unsigned).unwrap_or_default();
        unsigned.retain(|(device, id)| match id {
            0 => list.listed(*device).is_none(),
            id => !list.has(*device, *id),
        });
        let pinned = PinnedList { list, unsigned };
        changes.put(StoreKey::DeviceList(account), pinned.row());
        self.lists.pinned.insert(account, pinned);
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

    /// Tells the user about a device that its account has not signed, unless that has happened. A registration id of 0 is unknown.
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
        if pinned.unsigned.len() >= MAX_UNSIGNED {
            pinned.unsigned.pop_first();
        }
        pinned.unsigned.insert((device, registration_id));
        changes.put(StoreKey::DeviceList(account), pinned.row());
        self.event(ClientEvent::UnsignedDevice(Address { account, device }));
    }

    /// Whether a message comes from a device that is not in the pinned list of its account, and was not in it lately. The list says
    /// nothing about devices with another identity key: about that, the user decides.
    pub(super) fn is_unlisted(&self, incoming: &Incoming) -> bool {
        let Address { account, device } = incoming.from;
        let named = match &incoming.message {
            UnsealedMessage::First(first) => Some(first.identity()),
            UnsealedMessage::DecryptionError(_)
            | UnsealedMessage::SenderKey(_)
            | UnsealedMessage::Signal(_) => {
                self.sessions.get(&incoming.from).and_then(SessionRecord::their_identity)
            }
        };
        let accepted = self.peers.get(&account).map(|peer| &peer.identity);
        if named.is_some() && accepted.is_some() && named != accepted {
            return false;
        }
        let list = self.lists.of(account);
        list.is_some_and(|list| !list.knows(device, registration_id(&incoming.message)))
    }

    /// An envelope is from a device that is not in the pinned list: keeps it until the newest one is known, or refuses it if that
    /// has happened.
    pub(super) fn hold(&mut self, delivery: Delivery, envelope: &Envelope, incoming: &Incoming) {
        if self.lists.decided.remove(&delivery) {
            return self.refuse_unlisted(delivery, envelope, incoming);
        }
        let from = incoming.from.account;
        let held = &mut self.lists.held;
        held.retain(|it| it.from != from || it.envelope != *envelope);
        // The server delivers those without a place here again with the next connection.
        if held.len() < MAX_HELD {
            held.push_back(HeldEnvelope { from, delivery, envelope: envelope.clone() });
        }
        self.request_bundles(from);
    }

    /// The newest list of an account is known, or cannot be: what its devices have sent is read or refused.
    pub(super) fn release_held(&mut self, account: AccountId) {
        let held = std::mem::take(&mut self.lists.held);
        let (decided, others) = held.into_iter().partition(|it| it.from == account);
        self.lists.held = others;
        for HeldEnvelope { delivery, envelope, .. } in decided {
            if self.lists.decided.len() >= MAX_HELD {
                self.lists.decided.pop_first();
            }
            self.lists.decided.insert(delivery);
            self.outputs.push_back(ClientOutput::ReadAgain(delivery, Box::new(envelope)));
        }
    }

    /// Asks again for the lists for which envelopes wait.
    pub(super) fn ask_for_lists(&mut self) {
        let accounts: BTreeSet<_> = self.lists.held.iter().map(|it| it.from).collect();
        accounts.into_iter().for_each(|account| self.request_bundles(account));
    }

    /// Does not read a message of a device that its account has not signed.
    fn refuse_unlisted(&mut self, delivery: Delivery, envelope: &Envelope, incoming: &Incoming) {
        let (from, mut changes) = (incoming.from, Changes::default());
        let mut then = vec![ClientOutput::Acknowledge(delivery)];
        let id = registration_id(&incoming.message).unwrap_or_default();
        self.report_unsigned(from.account, from.device, id, &mut changes);
        // Nobody has written a request to send something again.
        if !matches!(incoming.message, UnsealedMessage::DecryptionError(_)) {
            let (timestamp, why) = (envelope.timestamp, ReadError::UnsignedDevice);
            changes.unreadable.push(Unreadable { from: Some(from), timestamp, why });
            then.push(ClientOutput::Event(ClientEvent::NotRead(Some(from), why)));
        }
        self.commit(changes, then);
    }
}

/// Whether the device that has sent an envelope matters.
pub(super) const fn has_sender(envelope: &Envelope) -> bool {
    !matches!(envelope.kind, EnvelopeKind::Receipt)
}

/// The registration id of the sender, if the message says it.
fn registration_id(message: &UnsealedMessage) -> Option<u32> {
    match message {
        UnsealedMessage::First(first) => Some(first.registration_id()),
        UnsealedMessage::DecryptionError(_)
        | UnsealedMessage::SenderKey(_)
        | UnsealedMessage::Signal(_) => None,
    }
}

/// Number of envelopes that wait for lists.
const MAX_HELD: usize = 1000;

/// Number of unsigned devices of an account that are remembered.
const MAX_UNSIGNED: usize = 16;
