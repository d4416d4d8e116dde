//! Messages of the queue on a WebSocket.

use data_encoding::BASE64_NOPAD;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_chat::{Envelope, EnvelopeKind, SignalingKey};

use super::{ALICE, BOB, Socket};
use crate::client::Client;
use crate::messages::{message, with_keys};
use crate::server::Server;

/// Sends a message over HTTP.
fn send(from: &Client, to: &str, text: &str, timestamp: u64) {
    from.put(&format!("/v1/messages/{to}"), &message(text, timestamp).to_string()).expect(200);
}

/// Waits until these messages wait for a device: the server confirms no confirmation.
async fn until_waiting(client: &Client, timestamps: &[u64]) {
    while waiting(client) != timestamps {
        tokio::task::yield_now().await;
    }
}

/// The timestamps of the messages that wait for a device.
fn waiting(client: &Client) -> Vec<u64> {
    let queue = client.get("/v1/messages").expect(200);
    let timestamp = |message: &Value| message["timestamp"].as_u64().unwrap();
    queue["messages"].as_array().unwrap().iter().map(timestamp).collect()
}

#[tokio::test]
async fn stored_messages_arrive_in_order_and_then_the_end_is_announced() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    (1..=5).for_each(|timestamp| send(&alice, BOB, "stored", timestamp));
    let mut socket = Socket::open(&server, &bob).await;
    for timestamp in 1..=5 {
        let (id, envelope) = socket.message().await;
        assert_eq!((envelope.timestamp.0, envelope.kind), (timestamp, EnvelopeKind::Ciphertext));
        assert_eq!(envelope.source.as_deref(), Some(ALICE));
        assert_eq!(envelope.source_account.unwrap().to_string(), alice.uuid);
        assert_eq!(envelope.source_device.unwrap().number(), 1);
        assert_eq!(envelope.source_app.as_deref(), Some("com.example.one"));
        assert_eq!((envelope.content.as_deref(), &envelope.body), (Some(&b"stored"[..]), &None));
        assert!(envelope.guid.is_some() && envelope.server_timestamp.is_some());
        socket.answer(id, 200).await;
    }
    socket.expect_empty().await;
    // One that is sent now comes without another announcement.
    send(&alice, BOB, "new", 6);
    let (id, envelope) = socket.message().await;
    assert_eq!(envelope.timestamp.0, 6);
    socket.answer(id, 200).await;
    send(&alice, BOB, "new", 7);
    assert_eq!(socket.message().await.1.timestamp.0, 7);
}

#[tokio::test]
async fn a_message_is_delivered_again_until_it_is_confirmed() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let mut sender = Socket::open(&server, &alice).await;
    sender.expect_empty().await;
    send(&alice, BOB, "hello", 1);
    let mut guids = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::open(&server, &bob).await;
        guids.push(socket.message().await.1.guid);
        socket.expect_empty().await;
    }
    assert_eq!(guids[0], guids[1]);
    let mut socket = Socket::open(&server, &bob).await;
    let (id, _) = socket.message().await;
    socket.answer(id, 200).await;
    // The sender learns it.
    let (receipt_id, receipt) = sender.message().await;
    assert_eq!((receipt.kind, receipt.timestamp.0), (EnvelopeKind::Receipt, 1));
    assert_eq!(receipt.source.as_deref(), Some(BOB));
    assert_eq!((receipt.body, receipt.content), (None, None));
    sender.answer(receipt_id, 200).await;
    let mut socket = Socket::open(&server, &bob).await;
    socket.expect_empty().await;
}

#[tokio::test]
async fn a_refused_message_stays_in_the_queue() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    (1..=2).for_each(|timestamp| send(&alice, BOB, "hello", timestamp));
    let mut socket = Socket::open(&server, &bob).await;
    let (refused, _) = socket.message().await;
    let (confirmed, _) = socket.message().await;
    socket.answer(refused, 500).await;
    // An answer to something that was never sent changes nothing.
    socket.answer(u64::MAX, 200).await;
    socket.answer(confirmed, 200).await;
    socket.expect_empty().await;
    until_waiting(&bob, &[1]).await;
    let mut socket = Socket::open(&server, &bob).await;
    assert_eq!(socket.message().await.1.timestamp.0, 1);
    socket.expect_empty().await;
}

#[tokio::test]
async fn envelopes_are_encrypted_for_a_device_with_a_signaling_key() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let key = SignalingKey::random(&mut ChaCha20Rng::seed_from_u64(3));
    let attributes = json!({"registrationId": 1001, "fetchesMessages": true,
        "signalingKey": BASE64_NOPAD.encode(&key.to_bytes())});
    bob.put("/v1/accounts/attributes", &attributes.to_string()).expect(200);
    send(&alice, BOB, "hello", 1);
    let sealed = |value: &str| vec![("X-Signal-Key".to_owned(), value.to_owned())];
    let mut socket = Socket::open(&server, &bob).await;
    let request = socket.request().await;
    assert_eq!(request.headers, sealed("true"));
    let opened = key.open(&request.body.unwrap()).unwrap();
    assert_eq!(Envelope::decode(&opened).unwrap().content.as_deref(), Some(&b"hello"[..]));
    bob.delete("/v1/accounts/signaling_key").expect(200);
    let mut socket = Socket::open(&server, &bob).await;
    let request = socket.request().await;
    assert_eq!(request.headers, sealed("false"));
    assert!(Envelope::decode(&request.body.unwrap()).is_ok());
    // The key is the device's of now, not that of when the socket was opened.
    socket.expect_empty().await;
    bob.put("/v1/accounts/attributes", &attributes.to_string()).expect(200);
    send(&alice, BOB, "again", 2);
    assert_eq!(socket.request().await.headers, sealed("true"));
}

#[tokio::test]
async fn a_socket_that_is_older_than_the_identity_key_publishes_signed_keys() {
    let server = Server::start(&[]);
    let bob = Client::register(&server, BOB, None);
    let mut socket = Socket::open(&server, &bob).await;
    socket.expect_empty().await;
    let mut published = crate::keys::keys(2, 1);
    let signed = published["signedPreKey"].to_string();
    bob.put("/v2/keys", &published.take().to_string()).expect(200);
    assert_eq!(socket.ask("PUT", "/v2/keys/signed", &signed).await.status, 200);
    let other = crate::keys::keys(3, 1)["signedPreKey"].to_string();
    assert_eq!(socket.ask("PUT", "/v2/keys/signed", &other).await.status, 422);
}

#[tokio::test]
async fn a_message_can_be_sent_on_the_socket() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let mut socket = Socket::open(&server, &alice).await;
    socket.expect_empty().await;
    let path = format!("/v1/messages/{}", bob.uuid);
    let sent = socket.ask("PUT", &path, &message("hello", 1).to_string()).await;
    assert_eq!((sent.status, sent.body.as_deref()), (200, Some(&br#"{"needsSync":false}"#[..])));
    assert_eq!(sent.message.as_deref(), Some("OK"));
    assert_eq!(sent.headers, [("content-type".to_owned(), "application/json".to_owned())]);
    let mut wrong = message("hello", 2);
    wrong["messages"][0]["destinationDeviceId"] = json!(2);
    assert_eq!(socket.ask("PUT", &path, &wrong.to_string()).await.status, 409);
    until_waiting(&bob, &[1]).await;
}

/// Stores more messages for a device than one sender may send in a minute.
fn fill(server: &Server, to: &str, senders: u64, bytes: usize) -> Vec<u64> {
    let mut timestamps = Vec::new();
    for sender in 0..senders {
        let from = with_keys(server, &format!("+1415555{:04}", 2000 + sender), 100 + sender);
        for number in 0..MESSAGES_OF_A_SENDER {
            let timestamp = 1 + sender * MESSAGES_OF_A_SENDER + number;
            send(&from, to, &"x".repeat(bytes), timestamp);
            timestamps.push(timestamp);
        }
    }
    timestamps
}

#[tokio::test]
async fn a_client_that_confirms_nothing_gets_256_messages() {
    let server = Server::start(&[]);
    let bob = with_keys(&server, BOB, 2);
    let stored = fill(&server, BOB, 6, 10);
    let mut socket = Socket::open(&server, &bob).await;
    let mut received = Vec::new();
    while received.len() < 256 {
        let (id, envelope) = socket.message().await;
        received.push((id, envelope.timestamp.0));
    }
    assert_eq!(socket.ask("GET", "/v1/keepalive", "").await.status, 200);
    assert!(socket.waiting.is_empty(), "more than 256 messages");
    for (id, _) in received.clone() {
        socket.answer(id, 200).await;
    }
    while received.len() < stored.len() {
        let (id, envelope) = socket.message().await;
        received.push((id, envelope.timestamp.0));
        socket.answer(id, 200).await;
    }
    socket.expect_empty().await;
    assert_eq!(received.into_iter().map(|(_, timestamp)| timestamp).collect::<Vec<_>>(), stored);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_reads_late_gets_everything() {
    let server = Server::start(&[]);
    let bob = with_keys(&server, BOB, 2);
    // Much more than the buffers of the kernel and of the server.
    let stored = fill(&server, BOB, 2, 200_000);
    let memory = server.memory();
    let mut socket = Socket::open(&server, &bob).await;
    // Meanwhile the server has time to read the whole queue, but must not.
    for _ in 0..20 {
        assert_eq!(bob.get("/v1/accounts/whoami").status, 200);
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 8 << 10, "{grown} KiB for a client that does not read");
    let mut received = Vec::new();
    while received.len() < stored.len() {
        let (id, envelope) = socket.message().await;
        received.push(envelope.timestamp.0);
        socket.answer(id, 200).await;
    }
    socket.expect_empty().await;
    assert_eq!(received, stored);
    until_waiting(&bob, &[]).await;
}

#[tokio::test]
async fn a_full_queue_is_read_slowly_and_completely() {
    let server = Server::start(&[]);
    let bob = with_keys(&server, BOB, 2);
    let (mut stored, mut is_full) = (Vec::new(), false);
    let text = "x".repeat(200_000);
    for sender in 0..7 {
        let from = with_keys(&server, &format!("+1415555{:04}", 2000 + sender), 100 + sender);
        for number in 0..MESSAGES_OF_A_SENDER {
            let timestamp = 1 + sender * MESSAGES_OF_A_SENDER + number;
            let body = message(&text, timestamp).to_string();
            match from.put(&format!("/v1/messages/{BOB}"), &body).status {
                200 => stored.push(timestamp),
                413 => is_full = true,
                status => panic!("{status}"),
            }
        }
    }
    assert!(is_full, "the queue holds {} messages", stored.len());
    let mut socket = Socket::open(&server, &bob).await;
    let mut received = Vec::new();
    while received.len() < stored.len() {
        let (id, envelope) = socket.message().await;
        received.push(envelope.timestamp.0);
        socket.answer(id, 200).await;
        // Other work of the client.
        assert_eq!(socket.ask("GET", "/v1/keepalive", "").await.status, 200);
    }
    socket.expect_empty().await;
    assert_eq!(received, stored);
    until_waiting(&bob, &[]).await;
    let again = with_keys(&server, "+14155552999", 99);
    send(&again, BOB, "there is room again", 1);
}

/// As many as one account may send to another at once.
const MESSAGES_OF_A_SENDER: u64 = 55;
