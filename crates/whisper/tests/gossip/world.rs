//! The simulation of the gossip test: nodes, connections with latency, virtual time, and spies.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    time::Duration,
};

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{RngCore, SeedableRng},
};
use wormhole_kit::{Instant, UnixTime};
use wormhole_whisper::{
    devp2p::key::NodeId,
    shh::{
        Bloom, Draft, Envelope, EnvelopeHash, Node, NodeOutput, Requirements, Topic, Work,
        node::{Privacy, Settings},
        packet::{self, Packet},
    },
};

/// Nodes with a full Bloom filter.
const FULL: usize = 40;

/// Nodes that want one topic only.
const NARROW: usize = 10;

/// Nodes that share from which peer they first received an envelope.
const SPIES: usize = 5;

/// Outgoing connections of a node, in addition to those of the ring.
const CHORDS: usize = 2;

/// Number of posted envelopes.
const ENVELOPES: u32 = 150;

/// Seconds that an envelope lives.
const TTL: u32 = 50;

const WANTED: Topic = Topic([1, 2, 3, 4]);
const OTHER: Topic = Topic([70, 80, 90, 0]);

/// Start of the wall clocks, in seconds since 1970.
const EPOCH: f64 = 1_575_000_000.0;

/// The simulation.
pub(crate) struct World {
    start: Instant,
    now: Instant,
    nodes: Vec<Member>,
    /// When each connection was opened; a new one does not receive packets of an old one.
    links: BTreeMap<(usize, usize), u32>,
    latest: BTreeMap<(usize, usize), Instant>,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    scheduled: u64,
    rng: ChaCha12Rng,
    envelopes: BTreeMap<EnvelopeHash, Journey>,
    copies: u64,
}

struct Member {
    node: Node,
    /// Seconds by which its clock is wrong.
    skew: f64,
    narrow: bool,
}

/// The journey of an envelope.
struct Journey {
    origin: usize,
    topic: Topic,
    posted: Instant,
    /// Times of all deliveries, by node.
    delivered: BTreeMap<usize, Vec<Instant>>,
    /// When and from which node a spy first received it.
    first_spied: Option<(Instant, usize)>,
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrive { from: usize, to: usize, link: u32, code: u16, body: Vec<u8> },
    Written { from: usize, to: usize, link: u32 },
    Timeout(usize),
    Post(u32),
    Cut,
    Reconnect(usize, usize),
}

/// Costs and leaks of a run.
pub(crate) struct Figures {
    /// Average number of copies of an envelope that a node receives.
    copies: f64,
    /// Seconds until 99 of 100 deliveries have happened.
    time_to_99: f64,
    /// Share of the envelopes whose sender the spies identify.
    pub(crate) spied: f64,
    /// Standard deviation of the time from posting to the first delivery elsewhere, in seconds.
    pub(crate) origin_delay_spread: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} copies of each envelope per node, 99 % reached after {:.1} s, {} of {FULL} full \
             nodes as spies name the origin of {:.0} %, made within ±{:.2} s",
            self.copies,
            self.time_to_99,
            SPIES,
            100.0 * self.spied,
            self.origin_delay_spread
        )
    }
}

fn id(index: usize) -> NodeId {
    NodeId([u8::try_from(index).unwrap(); 64])
}

fn index(id: NodeId) -> usize {
    usize::from(id.0[0])
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

impl World {
    pub(crate) fn new(seed: u64, privacy: Privacy) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now() + Duration::from_secs(1000);
        let mut world = Self {
            start,
            now: start,
            nodes: Vec::new(),
            links: BTreeMap::new(),
            latest: BTreeMap::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            rng: ChaCha12Rng::seed_from_u64(seed),
            envelopes: BTreeMap::new(),
            copies: 0,
        };
        for index in 0..FULL + NARROW {
            world.add_node(index >= FULL, privacy);
        }
        for index in 0..FULL {
            world.connect(index, (index + 1) % FULL);
        }
        for index in 0..FULL + NARROW {
            for _ in 0..CHORDS {
                let other = world.below(FULL);
                world.connect(index, other);
            }
        }
        (0..ENVELOPES).for_each(|number| {
            let after = Duration::from_millis(2000 + 200 * u64::from(number));
            world.schedule(after, Event::Post(number));
        });
        (0..40).for_each(|number| world.schedule(Duration::from_secs(number), Event::Cut));
        world
    }

    /// Runs until all envelopes have expired, and checks the result.
    pub(crate) fn run(mut self) -> Figures {
        let end = self.start + Duration::from_secs(120);
        while let Some(Reverse((time, _, event))) = self.queue.pop().filter(|next| next.0.0 < end) {
            self.now = time;
            self.happen(event);
        }
        assert_eq!(self.envelopes.len(), usize::try_from(ENVELOPES).unwrap());
        self.assert_each_got_each_once();
        self.figures()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { from, to, link, code, body } => {
                self.arrive(from, to, link, code, &body);
            }
            Event::Written { from, to, link } => {
                if self.link(from, to) == Some(link) {
                    let wall = self.wall(from);
                    self.nodes[from].node.sent(self.now, wall, id(to));
                    self.drain(from);
                }
            }
            Event::Timeout(node) => {
                if self.nodes[node].node.deadline() <= self.now {
                    let wall = self.wall(node);
                    self.nodes[node].node.handle_timeout(self.now, wall, &mut self.rng);
                    self.drain(node);
                }
            }
            Event::Post(number) => self.post(number),
            Event::Cut => self.cut(),
            Event::Reconnect(one, two) => self.connect(one, two),
        }
    }

    fn arrive(&mut self, from: usize, to: usize, link: u32, code: u16, body: &[u8]) {
        if self.link(from, to) != Some(link) {
            return;
        }
        if let Ok(Packet::Messages(envelopes)) = Packet::decode(code, body) {
            for envelope in envelopes {
                self.copies += 1;
                let now = self.now;
                if to < SPIES
                    && let Some(journey) = self.envelopes.get_mut(&envelope.hash())
                {
                    journey.first_spied.get_or_insert((now, from));
                }
            }
        }
        let wall = self.wall(to);
        self.nodes[to].node.handle(self.now, wall, id(from), code, body);
        self.drain(to);
    }

    fn add_node(&mut self, narrow: bool, privacy: Privacy) {
        let mut settings = Settings::default();
        settings.privacy = privacy;
        settings.requirements = Requirements::new(Work::NONE);
        if narrow {
            let before = self.start.checked_sub(Duration::from_secs(60)).unwrap();
            settings.requirements.set_bloom(before, Bloom::of([WANTED]));
        }
        // Any two clocks differ by at most ten seconds.
        let skew = f64::from(self.rng.next_u32() % 9) - 4.0;
        self.nodes.push(Member { node: Node::new(settings, self.start), skew, narrow });
        self.schedule(Duration::ZERO, Event::Timeout(self.nodes.len() - 1));
    }

    fn post(&mut self, number: u32) {
        // Spies do not post.
        let origin = SPIES + self.below(FULL + NARROW - SPIES);
        let topic = if number.is_multiple_of(2) { WANTED } else { OTHER };
        let data = [number.to_be_bytes().as_slice(), &[0; 280]].concat();
        let envelope = Draft::new(self.wall(origin), TTL, topic, data).finish(0);
        let wall = self.wall(origin);
        let journey = Journey {
            origin,
            topic,
            posted: self.now,
            delivered: BTreeMap::new(),
            first_spied: None,
        };
        self.envelopes.insert(envelope.hash(), journey);
        self.nodes[origin].node.post(self.now, wall, envelope, &mut self.rng).unwrap();
        self.drain(origin);
    }

    /// Opens a connection, unless there is one.
    fn connect(&mut self, one: usize, two: usize) {
        if one == two || self.links.contains_key(&(one.min(two), one.max(two))) {
            return;
        }
        let link = u32::try_from(self.scheduled).unwrap();
        self.links.insert((one.min(two), one.max(two)), link);
        for (from, to) in [(one, two), (two, one)] {
            self.nodes[from].node.connected(self.now, id(to), None);
            self.drain(from);
        }
    }

    /// Closes a random connection for a while.
    fn cut(&mut self) {
        let number = self.below(self.links.len());
        let (one, two) = *self.links.keys().nth(number).unwrap();
        self.links.remove(&(one, two));
        self.nodes[one].node.disconnected(&id(two));
        self.nodes[two].node.disconnected(&id(one));
        let after = Duration::from_millis(1000 + self.rng.next_u64() % 3000);
        self.schedule(after, Event::Reconnect(one, two));
    }

    fn link(&self, one: usize, two: usize) -> Option<u32> {
        self.links.get(&(one.min(two), one.max(two))).copied()
    }

    /// Handles the outputs of a node.
    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].node.poll() {
            match output {
                NodeOutput::Send { peer, code, body } => self.carry(node, index(peer), code, body),
                NodeOutput::Deliver { envelope, .. } => self.deliver(node, &envelope),
                NodeOutput::Opened(_) => {}
                other => panic!("node {node}: {other:?}"),
            }
        }
        let wait = self.nodes[node].node.deadline().saturating_duration_since(self.now);
        self.schedule(wait, Event::Timeout(node));
    }

    /// Schedules a packet with latency, in order.
    fn carry(&mut self, from: usize, to: usize, code: u16, body: Vec<u8>) {
        let Some(link) = self.link(from, to) else { return };
        let arrival = self.now + Duration::from_millis(20 + self.rng.next_u64() % 130);
        let latest = self.latest.entry((from, to)).or_insert(arrival);
        *latest = arrival.max(*latest);
        let wait = latest.saturating_duration_since(self.now);
        self.schedule(wait, Event::Arrive { from, to, link, code, body });
        if code == packet::MESSAGES {
            self.schedule(Duration::from_millis(5), Event::Written { from, to, link });
        }
    }

    fn deliver(&mut self, node: usize, envelope: &Envelope) {
        let journey = self.envelopes.get_mut(&envelope.hash()).unwrap();
        journey.delivered.entry(node).or_default().push(self.now);
    }

    fn schedule(&mut self, wait: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + wait, self.scheduled, event)));
    }

    fn wall(&self, node: usize) -> UnixTime {
        let passed = seconds(self.now.saturating_duration_since(self.start));
        UnixTime::from_secs_f64(EPOCH + self.nodes[node].skew + passed)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.next_u64()).unwrap() % limit
    }

    fn assert_each_got_each_once(&self) {
        for journey in self.envelopes.values() {
            for (node, member) in self.nodes.iter().enumerate() {
                let times = journey.delivered.get(&node).map_or(0, Vec::len);
                let interested =
                    !member.narrow || journey.topic == WANTED || journey.origin == node;
                assert_eq!(times, usize::from(interested), "node {node}");
            }
        }
    }

    fn figures(&self) -> Figures {
        let mut waits = Vec::new();
        let mut first = Vec::new();
        for journey in self.envelopes.values() {
            let wait = |time: &Instant| seconds(time.saturating_duration_since(journey.posted));
            let elsewhere = journey.delivered.iter().filter(|(node, _)| **node != journey.origin);
            let times: Vec<_> = elsewhere.flat_map(|(_, times)| times).map(wait).collect();
            first.push(times.iter().copied().fold(f64::INFINITY, f64::min));
            waits.extend(times);
        }
        waits.sort_by(f64::total_cmp);
        let named =
            |journey: &&Journey| journey.first_spied.is_some_and(|(_, who)| who == journey.origin);
        let spied = self.envelopes.values().filter(named).count();
        let count = |number: usize| f64::from(u32::try_from(number).unwrap());
        Figures {
            copies: count(usize::try_from(self.copies).unwrap()) / count(waits.len()),
            time_to_99: waits[waits.len() * 99 / 100],
            spied: count(spied) / f64::from(ENVELOPES),
            origin_delay_spread: spread(&first),
        }
    }
}

/// Standard deviation.
fn spread(values: &[f64]) -> f64 {
    let count = f64::from(u32::try_from(values.len()).unwrap());
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}
