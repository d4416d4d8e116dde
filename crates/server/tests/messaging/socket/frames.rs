//! Frames: malformed, long, many at once, and the end of the connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;
use wormhole_chat::WebSocketMessage;

use super::{ALICE, Arrival, Socket, request};
use crate::client::Client;
use crate::server::Server;

/// Longest frame of a client, in bytes.
const MAX_FRAME: usize = 1 << 20;

/// Sends a binary frame on a WebSocket without credentials, and returns the bytes of the last frame of the answer.
fn last_frame(server: &Server, content: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = "GET /v1/websocket/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // A key of zeros leaves the content as it is.
    let frame = [&[0x82, 0x80 | u8::try_from(content.len()).unwrap(), 0, 0, 0, 0][..], content];
    stream.write_all(&frame.concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    answer.split_off(end + 4)
}

#[test]
fn a_malformed_frame_closes_the_connection_with_1018() {
    let server = Server::start(&[]);
    let close = [&[0x88, 2][..], &1018_u16.to_be_bytes()].concat();
    let injection = request("GET", "/v1/keepalive\r\nHost:", "", Some(1)).encode();
    let no_path = request("GET", "", "", Some(1)).encode();
    let [in_name, in_value] =
        [("X\r\nHost", "evil"), ("X", "y\r\nHost: evil")].map(|(name, value)| {
            let mut frame = request("GET", "/v1/keepalive", "", Some(1));
            if let WebSocketMessage::Request(request) = &mut frame {
                request.headers = vec![(name.to_owned(), value.to_owned())];
            }
            frame.encode()
        });
    // Garbage, nothing, a message of unknown type, one without a request, an endless length.
    let frames: [&[u8]; 9] = [
        b"garbage",
        b"",
        &[8, 3],
        &[8, 1],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &injection,
        &in_name,
        &in_value,
        &no_path,
    ];
    for frame in frames {
        assert_eq!(last_frame(&server, frame), close, "{frame:?}");
    }
}

#[tokio::test]
async fn text_is_ignored_and_a_ping_answered() {
    let server = Server::start(&[]);
    let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
    socket.stream.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(socket.ask("GET", "/v1/keepalive", "").await.status, 200);
}

#[tokio::test]
async fn a_request_without_an_id_gets_no_answer() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut socket = Socket::open(&server, &alice).await;
    socket.expect_empty().await;
    socket.send(&request("GET", "/v1/keepalive", "", None)).await;
    let answer = socket.ask("GET", "/v1/keepalive", "").await;
    assert_eq!((answer.id, answer.status), (1, 200));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered() {
    let server = Server::start(&[]);
    let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
    for (verb, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "//v1/keepalive", 404),
        ("POST", "/v1/keepalive", 405),
        ("BREW", "/v1/keepalive", 405),
        ("GET", "/v1/keepalive/?x=%00", 200),
        ("GET", "/v1/websocket/", 404),
    ] {
        assert_eq!(socket.ask(verb, path, "").await.status, status, "{verb} {path}");
    }
}

#[tokio::test]
async fn many_requests_may_be_sent_before_the_first_answer() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut socket = Socket::open(&server, &alice).await;
    socket.expect_empty().await;
    let mut open = std::collections::BTreeSet::new();
    for _ in 0..200 {
        open.insert(socket.begin("GET", "/v1/accounts/whoami", "").await);
    }
    while !open.is_empty() {
        let response = socket.response().await;
        assert_eq!(response.status, 200);
        assert!(open.remove(&response.id), "{} is answered twice", response.id);
    }
}

#[tokio::test]
async fn a_frame_has_at_most_one_mebibyte() {
    let server = Server::start(&[]);
    let frame = |bytes: usize| {
        // As long as a frame of about this size, so that the lengths inside have as many bytes.
        let overhead =
            request("PUT", "/v1/nothing", &"x".repeat(bytes / 2), Some(1)).encode().len();
        let body = "x".repeat(bytes - (overhead - bytes / 2));
        let frame = request("PUT", "/v1/nothing", &body, Some(1)).encode();
        assert_eq!(frame.len(), bytes);
        frame
    };
    for length in [MAX_FRAME - 1, MAX_FRAME] {
        let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
        socket.stream.send(Message::Binary(frame(length).into())).await.unwrap();
        assert_eq!(socket.response().await.status, 404, "{length} bytes");
    }
    let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
    // The server may close the connection before it has read everything.
    let _sent = socket.stream.send(Message::Binary(frame(MAX_FRAME + 1).into())).await;
    assert!(matches!(socket.closed().await, Some(1009) | None));
}

#[tokio::test]
async fn a_server_that_stops_closes_the_connections() {
    let mut server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut sockets = vec![Socket::open(&server, &alice).await];
    sockets.push(Socket::try_open(&server.address, "", &[]).await.unwrap());
    sockets[0].expect_empty().await;
    // Answered, so the server has begun to serve it.
    assert_eq!(sockets[1].ask("GET", "/v1/keepalive", "").await.status, 200);
    server.stop();
    for mut socket in sockets {
        assert_eq!(socket.closed().await, Some(1001));
    }
    assert!(server.wait().success());
}

#[tokio::test]
async fn an_answer_is_not_a_request() {
    let server = Server::start(&[]);
    let mut socket = Socket::try_open(&server.address, "", &[]).await.unwrap();
    socket.answer(1, 200).await;
    let id = socket.begin("GET", "/v1/keepalive", "").await;
    match socket.next().await {
        Arrival::Message(WebSocketMessage::Response(response)) => assert_eq!(response.id, id),
        other @ (Arrival::Message(_) | Arrival::Closed(_)) => panic!("{other:?}"),
    }
}
