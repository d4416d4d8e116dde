//! What a wormhole does when links are slow, lost, or never come about.

use std::time::Duration;

use serde_json::json;
use wormhole_kit::{LinkId, Session};
use wormhole_magic::wormhole::{Command, Event, WormholeError};

use crate::client::{Peer, TestClient, code};

const LONG: Duration = Duration::from_secs(300);

/// Loses the link, waits for the next and is welcomed on it.
fn relink(client: &mut TestClient) {
    client.lose_link();
    client.advance(Duration::from_secs(2));
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    client.receive(json!({"type": "ack"}));
}

#[test]
fn each_address_is_tried_and_the_last_failure_is_final() {
    let mut client = TestClient::with_servers(&["wss://one/v1", "ws://one:4000/v1"]);
    assert_eq!(client.link, Some((LinkId(0), "wss://one/v1".into())));
    client.lose_link();
    assert_eq!(client.link, Some((LinkId(2), "ws://one:4000/v1".into())));
    client.lose_link();
    assert_eq!(client.error, Some(WormholeError::ServerUnreachable));
}

#[test]
fn the_address_that_answers_is_known_once_it_has_and_kept() {
    let mut client = TestClient::with_servers(&["wss://one/v1", "ws://one:4000/v1"]);
    client.lose_link();
    client.open_link();
    assert_eq!(client.wormhole.server(), None);
    client.receive(json!({"type": "welcome", "welcome": {}}));
    let answered = "ws://one:4000/v1".parse().ok();
    assert_eq!(client.wormhole.server(), answered.as_ref());
    relink(&mut client);
    assert_eq!(client.wormhole.server(), answered.as_ref());
}

#[test]
fn an_address_that_does_not_answer_is_left_for_the_next() {
    let mut client = TestClient::with_servers(&["wss://one/v1", "ws://one:4000/v1"]);
    client.advance(Duration::from_secs(8));
    assert_eq!((&client.closed[..], client.link()), (&[LinkId(0)][..], LinkId(2)));
    client.advance(LONG);
    assert_eq!(client.error, Some(WormholeError::ServerUnreachable));
}

#[test]
fn a_server_that_does_not_welcome_anybody_is_given_up() {
    let mut client = TestClient::with_servers(&["ws://one/v1"]);
    client.open_link();
    client.advance(LONG);
    assert_eq!(client.error, Some(WormholeError::ServerUnreachable));
    assert_eq!(client.closed, [LinkId(0)]);
}

#[test]
fn no_server_at_all_is_reported_when_time_passes() {
    let mut client = TestClient::with_servers(&[]);
    client.advance(Duration::ZERO);
    assert_eq!(client.error, Some(WormholeError::ServerUnreachable));
}

#[test]
fn after_one_welcome_lost_links_are_opened_again_without_end_and_ever_more_slowly() {
    let mut client = TestClient::welcomed();
    client.lose_link();
    assert_eq!(client.events().pop(), Some(Event::ServerLost));
    let mut pauses = Vec::new();
    for _ in 0..30 {
        let before = client.now;
        let link = client.link();
        while client.link() == link {
            client.advance(Duration::from_millis(100));
        }
        pauses.push(client.now - before);
        client.lose_link();
    }
    assert!(pauses[0] <= Duration::from_millis(1_600), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(91)), "{pauses:?}");
    assert!(pauses[25..].iter().all(|pause| *pause >= Duration::from_secs(30)), "{pauses:?}");
    let retries = client.events();
    let failures = retries.iter().map(|event| {
        let Event::ServerRetry { failures, .. } = event else { panic!("{event:?}") };
        *failures
    });
    assert_eq!(failures.collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert_eq!(client.error, None);
    client.advance(LONG);
    client.events();
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    assert_eq!(client.events(), []);
    client.receive(json!({"type": "ack"}));
    assert_eq!(client.events(), [Event::ServerFound]);
}

#[test]
fn what_was_not_answered_is_said_again_and_nothing_else() {
    let mut client = TestClient::welcomed();
    client.command(Command::SetCode(code()));
    client.sent();
    relink(&mut client);
    assert_eq!(client.sent_in_short(), ["bind", "claim"]);
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    client.sent_in_short();
    relink(&mut client);
    assert_eq!(client.sent_in_short(), ["bind", "claim"]);
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(client.sent_in_short(), ["open", "add pake"]);
    let side = client.wormhole.side().to_owned();
    client.deliver(&side, "pake", "");
    relink(&mut client);
    assert_eq!(client.sent_in_short(), ["bind", "open", "ping"]);
}

#[test]
fn a_repeated_message_is_the_same_to_the_byte() {
    let (mut client, _peer) = TestClient::with_peer();
    client.command(Command::Send(b"x".to_vec()));
    let first = client.sent();
    relink(&mut client);
    let again = client.sent();
    assert_eq!(first.last(), again.last());
}

#[test]
fn what_the_application_says_without_a_link_is_said_on_the_next() {
    let (mut client, _peer) = TestClient::with_peer();
    client.receive(json!({"type": "released"}));
    let side = client.wormhole.side().to_owned();
    for phase in ["pake", "version"] {
        client.deliver(&side, phase, "");
    }
    client.lose_link();
    client.command(Command::Send(b"0".to_vec()));
    client.command(Command::Send(b"1".to_vec()));
    assert!(client.sent().is_empty());
    client.advance(Duration::from_secs(2));
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    assert_eq!(client.sent_in_short(), ["bind", "open", "ping", "add 0", "add 1"]);
}

#[test]
fn a_mailbox_shown_again_from_its_start_tells_the_application_nothing_new() {
    let (mut client, peer) = TestClient::with_peer();
    peer.send(&mut client, "0", b"zero");
    assert_eq!(client.messages(), [b"zero"]);
    relink(&mut client);
    client.events();
    peer.send(&mut client, "version", br#"{"app_versions": {}}"#);
    peer.send(&mut client, "0", b"zero");
    peer.send(&mut client, "1", b"one");
    assert_eq!(client.events(), [Event::Message(b"one".to_vec())]);
}

#[test]
fn a_key_exchange_survives_a_lost_link() {
    let mut client = TestClient::in_mailbox(&code());
    relink(&mut client);
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    let peer = Peer::connect(&mut client, "peer", &code());
    peer.send(&mut client, "version", b"{}");
    assert!(client.events().contains(&Event::Verifier(peer.key.verifier())));
}

#[test]
fn closing_without_a_link_opens_one_at_once_to_clear_up() {
    let mut client = TestClient::in_mailbox(&code());
    client.lose_link();
    client.sent();
    client.command(Command::Close(None));
    client.advance(Duration::ZERO);
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    assert_eq!(client.sent_in_short(), ["bind", "release", "close"]);
    client.receive(json!({"type": "released"}));
    client.receive(json!({"type": "closed"}));
    assert!(matches!(client.events().last(), Some(Event::Closed(closed)) if closed.confirmed));
}

#[test]
fn the_last_message_has_more_time_to_arrive() {
    let (mut client, _peer) = TestClient::with_peer();
    client.lose_link();
    client.command(Command::Send(b"bye".to_vec()));
    client.command(Command::Close(None));
    client.advance(Duration::from_secs(9));
    client.events();
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    let sent = client.sent_in_short();
    assert!(sent.ends_with(&["add 0".into(), "close".into()]), "{sent:?}");
    client.advance(Duration::from_secs(1));
    assert!(matches!(client.events()[..], [Event::Closed(_)]));
}

#[test]
fn nothing_is_done_before_its_deadline_or_for_a_link_that_is_gone() {
    let mut client = TestClient::in_mailbox(&code());
    let old = client.link();
    relink(&mut client);
    client.sent();
    client.events();
    let closed = wormhole_kit::Input::Closed(old);
    assert_eq!(client.wormhole.handle(client.now, closed), Ok(()));
    let late = wormhole_kit::Input::Bytes(old, b"garbage");
    assert_eq!(client.wormhole.handle(client.now, late), Ok(()));
    assert_eq!(client.wormhole.handle_timeout(client.now), Ok(()));
    assert_eq!(client.wormhole.poll(), None);
}

#[test]
fn a_server_that_welcomes_everybody_and_hangs_up_is_called_ever_more_slowly() {
    let mut client = TestClient::welcomed();
    let mut pauses = Vec::new();
    for _ in 0..20 {
        client.lose_link();
        let (before, link) = (client.now, client.link());
        while client.link() == link {
            client.advance(Duration::from_millis(100));
        }
        pauses.push(client.now - before);
        client.open_link();
        client.receive(json!({"type": "welcome", "welcome": {}}));
    }
    assert!(pauses[0] <= Duration::from_millis(1_600), "{pauses:?}");
    assert!(pauses[15..].iter().all(|pause| *pause >= Duration::from_secs(30)), "{pauses:?}");
    let lost = client.events().into_iter().filter(|event| *event == Event::ServerLost);
    assert_eq!(lost.count(), 1, "it is lost all the time");
}

#[test]
fn a_link_that_was_useful_for_a_while_is_soon_opened_again() {
    let mut client = TestClient::welcomed();
    for _ in 0..20 {
        client.receive(json!({"type": "ack"}));
        client.advance(Duration::from_secs(10));
        client.lose_link();
        let link = client.link();
        client.advance(Duration::from_millis(1_600));
        assert_ne!(client.link(), link);
        client.open_link();
        client.receive(json!({"type": "welcome", "welcome": {}}));
    }
}

/// In a mailbox that holds our key-exchange message, on a link that was lost and opened again.
fn back_with_contents() -> TestClient {
    let mut client = TestClient::in_mailbox(&code());
    let side = client.wormhole.side().to_owned();
    client.deliver(&side, "pake", "");
    client.sent();
    relink(&mut client);
    client
}

#[test]
fn a_new_link_to_a_mailbox_with_contents_repeats_no_claim() {
    let mut client = back_with_contents();
    assert_eq!(client.sent_in_short(), ["bind", "open", "ping"]);
    let side = client.wormhole.side().to_owned();
    client.deliver(&side, "pake", "");
    client.receive(json!({"type": "pong"}));
    assert_eq!(client.error, None);
    let peer = Peer::start(&code()).1;
    client.deliver("peer", "pake", &crate::client::pake_body(&peer));
    assert_eq!(client.sent_in_short(), ["release", "add version"], "the nameplate is still ours");
}

#[test]
fn a_lost_mailbox_is_reported_and_a_new_owner_of_its_nameplate_is_not_disturbed() {
    let mut client = back_with_contents();
    let link = client.link();
    client.receive(json!({"type": "pong"}));
    assert_eq!(client.error, Some(WormholeError::MailboxLost));
    assert_eq!(client.closed, [link]);
    let sent = client.sent();
    let [_, open, _, close] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*open, json!({"type": "open", "mailbox": "m"}));
    assert_eq!(*close, json!({"type": "close", "mailbox": "m", "mood": "errory"}));
}

#[test]
fn a_mailbox_that_only_the_peer_has_filled_again_is_lost() {
    let mut client = back_with_contents();
    client.deliver("peer", "pake", &crate::client::pake_body(&Peer::start(&code()).1));
    client.receive(json!({"type": "pong"}));
    assert_eq!(client.error, Some(WormholeError::MailboxLost));
}

/// In a mailbox that is not known to hold anything, on a link that was lost and opened again.
fn back_without_contents() -> TestClient {
    let mut client = TestClient::in_mailbox(&code());
    client.sent();
    relink(&mut client);
    assert_eq!(client.sent_in_short(), ["bind", "claim"]);
    client
}

#[test]
fn nothing_is_put_into_another_mailbox_that_the_nameplate_stands_for_now() {
    let mut client = back_without_contents();
    client.receive(json!({"type": "claimed", "mailbox": "another"}));
    assert_eq!(client.error, Some(WormholeError::MailboxLost));
    let close = json!({"type": "close", "mailbox": "another", "mood": "errory"});
    assert_eq!(client.sent(), [json!({"type": "release", "nameplate": "4"}), close]);
}

#[test]
fn a_repeated_claim_that_a_busy_server_refuses_is_made_again_later() {
    let mut client = back_without_contents();
    let busy = "too many claims from your address, try again later";
    for refusals in 1..=5 {
        let link = client.link();
        client.receive(json!({"type": "error", "error": busy, "orig": {"type": "claim"}}));
        assert_eq!((&client.error, client.closed.len()), (&None, refusals));
        client.advance(Duration::from_secs(12));
        assert_ne!(client.link(), link);
        client.open_link();
        client.receive(json!({"type": "welcome", "welcome": {}}));
        assert_eq!(client.sent_in_short(), ["bind", "claim"]);
    }
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(client.sent_in_short(), ["open", "add pake"]);
}

#[test]
fn a_nameplate_that_others_use_now_is_refused_on_the_next_link() {
    let mut client = back_without_contents();
    client.receive(json!({"type": "error", "error": "crowded", "orig": {"type": "claim"}}));
    assert!(matches!(client.error, Some(WormholeError::ServerRefused(_))), "{:?}", client.error);
}

#[test]
fn a_first_claim_that_is_refused_ends_the_wormhole() {
    let mut client = TestClient::welcomed();
    client.command(Command::SetCode(code()));
    relink(&mut client);
    client.receive(json!({"type": "error", "error": "try again later", "orig": {"type": "claim"}}));
    assert!(matches!(client.error, Some(WormholeError::ServerRefused(_))), "{:?}", client.error);
}

#[test]
fn what_waits_when_the_link_comes_back_is_said_before_closing() {
    let (mut client, _peer) = TestClient::with_peer();
    client.lose_link();
    client.command(Command::Send(b"bye".to_vec()));
    client.advance(Duration::from_secs(2));
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    client.command(Command::Close(None));
    let sent = client.sent_in_short();
    assert!(sent.ends_with(&["add 0".into(), "close".into()]), "{sent:?}");
}

#[test]
fn a_mailbox_that_was_forgotten_after_both_had_met_is_noticed() {
    let met = || {
        let (mut client, peer) = TestClient::with_peer();
        client.receive(json!({"type": "released"}));
        let side = client.wormhole.side().to_owned();
        for phase in ["pake", "version"] {
            client.deliver(&side, phase, "");
        }
        client.sent();
        relink(&mut client);
        assert_eq!(client.sent_in_short(), ["bind", "open", "ping"]);
        (client, peer)
    };
    let (mut client, _) = met();
    client.receive(json!({"type": "pong"}));
    assert_eq!(client.error, Some(WormholeError::MailboxLost));
    // One that still holds something is the same one, and so may be one that cannot be asked.
    let (mut client, peer) = met();
    let side = client.wormhole.side().to_owned();
    peer.send(&mut client, "version", br#"{"app_versions": {}}"#);
    client.deliver(&side, "pake", "");
    client.receive(json!({"type": "pong"}));
    assert_eq!(client.error, None);
    let (mut client, _) = met();
    client.receive(json!({"type": "error", "error": "unknown type", "orig": {"type": "ping"}}));
    client.receive(json!({"type": "pong"}));
    assert_eq!(client.error, None);
}

#[test]
fn nothing_is_added_before_the_mailbox_is_known_to_be_the_same() {
    let mut client = TestClient::welcomed();
    client.command(Command::InputNameplate(code().nameplate().clone()));
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    relink(&mut client);
    client.sent();
    let password = "purple-sausages";
    client
        .command(Command::InputPassword(wormhole_magic::code::Password::parse(password).unwrap()));
    assert!(client.sent().is_empty());
    client.receive(json!({"type": "claimed", "mailbox": "m"}));
    assert_eq!(client.sent_in_short(), ["open", "add pake"]);
}

#[test]
fn a_connection_that_does_not_answer_a_check_is_replaced_at_once_and_soon_again_if_that_fails() {
    let (mut client, _) = TestClient::with_peer();
    client.command(Command::Hurry);
    client.command(Command::Hurry);
    assert_eq!(client.sent(), [json!({"type": "ping", "ping": 0})]);
    let old = client.link();
    client.advance(Duration::from_secs(2));
    assert_eq!(client.closed, [old]);
    assert_ne!(client.link(), old);
    assert_eq!(client.events(), [Event::ServerLost]);
    let mut attempts = 0;
    for _ in 0..100 {
        let link = client.link();
        client.lose_link();
        client.advance(Duration::from_millis(100));
        attempts += usize::from(client.link() != link);
    }
    // In ten seconds, with pauses between 0.25 and 0.75 s.
    assert!((12..=40).contains(&attempts), "{attempts}");
    // Later attempts that are not answered are not reported either.
    client.advance(LONG);
    assert!(client.events().is_empty());
    let link = client.link();
    client.lose_link();
    while client.link() == link {
        client.advance(Duration::from_millis(100));
    }
    client.open_link();
    client.receive(json!({"type": "welcome", "welcome": {}}));
    client.receive(json!({"type": "ack"}));
    assert_eq!(client.wormhole.deadline(), None);
    client.lose_link();
    assert!(client.wormhole.deadline().unwrap() >= client.now + Duration::from_millis(500));
}

#[test]
fn a_connection_that_answers_a_check_is_kept() {
    let (mut client, _) = TestClient::with_peer();
    let link = client.link();
    client.command(Command::Hurry);
    client.receive(json!({"type": "pong", "pong": 0}));
    client.advance(LONG);
    assert_eq!((client.link(), client.closed.len()), (link, 0));
    assert_eq!(client.error, None);
}

#[test]
fn an_attempt_that_started_before_the_network_changed_gets_little_time() {
    let (mut client, _) = TestClient::with_peer();
    client.lose_link();
    client.advance(Duration::from_secs(2));
    let old = client.link();
    client.command(Command::Hurry);
    client.advance(Duration::from_secs(3));
    assert_eq!(client.closed, [old]);
    assert_ne!(client.link(), old);
}

#[test]
fn a_server_that_hangs_up_after_each_check_is_called_a_few_times_a_second_at_most() {
    let (mut client, _) = TestClient::with_peer();
    let (mut attempts, end) = (0, client.now + Duration::from_secs(60));
    while client.now < end {
        client.command(Command::Hurry);
        client.lose_link();
        client.advance(Duration::from_millis(50));
        client.open_link();
        client.receive(json!({"type": "welcome", "welcome": {}}));
        attempts += 1;
    }
    assert!(attempts <= 60 * 20, "{attempts}");
}
