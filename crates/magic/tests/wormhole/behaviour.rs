//! What a wormhole does when all goes well.

use std::num::NonZeroU8;
use std::time::Duration;

use serde_json::json;
use wormhole_kit::Session;
use wormhole_magic::code::{Nameplate, Password};
use wormhole_magic::mailbox::Mood;
use wormhole_magic::mailbox::hashcash;
use wormhole_magic::mailbox::message::HashcashDemand;
use wormhole_magic::wormhole::{ApiMisuse, Command, Config, Event, PeerVersion, ServerMisbehaved};

use crate::client::{Peer, TestClient, code, pake_body};

#[test]
fn a_code_is_allocated_and_its_mailbox_entered() {
    let mut client = TestClient::welcomed();
    client.command(Command::AllocateCode { words: NonZeroU8::new(2).unwrap() });
    assert_eq!(client.sent_in_short(), ["bind", "allocate"]);
    client.receive(json!({"type": "allocated", "nameplate": "7"}));
    let events = client.events();
    let [Event::Server(_), Event::Welcome(_), Event::Code(code)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(code.nameplate().as_str(), "7");
    assert_eq!(client.sent_in_short(), ["claim"]);
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(client.sent_in_short(), ["open", "add pake"]);
}

#[test]
fn a_wormhole_for_dilation_announces_it_and_numbers_its_messages_separately() {
    let servers = vec!["ws://one/v1".parse().unwrap()];
    let config = Config { servers, can_dilate: true, ..Config::default() };
    let mut client = TestClient::with_config(config);
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    client.command(Command::SetCode(code()));
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    let peer = Peer::connect(&mut client, "peer", &code());
    let version = PeerVersion::parse(&peer.open(&client, "version")).unwrap();
    assert_eq!(version.get("can-dilate"), Some(&json!(["ged-credit", "ged"])));
    let abilities = json!([{"type": "direct-tcp-v1"}, {"type": "relay-v1"}]);
    assert_eq!(version.get("dilation-abilities"), Some(&abilities));
    peer.send(&mut client, "version", b"{}");
    client.command(Command::SendDilation(b"{}".to_vec()));
    client.command(Command::Send(b"hello".to_vec()));
    client.command(Command::SendDilation(b"[]".to_vec()));
    for (phase, message) in [("dilate-0", &b"{}"[..]), ("0", b"hello"), ("dilate-1", b"[]")] {
        assert_eq!(peer.open(&client, phase), message);
    }
}

#[test]
fn a_wormhole_that_must_hurry_reconnects_without_a_pause() {
    let (mut client, _) = TestClient::with_peer();
    client.lose_link();
    let waits_until = client.wormhole.deadline().unwrap();
    assert!(waits_until > client.now);
    client.command(Command::Hurry);
    assert_eq!(client.wormhole.deadline(), Some(client.now));
}

#[test]
fn the_first_words_are_said_once_the_server_has_welcomed_us() {
    let mut client = TestClient::with_servers(&["ws://one/v1"]);
    client.command(Command::SetCode(code()));
    client.open_link();
    assert!(client.sent().is_empty());
    client.receive(json!({"type": "welcome", "welcome": {"motd": "hello"}}));
    let sent = client.sent();
    let [bind, claim] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(bind["appid"], "lothar.com/wormhole/text-or-file-xfer");
    assert_eq!(bind["side"], client.wormhole.side());
    assert_eq!(*claim, json!({"type": "claim", "nameplate": "4"}));
    let events = client.events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Welcome(w) if w.motd.as_deref() == Some("hello")))
    );
}

#[test]
fn a_peer_brings_a_key_a_verifier_its_versions_and_its_messages() {
    let mut client = TestClient::in_mailbox(&code());
    client.command(Command::Send(b"early".to_vec()));
    client.events();
    let peer = Peer::connect(&mut client, "peer", &code());
    assert_eq!(client.events(), [Event::Key(peer.key.clone())]);
    assert_eq!(peer.open(&client, "version"), br#"{"app_versions":{}}"#);
    assert_eq!(
        client.sent_in_short(),
        ["bind", "claim", "open", "add pake", "release", "add version"],
        "nothing of the application is sent before the key is confirmed"
    );
    client.receive(json!({"type": "released"}));
    let version = br#"{"app_versions": {"x": 1}, "can-dilate": ["ged"]}"#;
    peer.send(&mut client, "version", version);
    peer.send(&mut client, "0", b"hello");
    let told = [
        Event::CodeConsumed,
        Event::Verifier(peer.key.verifier()),
        Event::Version(PeerVersion::parse(version).unwrap()),
        Event::Message(b"hello".to_vec()),
    ];
    assert_eq!(client.events(), told);
    assert_eq!(peer.open(&client, "0"), b"early");
    client.command(Command::Send(b"late".to_vec()));
    assert_eq!(peer.open(&client, "1"), b"late");
}

#[test]
fn a_nameplate_is_claimed_while_the_words_are_still_being_typed() {
    let mut client = TestClient::welcomed();
    client.command(Command::RefreshNameplates);
    let listed = json!([{"id": "4"}, {"id": "x"}, {"id": "12"}]);
    client.receive(json!({"type": "nameplates", "nameplates": listed}));
    let plate = |text| Nameplate::parse(text).unwrap();
    assert_eq!(client.events()[2..], [Event::Nameplates(vec![plate("4"), plate("12")])]);
    client.command(Command::InputNameplate(plate("4")));
    assert_eq!(client.sent_in_short(), ["bind", "list", "claim"]);
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(client.events(), [Event::NameplateClaimed]);
    assert_eq!(client.sent_in_short(), ["open"]);
    client.command(Command::InputPassword(Password::parse("purple-sausages").unwrap()));
    assert_eq!(client.events(), [Event::Code(code())]);
    Peer::connect(&mut client, "peer", &code());
    assert_eq!(client.sent_in_short(), ["add pake", "release", "add version"]);
}

#[test]
fn a_peer_that_comes_while_the_words_are_being_typed_waits() {
    let mut client = TestClient::welcomed();
    client.command(Command::InputNameplate(Nameplate::parse("4").unwrap()));
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    let (spake2, message) = Peer::start(&code());
    client.deliver("peer", "pake", &pake_body(&message));
    assert_eq!(client.sent_in_short(), ["bind", "claim", "open", "release"]);
    client.events();
    client.command(Command::InputPassword(Password::parse("purple-sausages").unwrap()));
    let peer = Peer::finish(spake2, &client, "peer");
    assert_eq!(client.events(), [Event::Code(code()), Event::Key(peer.key)]);
    assert_eq!(client.sent_in_short(), ["add pake", "add version"]);
}

#[test]
fn closing_gives_everything_back_and_says_how_it_went() {
    let (mut client, _peer) = TestClient::with_peer();
    client.receive(json!({"type": "released"}));
    client.command(Command::Close(None));
    assert_eq!(client.sent(), [json!({"type": "close", "mailbox": "m", "mood": "happy"})]);
    client.receive(json!({"type": "closed"}));
    let events = client.events();
    let Some(Event::Closed(closed)) = events.last() else { panic!("{events:?}") };
    assert!(closed.mood == Mood::Happy && closed.confirmed);
    assert_eq!(client.closed, [client.link()]);
    assert_eq!(client.wormhole.deadline(), None);
}

#[test]
fn without_a_peer_the_mood_is_lonely_unless_the_application_knows_better() {
    for (mood, word) in [(None, "lonely"), (Some(Mood::Errory), "errory")] {
        let mut client = TestClient::in_mailbox(&code());
        client.sent();
        client.command(Command::Close(mood));
        let close = json!({"type": "close", "mailbox": "m", "mood": word});
        assert_eq!(client.sent(), [json!({"type": "release", "nameplate": "4"}), close]);
    }
}

#[test]
fn closing_in_the_middle_of_an_allocation_leaves_nothing_at_the_server() {
    let mut client = TestClient::welcomed();
    client.command(Command::AllocateCode { words: NonZeroU8::MIN });
    client.sent();
    client.command(Command::Close(None));
    assert!(client.sent().is_empty());
    client.receive(json!({"type": "allocated", "nameplate": "7"}));
    assert_eq!(client.sent_in_short(), ["claim"]);
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(client.sent_in_short(), ["release", "close"], "no pake that a peer could answer");
    client.receive(json!({"type": "released"}));
    client.receive(json!({"type": "closed"}));
    assert!(
        matches!(client.events()[..], [Event::Server(_), Event::Welcome(_), Event::Closed(closed)] if closed.confirmed)
    );
}

#[test]
fn closing_is_over_in_two_seconds_whatever_the_server_does() {
    let mut client = TestClient::in_mailbox(&code());
    client.command(Command::Close(None));
    client.events();
    client.advance(Duration::from_millis(1_999));
    assert!(client.events().is_empty());
    client.advance(Duration::from_millis(1));
    assert!(matches!(client.events()[..], [Event::Closed(closed)] if !closed.confirmed));
    client.receive(json!({"type": "closed"}));
    assert!(client.events().is_empty(), "nothing comes after the end");
}

#[test]
fn closing_before_there_is_a_link_is_over_at_once() {
    let mut client = TestClient::with_servers(&["ws://one/v1"]);
    client.command(Command::SetCode(code()));
    client.events();
    client.command(Command::Close(None));
    assert!(matches!(client.events()[..], [Event::Closed(closed)] if closed.confirmed));
    assert_eq!(client.closed, [client.link()]);
}

#[test]
fn what_the_server_refuses_while_closing_is_as_good_as_done() {
    let mut client = TestClient::in_mailbox(&code());
    client.command(Command::Close(None));
    client.receive(json!({"type": "error", "error": "no", "orig": {"type": "release"}}));
    client.receive(json!({"type": "error", "error": "no", "orig": {"type": "close"}}));
    assert!(matches!(client.events().last(), Some(Event::Closed(closed)) if closed.confirmed));
    assert_eq!(client.error, None);
}

#[test]
fn a_code_is_chosen_once() {
    let mut client = TestClient::in_mailbox(&code());
    client.command(Command::AllocateCode { words: NonZeroU8::MIN });
    assert_eq!(client.error, Some(ApiMisuse::CodeAlreadyChosen.into()));
}

#[test]
fn no_more_is_wanted_while_much_has_yet_to_arrive() {
    let (mut client, _peer) = TestClient::with_peer();
    assert!(client.wormhole.wants_input());
    client.command(Command::Send(vec![0; 1 << 20]));
    assert!(!client.wormhole.wants_input());
    let side = client.wormhole.side().to_owned();
    client.deliver(&side, "0", "");
    assert!(client.wormhole.wants_input());
}

#[test]
fn work_is_done_where_it_is_demanded_and_shown_before_anything_else() {
    let mut client = TestClient::with_servers(&["ws://one/v1"]);
    client.open_link();
    let demand = json!({"hashcash": {"bits": 8, "resource": "here"}});
    client.receive(json!({"type": "welcome", "welcome": {"permission-required": demand}}));
    assert!(client.sent().is_empty());
    client.advance(Duration::ZERO);
    let sent = client.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0]["type"], "submit-permissions");
    assert_eq!(sent[0]["method"], "hashcash");
    let demand = HashcashDemand::new(8, "here".into());
    assert!(hashcash::verify(sent[0]["stamp"].as_str().unwrap(), &demand));
    assert_eq!(sent[1]["type"], "bind");
}

#[test]
fn no_work_is_done_where_none_is_an_offer_too() {
    let mut client = TestClient::with_servers(&["ws://one/v1"]);
    client.open_link();
    let ways = json!({"none": {}, "hashcash": {"bits": 8, "resource": "here"}});
    client.receive(json!({"type": "welcome", "welcome": {"permission-required": ways}}));
    assert_eq!(client.sent_in_short(), ["bind"]);
}

#[test]
fn impossible_requirements_of_a_server_are_an_error() {
    let unknown = json!({"captcha": {}});
    let endless = json!({"hashcash": {"bits": 60, "resource": "here"}});
    for (demand, expected) in [
        (unknown, ServerMisbehaved::UnknownPermissions),
        (endless, ServerMisbehaved::ImpossibleDemand(hashcash::ImpossibleDemand::TooMuchWork(60))),
    ] {
        let mut client = TestClient::with_servers(&["ws://one/v1"]);
        client.open_link();
        client.receive(json!({"type": "welcome", "welcome": {"permission-required": demand}}));
        assert_eq!(client.error, Some(expected.into()));
    }
}
