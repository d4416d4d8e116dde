//! What is created where the receiver wants it: names, permissions, and what happens when something is
//! in the way.

use std::fs;

use crate::world::{Running, World};

/// Two folders and a file of this system's own choice would not be here; these are unusual, not wrong.
#[cfg(unix)]
#[test]
fn every_name_that_this_system_can_hold_arrives_as_it_is() {
    let world = World::new();
    for name in ["a:b", "aux.c", "back\\slash", "R.E.M.", "tab\there", "what? <yes>"] {
        world.write(&format!("sender/{name}"), name);
        world.transfer(&["--", name], &["--accept-file"]);
        assert_eq!(world.read(&format!("receiver/{name}")), name.as_bytes());
    }
}

#[test]
fn several_paths_have_a_name_that_can_be_created_however_long_the_first_one_is() {
    let world = World::new();
    let long = "n".repeat(255);
    world.write(&format!("sender/{long}"), "1");
    world.write("sender/b", "2");
    world.transfer(&[&long, "b"], &["--accept-file"]);
    let names = world.names("receiver");
    assert_eq!(names, [format!("{} and 1 more", "n".repeat(244))]);
    assert_eq!(world.read(&format!("receiver/{}/b", names[0])), b"2");
}

/// Offers a stream under any name, through the SDK: our own command does not send such names.
fn offer_stream(world: &World, name: &str, code: &str) -> std::thread::JoinHandle<bool> {
    use wormhole::code::Code;
    use wormhole::transfer::{self, Outgoing, Settings};

    let mut settings = Settings::default();
    settings.servers = vec![world.mailbox_url().parse().unwrap()];
    settings.relays.clear();
    settings.code = Some(Code::parse(code).unwrap());
    let reader = Box::new(std::io::Cursor::new(b"piped".to_vec()));
    let what = Outgoing::Stream { name: name.to_owned(), reader };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { transfer::send(what, settings).unwrap().done().await.is_ok() })
    })
}

#[test]
fn a_name_that_cannot_be_is_replaced_by_a_safe_one_and_that_is_said() {
    let world = World::new();
    for (number, name, safe) in [
        (1, "../../escape", ".._.._escape"),
        (2, "/etc/passwd", "_etc_passwd"),
        (3, "..", "unnamed"),
        (4, &"x".repeat(300), &"x".repeat(255)),
    ] {
        let code = format!("{number}-purple-sausages");
        let sender = offer_stream(&world, name, &code);
        let received = world.receive(&["--accept-file", &code]).end();
        assert_eq!(received.exit, 0, "{received}");
        assert!(sender.join().unwrap());
        let said =
            received.stderr.lines().filter(|line| line.contains("is not allowed on this system"));
        let said: Vec<_> = said.collect();
        assert!(
            said.len() == 1 && said[0].ends_with(&format!("saving the data as '{safe}'.")),
            "{said:?}"
        );
        assert_eq!(world.read(&format!("receiver/{safe}")), b"piped");
    }
    assert_eq!(world.names("receiver").len(), 4);
    assert!(!world.path("escape").exists());
}

#[test]
fn a_safe_name_is_offered_before_anything_is_accepted() {
    let world = World::new();
    let sender = offer_stream(&world, "a/b", "5-purple-sausages");
    let mut receiver = world.receive(&["5-purple-sausages"]);
    receiver.wait_for_prompt("saving the data as 'a_b'.");
    receiver.wait_for_prompt("Receiving stream into: 'a_b'\nReceive it? (Y/n): ");
    receiver.type_in("n\n");
    receiver.end().failed(1, "transfer rejected");
    assert!(!sender.join().unwrap());
    assert!(world.names("receiver").is_empty());
}

/// Starts to receive a stream called `f`, and waits until its first bytes are on the disk.
fn receive_slowly(world: &World, arguments: &[&str]) -> (Running, Running) {
    let mut sender = world.send(&["-", "--name", "f"]);
    let code = sender.code();
    let receiver = world.receive(&[&["--accept-file"], arguments, &[&code]].concat());
    sender.type_in("ours");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while fs::metadata(world.path("receiver/f.part")).map_or(0, |found| found.len()) == 0 {
        assert!(std::time::Instant::now() < deadline, "nothing comes");
        std::thread::yield_now();
    }
    (sender, receiver)
}

#[test]
fn a_name_that_is_taken_meanwhile_costs_no_complete_transfer() {
    let world = World::new();
    for (on_exists, gets) in [("rename", "f (1)"), ("ask", "f (1)"), ("overwrite", "f")] {
        let (mut sender, receiver) = receive_slowly(&world, &["--on-exists", on_exists]);
        world.write("receiver/f", "theirs");
        sender.end_input();
        let received = receiver.end();
        assert_eq!((received.exit, sender.end().exit), (0, 0), "{on_exists}: {received}");
        assert_eq!(world.read(&format!("receiver/{gets}")), b"ours", "{on_exists}");
        assert!(received.stderr.contains(&format!("/{gets}\n")), "{received}");
        if gets != "f" {
            assert_eq!(world.read("receiver/f"), b"theirs");
            fs::remove_file(world.path(&format!("receiver/{gets}"))).unwrap();
        }
        fs::remove_file(world.path("receiver/f")).unwrap();
    }
}

#[test]
fn whoever_wants_nothing_replaced_and_no_other_name_gets_an_error_on_both_sides() {
    let world = World::new();
    let (mut sender, receiver) = receive_slowly(&world, &["--on-exists", "refuse"]);
    world.write("receiver/f", "theirs");
    sender.end_input();
    receiver.end().failed(1, "already exists");
    assert_eq!(sender.end().exit, 1);
    assert_eq!(world.names("receiver"), ["f"]);
    assert_eq!(world.read("receiver/f"), b"theirs");
}

#[test]
fn a_folder_with_more_entries_than_wanted_is_refused_before_it_is_sent() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.write(&format!("sender/d/{name}"), "x");
    }
    let sender = world.send(&["d"]);
    let received = world.receive(&["--accept-file", "--max-entries", "2", &sender.code()]).end();
    received.failed(1, "the offered directory has more than 2 files and directories");
    assert!(received.stderr.contains("--max-entries NUMBER"), "{received}");
    sender.end().failed(1, "too many files or directories for the receiving side");
    assert!(world.names("receiver").is_empty());
    world.transfer(&["d"], &["--accept-file", "--max-entries", "3"]);
    assert_eq!(world.names("receiver/d").len(), 3);
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::process::Command;

    use super::*;

    fn mode(world: &World, name: &str) -> u32 {
        fs::metadata(world.path(name)).unwrap().mode() & 0o7777
    }

    fn set_mode(world: &World, name: &str, mode: u32) {
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The receiver, started by a shell with this umask.
    fn receive_with_umask(world: &World, umask: &str, code: &str) -> Running {
        let theirs = world.command("receiver", &["receive", "--accept-file", code]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        command.arg(theirs.get_program()).args(theirs.get_args());
        command.current_dir(world.path("receiver"));
        for (name, value) in theirs.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Running::start(command)
    }

    #[test]
    fn the_umask_of_the_receiver_holds_for_folders_and_files() {
        let world = World::new();
        world.write("sender/d/sub/f", "x");
        world.write("sender/single", "x");
        for (name, mode) in
            [("d/sub/f", 0o6777), ("d/sub", 0o7777), ("d", 0o777), ("single", 0o666)]
        {
            set_mode(&world, &format!("sender/{name}"), mode);
        }
        for (umask, folder, single) in
            [("077", 0o700, 0o600), ("027", 0o750, 0o640), ("0", 0o777, 0o666)]
        {
            for what in ["d", "single"] {
                let sender = world.send(&[what]);
                let received = receive_with_umask(&world, umask, &sender.code()).end();
                assert_eq!((received.exit, sender.end().exit), (0, 0), "{received}");
            }
            for name in ["d", "d/sub", "d/sub/f"] {
                assert_eq!(mode(&world, &format!("receiver/{name}")), folder, "{umask} {name}");
            }
            assert_eq!(mode(&world, "receiver/single"), single, "{umask}");
            fs::remove_dir_all(world.path("receiver/d")).unwrap();
            fs::remove_file(world.path("receiver/single")).unwrap();
        }
    }

    #[test]
    fn what_is_not_complete_is_private() {
        let world = World::new();
        let (mut sender, receiver) = receive_slowly(&world, &[]);
        assert_eq!(mode(&world, "receiver/f.part"), 0o600);
        sender.end_input();
        assert_eq!((receiver.end().exit, sender.end().exit), (0, 0));
    }

    /// A file system on which nothing has permissions or times of its own, as on phones: the calls are
    /// answered by a small library that is loaded into the receiver.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_without_permissions_and_times_costs_a_warning_and_no_data() {
        let world = World::new();
        world.write(
            "refuse.c",
            "#include <errno.h>\n#include <sys/stat.h>\n\
             int fchmod(int fd, mode_t mode) { errno = EPERM; return -1; }\n\
             int futimens(int fd, const struct timespec t[2]) { errno = EOPNOTSUPP; return -1; }\n",
        );
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut build = Command::new(compiler);
        build.args(["-shared", "-fPIC", "-o", "refuse.so", "refuse.c"]).current_dir(world.path(""));
        assert!(build.status().unwrap().success());
        world.write("sender/d/sub/f", "contents");
        world.write("sender/single", "contents");
        set_mode(&world, "sender/d/sub/f", 0o700);
        for (what, arrived) in [("d", "d/sub/f"), ("single", "single")] {
            let sender = world.send(&[what]);
            let mut command =
                world.command("receiver", &["receive", "--accept-file", &sender.code()]);
            command.env("LD_PRELOAD", world.path("refuse.so"));
            let received = Running::start(command).end();
            assert_eq!((received.exit, sender.end().exit), (0, 0), "{received}");
            let warnings: Vec<_> =
                received.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
            assert_eq!(warnings.len(), 1, "{received}");
            assert!(warnings[0].ends_with("The contents are complete."), "{received}");
            assert_eq!(world.read(&format!("receiver/{arrived}")), b"contents");
            assert_eq!(
                world.names("receiver").iter().filter(|name| name.ends_with("part")).count(),
                0
            );
        }
    }
}
