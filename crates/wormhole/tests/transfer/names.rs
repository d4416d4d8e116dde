//! Unusual names of files and folders.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use wormhole::transfer::{self, CodeSource, UnsendableReason};

use super::*;
use crate::held::{accept_first_byte, fed};

/// Names that a Unix system allows, and that programs often treat in a special way.
fn odd_names() -> Vec<String> {
    let mut names: Vec<_> = [
        " leading and trailing ",
        "-rf",
        "...",
        ".hidden",
        "a (1).txt",
        "a.part",
        "a\\b",
        "back\u{8}space",
        "c:con",
        "line\nbreak",
        "'\"`$(reboot)*?",
        "right\u{202e}to left",
        "e\u{301} is not \u{e9}",
        "🕳️",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(255));
    names.push("ü".repeat(127));
    names.push(format!("{}.tar.gz", "n".repeat(248)));
    names
}

#[tokio::test]
async fn odd_names_of_single_files_arrive_unchanged() {
    for name in odd_names() {
        let (settings, code) = settings().await;
        let (from, to) = (Folder::new(), Folder::new());
        let file = from.file(&name, b"x");
        let (sent, received) =
            transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
        assert!(sent.is_ok(), "{name:?}: {sent:?}");
        assert_eq!(received.unwrap().written, Some(to.path().join(&name)));
        assert_eq!(to.names(), [name]);
    }
}

#[tokio::test]
async fn odd_names_in_a_folder_arrive_unchanged() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    for name in odd_names() {
        from.file(&format!("tree/files/{name}"), name.as_bytes());
        from.file(&format!("tree/folders/{name}/new"), b"");
    }
    let tree = from.path().join("tree");
    let (sent, received) =
        transfer(path(&tree), to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok() && received.is_ok());
    for inner in ["files", "folders"] {
        let arrived = to.path().join("tree").join(inner);
        assert_eq!(Folder::names_in(&arrived), Folder::names_in(&tree.join(inner)));
        for name in odd_names() {
            let expected = if inner == "files" { name.as_bytes() } else { b"" };
            let file = if inner == "files" {
                arrived.join(&name)
            } else {
                arrived.join(&name).join("new")
            };
            assert_eq!(std::fs::read(file).unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_unicode_is_refused_or_left_out() {
    let from = Folder::new();
    from.file("tree/a", b"x");
    let odd = from.path().join("tree").join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::write(&odd, "x").unwrap();
    let mut settings = Settings::default();
    for what in [odd.clone(), from.path().join("tree")] {
        let Err(Error::Unsendable(found)) = transfer::send(path(&what), settings.clone()) else {
            panic!("it can be sent")
        };
        assert_eq!((&found.path, found.why), (&odd, UnsendableReason::NotUnicode));
    }
    settings.ignore_unsendable = true;
    let sender = transfer::send(path(&from.path().join("tree")), settings.clone()).unwrap();
    assert_eq!(sender.skipped().len(), 1);
    assert!(matches!(sender.offer(), Some(Offer::Directory { files: 1, .. })));
    assert!(transfer::send(path(&odd), settings).is_err());
}

#[tokio::test]
async fn a_path_without_a_name_of_its_own_takes_that_of_the_real_folder() {
    let from = Folder::new();
    from.file("tree/inner/a", b"x");
    for relative in ["tree/", "tree/.", "tree/inner/.."] {
        let what = path(&from.path().join(relative));
        let sender = transfer::send(what, Settings::default()).unwrap();
        let Some(Offer::Directory { name, .. }) = sender.offer() else { panic!("{sender:?}") };
        assert_eq!(name.as_sent(), "tree", "{relative}");
    }
    let Err(Error::Unsendable(found)) =
        transfer::send(path(Path::new("/proc/..")), Settings::default())
    else {
        panic!("it can be sent")
    };
    assert_eq!(found.why, UnsendableReason::NoName);
}

#[tokio::test]
async fn the_temporary_name_of_a_long_name_is_shortened_and_private() {
    use std::os::unix::fs::PermissionsExt;

    let name = "ü".repeat(127);
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (feeder, what) = fed(&name);
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        accept_first_byte(&mut receiver, &feeder, to.destination(OnExists::Refuse)).await;
        let temporary = to.names().pop().unwrap();
        assert!(temporary.len() <= 255 && temporary.ends_with("ü.part"), "{temporary}");
        let metadata = std::fs::metadata(to.path().join(&temporary)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        drop(feeder);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    assert!(sent.is_ok());
    assert_eq!(received.unwrap().written, Some(to.path().join(&name)));
    assert_eq!(to.names(), [name]);
}
