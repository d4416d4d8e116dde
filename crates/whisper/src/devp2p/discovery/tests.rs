//! A few nodes on a simulated network, and one node among malicious ones.

use std::net::Ipv4Addr;

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::*;

#[expect(clippy::disallowed_methods, reason = "only the distance to it matters")]
fn start() -> Instant {
    Instant::now()
}

fn wall() -> UnixTime {
    UnixTime::from_secs_f64(1_600_000_000.5)
}

/// An expiry time in the future.
const SOON: u64 = 1_600_000_010;

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(5)
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::random(&mut ChaCha12Rng::seed_from_u64(n.into()))
}

fn local(n: u8) -> Endpoint {
    Endpoint { ip: Ipv4Addr::new(127, 0, 0, n).into(), tcp: 30303, udp: 30303 }
}

fn public(n: u8) -> Endpoint {
    Endpoint { ip: Ipv4Addr::new(203, 0, 113, n).into(), tcp: 30303, udp: 30303 }
}

fn enode(n: u8, endpoint: Endpoint) -> Enode {
    Enode { id: key(n).public_key().node_id(), endpoint: Some(endpoint) }
}

/// Nodes 1 to n, at 127.0.0.1 to 127.0.0.n, all of which know only node 1.
struct Network {
    nodes: Vec<Discovery>,
    now: Instant,
    rng: ChaCha12Rng,
    /// The nodes that each has found.
    found: Vec<Vec<Enode>>,
}

impl Network {
    fn new(count: u8) -> Self {
        let now = start();
        let bootnode = enode(1, local(1));
        let node = |n| Discovery::new(key(n), local(n), 1, &[bootnode], now);
        let nodes: Vec<_> = (1..=count).map(node).collect();
        Self { found: vec![Vec::new(); nodes.len()], nodes, now, rng: rng() }
    }

    /// Runs all nodes for `time`, in steps of virtual time.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            while self.carry() {}
            let next = self.nodes.iter().map(Discovery::deadline).min().unwrap();
            self.now = next.clamp(self.now, end);
            for node in &mut self.nodes {
                node.handle_timeout(self.now, wall(), &mut self.rng);
            }
        }
        while self.carry() {}
    }

    /// Delivers all datagrams. Returns whether there were any.
    fn carry(&mut self) -> bool {
        let mut sent = Vec::new();
        for (place, node) in self.nodes.iter_mut().enumerate() {
            while let Some(output) = node.poll() {
                match output {
                    DiscoveryOutput::Send(to, datagram) => sent.push((node.local, to, datagram)),
                    DiscoveryOutput::Found(enode) => self.found[place].push(enode),
                }
            }
        }
        for (from, to, datagram) in &sent {
            let reader = self.nodes.iter_mut().find(|node| node.local.udp_address() == *to);
            if let Some(node) = reader {
                node.handle(self.now, wall(), from.udp_address(), datagram).unwrap();
            }
        }
        !sent.is_empty()
    }
}

/// One node with input from a test.
struct LoneNode {
    node: Discovery,
    now: Instant,
}

impl LoneNode {
    fn new() -> Self {
        let now = start();
        let mut node = Discovery::new(key(1), public(1), 1, &[], now);
        node.handle_timeout(now, wall(), &mut rng());
        Self { node, now }
    }

    /// Delivers a packet signed by node `n` from any endpoint.
    fn receive(&mut self, n: u8, from: Endpoint, packet: &Packet) -> Result<(), DatagramError> {
        let datagram = packet.seal(&key(n)).datagram;
        self.node.handle(self.now, wall(), from.udp_address(), &datagram)
    }

    /// The sent packets with their hashes and addresses.
    fn sent_packets(&mut self) -> Vec<(SocketAddr, [u8; 32], Packet)> {
        let mut sent_packets = Vec::new();
        while let Some(output) = self.node.poll() {
            if let DiscoveryOutput::Send(to, datagram) = output {
                let received = Packet::open(&datagram).unwrap();
                sent_packets.push((to, received.hash, received.packet));
            }
        }
        sent_packets
    }

    /// Verifies the endpoint of node `n`.
    fn prove(&mut self, n: u8, at: Endpoint) {
        self.receive(n, at, &ping(at)).unwrap();
        let sent_packets = self.sent_packets();
        let [.., (_, _, Packet::Pong { .. }), (to, hash, Packet::Ping { .. })] =
            sent_packets.as_slice()
        else {
            panic!("{sent_packets:?}");
        };
        assert_eq!(*to, at.udp_address());
        self.receive(n, at, &pong(*hash)).unwrap();
    }
}

fn ping(from: Endpoint) -> Packet {
    Packet::Ping { from, to: public(1), expiration: SOON, record: None }
}

fn pong(ping: [u8; 32]) -> Packet {
    Packet::Pong { to: public(1), ping, expiration: SOON, record: None }
}

fn find_node() -> Packet {
    Packet::FindNode { target: NodeId([7; 64]), expiration: SOON }
}

#[test]
fn nodes_that_know_one_node_find_all_others() {
    let mut network = Network::new(12);
    network.run(Duration::from_secs(10));
    for _ in 0..3 {
        let (now, mut rng) = (network.now, rng());
        for node in &mut network.nodes {
            node.search(now, wall(), &mut rng);
        }
        network.run(Duration::from_secs(10));
    }
    for (place, found) in network.found.iter().enumerate() {
        assert_eq!(found.len(), 11, "node {} found {found:?}", place + 1);
        assert!(network.nodes[place].lookup.is_none());
    }
}

#[test]
fn a_node_that_went_away_is_forgotten() {
    let mut network = Network::new(3);
    network.run(Duration::from_secs(20));
    assert_eq!(network.nodes[0].nodes().count(), 2);
    network.nodes.truncate(2);
    network.run(Duration::from_secs(60));
    assert_eq!(network.nodes[0].nodes().count(), 1);
}

#[test]
fn a_request_from_an_unverified_address_is_not_answered() {
    let mut node = LoneNode::new();
    assert_eq!(node.receive(2, public(2), &find_node()), Err(DatagramError::UnverifiedAddress));
    let request = Packet::EnrRequest { expiration: SOON };
    assert_eq!(node.receive(2, public(2), &request), Err(DatagramError::UnverifiedAddress));
    assert_eq!(node.sent_packets(), []);
    node.prove(2, public(2));
    node.receive(2, public(2), &find_node()).unwrap();
    node.receive(2, public(2), &request).unwrap();
    assert_eq!(node.sent_packets().len(), 2);
    // A proof for one address is not valid for another one.
    assert_eq!(node.receive(2, public(3), &find_node()), Err(DatagramError::UnverifiedAddress));
}

#[test]
fn pings_of_unknown_nodes_cause_only_slightly_longer_answers() {
    let mut node = LoneNode::new();
    let request = ping(public(2)).seal(&key(2)).datagram.len();
    let mut answers = 0;
    for _ in 0..100 {
        node.receive(2, public(2), &ping(public(2))).unwrap();
        answers += node
            .sent_packets()
            .iter()
            .map(|(_, _, packet)| packet.seal(&key(1)).datagram.len())
            .sum::<usize>();
    }
    // A pong for each ping, and one ping back for all of them.
    assert!(answers <= request * 120, "{answers} bytes for {}", request * 100);
}

#[test]
fn replies_are_expected_from_queried_nodes_only() {
    let mut node = LoneNode::new();
    let expects = |node: &LoneNode, n| node.node.expects(public(n).udp_address());
    node.prove(2, public(2));
    assert!(!expects(&node, 2));
    node.node.search(node.now, wall(), &mut rng());
    node.sent_packets();
    let Endpoint { ip: IpAddr::V4(ip), udp, .. } = public(2) else { panic!() };
    assert!(expects(&node, 2) && node.node.expects((ip.to_ipv6_mapped(), udp).into()));
    assert!(!node.node.expects((ip, udp + 1).into()));
    let nodes = vec![enode(9, public(9)); 16];
    let [most, rest] = [&nodes[..12], &nodes[12..]].map(<[Enode]>::to_vec);
    node.receive(2, public(2), &Packet::Neighbors { nodes: most, expiration: SOON }).unwrap();
    assert!(expects(&node, 2) && expects(&node, 9));
    node.receive(2, public(2), &Packet::Neighbors { nodes: rest, expiration: SOON }).unwrap();
    assert!(!expects(&node, 2));
    node.receive(3, public(3), &ping(public(3))).unwrap();
    assert!(node.sent_packets().len() == 3 && !expects(&node, 3), "we only answered");
}

#[test]
fn many_unknown_nodes_do_not_prevent_lookups() {
    let mut node = LoneNode::new();
    node.prove(2, public(2));
    let mut rng = rng();
    for n in 0..500_u16 {
        let from = Endpoint { udp: 1000 + n, ..public(3) };
        let datagram = ping(from).seal(&PrivateKey::random(&mut rng)).datagram;
        node.node.handle(node.now, wall(), from.udp_address(), &datagram).unwrap();
    }
    node.node.search(node.now, wall(), &mut rng);
    node.sent_packets();
    let nodes = vec![enode(9, public(9))];
    node.receive(2, public(2), &Packet::Neighbors { nodes, expiration: SOON }).unwrap();
    let asked: Vec<_> = node.sent_packets().into_iter().map(|(to, _, _)| to).collect();
    assert_eq!(asked, [public(9).udp_address()]);
}

#[test]
fn many_unknown_nodes_do_not_fill_the_memory() {
    let mut node = LoneNode::new();
    let mut rng = rng();
    for n in 0..500_u16 {
        let from = Endpoint { udp: 1000 + n, ..public(2) };
        let datagram = ping(from).seal(&PrivateKey::random(&mut rng)).datagram;
        node.node.handle(node.now, wall(), from.udp_address(), &datagram).unwrap();
        node.sent_packets();
    }
    assert_eq!(node.node.queries.len(), MAX_PING_BACKS);
    assert_eq!(node.node.nodes().count(), 0);
    node.node.handle_timeout(node.now + REPLY_TIMEOUT, wall(), &mut rng);
    assert_eq!(node.node.queries.len(), 0);
}

#[test]
fn an_unsolicited_pong_proves_nothing() {
    let mut node = LoneNode::new();
    assert_eq!(node.receive(2, public(2), &pong([0; 32])), Err(DatagramError::Unsolicited));
    node.receive(2, public(2), &ping(public(2))).unwrap();
    let sent_packets = node.sent_packets();
    let hash = sent_packets[1].1;
    assert_eq!(
        node.receive(2, public(2), &pong([0; 32])),
        Err(DatagramError::Unsolicited),
        "wrong hash"
    );
    assert_eq!(
        node.receive(2, public(3), &pong(hash)),
        Err(DatagramError::Unsolicited),
        "wrong address"
    );
    assert_eq!(
        node.receive(3, public(2), &pong(hash)),
        Err(DatagramError::Unsolicited),
        "wrong node"
    );
    assert_eq!(node.receive(2, public(2), &find_node()), Err(DatagramError::UnverifiedAddress));
    node.receive(2, public(2), &pong(hash)).unwrap();
    assert_eq!(node.receive(2, public(2), &pong(hash)), Err(DatagramError::Unsolicited), "twice");
    node.receive(2, public(2), &find_node()).unwrap();
}

#[test]
fn datagrams_out_of_date_our_own_and_broken_ones_are_ignored() {
    let mut node = LoneNode::new();
    let expiration = SOON - 11;
    let stale = Packet::Ping { from: public(2), to: public(1), expiration, record: None };
    assert_eq!(node.receive(2, public(2), &stale), Err(DatagramError::Expired));
    assert_eq!(node.receive(1, public(2), &ping(public(2))), Err(DatagramError::FromOurselves));
    let broken = node.node.handle(node.now, wall(), public(2).udp_address(), &[0; 98]);
    assert_eq!(broken, Err(DatagramError::Packet(PacketError::Damaged)));
    assert_eq!(node.sent_packets(), []);
}

#[test]
fn unsolicited_neighbors_are_ignored() {
    let mut node = LoneNode::new();
    node.prove(2, public(2));
    let nodes = vec![enode(9, public(9))];
    let told = node.receive(2, public(2), &Packet::Neighbors { nodes, expiration: SOON });
    assert_eq!(told, Err(DatagramError::Unsolicited));
}

#[test]
fn a_node_cannot_send_us_into_our_own_network() {
    let mut node = LoneNode::new();
    node.prove(2, public(2));
    node.node.search(node.now, wall(), &mut rng());
    let sent_packets = node.sent_packets();
    assert!(matches!(sent_packets[..], [(_, _, Packet::FindNode { .. })]), "{sent_packets:?}");
    let private = Endpoint { ip: Ipv4Addr::new(192, 168, 1, 1).into(), tcp: 80, udp: 80 };
    let nowhere = Endpoint { ip: Ipv4Addr::UNSPECIFIED.into(), tcp: 1, udp: 1 };
    let everywhere = Endpoint { ip: Ipv4Addr::BROADCAST.into(), tcp: 1, udp: 1 };
    let deaf = Endpoint { udp: 0, ..public(7) };
    let nodes = vec![
        enode(3, local(1)),
        enode(4, private),
        enode(5, nowhere),
        enode(6, everywhere),
        enode(7, deaf),
        enode(1, public(1)),
        enode(9, public(9)),
    ];
    node.receive(2, public(2), &Packet::Neighbors { nodes, expiration: SOON }).unwrap();
    let asked: Vec<_> = node.sent_packets().into_iter().map(|(to, _, _)| to).collect();
    assert_eq!(asked, [public(9).udp_address()]);
}

#[test]
fn a_node_we_know_is_not_forgotten_because_its_ping_was_replayed_from_elsewhere() {
    let mut node = LoneNode::new();
    node.prove(3, public(3));
    node.receive(3, public(66), &ping(public(3))).unwrap();
    assert_eq!(node.sent_packets().len(), 2, "pong and ping, to where the replay came from");
    node.now += REPLY_TIMEOUT;
    node.node.handle_timeout(node.now, wall(), &mut rng());
    assert_eq!(node.node.nodes().collect::<Vec<_>>(), [enode(3, public(3))]);
}

#[test]
fn a_known_node_is_queried_at_its_known_address() {
    let mut node = LoneNode::new();
    node.prove(2, public(2));
    node.node.search(node.now, wall(), &mut rng());
    let far = Endpoint { ip: Ipv4Addr::new(11, 3, 0, 1).into(), tcp: 1, udp: 1 };
    node.prove(3, far);
    node.sent_packets();
    let nodes = vec![enode(3, public(66)), enode(4, public(67))];
    node.receive(2, public(2), &Packet::Neighbors { nodes, expiration: SOON }).unwrap();
    let mut asked: Vec<_> = node.sent_packets().into_iter().map(|(to, _, _)| to).collect();
    asked.sort();
    assert_eq!(asked, [far.udp_address(), public(67).udp_address()]);
}

#[test]
fn an_answer_has_at_most_16_nodes_and_12_in_a_datagram() {
    let mut node = LoneNode::new();
    for n in 2..60 {
        // Each in its own network, because the table limits nodes per subnet.
        let ip = Ipv4Addr::new(11, n, 0, 1).into();
        node.prove(n, Endpoint { ip, tcp: 1, udp: 1 });
    }
    node.receive(
        2,
        Endpoint { ip: Ipv4Addr::new(11, 2, 0, 1).into(), tcp: 1, udp: 1 },
        &find_node(),
    )
    .unwrap();
    let counts: Vec<_> = node
        .sent_packets()
        .into_iter()
        .map(|(_, _, packet)| {
            let Packet::Neighbors { nodes, .. } = packet else { panic!("{packet:?}") };
            nodes.len()
        })
        .collect();
    assert_eq!(counts, [12, 4]);
}

#[test]
fn our_record_is_sent_to_verified_nodes_only() {
    let mut node = LoneNode::new();
    node.prove(2, public(2));
    node.receive(2, public(2), &Packet::EnrRequest { expiration: SOON }).unwrap();
    let Some((_, _, Packet::EnrResponse { record, .. })) = node.sent_packets().pop() else {
        panic!()
    };
    assert_eq!(record.enode(), enode(1, public(1)));
    assert_eq!(*record, *node.node.record());
}
