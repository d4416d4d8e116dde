//! The store of one device: everything that it must not lose, encrypted in one SQLite file.
//!
//! It holds the rows of [`wormhole_chat::Client`], the registration, contacts, received messages that the
//! application has not taken yet, and settings. It does not know the messaging protocol.
//!
//! | file in the directory | content |
//! |---|---|
//! | `store.sqlite` | sealed rows, and the wrapped master key |
//! | `ID.key` | what opens the master key, if a key file does |
//! | `ID.keyring` | empty; names an item of the keyring of the desktop that may exist |
//! | `lock` | empty; locked while the store is open |
//!
//! docs/chat-protocol.md "Store" describes the format, and what it does not protect against. All methods block.
//!
//! ```
//! use wormhole::chat::store::{Protection, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("wormhole-{}-store", std::process::id()));
//! let mut store = Store::create(&directory, &Protection::KeyFile)?;
//! store.set_setting("colour", Some(b"green"))?;
//! drop(store);
//! let store = Store::open(&directory, None)?;
//! assert_eq!(store.setting("colour")?.as_deref(), Some(&b"green".to_vec()));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```

mod arrival;
mod database;
mod error;
mod expiry;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod items;
mod link;
mod lock;
mod master;
mod profile;
mod protection;
mod received;
mod records;
mod requests;
mod sealing;
mod seen;
mod state_key;
mod token;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wormhole_chat::{AccountId, Address, StoreKey, Timestamp};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use database::Database;
use expiry::ReceivedEnds;
use history::History;
pub(in crate::chat) use history::{
    HistoryChange, HistoryFound, HistoryQuery, HistoryRow, change_of,
};
use lock::Lock;
use master::{Keyring, MasterKey, WrappedKey};
use received::{Entry, ReceivedIndex};
use requests::RequestIndex;
use sealing::{RowKeys, Table};
use seen::Seen;

use super::message::FailedMessage;
pub use error::StoreError;
pub(crate) use items::StoredMessage;
pub(in crate::chat) use link::PendingLink;
pub use master::{Passphrase, Protection, ProtectionKind};
pub use records::{App, Contact, Registration};
pub(in crate::chat) use requests::{Decision, Evidence, PeopleChanges};
pub(crate) use write::{Commit, EnvelopeHash};

/// An open store. Only one process can open it at a time.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    database: Database,
    keys: RowKeys,
    master: MasterKey,
    /// The received messages in the store.
    received: ReceivedIndex,
    /// When some of them disappear.
    ends: ReceivedEnds,
    /// Our own account, the accounts that we have written to, and those about which the user has said something.
    known: BTreeSet<AccountId>,
    /// The contacts without accounts of which we only know the number.
    accepted: BTreeSet<AccountId>,
    blocked: BTreeSet<AccountId>,
    /// Messages of others that wait for a decision.
    requests: RequestIndex,
    /// Accounts that have such messages since this was read last.
    new_requests: BTreeSet<AccountId>,
    /// Whether messages of others wait for a decision.
    holds_requests: bool,
    /// Number of messages that cannot be sent, and that the application has not taken.
    failed: usize,
    seen: Seen,
    history: History,
    // Dropped last.
    _lock: Lock,
}

/// A row of [`wormhole_chat::Client`]: its key and its secret value.
pub(crate) type ClientRow = (StoreKey, Zeroizing<Vec<u8>>);

/// Identifies a received message in the store. Ids increase, and are never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReceivedId(pub u64);

impl Store {
    fn open_with(
        directory: &Path,
        lock: Lock,
        master: MasterKey,
        wrapped: &WrappedKey,
        keyring: &Keyring,
    ) -> Result<Self, StoreError> {
        let keys = RowKeys::derive(&master);
        let mut database = Database::open(&database_file(directory))?;
        database.check(&keys)?;
        database.upgrade()?;
        database.shrink()?;
        let mut received = ReceivedIndex::default();
        database.for_each(&keys, Table::Received, |key, value| {
            let (from, is_readable) = (items::sender(value), !items::is_unreadable(value));
            let entry = Entry { from, is_readable, bytes: value.len() };
            received.insert(items::decode_received_id(key)?, entry);
            Ok(())
        })?;
        let ends = ReceivedEnds::load(&database, &keys)?;
        let mut failed = 0;
        database.for_each(&keys, Table::Failed, |_, _| {
            failed += 1;
            Ok(())
        })?;
        let known = known_accounts(&database, &keys, Contact::is_known)?;
        let accepted = known_accounts(&database, &keys, Contact::is_accepted)?;
        let mut requests = RequestIndex::default();
        database.for_each(&keys, Table::Request, |key, value| {
            if let Some(from) = items::sender(value) {
                requests.insert(from, items::decode_received_id(key)?, value.len());
            }
            Ok(())
        })?;
        let mut blocked = BTreeSet::new();
        database.for_each(&keys, Table::Blocked, |key, _| {
            blocked.insert(requests::decode_account(key)?);
            Ok(())
        })?;
        let mut seen = Seen::default();
        database.for_each(&keys, Table::Seen, |key, value| seen.restore(key, value, &known))?;
        seen.forget_old();
        let mut history = History::load(&database, &keys)?;
        history.set_own(own_address(&database, &keys)?);
        let directory = directory.to_owned();
        let mut store = Self {
            directory,
            database,
            keys,
            master,
            received,
            ends,
            known,
            accepted,
            blocked,
            requests,
            new_requests: BTreeSet::new(),
            holds_requests: false,
            failed,
            seen,
            history,
            _lock: lock,
        };
        store.purge_when_opened()?;
        // Keys of an interrupted change of the protection.
        protection::remove_other_keys(&store.directory, wrapped, keyring)?;
        Ok(store)
    }

    /// The rows of the client, for [`wormhole_chat::Client::restore`].
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub(crate) fn client_rows(&self) -> Result<Vec<ClientRow>, StoreError> {
        let rows = self.database.rows(&self.keys, Table::Client)?;
        rows.into_iter().map(|(key, value)| Ok((state_key::decode(&key)?, value))).collect()
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
    pub(crate) fn contacts(&self) -> Result<Vec<Contact>, StoreError> {
        let rows = self.database.rows(&self.keys, Table::Contact)?;
        let contacts: Result<Vec<_>, _> =
            rows.iter().map(|(key, value)| Contact::decode(key, value)).collect();
        let mut contacts = contacts?;
        contacts.sort_unstable_by_key(|contact| contact.account);
        Ok(contacts)
    }

    /// The contact with this account. `None` also if its row is damaged: that must not hide a message.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn contact(&self, account: AccountId) -> Result<Option<Contact>, StoreError> {
        let key = account.as_bytes();
        let value = self.database.get(&self.keys, Table::Contact, key);
        readable(value.and_then(|value| value.map(|it| Contact::decode(key, &it)).transpose()))
    }

    /// The note about a received message. `None` also if its row is damaged.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn note(&self, id: ReceivedId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        readable(self.database.get(&self.keys, Table::Note, &id.0.to_be_bytes()))
    }

    /// The oldest received message with a higher id, or the oldest of all. A row that cannot be read is a message that
    /// could not be read, so that it does not hide later ones. Messages that have disappeared are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn received_after(
        &self,
        id: Option<ReceivedId>,
    ) -> Result<Option<(ReceivedId, StoredMessage)>, StoreError> {
        let time = super::account::now();
        let mut next = self.received.after(id);
        while let Some(id) = next.filter(|id| self.ends.is_over(*id, time)) {
            next = self.received.after(Some(id));
        }
        let Some(id) = next else { return Ok(None) };
        let value = self.database.get(&self.keys, Table::Received, &id.0.to_be_bytes());
        let value = value.and_then(|value| value.ok_or(StoreError::Damaged));
        let message = match value.and_then(|value| items::decode_received(&value)) {
            Ok(message) => message,
            Err(StoreError::Damaged | StoreError::UnknownFormat) => {
                let why = super::ReadError::Damaged;
                StoredMessage::Unreadable { from: None, timestamp: None, why, more: 0 }
            }
            Err(error) => return Err(error),
        };
        Ok(Some((id, message)))
    }

    /// Returns the accounts that have new requests since the last call.
    pub(crate) fn take_new_requests(&mut self) -> BTreeSet<AccountId> {
        std::mem::take(&mut self.new_requests)
    }

    /// Number of received messages in the store, including those that could not be read.
    pub fn received_count(&self) -> usize {
        self.received.len()
    }

    /// Number of received messages in the store that could be read. The others do not stop later messages, because anybody
    /// can send them; at most 1,000 of them are kept, the newest.
    pub(crate) fn readable_count(&self) -> usize {
        self.received.readable()
    }

    /// Length of all received messages in the store, in bytes.
    pub(crate) fn received_bytes(&self) -> usize {
        self.received.bytes()
    }

    /// The messages that cannot be sent, and that the application has not taken, oldest first.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn failed(&self) -> Result<Vec<FailedMessage>, StoreError> {
        let mut failed = Vec::new();
        self.database.for_each(&self.keys, Table::Failed, |key, value| {
            failed.push(items::decode_failed(key, value)?);
            Ok(())
        })?;
        failed.sort_unstable_by_key(|message| message.timestamp);
        Ok(failed)
    }

    /// Number of messages that cannot be sent, and that the application has not taken.
    pub const fn failed_count(&self) -> usize {
        self.failed
    }

    /// The messages in the outbox, oldest first. [`Client::outbox`](super::Client::outbox) also says why they wait. What waits for
    /// our own other devices is not among them.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn outbox(&self) -> Result<Vec<Timestamp>, StoreError> {
        let own = self.registration()?.and_then(|registration| registration.account);
        let own = own.map(|address| address.account);
        let mut outbox = Vec::new();
        self.database.for_each(&self.keys, Table::Client, |key, value| {
            if let StoreKey::Outgoing(timestamp) = state_key::decode(key)? {
                // It begins with the recipient.
                let to = AccountId::from_bytes(Reader::new(value).array()?);
                outbox.extend(Some(timestamp).filter(|_| Some(to) != own));
            }
            Ok(())
        })?;
        outbox.sort_unstable();
        Ok(outbox)
    }

    /// Sets a setting of the application, or removes it. Its name has at most 64 bytes. Names that begin with `wormhole.` are for
    /// this crate.
    ///
    /// # Errors
    /// The name is too long, or the store cannot be written.
    pub fn set_setting(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let value = value.map(|value| Zeroizing::new(value.to_vec()));
        let settings = vec![(name.to_owned(), value)];
        self.commit(&Commit { settings, ..Commit::default() }).map(drop)
    }

    /// The directory of the store.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn setting(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.database.get(&self.keys, Table::Setting, name.as_bytes())
    }
}

/// The value of a row, if it is not damaged.
fn readable<T>(row: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match row {
        Err(StoreError::Damaged | StoreError::UnknownFormat) => Ok(None),
        row => row,
    }
}

/// Our own account, the accounts that we have written to, and those about which the user has said something.
fn known_accounts(
    database: &Database,
    keys: &RowKeys,
    is_known: fn(&Contact) -> bool,
) -> Result<BTreeSet<AccountId>, StoreError> {
    let mut known = BTreeSet::new();
    // Our other devices.
    known.extend(own_address(database, keys)?.map(|address| address.account));
    database.for_each(keys, Table::WrittenTo, |key, _| {
        known.insert(AccountId::from_bytes(Reader::new(key).array()?));
        Ok(())
    })?;
    database.for_each(keys, Table::Contact, |key, value| {
        // A damaged one is reported when the contacts are read.
        let contact = Contact::decode(key, value).ok().filter(is_known);
        known.extend(contact.map(|contact| contact.account));
        Ok(())
    })?;
    Ok(known)
}

/// Our own account and device, if they are known.
fn own_address(database: &Database, keys: &RowKeys) -> Result<Option<Address>, StoreError> {
    let registration = database.get(keys, Table::Registration, &[])?;
    let registration = registration.and_then(|value| Registration::decode(&value).ok());
    Ok(registration.and_then(|it| it.account))
}

fn database_file(directory: &Path) -> PathBuf {
    directory.join(DATABASE_FILE)
}

/// Name of the database in the directory.
const DATABASE_FILE: &str = "store.sqlite";

/// Name of the file that is locked while the store is open.
const LOCK_FILE: &str = "lock";

#[cfg(test)]
mod tests;
