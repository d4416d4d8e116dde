use std::io;

use wormhole_whisper::devp2p::{base::VERSION, enode::Endpoint};

use super::*;

const OWN: NodeId = NodeId([5; 64]);

fn id(number: u8) -> NodeId {
    NodeId([number; 64])
}

fn info(number: u8, direction: Direction) -> LinkInfo {
    let outbound = direction == Direction::Outbound;
    let id = outbound.then(|| id(number));
    LinkInfo { address: ([192, 0, 2, number], 30303).into(), direction, id }
}

/// A link that was opened by this node, and the queue of its commands.
fn opened(number: u8, direction: Direction) -> (OpenedLink, mpsc::Receiver<LinkCommand>) {
    let (commands, received) = mpsc::channel(RESERVED_COMMANDS + 1);
    let hello = Hello {
        version: VERSION,
        client_id: String::new(),
        capabilities: vec![],
        listen_port: 0,
        id: id(number),
    };
    let (link, info) = (LinkId(number.into()), info(number, direction));
    (OpenedLink { link, hello: hello.into(), commands, info }, received)
}

fn peers() -> Peers {
    Peers::new(OWN, &Settings::default(), Instant::now())
}

#[test]
fn a_peer_ends_with_its_link_and_not_with_another_one() {
    let (mut peers, now) = (peers(), Instant::now());
    let (link, _commands) = opened(1, Direction::Inbound);
    assert_eq!(peers.link_opened(now, link, false), LinkDecision::Accepted);
    let (reason, info) = (CloseReason::ByUs, info(1, Direction::Inbound));
    assert_eq!(peers.link_ended(now, LinkId(9), &info, &reason, false), None);
    assert!(peers.contains(&id(1)));
    assert_eq!(peers.link_ended(now, LinkId(1), &info, &reason, false), Some(id(1)));
    assert!(!peers.contains(&id(1)) && peers.peer_of(LinkId(1)).is_none());
}

#[test]
fn a_peer_that_breaks_the_protocol_is_banned_unless_it_is_trusted() {
    let (mut peers, now) = (peers(), Instant::now());
    for (number, trusted) in [(1, false), (2, true)] {
        let info = info(number, Direction::Outbound);
        peers.record_fault(now, Some(id(number)), &info, &"bad packet", trusted);
    }
    assert_eq!((peers.misbehaved(), peers.banned(now)), (2, 1));
    let (link, mut commands) = opened(1, Direction::Inbound);
    assert_eq!(peers.link_opened(now, link, false), LinkDecision::Rejected);
    let useless = LinkCommand::Disconnect(DisconnectReason::UselessPeer);
    assert_eq!(format!("{:?}", commands.try_recv().unwrap()), format!("{useless:?}"));
    // The operator of the node lifts the ban.
    peers.exempt(&id(1));
    let (link, _commands) = opened(1, Direction::Inbound);
    assert_eq!(peers.link_opened(now, link, false), LinkDecision::Accepted);
}

#[test]
fn a_peer_that_does_not_read_is_removed() {
    let (mut peers, now) = (peers(), Instant::now());
    let (link, _commands) = opened(1, Direction::Inbound);
    peers.link_opened(now, link, false);
    assert_eq!(peers.has_room(&id(1)), Some(true));
    let packet = || LinkCommand::Send { code: 1, body: vec![] };
    assert!((0..=RESERVED_COMMANDS).all(|_| !peers.send_command(&id(1), packet())));
    assert_eq!(peers.has_room(&id(1)), Some(false));
    assert!(peers.send_command(&id(1), packet()) && !peers.contains(&id(1)));
    assert!(!peers.send_command(&id(1), packet()));
}

#[test]
fn a_static_peer_is_dialled_until_it_is_connected_and_again_when_it_is_lost() {
    let (mut peers, now) = (peers(), Instant::now());
    let endpoint = Endpoint { ip: [192, 0, 2, 1].into(), udp: 0, tcp: 30303 };
    let enode = Enode { id: id(1), endpoint: Some(endpoint) };
    assert_eq!(peers.add_static(now, &enode), Ok(true));
    assert_eq!(peers.add_static(now, &Enode { id: OWN, ..enode }), Err(AddPeerError::Ourselves));
    assert_eq!(peers.next_dial(now).map(|(id, _)| id), Some(id(1)));
    assert_eq!(peers.next_dial(now), None);
    let (link, _commands) = opened(1, Direction::Outbound);
    assert_eq!(peers.link_opened(now, link, false), LinkDecision::Accepted);
    assert_eq!(peers.deadline(), None);
    let reason = CloseReason::Failed(io::ErrorKind::ConnectionReset);
    peers.link_ended(now, LinkId(1), &info(1, Direction::Outbound), &reason, false);
    assert!(peers.deadline().is_some_and(|due| due > now));
}

#[test]
fn discovery_is_wanted_as_long_as_there_is_room_for_more_peers() {
    let settings = Settings { max_peers: 2, ..Settings::default() };
    let (mut peers, now) = (Peers::new(OWN, &settings, Instant::now()), Instant::now());
    let wants_more = peers.wants_more();
    assert_eq!(peers.next_dial(now), None);
    assert!(*wants_more.borrow());
    let (link, _commands) = opened(1, Direction::Outbound);
    peers.link_opened(now, link, false);
    assert_eq!(peers.next_dial(now), None);
    assert!(!*wants_more.borrow());
}
