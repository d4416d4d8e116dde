//! Two connected peers, and one peer against a node that misbehaves.

use proptest::prelude::*;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::*;
use crate::devp2p::{capability::Capability, rlp, snappy};

const SHH: ProtocolId = ProtocolId(0);

#[expect(clippy::disallowed_methods, reason = "only the distance to it matters")]
fn start() -> Instant {
    Instant::now()
}

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(9)
}

fn config(seed: u64) -> Config {
    let key = PrivateKey::random(&mut ChaCha12Rng::seed_from_u64(seed));
    Config::new(key, vec![Protocol::new("shh", 6, 128)])
}

/// All outputs of a peer.
fn drain(peer: &mut Peer) -> Vec<PeerOutput> {
    std::iter::from_fn(|| peer.poll()).collect()
}

/// The bytes to write; other outputs are added to `events`.
fn written(peer: &mut Peer, events: &mut Vec<PeerOutput>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for output in drain(peer) {
        if let PeerOutput::Send(more) = output {
            bytes.extend(more);
        } else {
            events.push(output);
        }
    }
    bytes
}

/// A calling and a called node with a connection between them.
struct Pair {
    caller: Peer,
    called: Peer,
    now: Instant,
    /// Events of both sides, the caller's first.
    events: [Vec<PeerOutput>; 2],
}

impl Pair {
    fn new(caller: Config, called: Config) -> Self {
        let (now, remote) = (start(), called.key.public_key());
        let mut rng = rng();
        let caller = Peer::dial(caller, remote, now, &mut rng);
        let called = Peer::accept(called, now, &mut rng);
        Self { caller, called, now, events: [Vec::new(), Vec::new()] }
    }

    /// Two nodes after Hello.
    fn open() -> Self {
        let mut pair = Self::new(config(1), config(2));
        pair.run().unwrap();
        pair.events = [Vec::new(), Vec::new()];
        pair
    }

    /// Transports bytes in both directions until there are no more.
    fn run(&mut self) -> Result<(), PeerError> {
        loop {
            let there = written(&mut self.caller, &mut self.events[0]);
            let back = written(&mut self.called, &mut self.events[1]);
            if there.is_empty() && back.is_empty() {
                return Ok(());
            }
            self.called.handle(self.now, &there)?;
            self.caller.handle(self.now, &back)?;
        }
    }

    /// Seals a message of any code as the caller.
    fn forge(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        let (ConnectionState::ExpectHello { wire, .. } | ConnectionState::Open { wire, .. }) =
            &mut self.caller.state
        else {
            panic!("no frames yet");
        };
        wire.seal(code, payload).unwrap()
    }

    /// Delivers a forged message to the called node.
    fn deliver(&mut self, code: u64, payload: &[u8]) -> Result<(), PeerError> {
        let frame = self.forge(code, payload);
        self.called.handle(self.now, &frame)
    }

    /// Two nodes after the handshake, before the caller's Hello.
    fn before_hello() -> Self {
        let mut pair = Self::new(config(1), config(2));
        let connected = pair.reconnected();
        let wire = Box::new(MessageCodec::new(connected, MAX_BASE_MESSAGE));
        pair.caller.state =
            ConnectionState::ExpectHello { wire, until: pair.now + HANDSHAKE_TIMEOUT };
        pair
    }

    /// Makes a handshake without the caller, so that no Hello has been sent.
    fn reconnected(&mut self) -> Connected {
        let key = &self.caller.config.key;
        let remote = self.called.config.key.public_key();
        let (handshake, auth) = ExpectAck::start(key, remote, &mut rng());
        self.called = Peer::accept(self.called.config.clone(), self.now, &mut rng());
        self.called.handle(self.now, &auth).unwrap();
        let answer = written(&mut self.called, &mut self.events[1]);
        let ack = handshake.packet(&answer).unwrap().unwrap();
        handshake.finish(&ack).unwrap()
    }
}

fn hello_of(peer: &Peer) -> Hello {
    peer.config.hello()
}

#[test]
fn two_nodes_connect_and_authenticate_each_other() {
    let mut pair = Pair::new(config(1), config(2));
    pair.run().unwrap();
    let opened =
        |of: &Peer| PeerOutput::Opened { hello: Box::new(hello_of(of)), protocols: vec![SHH] };
    assert_eq!(pair.events, [vec![opened(&pair.called)], vec![opened(&pair.caller)]]);
    assert_eq!(pair.caller.remote(), Some(hello_of(&pair.called).id));
    assert_eq!(pair.called.remote(), Some(hello_of(&pair.caller).id));
}

#[test]
fn messages_arrive_by_protocol_and_code() {
    let mut pair = Pair::open();
    pair.caller.send(SHH, 0, b"status").unwrap();
    pair.caller.send(SHH, 127, &[7; 100_000]).unwrap();
    pair.called.send(SHH, 1, b"").unwrap();
    pair.run().unwrap();
    let message =
        |code, payload: &[u8]| PeerOutput::Message { protocol: SHH, code, payload: payload.into() };
    assert_eq!(pair.events[0], [message(1, b"")]);
    assert_eq!(pair.events[1], [message(0, b"status"), message(127, &[7; 100_000])]);
}

#[test]
fn messages_to_base_version_4_are_not_compressed() {
    let mut pair = Pair::before_hello();
    let hello = Hello { version: 4, ..hello_of(&pair.caller) }.encode();
    pair.deliver(base::HELLO, &hello).unwrap();
    pair.events = [Vec::new(), Vec::new()];
    let frame = pair.forge(FIRST_CODE, b"as it is");
    pair.called.handle(pair.now, &frame).unwrap();
    let message = PeerOutput::Message { protocol: SHH, code: 0, payload: b"as it is".to_vec() };
    assert_eq!(drain(&mut pair.called).last(), Some(&message));
}

#[test]
fn a_ping_is_answered_and_keeps_the_connection_alive() {
    let mut pair = Pair::open();
    let began = pair.now;
    for second in [15, 30, 45, 60, 75] {
        pair.now = began + Duration::from_secs(second);
        assert_eq!(pair.caller.deadline(), Some(pair.now));
        pair.caller.handle_timeout(pair.now).unwrap();
        pair.run().unwrap();
        pair.called.handle_timeout(pair.now).unwrap();
        pair.run().unwrap();
    }
    assert_eq!(pair.events, [[], []]);
}

#[test]
fn a_silent_node_times_out_after_30_seconds() {
    let mut pair = Pair::open();
    let gave_up = pair.now + READ_TIMEOUT;
    pair.caller.handle_timeout(pair.now + PING_INTERVAL).unwrap();
    assert_eq!(pair.caller.deadline(), Some(gave_up));
    assert_eq!(pair.caller.handle_timeout(gave_up), Err(PeerError::TimedOut(READ_TIMEOUT)));
    assert!(pair.caller.has_ended());
    assert_eq!(pair.caller.deadline(), None);
    assert_eq!(pair.run(), Err(PeerError::Disconnected(DisconnectReason::PingTimeout)));
}

#[test]
fn a_node_without_handshake_times_out_after_5_seconds() {
    let mut peer = Peer::accept(config(1), start(), &mut rng());
    let gave_up = peer.deadline().unwrap();
    peer.handle_timeout(gave_up - Duration::from_millis(1)).unwrap();
    assert_eq!(peer.handle_timeout(gave_up), Err(PeerError::TimedOut(HANDSHAKE_TIMEOUT)));
    assert_eq!(drain(&mut peer), [PeerOutput::Close]);
}

#[test]
fn bytes_without_a_valid_frame_do_not_prevent_the_timeout() {
    let mut pair = Pair::open();
    let until = pair.called.deadline();
    pair.called.handle(pair.now + Duration::from_secs(10), &[0; 31]).unwrap();
    assert_eq!(pair.called.deadline(), until);
}

#[test]
fn a_disconnect_reports_its_reason_and_is_not_answered() {
    let mut pair = Pair::open();
    pair.caller.disconnect(DisconnectReason::TooManyPeers);
    let events = Err(PeerError::Disconnected(DisconnectReason::TooManyPeers));
    assert_eq!(pair.run(), events);
    assert_eq!(drain(&mut pair.called), [PeerOutput::Close]);
    assert_eq!(pair.events[0], [PeerOutput::Close]);
    pair.called.disconnect(DisconnectReason::Quitting);
    assert_eq!(drain(&mut pair.called), [], "a link ends once");
}

#[test]
fn sending_before_hello_or_to_an_unknown_protocol_fails() {
    let mut pair = Pair::new(config(1), config(2));
    assert_eq!(pair.caller.send(SHH, 0, b""), Err(SendError::NotOpen));
    let mut pair = Pair::open();
    assert_eq!(pair.caller.send(SHH, 128, b""), Err(SendError::UnknownCode(128)));
    assert_eq!(pair.caller.send(ProtocolId(1), 0, b""), Err(SendError::UnknownCode(0)));
    let huge: Vec<u8> =
        (0_u32..5 << 20).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes()).collect();
    assert_eq!(pair.caller.send(SHH, 0, &huge), Err(SendError::MessageTooLong(20 << 20)));
    pair.caller.send(SHH, 0, b"still there").unwrap();
    pair.run().unwrap();
    assert_eq!(pair.events[1].len(), 1);
}

#[test]
fn a_message_before_hello_ends_the_connection() {
    let mut pair = Pair::before_hello();
    let early = pair.deliver(FIRST_CODE, b"\xc0");
    assert_eq!(early, Err(PeerMisbehaved::NoHello(FIRST_CODE).into()));
    assert!(matches!(drain(&mut pair.called)[..], [PeerOutput::Send(_), PeerOutput::Close]));
}

#[test]
fn a_disconnect_instead_of_hello_is_understood() {
    let mut pair = Pair::before_hello();
    let events = pair.deliver(base::DISCONNECT, &DisconnectReason::TooManyPeers.encode());
    assert_eq!(events, Err(PeerError::Disconnected(DisconnectReason::TooManyPeers)));
}

#[test]
fn a_hello_with_another_id_ends_the_connection() {
    let mut pair = Pair::before_hello();
    let id = NodeId([1; 64]);
    let forged = Hello { id, ..hello_of(&pair.caller) }.encode();
    let error = PeerError::from(PeerMisbehaved::UnexpectedIdentity(Box::new(id)));
    assert_eq!(error.reason(), Some(DisconnectReason::UnexpectedIdentity));
    assert_eq!(pair.deliver(base::HELLO, &forged), Err(error));
}

#[test]
fn a_node_that_shares_nothing_is_useless() {
    let mut pair = Pair::before_hello();
    let les = Capability { name: "les".into(), version: 2 };
    let hello = Hello { capabilities: vec![les], ..hello_of(&pair.caller) }.encode();
    let error = pair.deliver(base::HELLO, &hello).unwrap_err();
    assert_eq!(error, PeerError::NothingShared);
    assert_eq!(error.reason(), Some(DisconnectReason::UselessPeer));
}

#[test]
fn a_hello_of_more_than_2_kib_ends_the_connection() {
    let mut pair = Pair::before_hello();
    let hello = Hello { client_id: "x".repeat(4096), ..hello_of(&pair.caller) }.encode();
    let error = pair.deliver(base::HELLO, &hello);
    assert!(matches!(
        error,
        Err(PeerError::PeerMisbehaved(PeerMisbehaved::MessageTooLong(4000..)))
    ));
}

#[test]
fn a_node_that_called_itself_notices() {
    let mut pair = Pair::new(config(1), config(1));
    assert_eq!(pair.run(), Err(PeerError::ConnectedToSelf));
}

#[test]
fn a_caller_that_reaches_another_node_notices() {
    let mut pair = Pair::new(config(1), config(2));
    pair.called = Peer::accept(config(3), pair.now, &mut rng());
    let error = pair.run();
    assert_eq!(error, Err(HandshakeError::Unreadable.into()));
    assert_eq!(drain(&mut pair.called), [PeerOutput::Close], "nothing to say, and no key for it");
}

#[test]
fn unknown_base_messages_are_ignored() {
    let mut pair = Pair::open();
    for code in [base::HELLO, base::PONG, 4, 15] {
        pair.deliver(code, b"whatever").unwrap();
    }
    assert_eq!(drain(&mut pair.called), []);
}

#[test]
fn an_unknown_message_code_ends_the_connection() {
    let mut pair = Pair::open();
    let code = FIRST_CODE + 128;
    assert_eq!(pair.deliver(code, b""), Err(PeerMisbehaved::UnknownCode(code).into()));
}

#[test]
fn a_frame_bomb_is_refused_by_its_header() {
    let mut pair = Pair::open();
    let packed_limit = snappy::longest_packed(MAX_MESSAGE);
    let ConnectionState::Open { wire, .. } = &mut pair.caller.state else { panic!("open") };
    wire.configure(false, MAX_MESSAGE);
    let frame = pair.forge(FIRST_CODE, &vec![0; packed_limit + 10]);
    let error = pair.called.handle(pair.now, &frame[..32]);
    let length = packed_limit + 11;
    assert_eq!(error, Err(PeerMisbehaved::MessageTooLong(length).into()));
}

#[test]
fn a_snappy_bomb_is_refused_before_it_is_unpacked() {
    let mut pair = Pair::open();
    let error = pair.deliver(FIRST_CODE, &vec![0; MAX_MESSAGE + 1]);
    let error_expected = PeerMisbehaved::from(SnappyError::TooLong(MAX_MESSAGE + 1));
    assert_eq!(error, Err(error_expected.into()));
    let mut pair = Pair::open();
    pair.deliver(FIRST_CODE, &vec![0; MAX_MESSAGE]).unwrap();
}

#[test]
fn a_changed_or_replayed_frame_ends_the_connection() {
    let mut pair = Pair::open();
    let frame = pair.forge(base::PING, &base::EMPTY);
    pair.called.handle(pair.now, &frame).unwrap();
    let error = pair.called.handle(pair.now, &frame);
    assert_eq!(error, Err(PeerMisbehaved::from(FrameError::Forged).into()));
    assert_eq!(pair.called.handle(pair.now, &frame), Ok(()), "an ended link ignores everything");
}

#[test]
fn a_message_without_a_code_ends_the_connection() {
    let mut pair = Pair::open();
    let ConnectionState::Open { wire, .. } = &mut pair.caller.state else { panic!("open") };
    let frame = wire.seal_body(&[]);
    let error = pair.called.handle(pair.now, &frame);
    assert_eq!(error, Err(PeerMisbehaved::from(RlpError::TooFewItems).into()));
}

#[test]
fn debug_output_contains_no_keys() {
    let pair = Pair::open();
    let printed = format!("{:?}", pair.caller);
    assert!(printed.contains("key: PrivateKey(…)"));
    assert!(printed.contains("sealer: Sealer(…), opener: Opener(…)"));
}

proptest! {
    // Each case costs several handshakes.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_outputs(cuts in prop::collection::vec(1_usize..400, 1..40)) {
        let mut pair = Pair::new(config(1), config(2));
        let auth = written(&mut pair.caller, &mut Vec::new());
        let mut whole = auth.clone();
        pair.called.handle(pair.now, &auth).unwrap();
        let answer = written(&mut pair.called, &mut Vec::new());
        pair.caller.handle(pair.now, &answer).unwrap();
        for message in [&b"one"[..], &[2; 5000], b""] {
            pair.caller.send(SHH, 1, message).unwrap();
        }
        pair.caller.disconnect(DisconnectReason::Quitting);
        whole.extend(written(&mut pair.caller, &mut Vec::new()));

        let take_in = |cuts: &mut dyn Iterator<Item = usize>| {
            // The same random values as in `Pair::new` give the same node: the caller's come first.
            let mut drawn = rng();
            let remote = config(2).key.public_key();
            Peer::dial(config(1), remote, pair.now, &mut drawn);
            let mut peer = Peer::accept(config(2), pair.now, &mut drawn);
            let mut results = Vec::new();
            let mut rest = whole.as_slice();
            while !rest.is_empty() {
                let cut = cuts.next().unwrap_or(usize::MAX).min(rest.len());
                let (piece, more) = rest.split_at(cut);
                results.extend(peer.handle(pair.now, piece).err());
                rest = more;
            }
            (drain(&mut peer), results)
        };
        let at_once = take_in(&mut std::iter::empty());
        prop_assert_eq!(at_once.0.len(), 7, "ack, hello, opened, three messages, close");
        prop_assert_eq!(take_in(&mut cuts.iter().copied().cycle()), at_once);
    }

    #[test]
    fn no_bytes_make_a_connection_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4),
        calls: bool,
    ) {
        let remote = config(2).key.public_key();
        let mut peer = match calls {
            true => Peer::dial(config(1), remote, start(), &mut rng()),
            false => Peer::accept(config(1), start(), &mut rng()),
        };
        for piece in pieces {
            let _ = peer.handle(start(), &piece);
        }
        prop_assert_eq!(peer.remote(), None);
    }

    #[test]
    fn no_message_makes_an_open_connection_panic(code in 0_u64..200, payload: Vec<u8>) {
        let mut pair = Pair::open();
        let _ = pair.deliver(code, &payload);
        let hello = rlp::list(|list| { list.raw(&payload); });
        let _ = Pair::before_hello().deliver(base::HELLO, &hello);
    }
}
