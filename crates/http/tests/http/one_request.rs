//! Connections that carry one request.

use std::future::pending;

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn one_request_is_answered_and_the_connection_closed() {
    let mut client = Client::of_one().await;
    client.send([get("/first"), get("/never")].concat()).await;
    let rest = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\nGET /first "));
    assert!(rest.contains("\r\nConnection: close\r\n"), "{rest}");
    assert!(client.served.await.unwrap().is_none());
}

#[tokio::test]
async fn the_client_may_close_its_direction_after_its_request() {
    let mut client = Client::of_one().await;
    client.send(get("/")).await;
    client.stream.shutdown().await.unwrap();
    assert!(client.rest().await.ends_with("GET / "));
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_request_and_its_response_is_limited() {
    let requests = Requests::One { time: EXCHANGE_TIME };
    let mut client = Client::with(requests, |_| pending()).await;
    let start = Instant::now();
    client.send(get("/")).await;
    assert_eq!(client.rest().await, "");
    assert!((19..=21).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(client.served.await.unwrap().is_none());
}
