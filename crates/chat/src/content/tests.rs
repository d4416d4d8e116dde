//! Content in the forms of other clients and of ours.

mod changes;

use super::*;
use wormhole_kit::Secret;

use crate::attachment::AttachmentKey;
use crate::group::{AdminKey, EntryHash, GroupId, GroupSecret};

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
        expire_timer_version: Some(2),
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

/// A protobuf field with text, whose length takes 3 bytes.
fn long_field(tag: u8, value: &[u8]) -> Vec<u8> {
    let byte = |shift: u32| u8::try_from(value.len() >> shift & 0x7f).unwrap();
    [&[tag, byte(0) | 0x80, byte(7) | 0x80, byte(14)], value].concat()
}

#[test]
fn content_of_the_maximum_length_can_be_stored_although_it_grows() {
    let key = [&[0x1a, 64][..], &[7; 64]].concat();
    let with_cdn_key = [&[0x12, 69][..], &key, &[0x7a, 1, b'k']].concat();
    let lacks_cdn = with_cdn_key.repeat(1024);
    let lacks_group_kind: &[u8] = b"\x1a\x03\x0a\x01x";
    let lacks_group_id: &[u8] = b"\x1a\x02\x10\x02";
    let avatar = [&[0x1a, 71, 0x2a, 69], &with_cdn_key[2..]].concat();
    for length in [MAX_MESSAGE - 1, MAX_MESSAGE] {
        let text = |room: usize| vec![b'a'; length - room];
        let mut cases = vec![
            // A bare data message: the wrapper is added.
            Content::decode_body(&long_field(0x0a, &text(4))),
            // The time and the kind of typing.
            Content::decode(&long_field(0x32, &long_field(0x1a, &text(8)))),
        ];
        for fields in [&lacks_cdn, lacks_group_kind, lacks_group_id, b"\x1a\x00", &avatar] {
            let data = [fields, &long_field(0x0a, &text(8 + fields.len()))].concat();
            cases.push(Content::decode(&long_field(0x0a, &data)));
        }
        for content in cases {
            let content = content.unwrap();
            let stored = content.encode();
            assert!(stored.len() > length, "{}", stored.len());
            assert_eq!(Content::decode_stored(&stored), Ok(content));
        }
    }
    let too_long = long_field(0x0a, &long_field(0x0a, &vec![b'a'; MAX_MESSAGE - 7]));
    assert_eq!(Content::decode(&too_long), Err(ContentError::Malformed));
}

#[test]
fn no_text_and_no_key_of_a_content_is_printed() {
    let secret = "Treffpunkt";
    let key = AttachmentKey::from_slice(&[77; 64]).unwrap();
    let place = AttachmentPlace::Id(1);
    let mut pointer = AttachmentPointer::new(place, key, 16, [8; 32], "image/png");
    (pointer.file_name, pointer.caption) = (Some(secret.to_owned()), Some(secret.to_owned()));
    let group = Group {
        id: vec![77; 16],
        change: GroupChange::Update,
        name: Some(secret.to_owned()),
        members: vec![secret.to_owned()],
        avatar: Some(pointer.clone()),
    };
    let data = DataMessage {
        attachments: vec![pointer],
        group: Some(group),
        profile_key: Some([77; 32]),
        ..text(secret)
    };
    for content in [
        Content::Data(Box::new(data)),
        Content::Edit(Box::new(Edit { target: Timestamp(1), message: text(secret) })),
        Content::Call(vec![77; 32]),
        Content::DecryptionError(vec![77; 32]),
        Content::SenderKeyDistribution(vec![77; 32]),
        Content::Sync(vec![77; 32]),
        Content::Typing(Typing {
            timestamp: Timestamp(1),
            started: true,
            group: Some(vec![77; 16]),
        }),
    ] {
        let printed = format!("{content:?} {content:#?}");
        assert!(!printed.contains(secret) && !printed.contains("77,"), "{printed}");
    }
}

#[test]
fn a_message_of_a_group_names_it_and_has_the_fields_of_any_other() {
    let mut group = GroupContent::notice(GroupId::from_bytes([7; 16]), 3);
    assert_eq!(*Content::Group(Box::new(group.clone())).encode(), {
        let mut bytes = b"\xa2\x06\x14\x0a\x10".to_vec();
        bytes.extend([7; 16]);
        bytes.extend(b"\x10\x03");
        bytes
    });
    roundtrip(&Content::Group(Box::new(group.clone())));
    assert!(!Content::Group(Box::new(group.clone())).is_visible());
    group.secret = Some(GroupSecret::from_secret(Secret::new([0x41; 32])));
    group.admin = Some(AdminKey::from_secret(Secret::new([0x42; 32])));
    group.head = Some(EntryHash([9; 32]));
    group.removed = true;
    for inner in [Content::Data(Box::new(text("hi"))), Content::SenderKeyDistribution(vec![1])] {
        group.inner = Some(Box::new(inner));
        roundtrip(&Content::Group(Box::new(group.clone())));
    }
    group.inner = Some(Box::new(Content::Data(Box::new(text("hi")))));
    let content = Content::Group(Box::new(group));
    assert_eq!(content.timestamp(), Some(Timestamp(1_600_000_000_000)));
    assert!(content.is_visible());
    assert!(!format!("{content:?}").contains("65, 65"));
    // The id of the group is missing or too short, or the secret is.
    for bad in [&b"\xa2\x06\x00"[..], b"\xa2\x06\x03\x0a\x01\x07", b"\xa2\x06\x03\x1a\x01\x07"] {
        assert_eq!(Content::decode(bad), Err(ContentError::Malformed), "{bad:?}");
    }
}

#[test]
fn offers_of_direct_files_are_read_back_and_are_nothing_for_programs_that_do_not_know_them() {
    let offer = DirectOffer {
        id: [1; 16],
        secret: Secret::new([2; 32]),
        file: [3; 16],
        length: u64::MAX,
        hints: "{}".into(),
    };
    let refusal = DirectAnswer { id: [1; 16], hints: None, offset: 0 };
    let answer = DirectAnswer { hints: Some("{}".into()), offset: 7, ..refusal };
    for direct in
        [DirectContent::Offer(offer), DirectContent::Answer(refusal), DirectContent::Answer(answer)]
    {
        let content = Content::Direct(Box::new(direct));
        roundtrip(&content);
        assert!(!content.is_visible());
        let mut proto = ContentProto::decode(content.encode().as_slice()).unwrap();
        proto.direct = None;
        assert_eq!(Content::try_from(proto), Ok(Content::Null));
    }
    let long = DirectAnswer { id: [1; 16], hints: Some("x".repeat(9000)), offset: 0 };
    let long = Content::Direct(Box::new(DirectContent::Answer(long)));
    assert_eq!(Content::decode(&long.encode()), Err(ContentError::Malformed));
}
