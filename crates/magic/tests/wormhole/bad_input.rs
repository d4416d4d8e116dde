//! What servers, peers and strangers may say and should not.

use serde_json::{Value, json};
use wormhole_magic::mailbox::MalformedMessage;
use wormhole_magic::mailbox::message::MAX_FRAME;
use wormhole_magic::spake2::PakeError;
use wormhole_magic::wormhole::{
    Command, Event, PeerMisbehaved, PeerVersion, ServerMisbehaved, ServerText, WormholeError,
};

use crate::desk::{Desk, Peer, code, pake_body};

/// What the mailbox is told about a wormhole's end: the moods of its `close` messages.
fn moods(desk: &mut Desk) -> Vec<Value> {
    desk.said().into_iter().filter(|m| m["type"] == "close").map(|m| m["mood"].clone()).collect()
}

#[test]
fn a_server_that_does_not_speak_the_protocol_is_left() {
    for frame in [
        &b"hello"[..],
        b"",
        b"\xff\xfe",
        b"[]",
        b"17",
        b"{}",
        br#"{"type": 4}"#,
        br#"{"type": "claimed"}"#,
        br#"{"type": "claimed", "mailbox": {}}"#,
        br#"{"type": "message", "side": "s", "phase": 0, "body": ""}"#,
        br#"{"type": "message", "side": "s", "phase": "0"}"#,
        br#"{"type": "nameplates", "nameplates": [4]}"#,
    ] {
        let mut desk = Desk::in_mailbox(&code());
        desk.hear_bytes(frame);
        let malformed = ServerMisbehaved::Malformed(MalformedMessage::Shape);
        assert_eq!(desk.error, Some(malformed.into()), "{}", String::from_utf8_lossy(frame));
        assert_eq!(moods(&mut desk), ["errory"]);
    }
    let mut desk = Desk::welcomed();
    desk.hear_bytes(&vec![b' '; MAX_FRAME + 1]);
    let malformed = ServerMisbehaved::Malformed(MalformedMessage::TooLong(MAX_FRAME + 1));
    assert_eq!(desk.error, Some(malformed.into()));
}

#[test]
fn words_of_a_server_that_we_do_not_know_change_nothing() {
    let mut desk = Desk::in_mailbox(&code());
    desk.said();
    desk.events();
    for message in [
        json!({"type": "hologram"}),
        json!({"type": "ack", "id": {"deep": []}}),
        json!({"type": "pong", "pong": 1}),
        json!({"type": "claimed", "mailbox": "another"}),
        json!({"type": "allocated", "nameplate": "not asked for"}),
        json!({"type": "released"}),
        json!({"type": "closed"}),
        json!({"type": "nameplates", "nameplates": []}),
        json!({"type": "welcome", "welcome": {"error": "too late"}}),
    ] {
        desk.hear(message);
    }
    assert_eq!((desk.said(), desk.events(), desk.error), (vec![], vec![], None));
}

#[test]
fn a_nameplate_that_is_no_number_is_not_allocated() {
    let long = "1".repeat(41);
    for nameplate in ["", "x", "-1", "4\n", "٤", " 4", &long] {
        let mut desk = Desk::welcomed();
        desk.command(Command::AllocateCode { words: std::num::NonZeroU8::MIN });
        desk.hear(json!({"type": "allocated", "nameplate": nameplate}));
        assert_eq!(desk.error, Some(ServerMisbehaved::BadNameplate.into()), "{nameplate:?}");
    }
}

#[test]
fn a_server_that_does_not_want_us_is_told_nothing() {
    let mut desk = Desk::with_servers(&["ws://one/v1", "ws://two/v1"]);
    desk.command(Command::SetCode(code()));
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {"error": "upgrade\u{1b}[2J first"}}));
    let text = ServerText::new("upgrade [2J first");
    assert_eq!(desk.error, Some(WormholeError::Unwelcome(text)));
    assert!(desk.said().is_empty());
    assert_eq!(desk.closed, [desk.link()]);
}

#[test]
fn what_the_server_refuses_ends_the_wormhole() {
    let mut desk = Desk::welcomed();
    desk.command(Command::SetCode(code()));
    desk.hear(json!({"type": "error", "error": "crowded", "orig": {"type": "claim"}}));
    assert_eq!(desk.error, Some(WormholeError::ServerRefused(ServerText::new("crowded"))));
}

#[test]
fn a_server_that_hides_its_nameplates_does_no_harm() {
    let mut desk = Desk::welcomed();
    desk.events();
    desk.command(Command::RefreshNameplates);
    desk.hear(json!({"type": "error", "error": "no", "orig": {"type": "list"}}));
    assert_eq!((desk.events(), desk.error), (vec![Event::Nameplates(vec![])], None));
}

#[test]
fn a_broken_key_exchange_is_scary() {
    let hex = |text: &str| data_encoding::HEXLOWER.encode(text.as_bytes());
    let own = |desk: &Desk| data_encoding::HEXLOWER.encode(&desk.body("pake"));
    let mut low_order = [0; 33];
    low_order[0] = b'S';
    let mut wrong_side = [0; 33];
    wrong_side[0] = b'A';
    let reflected = own(&Desk::in_mailbox(&code()));
    for (body, expected) in [
        ("xyz".to_owned(), PeerMisbehaved::NotHex),
        ("5".to_owned(), PeerMisbehaved::NotHex),
        (hex("not json"), PeerMisbehaved::PakeMalformed),
        (hex("[]"), PeerMisbehaved::PakeMalformed),
        (hex(r#"{"pake_v2": "00"}"#), PeerMisbehaved::PakeMalformed),
        (hex(r#"{"pake_v1": "zz"}"#), PeerMisbehaved::PakeMalformed),
        (pake_body(b"S"), PakeError::WrongLength(1).into()),
        (pake_body(&wrong_side), PakeError::WrongSide(b'A').into()),
        (pake_body(&low_order), PakeError::WrongOrder.into()),
        (reflected, PakeError::Reflected.into()),
    ] {
        let mut desk = Desk::in_mailbox(&code());
        desk.show("peer", "pake", &body);
        assert_eq!(desk.error, Some(expected.into()), "{body}");
        assert_eq!(moods(&mut desk), ["scary"]);
    }
}

#[test]
fn a_first_message_that_does_not_open_means_another_code() {
    for garbage in [String::new(), "00".repeat(8), "00".repeat(100)] {
        let mut desk = Desk::in_mailbox(&code());
        let peer = Peer::meet(&mut desk, "peer", &code());
        desk.show(&peer.side, "version", &garbage);
        assert_eq!(desk.error, Some(WormholeError::WrongCode));
        let said = desk.said();
        assert_eq!(said.last().unwrap()["mood"], "scary");
    }
}

#[test]
fn a_later_message_that_does_not_open_is_a_forgery() {
    for phase in ["0", "unheard-of", "dilate-0"] {
        let (mut desk, peer) = Desk::with_peer();
        desk.show(&peer.side, phase, &"00".repeat(60));
        assert_eq!(desk.error, Some(PeerMisbehaved::Forged.into()), "{phase}");
        assert_eq!(moods(&mut desk), ["scary"]);
    }
}

#[test]
fn a_message_moved_to_another_phase_or_side_does_not_open() {
    let (mut desk, peer) = Desk::with_peer();
    let sealed = peer.seal("0", b"x");
    desk.show(&peer.side, "1", &sealed);
    assert_eq!(desk.error, Some(PeerMisbehaved::Forged.into()));
    let (mut desk, peer) = Desk::with_peer();
    desk.show("stranger", "0", &peer.seal("0", b"x"));
    assert_eq!((desk.messages().len(), desk.error), (0, None));
}

#[test]
fn a_version_that_is_not_an_object_is_an_error_and_one_without_our_key_is_not() {
    for plaintext in [&b"garbage"[..], b"", b"[]", b"7", b"\xff"] {
        let mut desk = Desk::in_mailbox(&code());
        let peer = Peer::meet(&mut desk, "peer", &code());
        peer.say(&mut desk, "version", plaintext);
        assert_eq!(desk.error, Some(PeerMisbehaved::VersionMalformed.into()));
        assert_eq!(moods(&mut desk), ["errory"]);
    }
    let mut desk = Desk::in_mailbox(&code());
    let peer = Peer::meet(&mut desk, "peer", &code());
    peer.say(&mut desk, "version", br#"{"later": true}"#);
    assert!(
        desk.events().contains(&Event::Version(PeerVersion::parse(br#"{"later": true}"#).unwrap()))
    );
}

#[test]
fn a_third_side_is_not_listened_to_once_the_peer_is_known() {
    let mut desk = Desk::in_mailbox(&code());
    desk.show("stranger", "version", "00");
    let peer = Peer::meet(&mut desk, "peer", &code());
    desk.show("stranger", "pake", "garbage");
    desk.show("stranger", "0", &"00".repeat(60));
    peer.say(&mut desk, "version", b"{}");
    desk.show("stranger", "0", "not even hex");
    peer.say(&mut desk, "0", b"hello");
    assert_eq!((desk.messages(), desk.error), (vec![b"hello".to_vec()], None));
}

#[test]
fn only_the_first_message_of_a_phase_counts() {
    let (mut desk, peer) = Desk::with_peer();
    peer.say(&mut desk, "0", b"first");
    peer.say(&mut desk, "0", b"second");
    desk.show(&peer.side, "0", "not even hex");
    assert_eq!((desk.messages(), desk.error), (vec![b"first".to_vec()], None));
}

#[test]
fn phases_that_are_not_quite_numbers_are_opened_and_passed_over() {
    let (mut desk, peer) = Desk::with_peer();
    for phase in ["00", "+0", "-1", "0 ", "٠", "dilate-0", "", "18446744073709551616"] {
        peer.say(&mut desk, phase, b"x");
    }
    assert_eq!((desk.messages().len(), desk.error), (0, None));
}

#[test]
fn a_message_far_ahead_of_the_others_is_an_error() {
    let (mut desk, peer) = Desk::with_peer();
    peer.say(&mut desk, "18446744073709551615", b"x");
    assert_eq!(desk.error, Some(PeerMisbehaved::PhaseMissing(0).into()));
}

#[test]
fn a_flood_before_the_key_is_cut_off() {
    let mut desk = Desk::in_mailbox(&code());
    for number in 0..300 {
        desk.show("stranger", &number.to_string(), "00");
    }
    assert_eq!(desk.error, Some(PeerMisbehaved::TooMuchOutOfTurn.into()));
    let mut desk = Desk::in_mailbox(&code());
    let megabytes = "00".repeat(4 << 20);
    for number in 0..9 {
        desk.show("stranger", &number.to_string(), &megabytes);
    }
    assert_eq!(desk.error, Some(PeerMisbehaved::TooMuchOutOfTurn.into()));
}

#[test]
fn nothing_is_heard_or_said_after_an_error() {
    let (mut desk, peer) = Desk::with_peer();
    desk.show(&peer.side, "0", "no hex");
    desk.said();
    desk.events();
    peer.say(&mut desk, "0", b"x");
    desk.command(Command::Send(b"x".to_vec()));
    desk.command(Command::Close(None));
    desk.lose_link();
    desk.pass(std::time::Duration::from_secs(600));
    assert_eq!((desk.said(), desk.events()), (vec![], vec![]));
}
