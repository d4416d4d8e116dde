//! A peer that has the key and breaks the rules, byte by byte.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wormhole_kit::{Input, Instant, LinkId, Output, Secret, Session};
use wormhole_magic::dilation::frame::{FrameBuffer, MAX_FRAME};
use wormhole_magic::dilation::noise::{FrameOpener, FrameSealer, NoiseCipher, TAG, respond};
use wormhole_magic::dilation::{
    BadDilationRecord, Dilation, DilationCommand, DilationConfig, DilationError, DilationEvent,
    DilationKey, DilationMessage, DilationRecord, DilationRole, DilationSide, DilationVersion,
    DilationViolation, INITIAL_CREDIT, MAX_THEIRS, MAX_UNACKNOWLEDGED, MAX_UNPROCESSED, Please,
    SubchannelId,
};

use crate::node::{Paths, config};

/// The victim, which leads, and the hostile follower.
pub(crate) struct Attack {
    pub(crate) victim: Dilation<ChaCha8Rng>,
    pub(crate) now: Instant,
    rng: ChaCha8Rng,
    link: LinkId,
    keys: Option<(FrameSealer, FrameOpener)>,
    from_victim: FrameBuffer,
    pub(crate) events: Vec<DilationEvent>,
    pub(crate) closed: Vec<LinkId>,
    /// Whether the peer reads what the victim sends.
    reads: bool,
    /// The number of the next record of the peer.
    next: u32,
}

fn psk() -> Secret<32> {
    DilationKey::from_secret(Secret::new([7; 32])).psk().clone()
}

impl Attack {
    /// Both sides have announced themselves.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut DilationConfig)) -> Self {
        Self::with_peer(change, false)
    }

    /// With a peer that says whether it is of this project.
    pub(crate) fn with_peer(change: impl FnOnce(&mut DilationConfig), extended: bool) -> Self {
        let mut settings = config(true, Paths::Direct, 1);
        change(&mut settings);
        let now = Instant::now();
        let version = settings.version;
        let victim = Dilation::new(settings, now, ChaCha8Rng::seed_from_u64(1));
        let mut attack = Self {
            victim,
            now,
            rng: ChaCha8Rng::seed_from_u64(2),
            link: LinkId(1),
            keys: None,
            from_victim: FrameBuffer::default(),
            events: Vec::new(),
            closed: Vec::new(),
            reads: true,
            next: 0,
        };
        let side = DilationSide::following(&mut attack.rng);
        let please = Please { side, version, extended, aes: false };
        attack.mailbox(&DilationMessage::Please(please)).unwrap();
        attack
    }

    pub(crate) fn mailbox(&mut self, message: &DilationMessage) -> Result<(), DilationError> {
        self.command(DilationCommand::Mailbox(message.encode()))
    }

    pub(crate) fn command(&mut self, command: DilationCommand) -> Result<(), DilationError> {
        let result = self.victim.handle(self.now, Input::Command(command));
        self.collect();
        result
    }

    fn collect(&mut self) {
        while let Some(output) = self.victim.poll() {
            match output {
                Output::Send(link, bytes) if link == self.link && self.reads => {
                    self.from_victim.push(&bytes);
                }
                Output::Send(..) | Output::Connect(..) => {}
                Output::Close(link) => self.closed.push(link),
                Output::Event(event) => self.events.push(event),
                Output::Commit(never) => match never {},
            }
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), DilationError> {
        let result = self.victim.handle(self.now, Input::Bytes(self.link, bytes));
        self.collect();
        result
    }

    /// A new link with a complete handshake, on which the peer reads only the confirmation.
    pub(crate) fn connect(&mut self) -> &mut Self {
        self.connect_unread();
        assert_eq!(self.received(), [DilationRecord::Kcm]);
        self
    }

    /// A new link with a complete handshake, on which the peer has not read the confirmation yet.
    pub(crate) fn connect_unread(&mut self) {
        self.link = LinkId(self.link.0 + 2);
        self.from_victim = FrameBuffer::default();
        self.victim.handle(self.now, Input::Opened(self.link)).unwrap();
        self.collect();
        let hello = DilationRole::Leader.prologue();
        assert_eq!(self.from_victim.take(hello.len()).as_deref(), Some(hello));
        self.bytes(DilationRole::Follower.prologue()).unwrap();
        let first = self.from_victim.next_frame(48, 48).unwrap().unwrap();
        let (answer, mut sealer, opener) =
            respond(NoiseCipher::ChaChaPoly, &psk(), &first.try_into().unwrap(), &mut self.rng)
                .unwrap();
        let kcm = sealer.seal(&DilationRecord::Kcm.encode(), &[]).unwrap();
        self.keys = Some((sealer, opener));
        self.bytes(&[&48_u32.to_be_bytes()[..], &answer, &kcm].concat()).unwrap();
        assert_eq!(self.victim.current(), Some(self.link));
    }

    /// A record in a frame.
    pub(crate) fn sealed(&mut self, record: &DilationRecord) -> Vec<u8> {
        self.keys.as_mut().unwrap().0.seal(&record.encode(), &[]).unwrap()
    }

    /// Sends a plaintext in a frame.
    pub(crate) fn send_plaintext(&mut self, plaintext: &[u8]) -> Result<(), DilationError> {
        let frame = self.keys.as_mut().unwrap().0.seal(plaintext, &[]).unwrap();
        self.bytes(&frame)
    }

    pub(crate) fn send(&mut self, record: &DilationRecord) -> Result<(), DilationError> {
        self.send_plaintext(&record.encode())
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn open(&mut self, subchannel: u32) -> Result<(), DilationError> {
        let (number, subprotocol) = (self.number(), "echo".into());
        self.send(&DilationRecord::Open { subchannel, number, subprotocol })
    }

    pub(crate) fn data(&mut self, subchannel: u32, data: &[u8]) -> Result<(), DilationError> {
        let (number, data) = (self.number(), data.to_vec());
        self.send(&DilationRecord::Data { subchannel, number, data })
    }

    fn credit(&mut self, subchannel: u32, bytes: u32) -> Result<(), DilationError> {
        let number = self.number();
        self.send(&DilationRecord::Credit { subchannel, number, bytes })
    }

    /// What the victim has sent.
    pub(crate) fn received(&mut self) -> Vec<DilationRecord> {
        let mut records = Vec::new();
        while let Some(frame) = self.from_victim.next_frame(TAG + 1, MAX_FRAME).unwrap() {
            let plaintext = self.keys.as_mut().unwrap().1.open(frame).unwrap();
            records.push(DilationRecord::decode(&plaintext).unwrap());
        }
        records
    }

    /// Asserts that the victim has dropped the link and asks for the next one.
    fn assert_dropped(&mut self) {
        assert_eq!(self.victim.current(), None);
        assert!(self.closed.contains(&self.link));
        let asked = DilationEvent::Mailbox(DilationMessage::Reconnect.encode());
        assert_eq!(self.events.last(), Some(&asked));
        self.mailbox(&DilationMessage::Reconnecting).unwrap();
    }
}

/// A violation drops the link; the fourth one ends the session.
fn assert_ends(
    expected: DilationViolation,
    mut violate: impl FnMut(&mut Attack) -> Result<(), DilationError>,
) {
    let mut attack = Attack::new();
    for _ in 0..3 {
        attack.connect();
        attack.next = 0;
        assert_eq!(violate(&mut attack), Ok(()));
        attack.assert_dropped();
    }
    attack.connect();
    attack.next = 0;
    assert_eq!(violate(&mut attack), Err(DilationError::PeerMisbehaved(expected)));
    assert_eq!(attack.victim.current(), None);
    assert!(attack.closed.contains(&attack.link));
    assert_eq!(attack.victim.deadline(), None);
}

#[test]
fn unknown_truncated_and_oversized_records_end_the_link() {
    assert_ends(BadDilationRecord::Unknown(9).into(), |attack| {
        attack.send_plaintext(&[9, 1, 2, 3, 4])
    });
    assert_ends(BadDilationRecord::Length(3).into(), |attack| attack.send_plaintext(&[1, 2, 3]));
    assert_ends(BadDilationRecord::Length(6).into(), |attack| {
        attack.send_plaintext(&[6, 0, 0, 0, 0, 0])
    });
    assert_ends(DilationViolation::SecondKcm, |attack| attack.send(&DilationRecord::Kcm));
}

#[test]
fn gaps_and_acknowledgements_of_the_future_end_the_link() {
    assert_ends(DilationViolation::Gap { expected: 0, got: 1 }, |attack| {
        attack.number();
        attack.open(2)
    });
    assert_ends(DilationViolation::FutureAck(0), |attack| {
        attack.send(&DilationRecord::Ack { number: 0 })
    });
}

#[test]
fn a_subchannel_with_one_of_our_numbers_ends_the_link() {
    for subchannel in [0, 1, 3] {
        let mut attack = Attack::new();
        attack.connect();
        assert_eq!(attack.open(subchannel), Ok(()));
        attack.assert_dropped();
        assert!(!attack.events.iter().any(|it| matches!(it, DilationEvent::Opened { .. })));
    }
}

#[test]
fn frames_that_cannot_be_or_that_were_changed_only_cost_the_link() {
    for bytes in [&[0, 0, 0, 16][..], &[0xff; 4], &[[0, 0, 0, 17].as_slice(), &[7; 17]].concat()] {
        let mut attack = Attack::new();
        for _ in 0..10 {
            attack.connect();
            assert_eq!(attack.bytes(bytes), Ok(()));
            attack.assert_dropped();
        }
    }
}

#[test]
fn strangers_without_the_key_learn_and_change_nothing() {
    let mut attack = Attack::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"Magic-Wormhole Dilation Handshake v1 Leader\n\n",
        &[DilationRole::Follower.prologue(), &[0, 0, 0, 47]].concat(),
        &[DilationRole::Follower.prologue(), &[0, 0, 0, 48], &[9; 48]].concat(),
    ] {
        attack.link = LinkId(attack.link.0 + 2);
        attack.victim.handle(attack.now, Input::Opened(attack.link)).unwrap();
        assert_eq!(attack.bytes(bytes), Ok(()));
        assert!(attack.closed.contains(&attack.link));
    }
    attack.connect();
    assert_eq!(attack.open(2), Ok(()));
}

#[test]
fn many_strangers_cannot_take_the_place_of_the_peer() {
    let mut attack = Attack::new();
    for number in 0..1000 {
        attack.victim.handle(attack.now, Input::Opened(LinkId(1001 + 2 * number))).unwrap();
    }
    attack.collect();
    assert!(attack.closed.len() >= 1000 - 40, "{}", attack.closed.len());
    attack.connect();
}

#[test]
fn unknown_closed_and_repeated_subchannels_are_ignored_and_acknowledged() {
    let mut attack = Attack::new();
    attack.connect();
    attack.data(2, b"early").unwrap();
    attack.open(2).unwrap();
    attack.open(2).unwrap();
    attack.data(2, b"hello").unwrap();
    attack.data(1, b"not opened by us").unwrap();
    let number = attack.number();
    attack.send(&DilationRecord::Close { subchannel: 2, number }).unwrap();
    attack.data(2, b"late").unwrap();
    let id = SubchannelId::Theirs(2);
    let is_about_streams = |event: &&DilationEvent| {
        matches!(
            event,
            DilationEvent::Opened { .. } | DilationEvent::Data(..) | DilationEvent::Finished(_)
        )
    };
    let seen: Vec<_> = attack.events.iter().filter(is_about_streams).collect();
    let expected = [
        DilationEvent::Opened { id, subprotocol: "echo".into() },
        DilationEvent::Data(id, b"hello".to_vec()),
        DilationEvent::Finished(id),
    ];
    assert_eq!(seen, expected.iter().collect::<Vec<_>>());
    assert_eq!(attack.received().last(), Some(&DilationRecord::Ack { number: 6 }));
}

#[test]
fn a_replay_is_acknowledged_again_and_has_no_other_effect() {
    let mut attack = Attack::new();
    attack.connect();
    attack.open(2).unwrap();
    attack.data(2, b"hello").unwrap();
    let before = attack.events.len();
    attack.received();
    attack.next = 0;
    attack.open(2).unwrap();
    attack.data(2, b"other").unwrap();
    assert_eq!(attack.events.len(), before);
    let acks = [0, 1].map(|_| DilationRecord::Ack { number: 1 });
    assert_eq!(attack.received(), acks);
}

#[test]
fn a_hundred_thousand_opens_cost_a_thousand_subchannels() {
    let mut attack = Attack::new();
    attack.connect();
    let mut acknowledged = 0;
    for number in 1..=100_000 {
        attack.open(number * 2).unwrap();
        // The peer acknowledges the answers, as it must.
        for record in attack.received() {
            if let DilationRecord::Close { number, .. } = record {
                attack.send(&DilationRecord::Ack { number }).unwrap();
                acknowledged += 1;
            }
        }
    }
    let opened = attack.events.iter().filter(|it| matches!(it, DilationEvent::Opened { .. }));
    assert_eq!(opened.count(), MAX_THEIRS);
    assert_eq!(acknowledged, 100_000 - MAX_THEIRS);
}

#[test]
fn a_peer_that_opens_but_never_acknowledges_is_given_up() {
    let mut attack = Attack::new();
    attack.connect();
    let mut result = Ok(());
    for number in 1..=200_000 {
        result = attack.open(number * 2);
        if result.is_err() {
            break;
        }
        attack.from_victim = FrameBuffer::default();
    }
    let expected = DilationViolation::NoAcknowledgements;
    assert_eq!(result, Err(DilationError::PeerMisbehaved(expected)));
}

#[test]
fn a_peer_that_never_reads_or_acknowledges_makes_writers_wait() {
    let mut attack = Attack::new();
    attack.connect();
    attack.reads = false;
    attack.victim.set_congested(true);
    let open = DilationCommand::Open { number: 0, subprotocol: "echo".into() };
    attack.command(open).unwrap();
    let mut written = 0;
    while attack.victim.wants_input() {
        let data = vec![0; 1 << 16];
        written += data.len();
        attack.command(DilationCommand::Write(SubchannelId::Ours(0), data)).unwrap();
    }
    assert!(written <= MAX_UNACKNOWLEDGED, "{written}");
    // Its own records cost no memory either, however small they are: one acknowledgement waits.
    attack.open(2).unwrap();
    for _ in 0..10_000 {
        attack.data(2, b"x").unwrap();
        attack.send(&DilationRecord::Ping([1, 2, 3, 4])).unwrap();
        attack.command(DilationCommand::Consumed(SubchannelId::Theirs(2), 1)).unwrap();
    }
    attack.victim.set_congested(false);
    // An answer to a ping and an acknowledgement have the same size.
    let is_small = |output: &Output<_, _>| matches!(output, Output::Send(_, it) if it.len() == 25);
    let waiting = std::iter::from_fn(|| attack.victim.poll()).take(40);
    assert_eq!(waiting.filter(is_small).count(), 16 + 1);
}

#[test]
fn records_of_one_byte_arrive_and_many_become_one_acknowledgement() {
    let mut attack = Attack::new();
    attack.connect();
    attack.open(2).unwrap();
    attack.received();
    let mut frames = Vec::new();
    for _ in 0..1000 {
        let record = DilationRecord::Data { subchannel: 2, number: attack.number(), data: vec![7] };
        let sealer = &mut attack.keys.as_mut().unwrap().0;
        frames.extend(sealer.seal(&record.encode(), &[]).unwrap());
    }
    attack.bytes(&frames).unwrap();
    assert_eq!(attack.received(), [DilationRecord::Ack { number: 1000 }]);
}

#[test]
fn data_that_the_application_does_not_process_stops_the_reading_and_is_no_silence() {
    let mut attack = Attack::new();
    attack.connect();
    attack.open(2).unwrap();
    let piece = vec![0; 1 << 16];
    let mut received = 0;
    while attack.victim.wants_bytes() {
        attack.data(2, &piece).unwrap();
        received += piece.len();
    }
    assert_eq!(received, MAX_UNPROCESSED);
    // Nothing was read for an hour, so nothing was heard.
    for _ in 0..3600 {
        attack.now += Duration::from_secs(1);
        attack.victim.handle_timeout(attack.now).unwrap();
    }
    assert!(attack.victim.current().is_some());
    attack.command(DilationCommand::Consumed(SubchannelId::Theirs(2), 1)).unwrap();
    assert!(attack.victim.wants_bytes());
}

#[test]
fn acknowledgements_are_read_even_if_the_application_waits_for_them_before_it_processes_data() {
    let mut attack = Attack::new();
    attack.connect();
    attack.open(2).unwrap();
    let id = SubchannelId::Theirs(2);
    while attack.victim.wants_input() {
        attack.command(DilationCommand::Write(id, vec![0; 1 << 16])).unwrap();
    }
    let piece = vec![0; 1 << 16];
    for _ in 0..MAX_UNPROCESSED / piece.len() {
        attack.data(2, &piece).unwrap();
    }
    assert!(attack.victim.wants_bytes());
    let sent = attack.received();
    let number = |record: &DilationRecord| {
        if let DilationRecord::Data { number, .. } = record { Some(*number) } else { None }
    };
    let last = sent.iter().rev().find_map(number);
    attack.send(&DilationRecord::Ack { number: last.unwrap() }).unwrap();
    assert!(attack.victim.wants_input() && !attack.victim.wants_bytes());
}

#[test]
fn a_subprotocol_that_nobody_expects_is_closed_at_once() {
    let mut attack = Attack::with(|settings| {
        settings.expected_subprotocols = Some(vec!["other".into()]);
    });
    attack.connect();
    attack.open(2).unwrap();
    attack.data(2, b"hello").unwrap();
    let received = attack.received();
    assert!(received.contains(&DilationRecord::Close { subchannel: 2, number: 0 }));
    assert!(!attack.events.iter().any(|it| matches!(it, DilationEvent::Opened { .. })));
}

#[test]
fn our_own_announcement_that_comes_back_and_malformed_messages_end_the_session() {
    let now = Instant::now();
    let settings = config(true, Paths::Direct, 1);
    let side = settings.side.clone();
    let please = Please { side, version: settings.version, extended: true, aes: false };
    let please = DilationMessage::Please(please);
    let cases = [
        (please.encode(), DilationError::Reflected),
        (b"[]".to_vec(), DilationMessage::decode(b"[]").unwrap_err().into()),
        (DilationMessage::Leaving.encode(), DilationError::PeerLeft),
    ];
    for (message, expected) in cases {
        let mut victim = Dilation::new(settings.clone(), now, ChaCha8Rng::seed_from_u64(1));
        let input = Input::Command(DilationCommand::Mailbox(message));
        assert_eq!(victim.handle(now, input), Err(expected));
    }
}

#[test]
fn thousands_of_hints_become_few_connections_and_none_to_this_computer() {
    use wormhole_magic::transit::{Hint, TcpHint};
    let mut attack = Attack::new();
    let mut dialled = Vec::new();
    for number in 0..100_u32 {
        let hints = (0..64_u32).map(|host| {
            let address = std::net::Ipv4Addr::from(0x0909_0000 + number * 64 + host);
            Hint::Direct(TcpHint::new(address.to_string(), 22))
        });
        let ours =
            ["127.0.0.1", "localhost", "::1"].map(|host| Hint::Direct(TcpHint::new(host, 22)));
        let message = DilationMessage::Hints(ours.into_iter().chain(hints).take(64).collect());
        let command = DilationCommand::Mailbox(message.encode());
        attack.victim.handle(attack.now, Input::Command(command)).unwrap();
        while let Some(output) = attack.victim.poll() {
            if let Output::Connect(_, target) = output {
                dialled.push(target);
            }
        }
    }
    assert!(!dialled.is_empty() && dialled.len() <= 2 * 64, "{}", dialled.len());
    let text = format!("{dialled:?}");
    assert!(!text.contains("127.0.0.1") && !text.contains("localhost") && !text.contains("\"::1"));
}

/// The victim and its peer use credit.
fn with_credit() -> Attack {
    let mut attack = Attack::with(|settings| settings.version = DilationVersion::GedCredit);
    attack.connect();
    attack.open(2).unwrap();
    attack
}

#[test]
fn a_peer_that_sends_more_than_its_credit_ends_the_session() {
    let mut attack = with_credit();
    attack.data(2, &vec![0; INITIAL_CREDIT]).unwrap();
    assert!(attack.closed.is_empty() && attack.victim.wants_bytes());
    let beyond = DilationError::PeerMisbehaved(DilationViolation::BeyondCredit(2));
    assert_eq!(attack.data(2, b"x"), Err(beyond));
}

#[test]
fn credit_in_version_ged_is_an_unknown_record() {
    let mut attack = Attack::new();
    attack.connect();
    attack.credit(1, 1).unwrap();
    assert_eq!(attack.closed.len(), 1);
}

#[test]
fn credit_of_any_size_for_any_subchannel_lets_us_send_no_more_than_we_have() {
    let mut attack = with_credit();
    let open = DilationCommand::Open { number: 0, subprotocol: "echo".into() };
    attack.command(open).unwrap();
    let id = SubchannelId::Ours(0);
    attack.command(DilationCommand::Write(id, vec![7; INITIAL_CREDIT + 1000])).unwrap();
    attack.command(DilationCommand::Finish(id)).unwrap();
    assert!(!attack.victim.accepts_data(id) && !attack.victim.is_delivered());
    for (subchannel, bytes) in [(1, 0), (77, u32::MAX), (0, 5), (1, 999)] {
        attack.credit(subchannel, bytes).unwrap();
    }
    assert!(!attack.victim.accepts_data(id));
    for _ in 0..3 {
        attack.credit(1, u32::MAX).unwrap();
    }
    let sent = attack.received();
    let data = sent.iter().filter_map(|record| match record {
        DilationRecord::Data { data, .. } => Some(data.len()),
        DilationRecord::Kcm
        | DilationRecord::Ping(_)
        | DilationRecord::Pong(_)
        | DilationRecord::Open { .. }
        | DilationRecord::Close { .. }
        | DilationRecord::Ack { .. }
        | DilationRecord::Credit { .. } => None,
    });
    assert_eq!(data.sum::<usize>(), INITIAL_CREDIT + 1000);
    let written = sent.iter().rfind(|it| !matches!(it, DilationRecord::Ack { .. }));
    assert!(matches!(written, Some(DilationRecord::Close { subchannel: 1, .. })), "{sent:?}");
    assert!(attack.closed.is_empty());
}
