//! The behaviour tables of `vectors/whisper`: what go-ethereum 1.9.7 did with each packet, and that
//! this node does the same, or differs on purpose.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and any instant will do"
)]

use std::time::Duration;

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use serde_json::Value;
use wormhole_kit::{Instant, UnixTime};
use wormhole_whisper::{
    devp2p::{key::NodeId, rlp},
    shh::{
        Bloom, Draft, Envelope, Filters, Miner, Node, NodeOutput, SymmetricKey, Topic, Work,
        filter::{Criteria, FilterKey},
        message::{Padding, Sealing, compose},
        node::{PeerError, Settings},
        packet::{self, Status},
        requirements::FORGIVENESS,
    },
};

const NOW: u32 = 1_575_000_000;
const TOPIC: Topic = Topic([1, 2, 3, 4]);
const PEER: NodeId = NodeId([1; 64]);
const OTHER: NodeId = NodeId([2; 64]);

fn table(name: &str) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/whisper/");
    let text = std::fs::read_to_string(format!("{folder}{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn wall() -> UnixTime {
    UnixTime::from_secs(NOW.into())
}

/// A node like go-ethereum's, with two peers.
fn node(settings: Settings, now: Instant) -> Node {
    let mut node = Node::new(settings, now);
    for peer in [PEER, OTHER] {
        node.connected(now, peer, None);
        let status = Status::new(Work::NONE, Bloom::FULL, false);
        node.handle(now, wall(), peer, packet::STATUS, &status.encode());
    }
    while node.poll().is_some() {}
    node
}

/// A draft made `sent` seconds from now.
fn draft(sent: i32, ttl: u32, data: usize) -> Draft {
    let expiry = NOW.wrapping_add_signed(sent).wrapping_add(ttl);
    Draft { expiry, ttl, topic: TOPIC, data: vec![7; data] }
}

/// Finishes a draft with more than enough work.
fn mined(draft: &Draft) -> Envelope {
    draft.finish(Miner::new(draft, 15).step(u64::MAX).unwrap())
}

/// Finishes a draft with the first nonce that satisfies `wanted`.
fn such_that(draft: &Draft, wanted: impl Fn(&Envelope) -> bool) -> Envelope {
    (0..).map(|nonce| draft.finish(nonce)).find(wanted).unwrap()
}

fn messages(envelopes: &[&Envelope]) -> Vec<u8> {
    packet::encode_messages(envelopes.iter().map(|envelope| envelope.encoded()))
}

/// The packet for a row of the table, built as for go-ethereum.
fn packet(name: &str) -> Vec<u8> {
    let good = mined(&draft(0, 50, 100));
    let lazy = such_that(&draft(0, 50, 101), |envelope| envelope.work() < Work::DEFAULT_MINIMUM);
    let one = |envelope: Envelope| messages(&[&envelope]);
    match name {
        "good envelope"
        | "bloom mismatch"
        | "bloom mismatch but tolerance not yet set (nil)"
        | "bloom match" => messages(&[&good]),
        "pow too low" => messages(&[&lazy]),
        "already expired by 5 s" => one(mined(&draft(-55, 50, 100))),
        "already expired by 19 s" => one(mined(&draft(-69, 50, 100))),
        "already expired by 25 s" => one(mined(&draft(-75, 50, 100))),
        "sent 8 s in the future, plenty of pow" => one(mined(&draft(8, 50, 100))),
        "sent 8 s in the future, pow only just enough without adjustment" => {
            let minimum = Work::DEFAULT_MINIMUM;
            one(such_that(&draft(8, 50, 360), |envelope| {
                envelope.work() >= minimum && envelope.work_if_early(9) < minimum
            }))
        }
        "sent 15 s in the future" => one(mined(&draft(15, 50, 100))),
        "ttl 0, expiry now: pow is +Inf" => one(draft(0, 0, 100).finish(0)),
        "ttl larger than expiry (wraps)" => {
            let draft = Draft { expiry: NOW, ttl: NOW + 100, topic: TOPIC, data: vec![7; 100] };
            one(mined(&draft))
        }
        "ttl one year" => one(mined(&draft(0, 365 * 24 * 60 * 60, 100))),
        "same envelope twice in one packet" => messages(&[&good, &good]),
        "one bad of two" => messages(&[&lazy, &good]),
        "empty list" => messages(&[]),
        "single envelope not wrapped in a list" => good.encoded().to_vec(),
        "empty data" => one(mined(&draft(0, 50, 0))),
        "packet over max message size" => one(draft(0, 50, 2 * 1024 * 1024).finish(0)),
        "second status packet" => Status::new(Work::NONE, Bloom::FULL, false).encode(),
        "unknown code 50" => rlp::string(b"whatever"),
        "pow requirement NaN" => rlp::uint(f64::NAN.to_bits()),
        "pow requirement -1" => rlp::uint((-1.0_f64).to_bits()),
        "pow requirement as list" => rlp::list(|list| {
            list.uint(1.0_f64.to_bits());
        }),
        "pow requirement 1" => rlp::uint(1.0_f64.to_bits()),
        "bloom 63 bytes" => rlp::string(&[1; 63]),
        "bloom empty" => rlp::string(&[]),
        "bloom 64 bytes" => rlp::string(&[1; 64]),
        "p2p message from an untrusted peer" | "p2p request, no mail server" => {
            good.encoded().to_vec()
        }
        other => panic!("no packet for {other}"),
    }
}

/// Prepares the node's own filter for a row.
fn prepare(node: &mut Node, name: &str, now: Instant) {
    let elsewhere = Bloom::of([Topic([200, 201, 202, 7])]);
    // Longer ago than go-ethereum and this node tolerate.
    let long_ago = now.checked_sub(FORGIVENESS).unwrap();
    match name {
        "bloom mismatch" => node.set_bloom(long_ago, elsewhere),
        "bloom mismatch but tolerance not yet set (nil)" => node.set_bloom(now, elsewhere),
        "bloom match" => node.set_bloom(long_ago, Bloom::of([TOPIC])),
        _ => {}
    }
}

/// Whether go-ethereum disconnects the peer with this reason.
fn is_like(error: &PeerError, reason: &str) -> bool {
    match error {
        PeerError::InvalidEnvelope(_) => reason == "invalid envelope",
        PeerError::OversizedPacket { .. } => reason == "oversized message received",
        PeerError::Malformed(_) => reason.starts_with("invalid ") && reason != "invalid envelope",
        _ => false,
    }
}

#[test]
fn a_packet_is_treated_as_by_the_reference() {
    let rows = table("behaviour_geth.json");
    assert_eq!(rows.len(), 31);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let now = Instant::now();
        let mut node = node(Settings::default(), now);
        prepare(&mut node, name, now);
        let code = row["code"].as_u64().unwrap().try_into().unwrap();
        node.handle(now, wall(), PEER, code, &packet(name));

        // The work of an envelope with a TTL of 0 is undefined. See `EnvelopeError`.
        let cached = if name.starts_with("ttl 0") { 0 } else { row["cached"].as_u64().unwrap() };
        assert_eq!(u64::try_from(node.pool().len()).unwrap(), cached, "{name}");
        let error = std::iter::from_fn(|| node.poll()).find_map(|output| match output {
            NodeOutput::Disconnect { error, .. } => Some(error),
            _ => None,
        });
        match error {
            // We do not disconnect peers for tolerable clock differences.
            None if CLOCKS.contains(&name) => assert_eq!(row["peer"], "disconnected", "{name}"),
            None => assert_eq!(row["peer"], "kept", "{name}"),
            Some(error) => {
                assert!(!CLOCKS.contains(&name), "{name}: {error}");
                assert_eq!(row["peer"], "disconnected", "{name}: {error}");
                let reason = row["reason"].as_str().unwrap();
                assert!(is_like(&error, reason), "{name}: {error}, not {reason}");
            }
        }
    }
}

/// Cases for which go-ethereum disconnects a peer and this node does not: anyone could separate two honest
/// nodes whose clocks differ by a second by sending one of them a suitable envelope.
const CLOCKS: [&str; 2] =
    ["sent 15 s in the future", "sent 8 s in the future, pow only just enough without adjustment"];

/// go-ethereum's light node forwards envelopes that it should not forward, and does not deliver some that it
/// should. This node does neither; the table lists the differences.
#[test]
fn our_light_node_forwards_less_and_delivers_more_than_go_ethereum_s() {
    let rows = table("behaviour_light.json");
    assert_eq!(rows.len(), 1);
    let now = Instant::now();
    let mut settings = Settings::default();
    settings.light = true;
    let mut node = node(settings, now);
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let key = SymmetricKey::random(&mut rng);
    let mut filters = Filters::new(1 << 20);
    let mut add = |direct| {
        let (key, topics) = (FilterKey::Symmetric(key.clone()), vec![TOPIC]);
        let criteria = Criteria { key, signer: None, topics, min_work: Work::NONE, direct };
        filters.add(now, criteria, &mut rng).unwrap()
    };
    let (allowing, not_allowing) = (add(true), add(false));

    let said = compose(b"hello", &Padding::Block, Sealing::Symmetric, None, &mut rng).unwrap();
    let data = key.seal(&said, &mut rng);
    let normal = mined(&Draft { expiry: NOW + 50, ttl: 50, topic: TOPIC, data });
    node.handle(now, wall(), PEER, packet::MESSAGES, &messages(&[&normal]));
    let (mut forwarded, mut delivered) = (0, Vec::new());
    node.handle_timeout(now + Duration::from_secs(1), wall(), &mut rng);
    while let Some(output) = node.poll() {
        match output {
            NodeOutput::Send { code: packet::MESSAGES, .. } => forwarded += 1,
            NodeOutput::Deliver { envelope, direct } => {
                delivered = filters.deliver(&envelope, direct);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(node.pool().len(), 1);
    assert_eq!(rows[0]["pool"], 1);
    assert!(delivered.contains(&allowing));
    assert_eq!(rows[0]["filter_with_allowP2P"], 1);
    assert!(delivered.contains(&not_allowing));
    assert_eq!(rows[0]["filter_without_allowP2P"], 0);
    assert_eq!(forwarded, 0);
    assert_eq!(rows[0]["forwarded_to_other_peer_packets"], 1);
}
