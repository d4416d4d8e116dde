//! What one can choose: codes, names, answers, ways.

use std::fs;

use crate::world::World;

#[test]
fn an_existing_name_is_refused_without_a_terminal() {
    let world = World::new();
    world.write("sender/f", "new");
    world.write("receiver/f", "old");
    let sender = world.send(&["f"]);
    let received = world.receive(&["--accept-file", &sender.code()]).end();
    received.failed(1, "refusing to overwrite existing");
    sender.end().failed(1, "the other side says: transfer rejected");
    assert_eq!(world.read("receiver/f"), b"old");
}

#[test]
fn an_existing_name_can_be_overwritten() {
    let world = World::new();
    world.write("sender/f", "new");
    world.write("receiver/f", "old");
    world.transfer(&["f"], &["--accept-file", "--on-exists", "overwrite"]);
    assert_eq!(world.read("receiver/f"), b"new");
    assert_eq!(world.names("receiver"), ["f"]);
}

#[test]
fn both_can_be_kept() {
    let world = World::new();
    world.write("sender/f.txt", "new");
    world.write("receiver/f.txt", "old");
    let (_, received) = world.transfer(&["f.txt"], &["--accept-file", "--on-exists", "rename"]);
    assert_eq!(world.read("receiver/f.txt"), b"old");
    assert_eq!(world.read("receiver/f (1).txt"), b"new");
    assert!(received.stderr.contains("f (1).txt"), "{received}");
    let note = "'f.txt' exists: the name of the new file gets a number.";
    assert!(received.stderr.contains(note), "{received}");
}

#[test]
fn a_folder_never_replaces_a_file() {
    let world = World::new();
    world.write("sender/d/new", "new");
    world.write("receiver/f.txt", "old");
    let sender = world.send(&["d"]);
    let receive = ["--accept-file", "-o", "f.txt", "--on-exists", "overwrite", &sender.code()];
    world.receive(&receive).end().failed(1, "a directory never replaces a file");
    assert_eq!(world.read("receiver/f.txt"), b"old");
}

#[test]
fn the_user_is_asked_what_to_do_about_an_existing_name() {
    let world = World::new();
    world.write("sender/f", "new");
    world.write("receiver/f", "old");
    let sender = world.send(&["f"]);
    let mut receiver = world.receive(&["--on-exists", "ask", &sender.code()]);
    receiver.wait_for_prompt("'f' exists here. (o)verwrite, (k)eep both, (s)kip? ");
    receiver.type_in("what?\n");
    receiver.type_in("k\n");
    let received = receiver.end();
    assert_eq!(received.exit, 0, "{received}");
    assert_eq!(sender.end().exit, 0);
    assert_eq!(world.read("receiver/f (1)"), b"new");
}

#[test]
fn a_directory_is_never_overwritten() {
    let world = World::new();
    world.write("sender/d/new", "new");
    world.write("receiver/d/old", "old");
    let sender = world.send(&["d"]);
    let received =
        world.receive(&["--accept-file", "--on-exists", "overwrite", &sender.code()]).end();
    received.failed(1, "a directory is never replaced");
    assert!(!received.stderr.contains("use --on-exists rename or overwrite"), "{received}");
    assert_eq!(world.names("receiver/d"), ["old"]);
    assert_eq!(sender.end().exit, 1);
}

#[test]
fn an_offer_is_accepted_or_refused_by_an_answer() {
    let world = World::new();
    world.write("sender/f", "x");
    for (answer, exit) in [("n\n", 1), ("maybe\nn\n", 1), ("\n", 0)] {
        let sender = world.send(&["f"]);
        let mut receiver = world.receive(&[&sender.code()]);
        receiver.wait_for_prompt("Receive it? (Y/n): ");
        receiver.type_in(answer);
        let (received, sent) = (receiver.end(), sender.end());
        assert_eq!((received.exit, sent.exit), (exit, exit), "{received}\n{sent}");
        let asked_again = received.stderr.contains("Please answer with y or n.");
        assert_eq!(asked_again, answer.contains("maybe"), "{received}");
    }
    assert_eq!(world.read("receiver/f"), b"x");
}

#[test]
fn an_unanswered_offer_is_refused() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    let mut receiver = world.receive(&[&sender.code()]);
    receiver.end_input();
    receiver.end().failed(1, "nobody answers");
    sender.end().failed(1, "transfer rejected");
}

#[test]
fn an_output_file_is_replaced_and_an_output_directory_is_filled() {
    let world = World::new();
    world.write("sender/f", "new");
    world.write("receiver/taken", "old");
    fs::create_dir(world.path("receiver/dir")).unwrap();
    world.transfer(&["f"], &["--accept-file", "-o", "taken"]);
    assert_eq!(world.read("receiver/taken"), b"new");
    world.transfer(&["f"], &["--accept-file", "-o", "dir"]);
    assert_eq!(world.read("receiver/dir/f"), b"new");
}

#[test]
fn an_output_file_is_said_not_to_be_for_texts() {
    let world = World::new();
    let (_, received) = world.transfer(&["--text", "hello"], &["-o", "msg.txt"]);
    assert_eq!(received.out(), "hello", "{received}");
    assert!(received.stderr.contains("Note: -o is for files."), "{received}");
    assert!(world.names("receiver").is_empty());
}

#[test]
fn a_folder_at_standard_output_is_said_to_be_a_zip_file() {
    let world = World::new();
    world.write("sender/d/f", "x");
    let (_, received) = world.transfer(&["d"], &["--accept-file", "-o", "-"]);
    assert!(received.stdout.starts_with(b"PK"));
    assert!(received.stderr.contains("to standard output as a ZIP file"), "{}", received.stderr);
}

#[test]
fn only_text_refuses_a_file() {
    let world = World::new();
    world.write("sender/f", "x");
    let sender = world.send(&["f"]);
    world.receive(&["-t", &sender.code()]).end().failed(1, "offers a file, not a text");
    sender.end().failed(1, "transfer rejected");
    assert!(world.names("receiver").is_empty());
}

#[test]
fn verified_transfers_show_the_same_verifier_and_wait_for_yes() {
    let world = World::new();
    let mut sender = world.send(&["--verify", "--text", "hello"]);
    let receiver = world.receive(&["--verify", &sender.code()]);
    let theirs = receiver.wait_for("Verification string: ");
    let theirs = theirs.strip_suffix(". Compare it with the one that the sender sees.").unwrap();
    sender.wait_for_prompt(&format!(
        "Verification string: {theirs}. Does the receiver see the same one? (yes/no): "
    ));
    sender.type_in("yes\n");
    let received = receiver.end();
    assert_eq!(received.out(), "hello", "{received}");
    let sent = sender.end();
    assert_eq!(sent.exit, 0, "{sent}");
    assert!(sent.stderr.contains("receive --verify "), "{sent}");
}

#[test]
fn a_wrong_verifier_ends_both_sides() {
    let world = World::new();
    let mut sender = world.send(&["--verify", "--text", "hello"]);
    let receiver = world.receive(&["--verify", &sender.code()]);
    sender.wait_for_prompt("see the same one? (yes/no): ");
    sender.type_in("no\n");
    sender.end().failed(1, "the verification strings differ");
    receiver.end().failed(1, "rejected verification check");
}

#[test]
fn zero_mode_needs_no_code() {
    let world = World::new();
    let sender = world.send(&["-0", "--text", "hello"]);
    sender.wait_for("receive -0");
    let received = world.receive(&["-0"]).end();
    assert_eq!((received.out().as_str(), received.exit), ("hello", 0), "{received}");
    let sent = sender.end();
    assert!(sent.exit == 0 && !sent.stderr.contains("code has been consumed"), "{sent}");
}

#[test]
fn a_code_of_our_own_and_a_long_one_work() {
    let world = World::new();
    let sender = world.send(&["--code", "4-our-own", "--text", "hello"]);
    assert_eq!(sender.code(), "4-our-own");
    assert_eq!(world.receive(&["4-our-own"]).end().out(), "hello");
    let sent = sender.end();
    assert!(!sent.stderr.contains("not in the word list"), "{sent}");
    let sender = world.send(&["-c", "4", "--text", "hello"]);
    assert_eq!(sender.code().matches('-').count(), 4);
}

#[test]
fn the_receiver_can_make_the_code() {
    let world = World::new();
    let receiver = world.receive(&["--allocate", "-c", "3"]);
    let code = receiver.wait_for("Allocated code: ");
    assert_eq!(code.matches('-').count(), 3);
    let sent = world.send(&["--code", &code, "--text", "hello"]).end();
    assert_eq!(sent.exit, 0, "{sent}");
    assert_eq!(receiver.end().out(), "hello");
}

#[test]
fn the_code_can_come_as_a_link_or_through_standard_input() {
    let world = World::new();
    let sender = world.send(&["--text", "hello"]);
    let link = format!("wormhole-transfer:{}", sender.code());
    assert_eq!(world.receive(&[&link]).end().out(), "hello");
    let sender = world.send(&["--text", "hello"]);
    let mut receiver = world.receive(&[]);
    receiver.wait_for_prompt("Enter receive wormhole code: ");
    receiver.type_in(format!("{}\n", sender.code()));
    let received = receiver.end();
    assert_eq!(received.out(), "hello", "{received}");
}

#[test]
fn the_suggested_command_names_other_servers_and_works() {
    let world = World::new();
    let sender = world.send(&["--text", "hello", "--appid", "it's ours"]);
    let code = sender.code();
    let suggested = sender.wait_for("please run:\n\n");
    let expected = format!(
        "wormhole --relay-url={} --transit-helper={} '--appid=it'\\''s ours' receive {code}",
        world.mailbox_url(),
        world.relay(),
    );
    assert_eq!(suggested, expected);
    let received = world.receive(&["--appid", "it's ours", &code]).end();
    assert_eq!(received.out(), "hello", "{received}");
}

#[test]
fn no_relay_and_relay_only_choose_the_way() {
    let world = World::new();
    world.write("sender/f", vec![0; 200_000]);
    let (sent, _) = world.transfer(&["--no-relay", "f"], &["--accept-file", "-o", "direct"]);
    assert!(sent.stderr.contains(", direct"), "{sent}");
    let (sent, received) =
        world.transfer(&["--relay-only", "f"], &["--accept-file", "-o", "relayed"]);
    let relay = world.relay().trim_start_matches("tcp:").to_owned();
    for side in [sent, received] {
        assert!(side.stderr.contains(&format!("through the relay {relay}")), "{side}");
    }
}

#[test]
fn a_listening_port_can_be_chosen() {
    let world = World::new();
    world.write("sender/f", "x");
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let arguments = ["f", "--no-relay", "--listen-port", &port.to_string()];
    let (_, received) = world.transfer(&arguments, &["--accept-file", "--no-listen"]);
    assert!(received.stderr.contains(&format!(":{port})..")), "{received}");
}

#[cfg(unix)]
#[test]
fn a_qr_code_is_shown_when_asked_for_only() {
    let world = World::new();
    let shows = |arguments: &[&str], environment: Option<&str>| {
        let mut command = world.command("sender", &[&["send", "--text", "x"], arguments].concat());
        command.envs(environment.map(|value| ("WORMHOLE_QR", value)));
        let sender = crate::world::Running::start(command);
        sender.wait_for("receive ");
        sender.signal("INT");
        sender.end().stderr.contains('█')
    };
    assert!(!shows(&[], None));
    assert!(shows(&["--qr"], Some("0")));
    assert!(shows(&[], Some("1")));
    assert!(!shows(&["--no-qr"], Some("1")));
}
