//! Port forwarding between two of ours, and with a peer that breaks the rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wormhole::code::{Code, Config, Wormhole};
use wormhole::dilated::{Dilated, Settings, Subchannel};
use wormhole::forward::{self, Event, Forwards, ForwardsError, Service, ServiceName, Session};
use wormhole::transit::RelayPolicy;
use wormhole_server::testing::TestServers;

use crate::echo::{data, soon};

const CODE: &str = "4-purple-sausages";

pub(crate) fn name(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// A wormhole for port forwarding, with its code.
pub(crate) fn wormhole(servers: &TestServers) -> Wormhole {
    let mailbox = format!("ws://{}/v1", servers.mailbox()).parse().unwrap();
    let wormhole =
        Wormhole::create_dilatable(Config { servers: vec![mailbox], ..forward::config() });
    wormhole.set_code(Code::parse(CODE).unwrap()).unwrap();
    wormhole
}

pub(crate) fn direct() -> Settings {
    Settings { policy: RelayPolicy::Never, relays: vec![], ..Settings::default() }
}

fn start(servers: &TestServers, forwards: Forwards) -> Session {
    forward::start(wormhole(servers), direct(), forwards)
}

/// Waits for the first event of this kind.
pub(crate) async fn wait_for<T>(
    session: &mut Session,
    what: &str,
    find: impl Fn(&Event) -> Option<T>,
) -> T {
    soon(what, async {
        loop {
            let event = session.next().await.unwrap_or_else(|| panic!("ended before {what}"));
            if let Some(found) = find(&event.unwrap()) {
                return found;
            }
        }
    })
    .await
}

/// The address of a listener, once the peer offers its service.
pub(crate) async fn listening(session: &mut Session) -> SocketAddr {
    wait_for(session, "listener", |event| {
        let Event::Listening { address, .. } = event else { return None };
        Some(*address)
    })
    .await
}

/// A server that answers only at the end of what it is sent, with the same bytes.
pub(crate) async fn server(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = Vec::new();
                if socket.read_to_end(&mut received).await.is_ok() {
                    // A test that has ended does not need it.
                    let _ended = socket.write_all(&received).await;
                }
            });
        }
    });
    port
}

/// Sends bytes, ends our direction, and checks that they come back.
async fn check(address: SocketAddr, number: usize, length: usize) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let sent = data(number, length);
    let (mut reader, mut writer) = socket.split();
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), read) = tokio::join!(write, reader.read_to_end(&mut received));
    read.unwrap();
    assert!(received == sent, "connection {number}: {} of {length} bytes", received.len());
}

async fn offer(servers: &TestServers, port: u16) -> Session {
    let mut forwards = Forwards::default();
    forwards.offer(Service::new(name("web"), port)).unwrap();
    start(servers, forwards)
}

async fn listen(servers: &TestServers, service: &str) -> Session {
    let mut forwards = Forwards::default();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    forwards.listen(name(service), any, None).await.unwrap();
    start(servers, forwards)
}

#[tokio::test]
async fn connections_and_the_end_of_each_direction_reach_the_service() {
    let servers = TestServers::start(&[]).await;
    let port = server(Ipv4Addr::LOCALHOST.into()).await;
    let (mut one, mut two) = (offer(&servers, port).await, listen(&servers, "web").await);
    let address = listening(&mut two).await;
    soon("connections", async {
        for length in [0, 1, 3_000_000] {
            check(address, length, length).await;
        }
        let many = (0..20).map(|number| check(address, number, 200_000));
        futures_util::future::join_all(many).await;
    })
    .await;
    let total = 3_000_001 + 20 * 200_000;
    for _ in 0..23 {
        wait_for(&mut one, "end", |event| matches!(event, Event::Closed { .. }).then_some(()))
            .await;
    }
    assert_eq!((one.traffic().sent(), one.traffic().received()), (total, total));
    assert_eq!(one.traffic().open(), 0);
    soon("close", two.close()).await;
    wait_for(&mut one, "end", |event| matches!(event, Event::PeerLeft).then_some(())).await;
    assert!(soon("end", one.next()).await.is_none());
}

#[tokio::test]
async fn both_sides_offer_and_listen_at_the_same_time_also_over_ipv6() {
    let servers = TestServers::start(&[]).await;
    let mut sessions = Vec::new();
    for (own, other) in [("a", "b"), ("b", "a")] {
        let mut forwards = Forwards::default();
        let mut service = Service::new(name(own), server(Ipv6Addr::LOCALHOST.into()).await);
        service.host = "::1".to_owned();
        forwards.offer(service).unwrap();
        let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        forwards.listen(name(other), any, None).await.unwrap();
        sessions.push(start(&servers, forwards));
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        let address = listening(session).await;
        assert!(address.is_ipv6());
        soon("connection", check(address, number, 100_000)).await;
    }
}

#[tokio::test]
async fn a_service_that_is_not_offered_is_not_listened_for_and_the_reason_is_reported() {
    let servers = TestServers::start(&[]).await;
    let (mut one, mut two) = (offer(&servers, 1).await, listen(&servers, "database").await);
    let reason = wait_for(&mut one, "refusal", |event| {
        let Event::NotOffered { reason, .. } = event else { return None };
        Some(reason.clone())
    });
    assert_eq!(reason.await, "No service permitted for name \"web\"");
    let unwanted = wait_for(&mut two, "offer", |event| {
        let Event::NotWanted(name) = event else { return None };
        Some(name.clone())
    });
    assert_eq!(unwanted.await, name("web"));
}

#[tokio::test]
async fn a_dead_service_ends_the_connection_and_both_sides_learn_why() {
    let servers = TestServers::start(&[]).await;
    // A port that was just free.
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (mut one, mut two) = (offer(&servers, unused).await, listen(&servers, "web").await);
    let address = listening(&mut two).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    assert_eq!(soon("end", socket.read(&mut [0])).await.unwrap(), 0);
    for (session, expected) in [(&mut one, true), (&mut two, false)] {
        let (is_incoming, reason) = wait_for(session, "failure", |event| {
            let Event::NotOpened { is_incoming, reason, .. } = event else { return None };
            Some((*is_incoming, reason.clone()))
        })
        .await;
        assert_eq!(is_incoming, expected);
        assert!(reason.to_lowercase().contains("refused"), "{reason}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_name_that_is_used_twice_are_refused_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut forwards = Forwards::default();
    let refused = forwards.listen(name("web"), address, None).await.unwrap_err();
    let kind = std::io::ErrorKind::AddrInUse;
    assert_eq!(refused, ForwardsError::Listen { address, kind });
    forwards.offer(Service::new(name("web"), 80)).unwrap();
    let again = forwards.offer(Service::new(name("web"), 81));
    assert_eq!(again, Err(ForwardsError::NameInUse(name("web"))));
}

/// A peer that speaks dilation, and sends what it likes.
async fn hostile(servers: &TestServers) -> Dilated {
    soon("dilate", wormhole(servers).dilate(direct())).await.unwrap()
}

/// Sends bytes on a stream of a subprotocol, and returns what comes back until its end.
async fn exchange(peer: &Dilated, subprotocol: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream: Subchannel = peer.connect(subprotocol).unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // Some streams are ended with an error; what came before counts.
    let _ended = soon("answer", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_hostile_peer_reaches_only_what_was_named() {
    let servers = TestServers::start(&[]).await;
    let port = server(Ipv4Addr::LOCALHOST.into()).await;
    let one = offer(&servers, port).await;
    let peer = hostile(&servers).await;
    // {"unique-name": "ssh"} and {"unique-name": "127.0.0.1:22"}
    for (request, name) in [
        (b"\x00\x11\x81\xabunique-name\xa3ssh".as_slice(), "ssh"),
        (b"\x00\x1a\x81\xabunique-name\xac127.0.0.1:22".as_slice(), "127.0.0.1:22"),
    ] {
        let answer = exchange(&peer, "fowl", request).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(&format!("No service \"{name}\"")), "{answer}");
    }
    // A request to listen for a service that we have not asked for.
    let request =
        b"\x00\x34\x83\xa4kind\xb0request-listener\xabunique-name\xa3web\xablisten-port\xc0";
    let answer = exchange(&peer, "fowl-commands", request).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("No service permitted"), "{answer}");
    // What is named is reached.
    let answer = exchange(&peer, "fowl", b"\x00\x11\x81\xabunique-name\xa3webhello").await;
    assert!(answer.ends_with(b"hello"), "{answer:?}");
    drop(one);
}

#[tokio::test]
async fn malformed_messages_end_their_stream_and_nothing_else() {
    let servers = TestServers::start(&[]).await;
    let port = server(Ipv4Addr::LOCALHOST.into()).await;
    let one = offer(&servers, port).await;
    let peer = hostile(&servers).await;
    let deep = [b"\x1f\xff".as_slice(), &[0x91; 0x1fff]].concat();
    for bytes in [
        b"".as_slice(),
        b"\x00",
        b"\xff\xff",
        b"\x00\x00",
        b"\x00\x01\xc1",
        b"\x00\x05\xdd\xff\xff\xff\xff",
        b"\x00\x11\x81\xabunique-name\xa3w",
        &deep,
    ] {
        for subprotocol in ["fowl", "fowl-commands"] {
            assert_eq!(exchange(&peer, subprotocol, bytes).await, b"", "{bytes:?}");
        }
    }
    let answer = exchange(&peer, "fowl", b"\x00\x11\x81\xabunique-name\xa3webhello").await;
    assert!(answer.ends_with(b"hello"), "{answer:?}");
    drop(one);
}

#[tokio::test]
async fn a_peer_of_another_application_is_refused() {
    let servers = TestServers::start(&[]).await;
    let mut session = offer(&servers, 1).await;
    let mailbox = format!("ws://{}/v1", servers.mailbox()).parse().unwrap();
    let other =
        Config { servers: vec![mailbox], app_id: forward::config().app_id, ..Config::default() };
    let other = Wormhole::create(other);
    other.set_code(Code::parse(CODE).unwrap()).unwrap();
    let error = soon("refusal", session.next()).await.unwrap().unwrap_err();
    assert_eq!(error, forward::Error::PeerCannotForward);
}

#[tokio::test]
async fn connections_to_a_service_that_nobody_offers_are_closed() {
    let servers = TestServers::start(&[]).await;
    let port = server(Ipv4Addr::LOCALHOST.into()).await;
    let mut forwards = Forwards::default();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = forwards.listen(name("wob"), any, None).await.unwrap();
    let mut client = start(&servers, forwards);
    // It waits until it is known that nobody offers the service.
    let mut early = TcpStream::connect(address).await.unwrap();
    let _server = offer(&servers, port).await;
    let missing = wait_for(&mut client, "a missing service", |event| {
        let Event::NobodyOffers(name) = event else { return None };
        Some(name.clone())
    });
    assert_eq!(missing.await, name("wob"));
    let mut late = TcpStream::connect(address).await.unwrap();
    for socket in [&mut early, &mut late] {
        let closed = soon("end of a connection", socket.read(&mut [0])).await;
        assert!(closed.is_err() || closed.is_ok_and(|length| length == 0));
    }
}
