//! What servers, peers and strangers may send and should not.

use serde_json::{Value, json};
use wormhole_magic::mailbox::MalformedMessage;
use wormhole_magic::mailbox::message::MAX_FRAME;
use wormhole_magic::spake2::PakeError;
use wormhole_magic::wormhole::{
    Command, Event, PeerMisbehaved, PeerVersion, ServerMisbehaved, ServerText, WormholeError,
};

use crate::client::{Peer, TestClient, code, pake_body};

/// The moods of the `close` messages that a wormhole sent.
fn moods(client: &mut TestClient) -> Vec<Value> {
    client.sent().into_iter().filter(|m| m["type"] == "close").map(|m| m["mood"].clone()).collect()
}

#[test]
fn a_server_that_violates_the_protocol_is_disconnected() {
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
        let mut client = TestClient::in_mailbox(&code());
        client.receive_bytes(frame);
        let malformed = ServerMisbehaved::Malformed(MalformedMessage::Shape);
        assert_eq!(client.error, Some(malformed.into()), "{}", String::from_utf8_lossy(frame));
        assert_eq!(moods(&mut client), ["errory"]);
    }
    let mut client = TestClient::welcomed();
    client.receive_bytes(&vec![b' '; MAX_FRAME + 1]);
    let malformed = ServerMisbehaved::Malformed(MalformedMessage::TooLong(MAX_FRAME + 1));
    assert_eq!(client.error, Some(malformed.into()));
}

#[test]
fn words_of_a_server_that_we_do_not_know_change_nothing() {
    let mut client = TestClient::in_mailbox(&code());
    client.sent();
    client.events();
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
        client.receive(message);
    }
    assert_eq!((client.sent(), client.events(), client.error), (vec![], vec![], None));
}

#[test]
fn a_nameplate_that_is_no_number_is_not_allocated() {
    let long = "1".repeat(41);
    for nameplate in ["", "x", "-1", "4\n", "٤", " 4", &long] {
        let mut client = TestClient::welcomed();
        client.command(Command::AllocateCode { words: std::num::NonZeroU8::MIN });
        client.receive(json!({"type": "allocated", "nameplate": nameplate}));
        assert_eq!(client.error, Some(ServerMisbehaved::BadNameplate.into()), "{nameplate:?}");
    }
}

#[test]
fn nothing_is_sent_to_a_server_that_rejects_us() {
    let mut client = TestClient::with_servers(&["ws://one/v1", "ws://two/v1"]);
    client.command(Command::SetCode(code()));
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {"error": "upgrade\u{1b}[2J first"}}));
    let text = ServerText::new("upgrade [2J first");
    assert_eq!(client.error, Some(WormholeError::Unwelcome(text)));
    assert!(client.sent().is_empty());
    assert_eq!(client.closed, [client.link()]);
}

#[test]
fn what_the_server_refuses_ends_the_wormhole() {
    let mut client = TestClient::welcomed();
    client.command(Command::SetCode(code()));
    client.receive(json!({"type": "error", "error": "crowded", "orig": {"type": "claim"}}));
    assert_eq!(client.error, Some(WormholeError::ServerRefused(ServerText::new("crowded"))));
}

#[test]
fn a_server_that_hides_its_nameplates_does_no_harm() {
    let mut client = TestClient::welcomed();
    client.events();
    client.command(Command::RefreshNameplates);
    client.receive(json!({"type": "error", "error": "no", "orig": {"type": "list"}}));
    assert_eq!((client.events(), client.error), (vec![Event::Nameplates(vec![])], None));
}

#[test]
fn a_broken_key_exchange_is_scary() {
    let hex = |text: &str| data_encoding::HEXLOWER.encode(text.as_bytes());
    let own = |client: &TestClient| data_encoding::HEXLOWER.encode(&client.body("pake"));
    let mut low_order = [0; 33];
    low_order[0] = b'S';
    let mut wrong_side = [0; 33];
    wrong_side[0] = b'A';
    let reflected = own(&TestClient::in_mailbox(&code()));
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
        let mut client = TestClient::in_mailbox(&code());
        client.deliver("peer", "pake", &body);
        assert_eq!(client.error, Some(expected.into()), "{body}");
        assert_eq!(moods(&mut client), ["scary"]);
    }
}

#[test]
fn a_first_message_that_does_not_open_means_another_code() {
    for garbage in [String::new(), "00".repeat(8), "00".repeat(100)] {
        let mut client = TestClient::in_mailbox(&code());
        let peer = Peer::connect(&mut client, "peer", &code());
        client.deliver(&peer.side, "version", &garbage);
        assert_eq!(client.error, Some(WormholeError::WrongCode));
        let sent = client.sent();
        assert_eq!(sent.last().unwrap()["mood"], "scary");
    }
}

#[test]
fn a_later_message_that_does_not_open_is_a_forgery() {
    for phase in ["0", "unheard-of", "dilate-0"] {
        let (mut client, peer) = TestClient::with_peer();
        client.deliver(&peer.side, phase, &"00".repeat(60));
        assert_eq!(client.error, Some(PeerMisbehaved::Forged.into()), "{phase}");
        assert_eq!(moods(&mut client), ["scary"]);
    }
}

#[test]
fn a_message_moved_to_another_phase_or_side_does_not_open() {
    let (mut client, peer) = TestClient::with_peer();
    let sealed = peer.seal("0", b"x");
    client.deliver(&peer.side, "1", &sealed);
    assert_eq!(client.error, Some(PeerMisbehaved::Forged.into()));
    let (mut client, peer) = TestClient::with_peer();
    client.deliver("stranger", "0", &peer.seal("0", b"x"));
    assert_eq!((client.messages().len(), client.error), (0, None));
}

#[test]
fn a_version_that_is_not_an_object_is_an_error_and_one_without_our_key_is_not() {
    for plaintext in [&b"garbage"[..], b"", b"[]", b"7", b"\xff"] {
        let mut client = TestClient::in_mailbox(&code());
        let peer = Peer::connect(&mut client, "peer", &code());
        peer.send(&mut client, "version", plaintext);
        assert_eq!(client.error, Some(PeerMisbehaved::VersionMalformed.into()));
        assert_eq!(moods(&mut client), ["errory"]);
    }
    let mut client = TestClient::in_mailbox(&code());
    let peer = Peer::connect(&mut client, "peer", &code());
    peer.send(&mut client, "version", br#"{"later": true}"#);
    assert!(
        client
            .events()
            .contains(&Event::Version(PeerVersion::parse(br#"{"later": true}"#).unwrap()))
    );
}

#[test]
fn a_third_side_is_not_listened_to_once_the_peer_is_known() {
    let mut client = TestClient::in_mailbox(&code());
    client.deliver("stranger", "version", "00");
    let peer = Peer::connect(&mut client, "peer", &code());
    client.deliver("stranger", "pake", "garbage");
    client.deliver("stranger", "0", &"00".repeat(60));
    peer.send(&mut client, "version", b"{}");
    client.deliver("stranger", "0", "not even hex");
    peer.send(&mut client, "0", b"hello");
    assert_eq!((client.messages(), client.error), (vec![b"hello".to_vec()], None));
}

#[test]
fn only_the_first_message_of_a_phase_counts() {
    let (mut client, peer) = TestClient::with_peer();
    peer.send(&mut client, "0", b"first");
    peer.send(&mut client, "0", b"second");
    client.deliver(&peer.side, "0", "not even hex");
    assert_eq!((client.messages(), client.error), (vec![b"first".to_vec()], None));
}

#[test]
fn phases_that_are_not_quite_numbers_are_opened_and_passed_over() {
    let (mut client, peer) = TestClient::with_peer();
    for phase in ["00", "+0", "-1", "0 ", "٠", "dilate-0", "", "18446744073709551616"] {
        peer.send(&mut client, phase, b"x");
    }
    assert_eq!((client.messages().len(), client.error), (0, None));
}

#[test]
fn a_message_far_ahead_of_the_others_is_an_error() {
    let (mut client, peer) = TestClient::with_peer();
    peer.send(&mut client, "18446744073709551615", b"x");
    assert_eq!(client.error, Some(PeerMisbehaved::PhaseMissing(0).into()));
}

#[test]
fn a_flood_before_the_key_is_cut_off() {
    let mut client = TestClient::in_mailbox(&code());
    for number in 0..300 {
        client.deliver("stranger", &number.to_string(), "00");
    }
    assert_eq!(client.error, Some(PeerMisbehaved::TooManyEarlyMessages.into()));
    let mut client = TestClient::in_mailbox(&code());
    let megabytes = "00".repeat(4 << 20);
    for number in 0..9 {
        client.deliver("stranger", &number.to_string(), &megabytes);
    }
    assert_eq!(client.error, Some(PeerMisbehaved::TooManyEarlyMessages.into()));
}

#[test]
fn nothing_is_received_or_sent_after_an_error() {
    let (mut client, peer) = TestClient::with_peer();
    client.deliver(&peer.side, "0", "no hex");
    client.sent();
    client.events();
    peer.send(&mut client, "0", b"x");
    client.command(Command::Send(b"x".to_vec()));
    client.command(Command::Close(None));
    client.lose_link();
    client.advance(std::time::Duration::from_secs(600));
    assert_eq!((client.sent(), client.events()), (vec![], vec![]));
}
