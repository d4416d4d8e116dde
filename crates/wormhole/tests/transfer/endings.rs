//! Transfers that do not happen: one clear error on each side, and nothing left behind.

use std::io::{self, Read, Write};

use wormhole::code;
use wormhole::transfer::{self, CodeSource, PeerMisbehaved, UnsendableReason};

use super::*;

#[tokio::test]
async fn an_existing_file_is_refused_and_left_alone() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"new");
    to.file("a", b"old");
    let (sent, received) =
        transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
    assert_eq!(received, Err(Error::Exists(to.path().join("a"))));
    assert_eq!(sent, Err(Error::PeerRefused("transfer rejected".into())));
    assert_eq!(to.names(), ["a"]);
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"old");
}

#[tokio::test]
async fn an_existing_file_is_replaced_if_the_receiver_chooses_that() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"new");
    to.file("a", b"old");
    let (_, received) =
        transfer(path(&file), to.destination(OnExists::Overwrite), settings, code).await;
    assert!(received.is_ok());
    assert_eq!(to.names(), ["a"]);
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"new");
}

#[tokio::test]
async fn keep_both_keeps_both_files() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a.txt", b"new");
    to.file("a.txt", b"old");
    to.file("a (1).txt", b"older");
    let (_, received) =
        transfer(path(&file), to.destination(OnExists::KeepBoth), settings, code).await;
    assert_eq!(received.unwrap().written, Some(to.path().join("a (2).txt")));
    assert_eq!(to.names(), ["a (1).txt", "a (2).txt", "a.txt"]);
}

#[tokio::test]
async fn an_existing_directory_is_never_replaced() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    from.file("tree/a", b"new");
    to.file("tree/b", b"old");
    let tree = from.path().join("tree");
    let (_, received) =
        transfer(path(&tree), to.destination(OnExists::Overwrite), settings, code).await;
    assert_eq!(received, Err(Error::Exists(to.path().join("tree"))));
    assert_eq!(std::fs::read(to.path().join("tree/b")).unwrap(), b"old");
}

#[tokio::test]
async fn a_refusal_tells_the_sender_the_reason() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let refuse = async {
        offer(&mut receiver).await;
        receiver.reject("not today");
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), refuse);
    assert_eq!(sent, Err(Error::PeerRefused("not today".into())));
    assert_eq!(received, Err(Error::Rejected));
}

#[tokio::test]
async fn a_sender_that_sees_another_verifier_offers_nothing() {
    let (mut settings, code) = settings().await;
    settings.verify = true;
    let from = Folder::new();
    let mut sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let verify = async {
        while !matches!(sender.next().await, Some(Ok(Event::Wormhole(code::Event::Verifier(_))))) {}
        sender.confirm_verifier(false);
        finish(sender, None).await.0
    };
    let (sent, (received, _)) = tokio::join!(verify, finish(receiver, None));
    assert_eq!(sent, Err(Error::VerifierRejected));
    assert!(matches!(received, Err(Error::PeerRefused(text)) if text.contains("verification")));
}

/// A sender's reader that gives a little and then waits for ever.
struct Stuck(bool, std::sync::mpsc::Receiver<()>);

impl Read for Stuck {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            // Ends when the test does.
            let _ended = self.1.recv();
            return Ok(0);
        }
        buffer[0] = b'x';
        Ok(1)
    }
}

#[tokio::test]
async fn dropping_either_side_halfway_tells_the_other_and_leaves_nothing() {
    for drop_sender in [true, false] {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let (until, ended) = std::sync::mpsc::channel();
        let reader = Box::new(Stuck(false, ended));
        let what = Outgoing::Stream { name: "s".into(), reader };
        let mut sender = transfer::send(what, settings.clone()).unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        offer(&mut receiver).await;
        receiver.accept(to.destination(OnExists::Refuse));
        // Both have begun. The sender learns how much has arrived only when it sends more.
        while !matches!(receiver.next().await, Some(Ok(Event::Progress { done: 1, .. }))) {}
        while !matches!(sender.next().await, Some(Ok(Event::Progress { .. }))) {}
        let other = if drop_sender {
            drop(sender);
            let outcome = finish(receiver, None).await.0;
            drop(until);
            outcome
        } else {
            drop(receiver);
            let outcome = finish(sender, None).await.0;
            drop(until);
            outcome
        };
        assert_eq!(other, Err(Error::PeerRefused("transfer cancelled".into())), "{drop_sender}");
        // The peer may be notified before the receiver has removed its files.
        until_empty(&to).await;
    }
}

#[tokio::test]
async fn cancelling_before_the_peer_has_come_ends_at_once() {
    let (settings, _) = settings().await;
    let sender = transfer::send(Outgoing::Text("a".into()), settings).unwrap();
    timeout(PATIENCE, sender.cancel()).await.expect("cancelling is stuck");
}

#[tokio::test]
async fn what_cannot_be_sent_is_found_before_anything_is_connected() {
    let from = Folder::new();
    let missing = from.path().join("missing");
    let settings = Settings::default();
    for what in [path(&missing), Outgoing::Paths(vec![from.file("a", b""), missing.clone()])] {
        let Err(Error::Unsendable(unsendable)) = transfer::send(what, settings.clone()) else {
            panic!("it can be sent")
        };
        assert_eq!(unsendable.path, missing);
    }
    let twice = Outgoing::Paths(vec![from.file("x/a", b""), from.file("y/a", b"")]);
    let Err(Error::Unsendable(unsendable)) = transfer::send(twice, settings.clone()) else {
        panic!("it can be sent")
    };
    assert_eq!(unsendable.why, UnsendableReason::SameName);
    let nothing = transfer::send(Outgoing::Paths(Vec::new()), settings);
    assert_eq!(nothing.err(), Some(Error::NothingToSend));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_in_a_circle_is_refused_or_left_out() {
    let (mut settings, _) = settings().await;
    let from = Folder::new();
    from.file("tree/a", b"a");
    std::os::unix::fs::symlink("..", from.path().join("tree/up")).unwrap();
    std::os::unix::fs::symlink(".", from.path().join("tree/here")).unwrap();
    let tree = from.path().join("tree");
    let Err(Error::Unsendable(unsendable)) = transfer::send(path(&tree), settings.clone()) else {
        panic!("it can be sent")
    };
    assert_eq!(unsendable.why, UnsendableReason::ContainsItself);
    settings.ignore_unsendable = true;
    let transfer = transfer::send(path(&tree), settings).unwrap();
    assert!(!transfer.skipped().is_empty());
    assert!(matches!(transfer.offer(), Some(Offer::Directory { .. })));
}

/// A disk that is full from the start.
struct FullDisk;

impl Write for FullDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_on_both_sides() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let file = from.file("a", &[1; 1_000_000]);
    let destination = Destination::Writer(Box::new(FullDisk));
    let (sent, received) = transfer(path(&file), destination, settings, code).await;
    let Err(Error::WriteFailed { why, .. }) = received else { panic!("{received:?}") };
    assert_eq!(why.kind, io::ErrorKind::StorageFull);
    assert!(matches!(sent, Err(Error::PeerRefused(_))), "{sent:?}");
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_refused_before_anything_is_sent() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let destination =
        Destination::Folder { folder: to.path().join("missing"), on_exists: OnExists::Refuse };
    let (sent, received) = transfer(path(&from.file("a", b"a")), destination, settings, code).await;
    assert!(matches!(received, Err(Error::WriteFailed { .. })), "{received:?}");
    assert!(matches!(sent, Err(Error::PeerRefused(_))), "{sent:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_destination_that_vanishes_is_an_error_on_both_sides() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    std::fs::create_dir(to.path().join("gone")).unwrap();
    let (until, ended) = std::sync::mpsc::channel();
    let what = Outgoing::Stream { name: "s".into(), reader: Box::new(Stuck(false, ended)) };
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receive = async {
        offer(&mut receiver).await;
        let folder = to.path().join("gone");
        receiver
            .accept(Destination::Folder { folder: folder.clone(), on_exists: OnExists::Refuse });
        while !matches!(receiver.next().await, Some(Ok(Event::Progress { done: 1, .. }))) {}
        std::fs::remove_dir_all(folder).unwrap();
        drop(until);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receive);
    assert!(matches!(received, Err(Error::WriteFailed { .. })), "{received:?}");
    assert!(matches!(sent, Err(Error::PeerRefused(_))), "{sent:?}");
    assert_eq!(to.names(), Vec::<String>::new());
}

#[tokio::test]
async fn two_senders_find_out() {
    let (settings, _) = settings().await;
    let one = transfer::send(Outgoing::Text("1".into()), settings.clone()).unwrap();
    let other = transfer::send(Outgoing::Text("2".into()), settings).unwrap();
    let ((one, _), (other, _)) = tokio::join!(finish(one, None), finish(other, None));
    for outcome in [one, other] {
        assert!(
            matches!(
                &outcome,
                Err(Error::PeerMisbehaved(PeerMisbehaved::Negotiation(_)) | Error::PeerRefused(_))
            ),
            "{outcome:?}"
        );
    }
}
