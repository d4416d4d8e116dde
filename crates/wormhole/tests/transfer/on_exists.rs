//! What happens if the destination exists, or if its name appears while the data arrives.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use wormhole::transfer::{self, CodeSource};
use wormhole_magic::transfer::zip::{Entry, EntryKind, ZipPath, ZipWriter};

use super::*;
use crate::held::{accept_first_byte, fed};
use crate::liars::Liar;

/// What is offered under the name `a`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    File,
    Folder,
    Stream,
}

const KINDS: [Kind; 3] = [Kind::File, Kind::Folder, Kind::Stream];

/// An offer of this kind, and its records.
fn offer_of(kind: Kind) -> (Value, Vec<Vec<u8>>) {
    match kind {
        Kind::File => {
            (json!({ "file": { "filename": "a", "filesize": 4 } }), vec![b"ours".to_vec()])
        }
        Kind::Folder => {
            let zip = zip();
            let offer = json!({ "directory": { "mode": "zipfile/deflated", "dirname": "a",
                "zipsize": zip.len(), "numbytes": 4, "numfiles": 1 } });
            (offer, vec![zip])
        }
        Kind::Stream => {
            (json!({ "stream": { "filename": "a" } }), vec![b"ours".to_vec(), Vec::new()])
        }
    }
}

/// A zip with one file, `inner`.
fn zip() -> Vec<u8> {
    let (mut writer, mut zip) = (ZipWriter::new(), Vec::new());
    let path = ZipPath::parse("inner").unwrap();
    let entry = Entry { path, permissions: 0o644, modified: 0, kind: EntryKind::File(4) };
    writer.begin(entry, &mut zip).unwrap();
    writer.data(b"ours");
    zip.extend(b"ours");
    writer.finish(&mut zip).unwrap();
    zip
}

/// What appears under the name `a`.
#[derive(Clone, Copy, Debug)]
enum Appears {
    File,
    Folder,
    /// A link to `target`, which exists elsewhere.
    Link,
}

const APPEARS: [Appears; 3] = [Appears::File, Appears::Folder, Appears::Link];

impl Appears {
    fn create(self, to: &Folder, elsewhere: &Folder) {
        let path = to.path().join("a");
        match self {
            Self::File => std::fs::write(path, "theirs").unwrap(),
            Self::Folder => std::fs::create_dir(path).unwrap(),
            Self::Link => symlink(elsewhere.file("target", b"theirs"), path).unwrap(),
        }
    }

    /// Checks that it is still there, unchanged.
    fn check(self, to: &Folder) {
        let path = to.path().join("a");
        match self {
            Self::File | Self::Link => assert_eq!(std::fs::read(&path).unwrap(), b"theirs"),
            Self::Folder => assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0),
        }
        assert_eq!(path.is_symlink(), matches!(self, Self::Link));
    }
}

/// Receives an offer of this kind. The name appears when the receiver has accepted and waits for the data.
async fn receive(
    kind: Kind,
    on_exists: OnExists,
    appears: Appears,
) -> (Result<Report, Error>, Folder, Folder) {
    let (settings, code) = settings().await;
    let (to, elsewhere) = (Folder::new(), Folder::new());
    let client = Liar::new(&settings, code.clone());
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let (offer, records) = offer_of(kind);
    let sending = async {
        let mut pipe = client.connect(offer).await;
        appears.create(&to, &elsewhere);
        for record in records {
            pipe.send_record(&record).await.unwrap();
        }
        // The confirmation, or the end of the connection.
        let _confirmation = pipe.receive_record().await;
    };
    let ((received, _), ()) =
        tokio::join!(finish(receiver, Some(to.destination(on_exists))), sending);
    (received, to, elsewhere)
}

/// Checks what arrived at `path`.
fn check_ours(kind: Kind, path: &Path) {
    let file = if kind == Kind::Folder { path.join("inner") } else { path.to_owned() };
    assert_eq!(std::fs::read(file).unwrap(), b"ours");
    assert!(!path.is_symlink());
}

#[tokio::test]
async fn keep_both_takes_the_next_free_name_if_the_name_appears_during_the_transfer() {
    for (kind, appears) in KINDS.iter().flat_map(|kind| APPEARS.map(|appears| (*kind, appears))) {
        let (received, to, _elsewhere) = receive(kind, OnExists::KeepBoth, appears).await;
        let path = to.path().join("a (1)");
        assert_eq!(received.unwrap().written, Some(path.clone()), "{kind:?} {appears:?}");
        assert_eq!(to.names(), ["a", "a (1)"]);
        check_ours(kind, &path);
        appears.check(&to);
    }
}

#[tokio::test]
async fn refuse_fails_and_removes_the_data_if_the_name_appears_during_the_transfer() {
    for (kind, appears) in KINDS.iter().flat_map(|kind| APPEARS.map(|appears| (*kind, appears))) {
        let (received, to, _elsewhere) = receive(kind, OnExists::Refuse, appears).await;
        let path = to.path().join("a");
        assert_eq!(received, Err(Error::Exists(path)), "{kind:?} {appears:?}");
        assert_eq!(to.names(), ["a"]);
        appears.check(&to);
    }
}

#[tokio::test]
async fn overwrite_replaces_a_file_or_a_link_that_appears_but_not_what_the_link_points_to() {
    for (kind, appears) in [
        (Kind::File, Appears::File),
        (Kind::File, Appears::Link),
        (Kind::Stream, Appears::File),
        (Kind::Stream, Appears::Link),
    ] {
        let (received, to, elsewhere) = receive(kind, OnExists::Overwrite, appears).await;
        let path = to.path().join("a");
        assert_eq!(received.unwrap().written, Some(path.clone()), "{kind:?} {appears:?}");
        assert_eq!(to.names(), ["a"]);
        check_ours(kind, &path);
        for name in elsewhere.names() {
            assert_eq!(std::fs::read(elsewhere.path().join(name)).unwrap(), b"theirs");
        }
    }
}

#[tokio::test]
async fn overwrite_keeps_both_if_a_folder_is_received_or_appears() {
    for (kind, appears) in [
        (Kind::File, Appears::Folder),
        (Kind::Stream, Appears::Folder),
        (Kind::Folder, Appears::File),
        (Kind::Folder, Appears::Folder),
        (Kind::Folder, Appears::Link),
    ] {
        let (received, to, _elsewhere) = receive(kind, OnExists::Overwrite, appears).await;
        let path = to.path().join("a (1)");
        assert_eq!(received.unwrap().written, Some(path.clone()), "{kind:?} {appears:?}");
        check_ours(kind, &path);
        appears.check(&to);
    }
}

#[tokio::test]
async fn the_sender_learns_that_its_file_was_refused_although_all_data_had_arrived() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (feeder, what) = fed("a");
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        accept_first_byte(&mut receiver, &feeder, to.destination(OnExists::Refuse)).await;
        to.file("a", b"theirs");
        drop(feeder);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    assert_eq!(received, Err(Error::Exists(to.path().join("a"))));
    assert_eq!(sent, Err(Error::PeerRefused("transfer rejected".into())));
}

#[tokio::test]
async fn a_file_to_be_replaced_stays_until_the_new_one_is_complete() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let old = to.file("a", b"old");
    let (feeder, what) = fed("a");
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        let destination = to.destination(OnExists::Overwrite);
        accept_first_byte(&mut receiver, &feeder, destination).await;
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        drop(feeder);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(std::fs::read(&old).unwrap(), b"x");
    assert_eq!(to.names(), ["a"]);
}

#[tokio::test]
async fn a_failed_transfer_leaves_the_file_that_it_should_replace() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let old = to.file("a", b"old");
    let (feeder, what) = fed("a");
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        let destination = to.destination(OnExists::Overwrite);
        accept_first_byte(&mut receiver, &feeder, destination).await;
        feeder.fail(std::io::ErrorKind::BrokenPipe);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    assert!(matches!(sent, Err(Error::Unsendable(_))), "{sent:?}");
    assert!(matches!(received, Err(Error::PeerRefused(_))), "{received:?}");
    assert_eq!(std::fs::read(&old).unwrap(), b"old");
    assert_eq!(to.names(), ["a"]);
}

#[tokio::test]
async fn a_text_is_never_written_whatever_the_destination() {
    for on_exists in [OnExists::KeepBoth, OnExists::Overwrite, OnExists::Refuse] {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let what = Outgoing::Text("hello".into());
        let sender = transfer::send(what, settings.clone()).unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        let receiving = async {
            assert_eq!(receiver.offered().await.unwrap(), Offer::Text("hello".into()));
            receiver.accept(to.destination(on_exists));
            finish(receiver, None).await.0
        };
        let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
        assert!(sent.is_ok());
        assert_eq!(received.unwrap().written, None);
        assert_eq!(to.names(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_link_without_a_target_counts_as_an_existing_name() {
    let from = Folder::new();
    let file = from.file("a", b"new");
    for (on_exists, written) in [
        (OnExists::Refuse, None),
        (OnExists::KeepBoth, Some("a (1)")),
        (OnExists::Overwrite, Some("a")),
    ] {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let target = from.path().join("target");
        symlink(&target, to.path().join("a")).unwrap();
        let (_, received) = transfer(path(&file), to.destination(on_exists), settings, code).await;
        let expected = written.map(|name| to.path().join(name));
        let expected = expected.map_or_else(|| Err(Error::Exists(to.path().join("a"))), Ok);
        assert_eq!(received.map(|report| report.written.unwrap()), expected);
        assert!(!target.exists(), "the link was followed");
    }
}

#[tokio::test]
async fn a_temporary_file_of_somebody_else_is_neither_used_nor_removed() {
    let (from, to, elsewhere) = (Folder::new(), Folder::new(), Folder::new());
    let file = from.file("a", b"new");
    to.file("a.part", b"theirs");
    let target = elsewhere.path().join("target");
    symlink(&target, to.path().join("a.1.part")).unwrap();
    let (settings, code) = settings().await;
    let (_, received) =
        transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
    assert!(received.is_ok());
    assert_eq!(to.names(), ["a", "a.1.part", "a.part"]);
    assert_eq!(std::fs::read(to.path().join("a.part")).unwrap(), b"theirs");
    assert!(!target.exists(), "the link was followed");
}

#[tokio::test]
async fn two_transfers_to_one_name_at_the_same_time_do_not_mix() {
    for (on_exists, names) in [
        (OnExists::KeepBoth, &["a", "a (1)"][..]),
        (OnExists::Overwrite, &["a"]),
        (OnExists::Refuse, &["a"]),
    ] {
        let to = Folder::new();
        let mut outcomes = Vec::new();
        let mut started = Vec::new();
        for contents in [b"first", b"other"] {
            let (settings, code) = settings().await;
            let (feeder, what) = fed("a");
            let sender = transfer::send(what, settings.clone()).unwrap();
            let mut receiver = transfer::receive(CodeSource::Code(code), settings);
            accept_first_byte(&mut receiver, &feeder, to.destination(on_exists)).await;
            feeder.feed(contents);
            started.push((feeder, sender, receiver));
        }
        assert_eq!(to.names(), ["a.1.part", "a.part"]);
        for (feeder, sender, receiver) in started {
            drop(feeder);
            let ((_, _), (received, _)) =
                tokio::join!(finish(sender, None), finish(receiver, None));
            outcomes.push(received.map(|report| report.written.unwrap()));
        }
        assert_eq!(to.names(), names);
        let refused = Err(Error::Exists(to.path().join("a")));
        let (second, survivor) = match on_exists {
            OnExists::KeepBoth => (Ok(to.path().join("a (1)")), b"xfirst"),
            OnExists::Overwrite => (Ok(to.path().join("a")), b"xother"),
            _ => (refused, b"xfirst"),
        };
        assert_eq!(outcomes, [Ok(to.path().join("a")), second]);
        assert_eq!(std::fs::read(to.path().join("a")).unwrap(), survivor);
    }
}
