//! Changes of the store, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{AccountId, Address, Changes, Failed, StoreKey, Timestamp};
use zeroize::Zeroizing;

use super::database::Transaction;
use super::records::{Contact, Registration};
use super::sealing::Table;
use super::seen::Seen;
use super::{ReceivedId, Store, StoreError, items, state_key};
use crate::chat::account::now;

type Secret = Zeroizing<Vec<u8>>;

/// Changes that become durable together, or not at all.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// The newest value of each row of the client; `None` deletes it.
    pub(in crate::chat) rows: BTreeMap<StoreKey, Option<Secret>>,
    pub(in crate::chat) received: Vec<NewMessage>,
    pub(in crate::chat) failed: Vec<Failed>,
    /// Bytes in all of these.
    pub(in crate::chat) bytes: usize,
    /// The registration, replacing the previous one.
    pub(in crate::chat) registration: Option<Registration>,
    pub(in crate::chat) contacts: BTreeMap<AccountId, Contact>,
    /// Received messages that the application has taken: they are removed.
    pub(in crate::chat) taken: Vec<ReceivedId>,
    /// Messages that cannot be sent, and that the application has taken: they are removed.
    pub(in crate::chat) forgotten: Vec<Timestamp>,
    /// Settings: name, at most 64 bytes, and the new value; `None` removes it.
    pub(in crate::chat) settings: Vec<(String, Option<Secret>)>,
}

/// An encoded message that has arrived.
#[derive(Debug)]
pub(in crate::chat) struct NewMessage {
    /// Identifies a message that could be read.
    id: Option<(Address, Timestamp)>,
    value: Secret,
}

#[cfg(test)]
impl NewMessage {
    pub(super) fn damage(&mut self) {
        self.value.truncate(20);
    }
}

impl Commit {
    /// Adds changes of the client, which replace earlier values of the same rows.
    pub(crate) fn add(&mut self, changes: Changes) {
        let Changes { rows, received, unreadable, failed } = changes;
        for (key, value) in rows {
            self.bytes += value.as_ref().map_or(0, |value| value.len());
            let previous = self.rows.insert(key, value);
            let previous = previous.flatten().map_or(0, |value| value.len());
            self.bytes = self.bytes.saturating_sub(previous);
        }
        for message in &received {
            let id = Some((message.from, message.timestamp));
            self.add_message(NewMessage { id, value: items::encode_received(message) });
        }
        for message in &unreadable {
            self.add_message(NewMessage { id: None, value: items::encode_unreadable(message) });
        }
        for message in failed {
            self.bytes += message.content.len();
            self.failed.push(message);
        }
    }

    fn add_message(&mut self, message: NewMessage) {
        self.bytes += message.value.len();
        self.received.push(message);
    }

    /// Adds a contact, which replaces the one with the same account.
    pub(crate) fn add_contact(&mut self, contact: Contact) {
        self.contacts.insert(contact.account, contact);
    }

    /// The length of what the client wants to store, in bytes. It is about what this uses of the memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of messages that have arrived.
    pub(crate) const fn messages(&self) -> usize {
        self.received.len()
    }

    /// Whether there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            rows,
            received,
            failed,
            bytes: _,
            registration,
            contacts,
            taken,
            forgotten,
            settings,
        } = self;
        let is_taken = !taken.is_empty() || !forgotten.is_empty();
        let has_messages = !received.is_empty() || !failed.is_empty();
        let has_rows = !rows.is_empty() || !contacts.is_empty() || !settings.is_empty();
        registration.is_none() && !is_taken && !has_messages && !has_rows
    }
}

impl Store {
    /// Makes changes durable, in one transaction. Returns the ids of the received messages among them, in their order. A
    /// message that has arrived before is left out.
    ///
    /// # Errors
    /// The store cannot be written. Close it, and open it again: either all changes are in it, or none.
    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<Vec<ReceivedId>, StoreError> {
        let mut transaction = self.database.begin(&self.keys)?;
        write_rows(&mut transaction, commit)?;
        let received = write_received(&mut transaction, &mut self.seen, &commit.received)?;
        let new = received.iter().filter(|(_, value)| items::is_unreadable(value));
        let mut unreadable = self.unreadable.clone();
        unreadable.extend(new.map(|(id, _)| *id));
        commit.taken.iter().for_each(|id| {
            unreadable.remove(id);
        });
        let dropped = drop_oldest(&mut transaction, &mut unreadable)?;
        let failed = write_failed(&mut transaction, commit)?;
        transaction.commit()?;
        self.unreadable = unreadable;
        self.received.extend(received.iter().map(|(id, value)| (*id, value.len())));
        for id in commit.taken.iter().chain(&dropped) {
            self.received.remove(id);
        }
        self.failed = self.failed.saturating_add_signed(failed);
        Ok(received.into_iter().map(|(id, _)| id).collect())
    }
}

fn write_rows(rows: &mut Transaction<'_>, commit: &Commit) -> Result<(), StoreError> {
    if let Some(registration) = &commit.registration {
        rows.put(Table::Registration, &[], &registration.encode())?;
    }
    for (account, contact) in &commit.contacts {
        rows.put(Table::Contact, account.as_bytes(), &contact.encode())?;
    }
    for (name, value) in &commit.settings {
        if name.len() > MAX_SETTING_NAME {
            return Err(StoreError::SettingNameTooLong);
        }
        rows.set(Table::Setting, name.as_bytes(), value.as_deref().map(Vec::as_slice))?;
    }
    for (key, value) in &commit.rows {
        let value = value.as_deref().map(Vec::as_slice);
        rows.set(Table::Client, &state_key::encode(key), value)?;
    }
    for id in &commit.taken {
        rows.set(Table::Received, &id.0.to_be_bytes(), None)?;
    }
    Ok(())
}

/// Writes messages that have arrived. Returns their ids and values.
fn write_received<'a>(
    rows: &mut Transaction<'_>,
    seen: &mut Seen,
    messages: &'a [NewMessage],
) -> Result<Vec<(ReceivedId, &'a [u8])>, StoreError> {
    let day = u32::try_from(now().0 / MILLISECONDS_PER_DAY).unwrap_or(u32::MAX);
    let is_new = |message: &&NewMessage| {
        message.id.is_none_or(|(from, timestamp)| seen.insert(from, timestamp, day))
    };
    let messages: Vec<_> = messages.iter().filter(is_new).collect();
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    seen.write(rows)?;
    let last = rows.get(Table::LastReceived, &[])?;
    let last = last.map(|last| items::decode_received_id(&last)).transpose()?;
    let mut last = last.map_or(0, |ReceivedId(last)| last);
    let mut written = Vec::new();
    for NewMessage { value, .. } in messages {
        last += 1;
        rows.put(Table::Received, &last.to_be_bytes(), value)?;
        written.push((ReceivedId(last), value.as_slice()));
    }
    rows.put(Table::LastReceived, &[], &last.to_be_bytes())?;
    Ok(written)
}

/// Removes the oldest messages that could not be read, if there are too many. Returns their ids.
fn drop_oldest(
    rows: &mut Transaction<'_>,
    unreadable: &mut BTreeSet<ReceivedId>,
) -> Result<Vec<ReceivedId>, StoreError> {
    let mut dropped = Vec::new();
    while unreadable.len() > MAX_UNREADABLE {
        let Some(id) = unreadable.pop_first() else { break };
        rows.set(Table::Received, &id.0.to_be_bytes(), None)?;
        dropped.push(id);
    }
    Ok(dropped)
}

/// Writes messages that cannot be sent, and removes those that the application has taken. Returns how many more there are.
fn write_failed(rows: &mut Transaction<'_>, commit: &Commit) -> Result<isize, StoreError> {
    let mut more = 0;
    for message in &commit.failed {
        let key = message.timestamp.0.to_be_bytes();
        more += isize::from(rows.get(Table::Failed, &key)?.is_none());
        rows.put(Table::Failed, &key, &items::encode_failed(message))?;
    }
    for timestamp in &commit.forgotten {
        let key = timestamp.0.to_be_bytes();
        more -= isize::from(rows.get(Table::Failed, &key)?.is_some());
        rows.set(Table::Failed, &key, None)?;
    }
    Ok(more)
}

/// Maximum number of messages that could not be read; the oldest is removed first.
const MAX_UNREADABLE: usize = 1000;

/// Maximum length of a setting's name in bytes. A row's key has at most 255.
const MAX_SETTING_NAME: usize = 64;

const MILLISECONDS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
