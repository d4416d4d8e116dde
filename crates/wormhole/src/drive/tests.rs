//! The real session of a wormhole on links in memory, with a paused clock: what takes minutes with real servers.

mod races;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand_core::OsRng;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant as TokioInstant;
use tokio_tungstenite::tungstenite::Message;
use wormhole_magic::mailbox::MailboxUrl;
use wormhole_magic::wormhole::{Command, Config, Event, Wormhole, WormholeError};

use super::*;
use crate::net::Frames;
use crate::net::testing::{ServerEnd, link};

/// A link that a session opens. Without an answer it stays half-open.
struct Attempt<A> {
    at: TokioInstant,
    address: A,
    answer: oneshot::Sender<Result<NetLink, LinkFailure>>,
}

impl<A> Attempt<A> {
    /// Opens the link.
    async fn open(self, frames: Frames) -> ServerEnd {
        let (ours, theirs) = link(frames).await;
        assert!(self.answer.send(Ok(ours)).is_ok(), "the attempt was given up");
        theirs
    }

    /// Opens the link to a mailbox server, which welcomes the client.
    async fn welcome(self) -> ServerEnd {
        let mut server = self.open(Frames::Text).await;
        send(&mut server, json!({"type": "welcome", "welcome": {}})).await;
        server
    }

    fn refuse(self) {
        let refused = LinkFailure::Io(std::io::ErrorKind::ConnectionRefused);
        assert!(self.answer.send(Err(refused)).is_ok(), "the attempt was given up");
    }
}

/// Opens links, and gives each attempt to the test.
type Dial<A> = Box<dyn FnMut(A) -> Dialing>;

fn dial<A: 'static>() -> (Dial<A>, mpsc::UnboundedReceiver<Attempt<A>>) {
    let (attempts, attempted) = mpsc::unbounded_channel();
    let dial = move |address| -> Dialing {
        let (answer, answered) = oneshot::channel();
        let at = TokioInstant::now();
        assert!(attempts.send(Attempt { at, address, answer }).is_ok(), "the test has ended");
        Box::pin(async { answered.await.unwrap_or(Err(LinkFailure::Closed)) })
    };
    (Box::new(dial), attempted)
}

type Client = Driver<Wormhole<OsRng>, Dial<MailboxUrl>>;
type Attempts = mpsc::UnboundedReceiver<Attempt<MailboxUrl>>;

/// A wormhole with a code, whose server has this many URLs.
fn client(urls: usize) -> (Client, Attempts) {
    let url = |number| format!("ws://server-{number}.example/v1").parse().unwrap();
    let config = Config { servers: (0..urls).map(url).collect(), ..Config::default() };
    let (dial, attempts) = dial();
    let session = Wormhole::new(config, TokioInstant::now().into_std(), OsRng);
    let mut driver = Driver::new(session, dial);
    driver.command(Command::SetCode("4-x".parse().unwrap()));
    (driver, attempts)
}

/// Runs a client as long as `serve`, and returns its events and how it has ended.
async fn run<T>(
    client: &mut Client,
    serve: impl Future<Output = T>,
) -> (Vec<Event>, Option<WormholeError>, T) {
    let (mut events, mut ended) = (Vec::new(), None);
    tokio::pin!(serve);
    loop {
        tokio::select! {
            biased;
            result = client.next(), if ended.is_none() => match result {
                Ok(event) => events.push(event),
                Err(error) => ended = Some(error),
            },
            output = &mut serve => return (events, ended, output),
        }
    }
}

async fn send(server: &mut ServerEnd, message: Value) {
    server.send(Message::text(message.to_string())).await.unwrap();
}

/// Waits for a request of this type, and returns all requests up to it.
async fn requests_until(server: &mut ServerEnd, kind: &str) -> Vec<Value> {
    let mut requests: Vec<Value> = Vec::new();
    while requests.last().is_none_or(|request| request["type"] != kind) {
        if let Message::Text(text) = server.next().await.unwrap().unwrap() {
            requests.push(serde_json::from_str(&text).unwrap());
        }
    }
    requests
}

/// The average pause after this many failures, in seconds.
fn average_pause(failures: i32) -> f64 {
    1.5_f64.powi(failures).min(60.0)
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_up_to_a_minute_while_a_server_closes_every_link() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        let mut closed = None::<TokioInstant>;
        for failures in 0..20 {
            let attempt = attempts.recv().await.unwrap();
            if let Some(closed) = closed {
                let pause = attempt.at.duration_since(closed).as_secs_f64();
                let average = average_pause(failures - 1);
                let range = average * 0.5..average * 1.5 + 0.01;
                assert!(range.contains(&pause), "{pause} after {failures} failures");
            }
            drop(attempt.welcome().await);
            closed = Some(TokioInstant::now());
        }
    };
    let (events, ended, ()) = run(&mut client, serve).await;
    assert_eq!(ended, None);
    let lost = events.iter().filter(|event| matches!(event, Event::ServerLost)).count();
    assert_eq!(lost, 1, "the loss is reported once: {events:?}");
    let retries = events.iter().filter(|event| matches!(event, Event::ServerRetry { .. })).count();
    assert!(retries >= 18, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn pauses_start_again_after_a_connection_that_was_useful() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        for _ in 0..8 {
            drop(attempts.recv().await.unwrap().welcome().await);
        }
        let mut server = attempts.recv().await.unwrap().welcome().await;
        requests_until(&mut server, "claim").await;
        send(&mut server, json!({"type": "claimed", "mailbox": "m"})).await;
        requests_until(&mut server, "open").await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        drop(server);
        let closed = TokioInstant::now();
        attempts.recv().await.unwrap().at.duration_since(closed)
    };
    let (_, _, pause) = run(&mut client, serve).await;
    assert!(pause < Duration::from_millis(1510), "{pause:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_welcomes_is_given_up_after_half_a_minute() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        let silent = attempts.recv().await.unwrap().open(Frames::Text).await;
        tokio::time::sleep(Duration::from_secs(29)).await;
        silent
    };
    let (_, ended, _silent) = run(&mut client, serve).await;
    assert_eq!(ended, None);
    let (_, ended, ()) = run(&mut client, tokio::time::sleep(Duration::from_secs(2))).await;
    assert_eq!(ended, Some(WormholeError::ServerUnreachable));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_no_connection_is_given_up_after_two_minutes() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        let half_open = attempts.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(119)).await;
        half_open
    };
    let (_, ended, _half_open) = run(&mut client, serve).await;
    assert_eq!(ended, None);
    let (_, ended, ()) = run(&mut client, tokio::time::sleep(Duration::from_secs(2))).await;
    assert_eq!(ended, Some(WormholeError::ServerUnreachable));
}

#[tokio::test(start_paused = true)]
async fn another_address_is_tried_after_eight_seconds_without_a_connection() {
    let (mut client, mut attempts) = client(2);
    let serve = async {
        let half_open = attempts.recv().await.unwrap();
        let second = attempts.recv().await.unwrap();
        let waited = second.at.duration_since(half_open.at);
        assert_eq!(second.address.as_str(), "ws://server-1.example/v1");
        let mut server = second.welcome().await;
        requests_until(&mut server, "bind").await;
        // The first attempt was cancelled.
        assert!(half_open.answer.is_closed());
        waited
    };
    let (events, _, waited) = run(&mut client, serve).await;
    assert_eq!(waited.as_secs(), 8);
    assert!(events.iter().any(|event| matches!(event, Event::Server(_))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_address_does_not_delay_the_next_one() {
    let (mut client, mut attempts) = client(3);
    let serve = async {
        let first = attempts.recv().await.unwrap();
        let start = first.at;
        first.refuse();
        attempts.recv().await.unwrap().refuse();
        attempts.recv().await.unwrap().at.duration_since(start)
    };
    let (_, _, waited) = run(&mut client, serve).await;
    assert_eq!(waited, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_falls_silent_is_replaced_after_a_minute_and_requests_are_repeated() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        let mut server = attempts.recv().await.unwrap().welcome().await;
        let requests = requests_until(&mut server, "claim").await;
        let silent_since = TokioInstant::now();
        // The server does not even read, so no ping is answered; the link stays open.
        let attempt = attempts.recv().await.unwrap();
        let waited = attempt.at.duration_since(silent_since);
        let mut next = attempt.welcome().await;
        let repeated = requests_until(&mut next, "claim").await;
        drop(server);
        (requests, repeated, waited)
    };
    let (events, _, (requests, repeated, waited)) = run(&mut client, serve).await;
    assert_eq!(requests, repeated);
    assert!((60..=62).contains(&waited.as_secs()), "{waited:?}");
    assert!(events.iter().any(|event| matches!(event, Event::ServerLost)), "{events:?}");
    assert_eq!(client.last_failure(), Some(&LinkFailure::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_in_the_middle_of_a_frame_is_given_up() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        let mut server = attempts.recv().await.unwrap().welcome().await;
        requests_until(&mut server, "claim").await;
        let mut stream = server.into_inner();
        let half = b"\x81\x40{\"type\": \"claimed\"";
        tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();
        let _next = attempts.recv().await.unwrap();
        stream
    };
    let (events, _, _) = run(&mut client, serve).await;
    assert!(!events.iter().any(|event| matches!(event, Event::NameplateClaimed)), "{events:?}");
    assert_eq!(client.last_failure(), Some(&LinkFailure::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_a_silent_server_for_two_seconds() {
    let (mut client, mut attempts) = client(1);
    let serve = async {
        let mut server = attempts.recv().await.unwrap().welcome().await;
        requests_until(&mut server, "claim").await;
        server
    };
    let (_, _, _server) = run(&mut client, serve).await;
    client.command(Command::Close(None));
    let start = TokioInstant::now();
    let closed = loop {
        if let Event::Closed(closed) = client.next().await.unwrap() {
            break closed;
        }
    };
    assert!(!closed.confirmed);
    assert_eq!(start.elapsed().as_secs(), 2);
    // Then one more second for the close frame.
    client.finish().await;
    assert_eq!(start.elapsed().as_secs(), 3);
}
