//! Earlier messages: showing, searching, forgetting and copying them.

use serde_json::{Value, json};

use crate::devices::MAILBOX;
use crate::service::{ALICE, BOB, Person, Service};

/// Alice and Bob, who have exchanged two messages. Bob calls her Alice.
fn conversation(service: &Service) -> (Person, Person) {
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    alice.succeed(&["send", BOB, "Dinner at the Café on Friday?\x1b[2J\n2026-01-01  forged"]);
    assert!(bob.succeed(&["history"]).is_empty());
    bob.succeed(&["receive"]);
    bob.succeed(&["contacts", ALICE, "--name", "Alice"]);
    bob.succeed(&["send", "Alice", "yes"]);
    (alice, bob)
}

#[test]
fn earlier_messages_are_shown_and_searched_without_the_server() {
    let mut service = Service::new();
    let (_alice, bob) = conversation(&service);
    service.stop();
    let shown = bob.succeed(&["history", "Alice"]);
    let lines: Vec<_> = shown.lines().collect();
    let from = format!(" UTC  Alice ({ALICE}@com.example.one): ");
    assert!(lines[0].ends_with(&format!("{from}Dinner at the Café on Friday?\\u{{1b}}[2J")));
    assert_eq!(lines[1], "    2026-01-01  forged");
    assert!(lines[2].contains(" UTC  you to Alice") && lines[2].ends_with(": yes"), "{shown}");
    assert_eq!(lines.len(), 3);
    let found = bob.succeed(&["history", "--search", "cafe FRI", "--json"]);
    let message: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&message["event"], &message["state"]),
        (&json!("chat-history-message"), &json!("read"))
    );
    assert_eq!(
        (&message["with"]["name"], &message["from"]["name"]),
        (&json!("Alice"), &json!("Alice"))
    );
    assert_eq!(found.lines().count(), 1);
    assert_eq!(bob.succeed(&["history", "--limit", "1"]).lines().count(), 1);
    let nothing = bob.run(&["history", "--search", "lunch"]);
    assert!(nothing.out().is_empty() && nothing.stderr.contains("No message has these words."));
    bob.run(&["history", "Carol"]).failed(2, "no contact or group is called 'Carol'");
}

#[test]
fn the_history_is_forgotten_as_the_user_wants_it() {
    let service = Service::new();
    let (alice, bob) = conversation(&service);
    let forgotten = bob.run(&["history", "Alice", "--forget"]);
    assert!(forgotten.stderr.contains("Deleted 2 messages with Alice"), "{forgotten}");
    assert!(bob.succeed(&["history"]).is_empty());
    // So are the words with which commands name a message.
    let received = alice.succeed(&["receive", "--json"]);
    let received: Vec<Value> =
        received.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answer = received.iter().find(|it| it["event"] == "chat-message").unwrap();
    let id = answer["short_id"].as_str().unwrap();
    alice.succeed(&["react", BOB, id, "👍"]);
    let reaction = bob.succeed(&["receive"]);
    assert!(reaction.contains(&format!(" reacted 👍 to your message {}", &id[..4])), "{reaction}");
    let days = alice.run(&["history", "--keep", "30d"]);
    assert!(days.stderr.contains("the messages of the last 30 days."), "{days}");
    assert!(alice.succeed(&["config"]).contains("history     the messages of the last 30 days\n"));
    assert_eq!(alice.succeed(&["history"]).lines().count(), 4);
    alice.run(&["history", "--limit", "0"]).failed(2, "use a number from 1 on");
    alice.run(&["history", "--keep", "off"]).failed(2, "this deletes ");
    assert!(!alice.succeed(&["history"]).is_empty());
    alice.succeed(&["history", "--keep", "off", "--yes"]);
    let off = alice.run(&["history"]);
    assert!(off.out().is_empty() && off.stderr.contains("history --keep all"), "{off}");
}

#[test]
fn a_new_device_gets_contacts_and_messages_and_the_copy_can_be_repeated() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    service.registered("bob", BOB, "com.example.two");
    alice.succeed(&["send", BOB, "first"]);
    alice.succeed(&["contacts", BOB, "--name", "Bob"]);
    let laptop = service.person("laptop").with_variable(MAILBOX, &url);
    let linking = laptop.start(&["link", "--yes"]);
    let code = linking.wait_for("chat link accept ");
    let accepted = alice.run(&["link", "accept", "--yes", "--history", "none", &code]);
    assert_eq!(accepted.exit, 0, "{accepted}");
    assert!(accepted.stderr.contains("Copied to the other device: 1 contact, 0 messages."));
    let linked = linking.end();
    assert!(linked.exit == 0 && linked.stderr.contains("Copied to this device: 1 contact, 0 "));
    assert!(laptop.succeed(&["contacts"]).contains("Bob ("));
    assert!(laptop.succeed(&["history"]).is_empty());

    let receiving = laptop.start(&["link", "history"]);
    let code = receiving.wait_for("chat link history ");
    let sent = alice.run(&["link", "history", &code, "--json"]);
    let sent = sent.out();
    assert!(sent.contains(r#""direction":"sent""#) && sent.contains(r#""messages":1"#), "{sent}");
    assert_eq!(receiving.end().exit, 0);
    assert!(laptop.succeed(&["history", "Bob"]).ends_with(": first\n"));
    laptop.run(&["link", "history", "--history", "off", "1-a-b"]).failed(2, "use all, none, or");
}
