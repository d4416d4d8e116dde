//! Prints how fast one core forwards, tries filters and empties a pool of a million envelopes.
//! `scripts/bench` reads the lines: a name, a number, its unit.
//!
//! `cargo run --release -p wormhole-whisper --example node_speed`

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "an example measures, draws and prints; the library does none of it"
)]

use std::time::Duration;

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{OsRng, RngCore, SeedableRng},
};
use wormhole_kit::{Instant, UnixTime};
use wormhole_whisper::{
    devp2p::{
        capability::{Protocol, ProtocolId},
        key::{NodeId, PrivateKey},
        peer::{Config, Peer, PeerOutput},
    },
    shh::{
        Bloom, Draft, Envelope, Filters, Node, NodeOutput, Pool, Requirements, SymmetricKey, Topic,
        ValidEnvelope, Work,
        filter::{Criteria, FilterKey},
        node::{Privacy, Settings},
        packet::{self, Status},
        rate::Rate,
    },
};

fn main() {
    // First, while the process is small.
    memory();
    relay();
    for topics in [true, false] {
        filters(topics);
    }
    million();
}

fn wall(seconds: u32) -> UnixTime {
    UnixTime::from_secs((NOW + seconds).into())
}

fn envelope(number: u32, bytes: usize) -> Envelope {
    let topic = Topic([1, 2, 3, 4]);
    let mut data = vec![0; bytes];
    // Not compressible, like encrypted data.
    ChaCha12Rng::seed_from_u64(number.into()).fill_bytes(&mut data);
    Draft { expiry: NOW + 50 + number % 100, ttl: 50 + number % 100, topic, data }.finish(0)
}

/// Receives envelopes from one peer over RLPx and forwards them to four others.
fn relay() {
    let start = Instant::now();
    let mut links: Vec<_> = (0..5).map(|_| link(start)).collect();
    let mut node = node(start);
    let envelopes: Vec<_> = (0..RELAYED).map(|number| envelope(number, 512)).collect();
    let frames: Vec<Vec<u8>> = envelopes
        .chunks(100)
        .map(|chunk| {
            let body = packet::encode_messages(chunk.iter().map(Envelope::encoded));
            let (_, remote) = links.first_mut().unwrap();
            remote.send(ProtocolId(0), packet::MESSAGES, &body).unwrap();
            let Some(PeerOutput::Send(frame)) = remote.poll() else { return Vec::new() };
            frame
        })
        .collect();

    let (begin, mut now, mut written) = (Instant::now(), start, 0);
    for frame in frames {
        let (ours, _) = links.first_mut().unwrap();
        ours.handle(now, &frame).unwrap();
        while let Some(output) = ours.poll() {
            if let PeerOutput::Message { code, payload, .. } = output {
                node.handle(now, wall(0), peer(0), code, &payload);
            }
        }
        // A tick after a fixed number of envelopes simulates a constant rate.
        now += Duration::from_millis(5);
        written += pass_on(&mut node, &mut links, now);
    }
    // The envelopes since the last tick.
    now += Duration::from_secs(1);
    written += pass_on(&mut node, &mut links, now);
    let rate = f64::from(RELAYED) / begin.elapsed().as_secs_f64();
    assert_eq!(node.pool().len(), envelopes.len());
    assert!(written > envelopes.len() * 4 * 512);
    println!("relay of envelopes of 512 bytes to 4 peers, RLPx included: {rate:.0} envelopes/s");
}

/// Fills a node whose five peers know all envelopes, and compares the memory of the process with the size of
/// the pool.
fn memory() {
    let start = Instant::now();
    let mut node = node(start);
    let Some(before) = resident() else { return };
    let mut now = start;
    for number in 0..HELD / 100 {
        let chunk: Vec<_> = (0..100).map(|of| envelope(number * 100 + of, 512)).collect();
        let body = packet::encode_messages(chunk.iter().map(Envelope::encoded));
        node.handle(now, wall(0), peer(0), packet::MESSAGES, &body);
        now += Duration::from_millis(5);
        node.handle_timeout(now, wall(0), &mut OsRng);
        drain(&mut node, now);
    }
    now += Duration::from_secs(1);
    node.handle_timeout(now, wall(0), &mut OsRng);
    drain(&mut node, now);
    assert_eq!(node.pool().len(), usize::try_from(HELD).unwrap());
    let taken = resident().unwrap() - before;
    let ratio = taken as f64 / node.pool().bytes() as f64;
    println!("memory of a node with 5 peers, compared with the bytes in its pool: {ratio:.2} x");
}

fn drain(node: &mut Node, now: Instant) {
    while let Some(output) = node.poll() {
        if let NodeOutput::Send { peer, .. } = output {
            node.sent(now, wall(0), peer);
        }
    }
}

/// Memory of the process in bytes, if the system reports it.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    pages.split(' ').nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

/// Forwards envelopes of a node. Returns the number of bytes.
fn pass_on(node: &mut Node, links: &mut [(Peer, Peer)], now: Instant) -> usize {
    node.handle_timeout(now, wall(0), &mut OsRng);
    let mut written = 0;
    while let Some(output) = node.poll() {
        if let NodeOutput::Send { peer, code, body } = output {
            let (link, _) = links.get_mut(usize::from(peer.0[0])).unwrap();
            link.send(ProtocolId(0), code, &body).unwrap();
            while let Some(PeerOutput::Send(frame)) = link.poll() {
                written += frame.len();
            }
            node.sent(now, wall(0), peer);
        }
    }
    written
}

fn peer(number: u8) -> NodeId {
    NodeId([number; 64])
}

/// A node with five peers and no limits.
fn node(now: Instant) -> Node {
    let mut settings = Settings::default();
    let all = Rate { per_second: 1e12, burst: 1e12 };
    settings.requirements = Requirements::new(Work::NONE);
    settings.privacy = Privacy::OFF;
    settings.limits.envelopes_per_peer = all;
    settings.limits.bytes_per_peer = all;
    settings.limits.bytes_per_address = all;
    let mut node = Node::new(settings, now);
    for number in 0..5 {
        node.connected(now, peer(number), None);
        let status = Status::new(Work::NONE, Bloom::FULL, false);
        node.handle(now, wall(0), peer(number), packet::STATUS, &status.encode());
    }
    while node.poll().is_some() {}
    node
}

/// Both ends of an open RLPx connection.
fn link(now: Instant) -> (Peer, Peer) {
    let config = |key| Config::new(key, vec![Protocol::new("shh", 6, packet::LENGTH)]);
    let (ours, theirs) = (PrivateKey::random(&mut OsRng), PrivateKey::random(&mut OsRng));
    let mut one = Peer::dial(config(ours), theirs.public_key(), now, &mut OsRng);
    let mut two = Peer::accept(config(theirs), now, &mut OsRng);
    for _ in 0..3 {
        carry(&mut one, &mut two, now);
        carry(&mut two, &mut one, now);
    }
    (one, two)
}

fn carry(from: &mut Peer, to: &mut Peer, now: Instant) {
    while let Some(output) = from.poll() {
        if let PeerOutput::Send(bytes) = output {
            to.handle(now, &bytes).unwrap();
        }
    }
}

/// Tries 1,000 keys on 1,000 envelopes.
fn filters(with_topics: bool) {
    let mut filters = Filters::new(1 << 30);
    for number in 0_u32..1000 {
        let [.., high, low] = number.to_be_bytes();
        let topics = if with_topics { vec![Topic([9, 9, high, low])] } else { vec![] };
        let key = FilterKey::Symmetric(SymmetricKey::random(&mut OsRng));
        let criteria = Criteria { key, signer: None, topics, min_work: Work::NONE, direct: false };
        filters.add(Instant::now(), criteria, &mut OsRng).unwrap();
    }
    let envelopes: Vec<_> = (0_u32..1000)
        .map(|number| {
            let [.., high, low] = number.to_be_bytes();
            let topic = Topic([9, 9, high, low]);
            Draft { expiry: NOW, ttl: 50, topic, data: vec![0x42; 284] }.finish(0)
        })
        .collect();
    let begin = Instant::now();
    for envelope in &envelopes {
        filters.deliver(envelope, false);
    }
    let time = begin.elapsed().as_secs_f64() * 1000.0;
    let with = if with_topics { "with" } else { "without" };
    println!("1,000 filters on 1,000 envelopes {with} topics: {time:.1} ms");
}

/// Fills a pool with a million envelopes and lets them expire.
fn million() {
    let now = Instant::now();
    let requirements = Requirements::new(Work::NONE);
    let mut pool = Pool::new(usize::MAX);
    let (mut longest, mut total) = (Duration::ZERO, Duration::ZERO);
    for number in 0..1_000_000 {
        let valid: ValidEnvelope =
            envelope(number, 100).check(&requirements, now, wall(0)).unwrap();
        let begin = Instant::now();
        pool.insert(valid).unwrap();
        longest = longest.max(begin.elapsed());
        total += begin.elapsed();
    }
    println!("insertion into a pool of a million envelopes, mean: {:.2} µs", total.as_secs_f64());
    println!(
        "insertion into a pool of a million envelopes, longest: {:.1} ms",
        longest.as_secs_f64() * 1e3
    );
    let (begin, mut longest) = (Instant::now(), Duration::ZERO);
    for second in 50..200 {
        loop {
            let step = Instant::now();
            let more = pool.expire(wall(second), 512);
            longest = longest.max(step.elapsed());
            if !more {
                break;
            }
        }
    }
    let total = begin.elapsed().as_secs_f64();
    assert!(pool.is_empty());
    println!("expiry, pool of a million envelopes, mean: {total:.2} µs");
    println!(
        "expiry, pool of a million envelopes, longest step of 512 envelopes: {:.1} ms",
        longest.as_secs_f64() * 1e3
    );
}

/// Seconds since 1970.
const NOW: u32 = 1_575_000_000;

/// Number of stored envelopes.
const HELD: u32 = 200_000;

/// Number of forwarded envelopes.
const RELAYED: u32 = 40_000;
