//! A few nodes on a network without sockets, and one node among liars.

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

/// A date that is still good.
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
    /// What each has found.
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

    /// Lets everybody act until `until`, in steps of virtual time.
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

    /// Carries every datagram that is on its way. False if there was none.
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

/// One node, whose inputs a test makes up.
struct Alone {
    node: Discovery,
    now: Instant,
}

impl Alone {
    fn new() -> Self {
        let now = start();
        let mut node = Discovery::new(key(1), public(1), 1, &[], now);
        node.handle_timeout(now, wall(), &mut rng());
        Self { node, now }
    }

    /// Hands in a packet that node `n` signed, from an endpoint that it may not have.
    fn hear(&mut self, n: u8, from: Endpoint, packet: &Packet) -> Result<(), Ignored> {
        let datagram = packet.seal(&key(n)).datagram;
        self.node.handle(self.now, wall(), from.udp_address(), &datagram)
    }

    /// The packets that it sends now, with their hashes and addresses.
    fn said(&mut self) -> Vec<(SocketAddr, [u8; 32], Packet)> {
        let mut said = Vec::new();
        while let Some(output) = self.node.poll() {
            if let DiscoveryOutput::Send(to, datagram) = output {
                let received = Packet::open(&datagram).unwrap();
                said.push((to, received.hash, received.packet));
            }
        }
        said
    }

    /// Lets node `n` prove itself at its endpoint.
    fn prove(&mut self, n: u8, at: Endpoint) {
        self.hear(n, at, &ping(at)).unwrap();
        let said = self.said();
        let [.., (_, _, Packet::Pong { .. }), (to, hash, Packet::Ping { .. })] = said.as_slice()
        else {
            panic!("{said:?}");
        };
        assert_eq!(*to, at.udp_address());
        self.hear(n, at, &pong(*hash)).unwrap();
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
fn a_question_from_an_unproved_address_is_not_answered() {
    let mut alone = Alone::new();
    assert_eq!(alone.hear(2, public(2), &find_node()), Err(Ignored::Unproved));
    let request = Packet::EnrRequest { expiration: SOON };
    assert_eq!(alone.hear(2, public(2), &request), Err(Ignored::Unproved));
    assert_eq!(alone.said(), []);
    alone.prove(2, public(2));
    alone.hear(2, public(2), &find_node()).unwrap();
    alone.hear(2, public(2), &request).unwrap();
    assert_eq!(alone.said().len(), 2);
    // What holds for one address says nothing of another.
    assert_eq!(alone.hear(2, public(3), &find_node()), Err(Ignored::Unproved));
}

#[test]
fn a_stranger_s_pings_are_answered_with_little_more_than_they_cost() {
    let mut alone = Alone::new();
    let question = ping(public(2)).seal(&key(2)).datagram.len();
    let mut answers = 0;
    for _ in 0..100 {
        alone.hear(2, public(2), &ping(public(2))).unwrap();
        answers += alone
            .said()
            .iter()
            .map(|(_, _, packet)| packet.seal(&key(1)).datagram.len())
            .sum::<usize>();
    }
    // A pong for each ping, and one ping back for all of them.
    assert!(answers <= question * 120, "{answers} bytes for {}", question * 100);
}

#[test]
fn whom_we_ask_is_expected_until_it_has_answered_and_strangers_never() {
    let mut alone = Alone::new();
    let expects = |alone: &Alone, n| alone.node.expects(public(n).udp_address());
    alone.prove(2, public(2));
    assert!(!expects(&alone, 2));
    alone.node.search(alone.now, wall(), &mut rng());
    alone.said();
    let Endpoint { ip: IpAddr::V4(ip), udp, .. } = public(2) else { panic!() };
    assert!(expects(&alone, 2) && alone.node.expects((ip.to_ipv6_mapped(), udp).into()));
    assert!(!alone.node.expects((ip, udp + 1).into()));
    let nodes = vec![enode(9, public(9)); 16];
    let [most, rest] = [&nodes[..12], &nodes[12..]].map(<[Enode]>::to_vec);
    alone.hear(2, public(2), &Packet::Neighbors { nodes: most, expiration: SOON }).unwrap();
    assert!(expects(&alone, 2) && expects(&alone, 9));
    alone.hear(2, public(2), &Packet::Neighbors { nodes: rest, expiration: SOON }).unwrap();
    assert!(!expects(&alone, 2));
    alone.hear(3, public(3), &ping(public(3))).unwrap();
    assert!(alone.said().len() == 3 && !expects(&alone, 3), "it was we who were asked");
}

#[test]
fn strangers_without_number_do_not_keep_us_from_asking_those_whom_we_know() {
    let mut alone = Alone::new();
    alone.prove(2, public(2));
    let mut rng = rng();
    for n in 0..500_u16 {
        let from = Endpoint { udp: 1000 + n, ..public(3) };
        let datagram = ping(from).seal(&PrivateKey::random(&mut rng)).datagram;
        alone.node.handle(alone.now, wall(), from.udp_address(), &datagram).unwrap();
    }
    alone.node.search(alone.now, wall(), &mut rng);
    alone.said();
    let nodes = vec![enode(9, public(9))];
    alone.hear(2, public(2), &Packet::Neighbors { nodes, expiration: SOON }).unwrap();
    let asked: Vec<_> = alone.said().into_iter().map(|(to, _, _)| to).collect();
    assert_eq!(asked, [public(9).udp_address()]);
}

#[test]
fn strangers_without_number_do_not_fill_the_memory() {
    let mut alone = Alone::new();
    let mut rng = rng();
    for n in 0..500_u16 {
        let from = Endpoint { udp: 1000 + n, ..public(2) };
        let datagram = ping(from).seal(&PrivateKey::random(&mut rng)).datagram;
        alone.node.handle(alone.now, wall(), from.udp_address(), &datagram).unwrap();
        alone.said();
    }
    assert_eq!(alone.node.queries.len(), MAX_PROVOKED);
    assert_eq!(alone.node.nodes().count(), 0);
    alone.node.handle_timeout(alone.now + PATIENCE, wall(), &mut rng);
    assert_eq!(alone.node.queries.len(), 0);
}

#[test]
fn a_pong_that_was_not_asked_for_there_proves_nothing() {
    let mut alone = Alone::new();
    assert_eq!(alone.hear(2, public(2), &pong([0; 32])), Err(Ignored::Unasked));
    alone.hear(2, public(2), &ping(public(2))).unwrap();
    let said = alone.said();
    let hash = said[1].1;
    assert_eq!(alone.hear(2, public(2), &pong([0; 32])), Err(Ignored::Unasked), "wrong hash");
    assert_eq!(alone.hear(2, public(3), &pong(hash)), Err(Ignored::Unasked), "wrong address");
    assert_eq!(alone.hear(3, public(2), &pong(hash)), Err(Ignored::Unasked), "wrong node");
    assert_eq!(alone.hear(2, public(2), &find_node()), Err(Ignored::Unproved));
    alone.hear(2, public(2), &pong(hash)).unwrap();
    assert_eq!(alone.hear(2, public(2), &pong(hash)), Err(Ignored::Unasked), "twice");
    alone.hear(2, public(2), &find_node()).unwrap();
}

#[test]
fn datagrams_out_of_date_our_own_and_broken_ones_are_ignored() {
    let mut alone = Alone::new();
    let expiration = SOON - 11;
    let stale = Packet::Ping { from: public(2), to: public(1), expiration, record: None };
    assert_eq!(alone.hear(2, public(2), &stale), Err(Ignored::Expired));
    assert_eq!(alone.hear(1, public(2), &ping(public(2))), Err(Ignored::FromOurselves));
    let broken = alone.node.handle(alone.now, wall(), public(2).udp_address(), &[0; 98]);
    assert_eq!(broken, Err(Ignored::Packet(PacketError::Damaged)));
    assert_eq!(alone.said(), []);
}

#[test]
fn nodes_nobody_asked_for_are_ignored() {
    let mut alone = Alone::new();
    alone.prove(2, public(2));
    let nodes = vec![enode(9, public(9))];
    let told = alone.hear(2, public(2), &Packet::Neighbors { nodes, expiration: SOON });
    assert_eq!(told, Err(Ignored::Unasked));
}

#[test]
fn a_node_cannot_send_us_into_our_own_network() {
    let mut alone = Alone::new();
    alone.prove(2, public(2));
    alone.node.search(alone.now, wall(), &mut rng());
    let said = alone.said();
    assert!(matches!(said[..], [(_, _, Packet::FindNode { .. })]), "{said:?}");
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
    alone.hear(2, public(2), &Packet::Neighbors { nodes, expiration: SOON }).unwrap();
    let asked: Vec<_> = alone.said().into_iter().map(|(to, _, _)| to).collect();
    assert_eq!(asked, [public(9).udp_address()]);
}

#[test]
fn a_node_we_know_is_not_forgotten_because_its_ping_was_replayed_from_elsewhere() {
    let mut alone = Alone::new();
    alone.prove(3, public(3));
    alone.hear(3, public(66), &ping(public(3))).unwrap();
    assert_eq!(alone.said().len(), 2, "pong and ping, to where the replay came from");
    alone.now += PATIENCE;
    alone.node.handle_timeout(alone.now, wall(), &mut rng());
    assert_eq!(alone.node.nodes().collect::<Vec<_>>(), [enode(3, public(3))]);
}

#[test]
fn a_node_we_know_is_asked_where_we_know_it_to_be() {
    let mut alone = Alone::new();
    alone.prove(2, public(2));
    alone.node.search(alone.now, wall(), &mut rng());
    let far = Endpoint { ip: Ipv4Addr::new(11, 3, 0, 1).into(), tcp: 1, udp: 1 };
    alone.prove(3, far);
    alone.said();
    let nodes = vec![enode(3, public(66)), enode(4, public(67))];
    alone.hear(2, public(2), &Packet::Neighbors { nodes, expiration: SOON }).unwrap();
    let mut asked: Vec<_> = alone.said().into_iter().map(|(to, _, _)| to).collect();
    asked.sort();
    assert_eq!(asked, [far.udp_address(), public(67).udp_address()]);
}

#[test]
fn an_answer_has_at_most_16_nodes_and_12_in_a_datagram() {
    let mut alone = Alone::new();
    for n in 2..60 {
        // A network each, or the table would not take them.
        let ip = Ipv4Addr::new(11, n, 0, 1).into();
        alone.prove(n, Endpoint { ip, tcp: 1, udp: 1 });
    }
    alone
        .hear(2, Endpoint { ip: Ipv4Addr::new(11, 2, 0, 1).into(), tcp: 1, udp: 1 }, &find_node())
        .unwrap();
    let counts: Vec<_> = alone
        .said()
        .into_iter()
        .map(|(_, _, packet)| {
            let Packet::Neighbors { nodes, .. } = packet else { panic!("{packet:?}") };
            nodes.len()
        })
        .collect();
    assert_eq!(counts, [12, 4]);
}

#[test]
fn our_record_is_told_to_who_proved_itself() {
    let mut alone = Alone::new();
    alone.prove(2, public(2));
    alone.hear(2, public(2), &Packet::EnrRequest { expiration: SOON }).unwrap();
    let Some((_, _, Packet::EnrResponse { record, .. })) = alone.said().pop() else { panic!() };
    assert_eq!(record.enode(), enode(1, public(1)));
    assert_eq!(*record, *alone.node.record());
}
