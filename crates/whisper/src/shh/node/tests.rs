#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::{
    super::{Draft, Topic, rate::Rate},
    *,
};

const NOW: u32 = 1_575_000_000;

/// A node in its own time, with what it wants done.
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

    /// A world whose node has these peers, each with a status like ours.
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

    /// Posts an envelope of our own, which is handed out at once.
    fn post(&mut self, envelope: Envelope) -> Result<EnvelopeHash, Refusal> {
        let hash = self.node.post(self.now, self.wall(), envelope.clone(), &mut self.rng)?;
        let delivered = NodeOutput::Deliver { envelope, direct: false };
        assert_eq!(self.node.outputs.pop_back(), Some(delivered));
        Ok(hash)
    }

    /// Lets this many milliseconds pass.
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

    /// To whom envelopes are sent, in order, and which are handed out.
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

    /// Why the only peer was cut.
    fn cut(&mut self) -> PeerError {
        let cut = self.outputs().into_iter().find_map(|output| match output {
            NodeOutput::Disconnect { error, .. } => Some(error),
            _ => None,
        });
        cut.expect("a peer is cut")
    }
}

fn id(peer: u8) -> NodeId {
    NodeId([peer; 64])
}

/// Asks for no work.
fn easy() -> Settings {
    Settings {
        requirements: Requirements::new(Work::NONE),
        darkness: Darkness::OFF,
        ..Settings::default()
    }
}

fn envelope(content: u8) -> Envelope {
    Draft { expiry: NOW + 50, ttl: 50, topic: Topic([1, 2, 3, 4]), data: vec![content; 40] }
        .finish(0)
}

#[test]
fn what_comes_from_one_peer_goes_to_all_others_and_then_to_us() {
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
fn a_node_says_what_it_is_before_it_is_asked() {
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
    assert_eq!(world.cut(), PeerError::NoStatus(1));
    assert!(world.node.pool().is_empty());
}

#[test]
fn a_peer_without_status_is_cut_after_five_seconds() {
    let mut world = World::new(easy());
    world.node.connected(world.now, id(1), None);
    world.outputs();
    world.wait(4_900);
    assert_eq!(world.outputs(), []);
    world.wait(200);
    assert_eq!(world.cut(), PeerError::NoStatusInTime(STATUS_TIMEOUT));
}

#[test]
fn two_light_nodes_part() {
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
fn a_light_node_passes_on_only_its_own() {
    let mut world = World::with_peers(Settings { light: true, ..easy() }, &[1, 2]);
    world.messages(1, &[envelope(1)]);
    world.wait(300);
    assert_eq!(world.traffic(), (vec![], vec![envelope(1)]));
    world.post(envelope(2)).unwrap();
    world.wait(300);
    assert_eq!(world.traffic(), (vec![id(1), id(2)], vec![]));
}

#[test]
fn only_a_trusted_peer_reaches_us_directly() {
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
fn requests_are_handed_out_only_when_they_can_be_served() {
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
fn peers_are_told_what_is_asked_for_anew() {
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
    let darkness = Darkness { min_peers: 2, ..Darkness::OFF };
    let mut world = World::with_peers(Settings { darkness, ..easy() }, &[1]);
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
fn one_peer_hears_of_an_own_envelope_first_and_the_others_when_it_comes_back() {
    let darkness = Darkness { stem: true, ..Darkness::OFF };
    let mut world = World::with_peers(Settings { darkness, ..easy() }, &[1, 2, 3]);
    world.post(envelope(1)).unwrap();
    world.wait(300);
    let (told, delivered) = world.traffic();
    assert_eq!((told.len(), delivered), (1, vec![]));
    world.node.connected(world.now, id(4), None);
    world.status(4, Status::new(Work::NONE, Bloom::FULL, false));
    world.outputs();
    world.wait(600);
    assert_eq!(world.traffic(), (vec![], vec![]));
    // That the one who was told has it means nothing.
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
fn an_own_envelope_that_does_not_come_back_is_told_to_all() {
    let darkness = Darkness { stem: true, ..Darkness::OFF };
    let mut world = World::with_peers(Settings { darkness, ..easy() }, &[1, 2, 3]);
    world.post(envelope(1)).unwrap();
    world.wait(5_000);
    assert_eq!(world.traffic().0.len(), 1);
    world.wait(2_000);
    assert_eq!(world.traffic().0.len(), 2);
}

#[test]
fn own_envelopes_that_expire_while_they_wait_never_leave() {
    let darkness = Darkness { min_peers: 1, ..Darkness::OFF };
    let mut world = World::new(Settings { darkness, ..easy() });
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
fn an_own_envelope_is_unsent_until_a_peer_receives_it_even_if_it_may_leave_without_peers() {
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
fn what_is_posted_twice_is_handed_out_once() {
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
fn what_a_node_holds_under_a_topic_is_what_lives_in_its_pool_or_waits_to_leave() {
    let darkness = Darkness { min_peers: 2, ..Darkness::OFF };
    let mut world = World::with_peers(Settings { darkness, ..easy() }, &[1]);
    world.messages(1, &[envelope(1)]);
    world.post(envelope(2)).unwrap();
    let other = Draft { expiry: NOW + 50, ttl: 50, topic: Topic([9; 4]), data: vec![3; 40] };
    world.messages(1, &[other.finish(0)]);
    let held = |topic| world.node.held(&[topic]).count();
    assert_eq!([held(Topic([1, 2, 3, 4])), held(Topic([9; 4])), held(Topic([8; 4]))], [2, 1, 0]);
}

#[test]
fn own_envelopes_may_have_topics_that_we_do_not_ask_for_but_not_too_little_work() {
    let mut world = World::with_peers(easy(), &[1]);
    world.node.set_bloom(world.now, Bloom::EMPTY);
    world.wait(20_000);
    assert!(world.post(envelope(1)).is_ok());
    world.node.set_min_work(world.now, Work::new(1e9).unwrap());
    world.wait(20_000);
    assert!(matches!(world.post(envelope(2)), Err(Refusal::TooLittleWorkNow(_))));
}

#[test]
fn a_flood_is_dropped_and_its_peer_kept() {
    let mut settings = easy();
    settings.limits.envelopes_per_peer = Rate { per_second: 1.0, burst: 10.0 };
    let mut world = World::with_peers(settings, &[1]);
    let envelopes: Vec<_> = (0..200).map(envelope).collect();
    world.messages(1, &envelopes);
    for _ in 0..100 {
        world.messages(1, &envelopes);
    }
    assert_eq!((world.node.pool().len(), world.node.peers().count()), (10, 1));
    // What was dropped is not held against it.
    world.wait(3_000);
    world.messages(1, &envelopes[100..]);
    assert_eq!(world.node.pool().len(), 13);
}

#[test]
fn what_strangers_flood_a_node_with_never_parts_it_from_the_next() {
    let mut settings = easy();
    settings.limits.envelopes_per_peer = Rate { per_second: 20.0, burst: 100.0 };
    let mut relay = World::with_peers(settings.clone(), &[1, 2, 3]);
    let mut next = World::with_peers(settings, &[9]);
    // Two strangers send as fast as they may for a minute.
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
        // Everything that the relay has told has been taken, and none of it cost it the link.
        assert_eq!(next.node.pool().len(), copies.iter().sum::<usize>());
        assert_eq!((relay.node.peers().count(), next.node.peers().count()), (3, 1));
    }
    assert_eq!(relay.node.pool().len(), 2400);
    let told: usize = copies.iter().sum();
    assert!((1_100..1_250).contains(&told), "{told}");
}

#[test]
fn peers_of_one_address_share_a_limit_but_not_the_blame() {
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
    // Leaving and coming back fills nothing: there is a second's worth.
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
fn a_restart_keeps_what_of_our_own_waits_and_what_only_one_peer_knows() {
    let darkness = Darkness { stem: true, min_peers: 2, ..Darkness::OFF };
    let settings = Settings { darkness, ..easy() };
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
    // Each is told to one peer, which may be the same. Both were handed out before the restart.
    assert!((1..=2).contains(&told.len()));
    assert_eq!(delivered, []);
}

#[test]
fn what_is_our_own_is_not_told_before_the_pool() {
    let darkness = Darkness { stem: true, min_peers: 1, ..Darkness::OFF };
    let settings = Settings { darkness, ..easy() };
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
fn whoever_is_not_trusted_may_say_anything_for_us_alone() {
    let mut world = World::with_peers(easy(), &[1]);
    world.packet(1, packet::DIRECT, &[0xc1, 0x80]);
    assert_eq!(world.outputs(), []);
    world.node.trust(id(1));
    world.packet(1, packet::DIRECT, &[0xc1, 0x80]);
    assert!(matches!(world.cut(), PeerError::Malformed(_)));
}

#[test]
fn a_place_that_is_used_again_is_not_withheld() {
    let darkness = Darkness { stem: true, ..Darkness::OFF };
    let mut world = World::with_peers(Settings { darkness, ..easy() }, &[1, 2]);
    let topic = Topic([1, 2, 3, 4]);
    let own = Draft { expiry: NOW + 1, ttl: 50, topic, data: vec![9; 40] }.finish(0);
    world.post(own).unwrap();
    world.wait(3_500);
    world.outputs();
    assert!(world.node.pool().is_empty());
    // It takes the place, and whoever comes now is told.
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
fn more_than_peers_may_be_told_is_reported_once_it_lasts() {
    let mut settings = easy();
    settings.limits.envelopes_per_peer = Rate { per_second: 20.0, burst: 100.0 };
    let mut world = World::with_peers(settings, &[1, 2]);
    let mut reported = Vec::new();
    for second in 0..200_u32 {
        // A pool that is told at once, and a flood later.
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
fn a_late_clock_is_noticed_when_most_peers_are_early() {
    let mut world = World::with_peers(easy(), &[1, 2, 3]);
    let topic = Topic([1, 2, 3, 4]);
    let early = Draft { expiry: NOW + 65, ttl: 50, topic, data: vec![1; 40] }.finish(0);
    world.messages(1, &[early]);
    world.wait(59_000);
    let early =
        |nonce| Draft { expiry: NOW + 124, ttl: 50, topic, data: vec![1; 40] }.finish(nonce);
    world.outputs();
    world.messages(2, &[early(1)]);
    assert_eq!(world.outputs(), [NodeOutput::ClockDoubted]);
    // The first was early too long ago.
    world.wait(1_000);
    world.outputs();
    world.messages(2, &[early(2)]);
    assert_eq!(world.outputs(), []);
}

#[test]
fn what_is_worthless_uses_up_nobody_s_share_of_an_address() {
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
fn an_own_envelope_that_not_every_peer_takes_needs_one_that_we_trust() {
    let mut settings = easy();
    settings.requirements.set_max_size(1 << 21);
    let mut world = World::with_peers(settings, &[1, 2]);
    let topic = Topic([1, 2, 3, 4]);
    let long = Draft { expiry: NOW + 50, ttl: 50, topic, data: vec![7; 1 << 20] }.finish(0);
    assert!(matches!(world.post(long.clone()), Err(Refusal::TooLarge { .. })));
    world.node.trust(id(2));
    world.post(long).unwrap();
    world.wait(300);
    assert_eq!(world.traffic().0, [id(2)]);
}

#[test]
fn packets_from_nobody_are_ignored() {
    let mut world = World::new(easy());
    world.messages(1, &[envelope(1)]);
    world.node.sent(world.now, world.wall(), id(1));
    assert_eq!(world.outputs(), []);
}
