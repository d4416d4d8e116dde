//! Crashes: copies of the files at every step, and processes that are killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

#[test]
fn a_crash_before_the_commit_leaves_the_old_rows() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&setting("a", b"old")).unwrap();
    let mut transaction = store.database.begin(&store.keys).unwrap();
    let mut copies = Vec::new();
    for name in ["a", "b", "c"] {
        transaction.put(Table::Setting, name.as_bytes(), b"new").unwrap();
        copies.push(folder.copy());
    }
    transaction.commit().unwrap();
    for copy in copies {
        let store = copy.open().unwrap();
        assert_eq!(store.setting("a").unwrap().unwrap().as_slice(), b"old");
        assert_eq!(store.setting("b"), Ok(None));
    }
    let store = folder.copy().open().unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(store.setting(name).unwrap().unwrap().as_slice(), b"new");
    }
}

#[test]
fn a_failed_commit_changes_nothing() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&setting("a", b"old")).unwrap();
    let mut transaction = store.database.begin(&store.keys).unwrap();
    transaction.put(Table::Setting, b"a", b"new").unwrap();
    drop(transaction);
    assert_eq!(store.setting("a").unwrap().unwrap().as_slice(), b"old");
    store.commit(&setting("b", b"new")).unwrap();
    drop(store);
    assert_eq!(folder.open().unwrap().setting("a").unwrap().unwrap().as_slice(), b"old");
}

/// Names of the variables that make this test program a process that commits until it is killed.
const DIRECTORY: &str = "WORMHOLE_TEST_STORE";

/// Starts this test program again, as a process that commits until it is killed.
fn committing_process(folder: &Folder) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "chat::store::tests::crash::commits_until_killed"]);
    command.env(DIRECTORY, &folder.0).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Not a test of its own: the other process of the test below. Without the variable, it does nothing.
#[test]
fn commits_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut store = Store::open(Path::new(&directory), None).unwrap();
    let last = store.setting("number").unwrap().map_or(0, |value| number(&value));
    for number in last + 1.. {
        let mut commit = setting("number", &number.to_be_bytes());
        // Rows that grow, so that commits have different sizes.
        let value = vec![number.to_be_bytes()[7]; usize::try_from(number % 5000).unwrap()];
        for key in 0..4 {
            merge(&mut commit, row(StoreKey::OneTimePreKey(key), Some(&value)));
        }
        merge(&mut commit, received(vec![numbered(number)]));
        store.commit(&commit).unwrap();
        println!("\ncommitted {number}");
    }
}

fn numbered(number: u64) -> Received {
    Received { timestamp: Timestamp(number), ..message(1, &number.to_string()) }
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

#[test]
fn a_killed_process_loses_no_commit_and_leaves_none_half_written() {
    let folder = Folder::new();
    drop(folder.create());
    let mut total = 0;
    for round in 0..12 {
        let mut process = committing_process(&folder);
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let numbers = lines.map_while(Result::ok);
        let mut numbers =
            numbers.filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok());
        let mut reported = numbers.by_ref().nth(round % 5).unwrap();
        assert_eq!(folder.open().unwrap_err(), StoreError::InUse);
        process.kill().unwrap();
        process.wait().unwrap();
        reported = numbers.last().unwrap_or(reported);

        let store = folder.open().unwrap();
        let stored = number(&store.setting("number").unwrap().unwrap());
        assert!(stored == reported || stored == reported + 1, "{stored} {reported}");
        let length = usize::try_from(stored % 5000).unwrap();
        let rows = store.client_rows().unwrap();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|(_, value)| value.len() == length));
        let mut messages = Vec::new();
        while let Some((id, message)) = store.received_after(messages.last().copied()).unwrap() {
            assert_eq!(message, StoredMessage::Read(numbered(id.0)));
            messages.push(id);
        }
        assert_eq!(messages.len(), usize::try_from(stored).unwrap());
        total = stored;
    }
    assert!(total >= 12);
}
