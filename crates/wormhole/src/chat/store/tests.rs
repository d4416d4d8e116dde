//! Tests of the store with real files.

mod arrivals;
mod crash;
mod damage;
mod history;
#[cfg(all(feature = "keyring", target_os = "linux"))]
mod keyring;
mod protection;
mod requests;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rand_core::OsRng;
use wormhole_chat::{
    AccountId, Address, Changes, Content, DataMessage, DeviceId, KeyPair, Received, Timestamp,
};

use wormhole_disk::private;

use super::master::{Cost, KeyFile, ProtectionSettings, Wrapping};
use super::protection::wrap;
use super::*;

/// A directory for a store, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wormhole-{}-chat-store-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn create(&self) -> Store {
        Store::create(&self.0, &Protection::KeyFile).unwrap()
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.0, None)
    }

    /// Copies all files, as a crash at this moment would leave them.
    fn copy(&self) -> Self {
        let copy = Self::new();
        private::create_directory(&copy.0).unwrap();
        for file in self.files() {
            std::fs::copy(&file, copy.0.join(file.file_name().unwrap())).unwrap();
        }
        copy
    }

    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn key_files(&self) -> Vec<PathBuf> {
        let is_key = |path: &PathBuf| path.extension().is_some_and(|it| it == "key");
        self.files().into_iter().filter(is_key).collect()
    }

    /// Executes a statement in the closed database.
    fn execute(&self, sql: &str) -> usize {
        let connection = rusqlite::Connection::open(database_file(&self.0)).unwrap();
        connection.execute(sql, []).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Passphrases that cost nothing.
fn cheap() -> ProtectionSettings {
    ProtectionSettings { cost: Cost::LEAST, ..ProtectionSettings::default() }
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn address(number: u8) -> Address {
    Address { account: account(number), device: DeviceId::PRIMARY }
}

fn message(number: u8, text: &str) -> Received {
    let timestamp = Timestamp(number.into());
    let body = Some(text.to_owned());
    let data = DataMessage { body, timestamp: Some(timestamp), ..DataMessage::default() };
    let content = Content::Data(Box::new(data));
    Received { from: address(number), timestamp, content, identity_changed: false }
}

/// A commit of one row of the client.
fn row(key: StoreKey, value: Option<&[u8]>) -> Commit {
    let value = value.map(|value| Zeroizing::new(value.to_vec()));
    commit_of(Changes { rows: vec![(key, value)], ..Changes::default() })
}

fn received(messages: Vec<Received>) -> Commit {
    commit_of(Changes { received: messages, ..Changes::default() })
}

fn commit_of(changes: Changes) -> Commit {
    let mut commit = Commit::default();
    commit.add(changes);
    commit
}

/// Adds the rows and messages of another commit.
fn merge(commit: &mut Commit, other: Commit) {
    commit.rows.extend(other.rows);
    commit.received.extend(other.received);
}

fn setting(name: &str, value: &[u8]) -> Commit {
    let settings = vec![(name.to_owned(), Some(Zeroizing::new(value.to_vec())))];
    Commit { settings, ..Commit::default() }
}

fn registration() -> Registration {
    Registration {
        server: "https://chat.example".into(),
        app: Some(App { name: "com.example.one".into(), token: Zeroizing::new("token".into()) }),
        number: "+14155550123".into(),
        password: Zeroizing::new("password".into()),
        registration_id: 1234,
        account: Some(address(9)),
    }
}

fn contact(number: u8) -> Contact {
    Contact {
        account: account(number),
        number: Some("+14155550124".into()),
        app: None,
        name: Some("Bob".into()),
        is_default: true,
        is_in_app: true,
        profile: None,
        verified: Some(*KeyPair::random(&mut OsRng).public()),
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    path.metadata().unwrap().permissions().mode() & 0o777
}
