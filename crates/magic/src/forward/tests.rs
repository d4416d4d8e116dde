//! Messages as the reference encodes them, and malformed ones.

use super::*;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// The message without its length, which must be right.
fn body(message: &[u8]) -> &[u8] {
    let (prefix, body) = message.split_first_chunk().unwrap();
    assert_eq!(message_length(*prefix), Ok(body.len()));
    body
}

#[test]
fn messages_have_the_bytes_of_the_reference() {
    // msgpack.packb of fowl 26.8, with Python's msgpack 1.2.
    let request = ConnectRequest { name: service("web") };
    assert_eq!(request.encode(), bytes("001181ab756e697175652d6e616d65a3776562"));
    let listen = ListenRequest { name: service("web"), port: None };
    let expected = "003483a46b696e64b0726571756573742d6c697374656e6572ab756e697175652d6e616d65a3776562ab6c697374656e2d706f7274c0";
    assert_eq!(listen.encode(), bytes(expected));
    assert_eq!(ConnectReply::Connected.encode(), bytes("000c81a9636f6e6e6563746564c3"));
    assert_eq!(ListenRequest::decode(body(&bytes(expected))), Ok(listen));
}

#[test]
fn every_message_is_read_as_it_was_written() {
    for reply in [ConnectReply::Connected, ConnectReply::NotConnected("refused".into())] {
        assert_eq!(ConnectReply::decode(body(&reply.encode())), Ok(reply));
    }
    for connect_port in [None, Some(0), Some(80), Some(u16::MAX)] {
        let reply = ListenReply::Listening { name: service("web"), connect_port };
        assert_eq!(ListenReply::decode(body(&reply.encode())), Ok(reply));
        let request = ListenRequest { name: service("web"), port: connect_port };
        assert_eq!(ListenRequest::decode(body(&request.encode())), Ok(request));
    }
    let refusal = ListenReply::NotListening { name: service("web"), reason: "in use".into() };
    assert_eq!(ListenReply::decode(body(&refusal.encode())), Ok(refusal));
}

#[test]
fn unknown_fields_are_ignored() {
    // {"connected": true, "later": [1, {"a": 2}]}
    let message =
        bytes("82a9636f6e6e6563746564c3a56c617465729201 81a16102".replace(' ', "").as_str());
    assert_eq!(ConnectReply::decode(&message), Ok(ConnectReply::Connected));
}

#[test]
fn truncated_and_longer_messages_are_malformed() {
    let message = ListenRequest { name: service("web"), port: Some(8080) }.encode();
    let body = body(&message);
    for length in 0..body.len() {
        assert_eq!(ListenRequest::decode(&body[..length]), Err(Malformed), "{length} bytes");
    }
    assert_eq!(ListenRequest::decode(&[body, b"\0"].concat()), Err(Malformed));
}

#[test]
fn deep_nesting_is_malformed_and_does_not_exhaust_the_stack() {
    // {"connected": true, "x": [[[...
    let mut message = bytes("82a9636f6e6e6563746564c3a178");
    message.extend(std::iter::repeat_n(0x91, MAX_MESSAGE - message.len()));
    assert_eq!(ConnectReply::decode(&message), Err(Malformed));
}

#[test]
fn a_length_that_lies_about_a_list_is_malformed() {
    // {"connected": true, "x": a list of 2^32 - 1 entries}
    assert_eq!(
        ConnectReply::decode(&bytes("82a9636f6e6e6563746564c3a178ddffffffff")),
        Err(Malformed)
    );
}

#[test]
fn ports_out_of_range_and_wrong_types_are_malformed() {
    let with_port = |port: &str| {
        let head = "83a46b696e64b0726571756573742d6c697374656e6572ab756e697175652d6e616d65a3776562ab6c697374656e2d706f7274";
        ListenRequest::decode(&bytes(&format!("{head}{port}")))
    };
    assert!(with_port("cdffff").is_ok());
    // 65536, -1, "80", a list
    for port in ["ce00010000", "ff", "a23830", "90"] {
        assert_eq!(with_port(port), Err(Malformed), "{port}");
    }
}

#[test]
fn names_are_bounded_and_printable() {
    assert!(ServiceName::new("a".repeat(255)).is_ok());
    for name in ["", "a\nb", "\u{1b}[2J", "a".repeat(256).as_str()] {
        assert_eq!(ServiceName::new(name), Err(InvalidServiceName));
    }
}

#[test]
fn reasons_of_the_peer_are_bounded_and_printable() {
    let reply = ConnectReply::NotConnected(format!("\u{1b}[2J{}", "x".repeat(5000)));
    let Ok(ConnectReply::NotConnected(reason)) = ConnectReply::decode(body(&reply.encode())) else {
        panic!("not a refusal");
    };
    assert_eq!(reason.chars().count(), 256);
    assert!(!reason.contains('\u{1b}'));
}

#[test]
fn a_length_beyond_the_maximum_is_refused_before_it_is_read() {
    assert_eq!(message_length([0x20, 0x00]), Ok(MAX_MESSAGE));
    assert_eq!(message_length([0x20, 0x01]), Err(Malformed));
}

#[test]
fn the_end_of_a_session_is_recognised() {
    assert!(is_closing(&closing()));
    assert!(is_closing(b"{\"closing\": true}"));
    for other in [b"".as_slice(), b"{}", b"[]", b"closing", b"\xff"] {
        assert!(!is_closing(other));
    }
}

#[test]
fn a_peer_of_another_application_is_recognised() {
    assert!(peer_can_forward(&app_versions()));
    assert!(!peer_can_forward(&json!({})));
    assert!(!peer_can_forward(&json!({ "fowl": { "features": "core-v1" } })));
}
