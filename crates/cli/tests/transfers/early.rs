//! What is found out before a code is used: nothing here may get as far as a server.

use crate::world::{Ended, Running, World};

/// Runs a command that has no server to reach, in the receiver's folder.
fn run(world: &World, arguments: &[&str]) -> Ended {
    let mut command = world.command("receiver", arguments);
    command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
    Running::start(command).end()
}

#[test]
fn a_destination_that_cannot_be_written_is_refused() {
    let world = World::new();
    world.write("receiver/taken", "old");
    let long = "n".repeat(300);
    for (arguments, why) in [
        (&["-o", "new/"][..], "there is no directory"),
        (&["-o", "taken/"], "there is no directory"),
        (&["-o", "taken/f"], "there is no directory"),
        (&["-o", "taken", "--on-exists", "refuse"], "refusing to overwrite existing"),
        (&["-o", &long], "cannot write"),
        #[cfg(target_os = "linux")]
        (&["-o", "/proc"], "cannot write into the directory '/proc'"),
        #[cfg(target_os = "linux")]
        (&["-o", "/proc/f"], "cannot write into the directory '/proc'"),
        #[cfg(unix)]
        (&["-o", "/dev/null"], "'/dev/null' exists and is not a file"),
    ] {
        run(&world, &[&["receive", "4-x"], arguments].concat()).failed(1, why);
    }
    assert_eq!(world.names("receiver"), ["taken"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_text_needs_no_usable_download_directory() {
    let world = World::new();
    let sender = world.send(&["--text", "hello"]);
    let receive = |arguments: &[&str]| {
        let mut command = world.command("receiver", arguments);
        command.current_dir("/proc");
        Running::start(command).end()
    };
    receive(&["receive", "--accept-file", &sender.code()]).failed(1, "cannot write into");
    let received = receive(&["receive", &sender.code()]);
    assert_eq!((received.out().as_str(), received.exit), ("hello", 0), "{received}");
    assert!(received.stderr.contains("Only a text can be received here"), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[cfg(unix)]
#[test]
fn standard_input_and_output_that_cannot_be_used_are_refused() {
    let world = World::new();
    let shell = |script: &str| {
        let ours = world.command("receiver", &[]);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).arg(ours.get_program());
        command.current_dir(world.path("receiver"));
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
        Running::start(command).end()
    };
    shell("\"$0\" send - < /").failed(1, "cannot read standard input: it is a directory");
    shell("\"$0\" send - 0> f")
        .failed(1, "cannot read standard input: it is open for writing only");
    shell("\"$0\" send --text - 0> f").failed(1, "it is open for writing only");
    for options in ["", "-o -", "--json"] {
        let ended = shell(&format!("\"$0\" receive 4-x {options} 1< /dev/null"));
        ended.failed(1, "cannot write to standard output: it is open for reading only");
    }
}

#[cfg(unix)]
#[test]
fn a_link_whose_target_is_missing_is_named() {
    let world = World::new();
    std::os::unix::fs::symlink("nowhere", world.path("receiver/link")).unwrap();
    run(&world, &["send", "link"]).failed(1, "it is a symbolic link whose target is missing");
    let advice = "remove or repair the link; in a directory, --ignore-unsendable-files sends";
    assert!(run(&world, &["send", "link"]).stderr.contains(advice));
}

#[test]
fn a_wrong_address_is_reported_with_its_source() {
    let world = World::new();
    for (variable, value) in [("WORMHOLE_RELAY_URL", "junk"), ("WORMHOLE_TRANSIT_HELPER", "foo")] {
        let mut command = world.command("receiver", &["receive", "4-x"]);
        command.env(variable, value);
        Running::start(command).end().failed(2, &format!("error: {variable}: "));
    }
    world.write("receiver/config.toml", "relay-url = \"junk\"\n");
    let mut command = world.command("receiver", &["--config", "config.toml", "receive", "4-x"]);
    command.env_remove("WORMHOLE_RELAY_URL");
    Running::start(command).end().failed(2, "relay-url in the configuration file: \"junk\"");
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_an_error() {
    let world = World::new();
    for arguments in ["--help", "--version", "man", "completions bash", "help send"] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("\"$0\" {arguments} > /dev/full")]);
        command.arg(world.command("receiver", &[]).get_program());
        Running::start(command).end().failed(1, "cannot write to standard output: ");
    }
}

#[test]
fn a_timing_file_that_cannot_be_written_is_refused() {
    let world = World::new();
    for command in [&["send", "--text", "x"][..], &["receive", "4-x"], &["ssh", "invite"]] {
        let timing = ["--dump-timing", "no/such/dir/timing.json"];
        run(&world, &[&timing, command].concat()).failed(1, "--dump-timing: cannot write");
    }
    // What can be written is left as it was.
    world.write("receiver/old.json", "old");
    run(&world, &["--dump-timing", "old.json", "receive", "4-x"]).failed(1, "cannot be reached");
    run(&world, &["--dump-timing", "new.json", "receive", "4-x"]).failed(1, "cannot be reached");
    assert_eq!(world.names("receiver"), ["old.json"]);
    assert_eq!(world.read("receiver/old.json"), b"old");
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    let world = World::new();
    let mut command = world.command("sender", &["send", "--text", "-"]);
    command.env("WORMHOLE_RELAY_URL", "ws://127.0.0.1:9/v1");
    let mut sender = Running::start(command);
    sender.type_in("\u{1b}".repeat(400_000));
    sender.end_input();
    let ended = sender.end();
    ended.failed(1, "the text is too long: it needs 2400024 bytes as a message, and a message may have at most 2000000");
    assert!(ended.stderr.contains("send it as a file"), "{ended}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_size_is_not_known_is_refused_with_advice_that_works() {
    let world = World::new();
    let ended = run(&world, &["send", "/proc/version"]);
    ended.failed(1, "cannot send '/proc/version': its size is unknown until it is read");
    assert!(ended.stderr.contains("wormhole send - --name NAME < PATH"), "{ended}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_stream_is_sent_with_a_warning_if_it_could_not_wait_in_a_temporary_file() {
    let world = World::new();
    let mut command = world.command("sender", &["send", "-"]);
    command.env("TMPDIR", "/proc");
    let mut sender = Running::start(command);
    sender.wait_for("Note: cannot write into '/proc'");
    sender.type_in("streamed");
    sender.end_input();
    let receiver = world.receive(&["--accept-file", "-o", "-", &sender.code()]);
    assert_eq!(receiver.end().out(), "streamed");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_port_that_is_taken_is_said_and_does_not_cost_the_code() {
    let world = World::new();
    world.write("sender/f", "x");
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (sent, received) =
        world.transfer(&["f", "--listen-port", &port], &["--accept-file", "--listen-port", &port]);
    let note = format!("Note: cannot listen on port {port} ");
    for side in [sent, received] {
        assert!(side.stderr.contains(&note), "{side}");
    }
    assert_eq!(world.read("receiver/f"), b"x");
}
