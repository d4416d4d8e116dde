//! Groups of people in two apps.

use crate::service::{ALICE, BOB, Service, texts};

const CAROL: &str = "+14155550103";

#[test]
fn a_group_over_two_apps_is_made_used_and_left() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    // Bob knows Alice, so his computer accepts her invitation.
    bob.succeed(&["send", ALICE, "hello"]);
    assert_eq!(texts(&alice.messages()), ["hello"]);
    let created = alice.succeed(&["group", "create", "Walks", BOB]);
    let id = created.trim();
    assert!(alice.succeed(&["group", "show", "Walks"]).contains("(invited)"));
    bob.succeed(&["receive"]);
    assert_eq!(bob.succeed(&["group", "list"]).trim(), format!("{id}  Walks"));
    let members = bob.succeed(&["group", "show", id]);
    assert!(members.contains("you\n") && members.contains("(administrator)"), "{members}");

    bob.succeed(&["group", "send", "Walks", "at three?"]);
    let shown = alice.succeed(&["receive"]);
    assert!(shown.contains(&format!("{BOB}@com.example.two in Walks: at three?")), "{shown}");
    let refused = bob.run(&["group", "remove", "Walks", ALICE]);
    refused.failed(1, "only an administrator");
    bob.run(&["group", "send", "Talks", "x"]).failed(2, "no group is called 'Talks'");

    alice.succeed(&["group", "remove", "Walks", BOB]);
    bob.succeed(&["receive"]);
    let listed = bob.succeed(&["group", "list"]);
    assert!(listed.contains("not a member any more"), "{listed}");
    assert_eq!(bob.run(&["group", "send", "Walks", "still here"]).exit, 1);
}

#[test]
fn somebody_joins_with_a_link_until_it_is_disabled() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let carol = service.registered("carol", CAROL, "com.example.one");
    alice.succeed(&["group", "create", "Walks"]);
    let link = alice.succeed(&["group", "link", "Walks"]);
    let joined = bob.succeed(&["group", "join", link.trim()]);
    bob.succeed(&["group", "send", joined.trim(), "I am here"]);
    assert_eq!(texts(&alice.messages()), ["I am here"]);
    alice.succeed(&["group", "link", "Walks", "--off"]);
    assert_eq!(carol.run(&["group", "join", link.trim()]).exit, 1);
    bob.succeed(&["group", "leave", joined.trim()]);
    alice.succeed(&["receive"]);
    let members = alice.succeed(&["group", "show", "Walks"]);
    assert_eq!(members, "you (administrator)\n");
}
