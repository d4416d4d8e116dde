//! What can be sent: files, texts, directories, several paths, streams.

use std::fs;

use crate::world::{Running, World};

#[test]
fn a_file_arrives_and_both_sides_say_so() {
    let world = World::new();
    world.write("sender/photo.jpg", vec![7; 300_400]);
    let (sent, received) = world.transfer(&["photo.jpg"], &["--accept-file"]);
    assert_eq!(world.read("receiver/photo.jpg"), world.read("sender/photo.jpg"));
    let written =
        format!("Received file written to: {}", world.path("receiver/photo.jpg").display());
    assert!(received.stderr.contains(&written), "{received}");
    assert!(received.stderr.contains("Receiving file (300.4 kB) into: 'photo.jpg'"), "{received}");
    assert!(sent.stderr.starts_with("Sending 300.4 kB file named 'photo.jpg'\n"), "{sent}");
    assert!(sent.stderr.contains("Confirmation received. Transfer complete."), "{sent}");
    assert!(sent.stderr.contains(", direct"), "{sent}");
    assert!(sent.stdout.is_empty() && received.stdout.is_empty(), "{sent}\n{received}");
}

#[test]
fn an_empty_file_arrives() {
    let world = World::new();
    world.write("sender/empty", "");
    world.transfer(&["empty"], &["--accept-file"]);
    assert_eq!(world.read("receiver/empty"), b"");
}

#[test]
fn a_text_is_printed_alone_and_exactly() {
    let world = World::new();
    let text = "two lines,\nan \"ünï\x1b[1mcode\" one\n";
    let (sent, received) = world.transfer(&["--text", text], &[]);
    assert_eq!(received.out(), text);
    assert!(sent.stderr.contains("text message sent"), "{sent}");
}

#[test]
fn a_text_into_a_pipe_or_a_file_is_what_was_sent_byte_for_byte() {
    let world = World::new();
    for text in ["hello", "hello\n", "\n", "a\r\nb\u{0}\u{1b}[2J\u{202e}", "  two\n\n"] {
        let mut sender = world.send(&["--text", "-"]);
        sender.type_in(text);
        sender.end_input();
        let received = world.receive(&["--only-text", &sender.code()]).end();
        assert_eq!((received.out().as_str(), received.exit), (text, 0), "{received}");
        assert_eq!(sender.end().exit, 0);
    }
}

#[test]
fn a_text_is_read_from_a_pipe() {
    let world = World::new();
    let mut sender = world.send(&["--text", "-"]);
    sender.type_in("from a pipe\n");
    sender.end_input();
    let received = world.receive(&[&sender.code()]).end();
    assert_eq!((received.out().as_str(), received.exit), ("from a pipe\n", 0), "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_text_is_asked_for_when_nothing_is_named() {
    let world = World::new();
    let mut sender = world.send(&[]);
    sender.wait_for_prompt("Text to send: ");
    sender.type_in("typed\n");
    let received = world.receive(&[&sender.code()]).end();
    assert_eq!(received.out(), "typed", "{received}");
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_directory_arrives_unpacked_with_its_empty_folders() {
    let world = World::new();
    world.write("sender/stuff/deep/er/file name", "one");
    world.write("sender/stuff/-dash", "two");
    fs::create_dir_all(world.path("sender/stuff/empty")).unwrap();
    let (_, received) = world.transfer(&["stuff"], &["--accept-file"]);
    assert_eq!(world.read("receiver/stuff/deep/er/file name"), b"one");
    assert_eq!(world.read("receiver/stuff/-dash"), b"two");
    assert!(world.path("receiver/stuff/empty").is_dir());
    assert!(received.stderr.contains("Received files written to: "), "{received}");
    assert_eq!(world.names("receiver"), ["stuff"]);
}

#[test]
fn several_paths_arrive_as_one_directory() {
    let world = World::new();
    world.write("sender/a.txt", "a");
    world.write("sender/b.txt", "b");
    world.write("sender/dir/c.txt", "c");
    world.transfer(&["a.txt", "b.txt", "dir"], &["--accept-file", "-o", "all"]);
    assert_eq!(world.read("receiver/all/a.txt"), b"a");
    assert_eq!(world.read("receiver/all/b.txt"), b"b");
    assert_eq!(world.read("receiver/all/dir/c.txt"), b"c");
}

#[test]
fn a_stream_goes_from_pipe_to_pipe() {
    let world = World::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut sender = world.send(&["-"]);
    let code = sender.code();
    let receiver = world.receive(&["--accept-file", "-o", "-", &code]);
    sender.type_in(&bytes);
    sender.end_input();
    let received = receiver.end();
    assert_eq!(received.exit, 0, "{}", received.stderr);
    assert!(received.stdout == bytes, "{} of {} bytes", received.stdout.len(), bytes.len());
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn a_stream_can_be_given_a_name_and_received_as_a_file() {
    let world = World::new();
    let mut sender = world.send(&["-", "--name", "notes.txt"]);
    let code = sender.code();
    let receiver = world.receive(&["--accept-file", &code]);
    sender.type_in("streamed");
    sender.end_input();
    let received = receiver.end();
    assert_eq!(received.exit, 0, "{received}");
    assert_eq!(sender.end().exit, 0);
    assert_eq!(world.read("receiver/notes.txt"), b"streamed");
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let world = World::new();
    world.write("sender/big", vec![1; 3_000_000]);
    let sender = world.send(&["big"]);
    let code = sender.code();
    let ours = env!("CARGO_BIN_EXE_wormhole");
    let mut command = world.command("receiver", &[]);
    let environment: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = std::process::Command::new("sh");
    command.args([
        "-c",
        "\"$0\" receive --accept-file -o - \"$1\" | head -c 3; exit 0",
        ours,
        &code,
    ]);
    command.current_dir(world.path("receiver"));
    for (key, value) in environment {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let ended = Running::start(command).end();
    assert_eq!(ended.stdout, [1; 3], "{ended}");
    assert!(!ended.stderr.contains("error"), "{ended}");
}
