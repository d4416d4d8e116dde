//! What a wormhole does when all goes well.

use std::num::NonZeroU8;
use std::time::Duration;

use serde_json::json;
use wormhole_kit::Session;
use wormhole_magic::code::{Nameplate, Password};
use wormhole_magic::mailbox::Mood;
use wormhole_magic::mailbox::hashcash;
use wormhole_magic::mailbox::message::HashcashDemand;
use wormhole_magic::wormhole::{ApiMisuse, Command, Event, PeerVersion, ServerMisbehaved};

use crate::desk::{Desk, Peer, code, pake_body};

#[test]
fn a_code_is_allocated_and_its_mailbox_entered() {
    let mut desk = Desk::welcomed();
    desk.command(Command::AllocateCode { words: NonZeroU8::new(2).unwrap() });
    assert_eq!(desk.said_in_short(), ["bind", "allocate"]);
    desk.hear(json!({"type": "allocated", "nameplate": "7"}));
    let events = desk.events();
    let [Event::Server(_), Event::Welcome(_), Event::Code(code)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(code.nameplate().as_str(), "7");
    assert_eq!(desk.said_in_short(), ["claim"]);
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(desk.said_in_short(), ["open", "add pake"]);
}

#[test]
fn the_first_words_are_said_once_the_server_has_welcomed_us() {
    let mut desk = Desk::with_servers(&["ws://one/v1"]);
    desk.command(Command::SetCode(code()));
    desk.open_link();
    assert!(desk.said().is_empty());
    desk.hear(json!({"type": "welcome", "welcome": {"motd": "hello"}}));
    let said = desk.said();
    let [bind, claim] = &said[..] else { panic!("{said:?}") };
    assert_eq!(bind["appid"], "lothar.com/wormhole/text-or-file-xfer");
    assert_eq!(bind["side"], desk.wormhole.side());
    assert_eq!(*claim, json!({"type": "claim", "nameplate": "4"}));
    let events = desk.events();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Welcome(w) if w.motd.as_deref() == Some("hello")))
    );
}

#[test]
fn a_peer_brings_a_key_a_verifier_its_versions_and_its_messages() {
    let mut desk = Desk::in_mailbox(&code());
    desk.command(Command::Send(b"early".to_vec()));
    desk.events();
    let peer = Peer::meet(&mut desk, "peer", &code());
    assert_eq!(desk.events(), [Event::Key(peer.key.clone())]);
    assert_eq!(peer.open(&desk, "version"), br#"{"app_versions":{}}"#);
    assert_eq!(
        desk.said_in_short(),
        ["bind", "claim", "open", "add pake", "release", "add version"],
        "nothing of the application is said before the key is confirmed"
    );
    desk.hear(json!({"type": "released"}));
    let version = br#"{"app_versions": {"x": 1}, "can-dilate": ["ged"]}"#;
    peer.say(&mut desk, "version", version);
    peer.say(&mut desk, "0", b"hello");
    let told = [
        Event::CodeConsumed,
        Event::Verifier(peer.key.verifier()),
        Event::Version(PeerVersion::parse(version).unwrap()),
        Event::Message(b"hello".to_vec()),
    ];
    assert_eq!(desk.events(), told);
    assert_eq!(peer.open(&desk, "0"), b"early");
    desk.command(Command::Send(b"late".to_vec()));
    assert_eq!(peer.open(&desk, "1"), b"late");
}

#[test]
fn a_nameplate_is_claimed_while_the_words_are_still_being_typed() {
    let mut desk = Desk::welcomed();
    desk.command(Command::RefreshNameplates);
    let listed = json!([{"id": "4"}, {"id": "x"}, {"id": "12"}]);
    desk.hear(json!({"type": "nameplates", "nameplates": listed}));
    let plate = |text| Nameplate::parse(text).unwrap();
    assert_eq!(desk.events()[2..], [Event::Nameplates(vec![plate("4"), plate("12")])]);
    desk.command(Command::InputNameplate(plate("4")));
    assert_eq!(desk.said_in_short(), ["bind", "list", "claim"]);
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(desk.events(), [Event::NameplateClaimed]);
    assert_eq!(desk.said_in_short(), ["open"]);
    desk.command(Command::InputPassword(Password::parse("purple-sausages").unwrap()));
    assert_eq!(desk.events(), [Event::Code(code())]);
    Peer::meet(&mut desk, "peer", &code());
    assert_eq!(desk.said_in_short(), ["add pake", "release", "add version"]);
}

#[test]
fn a_peer_that_comes_while_the_words_are_being_typed_waits() {
    let mut desk = Desk::welcomed();
    desk.command(Command::InputNameplate(Nameplate::parse("4").unwrap()));
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    let (spake2, message) = Peer::start(&code());
    desk.show("peer", "pake", &pake_body(&message));
    assert_eq!(desk.said_in_short(), ["bind", "claim", "open", "release"]);
    desk.events();
    desk.command(Command::InputPassword(Password::parse("purple-sausages").unwrap()));
    let peer = Peer::finish(spake2, &desk, "peer");
    assert_eq!(desk.events(), [Event::Code(code()), Event::Key(peer.key)]);
    assert_eq!(desk.said_in_short(), ["add pake", "add version"]);
}

#[test]
fn closing_gives_everything_back_and_says_how_it_went() {
    let (mut desk, _peer) = Desk::with_peer();
    desk.hear(json!({"type": "released"}));
    desk.command(Command::Close(None));
    assert_eq!(desk.said(), [json!({"type": "close", "mailbox": "m", "mood": "happy"})]);
    desk.hear(json!({"type": "closed"}));
    let events = desk.events();
    let Some(Event::Closed(closed)) = events.last() else { panic!("{events:?}") };
    assert!(closed.mood == Mood::Happy && closed.confirmed);
    assert_eq!(desk.closed, [desk.link()]);
    assert_eq!(desk.wormhole.deadline(), None);
}

#[test]
fn without_a_peer_the_mood_is_lonely_unless_the_application_knows_better() {
    for (mood, word) in [(None, "lonely"), (Some(Mood::Errory), "errory")] {
        let mut desk = Desk::in_mailbox(&code());
        desk.said();
        desk.command(Command::Close(mood));
        let close = json!({"type": "close", "mailbox": "m", "mood": word});
        assert_eq!(desk.said(), [json!({"type": "release", "nameplate": "4"}), close]);
    }
}

#[test]
fn closing_in_the_middle_of_an_allocation_leaves_nothing_at_the_server() {
    let mut desk = Desk::welcomed();
    desk.command(Command::AllocateCode { words: NonZeroU8::MIN });
    desk.said();
    desk.command(Command::Close(None));
    assert!(desk.said().is_empty());
    desk.hear(json!({"type": "allocated", "nameplate": "7"}));
    assert_eq!(desk.said_in_short(), ["claim"]);
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(desk.said_in_short(), ["release", "close"], "no pake that a peer could answer");
    desk.hear(json!({"type": "released"}));
    desk.hear(json!({"type": "closed"}));
    assert!(
        matches!(desk.events()[..], [Event::Server(_), Event::Welcome(_), Event::Closed(closed)] if closed.confirmed)
    );
}

#[test]
fn closing_is_over_in_two_seconds_whatever_the_server_does() {
    let mut desk = Desk::in_mailbox(&code());
    desk.command(Command::Close(None));
    desk.events();
    desk.pass(Duration::from_millis(1_999));
    assert!(desk.events().is_empty());
    desk.pass(Duration::from_millis(1));
    assert!(matches!(desk.events()[..], [Event::Closed(closed)] if !closed.confirmed));
    desk.hear(json!({"type": "closed"}));
    assert!(desk.events().is_empty(), "nothing comes after the end");
}

#[test]
fn closing_before_there_is_a_link_is_over_at_once() {
    let mut desk = Desk::with_servers(&["ws://one/v1"]);
    desk.command(Command::SetCode(code()));
    desk.events();
    desk.command(Command::Close(None));
    assert!(matches!(desk.events()[..], [Event::Closed(closed)] if closed.confirmed));
    assert_eq!(desk.closed, [desk.link()]);
}

#[test]
fn what_the_server_refuses_while_closing_is_as_good_as_done() {
    let mut desk = Desk::in_mailbox(&code());
    desk.command(Command::Close(None));
    desk.hear(json!({"type": "error", "error": "no", "orig": {"type": "release"}}));
    desk.hear(json!({"type": "error", "error": "no", "orig": {"type": "close"}}));
    assert!(matches!(desk.events().last(), Some(Event::Closed(closed)) if closed.confirmed));
    assert_eq!(desk.error, None);
}

#[test]
fn a_code_is_chosen_once() {
    let mut desk = Desk::in_mailbox(&code());
    desk.command(Command::AllocateCode { words: NonZeroU8::MIN });
    assert_eq!(desk.error, Some(ApiMisuse::CodeAlreadyChosen.into()));
}

#[test]
fn no_more_is_wanted_while_much_has_yet_to_arrive() {
    let (mut desk, _peer) = Desk::with_peer();
    assert!(desk.wormhole.wants_input());
    desk.command(Command::Send(vec![0; 1 << 20]));
    assert!(!desk.wormhole.wants_input());
    let side = desk.wormhole.side().to_owned();
    desk.show(&side, "0", "");
    assert!(desk.wormhole.wants_input());
}

#[test]
fn work_is_done_where_it_is_demanded_and_shown_before_anything_else() {
    let mut desk = Desk::with_servers(&["ws://one/v1"]);
    desk.open_link();
    let demand = json!({"hashcash": {"bits": 8, "resource": "here"}});
    desk.hear(json!({"type": "welcome", "welcome": {"permission-required": demand}}));
    assert!(desk.said().is_empty());
    desk.pass(Duration::ZERO);
    let said = desk.said();
    assert_eq!(said.len(), 2);
    assert_eq!(said[0]["type"], "submit-permissions");
    assert_eq!(said[0]["method"], "hashcash");
    let demand = HashcashDemand::new(8, "here".into());
    assert!(hashcash::verify(said[0]["stamp"].as_str().unwrap(), &demand));
    assert_eq!(said[1]["type"], "bind");
}

#[test]
fn no_work_is_done_where_none_is_an_offer_too() {
    let mut desk = Desk::with_servers(&["ws://one/v1"]);
    desk.open_link();
    let ways = json!({"none": {}, "hashcash": {"bits": 8, "resource": "here"}});
    desk.hear(json!({"type": "welcome", "welcome": {"permission-required": ways}}));
    assert_eq!(desk.said_in_short(), ["bind"]);
}

#[test]
fn demands_that_nobody_can_meet_are_an_error() {
    let unknown = json!({"captcha": {}});
    let endless = json!({"hashcash": {"bits": 60, "resource": "here"}});
    for (demand, expected) in [
        (unknown, ServerMisbehaved::UnknownPermissions),
        (endless, ServerMisbehaved::ImpossibleDemand(hashcash::ImpossibleDemand::TooMuchWork(60))),
    ] {
        let mut desk = Desk::with_servers(&["ws://one/v1"]);
        desk.open_link();
        desk.hear(json!({"type": "welcome", "welcome": {"permission-required": demand}}));
        assert_eq!(desk.error, Some(expected.into()));
    }
}
