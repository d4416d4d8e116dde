//! The record pipe, used alone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole::net::LinkFailure;
use wormhole::transit::{
    Error, Hint, Pipe, PipeError, RaceError, RelayAddress, RelayHint, RelayPolicy, Role, Secret,
    Settings, TcpHint, Transit, TransitInfo, TransitKey,
};

fn key() -> TransitKey {
    TransitKey::new(Secret::new([9; 32]))
}

fn settings() -> Settings {
    Settings { relays: Vec::new(), ..Settings::default() }
}

async fn pair() -> (Pipe, Pipe) {
    let (one, other) = (Transit::new(settings()).unwrap(), Transit::new(settings()).unwrap());
    let (for_one, for_other) = (other.info(), one.info());
    let key = key();
    let (one, other) = tokio::join!(
        one.connect(Role::Sender, &key, &for_one),
        other.connect(Role::Receiver, &key, &for_other)
    );
    (one.unwrap(), other.unwrap())
}

#[tokio::test]
async fn records_of_any_size_go_both_ways_in_order() {
    let (mut one, mut other) = pair().await;
    for size in [0, 1, 65_536, 5 << 20] {
        let record = vec![7; size];
        let (sent, received) = tokio::join!(one.send_record(&record), other.receive_record());
        sent.unwrap();
        assert!(received.unwrap() == record);
        let (sent, received) = tokio::join!(other.send_record(&record), one.receive_record());
        sent.unwrap();
        assert!(received.unwrap() == record);
    }
    assert_eq!(one.send_record(&vec![0; 17 << 20]).await, Err(PipeError::TooLong(17 << 20)));
}

#[tokio::test]
async fn closing_is_seen_by_the_other_side() {
    let (one, mut other) = pair().await;
    one.close().await;
    assert!(matches!(other.receive_record().await, Err(PipeError::Link(_))));
}

#[tokio::test]
async fn a_side_that_may_not_listen_can_still_connect() {
    let silent = Transit::new(Settings { listen: false, ..settings() }).unwrap();
    assert_eq!(silent.info().hints, []);
    let open = Transit::new(settings()).unwrap();
    let (for_silent, for_open) = (open.info(), silent.info());
    let key = key();
    let (one, other) = tokio::join!(
        silent.connect(Role::Receiver, &key, &for_silent),
        open.connect(Role::Sender, &key, &for_open)
    );
    assert!(one.unwrap().path().is_direct());
    assert!(other.unwrap().path().is_direct());
}

#[tokio::test]
async fn with_no_way_to_the_peer_connecting_fails_at_once() {
    let silent = Transit::new(Settings { listen: false, ..settings() }).unwrap();
    let outcome = silent.connect(Role::Sender, &key(), &TransitInfo::default()).await;
    assert_eq!(
        outcome.map(drop),
        Err(Error::NotConnected { race: RaceError::NoWay, relay: None, last: None })
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_reported() {
    let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let outcome = Transit::new(Settings { port: Some(port), ..settings() }).map(drop);
    assert!(matches!(outcome, Err(Error::PortTaken { port: found, .. }) if found == port));
}

#[tokio::test]
async fn our_address_stays_with_us_when_only_a_relay_may_be_used() {
    let hidden = Settings { policy: RelayPolicy::Only, ..settings() };
    assert_eq!(Transit::new(hidden).unwrap().info().hints, []);
}

#[tokio::test]
async fn a_stranger_on_the_port_is_turned_away_and_the_peer_still_gets_in() {
    let (one, other) = (Transit::new(settings()).unwrap(), Transit::new(settings()).unwrap());
    let info = one.info();
    let Some(Hint::Direct(TcpHint { endpoint, .. })) = info.hints.first().cloned() else {
        panic!("no address")
    };
    let mut stranger = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.unwrap();
    stranger.write_all(&[b'x'; 200]).await.unwrap();
    let key = key();
    let for_one = other.info();
    let (one, other) = tokio::join!(
        one.connect(Role::Receiver, &key, &for_one),
        other.connect(Role::Sender, &key, &info)
    );
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    other.send_record(b"for the peer").await.unwrap();
    assert_eq!(one.receive_record().await.unwrap(), b"for the peer");
    let mut heard = Vec::new();
    let reading = timeout(Duration::from_secs(30), stranger.read_to_end(&mut heard));
    // Cut, with or without a goodbye; nothing of the transfer was said.
    let _cut = reading.await.expect("the stranger is kept");
    assert!(!heard.windows(8).any(|bytes| bytes == b"for the "));
}

/// What a peer says that names a relay in this many ways.
fn peer_with_relays(relays: &[serde_json::Value]) -> TransitInfo {
    let hints: Vec<_> = relays
        .iter()
        .map(|relay| serde_json::json!({"type": "relay-v1", "hints": [relay]}))
        .collect();
    TransitInfo::decode(&serde_json::json!({ "hints-v1": hints }))
}

#[tokio::test]
async fn a_peer_cannot_make_us_call_services_of_this_computer_by_naming_a_relay() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let tcp =
        |host: &str| serde_json::json!({"type": "direct-tcp-v1", "hostname": host, "port": port});
    let websocket = |url: String| serde_json::json!({"type": "websocket-v1", "url": url});
    for relay in [
        tcp("127.0.0.1"),
        tcp("::ffff:127.0.0.1"),
        tcp("0.0.0.0"),
        tcp("localhost"),
        // Resolvers read these as 127.0.0.1, too.
        tcp("2130706433"),
        tcp("0x7f.1"),
        websocket(format!("ws://127.0.0.1:{port}/admin/x?now=1")),
        websocket(format!("ws://[::ffff:127.0.0.1]:{port}/")),
        websocket(format!("ws://localhost:{port}/")),
        websocket(format!("ws://0x7f000001:{port}/")),
        tcp("10.255.255.77"),
    ] {
        let transit = Transit::new(Settings { listen: false, ..settings() }).unwrap();
        let peer = peer_with_relays(std::slice::from_ref(&relay));
        let outcome = transit.connect(Role::Receiver, &key(), &peer).await.map(drop);
        let Err(Error::NotConnected { last: Some((_, failure)), .. }) = &outcome else {
            panic!("{relay}: {outcome:?}")
        };
        // A resolver that does not know these spellings is fine, too.
        let refused = matches!(failure, LinkFailure::PrivateAddress | LinkFailure::NameNotFound(_));
        assert!(refused, "{relay}: {failure:?}");
    }
    let calls = timeout(Duration::from_millis(1), service.accept()).await;
    assert!(calls.is_err(), "somebody called");
}

#[tokio::test]
async fn a_relay_that_both_name_may_be_anywhere_and_sees_one_fixed_request() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}/");
    let ours = RelayAddress::WebSocket { url: url.clone(), priority: Default::default() };
    let relays = vec![RelayHint { name: None, addresses: vec![ours] }];
    let transit = Transit::new(Settings { listen: false, relays, ..settings() }).unwrap();
    let theirs = serde_json::json!({"type": "websocket-v1", "url": format!("{url}admin?now=1")});
    let (key, peer) = (key(), peer_with_relays(&[theirs]));
    let call = async {
        let (mut stream, _) = service.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    };
    let (request, _) = tokio::join!(call, transit.connect(Role::Receiver, &key, &peer));
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
}

#[tokio::test]
async fn a_peer_that_offers_other_addresses_cannot_make_us_call_this_computer() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let direct = |host: &str, port| Hint::Direct(TcpHint::new(host, port));
    // The first of them answers at once, with a refusal.
    let hints =
        vec![direct("255.255.255.255", 1), direct("localhost.", port), direct("2130706433", port)];
    let peer = TransitInfo { abilities: Vec::new(), hints };
    let transit = Transit::new(Settings { listen: false, ..settings() }).unwrap();
    let outcome = transit.connect(Role::Receiver, &key(), &peer).await.map(drop);
    assert!(matches!(outcome, Err(Error::NotConnected { .. })), "{outcome:?}");
    assert!(timeout(Duration::from_millis(1), service.accept()).await.is_err());
}
