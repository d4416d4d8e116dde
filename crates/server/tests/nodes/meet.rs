//! Tests clients of different nodes, and nodes while PostgreSQL or NATS is unavailable.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::peer::Peer;
use super::{Cluster, Wake};

/// Two clients that have the same mailbox open, each at a different node.
async fn two_clients(cluster: &Cluster) -> (Peer, Peer) {
    let mut one = Peer::bound(&cluster.nodes[0].url, "one").await.unwrap();
    let mut other = Peer::bound(&cluster.nodes[1].url, "other").await.unwrap();
    assert_eq!(one.enter("4").await, other.enter("4").await);
    // The echoes show that both are listening.
    one.add("hello").await.unwrap();
    assert_eq!(one.message().await.unwrap(), "hello");
    other.add("hi").await.unwrap();
    for expected in ["hello", "hi"] {
        assert_eq!(other.message().await.unwrap(), expected);
    }
    assert_eq!(one.message().await.unwrap(), "hi");
    (one, other)
}

/// One client adds messages, and both receive each of them. Without notifications, the other node would find about one
/// message per periodic check.
async fn talk(one: &mut Peer, other: &mut Peer, messages: usize) {
    let start = Instant::now();
    for number in 0..messages {
        let id = number.to_string();
        one.add(&id).await.unwrap();
        for peer in [&mut *one, &mut *other] {
            assert_eq!(peer.message().await.unwrap(), id);
        }
    }
    let unnotified = CHECK_PERIOD * u32::try_from(messages).unwrap();
    assert!(start.elapsed() < unnotified / 3, "{messages} messages took {:?}", start.elapsed());
}

#[tokio::test]
async fn clients_of_different_nodes_meet_through_postgresql() {
    let Some(cluster) = Cluster::of_postgres(2, Wake::Postgres) else { return };
    let (mut one, mut other) = two_clients(&cluster).await;
    talk(&mut one, &mut other, 20).await;
    talk(&mut other, &mut one, 20).await;
}

#[tokio::test]
async fn connections_to_postgresql_for_requests_and_notifications_are_encrypted() {
    let Some(cluster) = Cluster::with_tls(2) else { return };
    let (mut one, mut other) = two_clients(&cluster).await;
    talk(&mut one, &mut other, 20).await;
    let connections = "SELECT count(*), bool_and(ssl) FROM pg_stat_activity \
                       JOIN pg_stat_ssl USING (pid) WHERE application_name = 'wormhole-server'";
    let postgres = cluster.postgres.as_ref().unwrap();
    assert_eq!(postgres.execute("mailbox", connections), "4|t");
}

#[tokio::test]
async fn clients_of_different_nodes_meet_with_and_without_nats() {
    let Some(mut cluster) = Cluster::of_postgres(2, Wake::Nats) else { return };
    let (mut one, mut other) = two_clients(&cluster).await;
    talk(&mut one, &mut other, 20).await;
    cluster.nats.as_mut().unwrap().stop();
    // Without notifications, a message is found within a second or two. This also holds for a node that publishes more
    // notifications than its NATS client can queue.
    for number in 0..UNPUBLISHED {
        let id = number.to_string();
        one.add(&id).await.unwrap();
        assert_eq!(one.message().await.unwrap(), id);
    }
    for number in 0..UNPUBLISHED {
        assert_eq!(other.message().await.unwrap(), number.to_string());
    }
    other.add("without NATS").await.unwrap();
    assert_eq!(one.message().await.unwrap(), "without NATS");
}

#[tokio::test]
async fn a_nameplate_that_one_node_allocates_is_in_use_at_all_nodes() {
    let Some(cluster) = Cluster::of_postgres(3, Wake::Postgres) else { return };
    let mut taken = Vec::new();
    for number in 0..9 {
        let url = &cluster.nodes[number % 3].url;
        let mut peer = Peer::bound(url, &number.to_string()).await.unwrap();
        let allocated = peer.ask(&json!({"type": "allocate"}), "allocated").await.unwrap();
        taken.push(allocated["nameplate"].as_str().unwrap().to_owned());
    }
    taken.sort();
    let one_digit: Vec<String> = (1..=9).map(|number| number.to_string()).collect();
    assert_eq!(taken, one_digit);
    let mut peer = Peer::bound(&cluster.nodes[0].url, "reader").await.unwrap();
    let list = peer.ask(&json!({"type": "list"}), "nameplates").await.unwrap();
    assert_eq!(list["nameplates"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn while_postgresql_is_unavailable_clients_get_an_error_and_afterwards_everything_works() {
    let Some(mut cluster) = Cluster::of_postgres(2, Wake::Postgres) else { return };
    let (mut one, mut other) = two_clients(&cluster).await;
    cluster.postgres.as_mut().unwrap().crash();
    // A client waits at most 40 seconds for a frame (`peer`).
    for peer in [&mut one, &mut other] {
        peer.add("lost").await.unwrap();
        let error = peer.hear("error").await.unwrap();
        assert_eq!(error["error"], "the server cannot store this now, try again later");
    }
    cluster.postgres.as_mut().unwrap().start_again();
    let mut number = 0;
    // Nodes try again every second.
    loop {
        number += 1;
        let id = format!("again-{number}");
        one.add(&id).await.unwrap();
        let frame = answer(&mut one).await;
        if frame["type"] == "message" {
            assert_eq!(frame["id"], id.as_str());
            assert_eq!(other.message().await.unwrap(), id);
            break;
        }
    }
}

/// The next frame that is a message or an error.
async fn answer(peer: &mut Peer) -> Value {
    loop {
        let frame = peer.next().await.unwrap();
        if frame["type"] == "message" || frame["type"] == "error" {
            return frame;
        }
    }
}

/// More messages than a node's queues of notifications can contain.
const UNPUBLISHED: usize = 600;

/// Interval at which a node checks its open mailboxes without notifications.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
