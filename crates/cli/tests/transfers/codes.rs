//! Mistakes in a code are noticed before anything is sent, so that the code still works.

use std::fs;

use crate::terminal::in_terminal;
use crate::world::World;

/// Waits with a text under a code that is made from the word list.
const CODE: &str = "4-armistice-baboon";

#[test]
fn a_mistyped_code_is_asked_about_and_not_used_up() {
    let world = World::new();
    let sender = world.send(&["--code", CODE, "--text", "hello"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive 4-armistice-babon");
    receiver.wait_for_prompt(
        "'babon' is not in the word list; did you mean 'baboon'? Use this code anyway? (y/N): ",
    );
    receiver.type_in("\r");
    let refused = receiver.end();
    assert_eq!(refused.exit, 1, "{refused}");
    assert!(refused.out().contains("the code can still be used"), "{refused}");
    assert!(refused.out().contains("run the command again with 4-armistice-baboon"), "{refused}");
    let received = world.receive(&[CODE]).end();
    assert_eq!((received.exit, received.out().as_str()), (0, "hello"), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_mistyped_code_at_the_prompt_is_offered_corrected() {
    let world = World::new();
    let sender = world.send(&["--code", CODE, "--text", "hello"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in("4 \u{2013} Armistice \u{2013} Baboon\r");
    receiver.wait_for_prompt("did you mean 4-armistice-baboon?");
    receiver.wait_for_prompt("code: 4-armistice-baboon");
    receiver.type_in("\x7f\x7fn\r");
    receiver.wait_for_prompt("did you mean 'baboon'? Use this code anyway? (y/N): ");
    receiver.type_in("n\r");
    receiver.wait_for_times("code: 4-armistice-baboon", 2);
    receiver.type_in("\r");
    let received = receiver.end();
    assert!(received.exit == 0 && received.out().ends_with("hello\r\n"), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_script_is_warned_and_its_code_is_used_as_it_is() {
    let world = World::new();
    let sender = world.send(&["--code", "04-armistice-babon", "--text", "hello"]);
    let warning = "wormhole: warning: The number of a code does not start with 0, but 04 does; did \
                   you mean 4-armistice-baboon? 'babon' is not in the word list; did you mean \
                   'baboon'?";
    sender.wait_for_prompt(warning);
    sender.code();
    let link = "wormhole-transfer:04-armistice-babon";
    let received = world.receive(&[link]).end();
    assert_eq!((received.exit, received.out().as_str()), (0, "hello"), "{received}");
    assert!(received.stderr.starts_with(warning), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_program_is_warned_by_an_event() {
    let world = World::new();
    let sender = world.send(&["--json", "--code", "4-baboon-armistice", "--text", "hello"]);
    sender.wait_for("\"event\":\"code\"");
    let mut receiver = world.receive(&["--json"]);
    receiver.wait_for("\"about\":\"code\"");
    receiver.type_in("4-baboon-armistice\n");
    let received = receiver.end();
    for ended in [sender.end(), received] {
        assert_eq!((ended.exit, ended.stderr.as_str()), (0, ""), "{ended}");
        let events = ended.events();
        let warning = events.iter().find(|event| event["event"] == "warning").unwrap();
        assert_eq!(warning["suggestion"], CODE);
        assert!(warning["message"].as_str().unwrap().contains("in the wrong order"), "{warning}");
    }
}

#[test]
fn a_code_for_ssh_is_looked_at_too() {
    let world = World::new();
    fs::create_dir_all(world.path("home/.ssh")).unwrap();
    world.write("home/.ssh/id.pub", KEY);
    let mut accept = in_terminal(&world, "sender", "ssh accept --yes 4-armistice-babon");
    accept.wait_for_prompt("did you mean 'baboon'? Use this code anyway? (y/N): ");
    accept.type_in("n\r");
    assert_eq!(accept.end().exit, 1);
}

#[test]
fn an_unanswered_nameplate_is_named() {
    let world = World::new();
    let mut receiver = world.receive(&["77-armistice-baboon"]);
    receiver.wait_for("Waiting for sender...");
    let rest = receiver
        .wait_for("Nobody is waiting with a code that begins with 77-. Is the number right?");
    assert!(
        rest.contains("If the code came from `wormhole ssh invite`, use `wormhole ssh accept`;"),
        "{rest}"
    );
    assert!(
        rest.ends_with("from `wormhole chat link`, use `wormhole chat link accept CODE`."),
        "{rest}"
    );
    receiver.end_input();
    receiver.signal("INT");
    receiver.end().failed(130, "interrupted");
}

/// A public key.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBGiTOHJ6gKJlzSDJMqM9jpx9n5YKeJkQyjLZ6ZmSbnw me@here\n";
