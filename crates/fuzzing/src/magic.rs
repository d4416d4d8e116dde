//! The fuzz targets of Magic-Wormhole.

use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_kit::{Input, LinkId, Output, Secret, Session, UnixTime};
use wormhole_magic::AppId;
use wormhole_magic::code::uri::TransferUri;
use wormhole_magic::code::{Code, completion};
use wormhole_magic::dilation::frame::{FrameBuffer, MAX_FRAME, PREFIX};
use wormhole_magic::dilation::noise::{self, Initiator, NoiseCipher};
use wormhole_magic::dilation::{
    Dilation, DilationCommand, DilationConfig, DilationKey, DilationMessage, DilationRecord,
    DilationRole, DilationSide, DilationVersion, Please,
};
use wormhole_magic::forward::{
    ConnectReply, ConnectRequest, ListenReply, ListenRequest, PREFIX as FORWARD_PREFIX,
};
use wormhole_magic::mailbox::hashcash;
use wormhole_magic::mailbox::message::{ClientMessage, HashcashDemand, ServerMessage, Welcome};
use wormhole_magic::mailbox::server::Client;
use wormhole_magic::relay::{Handshake, MAX_LINE, Relay, Timeouts};
use wormhole_magic::spake2::Spake2;
use wormhole_magic::transfer::Offer;
use wormhole_magic::transfer::dilated::{
    Incoming, Journal, JournalFile, LinkEntry, Received, Replies, frame,
};
use wormhole_magic::transfer::message::{Ack, Message};
use wormhole_magic::transfer::name::PeerName;
use wormhole_magic::transfer::zip::{Piece, ZipError, ZipPath, ZipReader};
use wormhole_magic::transit::RelayPolicy;
use wormhole_magic::transit::hint::{Ability, Hint, TcpHint};
use wormhole_magic::transit::keys::{RelaySide, Role, TransitKey};
use wormhole_magic::transit::race::{Race, RaceSettings};
use wormhole_magic::transit::record::{Opener, Sealer};

use crate::Body;

/// Every body with the name of its target and of its corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("ack", ack),
    ("code", code),
    ("dilated_transfer", dilated_transfer),
    ("dilation_frames", dilation_frames),
    ("dilation_message", dilation_message),
    ("dilation_records", dilation_records),
    ("file_name", file_name),
    ("forward_message", forward_message),
    ("hashcash_stamp", hashcash_stamp),
    ("hints", hints),
    ("mailbox_client_frame", mailbox_client_frame),
    ("mailbox_server_frame", mailbox_server_frame),
    ("records", records),
    ("relay_handshake", relay_handshake),
    ("spake2_message", spake2_message),
    ("transfer_journal", transfer_journal),
    ("transfer_message", transfer_message),
    ("transfer_uri", transfer_uri),
    ("transit_handshake", transit_handshake),
    ("transit_helper", transit_helper),
    ("zip", zip),
];

/// The messages of port forwarding: the first byte selects the kind.
pub fn forward_message(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    macro_rules! check {
        ($message:ty) => {
            if let Ok(message) = <$message>::decode(bytes) {
                let encoded = message.encode();
                let (_, body) = encoded.split_at(FORWARD_PREFIX);
                assert_eq!(<$message>::decode(body).as_ref(), Ok(&message));
            }
        };
    }
    match kind % 4 {
        0 => check!(ConnectRequest),
        1 => check!(ConnectReply),
        2 => check!(ListenRequest),
        _ => check!(ListenReply),
    }
}

/// The decoders of both sides of a transfer over a dilated connection. The first byte selects the side; of a sender, the second one
/// selects the offer.
pub fn dilated_transfer(bytes: &[u8]) {
    let Some(([side, kind], bytes)) = bytes.split_first_chunk() else { return };
    let piece = usize::from(side / 2) + 1;
    if side % 2 == 0 {
        let mut replies = Replies::new();
        for mut input in bytes.chunks(piece) {
            while let Ok(Some(_)) = replies.next(&mut input) {}
        }
        return;
    }
    let name = PeerName::new("a");
    let offer = match kind % 4 {
        0 => Offer::Stream { name },
        1 => Offer::File { name, size: 9, attributes: None },
        _ => Offer::Directory { name, zip_size: 9, bytes: 9, files: 3, attributes: None },
    };
    let mut incoming = Incoming::new();
    let mut first = Vec::new();
    // Without an offer of ours, the bytes contain one.
    if kind % 4 != 3 {
        frame::offer(&mut first, &offer);
    }
    let _offer = incoming.next(&mut first.as_slice());
    incoming.accept();
    let mut received = 0;
    for mut input in bytes.chunks(piece) {
        loop {
            match incoming.next(&mut input) {
                Ok(Some(Received::Data(data))) => received += data.len(),
                Ok(Some(Received::Compressed(_, plain))) => received += plain,
                Ok(Some(Received::Offer(_))) => incoming.accept(),
                Ok(Some(Received::Link(LinkEntry { path, target }))) => {
                    check_link(&path, target.as_str());
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(kind % 4 != 1 || received <= 9);
}

/// A link stays inside its folder, whatever other links there are.
fn check_link(path: &ZipPath, target: &str) {
    let above = path.components().count() - 1;
    let leading = target.split('/').take_while(|component| *component == "..").count();
    assert!(leading <= above, "{path}: {target}");
    let mut names = target.split('/').skip(leading);
    assert!(target == "." || names.all(|name| !matches!(name, "" | "." | "..")), "{target}");
}

/// The journal of an interrupted transfer.
pub fn transfer_journal(bytes: &[u8]) {
    let Some(journal) = Journal::parse(bytes) else { return };
    assert!(journal.length <= bytes.len());
    let again = bytes.get(..journal.length).and_then(Journal::parse);
    assert_eq!(again.as_ref(), Some(&journal));
    let mut encoded = journal.header.encode();
    for file in &journal.files {
        file.append_begin(&mut encoded);
        for (index, hash) in (0..).zip(&file.hashes) {
            JournalFile::append_hash(index, hash, &mut encoded);
        }
    }
    assert_eq!(Journal::parse(&encoded).map(|journal| journal.files), Some(journal.files));
}

/// The acknowledgement at the end of a transfer.
pub fn ack(bytes: &[u8]) {
    if let Ok(ack) = Ack::decode(bytes) {
        assert_eq!(Ack::decode(&ack.encode()).as_ref(), Ok(&ack));
    }
}

/// A code as a user types it, and its completions.
pub fn code(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(code) = Code::parse(text) {
        assert_eq!(Code::parse(&code.to_string()).as_ref(), Ok(&code));
    }
    for completed in completion::complete_words(text, std::num::NonZeroU8::MIN) {
        assert!(completed.starts_with(text));
    }
}

/// The bytes of a peer on a dilated connection after the prologue: frames, and records in frames.
pub fn dilation_frames(bytes: &[u8]) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let psk = Secret::new([7; 32]);
    let (initiator, first) = Initiator::start(NoiseCipher::ChaChaPoly, &psk, &mut rng);
    let (answer, mut sealer, mut opener) =
        noise::respond(NoiseCipher::ChaChaPoly, &psk, &first, &mut rng)
            .expect("a handshake with ourselves");
    let (_, mut forged) = initiator.finish(&answer).expect("a handshake with ourselves");
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(7) {
        buffer.push(piece);
        while let Ok(Some(frame)) = buffer.next_frame(noise::TAG, MAX_FRAME) {
            assert!(forged.open(frame).is_err());
        }
    }
    let Ok(record) = DilationRecord::decode(bytes) else { return };
    assert_eq!(record.encode(), bytes);
    let (head, body) = record.encode_parts();
    let frame = sealer.seal(&head, body).expect("a short record");
    assert!(opener.open(frame[PREFIX..].to_vec()).is_err(), "our own frame came back");
}

/// A message about a dilated connection that a peer sends through the mailbox.
pub fn dilation_message(bytes: &[u8]) {
    if let Ok(message) = DilationMessage::decode(bytes) {
        assert_eq!(DilationMessage::decode(&message.encode()), Ok(message));
    }
}

/// The records of a peer that has the key: each has two bytes for its length. They may end the connection or the session.
pub fn dilation_records(bytes: &[u8]) {
    for version in [DilationVersion::Ged, DilationVersion::GedCredit] {
        dilation_records_of(version, bytes);
    }
}

fn dilation_records_of(version: DilationVersion, bytes: &[u8]) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (now, link) = (Instant::now(), LinkId(1));
    let key = DilationKey::from_secret(Secret::new([7; 32]));
    let psk = key.psk().clone();
    let config =
        DilationConfig { version, ..DilationConfig::new(key, DilationSide::leading(&mut rng)) };
    let mut session = Dilation::new(config, now, ChaCha8Rng::seed_from_u64(2));
    let side = DilationSide::following(&mut rng);
    let please = Please { side, version, extended: true, aes: false };
    let please = DilationMessage::Please(please).encode();
    let please = Input::Command(DilationCommand::Mailbox(please));
    session.handle(now, please).expect("a peer");
    session.handle(now, Input::Opened(link)).expect("a link");
    let prologue = DilationRole::Follower.prologue();
    session.handle(now, Input::Bytes(link, prologue)).expect("a prologue");
    let sent = std::iter::from_fn(|| session.poll()).filter_map(|output| match output {
        Output::Send(_, bytes) => Some(bytes),
        _ => None,
    });
    let first = sent.last().expect("the first message of the handshake");
    let first = first[PREFIX..].try_into().expect("a message of the handshake");
    let (answer, mut sealer, _) =
        noise::respond(NoiseCipher::ChaChaPoly, &psk, &first, &mut rng).expect("a handshake");
    let kcm = sealer.seal(&[0], &[]).expect("a short record");
    let answer = [&48_u32.to_be_bytes()[..], &answer, &kcm].concat();
    session.handle(now, Input::Bytes(link, &answer)).expect("a confirmation");
    assert_eq!(session.current(), Some(link));
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let (record, after) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
        let frame = sealer.seal(record, &[]).expect("a short record");
        if session.handle(now, Input::Bytes(link, &frame)).is_err() {
            assert_eq!(session.deadline(), None);
        }
        while session.poll().is_some() {}
        rest = after;
    }
}

/// A file name that a peer proposes.
pub fn file_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let peer_name = PeerName::new(text);
    assert!(!peer_name.to_string().chars().any(char::is_control));
    if let Ok(name) = peer_name.to_file_name() {
        assert!(!name.is_empty() && name != "." && name != "..");
        assert!(!name.contains(['/', '\0']) && name.len() <= 255);
    }
    let safe = PeerName::new(peer_name.to_safe_name());
    assert_eq!(safe.to_file_name(), Ok(safe.as_sent()));
}

/// A hashcash stamp from a client of a mailbox server.
pub fn hashcash_stamp(bytes: &[u8]) {
    let Ok(stamp) = std::str::from_utf8(bytes) else { return };
    // A fuzzer cannot find 40 bits.
    assert!(!hashcash::verify(stamp, &HashcashDemand::new(40, "fuzz".into())));
    let _ = hashcash::verify(stamp, &HashcashDemand::new(1, "fuzz".into()));
}

/// Hints and abilities of a peer.
pub fn hints(bytes: &[u8]) {
    let Ok(list) = serde_json::from_slice(bytes) else { return };
    let hints = Hint::parse_list(&list);
    assert_eq!(Hint::parse_list(&Hint::encode_list(&hints)), hints);
    let _ = Ability::parse_list(&list);
}

/// A frame from a mailbox server.
pub fn mailbox_client_frame(bytes: &[u8]) {
    if let Ok(message) = ServerMessage::decode(bytes) {
        let again = message.encode(UnixTime::from_secs(0));
        assert!(ServerMessage::decode(again.as_bytes()).is_ok(), "{again}");
    }
}

/// Frames from a client of a mailbox server, one per line.
pub fn mailbox_server_frame(bytes: &[u8]) {
    let now = UnixTime::from_secs(0);
    let mut client = Client::new(&Welcome::default(), now);
    for frame in bytes.split(|byte| *byte == b'\n') {
        client.handle_frame(now, frame);
        while client.poll().is_some() {}
        if let Ok(Ok(message)) = std::str::from_utf8(frame).map(ClientMessage::decode) {
            assert!(ClientMessage::decode(&message.encode()).is_ok());
        }
    }
}

/// Records of a peer: without the key nobody can make one, and a flipped bit makes one invalid.
pub fn records(bytes: &[u8]) {
    let mut forged = bytes.to_vec();
    assert!(Opener::new(&transit_key(), Role::Sender).open(&mut forged).is_err());
    let mut sealer = Sealer::new(&transit_key(), Role::Sender);
    let Ok(record) = sealer.seal_to_vec(bytes) else { return };
    let mut changed = record.clone();
    let bit = usize::from(bytes.first().copied().unwrap_or_default()) % (changed.len() * 8);
    changed.iter_mut().skip(bit / 8).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
    assert!(Opener::new(&transit_key(), Role::Sender).open(&mut changed).is_err());
    let mut whole = record;
    let opened =
        Opener::new(&transit_key(), Role::Sender).open(&mut whole).map(|text| text == bytes);
    assert_eq!(opened, Ok(true));
}

/// The first line that a client sends to a relay, whole and in two pieces.
pub fn relay_handshake(bytes: &[u8]) {
    let (now, link) = (Instant::now(), LinkId(1));
    let mut relay = Relay::new(Timeouts::default());
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    for input in [Input::Opened(link), Input::Bytes(link, head), Input::Bytes(link, tail)] {
        let Ok(()) = relay.handle(now, input);
    }
    let waits = relay.waiting() == 1;
    let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let good = line.ends_with(b"\n") && line.len() <= MAX_LINE && Handshake::decode(line).is_ok();
    // Bytes after the line are `impatient`.
    assert_eq!(waits, good && line.len() == bytes.len());
}

/// A peer's SPAKE2 message.
pub fn spake2_message(bytes: &[u8]) {
    let code = Code::parse("4-purple-sausages").expect("a good code");
    let app_id = AppId::new("fuzz");
    let (spake2, ours) = Spake2::start(&code, &app_id, &mut ChaCha8Rng::seed_from_u64(1));
    assert!(ours != bytes || spake2.finish(bytes).is_err(), "took our own message for the peer's");
}

/// A message of file transfer: offers, answers, transit information.
pub fn transfer_message(bytes: &[u8]) {
    for message in Message::decode(bytes).unwrap_or_default() {
        let again = message.encode();
        assert_eq!(Message::decode(&again), Ok(vec![message]));
    }
}

/// A `wormhole-transfer:` URI.
pub fn transfer_uri(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(uri) = text.parse::<TransferUri>() {
        assert_eq!(uri.to_string().parse().as_ref(), Ok(&uri));
    }
}

/// Bytes on a connection without the transit key, in two pieces: the handshake never succeeds.
pub fn transit_handshake(bytes: &[u8]) {
    let (now, link) = (Instant::now(), LinkId(1));
    let role = if bytes.len().is_multiple_of(2) { Role::Sender } else { Role::Receiver };
    let settings = RaceSettings {
        role,
        side: RelaySide([0; 8]),
        relays: Vec::new(),
        policy: RelayPolicy::Never,
        listens: true,
        tor: false,
    };
    let mut race = Race::new(&transit_key(), settings);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    for input in [Input::Opened(link), Input::Bytes(link, head), Input::Bytes(link, tail)] {
        let _ = race.handle(now, input);
        let got_through = |output| matches!(output, Output::Event(_));
        assert!(!std::iter::from_fn(|| race.poll()).any(got_through));
    }
}

/// A key that the fuzzer cannot guess.
fn transit_key() -> TransitKey {
    TransitKey::new(Secret::new([7; 32]))
}

/// The value of `--transit-helper`.
pub fn transit_helper(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<TcpHint>();
}

/// A zip of a folder: it unpacks to the same files whole and in two pieces.
pub fn zip(bytes: &[u8]) {
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    assert_eq!(unpacked(&[bytes]), unpacked(&[head, tail]));
}

/// Unpacks a zip with limits of one megabyte and 4096 files. For an invalid zip it returns only the entries, because
/// the amount of data before the error depends on the pieces.
fn unpacked(pieces: &[&[u8]]) -> (Vec<String>, Result<Vec<u8>, ZipError>) {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    let mut reader = ZipReader::new(MEGABYTE, 4096);
    for mut input in pieces.iter().copied() {
        loop {
            match reader.next(&mut input) {
                Ok(Some(Piece::Data(bytes))) => data.extend_from_slice(bytes),
                Ok(Some(piece)) => entries.push(format!("{piece:?}")),
                Ok(None) => break,
                Err(error) => return (entries, Err(error)),
            }
        }
    }
    assert!(data.len() <= usize::try_from(MEGABYTE).expect("a small number"));
    (entries, reader.finish().map(|()| data))
}

const MEGABYTE: u64 = 1 << 20;
