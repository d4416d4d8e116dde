//! Data connections through Tor, which is any SOCKS5 proxy here. Everything goes through it, and it resolves all names.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use wormhole::net::tor::Tor;
use wormhole::net::{LinkFailure, SocksRefusal};
use wormhole::transit::{
    Error, Hint, Path, Priority, RaceError, RelayAddress, RelayHint, RelayPolicy, Role, Settings,
    TcpHint, Transit, TransitInfo,
};
use wormhole_server::testing::TestServers;

use crate::scripted_tor::{CONNECTED, answering, connecting_to, read_request, tor_at};
use crate::{connect, key, only};

/// A relay under a name that nobody can resolve here.
fn named_relay() -> RelayHint {
    RelayHint::tcp(TcpHint::new("relay.invalid", 4001))
}

/// Settings that only permit the named relay, through Tor.
fn through(tor: Tor) -> Settings {
    Settings { tor: Some(tor), ..only(vec![named_relay()]) }
}

/// Why a relay cannot be reached through a proxy.
async fn failure(tor: Tor) -> LinkFailure {
    let transit = Transit::new(through(tor)).unwrap();
    let peer = transit.info();
    match transit.connect(Role::Sender, &key(), &peer).await {
        Err(Error::NotConnected { last: Some((address, failure)), .. }) => {
            assert_eq!(address, "tcp:relay.invalid:4001");
            failure
        }
        other => panic!("{other:?}"),
    }
}

/// The same for a proxy that answers every request with these bytes.
async fn failure_after(answer: &'static [u8]) -> LinkFailure {
    failure(answering(answer).await).await
}

#[tokio::test]
async fn both_sides_meet_at_a_relay_whose_name_only_the_proxy_resolves() {
    let servers = TestServers::start(&[]).await;
    let (tor, mut asked) = connecting_to(servers.relay()).await;
    let (one, other) = connect(through(tor.clone()), through(tor)).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    assert_eq!(*one.path(), Path::Relay("tcp:relay.invalid:4001".into()));
    one.send_record(b"hidden").await.unwrap();
    assert_eq!(other.receive_record().await.unwrap(), b"hidden");
    for _ in 0..2 {
        assert_eq!(asked.recv().await.unwrap(), "relay.invalid");
    }
}

#[tokio::test]
async fn a_websocket_relay_is_reached_through_the_proxy_as_well() {
    let servers = TestServers::start(&[]).await;
    let (tor, mut asked) = connecting_to(servers.websocket_relay()).await;
    let url = "ws://relay.invalid:4002/".to_owned();
    let address = RelayAddress::WebSocket { url, priority: Priority::default() };
    let relays = vec![RelayHint { name: None, addresses: vec![address] }];
    let settings = Settings { tor: Some(tor), ..only(relays) };
    let (one, other) = connect(settings.clone(), settings).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    other.send_record(b"hidden").await.unwrap();
    assert_eq!(one.receive_record().await.unwrap(), b"hidden");
    assert_eq!(asked.recv().await.unwrap(), "relay.invalid");
}

#[tokio::test]
async fn one_side_behind_tor_meets_the_other_side_at_the_relay() {
    let servers = TestServers::start(&[]).await;
    let (tor, _asked) = connecting_to(servers.relay()).await;
    let open = only(vec![crate::servers::relay(&servers)]);
    let (one, other) = connect(through(tor), open).await;
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    one.send_record(b"across").await.unwrap();
    assert_eq!(other.receive_record().await.unwrap(), b"across");
}

#[tokio::test]
async fn each_refusal_of_the_proxy_is_described_in_the_error() {
    for (code, refusal, text) in [
        (1, SocksRefusal::Failed(1), "the proxy reports: a general failure (SOCKS5 code 1)"),
        (2, SocksRefusal::Forbidden, "the proxy reports: it does not allow this address"),
        (3, SocksRefusal::Unreachable, "the proxy reports: the destination cannot be reached"),
        (4, SocksRefusal::Unreachable, "the proxy reports: the destination cannot be reached"),
        (5, SocksRefusal::Refused, "the proxy reports: the destination refused the connection"),
        (6, SocksRefusal::Unreachable, "the proxy reports: the destination cannot be reached"),
        (7, SocksRefusal::Failed(7), "the proxy reports: a general failure (SOCKS5 code 7)"),
        (8, SocksRefusal::Failed(8), "the proxy reports: a general failure (SOCKS5 code 8)"),
        (9, SocksRefusal::UnknownAnswer, "the proxy reports: it gave an unknown answer"),
        (255, SocksRefusal::UnknownAnswer, "the proxy reports: it gave an unknown answer"),
    ] {
        let failure = failure(answering([5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await).await;
        assert_eq!(failure, LinkFailure::ProxyRefused(refusal), "{code}");
        assert_eq!(failure.to_string(), text);
    }
}

#[tokio::test]
async fn the_error_of_the_connection_names_relay_and_proxy() {
    let tor = answering([5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    let transit = Transit::new(through(tor)).unwrap();
    let peer = transit.info();
    let error = transit.connect(Role::Sender, &key(), &peer).await.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the only connection attempt failed (the relay tcp:relay.invalid:4001: the proxy reports: \
         the destination refused the connection)"
    );
}

/// Starts a Tor that sends these bytes as soon as a client connects.
async fn greeting_with(answer: &'static [u8]) -> Tor {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tor = tor_at(socks.local_addr().unwrap()).await;
    tokio::spawn(async move {
        let (mut stream, _) = socks.accept().await.unwrap();
        stream.write_all(answer).await.unwrap();
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    tor
}

#[tokio::test]
async fn a_proxy_that_demands_a_password_is_reported() {
    for greeting in [&[5, 2][..], &[5, 255]] {
        let failure = failure(greeting_with(greeting).await).await;
        assert_eq!(failure.to_string(), "the proxy reports: it requires a password");
    }
}

#[tokio::test]
async fn a_program_that_is_no_proxy_is_reported() {
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-x\r\n", &[4, 0]] {
        let failure = failure(greeting_with(greeting).await).await;
        assert_eq!(failure.to_string(), "the proxy reports: the answer is not SOCKS5");
    }
}

#[tokio::test]
async fn a_proxy_that_closes_the_connection_at_any_point_is_a_lost_link() {
    for answer in [&b""[..], b"\x05", b"\x05\x00", b"\x05\x00\x00\x01\x00\x00"] {
        let failure = failure_after(answer).await;
        assert_eq!(failure, LinkFailure::Io(ErrorKind::UnexpectedEof), "{answer:?}");
        assert_eq!(failure.to_string(), "the connection was lost");
    }
}

#[tokio::test]
async fn a_reply_that_announces_a_longer_address_than_it_contains_is_a_lost_link() {
    let failure = failure_after(b"\x05\x00\x00\x03\xffname\x00\x01").await;
    assert_eq!(failure, LinkFailure::Io(ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_proxy_that_connects_and_then_closes_has_lost_the_relay() {
    let failure = failure_after(&CONNECTED).await;
    assert_eq!(failure, LinkFailure::Closed);
}

#[tokio::test]
async fn bytes_that_arrive_together_with_the_reply_belong_to_the_connection() {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tor = tor_at(socks.local_addr().unwrap()).await;
    let transit = Transit::new(through(tor)).unwrap();
    let peer = transit.info();
    let key = key();
    let serve = async {
        let (mut stream, _) = socks.accept().await.unwrap();
        read_request(&mut stream).await;
        // The relay and the peer, played by the proxy, in one segment with its own reply.
        let all = [&CONNECTED[..], b"ok\n", &key.hello(Role::Sender), b"go\n"].concat();
        stream.write_all(&all).await.unwrap();
        stream
    };
    let (pipe, _stream) = tokio::join!(transit.connect(Role::Receiver, &key, &peer), serve);
    assert!(!pipe.unwrap().path().is_direct());
}

/// The hosts that a proxy is asked for when a peer offers these.
async fn asked_for(hints: Vec<Hint>) -> Vec<String> {
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tor, mut asked) = connecting_to(refusing.local_addr().unwrap()).await;
    tokio::spawn(async move { while refusing.accept().await.is_ok() {} });
    let settings = Settings {
        tor: Some(tor),
        policy: RelayPolicy::Auto,
        relays: Vec::new(),
        ..Settings::default()
    };
    let peer = TransitInfo { abilities: Vec::new(), hints };
    let outcome = Transit::new(settings).unwrap().connect(Role::Sender, &key(), &peer).await;
    let Err(Error::NotConnected { race, .. }) = outcome else { panic!("connected") };
    assert!(matches!(race, RaceError::AllFailed(_) | RaceError::NoCommonMethod), "{race:?}");
    let mut hosts = Vec::new();
    while let Ok(host) = asked.try_recv() {
        hosts.push(host);
    }
    hosts.sort();
    hosts
}

#[tokio::test]
async fn public_and_onion_addresses_of_a_peer_are_asked_of_the_proxy() {
    let hints = vec![
        Hint::Direct(TcpHint::new("9.9.9.9", 1)),
        Hint::Direct(TcpHint::new("peer.invalid", 1)),
        Hint::Tor(TcpHint::new("peer.onion", 1)),
    ];
    assert_eq!(asked_for(hints).await, ["[9, 9, 9, 9]", "peer.invalid", "peer.onion"]);
}

#[tokio::test]
async fn private_addresses_of_a_peer_are_not_asked_of_the_proxy() {
    // They would be addresses of the last computer of the circuit.
    let hosts = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.1.1", "::1", "localhost"];
    let direct = hosts.iter().map(|host| Hint::Direct(TcpHint::new(*host, 1)));
    let relays = hosts.iter().map(|host| Hint::Relay(RelayHint::tcp(TcpHint::new(*host, 1))));
    assert_eq!(asked_for(direct.chain(relays).collect()).await, Vec::<String>::new());
}

#[tokio::test]
async fn onion_addresses_are_not_looked_up_without_tor() {
    let settings = Settings { listen: false, relays: Vec::new(), ..Settings::default() };
    let hints = vec![Hint::Tor(TcpHint::new("peer.onion", 1))];
    let peer = TransitInfo { abilities: Vec::new(), hints };
    let outcome = Transit::new(settings).unwrap().connect(Role::Sender, &key(), &peer).await;
    let no_way = Error::NotConnected { race: RaceError::NoCommonMethod, relay: None, last: None };
    assert_eq!(outcome.map(drop), Err(no_way));
}

#[tokio::test]
async fn without_its_proxy_a_side_connects_to_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let hint = RelayHint::tcp(TcpHint::new(address.ip().to_string(), address.port()));
    let settings = Settings { tor: Some(tor_at(closed).await), ..only(vec![hint]) };
    let transit = Transit::new(settings).unwrap();
    let peer = transit.info();
    let outcome = transit.connect(Role::Sender, &key(), &peer).await;
    let Err(Error::NotConnected { last: Some((_, failure)), .. }) = outcome else {
        panic!("connected")
    };
    assert_eq!(failure, LinkFailure::Io(ErrorKind::ConnectionRefused));
    let direct = timeout(std::time::Duration::from_millis(1), relay.accept()).await;
    assert!(direct.is_err(), "the relay was contacted without the proxy");
}
