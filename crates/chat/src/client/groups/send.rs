//! Messages to groups: each member device gets our sender key once, in its session; then a message is encrypted once for all.
//!
//! | a message of the outbox | next |
//! |---|---|
//! | the log of the group was not read since the connection, or nobody whom we have invited has joined yet | nothing until that changes |
//! | is not encrypted, and the devices of a member are unknown | `Request::Bundles` |
//! | is not encrypted, and devices do not have our sender key | `Commit` (a message with the key for each such account) |
//! | is not encrypted, and all have the key, except members for whom the server has no room | `Commit` (the sender key, the ciphertext), then `Request::SendGroup` |
//! | is encrypted | sealed for the devices that have the key: `Request::SendGroup` |
//! | the server reports other devices | `Commit` (a new key, if a device has left), then from the beginning, at most 5 times |
//! | the server insists on devices that a member has not signed | from the beginning, twice; then without this member |
//! | the server has it | `Commit` (a copy for our other devices); `Sent` |
//! | the server has no room for some members | `Commit`; `PartlySent`; later once more for these members: see `waiting` |

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::super::SendFailure;
use super::super::exchange::{LeftOut, Request, Response};
use super::super::pending::Purpose;
use super::super::store::Changes;
use super::message::{GroupMessage, Recipient};
use super::{Client, Group, GroupDelay, Membership};
use crate::address::{AccountId, Address, DeviceId};
use crate::certificate::SenderCertificate;
use crate::content::{Content, GroupContent};
use crate::group::GroupId;
use crate::padding::pad;
use crate::sealed_sender::{
    ContentHint, MultiRecipientMessage, SealedContent, SealedDevice, SealedKind, SealedRecipient,
};
use crate::time::Timestamp;

impl Client {
    /// Puts a message to a group into the outbox. Without content, it only says which change is the last one.
    pub(super) fn put_group_message(
        &mut self,
        timestamp: Timestamp,
        group: GroupId,
        content: Option<&Content>,
        changes: &mut Changes,
    ) {
        let content = content.map(Content::encode).unwrap_or_default();
        let audience = self.invited_people(group).filter(|_| !content.is_empty());
        let message = GroupMessage { audience, ..GroupMessage::new(group, content) };
        changes.put_last_written(timestamp);
        changes.put_group_outgoing(timestamp, &message);
        self.groups.outbox.insert(timestamp, message);
        self.groups.dirty.insert(group);
    }

    /// Whether a message that is not encrypted yet will tell the members about the last change.
    pub(super) fn has_waiting_notice(&self, id: GroupId) -> bool {
        let mut messages = self.groups.outbox.values();
        messages.any(|message| {
            message.group == id
                && message.encrypted.is_none()
                && message.waiting.is_none()
                && message.audience.is_none()
        })
    }

    /// Continues with the messages to a group.
    pub(super) fn advance_group_messages(
        &mut self,
        now: Timestamp,
        id: GroupId,
        rng: &mut impl CryptoRngCore,
    ) {
        if self.group_delay(id).is_some() {
            return;
        }
        self.send_waiting_messages(now, id, rng);
        // One after the other: the devices that have the key of an encrypted message are known until the key is replaced.
        let Some((timestamp, message)) = self.next_group_message(id) else { return };
        let is_encrypted = message.encrypted.is_some() && !message.has_old_key;
        if self.group_membership(id) != Some(Membership::Member)
            || self.pending.has(Purpose::GroupSend(timestamp))
            || !self.is_listed()
        {
            return;
        }
        // Without our key, we do not know who can read it.
        let is_usable = is_encrypted && self.groups.own.contains_key(&id);
        if is_usable || self.encrypt_group_message(now, timestamp, id, rng) {
            self.send_group_message(now, timestamp, rng);
        }
    }

    /// Why messages to a group wait now.
    pub fn group_delay(&self, id: GroupId) -> Option<GroupDelay> {
        let group = self.groups.groups.get(&id)?;
        // Others may have joined, or were removed.
        if group.reading.is_needed() {
            Some(GroupDelay::Unread)
        } else if group.is_behind(self.us.account) {
            Some(GroupDelay::ChangeMissing)
        } else if group.reading.is_locked_out() {
            Some(GroupDelay::NoKeys)
        } else if self.is_alone(id) {
            Some(GroupDelay::NobodyHasJoined)
        } else {
            None
        }
    }

    /// Whether we are the only member, and somebody else may join: people who join later cannot read earlier messages.
    fn is_alone(&self, id: GroupId) -> bool {
        let Some(group) = self.groups.groups.get(&id) else { return false };
        group.state().is_some_and(|state| {
            let may_grow = !state.invited.is_empty() || !group.wanted.is_empty();
            state.members.len() == 1 && may_grow
        })
    }

    /// The people whom we have invited, or want to invite, if we are the only member and somebody may join.
    fn invited_people(&self, id: GroupId) -> Option<BTreeSet<AccountId>> {
        let group = self.groups.groups.get(&id).filter(|_| self.is_alone(id))?;
        Some(group.invited_people())
    }

    /// Whether a message waits until somebody joins whom we had invited when it was written: it is not for people who have come with
    /// a link since.
    pub(super) fn awaits_invited(&self, message: &GroupMessage) -> bool {
        let Some(audience) = &message.audience else { return false };
        let Some(group) = self.groups.groups.get(&message.group) else { return false };
        let invited = group.invited_people();
        !audience.iter().any(|account| group.is_staying(*account))
            && audience.iter().any(|account| invited.contains(account))
    }

    /// The first message to a group that is not set aside.
    fn next_group_message(&self, id: GroupId) -> Option<(Timestamp, &GroupMessage)> {
        let keyless = self.keyless(id);
        let mut messages = self.groups.outbox.iter().filter(|(_, message)| message.group == id);
        let next = messages.find(|(_, message)| {
            !self.is_set_aside(message, &keyless) && !self.awaits_invited(message)
        });
        next.map(|(timestamp, message)| (*timestamp, message))
    }

    /// Encrypts a message, if all members have our sender key for whom the server has room. Otherwise begins to give it to them.
    fn encrypt_group_message(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        id: GroupId,
        rng: &mut impl CryptoRngCore,
    ) -> bool {
        let Some(recipients) = self.group_recipients(now, id) else { return false };
        let mut changes = Changes::default();
        self.renew_own_key(now, id, &recipients, &mut changes, rng);
        self.distribute(now, id, &recipients, &mut changes);
        if self.is_distributing(id) {
            self.commit(changes, Vec::new());
            return false;
        }
        let plaintext = self.group_plaintext(timestamp, id);
        let recipients =
            self.groups.outbox.get(&timestamp).map(|message| self.recipients_of(message));
        let groups = &mut self.groups;
        let (Some(own), Some(message)) =
            (groups.own.get_mut(&id), groups.outbox.get_mut(&timestamp))
        else {
            return false;
        };
        let Ok(encrypted) = own.key.encrypt(&plaintext, rng) else {
            self.give_up_group_message(timestamp, SendFailure::TooLong, changes);
            return false;
        };
        (message.encrypted, message.has_old_key) = (Some(encrypted.into()), false);
        changes.put_own_key(id, own);
        changes.put_group_outgoing(timestamp, message);
        let recipients = recipients.unwrap_or_default();
        self.log_sent_to_group(now, (id, timestamp), &recipients, plaintext, &mut changes);
        self.commit(changes, Vec::new());
        true
    }

    /// The padded content of a message, which names its group.
    fn group_plaintext(&self, timestamp: Timestamp, id: GroupId) -> Zeroizing<Vec<u8>> {
        let revision = self.group_state(id).map_or(0, |state| state.revision);
        let mut content = GroupContent::notice(id, revision);
        let message = self.groups.outbox.get(&timestamp).filter(|message| message.is_written());
        let inner = message.and_then(|message| Content::decode_stored(&message.content).ok());
        content.inner = inner.map(Box::new);
        pad(&Content::Group(Box::new(content)).encode())
    }

    /// The devices of all members to which we can write. `None`: the keys of some are requested.
    fn group_recipients(&mut self, now: Timestamp, id: GroupId) -> Option<Vec<Recipient>> {
        let (recipients, missing) = self.known_recipients(now, id);
        let is_complete = missing.is_empty();
        missing.into_iter().for_each(|account| self.request_bundles(account));
        is_complete.then_some(recipients)
    }

    /// The devices of the members to which we can write, and the members whose keys we need for that.
    pub(super) fn known_recipients(
        &self,
        now: Timestamp,
        id: GroupId,
    ) -> (Vec<Recipient>, Vec<AccountId>) {
        let (mut recipients, mut missing) = (Vec::new(), Vec::new());
        let group = self.groups.groups.get(&id);
        let members = group.and_then(Group::state).map(|state| state.members.keys());
        for account in members.into_iter().flatten().copied() {
            // A member that we want to remove gets nothing, even if the server has not accepted that yet. Nor does somebody whose identity
            // key is not the one that the user and the group know.
            let gets_nothing = group.is_some_and(|group| group.is_removing(account))
                || self.is_unsettled(id, account);
            if account == self.us.account || gets_nothing || self.groups.absent.contains(&account) {
                continue;
            }
            let devices = self.devices(account);
            let usable =
                |device: &DeviceId| self.can_encrypt(now, Address { account, device: *device });
            if devices.is_empty() || !devices.iter().all(usable) {
                missing.push(account);
                continue;
            }
            let devices = devices.into_iter().map(|device| {
                let record = self.sessions.get(&Address { account, device });
                let registration_id = record.and_then(|record| record.their_registration_id());
                (device, registration_id.unwrap_or_default())
            });
            recipients.push(Recipient { account, devices: devices.collect() });
        }
        (recipients, missing)
    }

    /// Seals an encrypted message for the devices that have its key, and sends it.
    pub(super) fn send_group_message(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        rng: &mut impl CryptoRngCore,
    ) {
        let Some(message) = self.groups.outbox.get(&timestamp) else { return };
        let (id, Some(encrypted)) = (message.group, message.encrypted.clone()) else { return };
        let recipients = self.recipients_of(message);
        let is_first = message.waiting.is_none();
        let mut keyless = if is_first { self.keyless_members(id) } else { BTreeSet::new() };
        keyless.retain(|account| message.is_for(*account));
        if recipients.is_empty() && keyless.is_empty() {
            return self.nobody_to_send_to(now, timestamp);
        }
        if let Some(message) = self.groups.outbox.get_mut(&timestamp) {
            message.sealed_for = devices_of(&recipients);
            message.keyless = keyless;
        }
        if recipients.is_empty() {
            return self.group_message_stored(now, timestamp, &[]);
        }
        let Some(certificate) = self.usable_certificate(now) else { return };
        let content = sealed_content(certificate, id, encrypted.to_vec(), ContentHint::Resendable);
        let sealed = MultiRecipientMessage::seal(&content, &self.identity.pair, &recipients, rng);
        let mut changes = Changes::default();
        let Ok(sealed) = sealed else {
            return self.give_up_group_message(timestamp, SendFailure::NotAuthentic, changes);
        };
        self.add_recipients(timestamp, &recipients, &mut changes);
        let left_out = self.left_out_of(&recipients);
        let message = sealed.encode().into();
        let request = Request::SendGroup { timestamp, message, left_out, is_online: false };
        let request = self.request(Purpose::GroupSend(timestamp), request);
        self.commit(changes, vec![request]);
    }

    /// The devices of recipients that get nothing on purpose.
    pub(super) fn left_out_of(&self, recipients: &[SealedRecipient]) -> Vec<(AccountId, LeftOut)> {
        let left_out = recipients.iter().filter_map(|SealedRecipient { account, .. }| {
            Some((*account, self.left_out(*account)?))
        });
        left_out.collect()
    }

    /// The members for whom a message must be sealed, with their devices that have its key.
    fn recipients_of(&self, message: &GroupMessage) -> Vec<SealedRecipient> {
        // All devices of an account get a message, or none.
        let without = self.distributed(message.group);
        let is_wanted = |account: AccountId| match &message.waiting {
            None => true,
            Some(waiting) => waiting.lacks_key(account) && !message.has_old_key,
        };
        let holders = self.groups.own.get(&message.group).into_iter().flat_map(|own| &own.holders);
        let absent = &self.groups.absent;
        let wanted = holders.filter(|(address, _)| {
            let account = address.account;
            let is_wanted = is_wanted(account) && message.is_for(account);
            is_wanted && !without.contains(&account) && !absent.contains(&account)
        });
        let kept = message.waiting.iter().flat_map(|waiting| &waiting.devices);
        let among = wanted.chain(kept).map(|(address, id)| (*address, *id)).collect();
        self.members_among(message.group, &among)
    }

    /// The members to whom our sender key is on its way.
    fn keyless_members(&self, id: GroupId) -> BTreeSet<AccountId> {
        let Some(group) = self.groups.groups.get(&id) else { return BTreeSet::new() };
        let mut keyless = self.keyless(id);
        keyless.retain(|account| group.is_staying(*account));
        keyless
    }

    /// Those of some devices that belong to members to whom we may write, and are in their lists, by member.
    pub(super) fn members_among(
        &self,
        id: GroupId,
        among: &BTreeMap<Address, u32>,
    ) -> Vec<SealedRecipient> {
        let Some(group) = self.groups.groups.get(&id) else { return Vec::new() };
        let Some(state) = group.state() else { return Vec::new() };
        let mut devices: BTreeMap<AccountId, Vec<SealedDevice>> = BTreeMap::new();
        let listed = among.iter().filter(|(it, _)| self.is_device_listed(it.account, it.device));
        for (address, registration_id) in listed {
            let registration_id = u16::try_from(*registration_id).unwrap_or_default();
            let device = SealedDevice { device: address.device, registration_id };
            devices.entry(address.account).or_default().push(device);
        }
        let stays = devices.into_iter().filter(|(account, _)| group.is_staying(*account));
        let members = stays.filter_map(|(account, devices)| {
            let identity = state.members.get(&account)?.identity;
            let peer = self.peers.get(&account)?;
            let is_trusted = peer.identity == identity && peer.changed.is_none();
            is_trusted.then_some(SealedRecipient { account, identity, devices })
        });
        let mut room = LeftOut::MAX_IN_GROUP;
        // The server accepts no more names: members with too many unsigned devices get nothing; the others do.
        let named = members.filter(|SealedRecipient { account, .. }| {
            let count = self.left_out(*account).map_or(0, |it| it.devices.len());
            let rest = room.checked_sub(count);
            room = rest.unwrap_or(room);
            rest.is_some()
        });
        named.collect()
    }

    /// Our certificate, if it is valid for some time. Otherwise requests one.
    pub(super) fn usable_certificate(&mut self, now: Timestamp) -> Option<SenderCertificate> {
        let certificate = self.groups.certificate.clone();
        let valid = certificate.filter(|it| it.expires().0 > now.0.saturating_add(MARGIN));
        if valid.is_none() && !self.pending.has(Purpose::Certificate) {
            let request = self.request(Purpose::Certificate, Request::Certificate);
            self.outputs.push_back(request);
        }
        valid
    }

    /// Handles the response to a request for our certificate.
    pub(in super::super) fn handle_certificate(&mut self, response: Response) {
        if let Response::Certificate(certificate) = response {
            self.groups.certificate = Some(*certificate);
            self.dirty_outbox();
        }
    }

    /// Continues with all messages.
    pub(in super::super) fn dirty_outbox(&mut self) {
        let groups = self.groups.outbox.values().map(|message| message.group);
        self.groups.dirty.extend(groups);
    }

    /// Handles the keys of an account, or their absence.
    pub(in super::super) fn record_bundles(&mut self, account: AccountId, has_devices: bool) {
        if !has_devices {
            self.groups.absent.insert(account);
        }
        if !self.pending.has_bundles() {
            self.dirty_outbox();
        }
    }
}

/// The message that is sealed for the members of a group.
pub(super) fn sealed_content(
    certificate: SenderCertificate,
    id: GroupId,
    message: Vec<u8>,
    hint: ContentHint,
) -> SealedContent {
    let group = Some(id.as_bytes().to_vec());
    SealedContent { certificate, kind: SealedKind::SenderKey, message, hint, group }
}

/// The devices of recipients, with their registration ids.
fn devices_of(recipients: &[SealedRecipient]) -> BTreeMap<Address, u32> {
    let devices = recipients.iter().flat_map(|SealedRecipient { account, devices, .. }| {
        devices
            .iter()
            .map(|it| (Address { account: *account, device: it.device }, it.registration_id.into()))
    });
    devices.collect()
}

/// Milliseconds for which a certificate must still be valid.
const MARGIN: u64 = 5 * 60 * 1000;
