//! Behaviour of the SQLite store alone: it recognises its file, watches it, and gives space back.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::params;
use wormhole_chat::Timestamp;

use super::*;

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("wormhole-messaging-sqlite-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("messaging.sqlite")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.file()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_database_of_another_service_is_refused() {
    let folder = Folder::new("other");
    let other = Connection::open(folder.file()).unwrap();
    let tables = "CREATE TABLE nameplates (x); CREATE TABLE messages (x); PRAGMA user_version = 1";
    other.execute_batch(tables).unwrap();
    drop(other);
    let error = SqliteStore::open(&folder.file()).unwrap_err().to_string();
    assert!(error.ends_with("not a database of the messaging service"), "{error}");
}

#[test]
fn a_second_server_does_not_open_the_database() {
    let folder = Folder::new("second");
    let _first = folder.open();
    let error = SqliteStore::open(&folder.file()).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn every_commit_is_flushed_to_the_disk() {
    let folder = Folder::new("flushed");
    let store = folder.open();
    let database = &store.database;
    let journal = database.pragma_query_value(None, "journal_mode", |row| row.get(0));
    assert_eq!(journal, Ok("wal".to_owned()));
    let synchronous = database.pragma_query_value(None, "synchronous", |row| row.get(0));
    assert_eq!(synchronous, Ok(FULL));
}

/// SQLite's number for `synchronous = FULL`.
const FULL: i64 = 2;

#[test]
fn messages_are_found_by_their_guid_and_their_timestamp_without_a_search() {
    let folder = Folder::new("indexes");
    let store = folder.open();
    let cases = [
        (queues::TAKE_BY_GUID, "messages_guid (device=? AND guid=?)"),
        (queues::TAKE_BY_ACCOUNT, "messages_timestamp (device=? AND timestamp=?)"),
        (queues::TAKE_BY_NUMBER, "messages_timestamp (device=? AND timestamp=?)"),
        (prune::FIND_EPHEMERAL, "messages_ephemeral (server_timestamp<?)"),
    ];
    for (sql, expected) in cases {
        let mut statement = store.database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let columns = statement.parameter_count();
        let plan =
            statement.query_map(rusqlite::params_from_iter(vec![1; columns]), |row| row.get(3));
        let plan: Vec<String> = plan.unwrap().map(Result::unwrap).collect();
        assert!(plan.iter().any(|step| step.contains(expected)), "{plan:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_is_noticed() {
    let folder = Folder::new("removed");
    let mut store = folder.open();
    assert_eq!(store.check(), Ok(()));
    std::fs::remove_file(folder.file()).unwrap();
    let error = store.check().unwrap_err().to_string();
    assert!(error.ends_with("removed or replaced while the server was using it"), "{error}");
}

#[test]
fn the_file_gets_shorter_after_messages_have_expired() {
    let folder = Folder::new("shorter");
    let mut store = folder.open();
    let insert = "INSERT INTO messages VALUES (1, ?, 0, 0, 0, 1, x'00', x'00', '', 1, 0, ?)";
    for position in 1..=400 {
        store.database.execute(insert, params![position, vec![1_u8; 100_000]]).unwrap();
    }
    let length = || {
        let file = |suffix| {
            let path = folder.0.join(format!("messaging.sqlite{suffix}"));
            std::fs::metadata(path).unwrap().len()
        };
        file("") + file("-wal")
    };
    assert!(length() > 30_000_000);
    let second = Duration::from_secs(1);
    let expiry = Expiry { messages: second, sent: second, codes: second };
    while store.prune(expiry, Timestamp(2000)).unwrap() {}
    assert!(length() < 6_000_000, "{}", length());
}
