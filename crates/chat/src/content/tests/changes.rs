//! Replies, mentions, previews, and changes of earlier messages.

use super::super::*;
use super::{roundtrip, text};
use crate::address::AccountId;
use crate::attachment::AttachmentKey;

const BOB: AccountId = AccountId::from_bytes([0x22; 16]);
const BOB_TEXT: &[u8] = b"22222222-2222-2222-2222-222222222222";
const TARGET: MessageRef = MessageRef { author: BOB, timestamp: Timestamp(7) };

fn data(bytes: &[u8]) -> DataMessage {
    let Content::Data(data) = Content::decode_body(bytes).unwrap() else { panic!("no data") };
    *data
}

/// A protobuf field with less than 128 bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let tag = u16::from(number) << 3 | 2;
    let tag = if tag < 128 { vec![number << 3 | 2] } else { vec![number << 3 | 2 | 0x80, 1] };
    [tag, vec![u8::try_from(value.len()).unwrap()], value.to_vec()].concat()
}

#[test]
fn replies_mentions_and_previews_read_as_they_were_written() {
    let key = AttachmentKey::from_slice(&[7; 64]).unwrap();
    let image = AttachmentPointer::new(AttachmentPlace::Id(1), key, 16, [8; 32], "image/png");
    let mention = BodyRange { start: 3, length: 4, kind: RangeKind::Mention(BOB) };
    let quote = Quote {
        target: TARGET,
        text: Some("hi".to_owned()),
        ranges: vec![mention],
        files: vec![QuotedFile {
            content_type: Some("image/png".to_owned()),
            file_name: Some("a.png".to_owned()),
        }],
    };
    let preview = LinkPreview {
        url: "https://example.org/".to_owned(),
        title: Some("An example".to_owned()),
        description: Some("of a page".to_owned()),
        date: Some(Timestamp(9)),
        image: Some(image),
    };
    let message = DataMessage {
        quote: Some(quote),
        ranges: vec![mention, BodyRange { start: 0, length: 2, kind: RangeKind::Style(1) }],
        previews: vec![preview.clone()],
        ..text("hi @Bob, see https://example.org/ please")
    };
    assert!(preview.is_in(message.body.as_deref().unwrap()));
    assert!(!preview.is_in("see https://example.org/evil"));
    assert!(message.is_visible());
    roundtrip(&Content::Data(Box::new(message.clone())));
    roundtrip(&Content::Edit(Box::new(Edit { target: Timestamp(7), message })));
}

#[test]
fn reactions_and_deletions_read_as_they_were_written_and_are_no_messages() {
    let reaction = |emoji: Option<&str>| {
        let emoji = emoji.map(|emoji| emoji.parse().unwrap());
        DataMessage { reaction: Some(Reaction { emoji, target: TARGET }), ..text("ignored") }
    };
    let delete = DataMessage { delete: Some(Timestamp(7)), ..text("ignored") };
    for message in [reaction(Some("❤\u{fe0f}")), reaction(None), delete] {
        assert!(!message.is_visible());
        let content = Content::Data(Box::new(message));
        assert!(!content.is_visible());
        roundtrip(&content);
    }
}

#[test]
fn the_forms_of_deployed_clients_are_read() {
    // A quote: the id, the author as text and the text; then as bytes. A phone number (2) is not enough.
    let author = field(5, BOB_TEXT);
    let quote =
        |author: &[u8]| data(&field(8, &[&[8, 7][..], &field(3, b"hi"), author].concat())).quote;
    let expected = Quote {
        target: TARGET,
        text: Some("hi".to_owned()),
        ranges: Vec::new(),
        files: Vec::new(),
    };
    assert_eq!(quote(&author), Some(expected.clone()));
    assert_eq!(quote(&field(8, &[0x22; 16])), Some(expected));
    assert_eq!(quote(&field(2, b"+14155550101")), None);
    // A reaction: the emoji, whether it is removed, the author, the time.
    let reaction = |removed: u8, author: &[u8]| {
        data(&field(
            16,
            &[&field(1, "👍".as_bytes()), &[16, removed][..], author, &[40, 7]].concat(),
        ))
    };
    for author in [field(4, BOB_TEXT), field(6, &[0x22; 16])] {
        let expected = Reaction { emoji: Some("👍".parse().unwrap()), target: TARGET };
        assert_eq!(reaction(0, &author).reaction, Some(expected));
        let expected = Reaction { emoji: None, target: TARGET };
        assert_eq!(reaction(1, &author).reaction, Some(expected));
    }
    assert_eq!(data(&field(17, &[8, 7])).delete, Some(Timestamp(7)));
    // A mention at the beginning; a range that is neither a mention nor a style is left out.
    let mention = field(18, &[&[16, 1][..], &field(3, BOB_TEXT)].concat());
    let mention_bytes = field(18, &[&[16, 1][..], &field(5, &[0x22; 16])].concat());
    let other = field(18, &[8, 1, 16, 1]);
    let kind = RangeKind::Mention(BOB);
    let expected = [BodyRange { start: 0, length: 1, kind }; 2];
    assert_eq!(data(&[mention, mention_bytes, other].concat()).ranges, expected);
    // An edit, which is field 11 of the content.
    let edit = field(11, &[&[8, 7][..], &field(2, &field(1, b"hi"))].concat());
    let message = DataMessage { body: Some("hi".to_owned()), ..DataMessage::default() };
    let expected = Content::Edit(Box::new(Edit { target: Timestamp(7), message }));
    assert_eq!(Content::decode(&edit), Ok(expected));
    assert_eq!(data(&[0xb8, 1, 3]).expire_timer_version, Some(3));
}

#[test]
fn attack_21_changes_without_a_target_or_with_wrong_values_are_refused() {
    let emoji = field(1, "👍".as_bytes());
    let malformed = [
        field(16, &emoji),
        field(16, &[&emoji[..], &field(4, BOB_TEXT)].concat()),
        field(16, &[&emoji[..], &field(4, b"+14155550101"), &[40, 7]].concat()),
        field(16, &[&field(1, b"ok")[..], &field(4, BOB_TEXT), &[40, 7]].concat()),
        field(17, b""),
    ];
    for bytes in malformed {
        assert_eq!(Content::decode_body(&bytes), Err(ContentError::Malformed), "{bytes:?}");
    }
    for bytes in [field(11, &[8, 7]), field(11, &field(2, b""))] {
        assert_eq!(Content::decode(&bytes), Err(ContentError::Malformed), "{bytes:?}");
    }
    let many = |part: &[u8], count: usize| Content::decode_body(&part.repeat(count));
    assert_eq!(many(&field(18, b""), 1025), Err(ContentError::TooMany(1025)));
    assert_eq!(many(&field(10, b""), 17), Err(ContentError::TooMany(17)));
    assert_eq!(data(&field(10, b"").repeat(16)).previews, []);
    let files = [0x22, 0].repeat(30);
    assert!(data(&field(8, &files)).quote.is_none(), "it does not say whose message it is");
}

#[test]
fn no_text_of_a_quote_a_preview_or_a_reaction_is_printed() {
    let secret = "Treffpunkt";
    let file =
        QuotedFile { content_type: Some(secret.to_owned()), file_name: Some(secret.to_owned()) };
    let quote = Quote {
        target: TARGET,
        text: Some(secret.to_owned()),
        ranges: Vec::new(),
        files: vec![file],
    };
    let preview = LinkPreview {
        url: secret.to_owned(),
        title: Some(secret.to_owned()),
        description: Some(secret.to_owned()),
        date: None,
        image: None,
    };
    let reaction = Reaction { emoji: Some("👍".parse().unwrap()), target: TARGET };
    let message = DataMessage {
        quote: Some(quote.clone()),
        previews: vec![preview.clone()],
        reaction: Some(reaction),
        ..DataMessage::default()
    };
    let printed = format!("{message:?} {quote:?} {:?} {preview:?}", quote.files);
    assert!(!printed.contains(secret) && !printed.contains('👍'), "{printed}");
}
