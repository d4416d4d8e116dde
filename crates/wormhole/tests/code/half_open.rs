//! Scripted servers that stop in the middle: of a connection, an upgrade, a frame or a message.

use std::io::ErrorKind;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, coding::CloseCode};
use tokio_tungstenite::{WebSocketStream, accept_async};
use wormhole::code::{Config, Error, MailboxUrl, Wormhole};
use wormhole::net::LinkFailure;

const WELCOME: &str = "{\"type\": \"welcome\", \"welcome\": {\"motd\": \"hello\"}}";

/// Listens on a free port; also returns the URL for clients.
async fn listen() -> (TcpListener, MailboxUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    (listener, url.parse().unwrap())
}

fn config(servers: Vec<MailboxUrl>) -> Config {
    Config { servers, ..Config::default() }
}

/// Why a client cannot reach a server that treats its connection like this.
async fn failure(serve: impl AsyncFnOnce(TcpStream)) -> LinkFailure {
    let (listener, url) = listen().await;
    let wormhole = Wormhole::create(config(vec![url]));
    let serve = async { serve(listener.accept().await.unwrap().0).await };
    let (welcome, ()) = tokio::join!(wormhole.welcome(), serve);
    match welcome {
        Err(Error::ServerUnreachable(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// The same for a server that answers the request for an upgrade with these bytes.
async fn failure_after(answer: impl AsRef<[u8]>) -> LinkFailure {
    failure(async |mut stream: TcpStream| {
        read_request(&mut stream).await;
        // The client may close the connection early.
        let _ = stream.write_all(answer.as_ref()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// The same for a server that upgrades the connection and then sends these bytes.
async fn failure_after_upgrade(bytes: &[u8]) -> LinkFailure {
    failure(async |stream: TcpStream| {
        let socket = accept_async(stream).await.unwrap();
        let mut stream = socket.into_inner();
        stream.write_all(bytes).await.unwrap();
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// Reads the head of a request.
async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
}

fn is_cut(failure: &LinkFailure) -> bool {
    let cut = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe];
    matches!(failure, LinkFailure::Closed)
        || matches!(failure, LinkFailure::Io(kind) if cut.contains(kind))
}

#[tokio::test]
async fn a_server_that_closes_a_connection_at_once_is_reported_as_such() {
    let failure = failure(async |stream| drop(stream)).await;
    assert!(is_cut(&failure), "{failure:?}");
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_of_the_upgrade_is_reported_as_such() {
    let failure = failure_after("HTTP/1.1 101 Switching Proto").await;
    assert!(is_cut(&failure), "{failure:?}");
}

#[tokio::test]
async fn an_upgrade_that_was_not_asked_for_is_rejected() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    ] {
        assert_eq!(failure_after(answer).await, LinkFailure::NotHttp, "{answer}");
    }
}

#[tokio::test]
async fn a_redirection_is_reported_and_not_followed() {
    let failure = failure_after("HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:1/\r\n\r\n").await;
    assert_eq!(failure, LinkFailure::NotAWebSocket(302));
    let text = "the server answered with HTTP status 302 instead of a WebSocket";
    assert_eq!(failure.to_string(), text);
}

#[tokio::test]
async fn a_server_that_is_overloaded_or_away_is_described_in_words() {
    for (status, text) in [
        (429, "too many connections from your address"),
        (503, "the server is not available at the moment (HTTP status 503)"),
    ] {
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(failure_after(answer).await.to_string(), text);
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_for_ever() {
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for number in 0..100_000 {
        answer.extend_from_slice(format!("x-{number}: {number}\r\n").as_bytes());
    }
    assert_eq!(failure_after(answer).await, LinkFailure::NotHttp);
}

#[tokio::test]
async fn a_close_frame_without_a_reason_is_an_ordinary_end() {
    let failure = failure(async |stream| {
        let mut socket = accept_async(stream).await.unwrap();
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    assert_eq!(failure, LinkFailure::Closed);
}

/// The failure of a client whose server closes the WebSocket with this reason.
async fn closed_because(code: CloseCode, reason: &str) -> LinkFailure {
    failure(async |stream| {
        let mut socket = accept_async(stream).await.unwrap();
        let frame = CloseFrame { code, reason: reason.to_owned().into() };
        socket.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await
}

#[tokio::test]
async fn the_reason_in_a_close_frame_is_shown() {
    let failure = closed_because(CloseCode::Policy, "too many claims").await;
    assert_eq!(failure.to_string(), "the server closed the connection: too many claims");
    let failure = closed_because(CloseCode::Error, "").await;
    assert_eq!(failure.to_string(), "the server closed the connection: code 1011");
}

#[tokio::test]
async fn control_characters_in_the_reason_for_closing_do_not_reach_the_user() {
    let failure = closed_because(CloseCode::Normal, "bye\u{1b}[2J\u{202e}now").await;
    assert_eq!(failure.to_string(), "the server closed the connection: bye [2J now");
}

#[tokio::test]
async fn a_frame_that_ends_in_the_middle_is_a_lost_link() {
    let failure = failure_after_upgrade(b"\x81\x7d{\"type\": \"welc").await;
    assert!(is_cut(&failure), "{failure:?}");
}

#[tokio::test]
async fn a_frame_that_announces_too_much_is_rejected_before_it_arrives() {
    // One frame of 2^40 bytes.
    let header = [&[0x81, 0x7f][..], &(1_u64 << 40).to_be_bytes()].concat();
    let failure = failure(async |stream| {
        let mut stream = accept_async(stream).await.unwrap().into_inner();
        stream.write_all(&header).await.unwrap();
        // The connection stays open: the client does not wait for the rest.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    assert_eq!(failure, LinkFailure::MessageTooLong);
    assert_eq!(failure.to_string(), "the server sent too much at once");
}

#[tokio::test]
async fn frames_that_violate_the_websocket_protocol_are_reported() {
    for bytes in [
        &b"\x81\x82\x00\x00\x00\x00{}"[..], // masked
        b"\xc1\x02{}",                      // a reserved bit
        b"\x83\x00",                        // an unknown kind
        b"\x80\x00",                        // a continuation of nothing
        b"\x81\x02\xff\xfe",                // not UTF-8
        b"\x09\x00",                        // a ping in parts
    ] {
        let failure = failure_after_upgrade(bytes).await;
        assert_eq!(failure, LinkFailure::NotHttp, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_message_in_many_frames_with_pings_between_them_is_read() {
    let (listener, url) = listen().await;
    let wormhole = Wormhole::create(config(vec![url]));
    let serve = async {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        let bytes = WELCOME.as_bytes();
        for (index, byte) in bytes.iter().enumerate() {
            let data = if index == 0 { Data::Text } else { Data::Continue };
            let last = index + 1 == bytes.len();
            let frame = Frame::message(vec![*byte], OpCode::Data(data), last);
            socket.send(Message::Frame(frame)).await.unwrap();
            socket.send(Message::Ping(vec![*byte].into())).await.unwrap();
        }
        // Every ping is answered.
        for byte in bytes {
            let answer = loop {
                let message = socket.next().await.unwrap().unwrap();
                if message.is_pong() {
                    break message;
                }
            };
            assert_eq!(answer.into_data(), vec![*byte]);
        }
    };
    let (welcome, ()) = tokio::join!(wormhole.welcome(), serve);
    assert_eq!(welcome.unwrap().motd.as_deref(), Some("hello"));
}

#[tokio::test]
async fn the_next_address_is_tried_when_the_first_server_closes_the_connection() {
    let ((bad, bad_url), (good, good_url)) = (listen().await, listen().await);
    let wormhole = Wormhole::create(config(vec![bad_url, good_url.clone()]));
    let serve = async {
        drop(bad.accept().await.unwrap());
        let mut socket = accept_async(good.accept().await.unwrap().0).await.unwrap();
        socket.send(Message::text(WELCOME)).await.unwrap();
        socket
    };
    let (server, _socket) = tokio::join!(wormhole.server(), serve);
    assert_eq!(server.unwrap(), good_url);
}

/// Accepts a client and waits until it has claimed its nameplate.
async fn accept_claim(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
    socket.send(Message::text(WELCOME)).await.unwrap();
    loop {
        let message = socket.next().await.unwrap().unwrap();
        if message.to_text().is_ok_and(|text| text.contains("\"claim\"")) {
            return socket;
        }
    }
}

#[tokio::test]
async fn a_request_is_repeated_on_a_new_link_when_the_answer_was_cut_in_the_middle() {
    let (listener, url) = listen().await;
    let wormhole = Wormhole::create(config(vec![url]));
    wormhole.set_code("4-x".parse().unwrap()).unwrap();
    // Half of an answer, once with and once without a close frame.
    let mut stream = accept_claim(&listener).await.into_inner();
    stream.write_all(b"\x81\x40{\"type\": \"claimed\", \"mail").await.unwrap();
    drop(stream);
    let mut socket = accept_claim(&listener).await;
    socket.close(None).await.unwrap();
    // The wormhole accepts the answer on the third link, and opens the mailbox.
    let mut socket = accept_claim(&listener).await;
    socket.send(Message::text(r#"{"type": "claimed", "mailbox": "m"}"#)).await.unwrap();
    let opened = loop {
        let message = socket.next().await.unwrap().unwrap().into_text().unwrap();
        if message.contains("\"open\"") {
            break message;
        }
    };
    assert!(opened.contains("\"m\""), "{opened}");
    assert!(!wormhole.is_server_lost());
}
