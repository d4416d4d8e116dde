//! Tests of HTTP requests that do not open a WebSocket: pages for people and monitors, and invalid requests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn request(world: &World, head: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_root_page_is_that_of_the_reference_server() {
    let world = World::new("root", &[]);
    let page = request(&world, "GET / HTTP/1.1").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{page}");
    assert!(page.ends_with("\r\n\r\nWormhole Relay\n"), "{page}");
    world.stop().await;
}

#[tokio::test]
async fn health_and_metrics_can_be_requested() {
    let world = World::new("health", &[]);
    let _peer = world.bound("one").await;
    assert!(request(&world, "GET /health HTTP/1.1").await.ends_with("\r\n\r\nok\n"));
    let metrics = request(&world, "GET /metrics HTTP/1.1").await;
    assert!(metrics.contains("\nwormhole_mailbox_links 1\n"), "{metrics}");
    assert!(metrics.contains("\n# TYPE wormhole_mailbox_frames_total counter\n"), "{metrics}");
    drop(_peer);
    world.stop().await;
}

#[tokio::test]
async fn other_pages_and_methods_are_refused() {
    let world = World::new("other", &[]);
    assert!(request(&world, "GET /v2 HTTP/1.1").await.starts_with("HTTP/1.1 404 "));
    assert!(request(&world, "POST / HTTP/1.1").await.starts_with("HTTP/1.1 405 "));
    assert!(request(&world, "GET /v1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    let head = request(&world, "HEAD / HTTP/1.1").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    assert!(request(&world, &long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1{}", "\r\nX: y".repeat(64));
    assert!(request(&world, &many).await.starts_with("HTTP/1.1 431 "));
    world.stop().await;
}

/// Sends a valid handshake in which one line is replaced. Returns the status of the response.
async fn handshake(world: &World, line: &str, replacement: &str) -> String {
    let right = "GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(right.replacen(line, replacement, 1).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

#[tokio::test]
async fn an_invalid_handshake_is_refused_with_the_right_status() {
    let world = World::new("handshakes", &[]);
    assert_eq!(handshake(&world, "", "").await, "101");
    let cases = [
        ("GET", "HEAD", "405"),
        ("HTTP/1.1", "HTTP/1.0", "505"),
        ("Host: x\r\n", "", "400"),
        ("Host: x\r\n", "Host: x\r\nHost: y\r\n", "400"),
        ("Connection: Upgrade\r\n", "", "400"),
        ("Upgrade: websocket\r\n", "", "400"),
        ("Version: 13", "Version: 8", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
    ];
    for (line, replacement, status) in cases {
        assert_eq!(handshake(&world, line, replacement).await, status, "{line} {replacement}");
    }
    assert_eq!(world.metric("accepted_total"), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_request_is_closed_after_ten_seconds() {
    let world = World::new("slow", &[]);
    for begun in ["", "GET / HTTP/1.1\r\nHost: "] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let start = tokio::time::Instant::now();
        stream.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        let elapsed = start.elapsed();
        assert!((9..=11).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn monitors_do_not_use_up_the_rate_limit() {
    let world = World::new("monitors", &["--links-per-minute", "3", "--limit-loopback"]);
    for _ in 0..10 {
        assert!(request(&world, "GET /health HTTP/1.1").await.ends_with("\r\n\r\nok\n"));
        assert!(request(&world, "GET /metrics HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    }
    let peers = [world.connected().await, world.connected().await, world.connected().await];
    assert!(Peer::connect(world.address).await.is_err());
    assert!(request(&world, "GET /health HTTP/1.1").await.ends_with("\r\n\r\nok\n"));
    drop(peers);
    world.stop().await;
}
