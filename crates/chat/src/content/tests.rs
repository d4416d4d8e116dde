//! Content in the forms of other clients and of ours.

use super::*;
use crate::attachment::AttachmentKey;

fn text(body: &str) -> DataMessage {
    DataMessage {
        body: Some(body.to_owned()),
        timestamp: Some(Timestamp(1_600_000_000_000)),
        ..DataMessage::default()
    }
}

fn roundtrip(content: &Content) {
    assert_eq!(Content::decode(&content.encode()).as_ref(), Ok(content));
}

#[test]
fn a_text_is_wrapped_and_carries_its_time() {
    let content = Content::Data(Box::new(text("hi")));
    assert_eq!(*content.encode(), *b"\x0a\x0b\x0a\x02hi\x38\x80\x80\xba\xbb\xc8\x2e"[..].to_vec());
    assert_eq!(content.timestamp(), Some(Timestamp(1_600_000_000_000)));
    roundtrip(&content);
}

#[test]
fn a_bare_data_message_is_read_from_a_body() {
    let content = Content::decode_body(b"\x0a\x02hi").unwrap();
    let Content::Data(data) = content else { panic!("no data message") };
    assert_eq!(data.body.as_deref(), Some("hi"));
    assert_eq!(data.timestamp, None);
}

#[test]
fn every_kind_reads_as_it_was_written() {
    let key = AttachmentKey::from_slice(&[7; 64]).unwrap();
    let place = AttachmentPlace::Id(u64::MAX);
    let mut pointer = AttachmentPointer::new(place, key.clone(), 16, [8; 32], "image/png");
    pointer.dimensions = Some((640, 480));
    pointer.file_name = Some("a.png".to_owned());
    let place = AttachmentPlace::Key(3, "abc".to_owned());
    let other = AttachmentPointer::new(place, key, 1, [9; 32], "text/plain");
    let group = Group {
        id: vec![1, 2],
        change: GroupChange::Update,
        name: Some("us".to_owned()),
        members: vec!["+14152222222".to_owned()],
        avatar: Some(other.clone()),
    };
    let data = DataMessage {
        attachments: vec![pointer, other],
        group: Some(group),
        end_session: true,
        expire_timer_update: true,
        profile_key_update: true,
        expire_timer: Some(60),
        profile_key: Some([3; 32]),
        required_protocol_version: Some(1),
        ..text("hi")
    };
    let timestamps = vec![Timestamp(1), Timestamp(u64::MAX)];
    roundtrip(&Content::Data(Box::new(data)));
    for kind in [ReceiptKind::Delivery, ReceiptKind::Read, ReceiptKind::Viewed] {
        roundtrip(&Content::Receipt(Receipt { kind, timestamps: timestamps.clone() }));
    }
    for started in [true, false] {
        roundtrip(&Content::Typing(Typing { timestamp: Timestamp(5), started, group: None }));
    }
    roundtrip(&Content::Null);
    for bytes in [vec![], vec![1, 2, 3]] {
        roundtrip(&Content::Sync(bytes.clone()));
        roundtrip(&Content::Call(bytes.clone()));
        roundtrip(&Content::DecryptionError(bytes.clone()));
        roundtrip(&Content::SenderKeyDistribution(bytes));
    }
}

#[test]
fn attack_21_unusual_protobuf_is_read_or_rejected_without_panic() {
    let known = b"\x0a\x04\x0a\x02hi";
    let unknown_field = [&known[..], b"\xf2\x3f\x01x"].concat();
    assert_eq!(Content::decode(&unknown_field), Content::decode(known));
    // If a field is repeated, the last value counts.
    let twice = Content::decode_body(b"\x0a\x02ho\x0a\x02hi");
    assert_eq!(twice, Content::decode_body(b"\x0a\x02hi"));
    let malformed = [
        &b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], // a length of 11 bytes
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",          // a length past 2^64
        b"\x0a\x05hi",                                            // longer than there is
        b"\x0a\x04\x0a\x02\xff\xfe",                              // no UTF-8
        b"\x00\x00",                                              // field 0
        b"\x0b",                                                  // a group without an end
    ];
    for bytes in malformed {
        assert_eq!(Content::decode(bytes), Err(ContentError::Malformed), "{bytes:?}");
    }
    assert_eq!(Content::decode(&[]), Ok(Content::Unknown));
    assert_eq!(Content::decode(&vec![0; MAX_MESSAGE + 1]), Err(ContentError::Malformed));
}

#[test]
fn lists_are_bounded() {
    let data = text("hi");
    let group = Group {
        id: vec![],
        change: GroupChange::Deliver,
        name: None,
        members: vec![String::new(); 1025],
        avatar: None,
    };
    let data = DataMessage { group: Some(group), ..data };
    let bytes = Content::Data(Box::new(data)).encode();
    assert_eq!(Content::decode(&bytes), Err(ContentError::TooMany(1025)));
}

#[test]
fn an_attachment_without_a_place_or_key_is_refused() {
    for bytes in [&b"\x12\x02\x1a\x00"[..], b"\x12\x09\x09\x01\0\0\0\0\0\0\0"] {
        assert_eq!(Content::decode_body(bytes), Err(ContentError::Malformed));
    }
}
