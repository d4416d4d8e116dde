//! A changed identity key.

use crate::service::{ALICE, BOB, Service, texts};

#[test]
fn a_changed_identity_key_stops_sending_until_it_is_accepted() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "to the first phone"]);
    assert_eq!(texts(&bob.messages()), ["to the first phone"]);
    let before = alice.succeed(&["safety", BOB]);
    // Somebody registers Bob's number again: Bob with a new phone, or a thief of the number.
    let new = service.registered("new", BOB, "com.example.one");
    let refused = alice.run(&["send", BOB, "are you still Bob?"]);
    assert_eq!(refused.exit, 1, "{refused}");
    let words = ["safety number", "has changed", "waits", "--verify"];
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{refused}");
    assert_eq!(new.messages().len(), 0);
    let after = alice.run(&["safety", BOB]);
    assert!(after.out() != before && after.stderr.contains("It has changed"), "{after}");
    assert!(alice.succeed(&["contacts"]).contains("safety number has changed"));

    let mut declined = alice.start(&["safety", BOB, "--verify"]);
    declined.type_in("n\n");
    let declined = declined.end();
    assert!(declined.exit == 1 && declined.stderr.contains("nothing has changed"), "{declined}");
    assert_eq!(new.messages().len(), 0);
    alice.succeed(&["safety", BOB, "--verify", &after.out()]);
    alice.succeed(&["send", BOB, "welcome back"]);
    assert_eq!(texts(&new.messages()), ["are you still Bob?", "welcome back"]);
}
