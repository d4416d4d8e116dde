//! Connections that carry many requests.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn many_requests_are_answered_in_order_sent_one_by_one_or_all_at_once() {
    let mut client = Client::of_many().await;
    for number in 0..3 {
        client.send(get(&format!("/{number}"))).await;
        assert_eq!(client.response().await, (200, format!("GET /{number} ")));
    }
    let body = post("/body", "Content-Length: 5\r\n", "hello");
    client.send([get("/first"), body, get("/last")].concat()).await;
    for expected in ["GET /first ", "POST /body hello", "GET /last "] {
        assert_eq!(client.response().await, (200, expected.to_owned()));
    }
}

#[tokio::test]
async fn the_connection_ends_when_the_client_asks_for_it() {
    let closing = get("/").replace("Host", "Connection: close\r\nHost");
    for last in [closing, get("/").replace("1.1", "1.0")] {
        let mut client = Client::of_many().await;
        client.send(get("/first")).await;
        client.response().await;
        client.send(last + &get("/never")).await;
        let rest = client.rest().await;
        assert!(rest.ends_with("\r\n\r\nGET / "), "{rest}");
        assert!(client.served.await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_the_time_for_a_head() {
    let mut client = Client::of_many().await;
    for _ in 0..3 {
        tokio::time::sleep(HEAD_TIME * 9 / 10).await;
        client.send(get("/")).await;
        assert_eq!(client.response().await.0, 200);
    }
    let start = Instant::now();
    assert_eq!(client.rest().await, "");
    assert!((9..=11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_longer_than_a_head() {
    let slow = async |_| {
        tokio::time::sleep(HEAD_TIME * 10).await;
        "done".into_response()
    };
    let mut client = Client::with(Requests::Many, slow).await;
    client.send(get("/")).await;
    assert_eq!(client.response().await, (200, "done".to_owned()));
}

#[tokio::test]
async fn a_server_that_stops_closes_idle_connections() {
    let mut client = Client::of_many().await;
    client.send(get("/")).await;
    client.response().await;
    drop(client.stop);
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
    assert!(client.served.await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_stops_answers_the_running_request_and_reads_no_other() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let of_server = (Arc::clone(&started), Arc::clone(&finish));
    let slow = move |_| {
        let (started, finish) = of_server.clone();
        async move {
            started.notify_one();
            finish.notified().await;
            "done".into_response()
        }
    };
    let mut client = Client::with(Requests::Many, slow).await;
    client.send([get("/running"), get("/never")].concat()).await;
    started.notified().await;
    drop(client.stop);
    // The server's task runs now, and notices it.
    tokio::task::yield_now().await;
    finish.notify_one();
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("\r\nConnection: close\r\n") && rest.ends_with("done"), "{rest}");
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 1, "{rest}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_running_request() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let endless = move |_| {
        let (alive, ended) = oneshot::channel::<()>();
        started.send(ended).unwrap();
        async move {
            let _alive = alive;
            pending().await
        }
    };
    let mut client = Client::with(Requests::Many, endless).await;
    client.send(get("/")).await;
    let ended = starts.recv().await.unwrap();
    client.stream.shutdown().await.unwrap();
    assert!(ended.await.is_err(), "it was dropped");
    assert!(client.served.await.unwrap().is_none());
}
