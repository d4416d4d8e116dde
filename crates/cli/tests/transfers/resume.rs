//! Transfers that are interrupted, and continue with a new code.

use std::time::{Duration, Instant};

use super::world::{Running, World};

/// 96 MiB that differ everywhere.
pub(crate) fn contents() -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    });
    words.take(12 << 20).flatten().collect()
}

/// Starts a transfer, and waits until something has arrived that is worth keeping.
fn interrupted(world: &World) -> (Running, Running) {
    let sender = world.send(&["big"]);
    let receiver = world.receive(&["--accept-file", &sender.code()]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !world.path("receiver/big.part.resume").exists() {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    (sender, receiver)
}

/// Sends the same again, and expects that it is continued.
fn continued(world: &World, contents: &[u8]) {
    let (sent, received) = world.transfer(&["big"], &["--accept-file"]);
    for ended in [&sent, &received] {
        assert!(
            ended.stderr.contains("Continuing at ") && ended.stderr.contains(" of 100.7 MB."),
            "{ended}"
        );
    }
    assert!(!received.stderr.contains("big.part' is incomplete."), "{received}");
    assert!(world.read("receiver/big") == contents);
    assert_eq!(world.names("receiver"), ["big"]);
}

#[test]
fn a_killed_receiver_continues_with_a_new_code() {
    let world = World::new();
    let contents = contents();
    world.write("sender/big", &contents);
    let (sender, receiver) = interrupted(&world);
    receiver.signal("KILL");
    assert_eq!(receiver.end().exit, 128 + 9);
    sender.wait_for("Lost the connection to the other side");
    sender.signal("INT");
    sender.end().failed(130, "interrupted");
    assert_eq!(world.names("receiver"), ["big.part", "big.part.resume"]);
    continued(&world, &contents);
}

#[test]
fn a_killed_sender_leaves_something_to_continue() {
    let world = World::new();
    let contents = contents();
    world.write("sender/big", &contents);
    let (sender, receiver) = interrupted(&world);
    sender.signal("KILL");
    assert_eq!(sender.end().exit, 128 + 9);
    receiver.wait_for("Lost the connection to the other side");
    receiver.signal("INT");
    let received = receiver.end();
    received.failed(130, "interrupted");
    // Whoever receives something else is told.
    world.write("sender/other", b"other");
    let (_, other) = world.transfer(&["other"], &["--accept-file"]);
    assert!(other.stderr.contains("big.part' is incomplete."), "{other}");
    std::fs::remove_file(world.path("receiver/other")).unwrap();
    assert!(received.stderr.contains("big.part'. Receive the same again"), "{received}");
    continued(&world, &contents);
}

#[test]
fn the_sender_learns_that_a_stopped_receiver_can_continue() {
    let world = World::new();
    world.write("sender/big", contents());
    let (sender, receiver) = interrupted(&world);
    receiver.signal("INT");
    receiver.end().failed(130, "interrupted");
    let sent = sender.end();
    sent.failed(1, "transfer cancelled");
    assert!(sent.stderr.contains("usually continues where it was"), "{sent}");
}
