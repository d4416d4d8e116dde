//! Groups of people in two apps.

use serde_json::Value;

use crate::service::{ALICE, BOB, Person, Service, messages, texts};

const CAROL: &str = "+14155550103";

#[test]
fn a_group_over_two_apps_is_made_used_and_left() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    // Bob knows Alice, so his computer accepts her invitation.
    bob.succeed(&["send", ALICE, "hello"]);
    assert_eq!(texts(&alice.messages()), ["hello"]);
    let created = alice.run(&["group", "create", "Walks", BOB]);
    let id = created.out().trim().to_owned();
    let id = id.as_str();
    for said in
        ["The group Walks is created.", &format!("{BOB}@com.example.two is invited to Walks.")]
    {
        assert!(created.stderr.contains(said), "{created}");
    }
    assert!(alice.succeed(&["group", "show", "walks"]).contains("(invited by you)"));
    for text in ["soon", "today"] {
        let sent = alice.run(&["send", "Walks", text]);
        sent.failed(1, "nobody has joined the group yet, so the message stays");
    }
    let received = bob.run(&["receive"]);
    let added = format!("{ALICE}@com.example.one has added you to Walks.");
    assert!(received.stderr.contains(&added), "{received}");
    assert!(!received.stderr.contains("No new messages"), "{received}");
    alice.is_told(&["receive"], &format!("{BOB}@com.example.two has joined Walks."));
    let shown = bob.succeed(&["receive"]);
    assert!(shown.contains("in Walks: soon") && shown.contains("in Walks: today"), "{shown}");
    assert_eq!(bob.succeed(&["group", "list"]).trim(), format!("{id}  Walks (2 members)"));
    let members = bob.succeed(&["group", "show", id]);
    assert!(members.contains("you\n") && members.contains("(administrator)"), "{members}");

    bob.succeed(&["send", "Walks", "at three?"]);
    let shown = alice.succeed(&["receive"]);
    assert!(shown.contains(&format!("{BOB}@com.example.two in Walks: at three?")), "{shown}");
    let refused = bob.run(&["group", "remove", "Walks", ALICE]);
    refused.failed(1, "only an administrator");
    bob.run(&["send", "Talks", "x"]).failed(2, "no contact or group is called 'Talks'");

    is_renamed(&alice, &bob);
    is_removed(&alice, &bob);
    for command in
        [&["send", "Walks", "still here"][..], &["talk", "Walks"], &["group", "leave", "Walks"]]
    {
        let refused = bob.run(command);
        refused.failed(1, "you are not a member of Walks any more");
        assert!(refused.stderr.contains("`wormhole chat group list`"), "{refused}");
    }
}

/// Alice renames the group and back, and Bob sees it.
fn is_renamed(alice: &Person, bob: &Person) {
    let renamed = events(alice, &["group", "rename", "Walks", "Hikes"], "chat-group-changed");
    assert_eq!(renamed[0]["change"], "describe");
    let shown = events(bob, &["receive"], "chat-group-event");
    assert_eq!((&shown[0]["change"], &shown[0]["title"]), (&"describe".into(), &"Hikes".into()));
    assert_eq!(shown[0]["by"]["number"], ALICE);
    alice.is_told(&["group", "rename", "hikes", "Walks"], "Hikes is now called Walks");
    bob.succeed(&["receive"]);
}

/// Alice removes Bob, and he sees it.
fn is_removed(alice: &Person, bob: &Person) {
    let removed = alice.run(&["group", "remove", "Walks", BOB]);
    let gone = format!("{BOB}@com.example.two was removed from Walks.");
    assert!(removed.stderr.contains(&gone), "{removed}");
    let received = bob.is_told(&["receive"], "You are no longer a member of Walks.");
    assert!(!received.stderr.contains("No new messages"), "{received}");
    // Once is enough.
    for command in [&["receive"][..], &["group", "list"], &["group", "show", "Walks"]] {
        let again = bob.run(command);
        assert!(again.exit == 0 && !again.stderr.contains("no longer"), "{again}");
    }
    let listed = bob.run(&["group", "list"]);
    assert_eq!((listed.out(), listed.exit), (String::new(), 0), "{listed}");
    let listed = bob.succeed(&["group", "list", "--all"]);
    assert!(listed.contains("no longer a member"), "{listed}");
}

#[test]
fn somebody_joins_with_a_link_until_it_is_disabled() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let carol = service.registered("carol", CAROL, "com.example.one");
    alice.succeed(&["group", "create", "Walks"]);
    let link = alice.succeed(&["group", "link", "Walks"]);
    for damaged in [&format!("{}x", link.trim()), "wormhole://group?id=00"] {
        bob.run(&["group", "join", damaged]).failed(2, "this link is damaged: copy the whole link");
    }
    let joined = bob.succeed(&["group", "join", link.trim()]);
    let account = |person: &Person| {
        let config = person.succeed(&["config", "--json"]);
        let config: Value = serde_json::from_str(&config).unwrap();
        config["account"].as_str().unwrap().to_owned()
    };
    // Alice knows nothing about him but his id, of which she sees the beginning, and which commands accept.
    let (bobs, alices) = (account(&bob), account(&alice));
    let members = alice.succeed(&["group", "show", "Walks"]);
    assert!(members.lines().any(|line| line == &bobs[..8]), "{members}");
    assert!(bob.succeed(&["group", "show", "Walks"]).contains(&alices[..8]));
    alice.is_told(&["group", "promote", "Walks", &bobs[..8]], "is now an administrator");
    alice.is_told(&["group", "remove", "Walks", &bobs[..8]], "was removed from Walks.");
    bob.succeed(&["receive"]);
    let link = alice.succeed(&["group", "link", "Walks", "--reset"]);
    bob.succeed(&["group", "join", link.trim()]);
    bob.succeed(&["send", joined.trim(), "I am here"]);
    assert_eq!(texts(&alice.messages()), ["I am here"]);
    alice.succeed(&["group", "link", "Walks", "--off"]);
    assert_eq!(carol.run(&["group", "join", link.trim()]).exit, 1);
    bob.is_told(&["group", "leave", joined.trim()], "You have left Walks.");
    alice.is_told(&["receive"], " has left Walks.");
    let members = alice.succeed(&["group", "show", "Walks"]);
    assert_eq!(members, "you (administrator)\n");
}

#[test]
fn an_unknown_person_leaves_no_group_behind_and_a_stranger_sees_the_invitation() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.run(&["group", "create", "Walks", BOB, CAROL]).failed(1, "is not registered");
    alice.is_told(&["group", "list"], "You are in no group.");
    let id = alice.succeed(&["group", "create", "Long walks"]);
    alice.run(&["group", "invite", "Long walks", BOB, CAROL]).failed(1, "is not registered");
    assert_eq!(alice.succeed(&["group", "show", id.trim()]), "you (administrator)\n");
    alice.is_told(&["group", "invite", "long Walks", BOB], "is invited to Long walks.");
    for _ in 0..2 {
        let invites = " invites you to Long walks: `wormhole chat group join 'Long walks'`";
        let received = bob.is_told(&["receive"], invites);
        assert!(!received.stderr.contains("No new messages"), "{received}");
    }
    bob.is_told(&["group", "join", "Long walks"], "You have joined Long walks.");
    // A group that was left does not count.
    let second = alice.succeed(&["group", "create", "Talks", BOB]);
    bob.is_told(&["group", "leave", "Talks"], "You have declined the invitation to Talks.");
    alice.succeed(&["group", "leave", second.trim()]);
    alice.succeed(&["group", "create", "Talks"]);
    alice.is_told(&["group", "link", "Talks"], "Anybody with this link");
}

/// The events of a kind in the JSON output of a command.
fn events(person: &Person, command: &[&str], kind: &str) -> Vec<Value> {
    let output = person.succeed(&[command, &["--json"]].concat());
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|event| event["event"] == kind).collect()
}

/// A group of Alice and Bob, who know each other.
fn walks(service: &Service) -> (Person, Person, String) {
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    bob.succeed(&["send", ALICE, "hello"]);
    assert_eq!(texts(&alice.messages()), ["hello"]);
    let id = alice.succeed(&["group", "create", "Walks", BOB]).trim().to_owned();
    bob.succeed(&["receive"]);
    alice.succeed(&["receive"]);
    (alice, bob, id)
}

fn shows_own_reaction(person: &Person) {
    let history = person.succeed(&["history", "Walks"]);
    assert!(history.contains("    👍 you\n"), "{history}");
}

#[test]
fn a_group_can_do_what_a_conversation_of_two_can() {
    let service = Service::new();
    let (alice, bob, id) = walks(&service);
    std::fs::write(bob.path("map.txt"), "content").unwrap();
    let sent = events(&bob, &["send", "Walks", "at three?", "--file", "map.txt"], "chat-sent");
    assert_eq!((sent[0]["group"].as_str(), &sent[0]["to"]), (Some(id.as_str()), &Value::Null));
    let message = sent[0]["short_id"].as_str().unwrap();
    let shown = alice.succeed(&["receive", "--ids"]);
    let expected = format!("{BOB}@com.example.two in Walks [{}]: at three?", &message[..4]);
    assert!(shown.contains(&expected), "{shown}");
    assert_eq!(std::fs::read(alice.path("map.txt")).unwrap(), b"content");
    alice.succeed(&["react", "Walks", message, "👍"]);
    let only_own =
        format!("that message is from {BOB}@com.example.two: you can only edit your own");
    alice.run(&["edit", "Walks", message, "x"]).failed(2, &only_own);
    alice.succeed(&["send", &id, "yes", "--reply", message]);
    let shown = bob.succeed(&["receive"]);
    let alices = format!("{ALICE}@com.example.one in Walks");
    assert!(
        shown.contains(&format!("{alices} reacted 👍 to your message \"at three?\"")),
        "{shown}"
    );
    assert!(
        shown.contains(&format!("{alices}: yes\n    in reply to you: \"at three?\"")),
        "{shown}"
    );
    bob.succeed(&["edit", "Walks", message, "at four?"]);
    bob.succeed(&["timer", "Walks", "1h"]);
    let shown = alice.succeed(&["receive"]);
    assert!(shown.contains("edited the message \"at three?\": at four?"), "{shown}");
    assert!(shown.contains("in Walks set the timer. Messages disappear 1 hour"), "{shown}");
    assert!(alice.succeed(&["timer", "Walks"]).contains("1 hour"));

    // Both have the same history, and the author knows who has read it.
    let history = bob.succeed(&["history", "Walks"]);
    assert!(history.contains("you in Walks: at four? (edited, read by 1 of 1)"), "{history}");
    assert!(history.contains(&format!("    👍 {ALICE}@com.example.one\n")), "{history}");
    let history = events(&alice, &["history", &id, "--search", "four"], "chat-history-message");
    assert_eq!((history.len(), history[0]["group"].as_str()), (1, Some(id.as_str())));
    shows_own_reaction(&alice);
    bob.succeed(&["delete", "Walks", message]);
    alice.succeed(&["receive"]);
    let history = alice.succeed(&["history", "Walks"]);
    assert!(history.contains("in Walks: (deleted by the author)"), "{history}");
    assert!(!history.contains("at four?"), "{history}");
}

#[test]
fn a_name_of_several_groups_is_refused_with_the_candidates() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    bob.succeed(&["send", ALICE, "hello"]);
    alice.messages();
    let groups = ["Walks", "Walks"].map(|title| alice.succeed(&["group", "create", title]));
    let [first, second] = [&groups[0], &groups[1]].map(|id| id.trim());
    // Both have only Alice, until Bob is in one of them.
    alice.succeed(&["group", "invite", second, BOB]);
    bob.succeed(&["receive"]);
    alice.succeed(&["receive"]);
    let listed = alice.succeed(&["group", "list"]);
    assert!(listed.contains(&format!("{first}  Walks (1 member: you)\n")), "{listed}");
    assert!(listed.contains(&format!("{second}  Walks (2 members: ")), "{listed}");
    assert!(listed.contains(&format!("{BOB}@com.example.one")), "{listed}");
    for command in [&["send", "Walks", "x"][..], &["talk", "Walks"], &["history", "Walks"]] {
        let refused = alice.run(command);
        refused.failed(2, "'Walks' can mean the group ");
        assert!(refused.stderr.contains(first) && refused.stderr.contains(second), "{refused}");
    }
    alice.succeed(&["send", first, "to the first"]);
    alice.succeed(&["contacts", BOB, "--name", "Talks"]);
    alice.succeed(&["group", "create", "Talks"]);
    alice.is_told(&["group", "create", "walks"], "You are in another group with this title");
    alice.run(&["send", "Talks", "x"]).failed(2, "the person ");
}

#[test]
fn the_members_of_a_group_talk_to_each_other() {
    let service = Service::new();
    let (alice, bob, _) = walks(&service);
    bob.succeed(&["send", ALICE, "for you alone"]);
    let mut alice_talks = alice.start(&["talk", "Walks", "--ids"]);
    let mut bob_talks = bob.start(&["talk", "Walks"]);
    for round in 0..2 {
        alice_talks.type_in(format!("question {round}\n"));
        bob_talks.wait_for(&format!("{ALICE}@com.example.one: question {round}"));
        bob_talks.type_in(format!("answer {round}\n"));
        alice_talks.wait_for(&format!("]: answer {round}"));
    }
    bob_talks.end_input();
    assert_eq!(bob_talks.end().exit, 0);
    alice_talks.end_input();
    let ended = alice_talks.end();
    assert!(ended.exit == 0 && !ended.out().contains("alone"), "{ended}");
    assert!(ended.stderr.contains("You are writing to the group Walks"), "{ended}");
    assert!(ended.stderr.contains("A message of another conversation waits"), "{ended}");
    assert_eq!(texts(&alice.messages()), ["for you alone"]);
}

#[test]
fn a_change_that_the_server_does_not_show_is_reported_with_the_person_who_names_it() {
    let mut service = Service::new();
    let (alice, bob, id) = walks(&service);
    service.registered("carol", CAROL, "com.example.one");
    alice.succeed(&["send", "Walks", "before"]);
    assert_eq!(texts(&bob.messages()), ["before"]);
    service.stop_and_save();
    service.resume();
    alice.succeed(&["group", "invite", "Walks", CAROL]);
    // The server loses the change, and everything about it.
    service.stop_and_restore();
    service.resume();
    alice.succeed(&["send", "Walks", "after"]);
    let output = bob.succeed(&["receive", "--json"]);
    assert_eq!(texts(&messages(&output)), ["after"]);
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kind = "chat-group-change-missing";
    let missing: Vec<_> = lines.filter(|event| event["event"] == kind).collect();
    assert_eq!(missing.len(), 1, "{output}");
    assert_eq!((missing[0]["group"].as_str(), &missing[0]["waiting"]), (Some(&*id), &true.into()));
    assert_eq!(missing[0]["by"]["number"], ALICE);
    // It is reported once after each start.
    let shown = bob.run(&["receive"]);
    let expected =
        format!("Walks was changed, according to {ALICE}@com.example.one, but the server");
    assert!(shown.stderr.contains(&expected), "{shown}");
    // Somebody may have been removed, so a message waits, and the command says why.
    let why = "the server does not show a change of the group, so the message stays in the outbox";
    bob.run(&["send", "Walks", "later"]).failed(1, why);
}
