//! Hints of a peer that names services of other people, or of this computer.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use wormhole::net::LinkFailure;
use wormhole::transit::{
    Error, Hint, RelayAddress, RelayHint, Role, Settings, TcpHint, Transit, TransitInfo,
};

use crate::{direct, key};

/// The hints of a peer that names these relays.
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
        let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
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
    let transit = Transit::new(Settings { listen: false, relays, ..direct() }).unwrap();
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
    let hint = |host: &str, port| Hint::Direct(TcpHint::new(host, port));
    // The first of them answers at once, with a refusal.
    let hints =
        vec![hint("255.255.255.255", 1), hint("localhost.", port), hint("2130706433", port)];
    let peer = TransitInfo { abilities: Vec::new(), hints };
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let outcome = transit.connect(Role::Receiver, &key(), &peer).await.map(drop);
    assert!(matches!(outcome, Err(Error::NotConnected { .. })), "{outcome:?}");
    assert!(timeout(Duration::from_millis(1), service.accept()).await.is_err());
}

/// The hints of a peer with these direct addresses, as JSON from the network.
fn peer_with_addresses(addresses: impl Iterator<Item = (String, u32)>) -> TransitInfo {
    let hint = |(host, port): (String, u32)| serde_json::json!({"type": "direct-tcp-v1", "hostname": host, "port": port});
    TransitInfo::decode(&serde_json::json!({ "hints-v1": addresses.map(hint).collect::<Vec<_>>() }))
}

#[tokio::test]
async fn of_thousands_of_hints_only_a_few_are_tried() {
    // All of 127.0.0.0/8 is this computer.
    let service = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let hosts = (0..5_000).map(|n| (format!("127.0.{}.{}", n / 250, n % 250 + 1), port.into()));
    let peer = peer_with_addresses(hosts);
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let calls = async {
        let mut calls = 0;
        loop {
            drop(service.accept().await.unwrap());
            calls += 1;
            assert!(calls <= 64);
        }
    };
    let key = key();
    let outcome = tokio::select! {
        outcome = transit.connect(Role::Receiver, &key, &peer) => outcome,
        () = calls => panic!("never ends"),
    };
    let Err(Error::NotConnected { race, .. }) = outcome else { panic!("connected") };
    assert_eq!(race.to_string(), "all 64 connection attempts failed");
}

#[tokio::test]
async fn the_same_hint_many_times_is_one_connection() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let peer = peer_with_addresses((0..50).map(|_| ("127.0.0.1".to_owned(), port.into())));
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let key = key();
    let connecting = transit.connect(Role::Receiver, &key, &peer);
    let (outcome, _) = tokio::join!(connecting, async { drop(service.accept().await.unwrap()) });
    let Err(Error::NotConnected { race, .. }) = outcome else { panic!("connected") };
    assert_eq!(race.to_string(), "the only connection attempt failed");
}

#[tokio::test]
async fn hints_with_impossible_ports_or_names_are_skipped() {
    let impossible = [
        ("127.0.0.1", 0),
        ("127.0.0.1", 65_536),
        ("", 1),
        ("a b", 1),
        ("a\nb", 1),
        ("a\u{202e}b", 1),
    ];
    let long = ("x".repeat(256), 1);
    let hosts = impossible.map(|(host, port)| (host.to_owned(), port));
    let peer = peer_with_addresses(hosts.into_iter().chain([long]));
    assert_eq!(peer.hints, []);
}

#[tokio::test]
async fn hints_of_another_shape_do_not_hide_the_good_ones() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let peer = TransitInfo::decode(&serde_json::json!({
        "abilities-v1": "all",
        "hints-v1": [
            null,
            7,
            {"type": "direct-tcp-v2", "hostname": "127.0.0.1", "port": 1},
            {"type": "direct-tcp-v1", "hostname": 7, "port": 1},
            {"type": "direct-tcp-v1", "hostname": "127.0.0.1", "port": "1"},
            {"type": "relay-v1", "hints": {}},
            {"type": "direct-tcp-v1", "hostname": "127.0.0.1", "port": port, "priority": "high"},
        ],
    }));
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let key = key();
    let serve = async { drop(service.accept().await.unwrap()) };
    let (outcome, ()) = tokio::join!(transit.connect(Role::Sender, &key, &peer), serve);
    assert!(matches!(outcome, Err(Error::NotConnected { .. })));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_reported() {
    let peer = peer_with_addresses([("peer.invalid".to_owned(), 1)].into_iter());
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let error = transit.connect(Role::Sender, &key(), &peer).await.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the only connection attempt failed (tcp:peer.invalid:1: the name \"peer.invalid\" could not \
         be resolved)"
    );
}
