//! What goes wrong: codes, servers, people who give up.

use crate::world::{Running, World};

#[test]
fn a_wrong_code_fails_on_both_sides_with_the_same_sentence() {
    let world = World::new();
    let sender = world.send(&["--text", "hello"]);
    let code = sender.code();
    let received = world.receive(&[&format!("{code}x")]).end();
    received.failed(1, "key confirmation failed");
    sender.end().failed(1, "key confirmation failed");
    assert!(received.stdout.is_empty());
}

#[test]
fn missing_files_are_found_before_anything_connects() {
    let world = World::new();
    let mut command = world.command("sender", &["send", "there", "nosuchfile.txt"]);
    command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
    world.write("sender/there", "x");
    Running::start(command).end().failed(1, "cannot send 'nosuchfile.txt'");
}

#[test]
fn an_unreachable_mailbox_server_is_one_sentence_and_a_hint() {
    let world = World::new();
    for command in [["send", "--text", "x"], ["receive", "--only-text", "4-x"]] {
        let mut command = world.command("sender", &command);
        command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
        let ended = Running::start(command).end();
        ended.failed(1, "cannot be reached: connection refused");
        assert!(ended.stderr.contains("wormhole: hint: "), "{ended}");
    }
}

#[test]
fn an_unreachable_relay_is_one_sentence_and_a_hint() {
    let world = World::new();
    world.write("sender/f", "x");
    let unreachable = ["--transit-helper", "tcp:127.0.0.1:9"];
    let sender = world.send(&[&unreachable[..], &["--relay-only", "f"]].concat());
    let code = sender.code();
    let receiver =
        world.receive(&[&unreachable[..], &["--relay-only", "--accept-file", &code]].concat());
    let (sent, received) = (sender.end(), receiver.end());
    assert_eq!((sent.exit, received.exit), (1, 1), "{sent}\n{received}");
    // Whoever notices first tells the other one.
    let explains = |stderr: &str| stderr.contains("wormhole: hint: is the relay reachable");
    assert!(explains(&sent.stderr) || explains(&received.stderr), "{sent}\n{received}");
}

#[cfg(unix)]
#[test]
fn interrupting_the_waiting_sender_frees_its_code() {
    let world = World::new();
    let sender = world.send(&["--code", "4-our-own", "--text", "hello"]);
    sender.code();
    sender.signal("INT");
    sender.end().failed(130, "interrupted");
    // The nameplate is free again: the next two users of it meet one another.
    let sender = world.send(&["--code", "4-our-own", "--text", "second"]);
    sender.code();
    assert_eq!(world.receive(&["4-our-own"]).end().out(), "second\n");
    assert_eq!(sender.end().exit, 0);
}

#[cfg(unix)]
#[test]
fn a_receiver_that_is_interrupted_at_the_question_tells_the_sender() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let receiver = world.receive(&[&sender.code()]);
    receiver.wait_for_prompt("ok? (Y/n): ");
    receiver.signal("INT");
    receiver.end().failed(130, "interrupted");
    let sent = sender.end();
    assert_eq!(sent.exit, 1, "{sent}");
    assert!(world.names("receiver").is_empty());
}

#[cfg(unix)]
#[test]
fn a_sender_that_is_terminated_during_a_transfer_tells_the_receiver() {
    let world = World::new();
    let mut sender = world.send(&["-"]);
    let code = sender.code();
    let receiver = world.receive(&["--accept-file", &code]);
    sender.type_in(vec![1; 1_000_000]);
    receiver.wait_for("Receiving (");
    sender.signal("TERM");
    sender.end().failed(143, "terminated");
    let received = receiver.end();
    assert_eq!(received.exit, 1, "{received}");
    assert!(world.names("receiver").is_empty(), "{:?}", world.names("receiver"));
}

#[cfg(unix)]
#[test]
fn a_receiver_that_is_interrupted_during_a_transfer_leaves_nothing_under_the_final_name() {
    let world = World::new();
    let mut sender = world.send(&["-", "--name", "big"]);
    let code = sender.code();
    let receiver = world.receive(&["--accept-file", &code]);
    sender.type_in(vec![1; 1_000_000]);
    receiver.wait_for("Receiving (");
    receiver.signal("INT");
    receiver.end().failed(130, "interrupted");
    sender.end_input();
    let sent = sender.end();
    assert_eq!(sent.exit, 1, "{sent}");
    assert!(!world.path("receiver/big").exists());
}

#[cfg(unix)]
#[test]
fn names_that_would_drive_the_terminal_are_shown_and_refused() {
    let world = World::new();
    world.write("sender/a\u{1b}[2Jb", "x");
    let sender = world.send(&["a\u{1b}[2Jb"]);
    let received = world.receive(&["--accept-file", &sender.code()]).end();
    received.failed(1, "cannot be a name here");
    let sent = sender.end();
    assert!(!sent.stderr.contains('\u{1b}') && !received.stderr.contains('\u{1b}'), "{sent}");
    let sender = world.send(&["a\u{1b}[2Jb"]);
    let received = world.receive(&["--accept-file", "-o", "b", &sender.code()]).end();
    assert_eq!(received.exit, 0, "{received}");
    assert_eq!(world.read("receiver/b"), b"x");
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_unicode_is_refused_with_advice() {
    use std::os::unix::ffi::OsStrExt as _;

    let world = World::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(world.path("sender").join(name), "x").unwrap();
    let mut command = world.command("sender", &["send"]);
    command.arg(name);
    let ended = Running::start(command).end();
    ended.failed(1, "its name is not valid Unicode");
    assert!(ended.stderr.contains("--name NAME"), "{ended}");
}

#[test]
fn a_destination_that_cannot_be_written_fails_on_both_sides() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let received = world.receive(&["--accept-file", "-o", "no/such/dir/f", &sender.code()]).end();
    assert_eq!(received.exit, 1, "{received}");
    assert_eq!(sender.end().exit, 1);
    assert!(world.names("receiver").is_empty());
}
