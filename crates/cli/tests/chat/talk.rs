//! Conversations with `chat talk`.

use crate::service::{ALICE, BOB, Service, texts};

const CAROL: &str = "+14155550103";

#[test]
fn two_people_write_to_each_other_until_both_end_the_conversation() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    alice.succeed(&["send", BOB, "before"]);
    let mut alice_talks = alice.start(&["talk", BOB]);
    let mut bob_talks = bob.start(&["talk", ALICE]);
    bob_talks.wait_for(": before");
    for round in 0..3 {
        alice_talks.type_in(format!("question {round}\n\n"));
        bob_talks.wait_for(&format!(": question {round}"));
        bob_talks.type_in(format!("answer {round}\n"));
        alice_talks.wait_for(&format!(": answer {round}"));
    }
    for (mut talk, who) in [(alice_talks, BOB), (bob_talks, ALICE)] {
        talk.end_input();
        let ended = talk.end();
        assert_eq!(ended.exit, 0, "{ended}");
        assert!(ended.stderr.contains(&format!("You are writing with {who}")), "{ended}");
        assert_eq!(ended.out().lines().count(), if who == BOB { 3 } else { 4 }, "{ended}");
    }
    // Everything was shown.
    assert!(alice.messages().is_empty() && bob.messages().is_empty());
}

#[test]
fn messages_of_others_and_files_stay_for_receive() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    let carol = service.registered("carol", CAROL, "com.example.one");
    carol.succeed(&["send", ALICE, "it is Carol"]);
    std::fs::write(bob.path("a.txt"), "content").unwrap();
    bob.succeed(&["send", ALICE, "a file", "--file", "a.txt"]);
    let mut talk = alice.start(&["talk", BOB]);
    talk.wait_for(": a file\n    file: a.txt (7 bytes)");
    talk.end_input();
    let ended = talk.end();
    assert!(ended.exit == 0 && !ended.out().contains("Carol"), "{ended}");
    for notice in ["`wormhole chat receive` saves them", "A message of another conversation waits"]
    {
        assert!(ended.stderr.contains(notice), "{ended}");
    }
    assert_eq!(texts(&alice.messages()), ["it is Carol"]);
    assert_eq!(std::fs::read(alice.path("a.txt")).unwrap(), b"content");
}

#[test]
fn lines_that_are_typed_while_the_server_is_away_are_sent_later() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    let mut talk = alice.start(&["talk", BOB, "--json"]);
    talk.wait_for("chat-up-to-date");
    service.stop();
    talk.wait_for("chat-disconnected");
    talk.type_in("one\ntwo\n");
    talk.wait_for_times("chat-queued", 2);
    service.resume();
    talk.wait_for("chat-connected");
    talk.end_input();
    let ended = talk.end();
    let sent = ended.events().iter().filter(|event| event["event"] == "chat-sent").count();
    assert_eq!((ended.exit, sent), (0, 2), "{ended}");
    assert_eq!(texts(&bob.messages()), ["hello", "one", "two"]);
}

#[test]
fn a_line_that_can_never_be_sent_is_shown_and_the_conversation_goes_on() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    service.delete(&bob);
    let mut talk = alice.start(&["talk", BOB]);
    talk.type_in("one\n");
    talk.wait_for("This line was not sent: ");
    talk.type_in("two\n");
    talk.end_input();
    let ended = talk.end();
    ended.failed(1, "not every line was sent");
    assert_eq!(ended.stderr.matches("This line was not sent: ").count(), 2, "{ended}");
    assert!(
        ended.stderr.contains("\n    one\n") && ended.stderr.contains("\n    two\n"),
        "{ended}"
    );
    assert!(alice.run(&["outbox"]).stderr.contains("No messages wait"));
}

#[test]
fn ctrl_c_leaves_what_is_not_sent_in_the_outbox() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    service.stop();
    let mut talk = alice.start(&["talk", BOB, "--json"]);
    talk.wait_for("chat-disconnected");
    talk.type_in("later\n");
    talk.wait_for("chat-queued");
    talk.signal("INT");
    assert_eq!(talk.end().exit, 130);
    service.resume();
    alice.succeed(&["receive"]);
    assert_eq!(texts(&bob.messages()), ["hello", "later"]);
}
