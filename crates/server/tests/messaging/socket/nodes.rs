//! Several servers (nodes) with one PostgreSQL database.

use std::time::{Duration, Instant};

use serde_json::json;
use wormhole_testbed::{Durability, Nats, Postgres, installed_or_skip};

use super::crash::kill_while_clients_send;
use super::provisioning::{expect_message, wait};
use super::{ALICE, Arrival, BOB, Socket};
use crate::client::Client;
use crate::groups::member;
use crate::messages::{message, with_keys};
use crate::server::Server;

/// Two nodes, and what they need.
struct Nodes {
    nodes: [Server; 2],
    postgres: Postgres,
    _nats: Option<Nats>,
}

impl Nodes {
    /// Nodes that notify each other through PostgreSQL; `None` if it is not installed.
    fn start() -> Option<Self> {
        let postgres = installed_or_skip(Postgres::start(Durability::Full, None))?;
        Some(Self::on(postgres, None))
    }

    /// Nodes that notify each other through NATS.
    fn with_nats() -> Option<Self> {
        let nats = installed_or_skip(Nats::start())?;
        let postgres = installed_or_skip(Postgres::start(Durability::Full, None))?;
        Some(Self::on(postgres, Some(nats)))
    }

    fn on(postgres: Postgres, nats: Option<Nats>) -> Self {
        let url = postgres.create_database("messaging");
        let wake = nats.as_ref().map_or_else(|| "postgres".to_owned(), Nats::url);
        let first = Server::start_on(&url, &["--wake", &wake]);
        let second = first.another_node();
        Self { nodes: [first, second], postgres, _nats: nats }
    }
}

/// Sends messages through the first node, which arrive at a socket of the second one.
async fn send_through_another_node(nodes: &Nodes) {
    let [first, second] = &nodes.nodes;
    let (alice, bob) = (with_keys(first, ALICE, 1), with_keys(first, BOB, 2));
    let mut socket = Socket::open(second, &bob).await;
    socket.expect_empty().await;
    let start = Instant::now();
    for timestamp in 1..=20 {
        let body = message("hello", timestamp).to_string();
        alice.put(&format!("/v1/messages/{BOB}"), &body).expect(200);
        let (id, envelope) = socket.message().await;
        assert_eq!(envelope.timestamp.0, timestamp);
        socket.answer(id, 200).await;
    }
    // Without notifications, each message would wait for another check of all sockets.
    assert!(start.elapsed() < 19 * CHECK_PERIOD, "{:?}", start.elapsed());
    let receipts = || {
        let queue = alice.at(second).get("/v1/messages").expect(200);
        queue["messages"].as_array().unwrap().len()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while receipts() < 20 {
        assert!(Instant::now() < deadline, "no receipts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_waits_at_another_node_gets_its_message() {
    let Some(nodes) = Nodes::start() else { return };
    let [first, second] = &nodes.nodes;
    let alice = Client::register(first, ALICE, None);
    let start = Instant::now();
    for _ in 0..5 {
        let (mut socket, address) = wait(second).await;
        let path = format!("/v1/provisioning/{address}");
        alice.put(&path, r#"{"body":"aGVsbG8="}"#).expect(200);
        expect_message(&mut socket, b"hello").await;
        alice.put(&path, r#"{"body":"aGVsbG8="}"#).expect(404);
    }
    // Without notifications, each would wait for another check of all sockets.
    assert!(start.elapsed() < 4 * CHECK_PERIOD, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_sent_through_one_node_arrives_at_a_socket_of_another() {
    let Some(nodes) = Nodes::start() else { return };
    send_through_another_node(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_arrives_at_another_node_that_uses_nats() {
    let Some(nodes) = Nodes::with_nats() else { return };
    send_through_another_node(&nodes).await;
}

/// Expects that the server closes a socket because its device has connected again, or does not exist any more.
async fn expect_displaced(socket: &mut Socket) {
    loop {
        match socket.next().await {
            Arrival::Closed(code) => return assert_eq!(code, Some(4409)),
            Arrival::Message(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_keeps_one_socket_and_none_after_it_was_removed_through_another_node() {
    let Some(nodes) = Nodes::start() else { return };
    let [first, second] = &nodes.nodes;
    let bob = with_keys(first, BOB, 2);
    let mut socket = Socket::open(first, &bob).await;
    socket.expect_empty().await;
    let mut other = Socket::open(second, &bob).await;
    expect_displaced(&mut socket).await;
    other.expect_empty().await;
    let again = Client::register(first, BOB, None);
    expect_displaced(&mut other).await;
    let mut socket = Socket::open(second, &again).await;
    again.delete("/v1/accounts/me").expect(200);
    expect_displaced(&mut socket).await;
    again.at(second).get("/v1/accounts/whoami").expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_through_one_node_count_at_the_other_at_once() {
    let Some(nodes) = Nodes::start() else { return };
    let [first, second] = &nodes.nodes;
    let (alice, bob) = (with_keys(first, ALICE, 1), with_keys(first, BOB, 2));
    let send = |timestamp| {
        let body = message("hello", timestamp).to_string();
        alice.at(second).put(&format!("/v1/messages/{BOB}"), &body)
    };
    send(1).expect(200);
    // The second node knows the account now.
    bob.delete("/v1/accounts/me").expect(200);
    send(2).expect(404);
    with_keys(first, BOB, 3);
    send(3).expect(200);
    let token = first.add_app("com.example.two");
    let carol = Client::register(first, "+14155550103", Some(("com.example.two", &token)));
    carol.at(second).get("/v1/accounts/whoami").expect(200);
    second.app(&["revoke", "com.example.two"]);
    carol.at(second).get("/v1/accounts/whoami").expect(401);
}

#[test]
fn of_two_entries_at_the_same_revision_one_is_stored() {
    let Some(nodes) = Nodes::start() else { return };
    let people = [(&nodes.nodes[0], ALICE), (&nodes.nodes[1], BOB)];
    let people = people.map(|(node, number)| Client::register(node, number, None).at(node));
    let path = |revision: &dyn std::fmt::Display| {
        format!("/v1/groups/000102030405060708090a0b0c0d0e0f/entries/{revision}")
    };
    let key = Some([1; 32]);
    member(&people[0], None, key).put(&path(&0), "first").expect(200);
    let people = people.map(|client| member(&client, key, None));
    for revision in 1..=30 {
        let append = |client: &Client| client.put(&path(&revision), &client.number).status;
        let mut statuses = std::thread::scope(|scope| {
            let other = scope.spawn(|| append(&people[1]));
            [append(&people[0]), other.join().unwrap()]
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{revision}");
    }
    let path = path(&"").trim_end_matches('/').to_owned();
    let read = people.map(|client| client.get(&path).expect(200));
    assert_eq!(read[0], read[1]);
    assert_eq!(read[0]["entries"].as_array().unwrap().len(), 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_refused_while_the_database_is_gone_and_nothing_is_lost() {
    let Some(mut nodes) = Nodes::start() else { return };
    let [first, second] = &nodes.nodes;
    let (alice, bob) = (with_keys(first, ALICE, 1), with_keys(first, BOB, 2));
    let send = |timestamp| {
        let body = message("hello", timestamp).to_string();
        alice.put(&format!("/v1/messages/{BOB}"), &body)
    };
    send(1).expect(200);
    nodes.postgres.crash();
    assert_eq!(send(2).expect(503)["error"], json!("unavailable"));
    nodes.postgres.start_again();
    let deadline = Instant::now() + Duration::from_secs(30);
    while send(3).status != 200 {
        assert!(Instant::now() < deadline, "the server does not connect again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The second node may refuse requests for another second.
    let mut socket = loop {
        match Socket::connect(&second.address, &bob).await {
            Ok(socket) => break socket,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut arrived = vec![socket.message().await.1.timestamp.0];
    arrived.push(socket.message().await.1.timestamp.0);
    assert_eq!(arrived, [1, 3]);
    socket.expect_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_messages_arrive_although_nodes_are_killed() {
    let Some(nodes) = Nodes::start() else { return };
    let Nodes { nodes, postgres: _postgres, .. } = nodes;
    kill_while_clients_send(nodes.into(), 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_messages_arrive_although_nodes_that_use_nats_are_killed() {
    let Some(nodes) = Nodes::with_nats() else { return };
    let Nodes { nodes, postgres: _postgres, _nats } = nodes;
    kill_while_clients_send(nodes.into(), 15).await;
}

/// How often a node looks for what it was not notified of.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
