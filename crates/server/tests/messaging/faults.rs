//! Faults of the machine: a database that is not available for a while.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;
use crate::messages::{message, with_keys};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

fn send(from: &Client, timestamp: u64) -> u16 {
    from.put(&format!("/v1/messages/{BOB}"), &message("hello", timestamp).to_string()).status
}

#[test]
fn without_its_database_the_service_answers_503_and_then_recovers() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let mut accepted: Vec<u64> =
        (1..=5).filter(|timestamp| send(&alice, *timestamp) == 200).collect();
    assert_eq!(accepted.len(), 5);
    // Another program locks the database for longer than the server waits.
    let other = rusqlite::Connection::open(server.folder().join("messaging.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let (mut timestamp, mut refused) = (6, 0);
    while begun.elapsed() < OUTAGE {
        match send(&alice, timestamp) {
            200 => accepted.push(timestamp),
            503 => refused += 1,
            status => panic!("{status}"),
        }
        timestamp += 1;
        assert_eq!(server.client().get("/v1/keepalive").status, 200);
    }
    assert!(refused > 0, "the database was available");
    other.execute_batch("ROLLBACK").unwrap();
    // The requests that were refused are repeated, as clients do it, and a new one is possible.
    for repeated in 6..=timestamp {
        assert_eq!(send(&alice, repeated), 200);
        accepted.push(repeated);
    }
    accepted.sort_unstable();
    accepted.dedup();
    let queue = bob.get("/v1/messages").expect(200);
    let timestamp = |message: &Value| message["timestamp"].as_u64().unwrap();
    let mut stored: Vec<u64> =
        queue["messages"].as_array().unwrap().iter().map(timestamp).collect();
    stored.sort_unstable();
    assert_eq!(stored, accepted, "each message once");
    assert!(server.log().iter().any(|line| line.contains(" WARN ")), "the operator is told");
}

#[test]
fn a_database_in_memory_is_refused_at_the_start() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_wormhole-server"));
    server.args(["messaging", "--listen", "127.0.0.1:0", "--db", ":memory:"]);
    let refused = server.output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    let expected = "database :memory:: accounts and messages need a file";
    assert!(!refused.status.success() && error.contains(expected), "{error}");
}

/// How long the database is locked.
const OUTAGE: Duration = Duration::from_secs(10);
