#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::{
    super::{Draft, Topic, rate::Rate},
    *,
};

const NOW: u32 = 1_575_000_000;

/// A node in virtual time, and its outputs.
struct World {
    node: Node,
    now: Instant,
    seconds: f64,
    rng: ChaCha12Rng,
}

impl World {
    fn new(settings: Settings) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let rng = ChaCha12Rng::seed_from_u64(1);
        Self { node: Node::new(settings, now), now, seconds: f64::from(NOW), rng }
    }

    /// A node with these peers, each with the same status as ours.
    fn with_peers(settings: Settings, peers: &[u8]) -> Self {
        let mut world = Self::new(settings);
        for peer in peers {
            world.node.connected(world.now, id(*peer), None);
            world.status(*peer, Status::new(Work::NONE, Bloom::FULL, false));
        }
        world.outputs();
        world
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_secs_f64(self.seconds)
    }

    fn status(&mut self, peer: u8, status: Status) {
        self.packet(peer, packet::STATUS, &status.encode());
    }

    fn packet(&mut self, peer: u8, code: u16, body: &[u8]) {
        self.node.handle(self.now, self.wall(), id(peer), code, body);
    }

    fn messages(&mut self, peer: u8, envelopes: &[Envelope]) {
        let body = packet::encode_messages(envelopes.iter().map(Envelope::encoded));
        self.packet(peer, packet::MESSAGES, &body);
    }

    /// Posts an envelope of our own, which is delivered at once.
    fn post(&mut self, envelope: Envelope) -> Result<EnvelopeHash, EnvelopeError> {
        let hash = self.node.post(self.now, self.wall(), envelope.clone(), &mut self.rng)?;
        let delivered = NodeOutput::Deliver { envelope, direct: false };
        assert_eq!(self.node.outputs.pop_back(), Some(delivered));
        Ok(hash)
    }

    /// Advances time.
    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while self.node.deadline() <= end {
            let passed = self.node.deadline().saturating_duration_since(self.now);
            self.now += passed;
            self.seconds += passed.as_secs_f64();
            let wall = self.wall();
            self.node.handle_timeout(self.now, wall, &mut self.rng);
        }
        self.seconds += (end - self.now).as_secs_f64();
        self.now = end;
    }

    fn outputs(&mut self) -> Vec<NodeOutput> {
        std::iter::from_fn(|| self.node.poll()).collect()
    }

    /// The recipients of sent envelopes, in order, and the delivered envelopes.
    fn traffic(&mut self) -> (Vec<NodeId>, Vec<Envelope>) {
        let (mut told, mut delivered) = (Vec::new(), Vec::new());
        for output in self.outputs() {
            match output {
                NodeOutput::Send { peer, code: packet::MESSAGES, .. } => {
                    assert!(delivered.is_empty(), "keys are tried last");
                    told.push(peer);
                }
                NodeOutput::Deliver { envelope, .. } => delivered.push(envelope),
                other => panic!("{other:?}"),
            }
        }
        (told, delivered)
    }

    /// Why the only peer was disconnected.
    fn disconnect_error(&mut self) -> PeerError {
        let error = self.outputs().into_iter().find_map(|output| match output {
            NodeOutput::Disconnect { error, .. } => Some(error),
            _ => None,
        });
        error.expect("a peer is disconnected")
    }
}

fn id(peer: u8) -> NodeId {
    NodeId([peer; 64])
}

/// Settings without required work.
fn easy() -> Settings {
    Settings {
        requirements: Requirements::new(Work::NONE),
        privacy: Privacy::OFF,
        ..Settings::default()
    }
}

fn envelope(content: u8) -> Envelope {
    Draft { expiry: NOW + 50, ttl: 50, topic: Topic([1, 2, 3, 4]), data: vec![content; 40] }
        .finish(0)
}

#[test]
fn envelopes_of_a_peer_are_forwarded_and_then_delivered() {
    let mut world = World::with_peers(easy(), &[1, 2, 3]);
    world.messages(2, &[envelope(1)]);
    assert_eq!(world.traffic(), (vec![], vec![]));
    world.wait(300);
    assert_eq!(world.traffic(), (vec![id(1), id(3)], vec![envelope(1)]));
    world.messages(1, &[envelope(1)]);
    world.wait(1000);
    assert_eq!(world.traffic(), (vec![], vec![]));
}

#[test]
fn a_node_sends_its_status_first() {
    let mut world = World::new(Settings::default());
    world.node.connected(world.now, id(1), None);
    let body = Status::new(Work::DEFAULT_MINIMUM, Bloom::FULL, false).encode();
    let expected = NodeOutput::Send { peer: id(1), code: packet::STATUS, body };
    assert_eq!(world.outputs(), [expected]);
}

#[test]
fn a_peer_must_begin_with_its_status() {
    let mut world = World::new(easy());
    world.node.connected(world.now, id(1), None);
    world.messages(1, &[envelope(1)]);
    assert_eq!(world.disconnect_error(), PeerError::NoStatus(1));
    assert!(world.node.pool().is_empty());
}

#[test]
fn a_peer_without_status_is_disconnected_after_five_seconds() {
    let mut world = World::new(easy());
    world.node.connected(world.now, id(1), None);
    world.outputs();
    world.wait(4_900);
    assert_eq!(world.outputs(), []);
    world.wait(200);
    assert_eq!(world.disconnect_error(), PeerError::NoStatusInTime(STATUS_TIMEOUT));
}

#[test]
fn two_light_nodes_disconnect() {
    for (restrict_light, parted) in [(true, true), (false, false)] {
        let mut world = World::new(Settings { light: true, restrict_light, ..easy() });
        world.node.connected(world.now, id(1), None);
        world.status(1, Status::new(Work::NONE, Bloom::FULL, true));
        assert_eq!(world.node.peers().count() == 0, parted);
        let both_light =
            |output| matches!(output, NodeOutput::Disconnect { error: PeerError::BothLight, .. });
        assert_eq!(world.outputs().into_iter().any(both_light), parted);
    }
}

#[test]
fn a_light_node_sends_only_its_own_envelopes() {
    let mut world = World::with_peers(Settings { light: true, ..easy() }, &[1, 2]);
    world.messages(1, &[envelope(1)]);
    world.wait(300);
    assert_eq!(world.traffic(), (vec![], vec![envelope(1)]));
    world.post(envelope(2)).unwrap();
    world.wait(300);
    assert_eq!(world.traffic(), (vec![id(1), id(2)], vec![]));
}

#[test]
fn direct_messages_are_accepted_from_trusted_peers_only() {
    let mut world = World::with_peers(easy(), &[1, 2]);
    world.node.trust(id(2));
    let spent = Draft { expiry: 1, ttl: 1, topic: Topic([0; 4]), data: vec![] }.finish(0);
    world.packet(1, packet::DIRECT, spent.encoded());
    assert_eq!(world.outputs(), []);
    world.packet(2, packet::DIRECT, spent.encoded());
    assert_eq!(world.outputs(), [NodeOutput::Deliver { envelope: spent, direct: true }]);
    assert!(world.node.pool().is_empty());
}

#[test]
fn archive_requests_are_ignored_without_an_archive() {
    for serves_archive in [true, false] {
        let mut world = World::with_peers(Settings { serves_archive, ..easy() }, &[1]);
        world.packet(1, packet::ARCHIVE_REQUEST, envelope(1).encoded());
        let request = NodeOutput::ArchiveRequest { peer: id(1), request: envelope(1) };
        assert_eq!(world.outputs() == [request], serves_archive);
        assert_eq!(world.node.peers().count(), 1);
    }
}

#[test]
fn requests_count_as_envelopes() {
    let mut settings = Settings { serves_archive: true, ..easy() };
    settings.limits.envelopes_per_peer = Rate { per_second: 1.0, burst: 2.0 };
    let mut world = World::with_peers(settings, &[1]);
    for _ in 0..3 {
        world.packet(1, packet::ARCHIVE_REQUEST, envelope(1).encoded());
    }
    assert_eq!(world.outputs().len(), 2);
    assert_eq!(world.node.peers().count(), 1);
}

#[test]
fn peers_are_notified_of_new_requirements() {
    let mut world = World::with_peers(easy(), &[1]);
    let (work, bloom) = (Work::new(3.0).unwrap(), Bloom::of([Topic([1, 2, 3, 4])]));
    world.node.set_min_work(world.now, work);
    world.node.set_bloom(world.now, bloom);
    let send = |code, body| NodeOutput::Send { peer: id(1), code, body };
    let expected = [
        send(packet::MIN_WORK, packet::encode_min_work(work)),
        send(packet::BLOOM, packet::encode_bloom(&bloom)),
    ];
    assert_eq!(world.outputs(), expected);
}

#[test]
fn own_envelopes_wait_for_enough_peers() {
    let privacy = Privacy { min_peers: 2, ..Privacy::OFF };
    let mut world = World::with_peers(Settings { privacy, ..easy() }, &[1]);
    world.post(envelope(1)).unwrap();
    world.wait(5_000);
    assert_eq!(world.traffic(), (vec![], vec![]));
    world.node.connected(world.now, id(2), None);
    world.status(2, Status::new(Work::NONE, Bloom::FULL, false));
    world.outputs();
    world.wait(300);
    assert_eq!(world.traffic(), (vec![id(1), id(2)], vec![]));
}

#[test]
fn an_own_envelope_is_sent_to_one_peer_first_and_to_others_when_it_returns() {
    let privacy = Privacy { stem: true, ..Privacy::OFF };
    let mut world = World::with_peers(Settings { privacy, ..easy() }, &[1, 2, 3]);
    world.post(envelope(1)).unwrap();
    world.wait(300);
    let (told, delivered) = world.traffic();
    assert_eq!((told.len(), delivered), (1, vec![]));
    world.node.connected(world.now, id(4), None);
    world.status(4, Status::new(Work::NONE, Bloom::FULL, false));
    world.outputs();
    world.wait(600);
    assert_eq!(world.traffic(), (vec![], vec![]));
    // An envelope from the first peer does not count.
    world.messages(told[0].0[0], &[envelope(1)]);
    world.wait(300);
    assert_eq!(world.traffic(), (vec![], vec![]));
    let back = [1, 2, 3].into_iter().find(|peer| !told.contains(&id(*peer))).unwrap();
    world.messages(back, &[envelope(1)]);
    world.wait(300);
    let rest = [1, 2, 3, 4].map(id).into_iter().filter(|id| *id != told[0] && id.0[0] != back);
    assert_eq!(world.traffic(), (rest.collect(), vec![]));
}

#[test]
fn an_own_envelope_that_does_not_return_is_sent_to_all_peers() {
    let privacy = Privacy { stem: true, ..Privacy::OFF };
    let mut world = World::with_peers(Settings { privacy, ..easy() }, &[1, 2, 3]);
    world.post(envelope(1)).unwrap();
    world.wait(5_000);
    assert_eq!(world.traffic().0.len(), 1);
    world.wait(2_000);
    assert_eq!(world.traffic().0.len(), 2);
}

#[test]
fn own_envelopes_that_expire_while_waiting_are_not_sent() {
    let privacy = Privacy { min_peers: 1, ..Privacy::OFF };
    let mut world = World::new(Settings { privacy, ..easy() });
    let hash = world.post(envelope(1)).unwrap();
    assert_eq!(world.node.is_sent(&hash), Some(false));
    world.wait(55_000);
    assert_eq!(
        (world.outputs(), world.node.is_sent(&hash)),
        (vec![NodeOutput::Unsent(hash)], None)
    );
    world.node.connected(world.now, id(1), None);
    world.status(1, Status::new(Work::NONE, Bloom::FULL, false));
    world.outputs();
    world.wait(1_000);
    assert_eq!(world.traffic(), (vec![], vec![]));
}

#[test]
fn an_own_envelope_is_unsent_until_a_peer_receives_it_even_if_no_peers_are_required() {
    let mut world = World::new(easy());
    let hash = world.post(envelope(1)).unwrap();
    world.wait(1_000);
    assert_eq!((world.node.pool().len(), world.node.is_sent(&hash)), (1, Some(false)));
    let kept = world.node.records().next();
    assert_eq!(kept, Some(Record::Own(envelope(1))));
    let mut alone = World::new(easy());
    let wall = alone.wall();
    kept.into_iter().for_each(|record| alone.node.restore(alone.now, wall, record));
    alone.wait(55_000);
    assert_eq!(alone.outputs(), [NodeOutput::Unsent(hash)]);

    world.node.connected(world.now, id(1), None);
    world.status(1, Status::new(Work::NONE, Bloom::FULL, false));
    world.wait(1_000);
    assert_eq!(world.node.is_sent(&hash), Some(true));
    world.outputs();
    world.wait(55_000);
    assert_eq!(world.outputs(), []);
}

#[test]
fn an_envelope_that_is_posted_twice_is_delivered_once() {
    let mut world = World::new(easy());
    world.post(envelope(1)).unwrap();
    for _ in 0..2 {
        let (now, wall) = (world.now, world.wall());
        world.node.post(now, wall, envelope(1), &mut world.rng).unwrap();
        assert_eq!(world.traffic(), (vec![], vec![]));
        world.wait(1_000);
    }
}

#[test]
fn envelopes_of_a_topic_include_the_pool_and_the_outbox() {
    let privacy = Privacy { min_peers: 2, ..Privacy::OFF };
    let mut world = World::with_peers(Settings { privacy, ..easy() }, &[1]);
    world.messages(1, &[envelope(1)]);
    world.post(envelope(2)).unwrap();
    let other = Draft { expiry: NOW + 50, ttl: 50, topic: Topic([9; 4]), data: vec![3; 40] };
    world.messages(1, &[other.finish(0)]);
    let held = |topic| world.node.pool_envelopes(&[topic]).count();
    assert_eq!([held(Topic([1, 2, 3, 4])), held(Topic([9; 4])), held(Topic([8; 4]))], [2, 1, 0]);
}

#[test]
fn own_envelopes_need_work_but_need_not_match_our_filter() {
    let mut world = World::with_peers(easy(), &[1]);
    world.node.set_bloom(world.now, Bloom::EMPTY);
    world.wait(20_000);
    assert!(world.post(envelope(1)).is_ok());
    world.node.set_min_work(world.now, Work::new(1e9).unwrap());
    world.wait(20_000);
    assert!(matches!(world.post(envelope(2)), Err(EnvelopeError::TooLittleWorkNow(_))));
}

#[test]
fn excess_envelopes_are_dropped_without_disconnecting_the_peer() {
    let mut settings = easy();
    settings.limits.envelopes_per_peer = Rate { per_second: 1.0, burst: 10.0 };
    let mut world = World::with_peers(settings, &[1]);
    let envelopes: Vec<_> = (0..200).map(envelope).collect();
    world.messages(1, &envelopes);
    for _ in 0..100 {
        world.messages(1, &envelopes);
    }
    assert_eq!((world.node.pool().len(), world.node.peers().count()), (10, 1));
    // Dropped envelopes have no consequences.
    world.wait(3_000);
    world.messages(1, &envelopes[100..]);
    assert_eq!(world.node.pool().len(), 13);
}

#[test]
fn forwarding_a_flood_does_not_disconnect_the_next_node() {
    let mut settings = easy();
    settings.limits.envelopes_per_peer = Rate { per_second: 20.0, burst: 100.0 };
    let mut relay = World::with_peers(settings.clone(), &[1, 2, 3]);
    let mut next = World::with_peers(settings, &[9]);
    // Two peers send at their limit for a minute.
    let (mut number, mut copies) = (0_u32, Vec::new());
    for _ in 0..60 {
        for stranger in [1, 2] {
            let made: Vec<_> = (0..20)
                .map(|_| {
                    number += 1;
                    let data = number.to_be_bytes().to_vec();
                    let topic = Topic([1, 2, 3, 4]);
                    Draft { expiry: NOW + 500, ttl: 500, topic, data }.finish(0)
                })
                .collect();
            relay.messages(stranger, &made);
        }
        relay.wait(1_000);
        next.wait(1_000);
        for output in relay.outputs() {
            if let NodeOutput::Send { peer, code: packet::MESSAGES, body } = output {
                let Ok(Packet::Messages(told)) = Packet::decode(packet::MESSAGES, &body) else {
                    panic!()
                };
                if peer == id(3) {
                    copies.push(told.count());
                    next.packet(9, packet::MESSAGES, &body);
                }
                relay.node.sent(relay.now, relay.wall(), peer);
            }
        }
        // The next node accepted everything, and did not disconnect the relay.
        assert_eq!(next.node.pool().len(), copies.iter().sum::<usize>());
        assert_eq!((relay.node.peers().count(), next.node.peers().count()), (3, 1));
    }
    assert_eq!(relay.node.pool().len(), 2400);
    let told: usize = copies.iter().sum();
    assert!((1_100..1_250).contains(&told), "{told}");
}

#[test]
fn peers_of_one_address_share_a_limit_but_are_not_disconnected() {
    let mut settings = easy();
    settings.limits.envelopes_per_address = Rate { per_second: 1.0, burst: 10.0 };
    let mut world = World::new(settings);
    let address = Some(IpAddr::from([192, 0, 2, 7]));
    for peer in [1, 2] {
        world.node.connected(world.now, id(peer), address);
        world.status(peer, Status::new(Work::NONE, Bloom::FULL, false));
    }
    let envelopes: Vec<_> = (0..100).map(envelope).collect();
    world.messages(1, &envelopes[..50]);
    world.messages(2, &envelopes[50..]);
    assert_eq!((world.node.pool().len(), world.node.peers().count()), (10, 2));
    // Reconnecting does not refill the bucket: only a second's worth is available.
    world.node.disconnected(&id(1));
    world.node.disconnected(&id(2));
    world.wait(1_000);
    world.node.connected(world.now, id(3), address);
    world.status(3, Status::new(Work::NONE, Bloom::FULL, false));
    world.messages(3, &envelopes[90..]);
    assert_eq!(world.node.pool().len(), 11);
}

#[test]
fn a_peer_that_asks_for_it_gets_its_batches_acknowledged() {
    let mut world = World::new(easy());
    world.node.connected(world.now, id(1), None);
    let status = [0xc5, 6, 0x80, 0x80, 0x80, 1];
    world.packet(1, packet::STATUS, &status);
    world.outputs();
    world.packet(1, packet::MESSAGES, &[0xc0]);
    let hash = keccak256(&[&[0xc0]]);
    let body = rlp::string(&hash);
    let expected = NodeOutput::Send { peer: id(1), code: packet::ACKNOWLEDGED, body };
    assert_eq!(world.outputs(), [expected]);
}

#[test]
fn a_restart_keeps_the_pool() {
    let mut world = World::with_peers(easy(), &[1]);
    world.messages(1, &[envelope(1)]);
    let records: Vec<_> = world.node.records().collect();
    let mut after = World::new(easy());
    let wall = after.wall();
    records.into_iter().for_each(|record| after.node.restore(after.now, wall, record));
    after.node.connected(after.now, id(1), None);
    after.status(1, Status::new(Work::NONE, Bloom::FULL, false));
    after.outputs();
    after.wait(300);
    assert_eq!(after.traffic(), (vec![id(1)], vec![]));
}

#[test]
fn a_restart_keeps_own_envelopes_that_not_all_peers_have() {
    let privacy = Privacy { stem: true, min_peers: 2, ..Privacy::OFF };
    let settings = Settings { privacy, ..easy() };
    let mut world = World::with_peers(settings.clone(), &[1, 2]);
    world.post(envelope(1)).unwrap();
    world.wait(300);
    assert_eq!(world.traffic().0.len(), 1);
    world.node.disconnected(&id(1));
    world.post(envelope(2)).unwrap();
    world.wait(300);
    assert_eq!(world.node.waiting(), 1);
    let records: Vec<_> = world.node.records().collect();
    let mut after = World::new(settings);
    let wall = after.wall();
    records.into_iter().for_each(|record| after.node.restore(after.now, wall, record));
    assert_eq!((after.node.waiting(), after.node.pool().len()), (2, 0));
    for peer in [1, 2, 3] {
        after.node.connected(after.now, id(peer), None);
        after.status(peer, Status::new(Work::NONE, Bloom::FULL, false));
    }
    after.outputs();
    after.wait(300);
    let (told, delivered) = after.traffic();
    // Each is sent to one peer, perhaps the same. Both were delivered before the restart.
    assert!((1..=2).contains(&told.len()));
    assert_eq!(delivered, []);
}

#[test]
fn own_envelopes_are_not_sent_before_the_initial_pool() {
    let privacy = Privacy { stem: true, min_peers: 1, ..Privacy::OFF };
    let settings = Settings { privacy, ..easy() };
    let mut world = World::with_peers(settings, &[1]);
    world.messages(1, &[envelope(1), envelope(2)]);
    world.node.disconnected(&id(1));
    world.post(envelope(3)).unwrap();
    world.node.connected(world.now, id(2), None);
    world.status(2, Status::new(Work::NONE, Bloom::FULL, false));
    world.outputs();
    let mut told = Vec::new();
    for _ in 0..2 {
        world.wait(300);
        let sent = world.outputs().into_iter().find_map(|output| match output {
            NodeOutput::Send { code: packet::MESSAGES, body, .. } => Some(body),
            _ => None,
        });
        let sent = sent.unwrap();
        let Ok(Packet::Messages(all)) = Packet::decode(packet::MESSAGES, &sent) else { panic!() };
        told.push(all.count());
        world.node.sent(world.now, world.wall(), id(2));
    }
    assert_eq!(told, [2, 1]);
}

#[test]
fn direct_packets_of_untrusted_peers_are_ignored() {
    let mut world = World::with_peers(easy(), &[1]);
    world.packet(1, packet::DIRECT, &[0xc1, 0x80]);
    assert_eq!(world.outputs(), []);
    world.node.trust(id(1));
    world.packet(1, packet::DIRECT, &[0xc1, 0x80]);
    assert!(matches!(world.disconnect_error(), PeerError::Malformed(_)));
}

#[test]
fn a_reused_slot_is_not_withheld() {
    let privacy = Privacy { stem: true, ..Privacy::OFF };
    let mut world = World::with_peers(Settings { privacy, ..easy() }, &[1, 2]);
    let topic = Topic([1, 2, 3, 4]);
    let own = Draft { expiry: NOW + 1, ttl: 50, topic, data: vec![9; 40] }.finish(0);
    world.post(own).unwrap();
    world.wait(3_500);
    world.outputs();
    assert!(world.node.pool().is_empty());
    // It reuses the slot, and is sent to new peers.
    world.messages(1, &[envelope(1)]);
    world.node.connected(world.now, id(3), None);
    world.status(3, Status::new(Work::NONE, Bloom::FULL, false));
    world.outputs();
    world.wait(300);
    assert!(world.traffic().0.contains(&id(3)));
}

#[test]
fn a_full_pool_is_reported_once() {
    let mut world = World::with_peers(Settings { pool_bytes: 10, ..easy() }, &[1]);
    world.messages(1, &[envelope(1), envelope(2)]);
    assert_eq!(world.outputs(), [NodeOutput::PoolFull]);
    assert_eq!(world.node.peers().count(), 1);
}

#[test]
fn a_flood_is_reported_when_it_lasts() {
    let mut settings = easy();
    settings.limits.envelopes_per_peer = Rate { per_second: 20.0, burst: 100.0 };
    let mut world = World::with_peers(settings, &[1, 2]);
    let mut reported = Vec::new();
    for second in 0..200_u32 {
        // First the initial pool of a peer, and later a flood.
        let rate = match second {
            10..40 | 90..200 => 15,
            _ => 2,
        };
        for peer in [1, 2] {
            let made: Vec<_> = (0..rate)
                .map(|number| {
                    let data = [second.to_be_bytes(), [peer, number, 0, 0]].concat();
                    let topic = Topic([1, 2, 3, 4]);
                    Draft { expiry: NOW + 500, ttl: 500, topic, data }.finish(0)
                })
                .collect();
            world.messages(peer, &made);
        }
        world.wait(1_000);
        if world.outputs().contains(&NodeOutput::Flooded) {
            reported.push(second);
        }
    }
    assert!(reported.first().is_some_and(|first| (150..170).contains(first)), "{reported:?}");
    assert_eq!(world.node.peers().count(), 2);
}

#[test]
fn a_slow_clock_is_detected_when_most_peers_seem_early() {
    let mut world = World::with_peers(easy(), &[1, 2, 3]);
    let topic = Topic([1, 2, 3, 4]);
    let early = Draft { expiry: NOW + 65, ttl: 50, topic, data: vec![1; 40] }.finish(0);
    world.messages(1, &[early]);
    world.wait(59_000);
    let early =
        |nonce| Draft { expiry: NOW + 124, ttl: 50, topic, data: vec![1; 40] }.finish(nonce);
    world.outputs();
    world.messages(2, &[early(1)]);
    assert_eq!(world.outputs(), [NodeOutput::ClockMayBeWrong]);
    // The first early envelope was too long ago.
    world.wait(1_000);
    world.outputs();
    world.messages(2, &[early(2)]);
    assert_eq!(world.outputs(), []);
}

#[test]
fn invalid_envelopes_do_not_use_up_the_limit_of_an_address() {
    let mut settings = easy();
    settings.limits.envelopes_per_address = Rate { per_second: 1.0, burst: 10.0 };
    let mut world = World::new(settings);
    let address = Some(IpAddr::from([192, 0, 2, 7]));
    for peer in [1, 2] {
        world.node.connected(world.now, id(peer), address);
        world.status(peer, Status::new(Work::NONE, Bloom::FULL, false));
    }
    let expired = |content| {
        let topic = Topic([1, 2, 3, 4]);
        Draft { expiry: NOW - 1, ttl: 50, topic, data: vec![content; 40] }.finish(0)
    };
    world.messages(1, &(0..100).map(expired).collect::<Vec<_>>());
    world.messages(2, &(0..10).map(envelope).collect::<Vec<_>>());
    assert_eq!(world.node.pool().len(), 10);
}

#[test]
fn large_own_envelopes_need_a_trusted_peer() {
    let mut settings = easy();
    settings.requirements.set_max_size(1 << 21);
    let mut world = World::with_peers(settings, &[1, 2]);
    let topic = Topic([1, 2, 3, 4]);
    let long = Draft { expiry: NOW + 50, ttl: 50, topic, data: vec![7; 1 << 20] }.finish(0);
    assert!(matches!(world.post(long.clone()), Err(EnvelopeError::TooLarge { .. })));
    world.node.trust(id(2));
    world.post(long).unwrap();
    world.wait(300);
    assert_eq!(world.traffic().0, [id(2)]);
}

#[test]
fn packets_of_unknown_peers_are_ignored() {
    let mut world = World::new(easy());
    world.messages(1, &[envelope(1)]);
    world.node.sent(world.now, world.wall(), id(1));
    assert_eq!(world.outputs(), []);
}
