//! What the environment says, in processes that have it.

use crate::world::{Ended, Running, World};

/// Receives a file with a variable set, without a terminal.
fn receive_with(world: &World, variable: &str, value: &str) -> Ended {
    let sender = world.send(&["f"]);
    let code = sender.code();
    let mut command = world.command("receiver", &["receive", "-o", "got", &code]);
    command.env(variable, value);
    let mut receiver = Running::start(command);
    receiver.end_input();
    receiver.end()
}

#[test]
fn files_are_accepted_by_a_variable_that_says_yes() {
    let world = World::new();
    world.write("sender/f", "x");
    for yes in ["1", "T", "true", "y", "YES", "on"] {
        let received = receive_with(&world, "WORMHOLE_ACCEPT_FILE", yes);
        assert_eq!(received.exit, 0, "{yes:?}: {received}");
    }
}

#[test]
fn files_are_asked_about_if_the_variable_says_no_or_nothing() {
    let world = World::new();
    world.write("sender/f", "x");
    for no in ["0", "F", "false", "n", "NO", "off", ""] {
        receive_with(&world, "WORMHOLE_ACCEPT_FILE", no).failed(1, "nobody answers");
    }
}

#[test]
fn a_variable_that_says_neither_yes_nor_no_is_wrong_usage() {
    let world = World::new();
    for (variable, arguments) in [
        ("WORMHOLE_ACCEPT_FILE", ["receive", "4-purple-sausages"]),
        ("WORMHOLE_QR", ["send", "--text=x"]),
    ] {
        let mut command = world.command("sender", &arguments);
        command.env(variable, "banana");
        let expected = format!("{variable} is neither yes nor no: \"banana\"");
        Running::start(command).end().failed(2, &expected);
    }
}

#[test]
fn an_option_beats_a_variable_whatever_that_says() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let mut command = world.command("receiver", &["receive", "--accept-file", &sender.code()]);
    command.env("WORMHOLE_ACCEPT_FILE", "banana");
    let received = Running::start(command).end();
    assert_eq!(received.exit, 0, "{received}");
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let world = World::new();
    let config = format!(
        "relay-url = {:?}\ntransit-helper = {:?}\naccept-file = true\nqr = true\n",
        world.mailbox_url(),
        world.relay()
    );
    world.write("home/wormhole/config.toml", config);
    world.write("sender/f", "x");
    let start = |place, arguments: &[&str]| {
        let mut command = world.command(place, arguments);
        for name in ["RELAY_URL", "TRANSIT_HELPER", "ACCEPT_FILE", "QR"] {
            command.env(format!("WORMHOLE_{name}"), "");
        }
        Running::start(command)
    };
    let sender = start("sender", &["send", "--relay-only", "f"]);
    let code = sender.code();
    let received = start("receiver", &["receive", &code]).end();
    let sent = sender.end();
    assert_eq!((sent.exit, received.exit), (0, 0), "{sent}\n{received}");
    assert!(sent.stderr.contains('█'), "{sent}");
}
