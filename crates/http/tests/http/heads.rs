//! The limits for the head of a request, and its `Host`.

use tokio::time::Instant;
use wormhole_http::{MAX_HEAD_BYTES, MAX_HEADERS};

use super::*;

/// A request whose head has exactly this many bytes.
fn head_of(bytes: usize) -> String {
    let without = get("/").replace("\r\n\r\n", "\r\nX: \r\n\r\n").len();
    get("/").replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(bytes - without)))
}

#[tokio::test]
async fn the_longest_head_is_answered_and_a_longer_one_is_refused() {
    for bytes in [MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES] {
        let mut client = Client::of_many().await;
        client.send(head_of(bytes)).await;
        assert_eq!(client.response().await.0, 200, "{bytes}");
    }
    for bytes in [MAX_HEAD_BYTES + 1, 2 * MAX_HEAD_BYTES, 50 * MAX_HEAD_BYTES] {
        for mut client in [Client::of_many().await, Client::of_one().await] {
            // The server may close the connection before it has received everything.
            let _closed = client.stream.write_all(head_of(bytes).as_bytes()).await;
            let mut status = [0; 12];
            client.stream.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 431", "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_head_has_a_limited_number_of_lines() {
    let with =
        |lines: usize| get("/").replace("\r\n\r\n", &"\r\nX: y".repeat(lines - 1)) + "\r\n\r\n";
    let mut client = Client::of_many().await;
    client.send(with(MAX_HEADERS)).await;
    assert_eq!(client.response().await.0, 200);
    client.send(with(MAX_HEADERS + 1)).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_never_complete_ends_the_connection() {
    for begun in ["", "G", "GET / HTTP/1.1\r\nHost: "] {
        for requests in [Requests::Many, Requests::One { time: EXCHANGE_TIME }] {
            let mut client = Client::with(requests, echo).await;
            let start = Instant::now();
            client.send(begun).await;
            assert_eq!(client.rest().await, "");
            assert!((9..=11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_slowly_ends_the_connection_all_the_same() {
    let mut client = Client::of_many().await;
    let start = Instant::now();
    // Nothing comes back; the server closes the connection between two lines.
    while client.stream.write_all(b"G").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if client.served.is_finished() {
            break;
        }
    }
    assert!((9..=11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let host = "Host: example.org\r\n";
    for (replacement, version, expected) in [
        ("", "1.1", 400),
        (host, "1.1", 200),
        ("Host: example.org\r\nHost: example.net\r\n", "1.1", 400),
        ("Host: example.org\r\nhost: example.org\r\n", "1.1", 400),
        ("", "1.0", 200),
        ("Host: example.org\r\nHost: example.net\r\n", "1.0", 400),
    ] {
        let request = get("/").replace(host, replacement).replace("1.1", version);
        let status = Client::of_one().await.last_status(&request).await;
        assert_eq!(status, expected, "{request}");
    }
}

#[tokio::test]
async fn a_request_without_one_host_leaves_the_connection_open_for_others() {
    let mut client = Client::of_many().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.response().await.0, 400);
    client.send(get("/")).await;
    assert_eq!(client.response().await.0, 200);
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    for bytes in
        ["\0\0\0\0", "GET\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "GET / HTTP/1.1\r\nNo colon\r\n\r\n"]
    {
        assert_eq!(Client::of_many().await.last_status(bytes).await, 400, "{bytes:?}");
    }
}
