//! What only a terminal sees: completion while typing, escaped texts, QR codes where they fit.
//!
//! The terminal is made by `script` (util-linux).

#![cfg(target_os = "linux")]

use std::process::Command;

use crate::world::{Ended, Running, World};

/// Starts our command in a terminal of 100 columns and 50 rows.
pub(crate) fn in_terminal(world: &World, place: &str, arguments: &str) -> Running {
    let line = format!("exec {} {arguments}", env!("CARGO_BIN_EXE_wormhole"));
    shell_in_terminal(world, place, "xterm", &line)
}

/// Runs a line of shell in a terminal of 100 columns and 50 rows and of the type `term`.
pub(crate) fn shell_in_terminal(world: &World, place: &str, term: &str, line: &str) -> Running {
    let ours = world.command(place, &[]);
    let line = format!("stty cols 100 rows 50; {line}");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.current_dir(world.path(place)).env("TERM", term).env("SHELL", "/bin/sh");
    for (key, value) in ours.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    Running::start(command)
}

#[test]
fn tab_completes_the_nameplate_and_then_the_words() {
    let world = World::new();
    let sender = world.send(&["--code", "4-armistice-baboon", "--text", "hello"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    // The nameplates come from the server; until they are there, Tab has nothing to offer.
    receiver.type_until("\t", "code: 4-");
    receiver.type_in("armi\t");
    receiver.wait_for_prompt("4-armistice-");
    receiver.type_in("babo\t\r");
    let received = receiver.end();
    assert_eq!(received.exit, 0, "{received}");
    assert!(received.out().ends_with("hello\r\n"), "{received}");
    assert!(!received.out().contains("you can use <Tab>"), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn tab_lists_the_words_if_there_are_several() {
    let world = World::new();
    let sender = world.send(&["--code", "4-armistice-baboon", "--text", "hello"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in("4-ar\t");
    receiver.wait_for_prompt("4-article-");
    receiver.wait_for_prompt("4-armistice-");
    receiver.type_in("\x03");
    receiver.end();
}

#[test]
fn a_claimed_nameplate_has_to_be_finished() {
    let world = World::new();
    let sender = world.send(&["--code", "4-armistice-baboon", "--text", "hello"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in("4-armi\t");
    receiver.wait_for_prompt("4-armistice-");
    receiver.type_in("\x155-other\r");
    receiver.wait_for_prompt(
        "wormhole: error: the code must start with 4-: you have already chosen this number",
    );
    receiver.type_in("armistice-baboon\r");
    let received = receiver.end();
    assert!(received.exit == 0 && received.out().ends_with("hello\r\n"), "{received}");
}

#[test]
fn a_typing_error_is_explained_and_asked_again() {
    let world = World::new();
    let sender = world.send(&["--code", "4-armistice-baboon", "--text", "hello"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in("four-armistice-baboon\r");
    receiver.wait_for_prompt("\"four\" is not a number: a code begins with a number");
    receiver.type_in("4-armistice-baboon\r");
    let received = receiver.end();
    assert!(received.exit == 0 && received.out().ends_with("hello\r\n"), "{received}");
    assert!(received.out().contains("(note: you can use <Tab> to complete words)"), "{received}");
}

#[test]
fn ctrl_c_at_the_prompt_ends_it() {
    let world = World::new();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in("4-x\x03");
    let received = receiver.end();
    assert_eq!(received.exit, 130, "{received}");
    assert!(received.out().ends_with("wormhole: error: interrupted\r\n"), "{received}");
}

#[test]
fn a_text_cannot_drive_the_terminal() {
    let world = World::new();
    let sender = world.send(&["--code", "4-our-own", "--text", "\u{1b}[31mred\u{202e}\n\ttabbed"]);
    sender.code();
    let mut receiver = in_terminal(&world, "receiver", "receive 4-our-own");
    receiver.wait_for_prompt("Use this code anyway? (y/N): ");
    receiver.type_in("y\r");
    let received = receiver.end();
    assert!(received.out().ends_with("\\u{1b}[31mred\\u{202e}\r\n\ttabbed\r\n"), "{received}");
}

#[test]
fn a_qr_code_is_shown_where_there_is_room() {
    let world = World::new();
    let mut sender = in_terminal(&world, "sender", "send --text hello");
    let code = sender.code().trim_matches(['\u{1b}', '[', '0', 'm']).to_owned();
    sender.wait_for_prompt("please run:");
    sender.type_in("\x03");
    let sent = sender.end();
    assert!(sent.out().contains('█') && !code.is_empty(), "{sent}");
    assert_eq!(sent.exit, 130, "{sent}");
}

#[test]
fn a_progress_bar_is_shown_and_taken_away() {
    let world = World::new();
    world.write("sender/f", vec![1; 40_000_000]);
    let sender = world.send(&["f"]);
    let code = sender.code();
    let received = in_terminal(&world, "receiver", &format!("receive --accept-file {code}")).end();
    assert_eq!(received.exit, 0, "{received}");
    assert!(received.out().contains("MB/40.0 MB"), "{received}");
    assert!(!sender.end().stderr.contains("MB/40.0 MB"));
}

/// Says what a terminal that only types must not be sent.
fn assert_plain(ended: &Ended) {
    assert!(!ended.stdout.contains(&0x1b) && !ended.stderr.contains('\u{1b}'), "{ended}");
}

#[test]
fn a_terminal_that_only_types_gets_no_escape_sequence() {
    let world = World::new();
    world.write("sender/f", vec![1; 40_000_000]);
    let wormhole = env!("CARGO_BIN_EXE_wormhole");
    let dumb = |place: &str, arguments: &str| {
        shell_in_terminal(&world, place, "dumb", &format!("exec {wormhole} {arguments}"))
    };
    let sender = dumb("sender", "send --qr --code 4-armistice-baboon f");
    sender.wait_for_prompt("please run:");
    let mut receiver = dumb("receiver", "receive");
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in("4-armistice-babon\r");
    receiver.wait_for_prompt("did you mean 'baboon'? Use this code anyway? (y/N): ");
    receiver.type_in("n\r");
    receiver.wait_for_times("Enter receive wormhole code: ", 2);
    receiver.type_in("4-armistice-baboon\r");
    receiver.wait_for_prompt("Receive it? (Y/n): ");
    receiver.type_in("y\r");
    let (received, sent) = (receiver.end(), sender.end());
    assert_eq!((received.exit, sent.exit), (0, 0), "{received}{sent}");
    for ended in [received, sent] {
        assert_plain(&ended);
    }
    for arguments in [
        "--help",
        "help send",
        "--frobnicate",
        "send /nowhere",
        "receive x",
        "doctor --no-such",
        "whisper keys",
        "whisper post --topic lobby --password x --rpc http://127.0.0.1:9 hello",
    ] {
        assert_plain(&dumb("sender", arguments).end());
    }
    // Some programs take `CI` for a terminal with colours.
    let in_ci = format!("export CI=1; exec {wormhole} --help");
    assert_plain(&shell_in_terminal(&world, "sender", "dumb", &in_ci).end());
    let without = format!("unset TERM; export CI=1; exec {wormhole} --help");
    assert_plain(&shell_in_terminal(&world, "sender", "xterm", &without).end());
}
