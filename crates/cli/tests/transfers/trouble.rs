//! Tests of failures: wrong codes, unreachable servers, and cancelled transfers.

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
    // The side that notices first notifies the other one.
    let explains = |stderr: &str| {
        stderr.contains("(the relay tcp:127.0.0.1:9: connection refused)")
            && stderr.contains("wormhole: hint: is the relay running")
    };
    let is_told = |stderr: &str| stderr.contains("is the relay up?");
    let (sent, received) = (&sent.stderr, &received.stderr);
    assert!(explains(sent) || explains(received), "{sent}\n{received}");
    assert!(explains(sent) || is_told(sent), "{sent}");
    assert!(explains(received) || is_told(received), "{received}");
}

#[test]
fn a_relay_only_side_and_a_direct_only_side_do_not_wait_for_one_another() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["--relay-only", "f"]);
    let code = sender.code();
    let receiver = world.receive(&["--no-relay", "--accept-file", &code]);
    let (sent, received) = (sender.end(), receiver.end());
    assert_eq!((sent.exit, received.exit), (1, 1), "{sent}\n{received}");
    let explains = |stderr: &str| stderr.contains("the options of both sides allow no connection");
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
    assert_eq!(world.receive(&["4-our-own"]).end().out(), "second");
    assert_eq!(sender.end().exit, 0);
}

#[cfg(unix)]
#[test]
fn a_receiver_that_is_interrupted_at_the_question_tells_the_sender() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let receiver = world.receive(&[&sender.code()]);
    receiver.wait_for_prompt("Receive it? (Y/n): ");
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
fn a_killed_sender_ends_the_receiver_and_nothing_gets_its_final_name() {
    let world = World::new();
    let mut sender = world.send(&["--patience", "2", "-", "--name", "big"]);
    let code = sender.code();
    let receiver = world.receive(&["--patience", "2", "--accept-file", &code]);
    sender.type_in(vec![1; 1_000_000]);
    receiver.wait_for("Receiving (");
    sender.signal("KILL");
    assert_eq!(sender.end().exit, 128 + 9);
    receiver.end().failed(1, "the connection broke after");
    assert!(world.names("receiver").is_empty(), "{:?}", world.names("receiver"));
}

#[cfg(unix)]
#[test]
fn a_killed_receiver_ends_the_sender_and_the_next_try_succeeds() {
    let world = World::new();
    let mut sender = world.send(&["--patience", "2", "-", "--name", "big"]);
    let code = sender.code();
    let receiver = world.receive(&["--patience", "2", "--accept-file", &code]);
    sender.type_in(vec![1; 1_000_000]);
    receiver.wait_for("Receiving (");
    receiver.signal("KILL");
    assert_eq!(receiver.end().exit, 128 + 9);
    sender.type_in(vec![1; 10_000_000]);
    sender.end_input();
    sender.end().failed(1, "the connection broke after");
    assert!(!world.path("receiver/big").exists());
    world.write("sender/big", "x");
    world.transfer(&["big"], &["--accept-file"]);
    assert_eq!(world.read("receiver/big"), b"x");
}

/// A disk of 1 MiB, in a mount namespace that ends with the receiver.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_fails_on_both_sides_and_is_left_empty() {
    let probe = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "this system allows no mount namespaces");
        println!("skipped: this system allows no mount namespaces");
        return;
    }
    let world = World::new();
    world.write("sender/big", vec![1; 3_000_000]);
    let receive = |code: &str| {
        let script = "mount -t tmpfs -o size=1m tmpfs . && cd \"$PWD\" || exit 99; \
                      \"$@\"; status=$?; echo left: $(ls -A) >&2; exit $status";
        let ours = world.command("receiver", &[]);
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(ours.get_program()).args(["receive", "--accept-file", code]);
        command.current_dir(world.path("receiver"));
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Running::start(command)
    };
    // A size that is known is checked before anything is sent.
    let sender = world.send(&["big"]);
    let received = receive(&sender.code()).end();
    received.failed(1, "insufficient free space");
    assert!(received.stderr.contains("left:\n"), "{received}");
    sender.end().failed(1, "not enough space");
    let mut sender = world.send(&["-", "--name", "big"]);
    let receiver = receive(&sender.code());
    sender.type_in(vec![1; 3_000_000]);
    sender.end_input();
    let received = receiver.end();
    received.failed(1, "no space left on device");
    assert!(received.stderr.contains("left:\n"), "{received}");
    sender.end().failed(1, "not enough space on the receiving side");
}

#[cfg(unix)]
#[test]
fn names_that_would_drive_the_terminal_are_shown_escaped() {
    let world = World::new();
    let name = "a\u{1b}[2Jb";
    world.write(&format!("sender/{name}"), "x");
    let (sent, received) = world.transfer(&[name], &["--accept-file"]);
    assert!(!sent.stderr.contains('\u{1b}') && !received.stderr.contains('\u{1b}'), "{received}");
    assert!(received.stderr.contains("into: 'a\\u{1b}[2Jb'"), "{received}");
    assert_eq!(world.read(&format!("receiver/{name}")), b"x");
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
fn a_directory_that_is_missing_is_noticed_before_anything_connects() {
    let world = World::new();
    let mut command = world.command("receiver", &["receive", "-o", "no/such/dir/f", "4-x"]);
    command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
    let ended = Running::start(command).end();
    ended.failed(1, "there is no directory");
    assert!(ended.stderr.contains("wormhole: hint: create it"), "{ended}");
}

#[test]
fn a_destination_that_vanishes_fails_on_both_sides() {
    let world = World::new();
    world.write("sender/f", "x");
    std::fs::create_dir(world.path("receiver/dir")).unwrap();
    let sender = world.send(&["f"]);
    let mut receiver = world.receive(&["-o", "dir/f", &sender.code()]);
    receiver.wait_for_prompt("Receive it? (Y/n): ");
    std::fs::remove_dir(world.path("receiver/dir")).unwrap();
    receiver.type_in("y\n");
    receiver.end().failed(1, "cannot write");
    sender.end().failed(1, "the receiving side could not write the file");
    assert!(world.names("receiver").is_empty());
}
