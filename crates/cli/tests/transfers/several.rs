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
