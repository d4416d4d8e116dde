//! The end of a transfer: what is reported while data moves, and when the sender may call it a success.

use std::io::{self, Cursor};
use std::os::unix::fs::PermissionsExt;

use wormhole::transfer::{self, CodeSource};

use super::*;
use crate::held::{Operation, accept_first_byte, fed, held};

/// Waits for the next event that is progress, the wait for the confirmation, or the result.
async fn next_of_interest(transfer: &mut Transfer) -> Event {
    loop {
        let next = timeout(PATIENCE, transfer.next()).await.expect("the transfer is stuck");
        let event = next.unwrap().unwrap();
        let is_of_interest =
            matches!(event, Event::Progress { .. } | Event::AwaitingConfirmation | Event::Done(_));
        if is_of_interest {
            return event;
        }
    }
}

#[tokio::test]
async fn a_sender_succeeds_only_after_the_receivers_writer_is_flushed() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let file = from.file("a", b"contents");
    let (mut holder, destination) = held(Operation::Flush);
    let mut sender = transfer::send(path(&file), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let sending = async {
        holder.until_reached().await;
        // All data has arrived. The sender reports that, and waits.
        while !matches!(next_of_interest(&mut sender).await, Event::AwaitingConfirmation) {}
        assert!(!holder.is_flushed());
        holder.release();
        let event = next_of_interest(&mut sender).await;
        assert!(matches!(event, Event::Done(_)), "{event:?}");
        assert!(holder.is_flushed());
    };
    let ((received, _), ()) = tokio::join!(finish(receiver, Some(destination)), sending);
    assert!(received.is_ok());
    assert_eq!(holder.contents(), b"contents");
}

#[tokio::test]
async fn everything_has_its_final_name_and_mode_when_the_sender_succeeds() {
    let from = Folder::new();
    from.file("tree/sub/a", b"contents");
    for (name, file) in [("tree", "tree/sub/a"), ("a", "a")] {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let what =
            if name == "tree" { from.path().join("tree") } else { from.path().join("tree/sub/a") };
        let sender = transfer::send(path(&what), settings.clone()).unwrap();
        let receiver = transfer::receive(CodeSource::Code(code), settings);
        let sending = async {
            assert!(finish(sender, None).await.0.is_ok());
            assert_eq!(to.names(), [name]);
            let arrived = to.path().join(file);
            assert_eq!(std::fs::read(&arrived).unwrap(), b"contents");
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&arrived), mode(&from.path().join("tree/sub/a")));
        };
        let destination = to.destination(OnExists::Refuse);
        let ((received, _), ()) = tokio::join!(finish(receiver, Some(destination)), sending);
        assert!(received.is_ok());
    }
}

#[tokio::test]
async fn a_sender_reports_no_bytes_that_the_receiver_has_not_written() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    // The systems on both sides hold that much, so the sender has written everything long before.
    let file = from.file("a", &[7; 100_000]);
    let (mut holder, destination) = held(Operation::Write);
    let mut sender = transfer::send(path(&file), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let sending = async {
        holder.until_reached().await;
        for _ in 0..3 {
            let event = next_of_interest(&mut sender).await;
            assert!(matches!(event, Event::Progress { done: 0, .. }), "{event:?}");
        }
        holder.release();
        let mut last = 0;
        loop {
            match next_of_interest(&mut sender).await {
                Event::Progress { done, .. } => last = done,
                Event::AwaitingConfirmation => assert_eq!(last, 100_000),
                other => return other,
            }
        }
    };
    let ((received, _), last) = tokio::join!(finish(receiver, Some(destination)), sending);
    assert!(received.is_ok());
    assert!(matches!(last, Event::Done(_)), "{last:?}");
}

/// The bytes of all progress events, and their totals.
fn reports(events: &[Event]) -> Vec<(u64, Option<u64>)> {
    let report = |event: &Event| match event {
        Event::Progress { done, total } => Some((*done, *total)),
        _ => None,
    };
    events.iter().filter_map(report).collect()
}

#[tokio::test]
async fn progress_never_goes_back_and_ends_at_the_number_of_bytes_in_the_report() {
    let from = Folder::new();
    from.file("tree/a", &[1; 700_000]);
    from.file("tree/b", b"");
    let stream =
        Outgoing::Stream { name: "s".into(), reader: Box::new(Cursor::new(vec![2; 500_000])) };
    for what in [
        path(&from.path().join("tree/a")),
        path(&from.path().join("tree/b")),
        path(&from.path().join("tree")),
        stream,
    ] {
        let (settings, code) = settings().await;
        let to = Folder::new();
        let sender = transfer::send(what, settings.clone()).unwrap();
        let is_stream = matches!(sender.offer(), Some(Offer::Stream { .. }));
        let receiver = transfer::receive(CodeSource::Code(code), settings);
        let destination = to.destination(OnExists::Refuse);
        let ((sent, sender_events), (received, receiver_events)) =
            tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
        let bytes = sent.unwrap().bytes;
        assert_eq!(received.unwrap().bytes, bytes);
        for events in [&sender_events, &receiver_events] {
            let reports = reports(events);
            assert!(reports.is_sorted(), "{reports:?}");
            let total = (!is_stream).then_some(bytes);
            assert_eq!(reports.last(), Some(&(bytes, total)));
            assert!(reports.iter().all(|report| report.1 == total), "{reports:?}");
        }
        let waits = |event: &&Event| matches!(event, Event::AwaitingConfirmation);
        assert_eq!(sender_events.iter().filter(waits).count(), 1);
        assert!(matches!(sender_events.last(), Some(Event::AwaitingConfirmation)));
        assert_eq!(receiver_events.iter().filter(waits).count(), 0);
    }
}

#[tokio::test]
async fn the_receiver_sees_the_beginning_of_a_stream_before_its_end() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let (feeder, what) = fed("s");
    let mut sender = transfer::send(what, settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        accept_first_byte(&mut receiver, &feeder, to.destination(OnExists::Refuse)).await;
        assert_eq!(std::fs::read(to.path().join("s.part")).unwrap(), b"x");
        feeder.feed(b"yz");
        progress(&mut receiver, 3).await;
        assert_eq!(std::fs::read(to.path().join("s.part")).unwrap(), b"xyz");
        drop(feeder);
        finish(receiver, None).await.0
    };
    let sending = async { while !matches!(next_of_interest(&mut sender).await, Event::Done(_)) {} };
    let (received, ()) = tokio::join!(receiving, sending);
    assert_eq!(received.unwrap().bytes, 3);
    assert_eq!(to.names(), ["s"]);
}

/// A writer that accepts everything and then cannot keep it.
struct CannotFlush;

impl io::Write for CannotFlush {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[tokio::test]
async fn a_writer_that_cannot_be_flushed_is_an_error_on_both_sides_even_for_no_bytes() {
    let from = Folder::new();
    for contents in [&b""[..], b"contents"] {
        let (settings, code) = settings().await;
        let file = from.file("a", contents);
        let destination = Destination::Writer(Box::new(CannotFlush));
        let (sent, received) = transfer(path(&file), destination, settings, code).await;
        let Err(Error::WriteFailed { why, .. }) = received else { panic!("{received:?}") };
        assert_eq!(why.kind, io::ErrorKind::BrokenPipe);
        let reason = "the receiving side could not write the file";
        assert_eq!(sent, Err(Error::PeerRefused(reason.into())));
    }
}
