//! Changes of the store, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{
    AccountId, Address, Changes, Content, Failed, MessageRef, StoreKey, Timestamp, Unreadable,
};
use zeroize::Zeroizing;

use super::arrival::Arrival;
use super::database::Transaction;
use super::history::{History, HistoryChange, HistoryWriter};
use super::records::{Contact, Registration};
use super::requests::{People, PeopleChanges};
use super::sealing::Table;
use super::{ReceivedId, Store, StoreError, StoredMessage, expiry, items, state_key};
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
    /// The application's notes about received messages.
    pub(in crate::chat) notes: BTreeMap<ReceivedId, Secret>,
    /// Accounts that we write to.
    pub(in crate::chat) written_to: BTreeSet<AccountId>,
    /// Messages that cannot be sent, and that the application has taken: they are removed.
    pub(in crate::chat) forgotten: Vec<Timestamp>,
    /// Settings: name, at most 64 bytes, and the new value; `None` removes it.
    pub(in crate::chat) settings: Vec<(String, Option<Secret>)>,
    pub(in crate::chat) people: PeopleChanges,
    /// Changes of the message history, in their order, other than messages that arrive.
    pub(in crate::chat) history: Vec<HistoryChange>,
    /// Whether deleted rows must be overwritten in the log, too.
    pub(in crate::chat) erases: bool,
}

/// An encoded message that has arrived.
#[derive(Debug)]
pub(in crate::chat) struct NewMessage {
    pub(super) from: Option<Address>,
    pub(super) timestamp: Timestamp,
    /// Identifies one that could not be read.
    pub(super) envelope: Option<EnvelopeHash>,
    /// Whether it belongs to a group, whose members need not know each other.
    pub(super) is_in_group: bool,
    pub(super) value: Secret,
}

/// SHA-256 of an envelope.
pub(crate) type EnvelopeHash = [u8; 32];

#[cfg(test)]
impl NewMessage {
    pub(super) fn damage(&mut self) {
        self.value.truncate(20);
    }
}

impl Commit {
    /// Adds changes of the client, which replace earlier values of the same rows.
    pub(crate) fn add(&mut self, changes: Changes) {
        self.add_from(changes, None);
    }

    /// Adds changes of the client because of an envelope.
    pub(crate) fn add_from(&mut self, changes: Changes, envelope: Option<EnvelopeHash>) {
        let Changes { rows, received, unreadable, failed, outbox, erases } = changes;
        self.erases |= erases;
        for (key, value) in rows {
            self.bytes += value.as_ref().map_or(0, |value| value.len());
            let previous = self.rows.insert(key, value);
            let previous = previous.flatten().map_or(0, |value| value.len());
            self.bytes = self.bytes.saturating_sub(previous);
        }
        for message in &received {
            let value = items::encode_received(message);
            let (from, timestamp) = (Some(message.from), message.timestamp);
            let is_in_group = matches!(message.content, Content::Group(_));
            self.add_message(NewMessage { from, timestamp, envelope: None, is_in_group, value });
        }
        for message in &unreadable {
            let value = items::encode_unreadable(message);
            let Unreadable { from, timestamp, .. } = *message;
            let is_in_group = false;
            self.add_message(NewMessage { from, timestamp, envelope, is_in_group, value });
        }
        self.history.extend(outbox.into_iter().map(HistoryChange::Outbox));
        for message in failed {
            self.history.push(HistoryChange::Failed(message.timestamp));
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
            notes,
            written_to,
            forgotten,
            settings,
            people,
            history,
            erases: _,
        } = self;
        let is_taken = !taken.is_empty() || !forgotten.is_empty();
        let has_messages =
            !received.is_empty() || !failed.is_empty() || !notes.is_empty() || !history.is_empty();
        let has_accounts = !contacts.is_empty() || !written_to.is_empty() || !people.is_empty();
        let has_rows = !rows.is_empty() || has_accounts || !settings.is_empty();
        registration.is_none() && !is_taken && !has_messages && !has_rows
    }
}

impl Store {
    /// Whether a setting can have this name.
    ///
    /// # Errors
    /// It is too long.
    pub(crate) const fn check_setting_name(name: &str) -> Result<(), StoreError> {
        if name.len() > MAX_SETTING_NAME { Err(StoreError::SettingNameTooLong) } else { Ok(()) }
    }

    /// Makes changes durable, in one transaction. Returns the ids of the received messages among them, in their order. A
    /// message that has arrived before is left out.
    ///
    /// # Errors
    /// The store cannot be written. Close it, and open it again: either all changes are in it, or none.
    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<Vec<ReceivedId>, StoreError> {
        let mut transaction = self.database.begin(&self.keys)?;
        let read = read_messages(&transaction, &self.history, &commit.taken)?;
        write_rows(&mut transaction, commit)?;
        self.known.extend(&commit.written_to);
        let own = commit.registration.as_ref().and_then(|registration| registration.account);
        self.history.set_own(own);
        self.known.extend(own.map(|address| address.account));
        self.accepted.extend(own.map(|address| address.account));
        self.accepted.extend(&commit.written_to);
        let accepted = commit.contacts.values().filter(|contact| contact.is_accepted());
        self.accepted.extend(accepted.map(|contact| contact.account));
        let known = commit.contacts.values().filter(|contact| contact.is_known());
        self.known.extend(known.map(|contact| contact.account));
        for id in &commit.taken {
            self.received.remove(*id);
            self.ends.remove(*id);
        }
        let mut people = People {
            rows: &mut transaction,
            requests: &mut self.requests,
            blocked: &mut self.blocked,
            accepted: &self.accepted,
        };
        let accepted = people.write(&commit.people)?;
        let mut arrival = Arrival {
            people,
            holds_requests: self.holds_requests,
            new_requests: &mut self.new_requests,
            keys: &self.keys,
            seen: &mut self.seen,
            index: &mut self.received,
            known: &self.known,
        };
        let received = arrival.write(&accepted, &commit.received)?;
        for (id, note) in commit.notes.iter().filter(|(id, _)| self.received.contains(**id)) {
            transaction.put(Table::Note, &id.0.to_be_bytes(), note)?;
        }
        let failed = write_failed(&mut transaction, commit)?;
        let mut ends = expiry::ends_of_read(&transaction, &self.received, &commit.history)?;
        let is_erased = write_history(
            HistoryWriter::new(&mut transaction, &mut self.history, now()).knowing(&self.accepted),
            commit,
            &received,
            &read,
            &mut ends,
        )?;
        self.ends.write(&mut transaction, ends)?;
        transaction.commit()?;
        if is_erased || commit.erases {
            self.database.wipe_log()?;
        }
        self.failed = self.failed.saturating_add_signed(failed);
        Ok(received.into_iter().map(|(id, _)| id).collect())
    }
}

/// The messages with which the application is done.
fn read_messages(
    rows: &Transaction<'_>,
    history: &History,
    taken: &[ReceivedId],
) -> Result<Vec<MessageRef>, StoreError> {
    let mut read = Vec::new();
    for id in taken.iter().filter(|_| history.is_on()) {
        let value = rows.get(Table::Received, &id.0.to_be_bytes())?;
        if let Some(value) = value
            && let Ok(StoredMessage::Read(message)) = items::decode_received(&value)
        {
            read.push(MessageRef { author: message.from.account, timestamp: message.timestamp });
        }
    }
    Ok(read)
}

/// Writes what a commit changes in the history, and notes when arrived messages disappear. Returns whether the log must be overwritten.
fn write_history(
    mut writer: HistoryWriter<'_, '_>,
    commit: &Commit,
    arrived: &[(ReceivedId, &[u8])],
    read: &[MessageRef],
    ends: &mut Vec<(ReceivedId, Timestamp)>,
) -> Result<bool, StoreError> {
    if !writer.is_on() {
        ends.extend(expiry::ends_of_arrived(&writer, arrived)?);
        return Ok(false);
    }
    for (_, value) in arrived {
        // Changes of messages are in `commit.history`.
        if let Ok(StoredMessage::Read(message)) = items::decode_received(value)
            && message.content.is_visible()
        {
            writer.receive(message)?;
        }
    }
    commit.history.iter().try_for_each(|change| writer.apply(change))?;
    read.iter().try_for_each(|message| writer.read(*message))?;
    ends.extend(expiry::ends_of_arrived(&writer, arrived)?);
    writer.finish()
}

fn write_rows(rows: &mut Transaction<'_>, commit: &Commit) -> Result<(), StoreError> {
    if let Some(registration) = &commit.registration {
        rows.put(Table::Registration, &[], &registration.encode())?;
    }
    for (account, contact) in &commit.contacts {
        rows.put(Table::Contact, account.as_bytes(), &contact.encode())?;
    }
    for (name, value) in &commit.settings {
        Store::check_setting_name(name)?;
        rows.set(Table::Setting, name.as_bytes(), value.as_deref().map(Vec::as_slice))?;
    }
    for (key, value) in &commit.rows {
        let value = value.as_deref().map(Vec::as_slice);
        rows.set(Table::Client, &state_key::encode(key), value)?;
    }
    for account in &commit.written_to {
        rows.put(Table::WrittenTo, account.as_bytes(), &[])?;
    }
    for id in &commit.taken {
        rows.set(Table::Received, &id.0.to_be_bytes(), None)?;
        rows.set(Table::Note, &id.0.to_be_bytes(), None)?;
        rows.set(Table::ReceivedEnd, &id.0.to_be_bytes(), None)?;
    }
    Ok(())
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

/// Maximum length of a setting's name in bytes. A row's key has at most 255.
const MAX_SETTING_NAME: usize = 64;
