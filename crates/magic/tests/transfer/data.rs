//! The data: counts, hashes, ends, reports and acknowledgements, true and false.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wormhole_kit::Instant;
use wormhole_magic::transfer::{
    Abilities, Ack, BadMessage, DataError, DataReceiver, DataSender, Offer, PeerName,
    ReceiverRecord, SendStep, TransferAbility,
};

fn file(size: u64) -> Offer {
    Offer::File { name: PeerName::new("a"), size, attributes: None }
}

fn stream() -> Offer {
    Offer::Stream { name: PeerName::new("a") }
}

fn ours() -> Abilities {
    Abilities::all()
}

/// The abilities of every program that is not ours.
fn others() -> Abilities {
    [TransferAbility::Transfer].into_iter().collect()
}

fn ack(content: &[u8]) -> Vec<u8> {
    Ack { sha256: Some(Sha256::digest(content).into()) }.encode()
}

fn received(bytes: u64) -> Vec<u8> {
    ReceiverRecord::Received(bytes).encode()
}

/// A sender that has sent all of `content`.
fn sent(content: &[u8], peer: Abilities) -> DataSender {
    let mut sender = DataSender::new(&file(content.len().try_into().unwrap()), peer);
    content.chunks(3).for_each(|piece| sender.on_data(piece).unwrap());
    sender.on_source_end().unwrap();
    sender
}

const EARLY_ACK: DataError = DataError::BadAck(BadMessage::Field("ack"));

#[test]
fn an_acknowledgement_with_our_hash_or_without_any_ends_it_well() {
    for ack in [ack(b"12345"), br#"{"ack":"ok"}"#.to_vec()] {
        for peer in [ours(), others()] {
            let mut sender = sent(b"12345", peer);
            assert_eq!(sender.step(), SendStep::Receive);
            assert_eq!(sender.on_record(&ack), Ok(()));
            assert_eq!(sender.step(), SendStep::Done);
            assert_eq!(sender.received(), (peer == ours()).then_some(5));
        }
    }
}

#[test]
fn a_false_acknowledgement_is_an_error() {
    assert_eq!(sent(b"12345", ours()).on_record(&ack(b"54321")), Err(DataError::WrongHash));
    for record in [
        &b""[..],
        b"garbage",
        b"[]",
        b"\xff\xfe",
        br#"{"ack":"no"}"#,
        br#"{"ack":"ok","sha256":7}"#,
        br#"{"ack":"ok","sha256":"00"}"#,
        br#"{"received":-1}"#,
        br#"{"received":"5"}"#,
    ] {
        let outcome = sent(b"12345", ours()).on_record(record);
        assert!(matches!(outcome, Err(DataError::BadAck(_))), "{record:?}: {outcome:?}");
    }
}

#[test]
fn nobody_can_acknowledge_before_everything_was_sent() {
    for offer in [file(5), stream()] {
        let mut sender = DataSender::new(&offer, ours());
        sender.on_data(b"1234").unwrap();
        assert!(sender.takes_records_early());
        assert_eq!(sender.on_record(&ack(b"1234")), Err(EARLY_ACK));
        assert_ne!(sender.step(), SendStep::Done);
    }
    // The end of a stream is its empty record.
    let mut sender = DataSender::new(&stream(), ours());
    sender.on_data(b"1234").unwrap();
    sender.on_source_end().unwrap();
    assert_eq!(sender.step(), SendStep::SendEnd);
    assert_eq!(sender.on_record(&ack(b"1234")), Err(EARLY_ACK));
    sender.on_end_sent();
    assert_eq!(sender.on_record(&ack(b"1234")), Ok(()));
}

#[test]
fn a_receiver_reports_only_if_it_announced_it_and_never_more_than_was_sent() {
    let mut sender = DataSender::new(&file(9), ours());
    sender.on_data(b"123456").unwrap();
    for (reported, known) in [(0, 0), (4, 4), (6, 6), (u64::MAX, 6)] {
        assert_eq!(sender.on_record(&received(reported)), Ok(()));
        assert_eq!(sender.received(), Some(known));
    }
    let mut sender = DataSender::new(&file(9), others());
    sender.on_data(b"123456").unwrap();
    assert!(!sender.takes_records_early());
    assert_eq!(sender.on_record(&received(4)), Err(EARLY_ACK));
    assert_eq!(sender.received(), None);
}

#[test]
fn once_everything_was_sent_records_are_awaited_instead_of_taken_early() {
    let mut sender = DataSender::new(&file(3), ours());
    sender.on_data(b"123").unwrap();
    assert!(!sender.takes_records_early());
}

#[test]
fn an_acknowledgement_may_come_before_the_source_reports_its_end() {
    for (end, outcome) in
        [(&b""[..], Ok(SendStep::Done)), (b"4", Err(DataError::SourceTooLong { offered: 3 }))]
    {
        let mut sender = DataSender::new(&file(3), ours());
        sender.on_data(b"123").unwrap();
        assert_eq!(sender.on_record(&ack(b"123")), Ok(()));
        assert_eq!(sender.step(), SendStep::SendData);
        let ended = sender.on_data(end).and_then(|()| sender.on_source_end());
        assert_eq!(ended.map(|()| sender.step()), outcome);
    }
}

#[test]
fn a_source_with_more_or_fewer_bytes_than_offered_is_never_sent_as_offered() {
    let mut sender = DataSender::new(&file(5), ours());
    sender.on_data(b"123").unwrap();
    assert_eq!(sender.on_data(b"456"), Err(DataError::SourceTooLong { offered: 5 }));
    assert_eq!(sender.sent(), 3);
    assert_eq!(sender.on_source_end(), Err(DataError::SourceTooShort { offered: 5, sent: 3 }));
    assert_eq!(sender.step(), SendStep::SendData);
}

#[test]
fn an_empty_file_needs_no_record_unless_a_program_that_is_not_ours_waits_for_one() {
    assert_eq!(sent(b"", ours()).step(), SendStep::Receive);
    let mut sender = sent(b"", others());
    let SendStep::SendEndUnlessReceived(patience) = sender.step() else {
        panic!("{:?}", sender.step())
    };
    assert!(patience >= Duration::from_millis(100) && patience <= Duration::from_secs(1));
    // Either it confirms by itself, or once it got the record.
    let mut early = sender.clone();
    assert_eq!(early.on_record(&ack(b"")), Ok(()));
    assert_eq!(early.step(), SendStep::Done);
    sender.on_end_sent();
    assert_eq!(sender.step(), SendStep::Receive);
    assert_eq!(sender.on_record(&ack(b"")), Ok(()));
}

#[test]
fn a_receiver_is_complete_after_exactly_the_offered_bytes() {
    let mut receiver = DataReceiver::new(&file(5), false, Instant::now());
    for (record, complete) in [(&b"12"[..], false), (b"", false), (b"345", true)] {
        assert_eq!(receiver.on_record(record), Ok(()));
        assert_eq!(receiver.is_complete(), complete);
    }
    assert_eq!(receiver.acknowledge(), ack(b"12345"));
    let empty = DataReceiver::new(&file(0), false, Instant::now());
    assert!(empty.is_complete());
    assert_eq!(empty.acknowledge(), ack(b""));
}

#[test]
fn more_bytes_than_offered_are_an_error_and_are_not_counted() {
    let mut receiver = DataReceiver::new(&file(5), false, Instant::now());
    receiver.on_record(b"123").unwrap();
    let wrong = DataError::WrongSize { offered: 5, sent: 6 };
    assert_eq!(receiver.on_record(b"456"), Err(wrong));
    assert_eq!((receiver.received(), receiver.is_complete()), (3, false));
}

#[test]
fn a_stream_ends_with_an_empty_record() {
    let mut receiver = DataReceiver::new(&stream(), false, Instant::now());
    receiver.on_record(b"123").unwrap();
    assert!(!receiver.is_complete());
    receiver.on_record(b"").unwrap();
    assert!(receiver.is_complete());
    assert_eq!(receiver.acknowledge(), ack(b"123"));
}

#[test]
fn reports_come_at_most_twice_a_second_and_once_at_the_end() {
    let start = Instant::now();
    let mut receiver = DataReceiver::new(&file(1000), true, start);
    let mut reports = Vec::new();
    for tick in 0..1000_u64 {
        receiver.on_record(b"x").unwrap();
        let now = start + Duration::from_millis(tick * 10);
        if let Some(report) = receiver.report(now) {
            reports.push((tick, report));
        }
    }
    assert_eq!(reports.pop(), Some((999, received(1000))));
    assert!((15..=20).contains(&reports.len()), "{}", reports.len());
    for (tick, report) in reports {
        assert_eq!(report, received(tick + 1));
    }
    assert_eq!(receiver.report(start + Duration::from_secs(100)), None);
    let mut silent = DataReceiver::new(&file(0), false, start);
    assert_eq!(silent.report(start + Duration::from_secs(100)), None);
}
