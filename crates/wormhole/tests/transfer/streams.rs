//! Streams of unknown length, to peers that support them and to peers that need a file (which get a spooled copy).

use std::io::{self, Cursor, Read};

use serde_json::json;
use wormhole::transfer::{self, CodeSource, PeerMisbehaved, UnsafeName, UnsendableReason};

use super::*;
use crate::held::{Operation, accept_first_byte, fed, held};
use crate::liars::Liar;
use crate::old_client;

/// Sizes around those of a record (64 KiB), of four records that are written at once, and of the spool's buffer.
const SIZES: [usize; 10] =
    [0, 1, 65_535, 65_536, 65_537, 131_072, 262_143, 262_144, 262_145, 1_000_003];

/// Bytes without a short period, so that lost or exchanged blocks are noticed.
fn contents(size: usize) -> Vec<u8> {
    (0_u32..).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).take(size).collect()
}

fn stream(reader: impl Read + Send + 'static) -> Outgoing {
    Outgoing::Stream { name: "s".into(), reader: Box::new(reader) }
}

/// A reader that gives its bytes in pieces of different lengths, and is interrupted before each.
struct Pieces {
    rest: Cursor<Vec<u8>>,
    reads: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads % 2 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = [1, 7, 4096, 65_536, 100_000][self.reads / 2 % 5].min(buffer.len());
        self.rest.read(&mut buffer[..most])
    }
}

fn pieces(size: usize) -> Pieces {
    Pieces { rest: Cursor::new(contents(size)), reads: 0 }
}

#[tokio::test]
async fn a_stream_arrives_unchanged_at_every_size_of_a_block() {
    for size in SIZES {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let what = stream(Cursor::new(contents(size)));
        let (sent, received) =
            transfer(what, to.destination(OnExists::Refuse), settings, code).await;
        let bytes = u64::try_from(size).unwrap();
        assert_eq!((sent.unwrap().bytes, received.unwrap().bytes), (bytes, bytes));
        assert!(std::fs::read(to.path().join("s")).unwrap() == contents(size), "{size}");
    }
}

#[tokio::test]
async fn an_old_client_receives_a_stream_as_a_file_of_its_length() {
    for size in SIZES {
        let (settings, code) = settings().await;
        let what = stream(Cursor::new(contents(size)));
        let (sent, offer, data) = old_client::send(what, settings, code).await;
        assert_eq!(offer, json!({ "file": { "filename": "s", "filesize": size } }));
        assert_eq!(sent.unwrap().bytes, u64::try_from(size).unwrap());
        assert!(data == contents(size), "{size}");
    }
}

#[tokio::test]
async fn short_and_interrupted_reads_change_nothing() {
    let (direct, code) = settings().await;
    let to = Folder::new();
    let destination = to.destination(OnExists::Refuse);
    let (sent, received) = transfer(stream(pieces(500_000)), destination, direct, code).await;
    assert!(sent.is_ok() && received.is_ok());
    assert!(std::fs::read(to.path().join("s")).unwrap() == contents(500_000));

    let (spooled, code) = settings().await;
    let (sent, _, data) = old_client::send(stream(pieces(500_000)), spooled, code).await;
    assert!(sent.is_ok());
    assert!(data == contents(500_000));
}

#[tokio::test]
async fn a_stream_has_no_total_before_its_end() {
    let (settings, code) = settings().await;
    let (mut holder, destination) = held(Operation::Flush);
    let sender = transfer::send(stream(Cursor::new(contents(70_000))), settings.clone()).unwrap();
    let name = transfer::PeerName::new("s");
    assert_eq!(sender.offer(), Some(&Offer::Stream { name }));
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    holder.release();
    let ((_, sent), (_, received)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    for events in [sent, received] {
        let reports = events.iter().filter(|event| matches!(event, Event::Progress { .. }));
        let reports: Vec<_> = reports.collect();
        let has_no_total = |event: &&Event| matches!(event, Event::Progress { total: None, .. });
        assert!(reports.iter().all(has_no_total), "{reports:?}");
        assert!(matches!(reports.last(), Some(Event::Progress { done: 70_000, .. })));
    }
    assert!(holder.contents() == contents(70_000));
}

#[tokio::test]
async fn a_stream_with_a_path_as_its_name_is_refused_but_can_be_stored_elsewhere() {
    for is_renamed in [false, true] {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let reader = Box::new(Cursor::new(b"contents".to_vec()));
        let what = Outgoing::Stream { name: "../s".into(), reader };
        let destination = if is_renamed {
            Destination::Path { path: to.path().join("mine"), on_exists: OnExists::Refuse }
        } else {
            to.destination(OnExists::Refuse)
        };
        let (sent, received) = transfer(what, destination, settings, code).await;
        if is_renamed {
            assert!(sent.is_ok() && received.is_ok());
            assert_eq!(to.names(), ["mine"]);
        } else {
            let Err(Error::PeerMisbehaved(PeerMisbehaved::UnsafeName { why, .. })) = received
            else {
                panic!("{received:?}")
            };
            assert_eq!(why, UnsafeName::Separator);
            assert!(matches!(sent, Err(Error::PeerRefused(_))), "{sent:?}");
            assert_eq!(to.names(), Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_reader_that_fails_in_the_middle_fails_with_its_name_and_error() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (feeder, what) = fed("s");
    let sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        accept_first_byte(&mut receiver, &feeder, to.destination(OnExists::Refuse)).await;
        feeder.feed(&contents(300_000));
        feeder.fail(io::ErrorKind::TimedOut);
        finish(receiver, None).await.0
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    let Err(Error::Unsendable(unsendable)) = sent else { panic!("{sent:?}") };
    assert_eq!(unsendable.path, Path::new("s"));
    let UnsendableReason::System(why) = unsendable.why else { panic!("{unsendable:?}") };
    assert_eq!(why.kind, io::ErrorKind::TimedOut);
    let reason = "the sending side could not read what it offered";
    assert_eq!(received, Err(Error::PeerRefused(reason.into())));
    assert_eq!(to.names(), Vec::<String>::new());
}

#[tokio::test]
async fn an_old_client_is_offered_nothing_if_the_stream_cannot_be_read() {
    let (settings, code) = settings().await;
    let (feeder, what) = fed("s");
    feeder.feed(&contents(300_000));
    feeder.fail(io::ErrorKind::TimedOut);
    let sender = transfer::send(what, settings.clone()).unwrap();
    let client = Liar::new(&settings, code);
    let ((sent, _), reason) =
        tokio::join!(finish(sender, None), old_client::reason_without_offer(&client));
    assert!(matches!(sent, Err(Error::Unsendable(_))), "{sent:?}");
    assert_eq!(reason, "the sending side could not read what it offered");
}

/// A reader that panics, as a faulty program's may.
struct Panics;

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("a fault of the application")
    }
}

#[tokio::test]
async fn a_reader_that_panics_ends_the_transfer_on_both_sides() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (sent, received) =
        transfer(stream(Panics), to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_err());
    assert_eq!(received, Err(Error::PeerRefused("transfer failed".into())));
    assert_eq!(to.names(), Vec::<String>::new());
}

/// A stream without an end, slow enough not to fill a disk. The receiver of the channel learns when it is dropped.
struct Endless(tokio::sync::mpsc::Sender<()>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Fails if nobody waits for the first byte any more.
        let _waiting = self.0.try_send(());
        buffer[0] = b'y';
        Ok(1)
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_not_read_further_when_an_old_client_gives_up() {
    for sender_cancels in [true, false] {
        let (settings, code) = settings().await;
        let (first_byte, mut read) = tokio::sync::mpsc::channel(1);
        let sender = transfer::send(stream(Endless(first_byte)), settings.clone()).unwrap();
        let client = Liar::new(&settings, code);
        client.key().await;
        read.recv().await.unwrap();
        if sender_cancels {
            sender.cancel().await;
            assert_eq!(old_client::reason_without_offer(&client).await, "transfer cancelled");
        } else {
            client.say(json!({ "error": "no time" })).await;
            let (sent, _) = finish(sender, None).await;
            assert_eq!(sent, Err(Error::PeerRefused("no time".into())));
        }
        let dropped = async { while read.recv().await.is_some() {} };
        timeout(PATIENCE, dropped).await.expect("the stream is still being read");
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_not_read_further_when_the_receiver_cancels() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (first_byte, mut read) = tokio::sync::mpsc::channel(1);
    let sender = transfer::send(stream(Endless(first_byte)), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        offer(&mut receiver).await;
        receiver.accept(to.destination(OnExists::Refuse));
        read.recv().await.unwrap();
        receiver.cancel().await;
    };
    let ((sent, _), ()) = tokio::join!(finish(sender, None), receiving);
    assert_eq!(sent, Err(Error::PeerRefused("transfer cancelled".into())));
    let dropped = async { while read.recv().await.is_some() {} };
    timeout(PATIENCE, dropped).await.expect("the stream is still being read");
    assert_eq!(to.names(), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_destination_that_shows_only_when_it_is_flushed_fails_on_both_sides() {
    let (settings, code) = settings().await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let destination = Destination::Writer(Box::new(io::BufWriter::new(full)));
    let (sent, received) =
        transfer(stream(Cursor::new(b"few bytes".to_vec())), destination, settings, code).await;
    let Err(Error::WriteFailed { path, why }) = received else { panic!("{received:?}") };
    assert_eq!((path.as_path(), why.kind), (Path::new("-"), io::ErrorKind::StorageFull));
    assert_eq!(sent, Err(Error::PeerRefused("not enough space on the receiving side".into())));
}
