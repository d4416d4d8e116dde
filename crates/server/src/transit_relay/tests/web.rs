//! Tests of pairs of two WebSocket clients, and of a WebSocket and a plain client.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::net::testing;

type Client = WebSocketStream<TcpStream>;

impl World {
    async fn web(&self) -> Client {
        let stream = TcpStream::connect(self.web).await.unwrap();
        client_async(format!("ws://{}/any/path", self.web), stream).await.unwrap().0
    }

    pub(super) async fn web_connect_and_send(&self, text: &str) -> Client {
        let mut link = self.web().await;
        send_message(&mut link, text).await;
        link
    }
}

async fn send_message(link: &mut Client, bytes: impl AsRef<[u8]>) {
    let message = Message::Binary(Bytes::copy_from_slice(bytes.as_ref()));
    link.send(message).await.unwrap();
}

/// The next binary message; `None` once the relay has closed the WebSocket normally.
async fn message(link: &mut Client) -> Option<Vec<u8>> {
    let message = link.next().await.unwrap().unwrap();
    if let Message::Close(frame) = &message {
        assert_eq!(frame.as_ref().unwrap().code, CloseCode::Normal);
        return None;
    }
    assert!(message.is_binary(), "{message:?}");
    Some(message.into_data().into())
}

#[tokio::test]
async fn two_web_sockets_are_paired_and_message_boundaries_are_kept() {
    let world = World::new().await;
    let mut one = world.web_connect_and_send(&line("1")).await;
    let mut two = world.web_connect_and_send(line("2").trim_end()).await;
    for link in [&mut one, &mut two] {
        assert_eq!(message(link).await.unwrap(), b"ok\n");
    }
    send_message(&mut one, "first").await;
    send_message(&mut one, "second").await;
    assert_eq!(message(&mut two).await.unwrap(), b"first");
    assert_eq!(message(&mut two).await.unwrap(), b"second");
    one.close(None).await.unwrap();
    assert_eq!(message(&mut two).await, None);
}

#[tokio::test]
async fn a_plain_link_that_waits_is_paired_with_a_web_socket() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_connect_and_send(&line("2")).await;
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    one.write_all(b"plain").await.unwrap();
    assert_eq!(message(&mut two).await.unwrap(), b"plain");
    send_message(&mut two, "web").await;
    assert_eq!(receive(&mut one, 3).await, b"web");
    drop(one);
    assert_eq!(message(&mut two).await, None);
}

#[tokio::test]
async fn a_waiting_web_socket_receives_ok_and_early_data_as_two_messages() {
    let world = World::new().await;
    let mut one = world.web_connect_and_send(&line("1")).await;
    world.until(|world| world.waiting_links() == 1).await;
    let mut two = world.connect_and_send(&(line("2") + "early")).await;
    assert_eq!(message(&mut one).await.unwrap(), b"ok\n");
    assert_eq!(message(&mut one).await.unwrap(), b"early");
    assert_eq!(receive(&mut two, 3).await, b"ok\n");
    one.close(None).await.unwrap();
    assert_eq!(receive_to_end(&mut two).await, b"");
}

#[tokio::test]
async fn much_data_is_forwarded_between_a_plain_link_and_a_web_socket() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_connect_and_send(&line("2")).await;
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    let bytes = pattern(3 << 20);
    send_message(&mut two, &bytes[..2 << 20]).await;
    send_message(&mut two, &bytes[2 << 20..]).await;
    assert!(receive(&mut one, bytes.len()).await == bytes);
    let sent = bytes.clone();
    let sender = tokio::spawn(async move { one.write_all(&sent).await });
    let mut received = Vec::new();
    while let Some(piece) = message(&mut two).await {
        received.extend(piece);
    }
    assert!(received == bytes);
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_of_any_length_is_forwarded_before_it_is_complete() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_connect_and_send(&line("2")).await;
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    // The start of a message of a terabyte, masked with zeros.
    let header = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    two.get_mut().write_all(&header).await.unwrap();
    let bytes = pattern(100_000);
    for _ in 0..60 {
        two.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(receive(&mut one, bytes.len()).await, bytes);
    }
}

#[tokio::test]
async fn boundaries_and_order_of_long_messages_are_kept() {
    let world = World::new().await;
    let mut one = world.web_connect_and_send(&line("1")).await;
    let mut two = world.web_connect_and_send(&line("2")).await;
    for link in [&mut one, &mut two] {
        assert_eq!(message(link).await.unwrap(), b"ok\n");
    }
    let lengths = [0, 1, 70_000, 65_536, 6 << 20, 3, 65_522, 200_000];
    let sender = tokio::spawn(async move {
        for length in lengths {
            send_message(&mut one, pattern(length)).await;
        }
        one
    });
    for length in lengths {
        assert!(message(&mut two).await.unwrap() == pattern(length), "{length}");
    }
    sender.await.unwrap().close(None).await.unwrap();
    assert_eq!(message(&mut two).await, None);
}

#[tokio::test]
async fn pings_are_answered_between_the_parts_of_a_message() {
    let world = World::new().await;
    let mut one = world.web_connect_and_send(&line("1")).await;
    // A ping while the link waits for its partner.
    one.send(Message::Ping("early".into())).await.unwrap();
    assert_eq!(one.next().await.unwrap().unwrap(), Message::Pong("early".into()));
    let mut two = world.connect_and_send(&line("2")).await;
    assert_eq!(message(&mut one).await.unwrap(), b"ok\n");
    assert_eq!(receive(&mut two, 3).await, b"ok\n");
    // A ping in the middle of a message, while the partner sends data, too.
    one.get_mut().write_all(&[0x02, 0x83, 0, 0, 0, 0, b'o', b'n', b'e']).await.unwrap();
    one.send(Message::Ping("late".into())).await.unwrap();
    assert_eq!(receive(&mut two, 3).await, b"one");
    two.write_all(b"two").await.unwrap();
    let received = [one.next().await.unwrap().unwrap(), one.next().await.unwrap().unwrap()];
    assert!(received.contains(&Message::Pong("late".into())), "{received:?}");
    assert!(received.contains(&Message::Binary("two".into())), "{received:?}");
}

#[tokio::test]
async fn with_tls_a_late_reader_receives_all_data_and_the_close_frame() {
    let world = World::with_tls();
    for count in 1..=24 {
        let mut one = world.waiting(&line("1")).await;
        let stream = testing::connect(testing::narrow(world.web).await).await;
        let (mut two, _) = client_async("wss://relay/", stream).await.unwrap();
        two.send(Message::Binary(line("2").into())).await.unwrap();
        assert_eq!(receive(&mut one, 3).await, b"ok\n");
        let bytes = pattern(count * 16_000);
        one.write_all(&bytes).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut received = Vec::new();
        while received.len() < 3 + bytes.len() {
            let next = tokio::time::timeout(Duration::from_secs(10), two.next()).await.unwrap();
            received.extend(next.unwrap().unwrap().into_data());
        }
        assert!(received[3..] == bytes);
        drop(one);
        let end = two.next().await.unwrap().unwrap();
        assert!(matches!(end, Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
    }
}

#[tokio::test]
async fn invalid_first_messages_get_an_answer_and_the_link_is_closed() {
    let world = World::new().await;
    for words in
        ["hello", "", "\n", &(line("1") + &line("1")), &"x".repeat(5000), &"x".repeat(500_000)]
    {
        let mut link = world.web_connect_and_send(words).await;
        assert_eq!(message(&mut link).await.unwrap(), b"bad handshake\n");
        assert_eq!(message(&mut link).await, None);
    }
}

#[tokio::test]
async fn a_second_message_before_the_partner_has_connected_is_impatient() {
    let world = World::new().await;
    let mut link = world.web_connect_and_send(&line("1")).await;
    send_message(&mut link, "early").await;
    assert_eq!(message(&mut link).await.unwrap(), b"impatient\n");
    assert_eq!(message(&mut link).await, None);
}

#[tokio::test]
async fn a_text_message_closes_the_link() {
    let world = World::new().await;
    let mut link = world.web().await;
    link.send(Message::text(line("1"))).await.unwrap();
    while let Some(Ok(_)) = link.next().await {}
    world.until(|world| world.ended("empty") == 1).await;
}

#[tokio::test]
async fn a_web_socket_that_does_not_read_stops_its_partner() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_connect_and_send(&line("2")).await;
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    let bytes = pattern(64 << 20);
    bulk::write_until_stuck(&mut one, &bytes).await;
}

#[tokio::test]
async fn a_ping_directly_after_the_handshake_is_answered() {
    let world = World::new().await;
    let mut link = TcpStream::connect(world.web).await.unwrap();
    let handshake = "GET / HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let ping = [0x89, 0x83, 0, 0, 0, 0, b'a', b'b', b'c'];
    link.write_all(&[handshake.as_bytes(), &ping].concat()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x8a\x03abc") {
        assert_ne!(link.read_buf(&mut answer).await.unwrap(), 0);
    }
}

/// The response to an HTTP request.
async fn page(world: &World, path: &str, headers: &str) -> String {
    let mut link = request(world, path, headers).await;
    String::from_utf8(receive_to_end(&mut link).await).unwrap()
}

async fn request(world: &World, path: &str, headers: &str) -> TcpStream {
    let mut link = TcpStream::connect(world.web).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
    link.write_all(request.as_bytes()).await.unwrap();
    link
}

#[tokio::test]
async fn a_monitor_sees_health_and_metrics() {
    let world = World::new().await;
    assert!(page(&world, "/health", "").await.ends_with("\r\n\r\nok\n"));
    let metrics = page(&world, "/metrics", "").await;
    assert!(metrics.contains("\nwormhole_transit_relay_pairs 0\n"), "{metrics}");
    assert!(page(&world, "/other", "").await.starts_with("HTTP/1.1 404 "));
    // None of these requests counts as a link.
    assert_eq!(world.ended("empty"), 0);
}

#[tokio::test]
async fn only_the_configured_proxy_header_is_used() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Real-IP: 192.0.2.";
    for trust_proxy in [ProxyHeader::Off, ProxyHeader::XForwardedFor, ProxyHeader::XRealIp] {
        let config = Config { links_per_address: 1, trust_proxy, ..config() };
        let world = World::with(&config, Timeouts::default(), |_| {});
        let mut first = request(&world, "/", &format!("{upgrade}1\r\n")).await;
        assert_eq!(receive(&mut first, 12).await, b"HTTP/1.1 101");
        let same = page(&world, "/", &format!("{upgrade}1\r\n")).await;
        assert!(same.starts_with("HTTP/1.1 429 "), "{same}");
        let mut other = request(&world, "/", &format!("{upgrade}2\r\n")).await;
        let admitted = receive(&mut other, 12).await == b"HTTP/1.1 101";
        assert_eq!(admitted, trust_proxy == ProxyHeader::XRealIp);
    }
}
