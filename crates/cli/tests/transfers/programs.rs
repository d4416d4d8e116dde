//! What programs use: JSON, timing, the configuration file, ssh keys, doctor.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use serde_json::Value;

use crate::world::{Running, World};

/// The names of events, without repeated progress.
fn names(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    names.dedup();
    names
}

#[test]
fn progress_of_a_sender_is_what_the_receiver_has_taken() {
    const SIZE: u64 = 30_000_000;
    for way in [&["--no-relay"][..], &["--relay-only"]] {
        let world = World::new();
        world.write("sender/f", vec![1; usize::try_from(SIZE).unwrap()]);
        let sender = world.send(&[way, &["--json", "f"]].concat());
        let code = sender.wait_for("\"code\":\"");
        let code = code.split('"').next().unwrap().to_owned();
        let arguments = [&["receive", "--accept-file", "-o", "-"], way, &[&code]].concat();
        let mut receiver = world.command("receiver", &arguments);
        let mut receiver = receiver.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Nobody reads what the receiver writes. Kernels and the relay would take all of it.
        let done = |line: &String| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["done"].as_u64().unwrap()
        };
        let before: Vec<_> = sender.wait_for_lines(50, "\"progress\"").iter().map(done).collect();
        assert!(before.iter().all(|done| *done < 1_500_000), "{way:?}: {before:?}");
        let mut bytes = Vec::new();
        receiver.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        assert!(receiver.wait().unwrap().success());
        let sent = sender.end();
        assert_eq!((sent.exit, bytes.len()), (0, usize::try_from(SIZE).unwrap()), "{sent}");
        let events = sent.events();
        let amounts: Vec<_> = events.iter().filter_map(|event| event["done"].as_u64()).collect();
        assert!(amounts.is_sorted() && amounts.last() == Some(&SIZE), "{amounts:?}");
        assert!(names(&events).ends_with(&["progress", "awaiting-confirmation", "done"]), "{sent}");
    }
}

#[test]
fn every_step_is_an_event_and_nothing_else_is_printed() {
    let world = World::new();
    world.write("sender/f", vec![1; 1000]);
    let sender = world.send(&["--json", "f"]);
    let line = sender.wait_for("\"event\":\"code\"");
    drop(line);
    let code = sender.wait_for("\"code\":\"");
    let code = code.split('"').next().unwrap().to_owned();
    let received = world.receive(&["--json", "--accept-file", &code]).end();
    let sent = sender.end();
    assert_eq!((sent.exit, received.exit), (0, 0), "{sent}\n{received}");
    assert_eq!((sent.stderr.as_str(), received.stderr.as_str()), ("", ""));
    let events = sent.events();
    assert_eq!(names(&events).first(), Some(&"sending"));
    assert_eq!(names(&events).last(), Some(&"done"));
    let events = received.events();
    let offer = events.iter().find(|event| event["event"] == "offer").unwrap();
    assert_eq!((&offer["kind"], &offer["name"]), (&"file".into(), &"f".into()));
    let done = events.last().unwrap();
    assert_eq!(done["bytes"], 1000);
    assert_eq!(done["via"], "direct");
    assert_eq!(done["path"], world.path("receiver/f").to_str().unwrap());
}

#[test]
fn a_question_is_an_event_that_a_line_answers() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let mut receiver = world.receive(&["--json", &sender.code()]);
    receiver.wait_for("\"question\"");
    receiver.type_in("n\n");
    let received = receiver.end();
    assert_eq!(received.exit, 1);
    let events = received.events();
    let question = events.iter().find(|event| event["event"] == "question").unwrap();
    assert_eq!(question["about"], "accept");
    let error = events.last().unwrap();
    assert_eq!((&error["event"], &error["exit"]), (&"error".into(), &1.into()));
}

#[test]
fn a_text_is_an_event_in_json() {
    let world = World::new();
    let sender = world.send(&["--text", "two\nlines"]);
    let received = world.receive(&["--json", &sender.code()]).end();
    let events = received.events();
    let text = events.iter().find(|event| event["event"] == "text").unwrap();
    assert_eq!(text["text"], "two\nlines");
}

#[test]
fn timing_is_written_in_the_reference_format() {
    let world = World::new();
    let (sent, _) = world.transfer(&["--dump-timing", "timing.json", "--text", "x"], &[]);
    assert!(sent.stderr.contains("Timing data written to timing.json"), "{sent}");
    let list: Vec<Value> = serde_json::from_slice(&world.read("sender/timing.json")).unwrap();
    assert!(list.iter().any(|entry| entry["name"] == "code"));
    for entry in list {
        assert!(entry["start"].is_f64() && entry["stop"].is_f64() && entry["details"].is_object());
    }
}

#[test]
fn a_trace_holds_neither_code_nor_text() {
    let world = World::new();
    let sender = world.send(&["--debug-state", "--text", "a secret"]);
    let code = sender.code();
    assert_eq!(world.receive(&[&code]).end().exit, 0);
    let sent = sender.end();
    let traced: Vec<_> = sent.stderr.lines().filter(|line| line.starts_with("debug:")).collect();
    assert!(traced.iter().any(|line| line.contains("K: verifier")), "{sent}");
    let words = code.split_once('-').unwrap().1;
    assert!(!traced.iter().any(|line| line.contains(words) || line.contains("a secret")));
}

#[test]
fn the_configuration_file_is_read_and_beaten_by_flags_and_environment() {
    let world = World::new();
    let text = format!(
        "relay-url = \"ws://127.0.0.1:9/v1\"\ncode-length = 5\ndownload-dir = {:?}\naccept-file = true\n",
        world.path("home"),
    );
    world.write("home/wormhole/config.toml", text);
    world.write("sender/f", "x");
    let (sent, _) = world.transfer(&["f"], &[]);
    assert!(sent.stderr.contains("Wormhole code is: "), "{sent}");
    assert_eq!(world.read("home/f"), b"x");
    let sender = world.send(&["--text", "x"]);
    assert_eq!(sender.code().matches('-').count(), 5);
    let sender = world.send(&["-c", "1", "--text", "x"]);
    assert_eq!(sender.code().matches('-').count(), 1);
}

/// A public key, made up.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH me@home";

#[test]
fn an_ssh_key_is_invited_and_accepted() {
    let world = World::new();
    world.write("sender/keys/id.pub", format!("{KEY}\n"));
    let invite = Running::start(world.command("receiver", &["ssh", "invite", "-c", "3"]));
    let line = invite.wait_for("ssh accept ");
    assert_eq!(line.matches('-').count(), 3);
    let accept = world.command("sender", &["ssh", "accept", "-F", "keys", "-y", &line]);
    let accepted = Running::start(accept).end();
    assert_eq!((accepted.out().as_str(), accepted.exit), ("Key sent.\n", 0), "{accepted}");
    let invited = invite.end();
    assert!(
        invited.out().contains("Appended key type='ssh-ed25519' id='me@home' to '"),
        "{invited}"
    );
    assert_eq!(world.read("home/.ssh/authorized_keys"), format!("{KEY}\n").into_bytes());
}

#[test]
fn whoever_invited_learns_that_no_key_will_come() {
    let world = World::new();
    world.write("sender/keys/id.pub", format!("{KEY}\n"));
    let invite = Running::start(world.command("receiver", &["ssh", "invite"]));
    let code = invite.wait_for("ssh accept ");
    let accept = world.command("sender", &["ssh", "accept", "-F", "keys", &code]);
    let mut accept = Running::start(accept);
    accept.wait_for_prompt("(y/N): ");
    accept.type_in("n\n");
    accept.end().failed(1, "the key was not sent");
    invite.end().failed(1, "transfer cancelled");
    assert!(!world.path("home/.ssh/authorized_keys").exists());
}

#[test]
fn what_is_not_a_key_is_not_appended() {
    let world = World::new();
    world.write("home/.ssh/authorized_keys", "");
    let invite = Running::start(world.command("receiver", &["ssh", "invite"]));
    let code = invite.wait_for("ssh accept ");
    let text = format!("command=\"evil\" {KEY}");
    let appid = "lothar.com/wormhole/ssh-add";
    let sent = world.send(&["--appid", appid, "--code", &code, "--text", &text]).end();
    sent.failed(1, "the other side says: the key was not added");
    invite.end().failed(1, "is not a public key");
    assert_eq!(world.read("home/.ssh/authorized_keys"), b"");
}

#[test]
fn the_doctor_finds_nothing_wrong_with_working_servers() {
    let world = World::new();
    let ended = Running::start(world.command("sender", &["doctor"])).end();
    assert_eq!(ended.exit, 0, "{ended}");
    for check in ["mailbox", "text", "direct", "relay"] {
        let line = ended.out().lines().any(|line| line.starts_with("ok") && line.contains(check));
        assert!(line, "{ended}");
    }
}

#[test]
fn the_doctor_names_a_relay_that_does_not_answer() {
    let world = World::new();
    let mut command = world.command("sender", &["doctor"]);
    command.env("WORMHOLE_TRANSIT_HELPER", "tcp:127.0.0.1:9");
    let ended = Running::start(command).end();
    assert_eq!(ended.exit, 1, "{ended}");
    assert!(ended.out().lines().any(|line| line.starts_with("FAILED  relay")), "{ended}");
    assert!(!ended.out().contains("wormhole doctor"), "{ended}");
}

#[test]
fn the_doctor_tells_a_mailbox_that_is_down_once_and_looks_at_the_relay_all_the_same() {
    let world = World::new();
    let mut command = world.command("sender", &["doctor", "--json"]);
    command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
    let ended = Running::start(command).end();
    ended.failed(1, "one check failed");
    let checks: Vec<_> = ended
        .events()
        .into_iter()
        .filter(|event| event["event"] == "check")
        .map(|check| (check["name"].as_str().unwrap().to_owned(), check["ok"].as_bool()))
        .collect();
    let expected = [
        ("version", Some(true)),
        ("config", Some(true)),
        ("mailbox", Some(false)),
        ("address", Some(true)),
        ("text", None),
        ("direct", None),
        ("relay", Some(true)),
    ];
    assert_eq!(checks, expected.map(|(name, ok)| (name.to_owned(), ok)));
    assert!(!ended.out().contains("wormhole doctor"), "{ended}");
}

#[test]
fn the_doctor_skips_a_relay_that_is_turned_off() {
    let world = World::new();
    let command = world.command("sender", &["--transit-helper", "", "doctor"]);
    let ended = Running::start(command).end();
    assert_eq!(ended.exit, 0, "{ended}");
    assert!(ended.out().contains("relay     not tried: no relay is set"), "{ended}");
}

#[test]
fn manual_pages_are_written_one_per_command() {
    let world = World::new();
    let pages = world.path("pages");
    let command = world.command("sender", &["man", pages.to_str().unwrap()]);
    let ended = Running::start(command).end();
    assert_eq!(ended.exit, 0, "{ended}");
    let names = world.names("pages");
    let written = format!("Wrote {} manual pages into ", names.len());
    assert!(ended.out().starts_with(&written), "{ended}");
    let whole = fs::read_to_string(pages.join("wormhole.1")).unwrap();
    assert!(!whole.contains("help(1)") && whole.contains("COMMAND"), "{whole}");
    for page in ["wormhole.1", "wormhole-send.1", "wormhole-ssh-invite.1"] {
        assert!(names.iter().any(|name| name == page), "{names:?}");
    }
    assert!(fs::read_to_string(pages.join("wormhole-receive.1")).unwrap().contains("accept"));
}

#[test]
fn completions_exist_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = Running::start(world.command("sender", &["completions", shell])).end();
        assert!(ended.exit == 0 && ended.out().contains("relay-only"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_is_shown_by_its_bytes() {
    use std::os::unix::ffi::OsStringExt as _;

    let world = World::new();
    world.write("sender/f", "content");
    let sender = world.send(&["f"]);
    let mut command = world.command("receiver", &["receive", "--json", "--accept-file", "-o"]);
    let mut name = world.path("receiver/").into_os_string().into_vec();
    name.extend(b"caf\xe9");
    let path = std::ffi::OsString::from_vec(name.clone());
    command.arg(&path).arg(sender.code());
    let received = Running::start(command).end();
    assert_eq!(received.exit, 0, "{received}");
    let done = received.events().pop().unwrap();
    let digits: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(done["path_bytes"], digits);
    assert_eq!(fs::read(path).unwrap(), b"content");
}

#[test]
fn a_configured_folder_may_be_named_from_the_home_directory() {
    let world = World::new();
    world.write("sender/f", "content");
    world.write("home/Downloads/.keep", "");
    world.write("receiver/config.toml", "download-dir = \"~/Downloads\"\n");
    world.transfer(&["f"], &["--config", "config.toml", "--accept-file"]);
    assert_eq!(world.read("home/Downloads/f"), b"content");
}
