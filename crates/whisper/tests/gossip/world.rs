//! The world of the gossip test: nodes, links with latency, virtual time, and spies.

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
        node::{Darkness, Settings},
        packet::{self, Packet},
    },
};

/// Nodes that take everything.
const FULL: usize = 40;

/// Nodes that ask for one topic only.
const NARROW: usize = 10;

/// Nodes that tell one another from whom they heard an envelope first.
const SPIES: usize = 5;

/// Links of a node that it makes itself, beside those of the ring.
const CHORDS: usize = 2;

/// Envelopes that are posted, one every so often.
const ENVELOPES: u32 = 150;

/// Seconds that an envelope lives.
const TTL: u32 = 50;

const WANTED: Topic = Topic([1, 2, 3, 4]);
const OTHER: Topic = Topic([70, 80, 90, 0]);

/// Where the wall clocks begin, in seconds since 1970.
const EPOCH: f64 = 1_575_000_000.0;

/// Everything there is.
pub(crate) struct World {
    start: Instant,
    now: Instant,
    nodes: Vec<Member>,
    /// When each link was made; younger ones do not get what was sent over older ones.
    links: BTreeMap<(usize, usize), u32>,
    latest: BTreeMap<(usize, usize), Instant>,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    scheduled: u64,
    rng: ChaCha12Rng,
    envelopes: BTreeMap<EnvelopeHash, Story>,
    copies: u64,
}

struct Member {
    node: Node,
    /// Seconds by which its clock is wrong.
    skew: f64,
    narrow: bool,
}

/// What became of an envelope.
struct Story {
    origin: usize,
    topic: Topic,
    posted: Instant,
    /// When each node was handed it, as often as it was.
    delivered: BTreeMap<usize, Vec<Instant>>,
    /// When and from whom a spy heard of it first.
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

/// What a run costs and reveals.
pub(crate) struct Figures {
    /// Copies of an envelope that a node gets, on average.
    copies: f64,
    /// Seconds until 99 of 100 deliveries have happened.
    time_to_99: f64,
    /// Share of the envelopes whose origin the spies name.
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
    pub(crate) fn new(seed: u64, darkness: Darkness) -> Self {
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
            world.add_node(index >= FULL, darkness);
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

    /// Runs until every envelope has expired, and judges.
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
                    && let Some(story) = self.envelopes.get_mut(&envelope.hash())
                {
                    story.first_spied.get_or_insert((now, from));
                }
            }
        }
        let wall = self.wall(to);
        self.nodes[to].node.handle(self.now, wall, id(from), code, body);
        self.drain(to);
    }

    fn add_node(&mut self, narrow: bool, darkness: Darkness) {
        let mut settings = Settings::default();
        settings.darkness = darkness;
        settings.requirements = Requirements::new(Work::NONE);
        if narrow {
            let before = self.start.checked_sub(Duration::from_secs(60)).unwrap();
            settings.requirements.set_bloom(before, Bloom::of([WANTED]));
        }
        // Far enough apart to matter, near enough for any two to agree within ten seconds.
        let skew = f64::from(self.rng.next_u32() % 9) - 4.0;
        self.nodes.push(Member { node: Node::new(settings, self.start), skew, narrow });
        self.schedule(Duration::ZERO, Event::Timeout(self.nodes.len() - 1));
    }

    fn post(&mut self, number: u32) {
        // Spies do not spy on themselves.
        let origin = SPIES + self.below(FULL + NARROW - SPIES);
        let topic = if number.is_multiple_of(2) { WANTED } else { OTHER };
        let data = [number.to_be_bytes().as_slice(), &[0; 280]].concat();
        let envelope = Draft::new(self.wall(origin), TTL, topic, data).finish(0);
        let wall = self.wall(origin);
        let story = Story {
            origin,
            topic,
            posted: self.now,
            delivered: BTreeMap::new(),
            first_spied: None,
        };
        self.envelopes.insert(envelope.hash(), story);
        self.nodes[origin].node.post(self.now, wall, envelope, &mut self.rng).unwrap();
        self.drain(origin);
    }

    /// Makes a link, unless there is one.
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

    /// Breaks some link, for a while.
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

    /// Does what a node wants done.
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

    /// Lets a packet arrive after a while, behind those before it.
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
        let story = self.envelopes.get_mut(&envelope.hash()).unwrap();
        story.delivered.entry(node).or_default().push(self.now);
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
        for story in self.envelopes.values() {
            for (node, member) in self.nodes.iter().enumerate() {
                let times = story.delivered.get(&node).map_or(0, Vec::len);
                let interested = !member.narrow || story.topic == WANTED || story.origin == node;
                assert_eq!(times, usize::from(interested), "node {node}");
            }
        }
    }

    fn figures(&self) -> Figures {
        let mut waits = Vec::new();
        let mut first = Vec::new();
        for story in self.envelopes.values() {
            let wait = |time: &Instant| seconds(time.saturating_duration_since(story.posted));
            let elsewhere = story.delivered.iter().filter(|(node, _)| **node != story.origin);
            let times: Vec<_> = elsewhere.flat_map(|(_, times)| times).map(wait).collect();
            first.push(times.iter().copied().fold(f64::INFINITY, f64::min));
            waits.extend(times);
        }
        waits.sort_by(f64::total_cmp);
        let named = |story: &&Story| story.first_spied.is_some_and(|(_, who)| who == story.origin);
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
