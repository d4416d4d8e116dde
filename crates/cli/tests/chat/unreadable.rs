//! Messages that have arrived, but cannot be read.

use serde_json::json;

use crate::service::{ALICE, BOB, Service};

/// Sends Bob a message that nobody can decrypt.
fn send_garbage(service: &Service, login: &str, timestamp: u64) {
    let message = json!({
        "messages": [{"type": 1, "destinationDeviceId": 1, "content": "Z2FyYmFnZQ"}],
        "timestamp": timestamp,
    });
    service.request(&format!("PUT /v1/messages/{BOB}"), login, "", &message.to_string());
}

#[test]
fn a_message_that_cannot_be_read_is_shown_once_with_its_sender_and_the_reason() {
    let service = Service::new();
    let bob = service.registered("bob", BOB, "com.example.one");
    let mallory = service.register_by_hand(ALICE);
    send_garbage(&service, &mallory, 1_795_000_000_000);
    let received = bob.succeed(&["receive"]);
    let time = "2026-11-18 11:06:40 UTC  ";
    let (account, why) = received.strip_prefix(time).unwrap().split_once(": ").unwrap();
    assert_eq!((account.len(), received.lines().count()), (36, 1), "{received}");
    assert!(why.starts_with("this message cannot be read: the message "), "{received}");

    send_garbage(&service, &mallory, 1_795_000_000_001);
    let events = bob.run(&["receive", "--json"]).events();
    let event = events.iter().find(|event| event["event"] == "chat-unreadable").unwrap();
    assert_eq!((&event["from"], &event["more"]), (&json!(account), &json!(0)));
    assert_eq!(event["timestamp"], 1_795_000_000_001_u64);
    assert!(event["id"].is_u64() && event["reason"].is_string(), "{event}");
    assert!(bob.run(&["receive"]).stderr.contains("No new messages."));
}
