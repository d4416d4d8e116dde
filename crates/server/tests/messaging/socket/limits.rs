//! Memory of a WebSocket: many requests at once, and long messages in both directions.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{ALICE, BOB, Socket, request};
use crate::client::Client;
use crate::messages::{message, with_keys};
use crate::server::Server;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn requests_of_one_piece_are_answered_step_by_step() {
    let server = Server::start(&[]);
    let client = server.client();
    client.get("/openapi.json");
    let memory = server.memory();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
        for id in 1..=REQUESTS {
            let frame = request("GET", "/openapi.json", "", Some(id)).encode();
            socket.stream.feed(Message::Binary(frame.into())).await.unwrap();
        }
        socket.stream.flush().await.unwrap();
        sockets.push(socket);
    }
    // Meanwhile the server has time to answer everything, but must not: nobody reads.
    for _ in 0..100 {
        client.get("/openapi.json");
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 40 << 10, "{grown} KiB for clients that do not read");
    for mut socket in sockets {
        let mut missing: std::collections::BTreeSet<u64> = (1..=REQUESTS).collect();
        while !missing.is_empty() {
            let response = socket.response().await;
            assert!(response.body.unwrap().len() > 10_000);
            assert!(missing.remove(&response.id), "{} is answered twice", response.id);
        }
    }
}

#[tokio::test]
async fn long_messages_can_be_fetched_on_the_socket() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let mut long = message("", 0);
    long["messages"][0]["content"] = json!(data_encoding::BASE64.encode(&[7; 256 << 10]));
    for timestamp in 1..=4 {
        long["timestamp"] = json!(timestamp);
        alice.put(&format!("/v1/messages/{BOB}"), &long.to_string()).expect(200);
    }
    let mut socket = Socket::open(&server, &bob).await;
    let mut received = Vec::new();
    while received.len() < 4 {
        let answer = socket.ask("GET", "/v1/messages", "").await;
        assert_eq!(answer.status, 200);
        let page: Value = serde_json::from_slice(&answer.body.unwrap()).unwrap();
        for message in page["messages"].as_array().unwrap() {
            received.push(message["timestamp"].as_u64().unwrap());
            let path = format!("/v1/messages/uuid/{}", message["guid"].as_str().unwrap());
            assert_eq!(socket.ask("DELETE", &path, "").await.status, 200);
        }
        assert_eq!(page["more"], received.len() < 4);
    }
    assert_eq!(received, [1, 2, 3, 4]);
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_a_frame_is_refused() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let path = |location: &Value| location.as_str().unwrap().replace("http://localhost", "");
    let allocation = alice.get("/v1/attachments").expect(200);
    alice.put(&path(&allocation["location"]), &"x".repeat(2 << 20)).expect(200);
    let id = &allocation["id"];
    let from = path(&alice.get(&format!("/v1/attachments/{id}")).expect(200)["location"]);
    let mut socket = Socket::open(&server, &alice).await;
    let answer = socket.ask("GET", &from, "").await;
    let body: Value = serde_json::from_slice(&answer.body.unwrap()).unwrap();
    assert_eq!((answer.status, &body["error"]), (400, &json!("too_large")));
    assert_eq!(socket.ask("GET", "/v1/keepalive", "").await.status, 200);
}

#[tokio::test]
async fn long_messages_that_never_end_use_limited_memory() {
    let server = Server::start(&["--memory-per-address", "4194304"]);
    // A frame of 1 MiB whose last byte is missing.
    let part = [&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0][..], &vec![0; (1 << 20) - 1]];
    let mut closed = 0;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
        let stream = socket.stream.get_mut();
        // The server may refuse it before it has read everything.
        let _sent = tokio::io::AsyncWriteExt::write_all(stream, &part.concat()).await;
        sockets.push(socket);
    }
    let mut ends: futures_util::stream::FuturesUnordered<_> =
        sockets.iter_mut().map(Socket::closed).collect();
    while closed < 6 {
        let code = futures_util::StreamExt::next(&mut ends).await.unwrap();
        assert!(matches!(code, Some(1013) | None), "{code:?}");
        closed += 1;
    }
}

/// So many that the answers would need 100 MB.
const SOCKETS: usize = 8;
const REQUESTS: u64 = 250;
