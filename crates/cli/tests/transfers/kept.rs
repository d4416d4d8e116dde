//! What is confirmed to the sender is where the user wants it.

use std::path::Path;

use crate::world::{Ended, Running, World};

/// Runs `script` in a shell with our receiver as `$0` and the code as `$1`.
fn receive_in_shell(world: &World, script: &str, code: &str) -> Ended {
    start_in_shell(world, script, code).end()
}

fn start_in_shell(world: &World, script: &str, code: &str) -> Running {
    let ours = world.command("receiver", &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).arg(ours.get_program()).arg(code);
    command.current_dir(world.path("receiver"));
    for (key, value) in ours.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    Running::start(command)
}

#[cfg(target_os = "linux")]
#[test]
fn what_standard_output_does_not_take_fails_on_both_sides() {
    let world = World::new();
    world.write("sender/f", vec![1; 300_000]);
    world.write("sender/d/f", "x");
    let full = "no space left on device";
    for (send, receive, why) in [
        (&["--text", "hello"][..], "\"$0\" receive \"$1\" > /dev/full", full),
        (&["f"], "\"$0\" receive --accept-file -o - \"$1\" > /dev/full", full),
        (&["d"], "\"$0\" receive --accept-file -o - \"$1\" > /dev/full", full),
    ] {
        let sender = world.send(send);
        let received = receive_in_shell(&world, receive, &sender.code());
        received.failed(1, why);
        let sent = sender.end();
        assert!(sent.exit == 1 && sent.stderr.contains("the other side says: "), "{sent}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_reader_of_events_ends_the_transfer_on_both_sides() {
    let world = World::new();
    let sender = world.send(&["--text", "hello"]);
    let script = "\"$0\" --json receive \"$1\" > /dev/full; echo $? >&2; \
                  { \"$0\" --json receive \"$1\"; echo $? >&2; } | true";
    let ended = receive_in_shell(&world, script, &sender.code());
    assert!(ended.stderr.contains("cannot write to standard output"), "{ended}");
    // The first one has not even connected, so the code is still good.
    assert_eq!(world.receive(&[&sender.code()]).end().out(), "hello");
    assert_eq!(sender.end().exit, 0);
}

#[cfg(unix)]
#[test]
fn a_closed_standard_output_is_noticed_before_the_code_is_used() {
    let world = World::new();
    let sender = world.send(&["--text", "hello"]);
    let closed = receive_in_shell(&world, "\"$0\" receive \"$1\" >&-", &sender.code());
    closed.failed(1, "cannot write to standard output: it is closed");
    let discarded = receive_in_shell(&world, "\"$0\" receive \"$1\" > /dev/null", &sender.code());
    assert_eq!(discarded.exit, 0, "{discarded}");
    assert_eq!(sender.end().exit, 0);
}

#[cfg(unix)]
#[test]
fn a_reader_that_is_gone_gets_no_message_and_the_sender_learns_that_the_text_was_lost() {
    let world = World::new();
    let sender = world.send(&["--text", "hello"]);
    let script = "{ \"$0\" receive \"$1\"; echo $? > status; } | true";
    let ended = receive_in_shell(&world, script, &sender.code());
    assert!(!ended.stderr.contains("error"), "{ended}");
    assert_eq!(world.read("receiver/status"), b"1\n");
    sender.end().failed(1, "the receiving side could not write the text");
}

#[cfg(unix)]
#[test]
fn a_transfer_whose_events_cannot_be_written_has_failed() {
    let world = World::new();
    world.write("receiver/f", "x");
    let script = "{ \"$0\" --json send --code \"$1\" f; echo $? > status; } | { read line; }";
    let sender = start_in_shell(&world, script, "4-our-own");
    // Perhaps they meet, perhaps the sender has noticed before.
    let _receiver = world.receive(&["--only-text", "4-our-own"]);
    let sent = sender.end();
    assert_eq!(world.read("receiver/status"), b"1\n");
    let was_refused = sent.stderr.contains("transfer rejected");
    assert!(was_refused || !sent.stderr.contains("error"), "{sent}");
}

#[cfg(unix)]
#[test]
fn a_receiver_that_dies_once_the_sender_is_done_has_everything_under_its_final_name() {
    let world = World::new();
    world.write("sender/f", vec![1; 3_000_000]);
    for number in 0..300 {
        world.write(&format!("sender/d/{number}"), "x");
    }
    for what in ["f", "d"] {
        let sender = world.send(&[what]);
        let receiver = world.receive(&["--accept-file", &sender.code()]);
        sender.wait_for("Confirmation received");
        receiver.signal("KILL");
        receiver.end();
        assert_eq!(sender.end().exit, 0);
    }
    assert_eq!(world.names("receiver"), ["d", "f"]);
    assert_eq!(world.read("receiver/f").len(), 3_000_000);
    assert_eq!(world.names("receiver/d").len(), 300);
}

#[test]
fn a_key_that_could_not_be_added_is_not_confirmed() {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH me@home";
    let world = World::new();
    world.write("sender/id.pub", KEY);
    let invite = Running::start(world.command("receiver", &["ssh", "invite"]));
    let code = invite.wait_for("ssh accept ");
    std::fs::create_dir_all(world.path("home/.ssh/authorized_keys")).unwrap();
    let accept = world.command("sender", &["ssh", "accept", "-F", "id.pub", "-y", &code]);
    Running::start(accept).end().failed(1, "the other side says: the key was not added");
    invite.end().failed(1, "cannot write ");
}

#[cfg(unix)]
#[test]
fn a_limit_on_file_sizes_is_like_a_full_disk() {
    let world = World::new();
    world.write("sender/big", vec![1; 3_000_000]);
    let script = "ulimit -f 100; exec \"$0\" receive --accept-file \"$1\"";
    // A size that is known is refused before anything is sent, one that is not is found out.
    for stream in [false, true] {
        let mut sender = world.send(if stream { &["-", "--name", "big"] } else { &["big"] });
        let receiver = start_in_shell(&world, script, &sender.code());
        if stream {
            sender.type_in(vec![1; 3_000_000]);
            sender.end_input();
        }
        let received = receiver.end();
        received.failed(1, "file too large");
        assert!(received.stderr.contains("ulimit -f"), "{received}");
        assert_eq!(received.stderr.contains("Receiving ("), stream, "{received}");
        sender.end().failed(1, "not enough space on the receiving side");
        assert!(world.names("receiver").is_empty());
    }
}

#[test]
fn files_that_change_on_the_way_are_named_and_the_others_arrive() {
    let world = World::new();
    for name in ["grows", "shrinks", "stays"] {
        world.write(&format!("sender/d/{name}"), vec![1; 100_000]);
    }
    let sender = world.send(&["d"]);
    let code = sender.code();
    world.write("sender/d/grows", vec![1; 100_001]);
    world.write("sender/d/shrinks", "x");
    let received = world.receive(&["--accept-file", &code]).end();
    received.failed(1, "the sender could not read 'shrinks'; the other files have arrived");
    let sent = sender.end();
    sent.failed(1, "2 files changed while they were sent");
    let (grows, shrinks) = (Path::new("d").join("grows"), Path::new("d").join("shrinks"));
    for line in [
        format!("'{}': it grew while it was being sent; only the offered bytes", grows.display()),
        format!("'{}': it shrank while it was being sent; it was left out", shrinks.display()),
    ] {
        assert!(sent.stderr.contains(&line), "{line} is not in {sent}");
    }
    assert_eq!(world.names("receiver/d"), ["grows", "stays"]);
    assert_eq!(world.read("receiver/d/grows").len(), 100_000);
}
