//! The whole crate without sockets: two nodes connect over RLPx, exchange Hello and status, and forward an
//! encrypted message.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use wormhole_kit::{Instant, UnixTime};
use wormhole_whisper::{
    devp2p::{
        base::DisconnectReason,
        capability::{Protocol, ProtocolId},
        key::{NodeId, PrivateKey},
        peer::{Config, Peer, PeerError, PeerOutput},
    },
    shh::{
        Draft, Envelope, Filters, Miner, Node, NodeOutput, SymmetricKey, Topic, Work,
        filter::{Criteria, FilterKey},
        message::{Padding, Sealing, compose},
        node::{Privacy, Settings},
        packet,
    },
};

const SHH: ProtocolId = ProtocolId(0);
const TOPIC: Topic = Topic([1, 2, 3, 4]);

/// A node, its connection, and its delivered envelopes.
struct Side {
    node: Node,
    link: Peer,
    remote: Option<NodeId>,
    wire: Vec<Vec<u8>>,
    delivered: Vec<Envelope>,
    closed: bool,
}

/// Two nodes with the same clock.
struct World {
    now: Instant,
    rng: ChaCha12Rng,
    sides: [Side; 2],
}

fn wall() -> UnixTime {
    UnixTime::from_secs(1_575_000_000)
}

impl World {
    fn new() -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let config = |key| {
            let version = u32::try_from(packet::VERSION).unwrap();
            Config::new(key, vec![Protocol::new(packet::NAME, version, packet::LENGTH)])
        };
        let (one, two) = (PrivateKey::random(&mut rng), PrivateKey::random(&mut rng));
        let caller = Peer::dial(config(one), two.public_key(), now, &mut rng);
        let called = Peer::accept(config(two), now, &mut rng);
        let sides = [caller, called].map(|link| {
            let mut settings = Settings::default();
            settings.privacy = Privacy::OFF;
            let node = Node::new(settings, now);
            Side { node, link, remote: None, wire: vec![], delivered: vec![], closed: false }
        });
        Self { now, rng, sides }
    }

    /// Transports bytes in both directions until there are no more.
    fn settle(&mut self) {
        loop {
            let [one, two] = &mut self.sides;
            let moved = one.pump(self.now) | two.pump(self.now);
            for bytes in std::mem::take(&mut one.wire) {
                let _ = two.link.handle(self.now, &bytes);
            }
            for bytes in std::mem::take(&mut two.wire) {
                let _ = one.link.handle(self.now, &bytes);
            }
            if !moved {
                return;
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for side in &mut self.sides {
            side.node.handle_timeout(self.now, wall(), &mut self.rng);
        }
        self.settle();
    }
}

impl Side {
    /// Moves outputs between connection and node. Returns whether there were any.
    fn pump(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some(output) = self.link.poll() {
            moved = true;
            match output {
                PeerOutput::Send(bytes) => self.wire.push(bytes),
                PeerOutput::Opened { hello, protocols } => {
                    assert_eq!(protocols, [SHH]);
                    self.remote = Some(hello.id);
                    self.node.connected(now, hello.id, None);
                }
                PeerOutput::Message { code, payload, .. } => {
                    self.node.handle(now, wall(), self.remote.unwrap(), code, &payload);
                }
                PeerOutput::Close => self.closed = true,
            }
        }
        while let Some(output) = self.node.poll() {
            moved = true;
            match output {
                NodeOutput::Send { peer, code, body } => {
                    self.link.send(SHH, code, &body).unwrap();
                    if code == packet::MESSAGES {
                        self.node.sent(now, wall(), peer);
                    }
                }
                NodeOutput::Disconnect { .. } => {
                    self.link.disconnect(DisconnectReason::SubprotocolError);
                }
                NodeOutput::Deliver { envelope, .. } => self.delivered.push(envelope),
                NodeOutput::Opened(_) => {}
                NodeOutput::ArchiveComplete { .. }
                | NodeOutput::ArchiveRequest { .. }
                | NodeOutput::ClockMayBeWrong
                | NodeOutput::Flooded
                | NodeOutput::PoolFull
                | NodeOutput::Unsent(_) => panic!("{output:?}"),
            }
        }
        moved
    }
}

#[test]
fn a_message_goes_from_one_node_to_the_other() {
    let mut world = World::new();
    world.settle();
    assert!(world.sides.iter().all(|side| side.node.peers().count() == 1));

    let key = SymmetricKey::random(&mut world.rng);
    let signer = PrivateKey::random(&mut world.rng);
    let sealing = Sealing::Symmetric;
    let said = compose(b"hello", &Padding::Uniform, sealing, Some(&signer), &mut world.rng);
    let data = key.seal(&said.unwrap(), &mut world.rng);
    let draft = Draft::new(wall(), 50, TOPIC, data);
    let mut miner = Miner::new(&draft, draft.bits_needed(Work::DEFAULT_MINIMUM));
    let envelope = draft.finish(miner.step(u64::MAX).unwrap());
    world.sides[0].node.post(world.now, wall(), envelope.clone(), &mut world.rng).unwrap();
    world.wait(Duration::from_millis(300));
    world.wait(Duration::from_millis(300));
    assert!(world.sides.iter().all(|side| side.delivered == [envelope.clone()]));

    let mut filters = Filters::new(1 << 20);
    let (key, topics) = (FilterKey::Symmetric(key), vec![TOPIC]);
    let signer = Some(signer.public_key());
    let criteria = Criteria { key, signer, topics, min_work: Work::NONE, direct: false };
    let id = filters.add(world.now, criteria, &mut world.rng).unwrap();
    assert_eq!(filters.deliver(&envelope, false), [id]);
    let received = filters.poll(world.now, &id).unwrap().pop().unwrap();
    assert_eq!(received.message.payload, b"hello");
}

#[test]
fn a_node_that_violates_the_protocol_is_disconnected_with_a_reason() {
    let mut world = World::new();
    world.settle();
    world.sides[0].link.send(SHH, packet::BLOOM, &[0x80]).unwrap();
    let [one, two] = &mut world.sides;
    one.pump(world.now);
    two.link.handle(world.now, &one.wire.pop().unwrap()).unwrap();
    two.pump(world.now);
    two.pump(world.now);
    assert!(two.closed && two.node.peers().count() == 0);
    let told = one.link.handle(world.now, &two.wire.pop().unwrap());
    assert_eq!(told, Err(PeerError::Disconnected(DisconnectReason::SubprotocolError)));
}
