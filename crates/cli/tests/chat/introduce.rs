//! Two people who become contacts with a code.

use serde_json::Value;

use crate::devices::MAILBOX;
use crate::service::{ALICE, BOB, Service, texts};

#[test]
fn a_suggested_name_is_used_only_if_the_user_wants_it() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let bob = service.registered("bob", BOB, "com.example.two").with_variable(MAILBOX, &url);
    let adding = alice.start(&["add", "--my-name", "Alice"]);
    let code = adding.wait_for("chat add ");
    let mut added = bob.start(&["add", &code]);
    added.wait_for_prompt("The other person wants to be called 'Alice'. Use this name? (y/N): ");
    added.type_in("n\n");
    let added = added.end();
    assert_eq!(added.exit, 0, "{added}");
    assert_eq!(adding.end().exit, 0);
    let contacts = bob.succeed(&["contacts"]);
    assert!(!contacts.contains("Alice") && contacts.contains("  verified"), "{contacts}");
}

#[test]
fn both_people_are_verified_contacts_after_an_introduction() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let bob = service.registered("bob", BOB, "com.example.two").with_variable(MAILBOX, &url);
    let adding = alice.start(&["add", "--my-name", "Alice", "--name", "Bobby"]);
    let code = adding.wait_for("chat add ");
    let added = bob.run(&["add", "--yes", &code, "--json"]);
    assert_eq!(added.exit, 0, "{added}");
    let events = added.out();
    let mut events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let introduced = events.find(|event| event["event"] == "chat-introduced").unwrap();
    assert_eq!(
        (&introduced["who"]["name"], &introduced["who"]["number"]),
        (&Value::from("Alice"), &Value::from(ALICE))
    );
    assert_eq!(introduced["mutual"], true);
    let added = adding.end();
    assert_eq!(added.exit, 0, "{added}");
    let sentence = "is a contact now, and the safety number is verified.";
    assert!(added.stderr.contains(sentence), "{added}");
    assert!(
        alice.succeed(&["contacts"]).contains("  Bobby (+14155550102@com.example.two)  verified")
    );
    assert!(bob.succeed(&["contacts"]).contains("  verified"));
    alice.succeed(&["send", "Bobby", "hello"]);
    assert_eq!(texts(&bob.messages()), ["hello"]);
    assert_eq!(alice.succeed(&["safety", "Bobby"]), bob.succeed(&["safety", "Alice"]));
}
