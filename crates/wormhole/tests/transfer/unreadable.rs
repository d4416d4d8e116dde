//! Files and folders that the sender cannot read, from the start or only when it is their turn.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};

use wormhole::transfer::{self, CodeSource, Unsendable, UnsendableReason};

use super::*;
use crate::child::{self, is_possible, without_privileges};
use crate::liars::Liar;
use crate::old_client;

/// A file that exists and can be opened, but not read: nothing is mapped at its beginning.
const FAILS: &str = "/proc/self/mem";

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Replaces a file with a link.
fn replace_with_link(path: &Path, target: impl AsRef<Path>) {
    std::fs::remove_file(path).unwrap();
    symlink(target, path).unwrap();
}

/// The kind of error that prevented reading.
fn kind(unsendable: &Unsendable) -> Option<io::ErrorKind> {
    match &unsendable.why {
        UnsendableReason::System(why) => Some(why.kind),
        _ => None,
    }
}

/// The error of a sender that finds a problem before it connects.
fn check(what: Outgoing) -> Unsendable {
    match transfer::send(what, Settings::default()) {
        Err(Error::Unsendable(unsendable)) => unsendable,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_without_read_permission_is_found_before_anything_is_connected() {
    if !is_possible(without_privileges()) {
        return;
    }
    let this = a_file_without_read_permission_is_found_before_anything_is_connected;
    child::run(this, without_privileges(), async {
        let from = Folder::new();
        let file = from.file("tree/closed", b"x");
        set_mode(&file, 0o000);
        for what in [file.clone(), from.path().join("tree")] {
            let found = check(path(&what));
            assert_eq!(found.path, file);
            assert_eq!(kind(&found), Some(io::ErrorKind::PermissionDenied));
        }
    });
}

#[test]
fn files_and_folders_without_read_permission_are_left_out_if_the_application_agrees() {
    if !is_possible(without_privileges()) {
        return;
    }
    let this = files_and_folders_without_read_permission_are_left_out_if_the_application_agrees;
    child::run(this, without_privileges(), async {
        let (mut settings, code) = settings().await;
        settings.ignore_unsendable = true;
        let (from, to) = (Folder::new(), Folder::new());
        from.file("tree/open", b"contents");
        let file = from.file("tree/closed file", b"x");
        from.file("tree/closed folder/inner", b"x");
        let folder = from.path().join("tree/closed folder");
        set_mode(&file, 0o000);
        set_mode(&folder, 0o300);
        let tree = path(&from.path().join("tree"));
        let sender = transfer::send(tree, settings.clone()).unwrap();
        let skipped: Vec<_> = sender.skipped().iter().map(|it| (&it.path, kind(it))).collect();
        let denied = Some(io::ErrorKind::PermissionDenied);
        assert_eq!(skipped, [(&file, denied), (&folder, denied)]);
        let receiver = transfer::receive(CodeSource::Code(code), settings);
        let destination = to.destination(OnExists::Refuse);
        let ((sent, _), (received, _)) =
            tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
        assert!(sent.is_ok() && received.unwrap().omitted.is_empty());
        let arrived = Folder::names_in(&to.path().join("tree"));
        assert_eq!(arrived, ["open"]);
        set_mode(&folder, 0o700);
    });
}

#[test]
fn the_application_cannot_agree_to_leave_out_what_it_has_named_itself() {
    if !is_possible(without_privileges()) {
        return;
    }
    let this = the_application_cannot_agree_to_leave_out_what_it_has_named_itself;
    child::run(this, without_privileges(), async {
        let from = Folder::new();
        let (open, closed) = (from.file("open", b"x"), from.file("closed", b"x"));
        set_mode(&closed, 0o000);
        let mut settings = Settings::default();
        settings.ignore_unsendable = true;
        for what in [vec![closed.clone()], vec![open, closed.clone()]] {
            let Err(Error::Unsendable(found)) =
                transfer::send(Outgoing::Paths(what), settings.clone())
            else {
                panic!("it can be sent")
            };
            assert_eq!(found.path, closed);
        }
    });
}

/// A tree in which most files become unreadable after the offer.
fn changing_tree(from: &Folder) -> Outgoing {
    for name in ["a fails", "b link to a folder", "c link to nothing", "d removed/inner"] {
        from.file(&format!("tree/{name}"), &[1; 100_000]);
    }
    from.file("tree/e kept", &[2; 100_000]);
    path(&from.path().join("tree"))
}

fn change(from: &Folder) {
    let at = |name: &str| from.path().join("tree").join(name);
    replace_with_link(&at("a fails"), FAILS);
    replace_with_link(&at("b link to a folder"), from.path());
    replace_with_link(&at("c link to nothing"), at("nothing"));
    std::fs::remove_dir_all(at("d removed")).unwrap();
}

#[tokio::test]
async fn files_that_become_unreadable_are_omitted_and_all_others_arrive() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let sender = transfer::send(changing_tree(&from), settings.clone()).unwrap();
    change(&from);
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    let omitted = ["a fails", "b link to a folder", "c link to nothing", "d removed/inner"];
    let received = received.unwrap();
    assert_eq!(received.omitted.iter().map(|path| path.as_str()).collect::<Vec<_>>(), omitted);
    let changed = sent.unwrap().changed;
    let tree = from.path().join("tree");
    assert_eq!(
        changed.iter().map(|file| file.path.clone()).collect::<Vec<_>>(),
        omitted.map(|name| tree.join(name))
    );
    assert_eq!(changed[1].why, UnsendableReason::NotAFile);
    assert_eq!(kind(&changed[2]), Some(io::ErrorKind::NotFound));
    let arrived = to.path().join("tree");
    assert_eq!(Folder::names_in(&arrived), ["d removed", "e kept"]);
    assert_eq!(std::fs::read(arrived.join("e kept")).unwrap(), [2; 100_000]);
}

#[tokio::test]
async fn an_old_client_fails_with_the_sender_unless_the_application_agrees_to_omissions() {
    for is_lenient in [false, true] {
        let (mut settings, code) = settings().await;
        settings.ignore_unsendable = is_lenient;
        let from = Folder::new();
        let sender = transfer::send(changing_tree(&from), settings.clone()).unwrap();
        change(&from);
        let client = Liar::new(&settings, code);
        if is_lenient {
            let ((sent, _), (_, zip)) =
                tokio::join!(finish(sender, None), old_client::receive(&client));
            assert_eq!(sent.unwrap().changed.len(), 4);
            let names = old_client::unzip(&zip).into_iter().map(|(name, _)| name);
            assert_eq!(names.collect::<Vec<_>>(), ["e kept"]);
        } else {
            let receiving = async {
                let (_, _pipe) = client.accept().await;
                client.hear().await["error"].as_str().unwrap().to_owned()
            };
            let ((sent, _), reason) = tokio::join!(finish(sender, None), receiving);
            let Err(Error::Unsendable(unsendable)) = sent else { panic!("{sent:?}") };
            assert_eq!(unsendable.path, from.path().join("tree/a fails"));
            assert_eq!(reason, "the sending side could not read what it offered");
        }
    }
}

#[tokio::test]
async fn a_file_that_fails_when_it_is_read_is_found_before_anything_is_connected() {
    let from = Folder::new();
    let file = from.file("tree/fails", b"x");
    replace_with_link(&file, FAILS);
    let found = check(path(&from.path().join("tree")));
    assert_eq!(found.path, file);
    assert!(kind(&found).is_some(), "{found:?}");
}

#[tokio::test]
async fn pipes_devices_and_links_to_nothing_are_refused_without_waiting_for_them() {
    let from = Folder::new();
    std::fs::create_dir(from.path().join("tree")).unwrap();
    let at = |name: &str| from.path().join("tree").join(name);
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/zero", at("device")).unwrap();
    for name in ["pipe", "socket", "device"] {
        assert_eq!(check(path(&at(name))).why, UnsendableReason::NotAFile, "{name}");
    }
    symlink("nothing", at("link")).unwrap();
    assert_eq!(kind(&check(path(&at("link")))), Some(io::ErrorKind::NotFound));
    let mut settings = Settings::default();
    settings.ignore_unsendable = true;
    let sender = transfer::send(path(&from.path().join("tree")), settings).unwrap();
    assert_eq!(sender.skipped().len(), 4);
    assert!(matches!(sender.offer(), Some(Offer::Directory { files: 0, bytes: 0, .. })));
}
