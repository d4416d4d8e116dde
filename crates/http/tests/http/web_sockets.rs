//! Connections that become WebSockets.

use super::*;

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The head of a response without a body.
async fn head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn the_stream_is_handed_over_with_the_bytes_that_came_early() {
    for mut client in [Client::of_one().await, Client::of_many().await] {
        client.send([HANDSHAKE, "early"].concat()).await;
        let head = head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.contains("\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(head.contains("\r\nConnection: Upgrade\r\n") && !head.contains("close"), "{head}");
        let mut upgraded = client.served.await.unwrap().unwrap();
        client.stream.write_all(b" and late").await.unwrap();
        let mut late = [0; 9];
        upgraded.stream.read_exact(&mut late).await.unwrap();
        assert_eq!([&upgraded.early[..], &late].concat(), b"early and late");
        upgraded.stream.write_all(b"answer").await.unwrap();
        drop(upgraded);
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }
}

#[tokio::test]
async fn other_requests_may_come_before_a_web_socket() {
    let mut client = Client::of_many().await;
    let invalid = HANDSHAKE.replace("13", "12");
    client.send([&get("/"), &invalid, HANDSHAKE].concat()).await;
    assert_eq!(client.response().await, (200, "GET / ".to_owned()));
    assert_eq!(client.response().await.0, 426);
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    assert!(client.served.await.unwrap().is_some());
}

#[tokio::test]
async fn http_1_0_has_no_web_sockets() {
    let old = HANDSHAKE.replace("1.1", "1.0");
    for client in [Client::of_one().await, Client::of_many().await] {
        assert_eq!(client.last_status(&old).await, 505);
    }
}

#[tokio::test]
async fn a_stop_after_the_handshake_does_not_lose_the_stream() {
    let mut client = Client::of_many().await;
    client.send(HANDSHAKE).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    drop(client.stop);
    assert!(client.served.await.unwrap().is_some(), "the handshake was complete");
}
