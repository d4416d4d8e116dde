//! What a wormhole does when links are slow, lost, or never come about.

use std::time::Duration;

use serde_json::json;
use wormhole_kit::{LinkId, Session};
use wormhole_magic::wormhole::{Command, Event, WormholeError};

use crate::desk::{Desk, Peer, code};

const LONG: Duration = Duration::from_secs(300);

/// Loses the link, waits for the next and is welcomed on it.
fn relink(desk: &mut Desk) {
    desk.lose_link();
    desk.pass(Duration::from_secs(2));
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    desk.hear(json!({"type": "ack"}));
}

#[test]
fn each_address_is_tried_and_the_last_failure_is_final() {
    let mut desk = Desk::with_servers(&["wss://one/v1", "ws://one:4000/v1"]);
    assert_eq!(desk.link, Some((LinkId(0), "wss://one/v1".into())));
    desk.lose_link();
    assert_eq!(desk.link, Some((LinkId(2), "ws://one:4000/v1".into())));
    desk.lose_link();
    assert_eq!(desk.error, Some(WormholeError::ServerUnreachable));
}

#[test]
fn the_address_that_answers_is_known_once_it_has_and_kept() {
    let mut desk = Desk::with_servers(&["wss://one/v1", "ws://one:4000/v1"]);
    desk.lose_link();
    desk.open_link();
    assert_eq!(desk.wormhole.server(), None);
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    let answered = "ws://one:4000/v1".parse().ok();
    assert_eq!(desk.wormhole.server(), answered.as_ref());
    relink(&mut desk);
    assert_eq!(desk.wormhole.server(), answered.as_ref());
}

#[test]
fn an_address_that_does_not_answer_is_left_for_the_next() {
    let mut desk = Desk::with_servers(&["wss://one/v1", "ws://one:4000/v1"]);
    desk.pass(Duration::from_secs(8));
    assert_eq!((&desk.closed[..], desk.link()), (&[LinkId(0)][..], LinkId(2)));
    desk.pass(LONG);
    assert_eq!(desk.error, Some(WormholeError::ServerUnreachable));
}

#[test]
fn a_server_that_does_not_welcome_anybody_is_given_up() {
    let mut desk = Desk::with_servers(&["ws://one/v1"]);
    desk.open_link();
    desk.pass(LONG);
    assert_eq!(desk.error, Some(WormholeError::ServerUnreachable));
    assert_eq!(desk.closed, [LinkId(0)]);
}

#[test]
fn no_server_at_all_is_reported_when_time_passes() {
    let mut desk = Desk::with_servers(&[]);
    desk.pass(Duration::ZERO);
    assert_eq!(desk.error, Some(WormholeError::ServerUnreachable));
}

#[test]
fn after_one_welcome_lost_links_are_opened_again_without_end_and_ever_more_slowly() {
    let mut desk = Desk::welcomed();
    desk.lose_link();
    assert_eq!(desk.events().pop(), Some(Event::ServerLost));
    let mut pauses = Vec::new();
    for _ in 0..30 {
        let before = desk.now;
        let link = desk.link();
        while desk.link() == link {
            desk.pass(Duration::from_millis(100));
        }
        pauses.push(desk.now - before);
        desk.lose_link();
    }
    assert!(pauses[0] <= Duration::from_millis(1_600), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(91)), "{pauses:?}");
    assert!(pauses[25..].iter().all(|pause| *pause >= Duration::from_secs(30)), "{pauses:?}");
    let retries = desk.events();
    let failures = retries.iter().map(|event| {
        let Event::ServerRetry { failures, .. } = event else { panic!("{event:?}") };
        *failures
    });
    assert_eq!(failures.collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert_eq!(desk.error, None);
    desk.pass(LONG);
    desk.events();
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    assert_eq!(desk.events(), []);
    desk.hear(json!({"type": "ack"}));
    assert_eq!(desk.events(), [Event::ServerFound]);
}

#[test]
fn what_was_not_answered_is_said_again_and_nothing_else() {
    let mut desk = Desk::welcomed();
    desk.command(Command::SetCode(code()));
    desk.said();
    relink(&mut desk);
    assert_eq!(desk.said_in_short(), ["bind", "claim"]);
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    desk.said_in_short();
    relink(&mut desk);
    assert_eq!(desk.said_in_short(), ["bind", "claim"]);
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(desk.said_in_short(), ["open", "add pake"]);
    let side = desk.wormhole.side().to_owned();
    desk.show(&side, "pake", "");
    relink(&mut desk);
    assert_eq!(desk.said_in_short(), ["bind", "open", "ping"]);
}

#[test]
fn a_repeated_message_is_the_same_to_the_byte() {
    let (mut desk, _peer) = Desk::with_peer();
    desk.command(Command::Send(b"x".to_vec()));
    let first = desk.said();
    relink(&mut desk);
    let again = desk.said();
    assert_eq!(first.last(), again.last());
}

#[test]
fn what_the_application_says_without_a_link_is_said_on_the_next() {
    let (mut desk, _peer) = Desk::with_peer();
    desk.hear(json!({"type": "released"}));
    let side = desk.wormhole.side().to_owned();
    for phase in ["pake", "version"] {
        desk.show(&side, phase, "");
    }
    desk.lose_link();
    desk.command(Command::Send(b"0".to_vec()));
    desk.command(Command::Send(b"1".to_vec()));
    assert!(desk.said().is_empty());
    desk.pass(Duration::from_secs(2));
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    assert_eq!(desk.said_in_short(), ["bind", "open", "ping", "add 0", "add 1"]);
}

#[test]
fn a_mailbox_shown_again_from_its_start_tells_the_application_nothing_new() {
    let (mut desk, peer) = Desk::with_peer();
    peer.say(&mut desk, "0", b"zero");
    assert_eq!(desk.messages(), [b"zero"]);
    relink(&mut desk);
    desk.events();
    peer.say(&mut desk, "version", br#"{"app_versions": {}}"#);
    peer.say(&mut desk, "0", b"zero");
    peer.say(&mut desk, "1", b"one");
    assert_eq!(desk.events(), [Event::Message(b"one".to_vec())]);
}

#[test]
fn a_key_exchange_survives_a_lost_link() {
    let mut desk = Desk::in_mailbox(&code());
    relink(&mut desk);
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    let peer = Peer::meet(&mut desk, "peer", &code());
    peer.say(&mut desk, "version", b"{}");
    assert!(desk.events().contains(&Event::Verifier(peer.key.verifier())));
}

#[test]
fn closing_without_a_link_opens_one_at_once_to_clear_up() {
    let mut desk = Desk::in_mailbox(&code());
    desk.lose_link();
    desk.said();
    desk.command(Command::Close(None));
    desk.pass(Duration::ZERO);
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    assert_eq!(desk.said_in_short(), ["bind", "release", "close"]);
    desk.hear(json!({"type": "released"}));
    desk.hear(json!({"type": "closed"}));
    assert!(matches!(desk.events().last(), Some(Event::Closed(closed)) if closed.confirmed));
}

#[test]
fn the_last_message_has_more_time_to_arrive() {
    let (mut desk, _peer) = Desk::with_peer();
    desk.lose_link();
    desk.command(Command::Send(b"bye".to_vec()));
    desk.command(Command::Close(None));
    desk.pass(Duration::from_secs(9));
    desk.events();
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    let said = desk.said_in_short();
    assert!(said.ends_with(&["add 0".into(), "close".into()]), "{said:?}");
    desk.pass(Duration::from_secs(1));
    assert!(matches!(desk.events()[..], [Event::Closed(_)]));
}

#[test]
fn nothing_is_done_before_its_deadline_or_for_a_link_that_is_gone() {
    let mut desk = Desk::in_mailbox(&code());
    let old = desk.link();
    relink(&mut desk);
    desk.said();
    desk.events();
    let closed = wormhole_kit::Input::Closed(old);
    assert_eq!(desk.wormhole.handle(desk.now, closed), Ok(()));
    let late = wormhole_kit::Input::Bytes(old, b"garbage");
    assert_eq!(desk.wormhole.handle(desk.now, late), Ok(()));
    assert_eq!(desk.wormhole.handle_timeout(desk.now), Ok(()));
    assert_eq!(desk.wormhole.poll(), None);
}

#[test]
fn a_server_that_welcomes_everybody_and_hangs_up_is_called_ever_more_slowly() {
    let mut desk = Desk::welcomed();
    let mut pauses = Vec::new();
    for _ in 0..20 {
        desk.lose_link();
        let (before, link) = (desk.now, desk.link());
        while desk.link() == link {
            desk.pass(Duration::from_millis(100));
        }
        pauses.push(desk.now - before);
        desk.open_link();
        desk.hear(json!({"type": "welcome", "welcome": {}}));
    }
    assert!(pauses[0] <= Duration::from_millis(1_600), "{pauses:?}");
    assert!(pauses[15..].iter().all(|pause| *pause >= Duration::from_secs(30)), "{pauses:?}");
    let lost = desk.events().into_iter().filter(|event| *event == Event::ServerLost);
    assert_eq!(lost.count(), 1, "it is lost all the time");
}

#[test]
fn a_link_that_was_useful_for_a_while_is_soon_opened_again() {
    let mut desk = Desk::welcomed();
    for _ in 0..20 {
        desk.hear(json!({"type": "ack"}));
        desk.pass(Duration::from_secs(10));
        desk.lose_link();
        let link = desk.link();
        desk.pass(Duration::from_millis(1_600));
        assert_ne!(desk.link(), link);
        desk.open_link();
        desk.hear(json!({"type": "welcome", "welcome": {}}));
    }
}

/// In a mailbox that holds our key-exchange message, on a link that was lost and opened again.
fn back_with_contents() -> Desk {
    let mut desk = Desk::in_mailbox(&code());
    let side = desk.wormhole.side().to_owned();
    desk.show(&side, "pake", "");
    desk.said();
    relink(&mut desk);
    desk
}

#[test]
fn a_new_link_to_a_mailbox_with_contents_repeats_no_claim() {
    let mut desk = back_with_contents();
    assert_eq!(desk.said_in_short(), ["bind", "open", "ping"]);
    let side = desk.wormhole.side().to_owned();
    desk.show(&side, "pake", "");
    desk.hear(json!({"type": "pong"}));
    assert_eq!(desk.error, None);
    let peer = Peer::start(&code()).1;
    desk.show("peer", "pake", &crate::desk::pake_body(&peer));
    assert_eq!(desk.said_in_short(), ["release", "add version"], "the nameplate is still ours");
}

#[test]
fn a_lost_mailbox_is_reported_and_a_stranger_at_its_nameplate_neither_crowded_nor_told() {
    let mut desk = back_with_contents();
    let link = desk.link();
    desk.hear(json!({"type": "pong"}));
    assert_eq!(desk.error, Some(WormholeError::MailboxLost));
    assert_eq!(desk.closed, [link]);
    let said = desk.said();
    let [_, open, _, close] = &said[..] else { panic!("{said:?}") };
    assert_eq!(*open, json!({"type": "open", "mailbox": "m"}));
    assert_eq!(*close, json!({"type": "close", "mailbox": "m", "mood": "errory"}));
}

#[test]
fn a_mailbox_that_only_the_peer_has_filled_again_is_lost() {
    let mut desk = back_with_contents();
    desk.show("peer", "pake", &crate::desk::pake_body(&Peer::start(&code()).1));
    desk.hear(json!({"type": "pong"}));
    assert_eq!(desk.error, Some(WormholeError::MailboxLost));
}

/// In a mailbox that is not known to hold anything, on a link that was lost and opened again.
fn back_without_contents() -> Desk {
    let mut desk = Desk::in_mailbox(&code());
    desk.said();
    relink(&mut desk);
    assert_eq!(desk.said_in_short(), ["bind", "claim"]);
    desk
}

#[test]
fn nothing_is_put_into_another_mailbox_that_the_nameplate_stands_for_now() {
    let mut desk = back_without_contents();
    desk.hear(json!({"type": "claimed", "mailbox": "another"}));
    assert_eq!(desk.error, Some(WormholeError::MailboxLost));
    let close = json!({"type": "close", "mailbox": "another", "mood": "errory"});
    assert_eq!(desk.said(), [json!({"type": "release", "nameplate": "4"}), close]);
}

#[test]
fn a_repeated_claim_that_a_busy_server_refuses_is_made_again_later() {
    let mut desk = back_without_contents();
    let busy = "too many claims from your address, try again later";
    for refusals in 1..=5 {
        let link = desk.link();
        desk.hear(json!({"type": "error", "error": busy, "orig": {"type": "claim"}}));
        assert_eq!((&desk.error, desk.closed.len()), (&None, refusals));
        desk.pass(Duration::from_secs(12));
        assert_ne!(desk.link(), link);
        desk.open_link();
        desk.hear(json!({"type": "welcome", "welcome": {}}));
        assert_eq!(desk.said_in_short(), ["bind", "claim"]);
    }
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(desk.said_in_short(), ["open", "add pake"]);
}

#[test]
fn a_nameplate_that_others_use_now_is_refused_on_the_next_link() {
    let mut desk = back_without_contents();
    desk.hear(json!({"type": "error", "error": "crowded", "orig": {"type": "claim"}}));
    assert!(matches!(desk.error, Some(WormholeError::ServerRefused(_))), "{:?}", desk.error);
}

#[test]
fn a_first_claim_that_is_refused_ends_the_wormhole() {
    let mut desk = Desk::welcomed();
    desk.command(Command::SetCode(code()));
    relink(&mut desk);
    desk.hear(json!({"type": "error", "error": "try again later", "orig": {"type": "claim"}}));
    assert!(matches!(desk.error, Some(WormholeError::ServerRefused(_))), "{:?}", desk.error);
}

#[test]
fn what_waits_when_the_link_comes_back_is_said_before_closing() {
    let (mut desk, _peer) = Desk::with_peer();
    desk.lose_link();
    desk.command(Command::Send(b"bye".to_vec()));
    desk.pass(Duration::from_secs(2));
    desk.open_link();
    desk.hear(json!({"type": "welcome", "welcome": {}}));
    desk.command(Command::Close(None));
    let said = desk.said_in_short();
    assert!(said.ends_with(&["add 0".into(), "close".into()]), "{said:?}");
}

#[test]
fn a_mailbox_that_was_forgotten_after_both_had_met_is_noticed() {
    let met = || {
        let (mut desk, peer) = Desk::with_peer();
        desk.hear(json!({"type": "released"}));
        let side = desk.wormhole.side().to_owned();
        for phase in ["pake", "version"] {
            desk.show(&side, phase, "");
        }
        desk.said();
        relink(&mut desk);
        assert_eq!(desk.said_in_short(), ["bind", "open", "ping"]);
        (desk, peer)
    };
    let (mut desk, _) = met();
    desk.hear(json!({"type": "pong"}));
    assert_eq!(desk.error, Some(WormholeError::MailboxLost));
    // One that still holds something is the same one, and so may be one that cannot be asked.
    let (mut desk, peer) = met();
    let side = desk.wormhole.side().to_owned();
    peer.say(&mut desk, "version", br#"{"app_versions": {}}"#);
    desk.show(&side, "pake", "");
    desk.hear(json!({"type": "pong"}));
    assert_eq!(desk.error, None);
    let (mut desk, _) = met();
    desk.hear(json!({"type": "error", "error": "unknown type", "orig": {"type": "ping"}}));
    desk.hear(json!({"type": "pong"}));
    assert_eq!(desk.error, None);
}

#[test]
fn nothing_is_added_before_the_mailbox_is_known_to_be_the_same() {
    let mut desk = Desk::welcomed();
    desk.command(Command::InputNameplate(code().nameplate().clone()));
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    relink(&mut desk);
    desk.said();
    let password = "purple-sausages";
    desk.command(Command::InputPassword(wormhole_magic::code::Password::parse(password).unwrap()));
    assert!(desk.said().is_empty());
    desk.hear(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(desk.said_in_short(), ["open", "add pake"]);
}
