//! `chat profile`: what people say about themselves.

use crate::service::{ALICE, BOB, Service, texts};

#[test]
fn a_name_from_a_profile_is_shown_as_a_claim_and_never_instead_of_the_own_name() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    assert_eq!(alice.succeed(&["profile"]), "Name: (none)\nAbout: (none)\nPicture: no\n");
    std::fs::write(alice.path("me.jpg"), PICTURE).unwrap();
    let change = ["profile", "--name", "Ali\u{202e}ce \"A\"", "--about", "hello"];
    let own = alice.succeed(&[&change[..], &["--picture", "me.jpg"]].concat());
    assert_eq!(own, "Name: Ali\\u{202e}ce \"A\"\nAbout: hello\nPicture: yes\n");
    let unknown = bob.run(&["profile", ALICE]);
    unknown.failed(1, "has not shared a profile with you");
    alice.succeed(&["send", BOB, "one"]);
    assert_eq!(texts(&bob.messages()), ["one"]);
    let shown = bob.succeed(&["profile", ALICE, "--save-picture", "alice.jpg"]);
    assert_eq!(shown, "Name: Alice \"A\"\nAbout: hello\n");
    assert_eq!(std::fs::read(bob.path("alice.jpg")).unwrap(), PICTURE);
    let again = bob.run(&["profile", ALICE, "--save-picture", "alice.jpg"]);
    again.failed(1, "cannot write");
    alice.succeed(&["send", BOB, "two"]);
    let received = bob.succeed(&["receive"]);
    let label = format!("{ALICE}@com.example.one \"Alice 'A'\" (from profile): two\n");
    assert!(received.ends_with(&label), "{received}");
    let contacts = bob.succeed(&["contacts"]);
    assert!(contacts.contains("\"Alice 'A'\" (from profile)\n"), "{contacts}");
    bob.succeed(&["contacts", ALICE, "--name", "My Alice"]);
    alice.succeed(&["send", BOB, "three"]);
    let messages = bob.messages();
    assert_eq!(messages[0]["from"]["name"], "My Alice");
    assert_eq!(messages[0]["from"]["profile_name"], "Alice \"A\"");
    let contacts = bob.succeed(&["contacts"]);
    assert!(!contacts.contains("profile"), "{contacts}");
    let without = alice.succeed(&["profile", "--about", "", "--no-picture"]);
    assert_eq!(without, "Name: Alice \"A\"\nAbout: (none)\nPicture: no\n");
}

#[test]
fn a_profile_that_is_too_long_or_unreadable_changes_nothing() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let long = alice.run(&["profile", "--name", &"a".repeat(300)]);
    long.failed(1, "the name is too long for a profile");
    let missing = alice.run(&["profile", "--picture", "missing.jpg"]);
    missing.failed(1, "cannot read");
    std::fs::write(alice.path("big.jpg"), vec![0; (10 << 20) + 1]).unwrap();
    let big = alice.run(&["profile", "--picture", "big.jpg"]);
    big.failed(1, "is too large: at most 10.5 MB");
    std::fs::write(alice.path("text.jpg"), "not one\n").unwrap();
    let text = alice.run(&["profile", "--picture", "text.jpg"]);
    text.failed(1, "is not a JPEG, PNG, WebP or GIF picture");
    let other = alice.run(&["profile", BOB, "--name", "Bob"]);
    other.failed(2, "--name");
    assert_eq!(alice.succeed(&["profile"]), "Name: (none)\nAbout: (none)\nPicture: no\n");
}

/// Begins as a JPEG file.
const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 a picture\0";
