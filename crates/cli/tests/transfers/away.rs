//! Sides that are away for a while, or for ever: a computer that sleeps, a server that loses its data,
//! a receiver that is killed, a network that breaks off.

use std::time::{Duration, Instant};

use crate::world::{Running, World};

/// What a side says whose mailbox was forgotten.
const FORGOTTEN: &str = "the mailbox server has forgotten this code";

/// What a side says that uses the code afterwards.
const NOBODY: &str = "Nobody is waiting with a code that begins with 7-.";

/// A mailbox server that quickly disconnects silent clients, and quickly removes unused mailboxes.
const IMPATIENT: [&str; 8] =
    ["--ping-seconds", "1", "--pong-seconds", "1", "--prune-seconds", "1", "--expiry-seconds", "2"];

#[test]
fn a_sender_that_slept_for_too_long_ends_and_its_receiver_gets_an_error() {
    let world = World::with_mailbox_options(&IMPATIENT);
    let sender = world.send(&["--code", "7-a-b", "--text", "x"]);
    sender.code();
    world.wait_for_metric("mailbox_nameplates 1");
    sender.signal("STOP");
    world.wait_for_metric("mailbox_nameplates 0");
    sender.signal("CONT");
    let receiver = world.receive(&["7-a-b"]);
    sender.end().failed(1, FORGOTTEN);
    receiver.wait_for(NOBODY);
    receiver.signal("INT");
    receiver.end().failed(130, "interrupted");
}

#[test]
fn a_receiver_that_starts_long_after_such_a_sender_gets_an_error_too() {
    let mut world = World::with_mailbox_options(&IMPATIENT[..6]);
    let sender = world.send(&["--code", "7-a-b", "--text", "x"]);
    sender.code();
    world.wait_for_metric("mailbox_nameplates 1");
    world.make_mailbox_forget();
    sender.end().failed(1, FORGOTTEN);
    let receiver = world.receive(&["7-a-b"]);
    receiver.wait_for(NOBODY);
    receiver.signal("INT");
    receiver.end().failed(130, "interrupted");
}

#[test]
fn a_receiver_whose_code_was_forgotten_ends_and_the_code_works_for_two_others() {
    let mut world = World::with_mailbox_options(&IMPATIENT[..6]);
    let receiver = world.receive(&["7-a-b"]);
    world.wait_for_metric("mailbox_nameplates 1");
    world.make_mailbox_forget();
    receiver.end().failed(1, FORGOTTEN);
    let sender = world.send(&["--code", "7-a-b", "--text", "x"]);
    sender.code();
    assert_eq!(world.receive(&["7-a-b"]).end().out(), "x");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn two_that_had_met_before_the_server_lost_its_data_both_end() {
    let mut world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["--no-dilation", "f"]);
    let receiver = world.receive(&[&sender.code()]);
    receiver.wait_for_prompt("Receive it? (Y/n): ");
    world.make_mailbox_forget();
    sender.end().failed(1, FORGOTTEN);
    receiver.end().failed(1, FORGOTTEN);
}

#[test]
fn two_that_are_connected_need_the_server_no_longer() {
    let mut world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let mut receiver = world.receive(&[&sender.code()]);
    receiver.wait_for_prompt("Receive it? (Y/n): ");
    world.make_mailbox_forget();
    receiver.type_in("y\n");
    assert_eq!((sender.end().exit, receiver.end().exit), (0, 0));
    assert_eq!(world.read("receiver/f"), b"x");
}

#[test]
fn clients_of_a_restarted_server_with_its_data_reconnect() {
    let mut world = World::new();
    let sender = world.send(&["--text", "x"]);
    let code = sender.code();
    world.restart_mailbox();
    sender.wait_for("Reconnected to the mailbox server.");
    assert_eq!(world.receive(&[&code]).end().out(), "x");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn sender_and_next_receiver_get_an_error_if_a_receiver_was_killed_at_its_question() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["--patience", "2", "f"]);
    let code = sender.code();
    let receiver = world.receive(&[&code]);
    receiver.wait_for_prompt("Receive it? (Y/n): ");
    receiver.signal("KILL");
    let next = world.receive(&[&code]);
    next.wait_for("the code was used before");
    next.signal("INT");
    next.end().failed(130, "interrupted");
    sender.end().failed(1, "the connection broke after");
}

/// The transfer is endless, so that the network breaks off in the middle of it.
#[cfg(target_os = "linux")]
#[test]
fn both_sides_end_within_a_minute_when_the_network_breaks_off() {
    let Some(world) = World::in_private_network() else { return };
    let file = std::fs::File::create(world.path("sender/big")).unwrap();
    file.set_len(1 << 42).unwrap();
    let sender = world.send(&["--patience", "20", "big"]);
    let ours = world.command(
        "receiver",
        &["receive", "--patience", "20", "--accept-file", "-o", "-", &sender.code()],
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$@\" > /dev/null", "sh"]).arg(ours.get_program());
    command.args(ours.get_args()).current_dir(world.path("receiver"));
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let receiver = Running::start(command);
    receiver.wait_for("Receiving (");
    sender.wait_for("Sending (");
    world.take_network_down();
    let down = Instant::now();
    receiver.end().failed(1, "the connection broke after");
    let sent = sender.end();
    sent.failed(1, "the connection broke after");
    assert!(sent.stderr.contains("The connection is stalled"), "{sent}");
    assert!(down.elapsed() < Duration::from_secs(60), "after {:?}", down.elapsed());
}
