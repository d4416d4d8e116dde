//! Durable state, as rows for any store that can write several rows atomically
//! (docs/chat-protocol.md "Stored rows").
//!
//! The values are secret: encrypt them before storing them.

use wormhole_kit::{Reader, Secret, TooShort};
use zeroize::Zeroizing;

use super::account::Confirmed;
use super::exchange::DeviceCiphertext;
use super::outbox::{Lifetime, Outgoing};
use super::peer::Peer;
use super::retries::Retry;
use super::sent_log::Logged;
use super::sessions::ArchivedRows;
use super::{Client, Failed, PreKeys, Received, Unreadable};
use crate::address::{AccountId, Address, DeviceId};
use crate::content::Content;
use crate::group::GroupId;
use crate::kem::KemKeyPair;
use crate::key::{KeyPair, PrivateKey, PublicKey, Signature};
use crate::message::{Ciphertext, CiphertextKind};
use crate::prekey::{KemPreKey, OneTimePreKey, SignedPreKey};
use crate::record::{Identity, SessionRecord};
use crate::sender_key::DistributionId;
use crate::time::Timestamp;

/// The changes of one step. All become durable, or none.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Rows to write (`Some`) and to delete (`None`), in this order.
    pub rows: Vec<(StoreKey, Option<Zeroizing<Vec<u8>>>)>,
    /// Received messages: the application must store them in the same transaction.
    pub received: Vec<Received>,
    /// Messages that could not be read: the application must store that in the same transaction, because they are
    /// acknowledged then.
    pub unreadable: Vec<Unreadable>,
    /// Messages that cannot be sent: the application must store them in the same transaction, because they are not in the
    /// outbox any more.
    pub failed: Vec<Failed>,
    /// New states of our messages, for an application that keeps a history: it can store them in the same transaction.
    pub outbox: Vec<OutboxChange>,
    /// Whether deleted rows have texts that should not be found in the files any more: overwrite them in logs, too.
    pub erases: bool,
}

/// A change of the outbox, without those for our other devices. `Debug` does not print the content.
#[derive(Clone, Eq, PartialEq)]
pub enum OutboxChange {
    /// A message is in the outbox.
    Added {
        /// Identifies it.
        timestamp: Timestamp,
        /// The recipient.
        to: AccountId,
        /// The content, with the timestamp.
        content: Box<Content>,
    },
    /// A message to a group is in the outbox.
    AddedToGroup {
        /// Identifies it.
        timestamp: Timestamp,
        /// The group.
        group: GroupId,
        /// The content, with the timestamp.
        content: Box<Content>,
    },
    /// A message was removed, as the user wanted.
    Cancelled {
        /// Identifies it.
        timestamp: Timestamp,
        /// Whether it was encrypted, so that the server may have it.
        is_encrypted: bool,
    },
    /// The server has a message.
    Sent(Timestamp),
}

impl std::fmt::Debug for OutboxChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Added { timestamp, to, content: _ } => {
                f.debug_struct("Added").field("timestamp", timestamp).field("to", to).finish()
            }
            Self::AddedToGroup { timestamp, group, content: _ } => {
                let mut shown = f.debug_struct("AddedToGroup");
                shown.field("timestamp", timestamp).field("group", group).finish()
            }
            Self::Cancelled { timestamp, .. } => {
                f.debug_tuple("Cancelled").field(timestamp).finish()
            }
            Self::Sent(timestamp) => f.debug_tuple("Sent").field(timestamp).finish(),
        }
    }
}

/// The key of a row.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum StoreKey {
    /// Our account and identity.
    Account,
    /// The newest signed list of the devices of an account.
    DeviceList(AccountId),
    /// A message that arrived before its sender key; greater numbers arrived later.
    EarlyGroupMessage(u64),
    /// A group.
    Group(GroupId),
    /// A message to a group that the server has not yet accepted.
    GroupOutgoing(Timestamp),
    /// The key with which we write to a group.
    OwnSenderKey(GroupId),
    /// The keys with which a device writes to a group.
    SenderKey {
        /// The device.
        from: Address,
        /// The id of the keys.
        distribution: DistributionId,
    },
    /// Whether a message to a group must be sent again to one device, and how often it was.
    ResentToGroup {
        /// The device.
        to: Address,
        /// The timestamp of the message.
        timestamp: Timestamp,
    },
    /// A message to a group that the server may have got lately.
    SentToGroup(Timestamp),
    /// A session that started without one of our one-time prekeys.
    SessionWithoutOneTimePreKey {
        /// The signed prekey.
        signed: u32,
        /// The post-quantum prekey.
        kem: Option<u32>,
        /// The initiator's base key.
        base_key: PublicKey,
    },
    /// A post-quantum prekey of ours.
    KemPreKey(u32),
    /// The timestamp of the last message that we sent.
    LastWritten,
    /// A one-time prekey of ours.
    OneTimePreKey(u32),
    /// A message that the server has not yet accepted.
    Outgoing(Timestamp),
    /// Information about an account.
    Peer(AccountId),
    /// The current session with one device.
    Session(Address),
    /// The newest list of our devices that this device has signed. The server may not have accepted it.
    SignedDeviceList,
    /// A signed prekey of ours.
    SignedPreKey(u32),
    /// Present if the server may not have our newest prekeys.
    Unpublished,
    /// An archived session with one device.
    ArchivedSession {
        /// The device.
        address: Address,
        /// Greater for sessions that were archived later.
        number: u64,
    },
    /// The newest timestamps of the messages of a device.
    Newest(Address),
    /// A message that could not be decrypted, and that we have asked for again.
    Retry {
        /// The device that sent it.
        from: Address,
        /// Its timestamp.
        timestamp: Timestamp,
    },
    /// A message that the server has accepted lately.
    SentMessage {
        /// The recipient.
        to: AccountId,
        /// Its timestamp.
        timestamp: Timestamp,
    },
}

impl Changes {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        let Self { rows, received, unreadable, failed, outbox, erases: _ } = self;
        let has_messages = !received.is_empty() || !unreadable.is_empty() || !failed.is_empty();
        rows.is_empty() && !has_messages && outbox.is_empty()
    }

    pub(super) fn put(&mut self, key: StoreKey, value: Vec<u8>) {
        self.rows.push((key, Some(Zeroizing::new(value))));
    }

    pub(super) fn delete(&mut self, key: StoreKey) {
        self.rows.push((key, None));
    }

    pub(super) fn put_account(&mut self, us: Address, identity: &Identity) {
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let value = [
            &[FORMAT][..],
            us.account.as_bytes(),
            &[us.device.number()],
            identity.pair.private().as_secret().expose(),
            &identity.registration_id.to_be_bytes(),
        ];
        self.put(StoreKey::Account, value.concat());
    }

    pub(super) fn put_last_written(&mut self, timestamp: Timestamp) {
        self.put(StoreKey::LastWritten, timestamp.0.to_be_bytes().to_vec());
    }

    /// Stores the current session with a device, and those archived ones that have changed.
    pub(super) fn put_session(
        &mut self,
        address: Address,
        record: &SessionRecord,
        stored: &mut ArchivedRows,
    ) {
        self.rows.push((StoreKey::Session(address), Some(record.encode_current())));
        record.update_rows(stored.entry(address).or_default(), |number, value| {
            self.rows.push((StoreKey::ArchivedSession { address, number }, value));
        });
    }

    pub(super) fn put_one_time(&mut self, key: &OneTimePreKey) {
        let private = key.pair.private().as_secret().expose();
        self.put(StoreKey::OneTimePreKey(key.id), private.to_vec());
    }

    pub(super) fn put_signed(&mut self, key: &SignedPreKey) {
        let private = key.pair.private().as_secret().expose();
        let value = [&private[..], &key.signature.0, &key.created.0.to_be_bytes()].concat();
        self.put(StoreKey::SignedPreKey(key.id), value);
    }

    pub(super) fn put_kem(&mut self, key: &KemPreKey) {
        let value = [
            &key.pair.private_bytes()[..],
            &key.signature.0,
            &[u8::from(key.last_resort)],
            &key.created.0.to_be_bytes(),
        ];
        self.put(StoreKey::KemPreKey(key.id), value.concat());
    }

    pub(super) fn put_confirmed(&mut self, confirmed: Confirmed) {
        let Confirmed { one_time, signed, kem } = confirmed;
        self.put(StoreKey::Unpublished, [one_time, signed, kem].map(u32::to_be_bytes).concat());
    }

    pub(super) fn put_outgoing(&mut self, timestamp: Timestamp, outgoing: &Outgoing) {
        let messages = outgoing.ciphertexts.iter().flat_map(|ciphertexts| ciphertexts.iter());
        let ciphertexts: usize =
            messages.clone().map(|message| 10 + message.ciphertext.bytes.len()).sum();
        // In one piece: see above.
        let devices = outgoing.encrypted_for.len();
        let mut value = Vec::with_capacity(26 + outgoing.plaintext.len() + ciphertexts + devices);
        value.extend(outgoing.to.as_bytes());
        put_bytes(&mut value, &outgoing.plaintext);
        value.push(match &outgoing.ciphertexts {
            Some(_) => 1,
            None if outgoing.encrypted_for.is_empty() => 0,
            None => 2,
        });
        value.push(outgoing.steps);
        value.extend(outgoing.attempts.to_be_bytes());
        if outgoing.ciphertexts.is_none() {
            value.extend(outgoing.encrypted_for.iter().map(|device| device.number()));
        }
        for message in messages {
            value.push(message.device.number());
            value.extend(message.registration_id.to_be_bytes());
            value.push(u8::from(message.ciphertext.kind == CiphertextKind::PreKey));
            put_bytes(&mut value, &message.ciphertext.bytes);
        }
        self.put(StoreKey::Outgoing(timestamp), value);
    }

    pub(super) fn delete_outgoing(&mut self, timestamp: Timestamp) {
        self.delete(StoreKey::Outgoing(timestamp));
    }
}

pub(super) fn put_bytes(value: &mut Vec<u8>, bytes: &[u8]) {
    // Messages are far shorter than 4 GiB.
    value.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    value.extend(bytes);
}

/// A row with its value.
type StoredRow = (StoreKey, Zeroizing<Vec<u8>>);

impl Client {
    /// Restores a client from the committed rows. Pass in [`super::ClientInput::Connected`] next.
    ///
    /// # Errors
    /// The store is damaged, was written by a newer program, or has no account.
    pub fn restore(rows: impl IntoIterator<Item = StoredRow>) -> Result<Self, RestoreError> {
        let rows: Vec<_> = rows.into_iter().collect();
        let account = rows.iter().find(|(key, _)| *key == StoreKey::Account);
        let (_, account) = account.ok_or(RestoreError::NoAccount)?;
        let (us, identity) = read_account(account)?;
        let mut client = Self::empty(us, identity);
        for (key, value) in &rows {
            client.restore_row(*key, &mut Reader::new(value))?;
        }
        client.restore_archived(&rows)?;
        client.pin_session_keys();
        client.restore_distributions();
        Ok(client)
    }

    pub(super) fn empty(us: Address, identity: Identity) -> Self {
        Self {
            us,
            identity,
            prekeys: PreKeys::default(),
            lists: Default::default(),
            peers: Default::default(),
            kept: Default::default(),
            described: Default::default(),
            sessions: Default::default(),
            archived_rows: Default::default(),
            outbox: Default::default(),
            groups: Default::default(),
            last_written: Timestamp(0),
            newest: Default::default(),
            retries: Default::default(),
            sent_log: Default::default(),
            repairs: Default::default(),
            is_rolled_back: false,
            roots: Default::default(),
            pending: Default::default(),
            last_request: 0,
            last_commit: 0,
            held: Default::default(),
            outputs: Default::default(),
        }
    }

    /// Adds the archived sessions to their records, oldest first.
    fn restore_archived(&mut self, rows: &[StoredRow]) -> Result<(), RestoreError> {
        let archived = rows.iter().filter_map(|(key, value)| {
            let StoreKey::ArchivedSession { address, number } = key else { return None };
            Some((*address, *number, value))
        });
        let mut archived: Vec<_> = archived.collect();
        archived.sort_unstable_by_key(|(address, number, _)| (*address, *number));
        for (address, number, value) in archived {
            let record = self.sessions.get_mut(&address).ok_or(RestoreError::Damaged)?;
            let row = record.add_archived(number, value).map_err(|_| RestoreError::Damaged)?;
            self.archived_rows.entry(address).or_default().push(row);
        }
        Ok(())
    }

    /// A session without a row for its account: its key is the first that we saw. Without this, a key that
    /// the server names later would count as the first.
    fn pin_session_keys(&mut self) {
        for (address, record) in &self.sessions {
            if let Some(identity) = record.their_identity() {
                self.peers.entry(address.account).or_insert_with(|| Peer::new(*identity));
            }
        }
    }

    fn restore_row(&mut self, key: StoreKey, value: &mut Reader<'_>) -> Result<(), RestoreError> {
        let prekeys = &mut self.prekeys;
        match key {
            // These are restored separately.
            StoreKey::Account | StoreKey::ArchivedSession { .. } => return Ok(()),
            StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key } => {
                let sessions = prekeys.sessions_without_one_time_prekey.entry(signed).or_default();
                // Earlier versions of this program stored no account.
                let account = if value.is_empty() { None } else { Some(value.array()?) };
                sessions.insert((kem, base_key), account.map(AccountId::from_bytes));
            }
            StoreKey::DeviceList(account) => self.lists.restore(account, value)?,
            StoreKey::EarlyGroupMessage(_)
            | StoreKey::Group(_)
            | StoreKey::GroupOutgoing(_)
            | StoreKey::OwnSenderKey(_)
            | StoreKey::ResentToGroup { .. }
            | StoreKey::SenderKey { .. }
            | StoreKey::SentToGroup(_) => self.restore_group_row(key, value)?,
            StoreKey::KemPreKey(id) => {
                prekeys.kem.insert(id, read_kem(id, value)?);
            }
            StoreKey::LastWritten => self.last_written = read_time(value)?,
            StoreKey::OneTimePreKey(id) => {
                prekeys.one_time.insert(id, OneTimePreKey { id, pair: read_pair(value)? });
            }
            StoreKey::Outgoing(timestamp) => {
                self.outbox.insert(timestamp, read_outgoing(value)?);
            }
            StoreKey::Peer(account) => {
                self.peers.insert(account, Peer::decode(value)?);
            }
            StoreKey::Session(address) => {
                let bytes = value.take(value.rest().len())?;
                let record = SessionRecord::decode(bytes).map_err(|_| RestoreError::Damaged)?;
                self.sessions.insert(address, record);
            }
            StoreKey::SignedDeviceList => self.lists.own.restore(value)?,
            StoreKey::SignedPreKey(id) => {
                let pair = read_pair(value)?;
                let signature = Signature(value.array()?);
                let created = read_time(value)?;
                prekeys.signed.insert(id, SignedPreKey { id, pair, signature, created });
            }
            StoreKey::Newest(address) => {
                let newest = self.newest.entry(address).or_default();
                while !value.is_empty() {
                    newest.insert(read_time(value)?);
                }
            }
            StoreKey::Retry { from, timestamp } => {
                self.retries.put((from, timestamp), Retry::decode(value)?);
            }
            StoreKey::SentMessage { to, timestamp } => {
                self.sent_log.put((to, timestamp), Logged::decode(value)?);
            }
            StoreKey::Unpublished => {
                let [one_time, signed, kem] = [value.u32_be()?, value.u32_be()?, value.u32_be()?];
                prekeys.confirmed = Some(Confirmed { one_time, signed, kem });
            }
        }
        if value.is_empty() { Ok(()) } else { Err(RestoreError::Damaged) }
    }
}

/// Why a client could not be restored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A row was modified or truncated.
    #[error("the message store is damaged")]
    Damaged,
    /// The store has no account.
    #[error("the message store has no account")]
    NoAccount,
    /// A newer version of this program wrote the store.
    #[error("unknown format {0} of the message store")]
    UnknownFormat(u8),
}

impl From<TooShort> for RestoreError {
    fn from(_: TooShort) -> Self {
        Self::Damaged
    }
}

fn read_account(value: &[u8]) -> Result<(Address, Identity), RestoreError> {
    let mut value = Reader::new(value);
    let format = value.u8()?;
    if format != FORMAT {
        return Err(RestoreError::UnknownFormat(format));
    }
    let account = AccountId::from_bytes(value.array()?);
    let device = read_device(&mut value)?;
    let pair = read_pair(&mut value)?;
    let identity = Identity { pair, registration_id: value.u32_be()? };
    Ok((Address { account, device }, identity))
}

pub(super) fn read_device(value: &mut Reader<'_>) -> Result<DeviceId, RestoreError> {
    DeviceId::new(value.u8()?.into()).ok_or(RestoreError::Damaged)
}

fn read_pair(value: &mut Reader<'_>) -> Result<KeyPair, RestoreError> {
    let secret = Secret::new(*Zeroizing::new(value.array()?));
    Ok(PrivateKey::from_secret(&secret).into())
}

pub(super) fn read_key(value: &mut Reader<'_>) -> Result<PublicKey, RestoreError> {
    PublicKey::from_u(value.array()?).map_err(|_| RestoreError::Damaged)
}

pub(super) fn read_flag(value: &mut Reader<'_>) -> Result<bool, RestoreError> {
    match value.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RestoreError::Damaged),
    }
}

pub(super) fn read_time(value: &mut Reader<'_>) -> Result<Timestamp, RestoreError> {
    Ok(Timestamp(u64::from_be_bytes(value.array()?)))
}

pub(super) fn read_bytes<'a>(value: &mut Reader<'a>) -> Result<&'a [u8], RestoreError> {
    let length = usize::try_from(value.u32_be()?).map_err(|_| RestoreError::Damaged)?;
    Ok(value.take(length)?)
}

fn read_kem(id: u32, value: &mut Reader<'_>) -> Result<KemPreKey, RestoreError> {
    let pair = KemKeyPair::from_private_bytes(value.take(KEM_PRIVATE)?);
    let signature = Signature(value.array()?);
    let last_resort = value.u8()? == 1;
    let created = read_time(value)?;
    let pair = pair.map_err(|_| RestoreError::Damaged)?;
    Ok(KemPreKey { id, pair, signature, last_resort, created })
}

fn read_outgoing(value: &mut Reader<'_>) -> Result<Outgoing, RestoreError> {
    let to = AccountId::from_bytes(value.array()?);
    let plaintext = Zeroizing::new(read_bytes(value)?.to_vec());
    let state = value.u8()?;
    let steps = value.u8()?;
    let attempts = value.u32_be()?;
    let outgoing = Outgoing::new(to, plaintext, Lifetime::Durable);
    let mut outgoing = Outgoing { steps, attempts, ..outgoing };
    if state == 2 {
        while !value.is_empty() {
            outgoing.encrypted_for.insert(read_device(value)?);
        }
        return Ok(outgoing);
    }
    let mut messages = Vec::new();
    while !value.is_empty() {
        let device = read_device(value)?;
        let registration_id = value.u32_be()?;
        let first = value.u8()? == 1;
        let kind = if first { CiphertextKind::PreKey } else { CiphertextKind::Signal };
        let ciphertext = Ciphertext { kind, bytes: read_bytes(value)?.to_vec() };
        outgoing.encrypted_for.insert(device);
        messages.push(DeviceCiphertext { device, registration_id, ciphertext });
    }
    outgoing.ciphertexts = (state == 1).then(|| messages.into());
    Ok(outgoing)
}

/// The format that we write.
const FORMAT: u8 = 1;

/// Length of a post-quantum private key.
const KEM_PRIVATE: usize = 3168;
