//! What hostile peers cannot do to a node.

use std::time::{Duration, Instant, SystemTime};

use rand_core::{OsRng, RngCore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole_node::{
    Node,
    devp2p::base::DisconnectReason,
    mine,
    shh::{Draft, SymmetricKey, Work, packet},
};

use super::{PATIENCE, hear, quick, sealed, start, start_beside, until};
use wormhole_node::testing::{TestPeer, tcp_address};

/// Waits until the node closes a link.
async fn closed(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    let end = async { while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    timeout(PATIENCE, end).await.expect("in time");
}

/// Checks that a node still passes messages on, to one that comes only now.
async fn still_works(node: &Node) {
    let friend = start_beside(node).await;
    let mut heard = node.envelopes();
    let envelope = sealed("still here", &SymmetricKey::random(&mut OsRng), None).await;
    let hash = friend.post(envelope).await.unwrap();
    while hear(&mut heard).await.0.hash() != hash {}
    friend.stop().await;
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_ends_the_link_and_nothing_else() {
    let node = start(quick()).await;
    for length in [1, 2, 64, 307, 500, 4000] {
        let mut stream = TcpStream::connect(tcp_address(&node.enode())).await.unwrap();
        let mut garbage = vec![0; length];
        OsRng.fill_bytes(&mut garbage);
        stream.write_all(&garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        closed(stream).await;
    }
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut stream = TcpStream::connect(tcp_address(&node.enode())).await.unwrap();
    let _cut = stream.write_all(&http).await;
    closed(stream).await;
    still_works(&node).await;
    node.stop().await;
}

#[tokio::test]
async fn a_frame_with_a_wrong_mac_cuts_the_peer_and_bans_it() {
    let node = start(quick()).await;
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    until(async || (node.status().await.unwrap().peers == 1).then_some(())).await;
    peer.stream.write_all(&[7; 64]).await.unwrap();
    assert_eq!(peer.disconnected().await, Some(DisconnectReason::BreachOfProtocol));
    until(async || (node.status().await.unwrap().banned == 1).then_some(())).await;
    assert_eq!(node.status().await.unwrap().peers, 0);
    still_works(&node).await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_sends_a_packet_before_its_status_or_a_malformed_one_is_disconnected() {
    let node = start(quick()).await;
    let mut early = TestPeer::connect(&node.enode()).await;
    early.send(packet::MESSAGES, &[0xc0]).await;
    assert_eq!(early.disconnected().await, Some(DisconnectReason::SubprotocolError));
    let mut malformed = TestPeer::connect_with_status(&node.enode()).await;
    malformed.send(packet::MESSAGES, &[0xc1, 0x80]).await;
    assert_eq!(malformed.disconnected().await, Some(DisconnectReason::SubprotocolError));
    let mut worthless = TestPeer::connect_with_status(&node.enode()).await;
    let cheap = Draft::new(SystemTime::now().into(), 50, super::TOPIC, vec![0; 300]).finish(0);
    worthless.send(packet::MESSAGES, &packet::encode_messages([cheap.encoded()])).await;
    assert_eq!(worthless.disconnected().await, Some(DisconnectReason::SubprotocolError));
    until(async || (node.status().await.unwrap().misbehaved == 3).then_some(())).await;
    still_works(&node).await;
    node.stop().await;
}

#[tokio::test]
async fn a_flood_is_dropped_and_the_pool_stays_within_its_bound() {
    let mut settings = quick();
    settings.min_work = Work::NONE;
    settings.pool_bytes = 1 << 20;
    settings.limits.envelopes_per_peer.per_second = 10.0;
    settings.limits.envelopes_per_peer.burst = 3000.0;
    let node = start(settings).await;
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    for number in 0..40 {
        let envelopes: Vec<_> = (0..500)
            .map(|index| {
                let draft = Draft::new(SystemTime::now().into(), 50, super::TOPIC, vec![0; 1000]);
                draft.finish(500 * number + index)
            })
            .collect();
        let body = packet::encode_messages(envelopes.iter().map(|envelope| envelope.encoded()));
        peer.send(packet::MESSAGES, &body).await;
        assert!(node.status().await.unwrap().bytes <= 1 << 20);
    }
    // The pool was full, so that more work is asked for now.
    let harder = async || Some(node.status().await.unwrap()).filter(|it| it.min_work > Work::NONE);
    let status = until(harder).await;
    assert!(status.bytes <= 1 << 20 && status.envelopes > 0 && status.accepted <= 3100);
    // Who passes much on may have been told much: it stays.
    assert_eq!((status.peers, status.misbehaved, status.banned), (1, 0, 0));
    still_works(&node).await;
    node.stop().await;
}

#[tokio::test]
async fn bytes_beyond_the_limit_are_read_later_and_close_no_link() {
    let mut settings = quick();
    settings.limits.bytes_per_peer.per_second = 2_000_000.0;
    settings.limits.bytes_per_peer.burst = 1_000_000.0;
    let node = start(settings).await;
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    let begin = Instant::now();
    for _ in 0..5 {
        // An unknown message code, whose handling takes no time.
        peer.send(50, &[0; 1_000_000]).await;
    }
    let sealed = sealed("at last", &SymmetricKey::random(&mut OsRng), None).await;
    let mut heard = node.envelopes();
    peer.send(packet::MESSAGES, &packet::encode_messages([sealed.encoded()])).await;
    assert_eq!(hear(&mut heard).await.0.hash(), sealed.hash());
    // The last of them was read before it was owed for.
    assert!(begin.elapsed() >= Duration::from_millis(1200), "{:?}", begin.elapsed());
    let status = node.status().await.unwrap();
    assert_eq!((status.peers, status.misbehaved, status.banned), (1, 0, 0));
    node.stop().await;
}

#[tokio::test]
async fn a_peer_whose_clock_is_wrong_is_disconnected_and_not_banned() {
    let node = start(quick()).await;
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    let early = SystemTime::now() + Duration::from_secs(30);
    let draft = Draft::new(early.into(), 50, super::TOPIC, vec![0; 300]);
    let early = mine(draft, Some(Work::new(0.5).unwrap()), PATIENCE).await.unwrap();
    peer.send(packet::MESSAGES, &packet::encode_messages([early.encoded()])).await;
    assert_eq!(peer.disconnected().await, Some(DisconnectReason::SubprotocolError));
    let status = node.status().await.unwrap();
    assert_eq!((status.misbehaved, status.banned), (0, 0));
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_sends_too_much_at_once_is_disconnected_and_not_banned() {
    let node = start(quick()).await;
    let mut random = vec![0; 1_800_000];
    OsRng.fill_bytes(&mut random);
    // One is refused by the length of its frame, the other by what it unfolds to.
    for body in [random, vec![0; 1_800_000]] {
        let mut peer = TestPeer::connect_with_status(&node.enode()).await;
        peer.send(packet::MESSAGES, &body).await;
        assert_eq!(peer.disconnected().await, Some(DisconnectReason::BreachOfProtocol));
    }
    // A single envelope that fits into a packet, but is larger than any that is taken.
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    let large = Draft::new(SystemTime::now().into(), 50, super::TOPIC, vec![0; 1_200_000]);
    peer.send(packet::MESSAGES, &packet::encode_messages([large.finish(0).encoded()])).await;
    assert_eq!(peer.disconnected().await, Some(DisconnectReason::SubprotocolError));
    // What was let through before less is taken is refused by the node.
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    node.set_max_envelope_bytes(100_000).await.unwrap();
    peer.send(packet::MESSAGES, &[0; 200_000]).await;
    assert_eq!(peer.disconnected().await, Some(DisconnectReason::SubprotocolError));
    let status =
        until(async || Some(node.status().await.unwrap()).filter(|it| it.peers == 0)).await;
    assert_eq!((status.misbehaved, status.banned), (0, 0));
    node.stop().await;
}

#[tokio::test]
async fn peers_that_die_in_the_middle_of_a_packet_leave_nothing_behind() {
    let node = start(quick()).await;
    for _ in 0..20 {
        let mut peer = TestPeer::connect_with_status(&node.enode()).await;
        // The link dies with the peer, in the middle of a frame header.
        peer.stream.write_all(&[1; 20]).await.unwrap();
    }
    until(async || (node.status().await.unwrap().peers == 0).then_some(())).await;
    still_works(&node).await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_reads_only_after_it_has_sent_everything_is_served() {
    let mut settings = quick();
    settings.min_work = Work::NONE;
    let node = start(settings).await;
    let mut peer = TestPeer::connect_with_status(&node.enode()).await;
    until(async || (node.status().await.unwrap().peers == 1).then_some(())).await;
    // More in both directions than the system keeps for those who do not read.
    let mut large = vec![0; 900_000];
    let mut next = || {
        OsRng.fill_bytes(&mut large);
        Draft::new(SystemTime::now().into(), 50, super::TOPIC, large.clone()).finish(0)
    };
    for _ in 0..16 {
        node.post(next()).await.unwrap();
    }
    until(async || (node.status().await.unwrap().waiting == 0).then_some(())).await;
    let saying = async {
        for _ in 0..24 {
            peer.send(packet::MESSAGES, &packet::encode_messages([next().encoded()])).await;
        }
    };
    timeout(Duration::from_secs(15), saying).await.expect("the node reads while it writes");
    until(async || (node.status().await.unwrap().envelopes == 40).then_some(())).await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_does_not_hold_up_the_others() {
    let mut settings = quick();
    settings.min_work = Work::NONE;
    let node = start(settings.clone()).await;
    let deaf = TestPeer::connect_with_status(&node.enode()).await;
    until(async || (node.status().await.unwrap().peers == 1).then_some(())).await;
    settings.static_peers = vec![node.enode()];
    let friend = start(settings).await;
    super::connected(&friend, 1).await;
    let mut heard = friend.envelopes();
    // More than the system keeps for one who does not read.
    let mut large = vec![0; 900_000];
    for _ in 0..16 {
        OsRng.fill_bytes(&mut large);
        let draft = Draft::new(SystemTime::now().into(), 50, super::TOPIC, large.clone());
        let hash = node.post(draft.finish(0)).await.unwrap();
        assert_eq!(hear(&mut heard).await.0.hash(), hash);
    }
    drop(deaf);
    friend.stop().await;
    node.stop().await;
}
