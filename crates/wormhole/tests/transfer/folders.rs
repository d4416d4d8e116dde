//! Folders of unusual shapes, and the zips that carry them, compared with an independent zip library.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use wormhole::transfer::{self, CodeSource, UnsendableReason};
use zip::write::SimpleFileOptions;

use super::*;
use crate::held::{Operation, held};
use crate::liars::Liar;
use crate::old_client;

/// Everything below a folder: the contents of files, `None` for folders.
fn contents_of(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut contents = BTreeMap::new();
    for name in Folder::names_in(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            let inner = contents_of(&path).into_iter();
            contents.extend(inner.map(|(inner, data)| (format!("{name}/{inner}"), data)));
            contents.insert(name, None);
        } else {
            contents.insert(name, Some(std::fs::read(path).unwrap()));
        }
    }
    contents
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Sends the folder `tree` of `from`, and checks that the same arrives.
async fn send_tree(from: &Folder) -> Report {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let tree = from.path().join("tree");
    let (sent, received) =
        transfer(path(&tree), to.destination(OnExists::Refuse), settings, code).await;
    assert_eq!(to.names(), ["tree"]);
    assert!(contents_of(&to.path().join("tree")) == contents_of(&tree));
    assert_eq!(sent.unwrap().bytes, received.as_ref().unwrap().bytes);
    received.unwrap()
}

#[tokio::test]
async fn a_folder_without_any_files_arrives() {
    let from = Folder::new();
    std::fs::create_dir(from.path().join("tree")).unwrap();
    send_tree(&from).await;
    std::fs::create_dir_all(from.path().join("tree/a/b")).unwrap();
    std::fs::create_dir_all(from.path().join("tree/c")).unwrap();
    send_tree(&from).await;
}

#[tokio::test]
async fn many_small_and_empty_files_arrive() {
    let from = Folder::new();
    // More than are flushed one by one.
    for number in 0..400_usize {
        from.file(&format!("tree/{}/{number}", number % 7), &vec![b'x'; number % 5]);
    }
    let received = send_tree(&from).await;
    assert_eq!((received.lost, received.omitted_more), (None, 0));
}

#[tokio::test]
async fn the_deepest_folder_that_receivers_accept_arrives() {
    let from = Folder::new();
    from.file(&format!("tree/{}file", "d/".repeat(127)), b"deep");
    send_tree(&from).await;
}

#[tokio::test]
async fn a_deeper_folder_is_refused_or_left_out_before_anything_is_connected() {
    let from = Folder::new();
    let file = from.file(&format!("tree/{}file", "d/".repeat(128)), b"too deep");
    let mut settings = Settings::default();
    let tree = || path(&from.path().join("tree"));
    let Err(Error::Unsendable(unsendable)) = transfer::send(tree(), settings.clone()) else {
        panic!("it can be sent")
    };
    assert_eq!((&unsendable.path, &unsendable.why), (&file, &UnsendableReason::TooLong));
    settings.ignore_unsendable = true;
    let sender = transfer::send(tree(), settings).unwrap();
    assert_eq!(sender.skipped(), [unsendable]);
}

#[tokio::test]
async fn a_writer_receives_a_folder_as_a_zip_of_the_offered_length() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    from.file("tree/b/large", &[7; 300_000]);
    from.file("tree/a", b"");
    std::fs::create_dir(from.path().join("tree/empty")).unwrap();
    let tree = from.path().join("tree");
    let sender = transfer::send(path(&tree), settings.clone()).unwrap();
    let Some(Offer::Directory { zip_size, .. }) = sender.offer() else { panic!("{sender:?}") };
    let zip_size = *zip_size;
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let (mut holder, destination) = held(Operation::Flush);
    holder.release();
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    let zip = holder.contents();
    assert_eq!(u64::try_from(zip.len()), Ok(zip_size));
    // What travels is not the zip, but its files.
    assert_eq!((sent.unwrap().bytes, received.unwrap().bytes), (300_000, 300_000));
    assert!(old_client::unzip(&zip).into_iter().collect::<BTreeMap<_, _>>() == contents_of(&tree));
}

#[tokio::test]
async fn an_old_client_receives_entries_for_empty_folders_alone() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    from.file("tree/folder/a", b"contents");
    std::fs::create_dir_all(from.path().join("tree/empty/inner")).unwrap();
    let what = path(&from.path().join("tree"));
    let (sent, offer, zip) = old_client::send(what, settings, code).await;
    let offer = &offer["directory"];
    assert_eq!((&offer["numfiles"], &offer["numbytes"]), (&json!(1), &json!(8)));
    assert_eq!(u64::try_from(zip.len()).unwrap(), sent.unwrap().bytes);
    let expected = [("empty/inner", None), ("folder/a", Some(b"contents".to_vec()))];
    let expected = expected.map(|(name, data)| (name.to_owned(), data));
    assert_eq!(old_client::unzip(&zip), expected);
}

/// A deflated zip, as other programs make it.
fn foreign_zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    zip.start_file("sub/text", options.unix_permissions(0o640)).unwrap();
    zip.write_all(&b"compressible ".repeat(10_000)).unwrap();
    zip.start_file("tool", options.unix_permissions(0o751)).unwrap();
    zip.write_all(b"#!/bin/sh\n").unwrap();
    zip.add_directory("empty/", options.unix_permissions(0o750)).unwrap();
    zip.finish().unwrap().into_inner()
}

#[tokio::test]
async fn a_deflated_zip_of_an_old_client_is_private_until_it_is_complete() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let zip = foreign_zip();
    let offer = json!({ "directory": { "mode": "zipfile/deflated", "dirname": "d",
        "zipsize": zip.len(), "numbytes": 130_010, "numfiles": 2 } });
    let client = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let sending = async {
        let mut pipe = client.connect(offer).await;
        assert_eq!(to.names(), ["d.part"]);
        assert_eq!(mode(&to.path().join("d.part")), 0o700);
        // Pieces that are no multiple of anything.
        for piece in zip.chunks(97) {
            pipe.send_record(piece).await.unwrap();
        }
        let confirmation = pipe.receive_record().await.unwrap();
        // Everything has its final name before the confirmation.
        assert_eq!(to.names(), ["d"]);
        confirmation
    };
    let ((received, _), confirmation) =
        tokio::join!(finish(receiver, Some(to.destination(OnExists::Refuse))), sending);
    assert_eq!(received.unwrap().lost, None);
    assert!(confirmation.starts_with(b"{\"ack\":\"ok\""), "{confirmation:?}");
    let at = |name: &str| to.path().join("d").join(name);
    assert_eq!(std::fs::read(at("sub/text")).unwrap(), b"compressible ".repeat(10_000));
    assert_eq!(Folder::names_in(&at("")), ["empty", "sub", "tool"]);
    // What the umask leaves of a new file or folder.
    std::fs::create_dir(to.path().join("usual")).unwrap();
    let usual = mode(&to.path().join("usual"));
    assert_eq!(mode(&at("")), usual);
    assert_eq!(mode(&at("sub/text")), 0o640 & usual);
    assert_eq!(mode(&at("tool")), 0o751 & usual);
    assert_eq!(mode(&at("empty")), 0o750 & usual);
}

#[tokio::test]
async fn several_paths_to_an_old_client_are_one_zip_with_their_names_at_the_top() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let what = Outgoing::Paths(vec![
        from.file("x/b.txt", b"b"),
        from.file("y/a.txt", b"a"),
        from.file("z/folder/inner", b"c").parent().unwrap().to_owned(),
    ]);
    let (sent, offer, zip) = old_client::send(what, settings, code).await;
    assert!(sent.is_ok());
    assert_eq!(offer["directory"]["dirname"], "b.txt and 2 more");
    let expected = [("b.txt", b"b"), ("a.txt", b"a"), ("folder/inner", b"c")];
    let expected = expected.map(|(name, data)| (name.to_owned(), Some(data.to_vec())));
    assert_eq!(old_client::unzip(&zip), expected);
}
