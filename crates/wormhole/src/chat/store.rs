//! The store of one device: everything that it must not lose, encrypted in one SQLite file.
//!
//! It holds the rows of [`wormhole_chat::Client`], the registration, contacts, received messages that the
//! application has not taken yet, and settings. It does not know the messaging protocol.
//!
//! | file in the directory | content |
//! |---|---|
//! | `store.sqlite` | sealed rows, and the wrapped master key |
//! | `ID.key` | what opens the master key, if no passphrase does |
//! | `lock` | empty; locked while the store is open |
//!
//! docs/chat-protocol.md "Store" describes the format, and what it does not protect against. All methods block.
//!
//! ```
//! use wormhole::chat::store::{Commit, Protection, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("wormhole-{}-store", std::process::id()));
//! let mut store = Store::create(&directory, &Protection::KeyFile)?;
//! let settings = vec![("colour".into(), Some(b"green".to_vec().into()))];
//! store.commit(&Commit { settings, ..Commit::default() })?;
//! drop(store);
//! let store = Store::open(&directory, None)?;
//! assert_eq!(store.setting("colour")?.as_deref(), Some(&b"green".to_vec()));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```

mod database;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod lock;
mod master;
mod records;
mod sealing;
mod state_key;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand_core::OsRng;
use wormhole_chat::{AccountId, Changes, Received, StoreKey};
use wormhole_disk::private;
use zeroize::Zeroizing;

use database::{Database, Transaction};
use lock::Lock;
use master::{Cost, KeyFile, MasterKey, WrappedKey, Wrapping};
use sealing::{RowKeys, Table};

pub use error::StoreError;
pub use master::{Passphrase, Protection, ProtectionKind};
pub use records::{App, Contact, Registration};

/// An open store. Only one process can open it at a time.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    database: Database,
    keys: RowKeys,
    master: MasterKey,
    /// The received messages in the store.
    received: BTreeSet<ReceivedId>,
    // Dropped last.
    _lock: Lock,
}

/// A row of [`wormhole_chat::Client`]: its key and its secret value.
pub type ClientRow = (StoreKey, Zeroizing<Vec<u8>>);

/// Identifies a received message in the store. Ids increase, and are never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReceivedId(pub u64);

/// Changes that become durable together, or not at all.
#[derive(Debug, Default)]
pub struct Commit {
    /// Changes of the client, in their order. They include received messages.
    pub changes: Vec<Changes>,
    /// The registration, replacing the previous one.
    pub registration: Option<Registration>,
    /// Contacts, each replacing the one with the same account.
    pub contacts: Vec<Contact>,
    /// Received messages that the application has taken: they are removed.
    pub taken: Vec<ReceivedId>,
    /// Settings: name, at most 64 bytes, and the new value; `None` removes it.
    pub settings: Vec<(String, Option<Zeroizing<Vec<u8>>>)>,
}

impl Store {
    /// What opens the store in this directory. `None` if there is no store.
    ///
    /// # Errors
    /// The store cannot be read or is damaged.
    pub fn protection(directory: &Path) -> Result<Option<ProtectionKind>, StoreError> {
        let path = database_file(directory);
        if !path.exists() {
            return Ok(None);
        }
        Ok(database::read_wrapped(&path)?.map(|wrapped| wrapped.kind()))
    }

    /// Creates a store, and the directory if necessary.
    ///
    /// # Errors
    /// `Exists` if there is one. Otherwise it cannot be written.
    pub fn create(directory: &Path, protection: &Protection) -> Result<Self, StoreError> {
        Self::create_with(directory, protection, Cost::DEFAULT)
    }

    fn create_with(
        directory: &Path,
        protection: &Protection,
        cost: Cost,
    ) -> Result<Self, StoreError> {
        private::create_directory(directory)?;
        let lock = Lock::take(&directory.join(LOCK_FILE))?;
        if Self::protection(directory)?.is_some() {
            return Err(StoreError::Exists);
        }
        let master = MasterKey::random(&mut OsRng);
        let wrapped = wrap(directory, &master, protection, cost)?;
        let keys = RowKeys::derive(&master);
        Database::create(&database_file(directory), &wrapped, &keys)?;
        Self::open_with(directory, lock, master, &wrapped)
    }

    /// Opens a store. The passphrase is ignored if a key file protects the store.
    ///
    /// # Errors
    /// `NotFound`, `InUse` by another process, `PassphraseNeeded`, `WrongPassphrase`, `KeyFileMissing`, or the store
    /// is damaged or cannot be read. Nothing has changed.
    pub fn open(directory: &Path, passphrase: Option<&Passphrase>) -> Result<Self, StoreError> {
        let path = database_file(directory);
        if !path.exists() {
            return Err(StoreError::NotFound);
        }
        let lock = Lock::take(&directory.join(LOCK_FILE))?;
        let wrapped = database::read_wrapped(&path)?.ok_or(StoreError::NotFound)?;
        let master = match wrapped.wrapping() {
            Wrapping::KeyFile(id) => wrapped.open_with_file(&KeyFile::read(directory, *id)?)?,
            Wrapping::Passphrase { .. } => {
                wrapped.open_with_passphrase(passphrase.ok_or(StoreError::PassphraseNeeded)?)?
            }
        };
        Self::open_with(directory, lock, master, &wrapped)
    }

    fn open_with(
        directory: &Path,
        lock: Lock,
        master: MasterKey,
        wrapped: &WrappedKey,
    ) -> Result<Self, StoreError> {
        let keys = RowKeys::derive(&master);
        let database = Database::open(&database_file(directory))?;
        database.check(&keys)?;
        let rows = database.rows(&keys, Table::Received)?;
        let ids = rows.iter().map(|(key, _)| records::decode_received_id(key));
        let received = ids.collect::<Result<_, _>>()?;
        let store =
            Self { directory: directory.into(), database, keys, master, received, _lock: lock };
        // Key files of an interrupted change of the protection.
        KeyFile::remove_others(&store.directory, wrapped.key_file())?;
        Ok(store)
    }

    /// Changes what opens the store. The rows stay as they are, so someone who knows the old passphrase and has an
    /// old copy of the file can read a newer copy, too.
    ///
    /// # Errors
    /// The store cannot be written. Either the old protection or the new one opens it.
    pub fn set_protection(&self, protection: &Protection) -> Result<(), StoreError> {
        self.set_protection_with(protection, Cost::DEFAULT)
    }

    fn set_protection_with(&self, protection: &Protection, cost: Cost) -> Result<(), StoreError> {
        // A new key file has another name, so whatever is in the database can be opened at any moment.
        let wrapped = wrap(&self.directory, &self.master, protection, cost)?;
        self.database.replace_wrapped(&wrapped)?;
        KeyFile::remove_others(&self.directory, wrapped.key_file())
    }

    /// The rows of the client, for [`wormhole_chat::Client::restore`].
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn client_rows(&self) -> Result<Vec<ClientRow>, StoreError> {
        let rows = self.database.rows(&self.keys, Table::Client)?;
        rows.into_iter().map(|(key, value)| Ok((state_key::decode(&key)?, value))).collect()
    }

    /// Makes changes durable, in one transaction. Returns the ids of the received messages among them, in their order.
    ///
    /// # Errors
    /// The store cannot be written. Close it, and open it again: either all changes are in it, or none.
    pub fn commit(&mut self, commit: &Commit) -> Result<Vec<ReceivedId>, StoreError> {
        let mut transaction = self.database.begin(&self.keys)?;
        let received = write(&mut transaction, commit)?;
        transaction.commit()?;
        self.received.extend(&received);
        commit.taken.iter().for_each(|id| {
            self.received.remove(id);
        });
        Ok(received)
    }

    /// The registration. `None` in a new store.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn registration(&self) -> Result<Option<Registration>, StoreError> {
        let value = self.database.get(&self.keys, Table::Registration, &[])?;
        value.map(|value| Registration::decode(&value)).transpose()
    }

    /// All contacts, sorted by account.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn contacts(&self) -> Result<Vec<Contact>, StoreError> {
        let rows = self.database.rows(&self.keys, Table::Contact)?;
        let contacts: Result<Vec<_>, _> =
            rows.iter().map(|(key, value)| Contact::decode(key, value)).collect();
        let mut contacts = contacts?;
        contacts.sort_unstable_by_key(|contact| contact.account);
        Ok(contacts)
    }

    /// The contact with this account.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn contact(&self, account: AccountId) -> Result<Option<Contact>, StoreError> {
        let key = account.as_bytes();
        let value = self.database.get(&self.keys, Table::Contact, key)?;
        value.map(|value| Contact::decode(key, &value)).transpose()
    }

    /// The oldest received message with a higher id, or the oldest of all.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn received_after(
        &self,
        id: Option<ReceivedId>,
    ) -> Result<Option<(ReceivedId, Received)>, StoreError> {
        let mut newer = match id {
            Some(ReceivedId(id)) => self.received.range(ReceivedId(id.saturating_add(1))..),
            None => self.received.range(..),
        };
        let Some(id) = newer.next() else { return Ok(None) };
        let value = self.database.get(&self.keys, Table::Received, &id.0.to_be_bytes())?;
        let value = value.ok_or(StoreError::Damaged)?;
        Ok(Some((*id, records::decode_received(&value)?)))
    }

    /// Number of received messages in the store.
    pub fn received_count(&self) -> usize {
        self.received.len()
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn setting(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.database.get(&self.keys, Table::Setting, name.as_bytes())
    }
}

/// Wraps the master key, and writes a key file if one protects it.
fn wrap(
    directory: &Path,
    master: &MasterKey,
    protection: &Protection,
    cost: Cost,
) -> Result<WrappedKey, StoreError> {
    match protection {
        Protection::KeyFile => {
            let file = KeyFile::create(directory, &mut OsRng)?;
            WrappedKey::with_file(master, &file, &mut OsRng)
        }
        Protection::Passphrase(passphrase) => {
            WrappedKey::with_passphrase(master, passphrase, cost, &mut OsRng)
        }
    }
}

/// Writes the rows of a commit.
fn write(rows: &mut Transaction<'_>, commit: &Commit) -> Result<Vec<ReceivedId>, StoreError> {
    if let Some(registration) = &commit.registration {
        rows.put(Table::Registration, &[], &registration.encode())?;
    }
    for contact in &commit.contacts {
        rows.put(Table::Contact, contact.account.as_bytes(), &contact.encode())?;
    }
    for (name, value) in &commit.settings {
        if name.len() > MAX_SETTING_NAME {
            return Err(StoreError::SettingNameTooLong);
        }
        rows.set(Table::Setting, name.as_bytes(), value.as_deref().map(Vec::as_slice))?;
    }
    for (key, value) in commit.changes.iter().flat_map(|changes| &changes.rows) {
        let value = value.as_deref().map(Vec::as_slice);
        rows.set(Table::Client, &state_key::encode(key), value)?;
    }
    let received = commit.changes.iter().flat_map(|changes| &changes.received);
    let received = write_received(rows, received)?;
    for id in &commit.taken {
        rows.set(Table::Received, &id.0.to_be_bytes(), None)?;
    }
    Ok(received)
}

fn write_received<'a>(
    rows: &mut Transaction<'_>,
    messages: impl Iterator<Item = &'a Received>,
) -> Result<Vec<ReceivedId>, StoreError> {
    let mut messages = messages.peekable();
    if messages.peek().is_none() {
        return Ok(Vec::new());
    }
    let last = rows.get(Table::LastReceived, &[])?;
    let mut last = last.map_or(Ok(0), |last| records::decode_received_id(&last).map(|id| id.0))?;
    let mut ids = Vec::new();
    for message in messages {
        last += 1;
        ids.push(ReceivedId(last));
        rows.put(Table::Received, &last.to_be_bytes(), &records::encode_received(message))?;
    }
    rows.put(Table::LastReceived, &[], &last.to_be_bytes())?;
    Ok(ids)
}

fn database_file(directory: &Path) -> PathBuf {
    directory.join(DATABASE_FILE)
}

/// Name of the database in the directory.
const DATABASE_FILE: &str = "store.sqlite";

/// Name of the file that is locked while the store is open.
const LOCK_FILE: &str = "lock";

/// Maximum length of a setting's name in bytes. A row's key has at most 255.
const MAX_SETTING_NAME: usize = 64;

#[cfg(test)]
mod tests;
