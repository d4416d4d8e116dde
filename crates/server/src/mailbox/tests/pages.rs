//! What is not a WebSocket: pages for people and monitors.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn request(world: &World, head: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_root_is_the_page_of_the_reference() {
    let world = World::new("root", &[]);
    let page = request(&world, "GET / HTTP/1.1\r\nHost: x").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{page}");
    assert!(page.ends_with("\r\n\r\nWormhole Relay\n"), "{page}");
    world.stop().await;
}

#[tokio::test]
async fn health_and_metrics_are_there_for_monitors() {
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
    assert!(request(&world, &long).await.starts_with("HTTP/1.1 400 "));
    world.stop().await;
}
