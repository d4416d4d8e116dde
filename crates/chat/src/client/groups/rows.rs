//! The durable rows of groups (docs/chat-protocol.md "Stored rows").

use std::collections::BTreeSet;

use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::super::store::{
    Changes, RestoreError, StoreKey, put_bytes, read_bytes, read_device, read_flag, read_key,
    read_time,
};
use super::announcements::Announced;
use super::message::GroupMessage;
use super::missing::MissingChange;
use super::receive::{Early, TheirKey};
use super::removal::Removal;
use super::sender_key::OwnKey;
use super::waiting::Waiting;
use super::wanted::WantedChange;
use super::{Client, Group, Known};
use crate::address::{AccountId, Address};
use crate::group::{
    AccessHashes, AdminKey, Announcement, Author, Basis, Draft, EntryHash, EpochKeys, GroupChange,
    GroupId, GroupLink, GroupSecret, GroupView, LinkPassword, ReadingKey,
};
use crate::record::SessionPeer;
use crate::sender_key::{DistributionId, SenderKey, SenderKeyRecord};
use crate::time::Timestamp;

impl Client {
    /// Stores a group.
    pub(super) fn put_group(&self, id: GroupId, changes: &mut Changes) {
        if let Some(group) = self.groups.groups.get(&id) {
            // A later state of the same step replaces an earlier one.
            changes.rows.retain(|(key, _)| *key != StoreKey::Group(id));
            changes.rows.push((StoreKey::Group(id), Some(group.encode())));
        }
    }

    /// Restores one of the rows of groups.
    pub(in super::super) fn restore_group_row(
        &mut self,
        key: StoreKey,
        value: &mut Reader<'_>,
    ) -> Result<(), RestoreError> {
        let groups = &mut self.groups;
        match key {
            StoreKey::Group(id) => {
                groups.groups.insert(id, Group::decode(value)?);
            }
            StoreKey::OwnSenderKey(id) => {
                groups.own.insert(id, read_own(value)?);
            }
            StoreKey::SenderKey { from, distribution } => {
                let group = GroupId::from_bytes(value.array()?);
                let registration_id = value.u32_be()?;
                let bytes = value.take(value.rest().len())?;
                let record = SenderKeyRecord::decode(bytes).map_err(|_| RestoreError::Damaged)?;
                if record.distribution() != distribution {
                    return Err(RestoreError::Damaged);
                }
                groups
                    .keys
                    .insert((from, distribution), TheirKey { group, registration_id, record });
            }
            StoreKey::GroupOutgoing(timestamp) => {
                groups.outbox.insert(timestamp, read_message(value)?);
            }
            StoreKey::SentToGroup(_) | StoreKey::ResentToGroup { .. } => {
                groups.sent.restore(key, value)?;
            }
            StoreKey::EarlyGroupMessage(number) => {
                groups.early.insert(number, read_early(value)?);
            }
            StoreKey::Account
            | StoreKey::ArchivedSession { .. }
            | StoreKey::DeviceList(_)
            | StoreKey::KemPreKey(_)
            | StoreKey::LastWritten
            | StoreKey::Newest(_)
            | StoreKey::OneTimePreKey(_)
            | StoreKey::Outgoing(_)
            | StoreKey::Peer(_)
            | StoreKey::Retry { .. }
            | StoreKey::SentMessage { .. }
            | StoreKey::Session(_)
            | StoreKey::SessionWithoutOneTimePreKey { .. }
            | StoreKey::SignedDeviceList
            | StoreKey::SignedPreKey(_)
            | StoreKey::Unpublished => {}
        }
        Ok(())
    }
}

impl Changes {
    pub(super) fn put_own_key(&mut self, id: GroupId, own: &OwnKey) {
        let key = own.key.encode();
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let mut value = Vec::with_capacity(16 + 4 + key.len() + own.holders.len() * 21);
        value.extend(own.epoch.to_be_bytes());
        value.extend(own.created.0.to_be_bytes());
        put_bytes(&mut value, &key);
        for (address, registration_id) in &own.holders {
            put_address(&mut value, *address);
            value.extend(registration_id.to_be_bytes());
        }
        self.put(StoreKey::OwnSenderKey(id), value);
    }

    pub(super) fn put_their_key(
        &mut self,
        from: Address,
        distribution: DistributionId,
        key: &TheirKey,
    ) {
        let record = key.record.encode();
        let id = key.registration_id.to_be_bytes();
        let value = [&key.group.as_bytes()[..], &id, &record].concat();
        self.put(StoreKey::SenderKey { from, distribution }, value);
    }

    pub(super) fn put_group_outgoing(&mut self, timestamp: Timestamp, message: &GroupMessage) {
        let encrypted = message.encrypted.as_deref();
        let waiting = message.waiting.as_ref();
        let names = waiting.map_or(0, |it| 8 + 16 * it.accounts.len() + 21 * it.devices.len());
        let names = names + message.audience.as_ref().map_or(0, |it| 4 + 16 * it.len());
        let room = 32 + message.content.len() + encrypted.map_or(0, <[u8]>::len) + names;
        let mut value = Vec::with_capacity(room);
        value.extend(message.group.as_bytes());
        value.extend(message.attempts.to_be_bytes());
        let is_waiting = if waiting.is_some() { HAS_WAITING } else { 0 };
        let has_old_key = if message.has_old_key { HAS_OLD_KEY } else { 0 };
        let has_audience = if message.audience.is_some() { HAS_AUDIENCE } else { 0 };
        value.push(u8::from(encrypted.is_some()) | is_waiting | has_old_key | has_audience);
        if let Some(audience) = &message.audience {
            value.extend(u32::try_from(audience.len()).unwrap_or(u32::MAX).to_be_bytes());
            value.extend(audience.iter().flat_map(|account| *account.as_bytes()));
        }
        if let Some(waiting) = waiting {
            // A group has at most 1000 members.
            value.extend(u32::try_from(waiting.accounts.len()).unwrap_or(u32::MAX).to_be_bytes());
            value.extend(waiting.accounts.iter().flat_map(|account| *account.as_bytes()));
            value.extend(u32::try_from(waiting.devices.len()).unwrap_or(u32::MAX).to_be_bytes());
            for (address, registration_id) in &waiting.devices {
                put_address(&mut value, *address);
                value.extend(registration_id.to_be_bytes());
            }
        }
        put_bytes(&mut value, &message.content);
        value.extend(encrypted.unwrap_or_default());
        self.put(StoreKey::GroupOutgoing(timestamp), value);
    }

    pub(super) fn put_early(&mut self, number: u64, early: &Early) {
        let mut value = Vec::with_capacity(84 + early.bytes.len());
        put_address(&mut value, early.from);
        value.extend(early.timestamp.0.to_be_bytes());
        value.push(early.group.is_some().into());
        value.extend(early.group.iter().flat_map(|group| *group.as_bytes()));
        value.push(early.peer.is_some().into());
        if let Some(SessionPeer { identity, registration_id }) = &early.peer {
            value.extend(identity.as_u());
            value.extend(registration_id.to_be_bytes());
        }
        value.extend(&early.bytes);
        self.put(StoreKey::EarlyGroupMessage(number), value);
    }
}

impl Group {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let view = self.view().map(GroupView::encode);
        let wanted = self.wanted.iter();
        let wanted: Vec<_> = wanted.map(|wanted| (wanted.basis, wanted.change.encode())).collect();
        let room = 256
            + view.as_ref().map_or(0, |view| view.len())
            + wanted.iter().map(|(_, change)| change.len() + 16).sum::<usize>()
            + self.draft.as_ref().map_or(0, |draft| draft.entry.len())
            + self.candidates.len() * 96
            + self.others.len() * 192;
        // In one piece: see above.
        let mut value = Zeroizing::new(Vec::with_capacity(room));
        value.push(FORMAT);
        match &self.known {
            Known::Announced(keys, announced) => {
                value.push(0);
                put_keys(&mut value, keys);
                put_announced(&mut value, announced);
            }
            Known::Link(link) => {
                value.push(2);
                value.extend(link.group.as_bytes());
                value.extend(link.key.as_secret().expose());
                value.extend(link.password.expose());
                value.extend(link.revision.to_be_bytes());
                value.extend(link.head.0);
            }
            Known::View(_) => {
                value.push(1);
                put_bytes(&mut value, view.as_ref().map_or(&[][..], |view| view));
            }
        }
        self.removal.encode(&mut value);
        value.push(self.was_asked.into());
        value.extend(self.announced.to_be_bytes());
        value.push(self.announcer.is_some().into());
        value.extend(self.announcer.iter().flat_map(|account| *account.as_bytes()));
        // There are few changes (`Group::want`), at most 64 candidates, and at most 8 other announcements.
        value.extend(u16::try_from(wanted.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (basis, change) in &wanted {
            value.extend(basis.epoch.to_be_bytes());
            value.push(basis.has_link.into());
            put_bytes(&mut value, change);
        }
        value.push(u8::try_from(self.candidates.len()).unwrap_or(u8::MAX));
        for (from, keys) in &self.candidates {
            value.extend(from.as_bytes());
            put_keys(&mut value, keys);
        }
        value.push(u8::try_from(self.others.len()).unwrap_or(u8::MAX));
        for Announced { from, keys, announcement } in &self.others {
            value.extend(from.as_bytes());
            put_keys(&mut value, keys);
            put_announced(&mut value, announcement);
        }
        value.push(self.missing.is_some().into());
        if let Some(missing) = &self.missing {
            value.extend(missing.by.as_bytes());
            value.extend(missing.revision.to_be_bytes());
        }
        if let Some(draft) = &self.draft {
            put_draft(&mut value, draft);
        }
        value
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, RestoreError> {
        match value.u8()? {
            FORMAT => {}
            other => return Err(RestoreError::UnknownFormat(other)),
        }
        let known = match value.u8()? {
            0 => {
                let keys = read_keys(value)?;
                Known::Announced(keys, read_announced(value)?)
            }
            1 => {
                let view = GroupView::decode(read_bytes(value)?);
                Known::View(Box::new(view.map_err(|_| RestoreError::Damaged)?))
            }
            2 => Known::Link(Box::new(read_link(value)?)),
            _ => return Err(RestoreError::Damaged),
        };
        let mut group = Self::new(known);
        group.removal = Removal::decode(value)?;
        group.was_asked = read_flag(value)?;
        group.announced = u64::from_be_bytes(value.array()?);
        if read_flag(value)? {
            group.announcer = Some(AccountId::from_bytes(value.array()?));
        }
        for _ in 0..u16::from_be_bytes(value.array()?) {
            let basis = Basis { epoch: value.u32_be()?, has_link: read_flag(value)? };
            let change = GroupChange::decode(read_bytes(value)?);
            let change = change.map_err(|_| RestoreError::Damaged)?;
            group.wanted.push_back(WantedChange { id: None, basis, change });
        }
        for _ in 0..value.u8()? {
            let from = AccountId::from_bytes(value.array()?);
            group.candidates.push((from, read_keys(value)?));
        }
        for _ in 0..value.u8()? {
            let (from, keys) = (AccountId::from_bytes(value.array()?), read_keys(value)?);
            group.others.push(Announced { from, keys, announcement: read_announced(value)? });
        }
        if read_flag(value)? {
            let by = AccountId::from_bytes(value.array()?);
            let revision = u64::from_be_bytes(value.array()?);
            group.missing = Some(MissingChange::new(by, revision));
        }
        if !value.is_empty() {
            let revision = u64::from_be_bytes(value.array()?);
            let keys = read_flag(value)?.then(|| read_keys(value)).transpose()?;
            let replaces = read_flag(value)?.then(|| read_hashes(value)).transpose()?;
            let entry = value.take(value.rest().len())?.to_vec();
            group.draft = Some(Draft { revision, entry, keys, replaces });
        }
        Ok(group)
    }
}

pub(super) fn put_address(value: &mut Vec<u8>, address: Address) {
    value.extend(address.account.as_bytes());
    value.push(address.device.number());
}

pub(super) fn read_address(value: &mut Reader<'_>) -> Result<Address, RestoreError> {
    Ok(Address { account: AccountId::from_bytes(value.array()?), device: read_device(value)? })
}

fn put_keys(value: &mut Vec<u8>, keys: &EpochKeys) {
    value.extend(keys.secret.as_secret().expose());
    value.push(keys.admin.is_some().into());
    value.extend(keys.admin.iter().flat_map(|admin| *admin.as_secret().expose()));
}

fn read_keys(value: &mut Reader<'_>) -> Result<EpochKeys, RestoreError> {
    let secret = GroupSecret::from_secret(read_secret(value)?);
    let admin = read_flag(value)?.then(|| read_secret(value)).transpose()?;
    Ok(EpochKeys { secret, admin: admin.map(AdminKey::from_secret) })
}

fn read_hashes(value: &mut Reader<'_>) -> Result<AccessHashes, RestoreError> {
    let (member, admin) = (value.array()?, value.array()?);
    let link = if read_flag(value)? { Some(value.array()?) } else { None };
    Ok(AccessHashes { member, admin, link })
}

fn read_link(value: &mut Reader<'_>) -> Result<GroupLink, RestoreError> {
    Ok(GroupLink {
        group: GroupId::from_bytes(value.array()?),
        key: ReadingKey::from_secret(read_secret(value)?),
        password: LinkPassword::from_secret(read_secret(value)?),
        revision: u64::from_be_bytes(value.array()?),
        head: EntryHash(value.array()?),
    })
}

fn read_secret<const N: usize>(value: &mut Reader<'_>) -> Result<Secret<N>, RestoreError> {
    Ok(Secret::new(*Zeroizing::new(value.array()?)))
}

fn put_draft(value: &mut Vec<u8>, draft: &Draft) {
    value.extend(draft.revision.to_be_bytes());
    value.push(draft.keys.is_some().into());
    if let Some(keys) = &draft.keys {
        put_keys(value, keys);
    }
    value.push(draft.replaces.is_some().into());
    if let Some(AccessHashes { member, admin, link }) = &draft.replaces {
        value.extend([*member, *admin].as_flattened());
        value.push(link.is_some().into());
        value.extend(link.iter().flatten());
    }
    value.extend(&draft.entry);
}

fn put_announced(value: &mut Vec<u8>, announced: &Announcement) {
    value.push(announced.by.is_some().into());
    if let Some(by) = announced.by {
        value.extend(by.account.as_bytes());
        value.extend(by.identity.as_u());
    }
    value.extend(announced.revision.to_be_bytes());
    value.extend(announced.head.0);
}

fn read_announced(value: &mut Reader<'_>) -> Result<Announcement, RestoreError> {
    let by = if read_flag(value)? {
        let account = AccountId::from_bytes(value.array()?);
        Some(Author { account, identity: read_key(value)? })
    } else {
        None
    };
    Ok(Announcement {
        by,
        revision: u64::from_be_bytes(value.array()?),
        head: EntryHash(value.array()?),
    })
}

fn read_own(value: &mut Reader<'_>) -> Result<OwnKey, RestoreError> {
    let epoch = value.u32_be()?;
    let created = read_time(value)?;
    let key = SenderKey::decode(read_bytes(value)?).map_err(|_| RestoreError::Damaged)?;
    let mut own = OwnKey { key, epoch, created, holders: Default::default() };
    while !value.is_empty() {
        own.holders.insert(read_address(value)?, value.u32_be()?);
    }
    Ok(own)
}

fn read_message(value: &mut Reader<'_>) -> Result<GroupMessage, RestoreError> {
    let group = GroupId::from_bytes(value.array()?);
    let attempts = value.u32_be()?;
    let flags = value.u8()?;
    if flags & !(IS_ENCRYPTED | HAS_WAITING | HAS_OLD_KEY | HAS_AUDIENCE) != 0 {
        return Err(RestoreError::Damaged);
    }
    let audience = flags & HAS_AUDIENCE != 0;
    let audience = if audience { Some(read_accounts(value)?) } else { None };
    let waiting = flags & HAS_WAITING != 0;
    let waiting = if waiting { Some(read_waiting(value)?) } else { None };
    let content = Zeroizing::new(read_bytes(value)?.to_vec());
    let bytes = value.take(value.rest().len())?;
    let encrypted = (flags & IS_ENCRYPTED != 0).then(|| bytes.into());
    let has_old_key = flags & HAS_OLD_KEY != 0;
    let message = GroupMessage::new(group, content);
    Ok(GroupMessage { encrypted, audience, attempts, waiting, has_old_key, ..message })
}

fn read_accounts(value: &mut Reader<'_>) -> Result<BTreeSet<AccountId>, RestoreError> {
    let count = value.u32_be()?;
    (0..count).map(|_| Ok(AccountId::from_bytes(value.array()?))).collect()
}

fn read_waiting(value: &mut Reader<'_>) -> Result<Waiting, RestoreError> {
    let mut waiting = Waiting::default();
    waiting.accounts = read_accounts(value)?;
    for _ in 0..value.u32_be()? {
        waiting.devices.insert(read_address(value)?, value.u32_be()?);
    }
    Ok(waiting)
}

fn read_early(value: &mut Reader<'_>) -> Result<Early, RestoreError> {
    let from = read_address(value)?;
    let timestamp = read_time(value)?;
    let group = if read_flag(value)? { Some(GroupId::from_bytes(value.array()?)) } else { None };
    let peer = if read_flag(value)? { Some(read_peer(value)?) } else { None };
    let bytes = value.take(value.rest().len())?.to_vec();
    Ok(Early { from, timestamp, group, peer, bytes })
}

fn read_peer(value: &mut Reader<'_>) -> Result<SessionPeer, RestoreError> {
    Ok(SessionPeer { identity: read_key(value)?, registration_id: value.u32_be()? })
}

/// The format that we write.
const FORMAT: u8 = 1;

/// Flags of a message: it is encrypted; the server had no room for some members; our sender key was replaced since.
const IS_ENCRYPTED: u8 = 1;
const HAS_WAITING: u8 = 2;
const HAS_OLD_KEY: u8 = 4;
const HAS_AUDIENCE: u8 = 8;
