//! Linking, listing and removing devices.

use serde_json::{Value, json};

use crate::service::{ALICE, BOB, Person, Service, messages, texts};

/// The variable with the mailbox server.
pub(crate) const MAILBOX: &str = "WORMHOLE_RELAY_URL";

/// Links a new device, and returns it.
fn link(service: &Service, first: &Person, mailbox: &str, name: &str) -> Person {
    let new = service.person(name).with_variable(MAILBOX, mailbox);
    let linking = new.start(&["link", "--yes", "--name", name]);
    let code = linking.wait_for("chat link accept ");
    let accepted = first.run(&["link", "accept", "--yes", &code]);
    assert_eq!(accepted.exit, 0, "{accepted}");
    assert!(accepted.stderr.contains(&format!("Linked '{name}': it is device ")), "{accepted}");
    let linked = linking.end();
    assert_eq!(linked.exit, 0, "{linked}");
    let groups = "The groups of your account come with the next `wormhole chat receive`.";
    assert!(linked.stderr.contains(groups), "{linked}");
    new
}

/// Checks that a removed device explains that once, and gets no messages.
fn learns_that_it_was_removed(device: &Person) {
    let removed = device.run(&["receive"]);
    removed.failed(1, "this device was removed from the account");
    assert_eq!(removed.stderr.matches("was removed").count(), 1, "{removed}");
    assert!(removed.stderr.contains("`wormhole chat link --account NAME`"), "{removed}");
    assert!(!removed.stderr.contains("every hour"), "{removed}");
    assert_eq!(removed.out(), "");
}

#[test]
fn a_linked_device_is_listed_gets_copies_and_can_be_removed() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let bob = service.registered("bob", BOB, "com.example.two");
    let laptop = link(&service, &alice, &url, "laptop");
    let groups =
        "This device knows no group of yours. After it was linked, groups come with the next";
    laptop.is_told(&["group", "list"], groups);
    let listed = alice.succeed(&["devices"]);
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("1  (no name): since ") && lines[0].ends_with(", this device"));
    assert!(lines[1].starts_with("2  laptop: since 20"), "{listed}");
    assert_eq!(lines.len(), 2);
    assert!(!listed.contains("NOT SIGNED"), "{listed}");
    alice.run(&["devices", "--sign", "3"]).failed(1, "the account has no such device");
    // It is signed already.
    alice.succeed(&["devices", "--sign", "2"]);

    alice.succeed(&["send", BOB, "from the phone"]);
    let shown = laptop.succeed(&["receive"]);
    assert!(
        shown.contains(&format!("  you to {BOB}@com.example.two: from the phone\n")),
        "{shown}"
    );
    laptop.succeed(&["send", BOB, "from the laptop"]);
    let events = alice.succeed(&["receive", "--json"]);
    assert!(messages(&events).is_empty(), "it is not a message for her");
    let mut events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let copy = events.find(|event| event["event"] == "chat-sent-elsewhere").unwrap();
    assert_eq!((&copy["text"], &copy["device"]), (&json!("from the laptop"), &json!(2)));
    assert_eq!(copy["to"]["number"], BOB);
    assert_eq!(texts(&bob.messages()), ["from the phone", "from the laptop"]);
    bob.succeed(&["send", ALICE, "to both"]);
    for device in [&alice, &laptop] {
        assert_eq!(texts(&device.messages()), ["to both"]);
    }

    alice.run(&["devices", "--remove", "3"]).failed(1, "the account has no such device");
    laptop.run(&["devices", "--remove", "1"]).failed(1, "cannot be removed");
    alice.succeed(&["devices", "--name", "phone"]);
    alice.succeed(&["devices", "--remove", "2"]);
    assert!(alice.succeed(&["devices"]).starts_with("1  phone: since "));
    bob.succeed(&["send", ALICE, "to the phone alone"]);
    learns_that_it_was_removed(&laptop);
    assert_eq!(texts(&alice.messages()), ["to the phone alone"]);
}

#[test]
fn an_edit_of_a_deleted_message_is_not_shown() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let bob = service.registered("bob", BOB, "com.example.two");
    let laptop = link(&service, &alice, &url, "laptop");
    laptop.succeed(&["history", "--keep", "off", "--yes"]);
    alice.succeed(&["send", BOB, "typo here"]);
    let shown = laptop.succeed(&["receive", "--json"]);
    let shown: Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    let id = shown["short_id"].as_str().unwrap();
    // The laptop does not know yet that the phone has deleted it.
    alice.succeed(&["delete", BOB, id]);
    laptop.succeed(&["edit", BOB, id, "after delete"]);
    let received = bob.succeed(&["receive"]);
    assert!(received.contains("deleted") && !received.contains("after delete"), "{received}");
    let shown = bob.succeed(&["history"]);
    assert!(shown.contains("deleted") && !shown.contains("after delete"), "{shown}");
}

#[test]
fn a_device_that_nobody_has_signed_is_shown_as_such_until_it_is_signed() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let laptop = link(&service, &alice, &url, "laptop");
    assert!(!alice.succeed(&["devices"]).contains("NOT SIGNED"));
    // Another program, or the server, uses the number of the laptop.
    service.change_registration_id(&laptop, 4321);
    let listed = alice.succeed(&["devices"]);
    let unsigned = ", NOT SIGNED by any of your devices, registration id 4321";
    assert!(listed.lines().nth(1).unwrap().ends_with(unsigned), "{listed}");
    let event = |output: String| -> Vec<Value> {
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let events = event(alice.succeed(&["devices", "--json"]));
    let shown = |index: usize| (events[index]["signed"].clone(), &events[index]["registration_id"]);
    assert_eq!(shown(1), (json!(false), &json!(4321)));
    assert_eq!(shown(0).0, true);
    let other = alice.run(&["devices", "--sign", "2", "--registration-id", "4320"]);
    other.failed(1, "the device has the registration id 4321 according to the server");
    assert!(alice.succeed(&["devices"]).contains("NOT SIGNED"));
    let signed = alice.run(&["devices", "--sign", "2"]);
    assert!(
        signed.stderr.contains("Device 2 is signed with the registration id 4321, which the"),
        "{signed}"
    );
    assert_eq!(signed.exit, 0);
    assert!(!alice.succeed(&["devices"]).contains("NOT SIGNED"));
    let right = ["devices", "--sign", "2", "--registration-id", "4321", "--json"];
    let events = event(alice.succeed(&right));
    let expected = json!({"event": "chat-device-signed", "device": 2, "registration_id": 4321});
    assert_eq!(events, [expected]);
}

#[test]
fn a_device_that_shows_a_qr_code_is_linked_with_its_text() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let laptop = service.person("laptop");
    let app = "com.example.one";
    let token_file = service.path(app).display().to_string();
    let mut linking = laptop.start(&[
        "link",
        "--qr",
        "--server",
        &service.url,
        "--app",
        app,
        "--token-file",
        &token_file,
        "--name",
        "laptop",
    ]);
    let uri = linking.wait_for("chat link accept '");
    let uri = uri.trim_end_matches('\'');
    assert!(uri.starts_with("sgnl://linkdevice?uuid="), "{uri}");
    let (_, registration_id) = uri.split_once("&registration_id=").unwrap();
    let registration_id = registration_id.to_owned();
    let mut accepting = alice.start(&["link", "accept", uri]);
    accepting.wait_for_prompt("Is the QR code on the screen of your own new device?");
    accepting.type_in("y\n");
    linking.wait_for_prompt(&format!("Use the account of {ALICE}"));
    linking.type_in("y\n");
    let accepted = accepting.end();
    assert_eq!(accepted.exit, 0, "{accepted}");
    assert!(accepted.stderr.contains("Linked: it is device 2 of your account."), "{accepted}");
    assert!(!accepted.stderr.contains("Note: "), "what was signed is what the QR code says");
    let listed = alice.succeed(&["devices", "--json"]);
    assert!(listed.contains(&format!("\"registration_id\":{registration_id}")), "{listed}");
    let linked = linking.end();
    assert_eq!(linked.exit, 0, "{linked}");
    laptop.succeed(&["config", "--requests", "off"]);
    bob.succeed(&["send", ALICE, "to both"]);
    for device in [&alice, &laptop] {
        assert_eq!(texts(&device.messages()), ["to both"]);
    }
    let again = alice.run(&["link", "accept", "--yes", uri]);
    again.failed(1, "no device waits at the address in the QR code");
    let cut = alice.run(&["link", "accept", "sgnl://linkdevice?uuid=abc"]);
    assert!(cut.stderr.contains("put the whole text in single quotes"), "{cut}");
    cut.failed(2, "not the QR code of a new device");
    let without_server = laptop.run(&["link", "--qr"]);
    assert!(without_server.stderr.contains("--server <URL>"), "{without_server}");
    without_server.failed(2, "required arguments were not provided");
}

#[test]
fn a_link_that_is_refused_is_explained_on_both_sides() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let laptop = service.person("laptop").with_variable(MAILBOX, &url);
    let linking = laptop.start(&["link", "--name", "laptop"]);
    let code = linking.wait_for("chat link accept ");
    let mut accepting = alice.start(&["link", "accept", &code]);
    accepting.wait_for_prompt(&format!("Link 'laptop' to {ALICE}?"));
    accepting.type_in("n\n");
    accepting.end().failed(1, "the device was not linked");
    linking.end().failed(1, "the other device has cancelled");
    // The new device may be linked to the wrong account.
    let mut linking = laptop.start(&["link", "--name", "laptop"]);
    let code = linking.wait_for("chat link accept ");
    let accepting = alice.start(&["link", "accept", "-y", &code]);
    linking.wait_for_prompt(&format!("Use the account of {ALICE} at "));
    linking.type_in("n\n");
    linking.end().failed(1, "this computer was not linked");
    let accepted = accepting.end();
    accepted.failed(1, "the other device has cancelled");
    assert!(accepted.stderr.contains("may have got the key of your account"), "{accepted}");
    let linking = laptop.start(&["link", "--server", "https://chat.example.org"]);
    let code = linking.wait_for("chat link accept ");
    alice.run(&["link", "accept", "-y", &code]).failed(1, "does not accept the server");
    linking.end().failed(1, "not at https://chat.example.org");
    assert_eq!(alice.succeed(&["devices"]).lines().count(), 1);
    alice.run(&["link"]).failed(1, "this account is registered here already");
    laptop.run(&["link", "accept", "4-purple-sausages"]).failed(1, "is not registered yet");
    // Nobody has used this number.
    let waiting = alice.start(&["link", "accept", "77-guitarist-revenge"]);
    waiting.wait_for("Nobody is waiting with a code that begins with 77-. Is the number right?");
    waiting.signal("INT");
    assert_eq!(waiting.end().exit, 130);
}

#[test]
fn a_new_device_that_is_killed_can_be_linked_with_another_code() {
    let service = Service::new();
    let (_mailbox, url) = service.mailbox();
    let alice = service.registered("alice", ALICE, "com.example.one").with_variable(MAILBOX, &url);
    let laptop = service.person("laptop").with_variable(MAILBOX, &url);
    let mut linking = laptop.start(&["link"]);
    let code = linking.wait_for("chat link accept ");
    linking.kill();
    linking.end();
    let accepting = alice.start(&["link", "accept", "-y", &code]);
    accepting.wait_for("Waiting for the new device...");
    accepting.signal("INT");
    assert_eq!(accepting.end().exit, 130);
    link(&service, &alice, &url, "laptop");
    assert_eq!(alice.succeed(&["devices"]).lines().count(), 2);
}
