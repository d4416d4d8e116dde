//! The fuzz targets of Whisper, from RLP to a complete node.
//!
//! If a decoder only gets decrypted data, the body first encrypts the bytes with the key.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_kit::{Secret, UnixTime};
use wormhole_whisper::devp2p::base::{DisconnectReason, Hello};
use wormhole_whisper::devp2p::capability::{Protocol, ProtocolId};
use wormhole_whisper::devp2p::discovery::packet::{MAX_DATAGRAM, Packet as Datagram};
use wormhole_whisper::devp2p::discovery::{Discovery, DiscoveryOutput};
use wormhole_whisper::devp2p::ecies;
use wormhole_whisper::devp2p::enode::{Endpoint, Enode};
use wormhole_whisper::devp2p::enr::Record;
use wormhole_whisper::devp2p::key::{PrivateKey, keccak256};
use wormhole_whisper::devp2p::peer::{Config, Peer, PeerOutput};
use wormhole_whisper::devp2p::rlp::{self, Encoder, Rlp, RlpError};
use wormhole_whisper::devp2p::rlpx::{Connected, ExpectAck, ExpectAuth, SEALED_HEADER};
use wormhole_whisper::devp2p::snappy;
use wormhole_whisper::shh::archive::ArchiveRequest;
use wormhole_whisper::shh::miner::Backend;
use wormhole_whisper::shh::node::Settings;
use wormhole_whisper::shh::packet::{self, Packet, Status};
use wormhole_whisper::shh::{
    Draft, Envelope, Message, Miner, Node, Requirements, SymmetricKey, Topic, Work, seal,
};

use crate::Body;

/// Every body with the name of its target and of its corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("whisper_ack", ack),
    ("whisper_archive_request", archive_request),
    ("whisper_auth", auth),
    ("whisper_base", base),
    ("whisper_discovery", discovery),
    ("whisper_enode", enode),
    ("whisper_enr", enr),
    ("whisper_envelope", envelope),
    ("whisper_frames", frames),
    ("whisper_link", link),
    ("whisper_message", message),
    ("whisper_miner", miner),
    ("whisper_node", node),
    ("whisper_packet", packet),
    ("whisper_rlp", rlp),
    ("whisper_snappy", snappy),
];

/// The answer to our handshake: as it is, and encrypted for us.
pub fn ack(bytes: &[u8]) {
    let start = || ExpectAck::start(&key(1), key(2).public_key(), &mut rng()).0;
    for wire in [bytes.to_vec(), sealed_for(&key(1), bytes)] {
        if let Ok(Some(packet)) = start().packet(&wire) {
            assert!(packet.length() <= wire.len());
            let _ = start().finish(&packet);
        }
    }
}

/// A request to a mail server.
pub fn archive_request(bytes: &[u8]) {
    if let Ok(request) = ArchiveRequest::parse(bytes) {
        assert!(request.from <= request.until);
        assert_eq!(ArchiveRequest::parse(&request.encode()), Ok(request));
    }
}

/// A handshake from an unknown node: as it is, and encrypted for us.
pub fn auth(bytes: &[u8]) {
    let start = || ExpectAuth::start(&key(1), &mut rng());
    for wire in [bytes.to_vec(), sealed_for(&key(1), bytes)] {
        if let Ok(Some(packet)) = start().packet(&wire) {
            assert!(packet.length() <= wire.len());
            let _ = start().finish(&packet);
        }
    }
}

/// The base protocol messages, which do not belong to a capability.
pub fn base(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
    if let Ok(reason) = DisconnectReason::decode(bytes) {
        assert_eq!(DisconnectReason::decode(&reason.encode()), Ok(reason));
        assert!(!reason.to_string().is_empty());
    }
}

/// A discovery datagram: as it is, and with a correct hash and signature. An unknown node gets at most
/// a pong and a ping as answers.
pub fn discovery(bytes: &[u8]) {
    let signed = [key(2).sign(&keccak256(&[bytes])).0.as_slice(), bytes].concat();
    let whole = [keccak256(&[&signed]).as_slice(), &signed].concat();
    let now = Instant::now();
    let from = endpoint().udp_address();
    for datagram in [bytes, &whole] {
        let mut node = Discovery::new(key(1), endpoint(), 1, &[], now);
        let _ = node.handle(now, wall(), from, datagram);
        let sent = std::iter::from_fn(|| node.poll())
            .filter(|output| matches!(output, DiscoveryOutput::Send(..)));
        assert!(sent.count() <= 2);
        let Ok(received) = Datagram::open(datagram) else { continue };
        let again = received.packet.seal(&key(2)).datagram;
        // A missing address is written explicitly, so the encoded list may be longer.
        if again.len() <= MAX_DATAGRAM {
            let again = Datagram::open(&again).map(|again| again.packet);
            assert_eq!(again, Ok(received.packet));
        }
    }
}

/// An `enode://` URL.
pub fn enode(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(enode) = Enode::parse(text) {
        assert_eq!(Enode::parse(&enode.to_string()), Ok(enode));
    }
}

/// A node record: as bytes, as text, and with a correct signature.
pub fn enr(bytes: &[u8]) {
    let content = rlp::list(|list| {
        list.raw(bytes);
    });
    let [signature @ .., _] = key(1).sign(&keccak256(&[&content])).0;
    let signed = rlp::list(|list| {
        list.string(&signature).raw(bytes);
    });
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    for record in [Record::decode(bytes), Record::decode(&signed), Record::parse(text)] {
        let Ok(record) = record else { continue };
        assert_eq!(Record::parse(&record.to_string()).as_ref(), Ok(&record));
        assert_eq!(record.enode().id, record.public_key().node_id());
    }
}

/// An envelope, and whether a node may keep it.
pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert_eq!(envelope.encoded(), bytes);
    let (expiry, ttl, topic) = (envelope.expiry(), envelope.ttl(), envelope.topic());
    let draft = Draft { expiry, ttl, topic, data: envelope.data().to_vec() };
    assert_eq!(draft.finish(envelope.nonce()), envelope);
    for seconds in [expiry, envelope.sent()] {
        let (now, wall) = (Instant::now(), UnixTime::from_secs(seconds.into()));
        let checked = envelope.clone().check(&Requirements::new(Work::NONE), now, wall);
        assert!(checked.is_err() || ttl > 0);
    }
}

/// Frames of a peer: without the keys nobody can make one, and a flipped bit makes one invalid.
pub fn frames(bytes: &[u8]) {
    let (mut ours, mut theirs) = connected();
    if let Some(header) = bytes.first_chunk::<SEALED_HEADER>() {
        assert!(theirs.opener.header(header).is_err());
    }
    let frame = ours.sealer.seal(&[bytes]).expect("shorter than a frame may be");
    let mut changed = frame.clone();
    let bit = usize::from(bytes.first().copied().unwrap_or_default()) % (changed.len() * 8);
    changed.iter_mut().skip(bit / 8).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
    assert!(!opens_to(&mut connected().1, changed, bytes));
    assert!(opens_to(&mut theirs, frame, bytes));
}

/// Whether a frame can be decrypted, and gives these bytes.
fn opens_to(side: &mut Connected, mut frame: Vec<u8>, bytes: &[u8]) -> bool {
    let Some((header, body)) = frame.split_first_chunk_mut::<SEALED_HEADER>() else { return false };
    let Ok(size) = side.opener.header(header) else { return false };
    side.opener.body(size, body).is_ok_and(|opened| opened == bytes)
}

/// Three connections from an unknown node: one that sends `bytes` in two pieces, one whose Hello is `bytes`, and one
/// whose first message is `bytes`. None may report an event that the peer did not cause.
pub fn link(bytes: &[u8]) {
    let now = Instant::now();
    let mut stranger = Peer::accept(config(1), now, &mut rng());
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    for piece in [head, tail] {
        let _ = stranger.handle(now, piece);
    }
    let opened = |output| matches!(output, PeerOutput::Opened { .. });
    assert!(!std::iter::from_fn(|| stranger.poll()).any(opened));

    let mut node = Peer::accept(config(1), now, &mut rng());
    let (caller, auth) = ExpectAck::start(&key(2), key(1).public_key(), &mut rng());
    node.handle(now, &auth).expect("a good auth");
    let Some(PeerOutput::Send(ack)) = node.poll() else { panic!("no ack") };
    let ack = caller.packet(&ack).expect("a good ack").expect("a whole ack");
    let mut caller = caller.finish(&ack).expect("a good ack");
    let frame = caller.sealer.seal(&[bytes]).expect("shorter than a frame may be");
    let _ = node.handle(now, &frame);

    let (mut one, mut two) = open_links(now);
    let (code, payload) = bytes.split_first().map_or((0, bytes), |(code, rest)| (*code, rest));
    if one.send(ProtocolId(0), u16::from(code) % packet::LENGTH, payload).is_ok()
        && let Some(PeerOutput::Send(frame)) = one.poll()
    {
        two.handle(now, &frame).expect("a good frame");
        let said = Some(PeerOutput::Message {
            protocol: ProtocolId(0),
            code: u16::from(code) % packet::LENGTH,
            payload: payload.to_vec(),
        });
        assert_eq!(two.poll(), said);
    }
}

/// The data of an envelope, encrypted with the right key and with a wrong one.
pub fn message(bytes: &[u8]) {
    let symmetric = SymmetricKey::new(Secret::new([7; 32])).expect("a good key");
    assert!(symmetric.open(bytes).is_err() && seal::open_for(&key(1), bytes).is_err());
    let sealed = symmetric.seal(bytes, &mut rng());
    assert_eq!(symmetric.open(&sealed).expect("our own").as_slice(), bytes);
    let sealed = seal::seal_for(&key(1).public_key(), bytes, &mut rng());
    assert_eq!(seal::open_for(&key(1), &sealed).expect("our own").as_slice(), bytes);
    if let Ok(message) = Message::parse(bytes) {
        assert!(message.payload.len() + message.padding.len() < bytes.len());
    }
}

/// All implementations of the nonce search find the same nonce. The first byte sets the difficulty, the next eight
/// the first nonce.
pub fn miner(bytes: &[u8]) {
    let Some((bits, rest)) = bytes.split_first() else { return };
    let Some((start, data)) = rest.split_first_chunk() else { return };
    let topic = Topic([1, 2, 3, 4]);
    let draft = Draft { expiry: u32::from_be_bytes([0x5d; 4]), ttl: 50, topic, data: data.into() };
    let search = |backend| {
        let miner = Miner::new(&draft, u32::from(bits % 10)).with_backend(backend);
        miner.starting_at(u64::from_be_bytes(*start)).step(1 << 12)
    };
    let found = search(Backend::Portable);
    for backend in [Backend::Avx2, Backend::Avx512] {
        assert_eq!(search(backend), found, "{backend:?}");
    }
    if let Some(nonce) = found {
        let least = f64::from(bits % 10).exp2() / 1e9;
        assert!(draft.finish(nonce).work().as_f64() > least);
    }
}

/// Packets of a peer, each after its code and length.
pub fn node(bytes: &[u8]) {
    let (now, peer) = (Instant::now(), key(2).public_key().node_id());
    let mut node = Node::new(Settings::default(), now);
    node.connected(now, peer, None);
    let mut rest = bytes;
    while let Some(([code, length], after)) = rest.split_first_chunk() {
        let (body, after) = after.split_at(usize::from(*length).min(after.len()));
        node.handle(now, wall(), peer, u16::from(*code), body);
        rest = after;
    }
    node.handle_timeout(now + Duration::from_secs(1), wall(), &mut rng());
    assert!(std::iter::from_fn(|| node.poll()).count() <= bytes.len() + 8);
}

/// A packet: its code, then its body.
pub fn packet(bytes: &[u8]) {
    let Some((code, body)) = bytes.split_first() else { return };
    let Ok(decoded) = Packet::decode(u16::from(*code), body) else { return };
    match decoded {
        Packet::Status(status) => {
            let Ok(Packet::Status(again)) = Packet::decode(packet::STATUS, &status.encode()) else {
                panic!("our own status is refused")
            };
            let (work, bloom, light) = (status.min_work, status.bloom, status.light);
            assert_eq!(again, Status::new(work, bloom, light));
        }
        Packet::Messages(envelopes) => {
            let envelopes: Vec<_> = envelopes.collect();
            let again = packet::encode_messages(envelopes.iter().map(Envelope::encoded));
            assert_eq!(again, body);
        }
        Packet::MinWork(work) => assert_eq!(packet::encode_min_work(work), body),
        Packet::Bloom(bloom) => assert_eq!(packet::encode_bloom(&bloom), body),
        _ => {}
    }
}

/// RLP: decoding and encoding gives the same bytes.
pub fn rlp(bytes: &[u8]) {
    let mut copy = Encoder::default();
    if copy_items(Rlp::new(bytes), &mut copy, 16).is_ok() {
        assert_eq!(copy.into_bytes(), bytes);
    }
    let mut items = Rlp::new(bytes);
    if let Ok(number) = items.u64() {
        assert_eq!(rlp::uint(number), bytes[..bytes.len() - items.rest().len()]);
    }
}

/// Decodes and encodes items. Below a maximum depth, it copies them unchanged.
fn copy_items(mut items: Rlp<'_>, copy: &mut Encoder, depth: u32) -> Result<(), RlpError> {
    while !items.is_empty() {
        if depth == 0 {
            copy.raw(items.raw()?);
        } else if items.next_is_list() {
            let (inside, mut inner) = (items.list()?, Encoder::default());
            copy_items(inside, &mut inner, depth - 1)?;
            copy.list(|list| {
                list.raw(&inner.into_bytes());
            });
        } else {
            copy.string(items.string()?);
        }
    }
    Ok(())
}

/// A snappy message, which never decompresses to more than the limit.
pub fn snappy(bytes: &[u8]) {
    if let Ok(message) = snappy::unpack(bytes, 1 << 16) {
        assert!(message.len() <= 1 << 16);
    }
    let packed = snappy::pack(bytes).expect("shorter than 4 GiB");
    assert_eq!(snappy::unpack(&packed, bytes.len()).as_deref(), Ok(bytes));
}

/// Encrypts fields as a handshake packet for `key`.
fn sealed_for(key: &PrivateKey, fields: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fields.len() + ecies::OVERHEAD).unwrap_or(u16::MAX).to_be_bytes();
    let sealed = ecies::seal(&key.public_key(), fields, &length, &mut rng());
    [length.as_slice(), &sealed].concat()
}

/// Both ends of a connection after the handshake: initiator and responder.
fn connected() -> (Connected, Connected) {
    let (caller, auth) = ExpectAck::start(&key(1), key(2).public_key(), &mut rng());
    let called = ExpectAuth::start(&key(2), &mut rng());
    let auth = called.packet(&auth).expect("a good auth").expect("a whole auth");
    let accepted = called.finish(&auth).expect("a good auth");
    let ack = caller.packet(&accepted.ack).expect("a good ack").expect("a whole ack");
    (caller.finish(&ack).expect("a good ack"), accepted.connected)
}

/// Both ends of a connection after Hello.
fn open_links(now: Instant) -> (Peer, Peer) {
    let mut one = Peer::dial(config(2), key(1).public_key(), now, &mut rng());
    let mut two = Peer::accept(config(1), now, &mut rng());
    for _ in 0..2 {
        carry(&mut one, &mut two, now);
        carry(&mut two, &mut one, now);
    }
    (one, two)
}

fn carry(from: &mut Peer, to: &mut Peer, now: Instant) {
    while let Some(output) = from.poll() {
        if let PeerOutput::Send(bytes) = output {
            to.handle(now, &bytes).expect("good bytes");
        }
    }
}

fn config(number: u8) -> Config {
    Config::new(key(number), vec![Protocol::new(packet::NAME, 6, packet::LENGTH)])
}

/// One of several fixed keys.
fn key(number: u8) -> PrivateKey {
    PrivateKey::from_secret(&Secret::new([number; 32])).expect("a good key")
}

fn endpoint() -> Endpoint {
    Endpoint { ip: [192, 0, 2, 7].into(), tcp: 30303, udp: 30303 }
}

fn wall() -> UnixTime {
    UnixTime::from_secs(1_575_000_000)
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}
