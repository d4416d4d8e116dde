//! WebSocket clients, among themselves and with plain ones.

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

    pub(super) async fn web_saying(&self, words: &str) -> Client {
        let mut link = self.web().await;
        say(&mut link, words).await;
        link
    }
}

async fn say(link: &mut Client, words: impl AsRef<[u8]>) {
    let message = Message::Binary(Bytes::copy_from_slice(words.as_ref()));
    link.send(message).await.unwrap();
}

/// The next binary message; `None` once the relay has closed as it should.
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
async fn two_web_sockets_are_paired_and_messages_keep_their_bounds() {
    let world = World::new().await;
    let mut one = world.web_saying(&line("1")).await;
    let mut two = world.web_saying(line("2").trim_end()).await;
    for link in [&mut one, &mut two] {
        assert_eq!(message(link).await.unwrap(), b"ok\n");
    }
    say(&mut one, "first").await;
    say(&mut one, "second").await;
    assert_eq!(message(&mut two).await.unwrap(), b"first");
    assert_eq!(message(&mut two).await.unwrap(), b"second");
    one.close(None).await.unwrap();
    assert_eq!(message(&mut two).await, None);
}

#[tokio::test]
async fn a_plain_link_that_waits_is_paired_with_a_web_socket() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_saying(&line("2")).await;
    assert_eq!(heard(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    one.write_all(b"plain").await.unwrap();
    assert_eq!(message(&mut two).await.unwrap(), b"plain");
    say(&mut two, "web").await;
    assert_eq!(heard(&mut one, 3).await, b"web");
    drop(one);
    assert_eq!(message(&mut two).await, None);
}

#[tokio::test]
async fn a_web_socket_that_waits_hears_ok_alone_and_then_what_came_early() {
    let world = World::new().await;
    let mut one = world.web_saying(&line("1")).await;
    world.until(|world| world.waiting_links() == 1).await;
    let mut two = world.saying(&(line("2") + "early")).await;
    assert_eq!(message(&mut one).await.unwrap(), b"ok\n");
    assert_eq!(message(&mut one).await.unwrap(), b"early");
    assert_eq!(heard(&mut two, 3).await, b"ok\n");
    one.close(None).await.unwrap();
    assert_eq!(heard_to_the_end(&mut two).await, b"");
}

#[tokio::test]
async fn much_data_passes_between_a_plain_link_and_a_web_socket() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_saying(&line("2")).await;
    assert_eq!(heard(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    let bytes = pattern(3 << 20);
    say(&mut two, &bytes[..2 << 20]).await;
    say(&mut two, &bytes[2 << 20..]).await;
    assert!(heard(&mut one, bytes.len()).await == bytes);
    let sent = bytes.clone();
    let sender = tokio::spawn(async move { one.write_all(&sent).await });
    let mut heard = Vec::new();
    while let Some(piece) = message(&mut two).await {
        heard.extend(piece);
    }
    assert!(heard == bytes);
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_is_passed_on_before_it_is_whole_however_long_it_is() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_saying(&line("2")).await;
    assert_eq!(heard(&mut one, 3).await, b"ok\n");
    assert_eq!(message(&mut two).await.unwrap(), b"ok\n");
    // One of a terabyte, masked with zeros.
    let header = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    two.get_mut().write_all(&header).await.unwrap();
    let bytes = pattern(100_000);
    for _ in 0..60 {
        two.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(heard(&mut one, bytes.len()).await, bytes);
    }
}

#[tokio::test]
async fn long_messages_keep_their_bounds_and_their_order() {
    let world = World::new().await;
    let mut one = world.web_saying(&line("1")).await;
    let mut two = world.web_saying(&line("2")).await;
    for link in [&mut one, &mut two] {
        assert_eq!(message(link).await.unwrap(), b"ok\n");
    }
    let lengths = [0, 1, 70_000, 65_536, 6 << 20, 3, 65_522, 200_000];
    let sender = tokio::spawn(async move {
        for length in lengths {
            say(&mut one, pattern(length)).await;
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
async fn signs_of_life_are_answered_between_the_parts_of_a_message() {
    let world = World::new().await;
    let mut one = world.web_saying(&line("1")).await;
    // While it waits for its partner:
    one.send(Message::Ping("early".into())).await.unwrap();
    assert_eq!(one.next().await.unwrap().unwrap(), Message::Pong("early".into()));
    let mut two = world.saying(&line("2")).await;
    assert_eq!(message(&mut one).await.unwrap(), b"ok\n");
    assert_eq!(heard(&mut two, 3).await, b"ok\n");
    // And in the middle of a message of its own, with its partner saying something, too.
    one.get_mut().write_all(&[0x02, 0x83, 0, 0, 0, 0, b'o', b'n', b'e']).await.unwrap();
    one.send(Message::Ping("late".into())).await.unwrap();
    assert_eq!(heard(&mut two, 3).await, b"one");
    two.write_all(b"two").await.unwrap();
    let said = [one.next().await.unwrap().unwrap(), one.next().await.unwrap().unwrap()];
    assert!(said.contains(&Message::Pong("late".into())), "{said:?}");
    assert!(said.contains(&Message::Binary("two".into())), "{said:?}");
}

#[tokio::test]
async fn over_tls_a_late_reader_gets_everything_and_the_close() {
    let world = World::with_tls();
    for count in 1..=24 {
        let mut one = world.waiting(&line("1")).await;
        let stream = testing::connect(testing::narrow(world.web).await).await;
        let (mut two, _) = client_async("wss://relay/", stream).await.unwrap();
        two.send(Message::Binary(line("2").into())).await.unwrap();
        assert_eq!(heard(&mut one, 3).await, b"ok\n");
        let bytes = pattern(count * 16_000);
        one.write_all(&bytes).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut heard = Vec::new();
        while heard.len() < 3 + bytes.len() {
            let next = tokio::time::timeout(Duration::from_secs(10), two.next()).await.unwrap();
            heard.extend(next.unwrap().unwrap().into_data());
        }
        assert!(heard[3..] == bytes);
        drop(one);
        let end = two.next().await.unwrap().unwrap();
        assert!(matches!(end, Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
    }
}

#[tokio::test]
async fn wrong_first_messages_are_answered_and_closed() {
    let world = World::new().await;
    for words in
        ["hello", "", "\n", &(line("1") + &line("1")), &"x".repeat(5000), &"x".repeat(500_000)]
    {
        let mut link = world.web_saying(words).await;
        assert_eq!(message(&mut link).await.unwrap(), b"bad handshake\n");
        assert_eq!(message(&mut link).await, None);
    }
}

#[tokio::test]
async fn a_second_message_before_the_partner_is_impatient() {
    let world = World::new().await;
    let mut link = world.web_saying(&line("1")).await;
    say(&mut link, "early").await;
    assert_eq!(message(&mut link).await.unwrap(), b"impatient\n");
    assert_eq!(message(&mut link).await, None);
}

#[tokio::test]
async fn text_ends_the_link() {
    let world = World::new().await;
    let mut link = world.web().await;
    link.send(Message::text(line("1"))).await.unwrap();
    while let Some(Ok(_)) = link.next().await {}
    world.until(|world| world.ended("empty") == 1).await;
}

#[tokio::test]
async fn a_web_socket_that_reads_nothing_stops_its_partner() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.web_saying(&line("2")).await;
    assert_eq!(heard(&mut one, 3).await, b"ok\n");
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

/// What an HTTP client gets.
async fn page(world: &World, path: &str, headers: &str) -> String {
    let mut link = request(world, path, headers).await;
    String::from_utf8(heard_to_the_end(&mut link).await).unwrap()
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
    // None of them was a link.
    assert_eq!(world.ended("empty"), 0);
}

#[tokio::test]
async fn a_proxy_is_believed_only_if_it_is_configured() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Real-IP: 192.0.2.";
    for trust_proxy in [ProxyHeader::Off, ProxyHeader::XForwardedFor, ProxyHeader::XRealIp] {
        let config = Config { links_per_address: 1, trust_proxy, ..config() };
        let world = World::with(&config, Timeouts::default(), |_| {});
        let mut first = request(&world, "/", &format!("{upgrade}1\r\n")).await;
        assert_eq!(heard(&mut first, 12).await, b"HTTP/1.1 101");
        let same = page(&world, "/", &format!("{upgrade}1\r\n")).await;
        assert!(same.starts_with("HTTP/1.1 429 "), "{same}");
        let mut other = request(&world, "/", &format!("{upgrade}2\r\n")).await;
        let admitted = heard(&mut other, 12).await == b"HTTP/1.1 101";
        assert_eq!(admitted, trust_proxy == ProxyHeader::XRealIp);
    }
}
