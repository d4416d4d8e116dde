//! Replies, reactions, edits, deletions, timers and receipts.

use serde_json::Value;

use crate::service::{ALICE, BOB, Person, Service};

/// The events of a kind in the JSON output of `receive`.
fn events(person: &Person, kind: &str) -> Vec<Value> {
    let output = person.succeed(&["receive", "--json"]);
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|event| event["event"] == kind).collect()
}

/// Sends a text, and returns its id.
fn send(person: &Person, arguments: &[&str]) -> String {
    let output = person.succeed(&[arguments, &["--json"][..]].concat());
    let sent: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(sent["event"], "chat-sent", "{output}");
    sent["short_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_can_be_answered_edited_and_deleted_by_its_id() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let id = send(&alice, &["send", "+14155550102@com.example.two", "where are you?"]);
    let shown = bob.succeed(&["receive", "--ids"]);
    let expected = format!("  {ALICE}@com.example.one [{}]: where are you?\n", &id[..4]);
    assert!(shown.ends_with(&expected), "{shown}");
    let alices = alice.succeed(&["config", "--json"]);
    let alices: Value = serde_json::from_str(&alices).unwrap();
    let alices = alices["account"].as_str().unwrap();
    bob.succeed(&["contacts", alices, "--name", "Alice"]);

    send(&bob, &["send", "Alice", "at home", "--reply", &id[..4].to_uppercase()]);
    bob.succeed(&["react", "Alice", &id, "👍"]);
    let shown = alice.succeed(&["receive"]);
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].ends_with(": at home"), "{shown}");
    assert_eq!(lines[1], "    in reply to you: \"where are you?\"");
    assert!(lines[2].ends_with(" reacted 👍 to your message \"where are you?\""), "{shown}");
    bob.succeed(&["react", "Alice", &id, "--remove"]);
    let back = events(&alice, "chat-reaction");
    assert_eq!((back.len(), &back[0]["emoji"]), (1, &Value::Null));
    assert_eq!(back[0]["target"]["short_id"], id.as_str());

    let to = "+14155550102@com.example.two";
    alice.succeed(&["edit", to, &id, "where are you now?"]);
    alice.succeed(&["delete", to, &id]);
    let shown = bob.succeed(&["receive"]);
    let edited = " Alice edited the message \"where are you?\": where are you now?\n";
    assert!(shown.contains(edited), "{shown}");
    assert!(shown.ends_with(" Alice deleted the message \"where are you now?\"\n"), "{shown}");
    alice.run(&["edit", to, "zzzz", "x"]).failed(2, "none of your last messages has the id 'zzzz'");
    bob.run(&["edit", "Alice", &id, "x"]).failed(2, "that message is from Alice");
    bob.run(&["react", "Alice", &id, "ok"]).failed(2, "not an emoji, such as 👍");
}

#[test]
fn a_deleted_message_cannot_be_edited_even_without_a_history() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let _bob = service.registered("bob", BOB, "com.example.two");
    let id = send(&alice, &["send", BOB, "typo here"]);
    alice.succeed(&["delete", BOB, &id]);
    alice.run(&["edit", BOB, &id, "after delete"]).failed(1, "the message was deleted");
    alice.succeed(&["history", "--keep", "off", "--yes"]);
    let id = send(&alice, &["send", BOB, "typo there"]);
    alice.succeed(&["delete", BOB, &id]);
    alice.run(&["edit", BOB, &id, "after delete"]).failed(1, "the message was deleted");
}

#[test]
fn a_timer_holds_for_both_and_receipts_are_shown_quietly() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "one"]);
    bob.succeed(&["receive"]);
    bob.succeed(&["send", ALICE, "two"]);
    alice.succeed(&["receive"]);
    assert_eq!(bob.succeed(&["timer", ALICE]), "Messages stay.\n");
    let set = bob.run(&["timer", ALICE, "1h"]);
    assert!(set.stderr.contains("Messages disappear 1 hour after they were read."), "{set}");
    let changed = events(&alice, "chat-timer-changed");
    assert_eq!((changed.len(), &changed[0]["seconds"]), (1, &3600.into()));
    send(&alice, &["send", BOB, "three"]);
    let messages = bob.messages();
    assert_eq!(messages[0]["expires_after"], 3600);
    bob.run(&["timer", ALICE, "1y"]).failed(2, "'1y' is not a time for messages");

    assert!(!bob.succeed(&["config"]).contains("\nreceipts "));
    let off = bob.succeed(&["config", "--read-receipts", "off"]);
    assert!(off.contains("\nreceipts    nobody learns what you have read\n"), "{off}");

    let receipts = events(&alice, "chat-receipt");
    let kinds: Vec<_> = receipts.iter().map(|receipt| receipt["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["delivered", "read"], "{receipts:?}");
    for receipt in receipts {
        assert_eq!(receipt["timestamps"], serde_json::json!([messages[0]["timestamp"]]));
    }
}

#[test]
fn a_name_after_an_at_sign_mentions_the_person() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["contacts", BOB, "--name", "Bobby"]);
    alice.succeed(&["send", BOB, "hello @Bobby"]);
    let config: Value = serde_json::from_str(&bob.succeed(&["config", "--json"])).unwrap();
    let mentions = &bob.messages()[0]["mentions"];
    let expected = serde_json::json!([{"account": config["account"], "start": 6, "length": 6}]);
    assert_eq!(mentions, &expected);
    alice.succeed(&["send", BOB, "hello @Bobby"]);
    assert!(bob.succeed(&["receive"]).ends_with(": hello @you\n"));
}
