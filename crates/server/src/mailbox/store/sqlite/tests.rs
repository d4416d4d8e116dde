//! Tests of the SQLite store only: expiry after a restart, returning space, and detecting a removed file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{Identity, NewMessage, Request};

use super::*;

/// A store in a temporary folder, which is removed when this is dropped.
struct Scratch {
    folder: PathBuf,
    store: Option<SqliteStore>,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("wormhole-sqlite-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut scratch = Self { folder, store: None };
        scratch.reopen();
        scratch
    }

    fn reopen(&mut self) {
        self.store = None;
        let path = self.folder.join("mailbox.sqlite");
        self.store = Some(SqliteStore::open(&path, StoreLimits::default()).unwrap());
    }

    fn store(&mut self) -> &mut SqliteStore {
        self.store.as_mut().unwrap()
    }

    /// Executes requests of one side in one batch.
    fn batch(&mut self, mut requests: Vec<Request>) {
        let (client, address) = (Identity::new("app".into(), "one".into()), Arc::default());
        let command = |request| Command { client: &client, address: &address, request };
        let mut commands: Vec<Command<'_>> = requests.iter_mut().map(command).collect();
        let mut commands = &mut commands[..];
        while !commands.is_empty() {
            let applied = self.store().apply(commands, &[], Now::read()).unwrap();
            commands = &mut commands[applied.outcomes.len()..];
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.store = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn add(phase: &str, body: String) -> Request {
    let message = NewMessage::new(phase.into(), body, "null".into());
    Request::Add { mailbox: "a".into(), message }
}

#[test]
fn after_a_restart_expiry_is_counted_from_the_start_even_if_the_clock_was_set() {
    for written in [3e9, 100.0] {
        let mut scratch = Scratch::new(&format!("restarted-{written}"));
        scratch.batch(vec![Request::Claim("1".into())]);
        scratch.store().database.execute("UPDATE mailboxes SET updated = ?", [written]).unwrap();
        scratch.reopen();
        let start = Now::read().monotonic;
        let mut prune = |after: u64| {
            let monotonic = start + Duration::from_secs(after);
            let now = Now { wall: UnixTime::from_secs(1_000_000), monotonic };
            let expiry = Duration::from_secs(660);
            scratch.store().prune(now, expiry).unwrap().mailboxes
        };
        assert_eq!(prune(100), 0, "clients have time to reconnect");
        // After that, a row with an old time is removed. A row with a time in the future is removed after the expiry.
        assert_eq!(prune(300), usize::from(written < 1e6));
        assert_eq!(prune(700), usize::from(written > 1e6));
    }
}

#[test]
fn the_file_becomes_smaller_after_its_rows_were_removed() {
    let mut scratch = Scratch::new("shorter");
    scratch.batch(vec![Request::Open("a".into())]);
    scratch.batch((0..400).map(|_| add(&"x".repeat(100_000), "00".into())).collect());
    let length = |scratch: &Scratch| {
        let file = |name| std::fs::metadata(scratch.folder.join(name)).unwrap().len();
        file("mailbox.sqlite") + file("mailbox.sqlite-wal")
    };
    assert!(length(&scratch) > 30_000_000);
    scratch.batch(vec![Request::Close { mailbox: "a".into(), mood: None }]);
    while scratch.store().reclaim().unwrap() {}
    assert!(length(&scratch) < 6_000_000, "{}", length(&scratch));
    scratch.batch(vec![Request::Open("a".into()), add("0", "a".repeat(10_000))]);
}

#[cfg(unix)]
#[test]
fn a_removed_or_replaced_file_is_detected() {
    for replaced in [false, true] {
        let mut scratch = Scratch::new(&format!("gone-{replaced}"));
        let path = scratch.folder.join("mailbox.sqlite");
        assert_eq!(scratch.store().check(), Ok(()));
        std::fs::remove_file(&path).unwrap();
        if replaced {
            std::fs::write(&path, "something else").unwrap();
        }
        let error = scratch.store().check().unwrap_err().to_string();
        assert!(error.ends_with("removed or replaced while the server was using it"), "{error}");
    }
    let mut scratch = Scratch::new("log-gone");
    scratch.batch(vec![Request::Claim("1".into())]);
    assert_eq!(scratch.store().check(), Ok(()));
    std::fs::remove_file(scratch.folder.join("mailbox.sqlite-wal")).unwrap();
    assert!(scratch.store().check().is_err());
}
