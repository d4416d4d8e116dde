//! `send --to`: one offer to several receivers.

use super::world::World;

#[test]
fn each_receiver_has_a_code_of_its_own_and_all_get_the_same() {
    let world = World::new();
    world.write("sender/a", "abc");
    let sender = world.send(&["--to", "2", "a"]);
    let codes = [1, 2].map(|number| sender.wait_for(&format!("Receiver {number}: the code is ")));
    for code in &codes {
        let arguments = ["--accept-file", "--on-exists", "rename", code];
        assert_eq!(world.receive(&arguments).end().exit, 0);
    }
    let sent = sender.end();
    assert!(sent.exit == 0 && sent.stderr.contains("Received by 2 of 2 (1, 2)."), "{sent}");
    assert_eq!(world.names("receiver"), ["a", "a (1)"]);
    assert_eq!(world.read("receiver/a (1)"), b"abc");
}

#[test]
fn a_receiver_that_refuses_does_not_stop_the_others_and_decides_the_exit_status() {
    let world = World::new();
    world.write("sender/a", "abc");
    let sender = world.send(&["--to", "2", "a"]);
    let codes = [1, 2].map(|number| sender.wait_for(&format!("Receiver {number}: the code is ")));
    let mut refusing = world.receive(&[&codes[0]]);
    refusing.type_in("n\n");
    assert_eq!(refusing.end().exit, 1);
    assert_eq!(world.receive(&["--accept-file", &codes[1]]).end().exit, 0);
    let sent = sender.end();
    sent.failed(1, "receiver 1: ");
    assert!(sent.stderr.contains("Received by 1 of 2 (2)."), "{sent}");
}

#[test]
fn a_file_that_changes_is_missing_for_each_receiver_and_decides_the_exit_status() {
    let world = World::new();
    world.write("sender/d/good", "abc");
    world.write("sender/d/shrinks", "abcdef");
    let sender = world.send(&["--to", "1", "d"]);
    let code = sender.wait_for("Receiver 1: the code is ");
    world.write("sender/d/shrinks", "a");
    world.receive(&["--accept-file", &code]).end().failed(1, "could not read 'shrinks'");
    let sent = sender.end();
    sent.failed(1, "receiver 1: some files changed");
    assert!(sent.stderr.contains("Received by 0 of 1."), "{sent}");
    assert_eq!(world.read("receiver/d/good"), b"abc");
}

#[test]
fn a_fixed_port_is_not_possible_for_several_receivers() {
    let world = World::new();
    world.write("sender/a", "abc");
    let sent = world.send(&["--to", "2", "--listen-port", "4000", "a"]).end();
    sent.failed(2, "cannot be used with");
}

#[test]
fn trouble_with_the_mailbox_server_is_shown_once_for_all_receivers() {
    let mut world = World::new();
    world.write("sender/a", "abc");
    let sender = world.send(&["--to", "3", "a"]);
    for number in 1..=3 {
        sender.wait_for(&format!("Receiver {number}: the code is "));
    }
    world.restart_mailbox();
    sender.wait_for("Reconnected to the mailbox server.");
    sender.signal("INT");
    let sent = sender.end();
    sent.failed(130, "interrupted");
    for line in ["Lost the connection to the mailbox server", "Reconnected to the mailbox server"] {
        assert_eq!(sent.stderr.matches(line).count(), 1, "{sent}");
    }
}
