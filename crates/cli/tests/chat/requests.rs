//! People who do not know each other: message requests, blocked people, and usernames.

use serde_json::Value;

use crate::service::{ALICE, BOB, Person, Service, messages, texts};

/// Somebody who is asked about people that he does not know.
fn asked(service: &Service, name: &str, number: &str, app: &str) -> Person {
    let person = service.registered(name, number, app);
    person.succeed(&["config", "--requests", "on"]);
    // The server learns it.
    person.succeed(&["receive"]);
    person
}

/// The events of this kind in JSON output.
fn events(output: &str, kind: &str) -> Vec<Value> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|event| event["event"] == kind).collect()
}

#[test]
fn a_stranger_is_a_request_until_it_is_accepted() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = asked(&service, "bob", BOB, "com.example.two");
    std::fs::write(alice.path("photo.jpg"), "content").unwrap();
    alice.succeed(&["send", BOB, "hello\nBob"]);
    alice.succeed(&["send", BOB, "--file", "photo.jpg"]);
    let received = bob.run(&["receive"]);
    assert!(received.stdout.is_empty() && received.exit == 0, "{received}");
    let mention =
        format!("1 message request from {ALICE}@com.example.one (`wormhole chat requests`)");
    assert!(received.stderr.contains(&mention), "{received}");
    let listed = bob.succeed(&["requests"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].ends_with(&format!("  {ALICE}@com.example.one: 2 messages")), "{listed}");
    let digits = alice.succeed(&["safety", BOB]);
    let digits = digits.trim().replace('\n', " ");
    let shown = lines[1].strip_prefix("    safety number ").unwrap();
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    assert!(plain(&digits).contains(&plain(shown)), "{digits} {shown}");
    assert!(lines[2].ends_with(&format!(" UTC  {ALICE}@com.example.one: hello")), "{listed}");
    assert_eq!(lines[3], "        Bob");
    assert!(listed.contains("file: photo.jpg (7 bytes)"), "{listed}");
    assert!(!bob.path("photo.jpg").exists());
    let accepted = bob.run(&["requests", "accept", ALICE]);
    let text = format!("{ALICE}@com.example.one is accepted.");
    assert!(accepted.exit == 0 && accepted.stderr.contains(&text), "{accepted}");
    let received = bob.succeed(&["receive"]);
    assert!(received.contains("hello\n    Bob\n"), "{received}");
    assert!(bob.path("photo.jpg").exists());
    let none = bob.run(&["requests"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("No message requests."), "{none}");
}

#[test]
fn programs_get_requests_as_json() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = asked(&service, "bob", BOB, "com.example.two");
    alice.succeed(&["send", BOB, "hello\nBob"]);
    let json = bob.succeed(&["requests", "--json"]);
    let requests = events(&json, "chat-request");
    assert_eq!(requests[0]["count"], 1);
    assert_eq!(requests[0]["who"]["claimed_number"], ALICE);
    assert_eq!(requests[0]["messages"][0]["text"], "hello\nBob");
}

#[test]
fn writing_to_a_person_or_adding_one_accepts() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = asked(&service, "bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    bob.succeed(&["send", ALICE, "who are you?"]);
    assert_eq!(texts(&bob.messages()), ["hello"]);
    assert_eq!(texts(&alice.messages()), ["who are you?"]);
    alice.succeed(&["send", BOB, "Alice"]);
    assert_eq!(texts(&bob.messages()), ["Alice"]);
}

#[test]
fn a_blocked_person_is_listed_and_can_be_unblocked() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = asked(&service, "bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "one"]);
    bob.succeed(&["receive"]);
    let blocked = bob.run(&["requests", "block", ALICE]);
    assert!(blocked.exit == 0 && blocked.stderr.contains("is blocked."), "{blocked}");
    alice.succeed(&["send", BOB, "two"]);
    let received = bob.run(&["receive"]);
    assert!(received.stderr.contains("No new messages."), "{received}");
    assert!(!received.stderr.contains("message request"), "{received}");
    let refused = bob.run(&["send", ALICE, "x"]);
    assert_eq!(refused.exit, 1);
    assert!(refused.stderr.contains("you have blocked this person"), "{refused}");
    assert!(refused.stderr.contains("requests unblock"), "{refused}");
    let listed = bob.succeed(&["requests", "--blocked"]);
    assert!(listed.ends_with(&format!("  {ALICE}@com.example.one\n")), "{listed}");
    let account = listed.split_whitespace().next().unwrap();
    bob.succeed(&["requests", "unblock", account]);
    assert!(bob.succeed(&["requests", "--blocked"]).is_empty());
    alice.succeed(&["send", BOB, "three"]);
    let listed = bob.succeed(&["requests", "--json"]);
    let requests = events(&listed, "chat-request");
    assert_eq!(texts(requests[0]["messages"].as_array().unwrap()), ["three"]);
    let deleted = bob.run(&["requests", "delete", ALICE]);
    assert!(deleted.stderr.contains("are deleted."), "{deleted}");
    assert!(bob.succeed(&["requests"]).is_empty());
}

#[test]
fn a_report_reaches_the_operator() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = asked(&service, "bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "buy this"]);
    bob.succeed(&["receive"]);
    let reported = bob.run(&["requests", "report", ALICE, "--json"]);
    assert_eq!(reported.exit, 0, "{reported}");
    let decided = &events(&reported.out(), "chat-request-decided")[0];
    assert_eq!((&decided["decision"], &decided["reported"]), (&"report".into(), &1.into()));
    let listed = service.command(&["report", "--db", "messaging.sqlite", "list"]);
    assert!(listed.contains(&format!("{ALICE}@com.example.one reported-by")), "{listed}");
    assert!(!listed.contains("buy"), "{listed}");
}

#[test]
fn a_username_is_chosen_used_and_removed() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let none = bob.run(&["username"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("You have no username."), "{none}");
    assert_eq!(bob.succeed(&["username", "@Bob.1"]), "@bob.1\n");
    assert_eq!(bob.succeed(&["username"]), "@bob.1\n");
    let taken = alice.run(&["username", "bob.1"]);
    assert!(taken.exit == 1 && taken.stderr.contains("somebody else has this name"), "{taken}");
    let bad = alice.run(&["username", "1b"]);
    assert!(bad.exit == 2 && bad.stderr.contains("not a username"), "{bad}");
    alice.succeed(&["send", "@bob.1", "hello"]);
    assert_eq!(texts(&bob.messages()), ["hello"]);
    bob.succeed(&["username", "--remove"]);
    let unknown = alice.run(&["send", "@bob.1", "hello"]);
    assert!(unknown.exit == 1 && unknown.stderr.contains("@bob.1 is not registered"), "{unknown}");
    let hidden = bob.run(&["config", "--not-discoverable"]);
    assert!(hidden.exit == 0 && hidden.stderr.contains("no longer find you"), "{hidden}");
    bob.succeed(&["config", "--discoverable"]);
}

#[test]
fn a_follower_sees_requests_when_they_arrive() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = asked(&service, "bob", BOB, "com.example.one");
    let following = bob.start(&["receive", "--follow", "--json"]);
    following.wait_for(r#""event":"chat-up-to-date"#);
    alice.succeed(&["send", BOB, "now"]);
    following.wait_for(r#""event":"chat-requests"#);
    following.signal("INT");
    let ended = following.end();
    assert!(messages(&ended.out()).is_empty(), "{ended}");
}
