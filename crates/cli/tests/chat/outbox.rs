//! Messages that have waited in the outbox: each is reported once, however many there are.

use std::collections::BTreeSet;

use serde_json::Value;
use wormhole::chat::{Account, Client, Destination, Message, Network, Options};

use crate::service::{ALICE, BOB, Person, Service, texts};
use crate::world::Ended;

/// Puts messages to a contact into the outbox, while the server cannot be reached.
fn fill_outbox(person: &Person, to: &str, count: usize) {
    let store = person.store();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let account = Account::new(store, Network::default());
        let client = Client::open(account, Options::default()).await.unwrap();
        let to: Destination = to.parse().unwrap();
        for number in 0..count {
            client.send(&to, Message::text(format!("{to} {number}"))).await.unwrap();
        }
        client.close().await.unwrap();
    });
}

/// Alice, with messages to Bob, whose account is deleted, and to Carol.
fn alice_with_messages(service: &mut Service) -> (Person, Person) {
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    let carol = service.registered("carol", CAROL, "com.example.one");
    alice.succeed(&["contacts", BOB]);
    alice.succeed(&["send", CAROL, "hello"]);
    service.delete(&bob);
    service.stop();
    fill_outbox(&alice, BOB, TO_BOB);
    fill_outbox(&alice, CAROL, TO_CAROL);
    service.resume();
    (alice, carol)
}

/// What a command has said about messages, by event.
fn timestamps(events: &[Value], event: &str) -> Vec<u64> {
    let of_kind = events.iter().filter(|it| it["event"] == event);
    of_kind.map(|it| it["timestamp"].as_u64().unwrap()).collect()
}

/// Each message is reported once: as sent, or as not sent.
fn check_reports(ended: &Ended) {
    let events = ended.events();
    let (failed, sent) = (timestamps(&events, "chat-not-sent"), timestamps(&events, "chat-sent"));
    assert_eq!((failed.len(), sent.len()), (TO_BOB, TO_CAROL), "{ended}");
    let all: BTreeSet<_> = failed.iter().chain(&sent).collect();
    assert_eq!(all.len(), TO_BOB + TO_CAROL, "{ended}");
}

#[test]
fn what_becomes_of_many_messages_at_once_is_reported_although_events_are_left_out() {
    let mut service = Service::new();
    let (alice, carol) = alice_with_messages(&mut service);
    let following = alice.start(&["receive", "--follow", "--json"]);
    following.wait_for_times("chat-not-sent", TO_BOB);
    following.wait_for_times("chat-sent", TO_CAROL);
    following.wait_for("chat-up-to-date");
    following.signal("INT");
    check_reports(&following.end());
    assert_eq!(carol.messages().len(), TO_CAROL + 1);
}

#[test]
fn a_message_that_can_never_be_sent_is_not_also_reported_as_sent() {
    let mut service = Service::new();
    let (alice, _carol) = alice_with_messages(&mut service);
    check_reports(&alice.run(&["receive", "--json"]));
    assert!(alice.run(&["outbox"]).stderr.contains("No messages wait"));
}

#[test]
fn people_see_each_message_that_can_never_be_sent_once() {
    let mut service = Service::new();
    let (alice, carol) = alice_with_messages(&mut service);
    let received = alice.run(&["receive"]);
    let out = received.out();
    for number in 0..TO_BOB {
        assert_eq!(out.matches(&format!("    {BOB} {number}\n")).count(), 1, "{received}");
    }
    assert_eq!(out.matches("was not sent, and never will be").count(), TO_BOB, "{received}");
    let sent = format!("{TO_CAROL} waiting messages are sent.");
    assert!(received.stderr.contains(&sent), "{received}");
    assert_eq!(texts(&carol.messages()).len(), TO_CAROL + 1);
}

#[test]
fn a_message_that_waits_can_be_cancelled_before_it_is_sent() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["contacts", BOB]);
    service.stop();
    fill_outbox(&alice, BOB, 3);
    let listed = alice.run(&["outbox"]);
    let ids: Vec<_> = listed.out().lines().filter_map(id).collect();
    assert!(ids.len() == 3 && listed.out().contains(&format!("\n    {BOB} 1\n")), "{listed}");
    assert!(listed.stderr.contains("`wormhole chat outbox --cancel ID`"), "{listed}");
    service.resume();

    let unknown = alice.run(&["outbox", "--cancel", &ids[0], "--cancel", "1"]);
    unknown.failed(1, "no message with the id 1 waits: nothing is cancelled");
    let cancelled = alice.succeed(&["outbox", "--cancel", &ids[0]]);
    let words = format!("  to {BOB}@com.example.one: this message is cancelled\n    {BOB} 0\n");
    assert!(cancelled.ends_with(&words), "{cancelled}");
    let event = alice.run(&["outbox", "--cancel", &ids[2], "--json"]).events().remove(0);
    assert_eq!((&event["event"], &event["maybe_sent"]), (&"chat-cancelled".into(), &false.into()));
    assert_eq!(event["to"]["number"], BOB);
    let sent = alice.run(&["outbox"]);
    assert!(sent.stderr.contains("The waiting message is sent."), "{sent}");
    assert_eq!(texts(&bob.messages()), [format!("{BOB} 1")]);
}

#[test]
fn a_message_whose_attempt_had_no_answer_is_cancelled_with_a_warning() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    service.stop();
    fill_outbox(&alice, BOB, 1);
    let listed = alice.run(&["outbox"]).out();
    let cancelled = alice.succeed(&["outbox", "--cancel", &listed.lines().find_map(id).unwrap()]);
    assert!(cancelled.contains("cancelled, but an earlier attempt may have reached the server\n"));
    service.resume();
    assert!(alice.run(&["outbox"]).stderr.contains("No messages wait"));
    assert_eq!(texts(&bob.messages()), ["hello"]);
}

/// The id of a message in a line of `outbox`.
fn id(line: &str) -> Option<String> {
    let (id, _) = line.split_once("  ")?;
    id.parse::<u64>().ok().map(|id| id.to_string())
}

/// More than the events that the SDK keeps for a slow reader.
const TO_BOB: usize = 300;

const TO_CAROL: usize = 5;

const CAROL: &str = "+14155550103";
