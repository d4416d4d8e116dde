//! Tests of valid messages of several clients, and of invalid messages.

use super::*;
use crate::transit::{Ability, Hint, RelayHint, TcpHint};

fn decode(json: &str) -> Result<Vec<Message>, BadMessage> {
    Message::decode(json.as_bytes())
}

#[test]
fn messages_survive_encoding_and_decoding() {
    let transit = TransitInfo {
        abilities: vec![Ability::DirectTcp, Ability::Relay],
        hints: vec![
            Hint::Direct(TcpHint::new("192.0.2.2", 46029)),
            Hint::Relay(RelayHint::tcp(TcpHint::new("127.0.0.1", 24001))),
        ],
    };
    let name = || PeerName::new("-odd \"name\" é");
    for message in [
        Message::Transit(transit),
        Message::Answer(Answer::File),
        Message::Answer(Answer::Text),
        Message::Error("transfer rejected".into()),
        Message::Offer(Offer::Text("line1\nline2 ☃".into())),
        Message::Offer(Offer::File { name: name(), size: 1 << 40, attributes: None }),
        Message::Offer(directory(None)),
        Message::Offer(directory(Some(Attributes { permissions: 0o700, modified: -1 }))),
        Message::Offer(Offer::Stream { name: name() }),
    ] {
        assert_eq!(Message::decode(&message.encode()), Ok(vec![message]));
    }
}

fn directory(attributes: Option<Attributes>) -> Offer {
    let name = PeerName::new("-odd \"name\" é");
    Offer::Directory { name, zip_size: 9, bytes: 8, files: 7, attributes }
}

#[test]
fn attributes_of_a_directory_that_make_no_sense_are_ignored() {
    for attributes in [
        r#""permissions": 511"#,
        r#""permissions": 512, "modified": 1"#,
        r#""permissions": -1, "modified": 1"#,
        r#""permissions": "rwx", "modified": 1"#,
        r#""permissions": 448, "modified": 1.5"#,
        r#""permissions": 448, "modified": null"#,
    ] {
        let json = format!(
            r#"{{"offer": {{"directory": {{"mode": "zipfile/deflated", "dirname": "-odd \"name\" é",
            "zipsize": 9, "numbytes": 8, "numfiles": 7, {attributes}}}}}}}"#
        );
        assert_eq!(decode(&json), Ok(vec![Message::Offer(directory(None))]), "{attributes}");
    }
}

#[test]
fn several_messages_in_one_object_are_all_read() {
    let json = r#"{"offer": {"message": "hi"}, "transit": {}, "unknown": 1}"#;
    let text = Message::Offer(Offer::Text("hi".into()));
    assert_eq!(decode(json), Ok(vec![Message::Transit(TransitInfo::default()), text]));
    assert_eq!(decode("{}"), Ok(vec![]));
}

#[test]
fn a_message_that_is_not_an_object_is_refused() {
    for json in ["", "[]", "3", "null", "{", "\"offer\"", "{}x"] {
        assert_eq!(decode(json), Err(BadMessage::NotAnObject), "{json}");
    }
    assert_eq!(Message::decode(b"{\"error\": \"\xff\"}"), Err(BadMessage::NotAnObject));
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for size in ["-1", "1.5", "\"9\"", "null", "1e3", "9223372036854775808", "99999999999999999999"]
    {
        let json = format!(r#"{{"offer": {{"file": {{"filename": "a", "filesize": {size}}}}}}}"#);
        assert_eq!(decode(&json), Err(BadMessage::Field("filesize")), "{size}");
    }
    let json = r#"{"offer": {"directory": {"mode": "zipfile/deflated", "dirname": "a",
        "zipsize": 1, "numbytes": 2, "numfiles": -3}}}"#;
    assert_eq!(decode(json), Err(BadMessage::Field("numfiles")));
}

#[test]
fn wrong_types_in_any_field_are_refused() {
    assert_eq!(decode(r#"{"offer": {"message": 3}}"#), Err(BadMessage::Field("message")));
    assert_eq!(
        decode(r#"{"offer": {"file": {"filename": [], "filesize": 1}}}"#),
        Err(BadMessage::Field("filename"))
    );
    assert_eq!(decode(r#"{"offer": {"file": 1}}"#), Err(BadMessage::Field("filename")));
    assert_eq!(decode(r#"{"offer": null}"#), Err(BadMessage::UnknownOffer));
    assert_eq!(decode(r#"{"answer": {"file_ack": "no"}}"#), Err(BadMessage::Field("answer")));
}

#[test]
fn an_unknown_offer_is_rejected_with_the_usual_text() {
    let unknown = decode(r#"{"offer": {"torrent": {}}}"#).expect_err("unknown offer");
    assert_eq!(unknown.reply(), "unknown offer type");
    let json = r#"{"offer": {"directory": {"mode": "tarball", "dirname": "a"}}}"#;
    assert_eq!(decode(json).expect_err("unknown mode").reply(), "unknown mode");
}

#[test]
fn an_error_that_is_not_a_text_is_still_shown() {
    assert_eq!(decode(r#"{"error": {"a": 1}}"#), Ok(vec![Message::Error(r#"{"a":1}"#.into())]));
}

#[test]
fn an_ack_may_leave_the_hash_out_but_not_garble_it() {
    let ack = Ack { sha256: Some([0xab; 32]) };
    assert_eq!(Ack::decode(&ack.encode()), Ok(ack));
    assert_eq!(Ack::decode(br#"{"ack":"ok"}"#), Ok(Ack { sha256: None }));
    assert_eq!(Ack::decode(br#"{"ack": "ok", "sha256": "abc"}"#), Err(BadMessage::Field("sha256")));
    assert_eq!(Ack::decode(br#"{"ack": "failed"}"#), Err(BadMessage::Field("ack")));
    assert_eq!(Ack::decode(b"\xff"), Err(BadMessage::NotAnObject));
}

#[test]
fn a_receiver_says_how_much_it_has_or_that_it_has_everything() {
    let ack = ReceiverRecord::Ack(Ack { sha256: Some([7; 32]) });
    for record in [ack, ReceiverRecord::Received(0), ReceiverRecord::Received(u64::MAX)] {
        assert_eq!(ReceiverRecord::decode(&record.encode()), Ok(record));
    }
    let field = |name| Err(BadMessage::Field(name));
    assert_eq!(ReceiverRecord::decode(br#"{"received": -1}"#), field("received"));
    assert_eq!(ReceiverRecord::decode(br#"{"received": "1"}"#), field("received"));
    assert_eq!(ReceiverRecord::decode(br#"{"ack": "no"}"#), field("ack"));
    assert_eq!(ReceiverRecord::decode(b"[]"), field("ack"));
    assert_eq!(ReceiverRecord::decode(b"x"), Err(BadMessage::NotAnObject));
}
