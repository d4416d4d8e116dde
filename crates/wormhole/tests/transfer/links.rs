//! Symbolic links inside folders: those that stay inside arrive as links, and no link leads a receiver anywhere else.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use tokio::io::AsyncReadExt;
use wormhole::code::{Config, Wormhole};
use wormhole::dilated;
use wormhole::transfer::{PeerMisbehaved, Violation};
use wormhole_magic::transfer::dilated::{FolderEntry, frame};
use wormhole_magic::transfer::dilated::{Incoming, LinkEntry, LinkTarget, Received, SUBPROTOCOL};
use wormhole_magic::transfer::zip::ZipPath;

use super::dilated_liars::{file, folder, refused};
use super::*;

/// A folder with links, reached through a link; and a file outside of it.
fn tree(from: &Folder) -> PathBuf {
    let outside = from.file("outside", b"outside");
    let tree = from.file("tree/true", b"contents").parent().unwrap().to_owned();
    fs::create_dir(tree.join("d")).unwrap();
    for (link, target) in [
        ("link", Path::new("true")),
        ("chain", Path::new("link")),
        ("messy", Path::new("./d//../true")),
        ("to folder", Path::new("d")),
        ("d/up", Path::new("../true")),
        ("d/again", Path::new("../../tree/true")),
        ("d/absolute", &tree.join("true")),
        ("d/out", &outside),
        ("d/beside", Path::new("../../outside")),
    ] {
        symlink(target, tree.join(link)).unwrap();
    }
    symlink(&tree, from.path().join("other")).unwrap();
    from.path().join("other")
}

/// Where a link leads; `None` for anything else.
fn target(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.to_str().unwrap().to_owned())
}

/// Checks what has arrived of [`tree`].
fn check_tree(tree: &Path) {
    for (link, expected) in [
        ("link", Some("true")),
        ("chain", Some("link")),
        ("messy", Some("true")),
        ("to folder", Some("d")),
        ("d/up", Some("../true")),
        ("d/again", None),
        ("d/absolute", None),
        ("d/out", None),
        ("d/beside", None),
    ] {
        assert_eq!(target(&tree.join(link)).as_deref(), expected, "{link}");
    }
    check_contents(tree);
}

fn check_contents(tree: &Path) {
    let read = |path| fs::read(tree.join(path)).unwrap();
    for path in ["true", "link", "chain", "messy", "d/up", "to folder/up", "d/again", "d/absolute"]
    {
        assert_eq!(read(path), b"contents", "{path}");
    }
    assert_eq!((read("d/out"), read("d/beside")), (b"outside".to_vec(), b"outside".to_vec()));
}

#[tokio::test]
async fn links_inside_a_folder_arrive_as_links_and_all_others_with_their_contents() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let what = path(&tree(&from));
    let (sent, received) = transfer(what, to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    check_tree(&to.path().join("other"));
}

#[tokio::test]
async fn a_loop_of_folders_inside_a_folder_can_be_sent() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let tree = from.file("tree/d/a", b"a").parent().unwrap().parent().unwrap().to_owned();
    symlink("..", tree.join("d/up")).unwrap();
    symlink(".", tree.join("here")).unwrap();
    let destination = to.destination(OnExists::Refuse);
    let (sent, received) = transfer(path(&tree), destination, settings, code).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(fs::read(to.path().join("tree/here/d/up/d/a")).unwrap(), b"a");
}

#[tokio::test]
async fn links_in_one_of_several_folders_stay_in_that_folder() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let (one, two) = (from.file("one/a", b"a"), from.file("two/b", b"b"));
    symlink("a", one.with_file_name("inside")).unwrap();
    symlink("../one/a", two.with_file_name("across")).unwrap();
    let folders = [one, two].map(|file| file.parent().unwrap().to_owned());
    let what = Outgoing::Paths(folders.to_vec());
    let (sent, received) = transfer(what, to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    let arrived = to.path().join("one and 1 more");
    assert_eq!(target(&arrived.join("one/inside")).as_deref(), Some("a"));
    assert_eq!(target(&arrived.join("two/across")), None);
    assert_eq!(fs::read(arrived.join("two/across")).unwrap(), b"a");
}

#[tokio::test]
async fn a_receiver_of_version_1_gets_what_the_links_lead_to() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let mut old = settings.clone();
    old.dilate = false;
    let sender = transfer::send(path(&tree(&from)), settings).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), old);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    let arrived = to.path().join("other");
    assert_eq!(target(&arrived.join("link")), None);
    check_contents(&arrived);
}

#[tokio::test]
async fn a_receiver_that_does_not_announce_links_is_offered_what_they_lead_to() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let _sender = transfer::send(path(&tree(&from)), settings.clone()).unwrap();
    let app_versions = json!({SUBPROTOCOL: {"mode": "receive", "features": ["core-1"]}});
    let config = Config { servers: settings.servers.clone(), app_versions, ..Config::default() };
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code).unwrap();
    let settings = dilated::Settings { relays: Vec::new(), ..dilated::Settings::default() };
    let peer = timeout(PATIENCE, wormhole.dilate(settings)).await.unwrap().unwrap();
    let mut listener = peer.listen(SUBPROTOCOL).unwrap();
    let mut stream = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut incoming = Incoming::new();
    let mut buffer = [0; 1000];
    let offer = loop {
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(length, 0);
        if let Some(Received::Offer(offer)) = incoming.next(&mut &buffer[..length]).unwrap() {
            break offer;
        }
    };
    // Nine, and five more in the folder that a link leads to. With links it would be five.
    let Offer::Directory { files: 14, .. } = offer else {
        panic!("{offer:?}");
    };
}

fn link(path: &str, target: &str) -> LinkEntry {
    let path = ZipPath::parse(path).unwrap();
    let (target, _) = LinkTarget::shortest(target, &path).unwrap();
    LinkEntry { path, target }
}

/// A link of which nothing is checked.
fn forged(path: &str, target: &str) -> Vec<u8> {
    let mut frames = Vec::new();
    frame::link(&mut frames, &link("AAAA", "BBBB"));
    // Both are short strings of MessagePack.
    let mut contents = frames.split_off(frame::HEADER);
    for (placeholder, value) in [(b"\xa4AAAA", path), (b"\xa4BBBB", target)] {
        let at = contents.windows(5).position(|window| window == placeholder).unwrap();
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        contents.splice(at..at + 5, [&[0xda], &length[..], value.as_bytes()].concat());
    }
    let length = u32::try_from(contents.len()).unwrap();
    [frame::header(frame::FrameKind::Link, length).as_slice(), &contents].concat()
}

#[tokio::test]
async fn a_link_that_leaves_the_folder_is_refused_and_leaves_nothing() {
    let long = "x/".repeat(1100);
    for (path, target) in [
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../outside"),
        ("d/l", "../../outside"),
        ("d/l", "x/../../../outside"),
        // Through another link, this could lead out.
        ("d/l", "x/.."),
        ("l", "x/../y"),
        ("l", "l"),
        ("l", ""),
        ("l", "a\0b"),
        ("l", &long),
    ] {
        let error = refused(folder(0, 0), forged(path, target)).await;
        let Error::PeerMisbehaved(PeerMisbehaved::Dilated(violation)) = error else {
            panic!("{target}: {error:?}");
        };
        assert!(matches!(violation, Violation::UnsafeLink { .. }), "{target}: {violation:?}");
    }
    let error = refused(folder(0, 0), forged("../l", "x")).await;
    let Error::PeerMisbehaved(PeerMisbehaved::Dilated(Violation::UnsafePath(_))) = error else {
        panic!("{error:?}");
    };
}

type Build = fn(&mut Vec<u8>);

fn empty(frames: &mut Vec<u8>, path: &str) {
    frame::file(frames, &file(path, 0, 0));
    frame::file_end(frames, blake3::hash(b"").as_bytes());
}

fn end_folder(frames: &mut Vec<u8>, path: &str) {
    let attributes = transfer::Attributes { permissions: 0o755, modified: 0 };
    frame::folder(frames, &FolderEntry { path: ZipPath::parse(path).unwrap(), attributes });
}

#[tokio::test]
async fn nothing_is_created_through_a_link_or_in_its_place() {
    let through: [Build; 5] = [
        |to| empty(to, "l/a"),
        |to| empty(to, "l"),
        |to| end_folder(to, "l"),
        |to| frame::link(to, &link("l/b", "c")),
        |to| frame::link(to, &link("l", "other")),
    ];
    for target in ["d", ".", "nowhere"] {
        for build in through {
            let mut frames = Vec::new();
            end_folder(&mut frames, "d");
            frame::link(&mut frames, &link("l", target));
            build(&mut frames);
            let error = refused(folder(0, 1), frames).await;
            let is_expected = matches!(
                error,
                Error::WriteFailed { .. } | Error::PeerMisbehaved(PeerMisbehaved::BadZip(_))
            );
            assert!(is_expected, "{error:?}");
        }
    }
    // A link does not replace anything either.
    let before: [Build; 2] = [|to| empty(to, "l"), |to| end_folder(to, "l")];
    for build in before {
        let mut frames = Vec::new();
        build(&mut frames);
        frame::link(&mut frames, &link("l", "d"));
        let error = refused(folder(0, 1), frames).await;
        let Error::PeerMisbehaved(PeerMisbehaved::BadZip(_)) = error else { panic!("{error:?}") };
    }
}

#[tokio::test]
async fn a_zip_of_a_received_folder_has_the_links() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let source = from.file("tree/a", b"abc").parent().unwrap().to_owned();
    symlink("a", source.join("link")).unwrap();
    let archive = to.path().join("zip");
    let writer = Destination::Writer(Box::new(fs::File::create_new(&archive).unwrap()));
    let (sent, received) = transfer(path(&source), writer, settings, code).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    let mut zip = zip::ZipArchive::new(fs::File::open(archive).unwrap()).unwrap();
    let mut link = zip.by_name("link").unwrap();
    assert!(link.is_symlink());
    assert_eq!(std::io::read_to_string(&mut link).unwrap(), "a");
}
