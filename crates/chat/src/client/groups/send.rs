//! Messages to groups: each member device gets our sender key once, in its session; then a message is encrypted once for all.
//!
//! | a message of the outbox | next |
//! |---|---|
//! | is not encrypted, and the devices of a member are unknown | `Request::Bundles` |
//! | is not encrypted, and devices do not have our sender key | `Commit` (a message with the key for each such account) |
//! | is not encrypted, and all have the key, except members for whom the server has no room | `Commit` (the sender key, the ciphertext), then `Request::SendGroup` |
//! | is encrypted | sealed for the devices that have the key: `Request::SendGroup` |
//! | the server reports other devices | `Commit` (a new key, if a device has left), then from the beginning, at most 5 times |
//! | the server wants devices to have it that a member has not signed | the same twice, then without this member |
//! | the server has it | `Commit` (a copy for our other devices); `Sent` |
//! | the server has no room for some members | `Commit`; `PartlySent`; the same for them, later: see `waiting` |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::super::exchange::{AccountDevices, LeftOut, Request, Response};
use super::super::pending::Purpose;
use super::super::store::{Changes, OutboxChange, StoreKey};
use super::super::{ClientEvent, ClientOutput, SendFailure};
use super::waiting::Waiting;
use super::{Client, Group, GroupEvent, Membership};
use crate::address::{AccountId, Address, DeviceId};
use crate::certificate::SenderCertificate;
use crate::content::{Content, GroupContent, GroupTranscript, SyncMessage};
use crate::group::GroupId;
use crate::padding::pad;
use crate::sealed_sender::{
    ContentHint, MultiRecipientMessage, SealedContent, SealedDevice, SealedKind, SealedRecipient,
};
use crate::time::Timestamp;

/// A message to a group that the server has not accepted yet.
#[derive(Debug)]
pub(super) struct GroupMessage {
    pub(super) group: GroupId,
    /// The encoded content. Empty: the message only says which change is the last one.
    pub(super) content: Zeroizing<Vec<u8>>,
    /// The encrypted message, which may have been sent. It is sent again unchanged until the server requires a change.
    pub(super) encrypted: Option<Arc<[u8]>>,
    /// Number of times the server reported different devices.
    pub(super) attempts: u32,
    /// The members who have not got it yet, after others have. `None` if no member has got it, as far as we know.
    pub(super) waiting: Option<Waiting>,
    /// The devices for which it was sealed last, and their registration ids.
    pub(super) sealed_for: BTreeMap<Address, u32>,
    /// The members who must get our sender key before it can be sent to them. Known when it was sealed for the others.
    pub(super) keyless: BTreeSet<AccountId>,
    /// Whether our sender key was replaced since the message was encrypted. Members without the earlier key never get it.
    pub(super) has_old_key: bool,
}

impl GroupMessage {
    pub(super) const fn new(group: GroupId, content: Zeroizing<Vec<u8>>) -> Self {
        Self {
            group,
            content,
            encrypted: None,
            attempts: 0,
            waiting: None,
            sealed_for: BTreeMap::new(),
            keyless: BTreeSet::new(),
            has_old_key: false,
        }
    }

    /// Whether the user has written it.
    pub(super) fn is_written(&self) -> bool {
        !self.content.is_empty()
    }
}

/// The devices of a member to which we can encrypt.
pub(super) struct Recipient {
    pub(super) account: AccountId,
    /// With their registration ids.
    devices: BTreeMap<DeviceId, u32>,
}

impl Recipient {
    /// Its devices, with their registration ids.
    pub(super) fn devices(&self) -> impl Iterator<Item = (Address, u32)> {
        let account = self.account;
        let address = move |device| Address { account, device };
        self.devices.iter().map(move |(device, id)| (address(*device), *id))
    }
}

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
        let message = GroupMessage::new(group, content);
        changes.put_last_written(timestamp);
        changes.put_group_outgoing(timestamp, &message);
        self.groups.outbox.insert(timestamp, message);
        self.groups.dirty.insert(group);
    }

    /// Whether a message that is not encrypted yet will tell the members about the last change.
    pub(super) fn has_waiting_notice(&self, id: GroupId) -> bool {
        let mut messages = self.groups.outbox.values();
        messages.any(|message| {
            message.group == id && message.encrypted.is_none() && message.waiting.is_none()
        })
    }

    /// Continues with the messages to a group.
    pub(super) fn advance_group_messages(
        &mut self,
        now: Timestamp,
        id: GroupId,
        rng: &mut impl CryptoRngCore,
    ) {
        if self.is_group_behind(id) {
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

    /// The first message to a group that is not set aside.
    fn next_group_message(&self, id: GroupId) -> Option<(Timestamp, &GroupMessage)> {
        let keyless = self.keyless(id);
        let mut messages = self.groups.outbox.iter().filter(|(_, message)| message.group == id);
        let next = messages.find(|(_, message)| !self.is_set_aside(message, &keyless));
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
        let keyless = if is_first { self.keyless_members(id) } else { BTreeSet::new() };
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
            is_wanted(account) && !without.contains(&account) && !absent.contains(&account)
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

    /// Handles the response to a message.
    pub(in super::super) fn handle_group_send_response(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        response: Response,
    ) {
        match response {
            Response::Done | Response::Sent { .. } => {
                self.group_message_stored(now, timestamp, &[]);
            }
            Response::GroupSent { gone, full } => {
                self.groups.absent.extend(gone);
                self.group_message_stored(now, timestamp, &full);
            }
            Response::GroupMismatched(accounts) if accounts.is_empty() => {}
            Response::GroupMismatched(accounts) => self.repair_group(timestamp, accounts),
            Response::Refused | Response::NotFound | Response::IntraApp => {
                self.give_up_group_message(timestamp, SendFailure::Refused, Changes::default());
            }
            Response::Bundles(..)
            | Response::Certificate(_)
            | Response::DeviceList(_)
            | Response::DeviceListConflict
            | Response::GroupConflict { .. }
            | Response::GroupEntries { .. }
            | Response::Mismatched { .. }
            | Response::NoRoom
            | Response::Stale(_)
            | Response::Unavailable => {}
        }
    }

    /// The server has delivered nothing: members have other devices than those with our key.
    fn repair_group(&mut self, timestamp: Timestamp, accounts: Vec<AccountDevices>) {
        let mut changes = Changes::default();
        let groups = &mut self.groups;
        let Some(message) = groups.outbox.get_mut(&timestamp) else { return };
        let id = message.group;
        (message.encrypted, message.has_old_key) = (None, false);
        if let Some(waiting) = &mut message.waiting {
            waiting.devices.clear();
        }
        message.attempts += 1;
        let attempts = message.attempts;
        let insists = |it: &&AccountDevices| {
            let is_gone = !it.extra.is_empty() || !it.stale.is_empty();
            !is_gone && self.are_left_out(it.account, &it.missing)
        };
        // The others get it without these members.
        let refused: BTreeSet<_> = match attempts > MAX_INSISTENCE {
            true => accounts.iter().filter(insists).map(|it| it.account).collect(),
            false => BTreeSet::new(),
        };
        if attempts > MAX_ATTEMPTS && refused.is_subset(&self.groups.absent) {
            let why = SendFailure::DevicesKeepChanging;
            return self.give_up_group_message(timestamp, why, changes);
        }
        let groups = &mut self.groups;
        groups.absent.extend(&refused);
        if accounts.iter().all(|it| refused.contains(&it.account)) {
            // Nothing else is requested whose answer would continue.
            groups.dirty.insert(id);
        }
        let Some(message) = groups.outbox.get_mut(&timestamp) else { return };
        changes.put_group_outgoing(timestamp, message);
        // A device that has left can read what is encrypted with this key.
        let has_left = accounts.iter().any(|it| !it.extra.is_empty() || !it.stale.is_empty());
        if has_left && groups.own.remove(&id).is_some() {
            changes.delete(StoreKey::OwnSenderKey(id));
            self.cancel_distributions(id, &mut changes);
        }
        for AccountDevices { account, extra, stale, .. } in &accounts {
            // The server may name a device any number of times.
            for device in extra.iter().chain(stale).collect::<BTreeSet<_>>() {
                let address = Address { account: *account, device: *device };
                if let Some(record) = self.sessions.get_mut(&address) {
                    record.archive();
                    changes.put_session(address, record, &mut self.archived_rows);
                }
            }
        }
        self.commit(changes, Vec::new());
        let asked = accounts.into_iter().filter(|it| !refused.contains(&it.account));
        asked.for_each(|it| self.request_bundles(it.account));
    }

    /// The server has a message for all members.
    pub(super) fn group_message_sent(&mut self, now: Timestamp, timestamp: Timestamp) {
        let Some(message) = self.groups.outbox.remove(&timestamp) else { return };
        let mut changes = Changes::default();
        changes.delete(StoreKey::GroupOutgoing(timestamp));
        changes.outbox.extend(message.is_written().then_some(OutboxChange::Sent(timestamp)));
        self.renew_sent_to_group(now, timestamp, &mut changes);
        self.groups.dirty.insert(message.group);
        // If some had to wait, our other devices know it already.
        let is_new = message.waiting.is_none();
        let copy = if is_new { self.copy_of(now, timestamp, &message, &mut changes) } else { None };
        let sent = ClientEvent::Group(message.group, GroupEvent::Sent(timestamp));
        let event = message.is_written().then_some(ClientOutput::Event(sent));
        self.commit(changes, event.into_iter().collect());
        if let Some(copy) = copy {
            self.advance(now, copy);
        }
    }

    /// Our other devices must learn what we have sent. Returns the timestamp of the message for them.
    pub(super) fn copy_of(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        message: &GroupMessage,
        changes: &mut Changes,
    ) -> Option<Timestamp> {
        let content = Content::decode_stored(&message.content).ok();
        let written = if let Some(Content::Data(data)) = content {
            Some((*data, None))
        } else if let Some(Content::Edit(edit)) = content {
            Some((edit.message, Some(edit.target)))
        } else {
            None
        };
        match written {
            Some((written, edits)) if self.groups.other_devices != Some(false) => {
                let group = message.group;
                let transcript = GroupTranscript { group, timestamp, message: written, edits };
                let sync = SyncMessage::SentToGroup(Box::new(transcript)).encode();
                Some(self.put_sync(now, &Content::Sync(sync.to_vec()), changes))
            }
            Some(_) | None => None,
        }
    }

    pub(super) fn give_up_group_message(
        &mut self,
        timestamp: Timestamp,
        why: SendFailure,
        mut changes: Changes,
    ) {
        self.drop_group_message(timestamp, why, &mut changes);
        let events = self.take_group_events();
        self.commit(changes, events);
    }

    /// Removes a message from the outbox, because it cannot be sent.
    pub(super) fn drop_group_message(
        &mut self,
        timestamp: Timestamp,
        why: SendFailure,
        changes: &mut Changes,
    ) {
        let Some(message) = self.groups.outbox.remove(&timestamp) else { return };
        self.pending.forget(Purpose::GroupSend(timestamp));
        changes.delete(StoreKey::GroupOutgoing(timestamp));
        if message.is_written() {
            let event = match message.waiting {
                None => {
                    changes.failed.push(message.failed(timestamp, self.us.account, why));
                    GroupEvent::NotSent(timestamp, why)
                }
                // The others have it.
                Some(waiting) => {
                    changes.outbox.push(OutboxChange::Sent(timestamp));
                    GroupEvent::NotSentTo(timestamp, waiting.accounts.into_iter().collect(), why)
                }
            };
            self.group_event(message.group, event);
        }
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

    /// Whether our account has other devices, as the server says.
    pub(in super::super) fn record_other_devices(&mut self, has_others: bool) {
        self.groups.other_devices = Some(has_others);
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

/// How many times a message is encrypted again because the server reported different devices.
const MAX_ATTEMPTS: u32 = 5;

/// The same, if it wants the message to go to devices that a member has not signed: then this member does not get it.
const MAX_INSISTENCE: u32 = 2;

/// Milliseconds for which a certificate must still be valid.
const MARGIN: u64 = 5 * 60 * 1000;
