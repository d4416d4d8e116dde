//! Tests the errors of a node that cannot use its database.

use std::net::TcpListener;

use serde_json::json;
use wormhole_testbed::{Durability, Postgres, installed_or_skip};

use super::peer::Peer;
use super::{Cluster, Wake, command};

/// Starts a node that must fail, and returns its last line.
fn failure(url: &str) -> String {
    let output = command(&["--db".into(), url.into()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("secret"), "{text}");
    text.lines().last().unwrap().to_owned()
}

#[test]
fn a_node_that_cannot_reach_postgresql_ends_with_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let line = failure(&format!("postgresql://wormhole:secret@{address}/mailbox"));
    let expected = "wormhole-server: error: database 'mailbox' of PostgreSQL at 127.0.0.1: ";
    assert!(line.starts_with(expected), "{line}");
    assert!(line.contains("refused"), "{line}");
}

#[test]
fn errors_explain_wrong_databases_and_passwords_and_show_no_passwords() {
    let started = Postgres::start(Durability::Process, None);
    let Some(postgres) = installed_or_skip(started) else { return };
    let line = failure(&postgres.url("nothing"));
    assert!(line.ends_with("database \"nothing\" does not exist (3D000)"), "{line}");

    let url = postgres.create_database("mailbox");
    postgres.execute("mailbox", "CREATE TABLE wormhole_server (version INTEGER)");
    postgres.execute("mailbox", "INSERT INTO wormhole_server VALUES (1000)");
    let line = failure(&url);
    assert!(line.contains("made by a newer version of this server (schema 1000)"), "{line}");

    postgres.execute("mailbox", "CREATE ROLE wormhole LOGIN PASSWORD 'other'");
    postgres.require_password_of("wormhole");
    let line = failure(&url.replace("postgres@", "wormhole:secret@"));
    let expected = "password authentication failed for user \"wormhole\" (28P01)";
    assert!(line.ends_with(expected), "{line}");
}

#[tokio::test]
async fn a_node_does_not_start_with_tables_of_a_newer_version() {
    let Some(cluster) = Cluster::of_postgres(1, Wake::Postgres) else { return };
    let mut peer = Peer::bound(&cluster.nodes[0].url, "one").await.unwrap();
    let postgres = cluster.postgres.as_ref().unwrap();
    postgres.execute("mailbox", "UPDATE wormhole_server SET version = version + 1");
    let error = peer.ask(&json!({"type": "allocate"}), "error").await.unwrap();
    assert_eq!(error["error"], "the server cannot store this now, try again later");
}
