//! Bodies of requests, within limits of size and time.

use tokio::time::Instant;
use wormhole_http::body::{BodyError, Pieces};

use super::*;

#[tokio::test]
async fn the_longest_body_is_read_and_a_longer_one_is_refused() {
    let body = "x".repeat(MAX_BODY);
    let with_length = post("/", &format!("Content-Length: {MAX_BODY}\r\n"), &body);
    let chunked = post("/", CHUNKED, &format!("{MAX_BODY:x}\r\n{body}\r\n0\r\n\r\n"));
    for request in [with_length, chunked] {
        let mut client = Client::of_many().await;
        client.send(request).await;
        assert_eq!(client.response().await, (200, format!("POST / {body}")));
    }
    let too_long = "x".repeat(MAX_BODY + 1);
    let chunked = post("/", CHUNKED, &format!("{:x}\r\n{too_long}\r\n", too_long.len()));
    let mut client = Client::of_many().await;
    client.send(chunked).await;
    assert_eq!(client.response().await, (413, "request is too large\n".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_long_is_refused_before_it_is_sent() {
    let mut client = Client::of_many().await;
    let lines = "Expect: 100-continue\r\nContent-Length: 1000000000000\r\n";
    client.send(post("/", lines, "")).await;
    let rest = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 413 "), "{rest}");
}

#[tokio::test]
async fn a_client_that_waits_for_permission_is_told_to_send_its_body() {
    let mut client = Client::of_many().await;
    client.send(post("/", "Expect: 100-continue\r\nContent-Length: 2\r\n", "")).await;
    let mut permission = [0; 25];
    client.stream.read_exact(&mut permission).await.unwrap();
    assert_eq!(&permission, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert_eq!(client.response().await, (200, "POST / hi".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_shorter_than_announced_is_waited_for() {
    let request = post("/", "Content-Length: 5\r\n", "four");
    let mut client = Client::of_many().await;
    let start = Instant::now();
    client.send(&request).await;
    assert_eq!(client.response().await.0, 408);
    assert!((4..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(client.rest().await, "", "the connection is closed: it is unclear what follows");
    // A client that closes its direction cannot send the rest.
    let mut client = Client::of_one().await;
    client.send(&request).await;
    client.stream.shutdown().await.unwrap();
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn what_follows_a_body_is_the_next_request() {
    let mut client = Client::of_many().await;
    client.send(post("/", "Content-Length: 2\r\n", "hi, there\r\n\r\n")).await;
    assert_eq!(client.response().await, (200, "POST / hi".to_owned()));
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_body_that_nobody_reads_ends_the_connection() {
    let mut client = Client::with(Requests::Many, async |_| "unread".into_response()).await;
    client.send(post("/", "Content-Length: 1000000\r\n", "")).await;
    assert_eq!(client.response().await, (200, "unread".to_owned()));
    assert_eq!(client.rest().await, "");
}

/// Counts the bytes of a body, piece by piece.
async fn count(request: Request) -> Response {
    match total(request).await {
        Ok(total) => total.to_string().into_response(),
        Err(error) => error.into_response(),
    }
}

async fn total(request: Request) -> Result<usize, BodyError> {
    let mut pieces = Pieces::new(request.into_body(), MAX_STREAMED, BODY_TIME)?;
    let mut total = 0;
    while let Some(piece) = pieces.next().await? {
        assert!(piece.len() <= 1 << 20, "{} bytes are in memory at once", piece.len());
        total += piece.len();
    }
    Ok(total)
}

#[tokio::test]
async fn a_long_body_is_read_in_pieces() {
    let mut client = Client::with(Requests::Many, count).await;
    for _ in 0..2 {
        client.send(post("/", &format!("Content-Length: {MAX_STREAMED}\r\n"), "")).await;
        client.send(vec![0; MAX_STREAMED]).await;
        assert_eq!(client.response().await, (200, MAX_STREAMED.to_string()));
    }
    client.send(post("/", &format!("Content-Length: {}\r\n", MAX_STREAMED + 1), "")).await;
    assert_eq!(client.response().await.0, 413);
}

#[tokio::test(start_paused = true)]
async fn a_body_in_pieces_may_take_long_but_not_stand_still() {
    let mut client = Client::with(Requests::Many, count).await;
    client.send(post("/", "Content-Length: 100\r\n", "")).await;
    for _ in 0..10 {
        tokio::time::sleep(BODY_TIME * 9 / 10).await;
        client.send("x").await;
    }
    let start = Instant::now();
    assert_eq!(client.response().await.0, 408);
    assert!((4..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// Longest body that is read in pieces, in bytes.
const MAX_STREAMED: usize = 20 << 20;
