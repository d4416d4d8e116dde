//! Errors of the receiver's disk: full disks, limits, and permissions. Each ends the transfer with one clear error on
//! both sides, and nothing incomplete remains.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use wormhole::transfer::{self, CodeSource};

use super::*;
use crate::child::{self, LIMITED, is_possible, limit_files, without_privileges};
use crate::held::{accept_first_byte, fed};

/// The path that could not be written, and the kind of error.
fn write_error(outcome: Result<Report, Error>) -> (PathBuf, io::ErrorKind) {
    let Err(Error::WriteFailed { path, why }) = outcome else { panic!("{outcome:?}") };
    (path, why.kind)
}

/// The reason that the receiver gave to the sender.
fn reason(outcome: Result<Report, Error>) -> String {
    let Err(Error::PeerRefused(reason)) = outcome else { panic!("{outcome:?}") };
    reason
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A file of 3 MiB that needs no space.
fn big_file(from: &Folder, name: &str) -> PathBuf {
    let path = from.file(name, b"");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(3 << 20).unwrap();
    path
}

#[test]
fn a_file_above_the_size_limit_of_the_process_is_refused_before_it_is_sent() {
    let this = a_file_above_the_size_limit_of_the_process_is_refused_before_it_is_sent;
    child::run(this, LIMITED, async {
        let (settings, code) = settings().await;
        let (from, to) = (Folder::new(), Folder::new());
        let sender = transfer::send(path(&big_file(&from, "big")), settings.clone()).unwrap();
        limit_files();
        let receiver = transfer::receive(CodeSource::Code(code), settings);
        let destination = to.destination(OnExists::Refuse);
        let ((sent, events), (received, _)) =
            tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
        let expected = (to.path().join("big"), io::ErrorKind::FileTooLarge);
        assert_eq!(write_error(received), expected);
        assert_eq!(reason(sent), NO_SPACE);
        assert!(!events.iter().any(|event| matches!(event, Event::Accepted)), "{events:?}");
        assert_eq!(to.names(), Vec::<String>::new());
    });
}

#[test]
fn a_stream_that_exceeds_the_size_limit_of_the_process_is_removed() {
    child::run(a_stream_that_exceeds_the_size_limit_of_the_process_is_removed, LIMITED, async {
        let (settings, code) = settings().await;
        let to = Folder::new();
        limit_files();
        let reader = Box::new(io::repeat(b'x').take(3 << 20));
        let what = Outgoing::Stream { name: "s".into(), reader };
        let (sent, received) =
            transfer(what, to.destination(OnExists::Refuse), settings, code).await;
        let expected = (to.path().join("s"), io::ErrorKind::FileTooLarge);
        assert_eq!(write_error(received), expected);
        assert_eq!(reason(sent), NO_SPACE);
        assert_eq!(to.names(), Vec::<String>::new());
    });
}

#[test]
fn a_folder_is_removed_if_one_of_its_files_exceeds_the_size_limit() {
    child::run(a_folder_is_removed_if_one_of_its_files_exceeds_the_size_limit, LIMITED, async {
        let (settings, code) = settings().await;
        let (from, to) = (Folder::new(), Folder::new());
        from.file("tree/a/small", b"x");
        big_file(&from, "tree/b/big");
        let tree = path(&from.path().join("tree"));
        let sender = transfer::send(tree, settings.clone()).unwrap();
        limit_files();
        let receiver = transfer::receive(CodeSource::Code(code), settings);
        let destination = to.destination(OnExists::Refuse);
        let ((sent, _), (received, _)) =
            tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
        let expected = (to.path().join("tree/b/big"), io::ErrorKind::FileTooLarge);
        assert_eq!(write_error(received), expected);
        assert_eq!(reason(sent), NO_SPACE);
        assert_eq!(to.names(), Vec::<String>::new());
    });
}

/// A disk that exists only in the namespace of the test: 1 MiB, and 64 files and folders.
const SMALL_DISK: &[&str] = &[
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs -o size=1m,nr_inodes=64 tmpfs /mnt && exec \"$@\"",
    "sh",
];

/// Receives into a small disk. Returns both results; the disk must be empty then.
async fn receive_into_small_disk(what: Outgoing) -> (Result<Report, Error>, Result<Report, Error>) {
    let (settings, code) = settings().await;
    let destination = Destination::Folder { folder: "/mnt".into(), on_exists: OnExists::Refuse };
    let outcomes = transfer(what, destination, settings, code).await;
    assert_eq!(std::fs::read_dir("/mnt").unwrap().count(), 0);
    outcomes
}

#[test]
fn a_folder_that_does_not_fit_on_the_disk_is_refused_with_both_numbers() {
    if !is_possible(SMALL_DISK) {
        return;
    }
    child::run(
        a_folder_that_does_not_fit_on_the_disk_is_refused_with_both_numbers,
        SMALL_DISK,
        async {
            let from = Folder::new();
            big_file(&from, "tree/big");
            let tree = path(&from.path().join("tree"));
            let (sent, received) = receive_into_small_disk(tree).await;
            let Err(Error::NoSpace { needed, available }) = received else {
                panic!("{received:?}")
            };
            assert!(needed >= 3 << 20 && available <= 1 << 20, "{needed} {available}");
            assert_eq!(reason(sent), NO_SPACE);
        },
    );
}

#[test]
fn a_disk_without_room_for_more_names_is_a_full_disk() {
    if !is_possible(SMALL_DISK) {
        return;
    }
    child::run(a_disk_without_room_for_more_names_is_a_full_disk, SMALL_DISK, async {
        let from = Folder::new();
        for number in 0..80 {
            from.file(&format!("tree/{number}/empty"), b"");
        }
        let tree = path(&from.path().join("tree"));
        let (sent, received) = receive_into_small_disk(tree).await;
        assert_eq!(write_error(received).1, io::ErrorKind::StorageFull);
        assert_eq!(reason(sent), NO_SPACE);
    });
}

#[tokio::test]
async fn a_place_where_nothing_can_be_created_is_refused_before_anything_is_sent() {
    let (from, to) = (Folder::new(), Folder::new());
    from.file("tree/a", b"a");
    let places = [to.file("a file", b""), "/proc".into(), "/dev/null".into()];
    for place in places {
        for what in ["tree", "tree/a"] {
            let (settings, code) = settings().await;
            let what = path(&from.path().join(what));
            let sender = transfer::send(what, settings.clone()).unwrap();
            let receiver = transfer::receive(CodeSource::Code(code), settings);
            let destination =
                Destination::Folder { folder: place.clone(), on_exists: OnExists::KeepBoth };
            let ((sent, events), (received, _)) =
                tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
            assert!(matches!(received, Err(Error::WriteFailed { .. })), "{place:?}: {received:?}");
            assert_eq!(reason(sent), NOT_WRITTEN);
            assert!(!events.iter().any(|event| matches!(event, Event::Accepted)), "{events:?}");
        }
    }
    assert_eq!(to.names(), ["a file"]);
}

#[test]
fn a_read_only_destination_is_refused_with_the_path_and_the_reason() {
    if !is_possible(without_privileges()) {
        return;
    }
    let this = a_read_only_destination_is_refused_with_the_path_and_the_reason;
    child::run(this, without_privileges(), async {
        let (settings, code) = settings().await;
        let (from, to) = (Folder::new(), Folder::new());
        let file = path(&from.file("a", b"a"));
        set_mode(to.path(), 0o500);
        let (sent, received) =
            transfer(file, to.destination(OnExists::Refuse), settings, code).await;
        let expected = (to.path().join("a"), io::ErrorKind::PermissionDenied);
        assert_eq!(write_error(received), expected);
        assert_eq!(reason(sent), NOT_WRITTEN);
    });
}

#[test]
fn a_destination_that_becomes_read_only_fails_and_keeps_the_old_file() {
    if !is_possible(without_privileges()) {
        return;
    }
    let this = a_destination_that_becomes_read_only_fails_and_keeps_the_old_file;
    child::run(this, without_privileges(), async {
        let (settings, code) = settings().await;
        let to = Folder::new();
        to.file("a", b"old");
        let (feeder, what) = fed("a");
        let sender = transfer::send(what, settings.clone()).unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        let receiving = async {
            let destination = to.destination(OnExists::Overwrite);
            accept_first_byte(&mut receiver, &feeder, destination).await;
            set_mode(to.path(), 0o500);
            drop(feeder);
            finish(receiver, None).await.0
        };
        let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
        let expected = (to.path().join("a"), io::ErrorKind::PermissionDenied);
        assert_eq!(write_error(received), expected);
        assert_eq!(reason(sent), NOT_WRITTEN);
        assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"old");
        set_mode(to.path(), 0o700);
    });
}

#[tokio::test]
async fn a_destination_that_is_moved_during_the_transfer_receives_the_file_all_the_same() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (old, new) = (to.path().join("old"), to.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let (feeder, what) = fed("a");
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        let destination = Destination::Folder { folder: old.clone(), on_exists: OnExists::Refuse };
        accept_first_byte(&mut receiver, &feeder, destination).await;
        std::fs::rename(&old, &new).unwrap();
        // Somebody puts another folder in its place.
        std::fs::create_dir(&old).unwrap();
        drop(feeder);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(std::fs::read(new.join("a")).unwrap(), b"x");
    assert_eq!(std::fs::read_dir(&old).unwrap().count(), 0);
}

const NO_SPACE: &str = "not enough space on the receiving side";
const NOT_WRITTEN: &str = "the receiving side could not write the file";
