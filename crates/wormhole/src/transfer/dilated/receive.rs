//! The receiver: waits for the offer on a stream, and receives the files once the user has accepted it.

use std::time::Instant;

use wormhole_magic::transfer::dilated::{Incoming, Received, SUBPROTOCOL, Violation};
use wormhole_magic::transfer::{Offer, Receiver, ReceiverCommand};

use super::super::data_phase::{CLEAN_UP_TIME, READER_TIME};
use super::super::driver::TransferDriver;
use super::super::sink::Written;
use super::super::{Destination, Error, Event, PeerMisbehaved, Progress, Report, Settings, thread};
use super::carry;
use super::receive_thread::{self, KeptPath};
use super::store::Store;
use crate::dilated::{Listener, Streams, Subchannel};

/// An offer that may arrive over a dilated connection.
pub(in super::super) struct IncomingOffer {
    streams: Streams,
    listener: Listener,
    stream: Option<Subchannel>,
    incoming: Incoming,
}

impl IncomingOffer {
    /// Waits for streams of the sender; `None` if the connection has ended.
    pub(in super::super) fn new(streams: Streams) -> Option<Self> {
        let listener = streams.listen(SUBPROTOCOL).ok()?;
        Some(Self { streams, listener, stream: None, incoming: Incoming::new() })
    }

    /// Waits for the offer; for ever if the connection ends before, because then the offer comes through the mailbox. Dropping
    /// this future loses nothing.
    ///
    /// # Errors
    /// The sender violates the protocol.
    pub(in super::super) async fn offer(&mut self) -> Result<Offer, Error> {
        loop {
            let Some(stream) = &self.stream else {
                match self.listener.accept().await {
                    Ok(stream) => self.stream = Some(stream),
                    Err(_) => std::future::pending().await,
                }
                continue;
            };
            let Ok(Some(bytes)) = stream.read_chunk().await else {
                return std::future::pending().await;
            };
            let received = self.incoming.next(&mut bytes.as_slice());
            match received.map_err(PeerMisbehaved::Dilated)? {
                Some(Received::Offer(offer)) => return Ok(offer),
                None => {}
                // Nothing else is allowed first, except what is only for shared sessions.
                Some(_) => return Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into()),
            }
        }
    }

    /// Ends the connection.
    pub(in super::super) async fn close(self) {
        self.streams.close().await;
    }
}

/// A destination that is ready for the data.
pub(in super::super) struct Prepared {
    pub(in super::super) store: Store,
    /// The frames that accept the offer.
    pub(in super::super) acceptance: Vec<u8>,
    /// Bytes that an earlier attempt has left.
    pub(in super::super) done: u64,
}

/// Prepares a destination on a thread: it may have to look for what an earlier attempt has left, and to hash it.
///
/// # Errors
/// As [`Store::open`].
pub(in super::super) async fn prepare(
    destination: Destination,
    offer: Offer,
    max_entries: Option<u64>,
) -> Result<Prepared, Error> {
    let preparing = thread::start(move || {
        let mut store = Store::open(destination, &offer, max_entries)?;
        let (acceptance, done) = store.acceptance();
        Ok(Prepared { store, acceptance, done })
    });
    preparing.await.unwrap_or(Err(Error::NoThread))
}

/// Receives an offer that the user has accepted.
pub(in super::super) async fn receive(
    driver: &mut TransferDriver<Receiver>,
    from: IncomingOffer,
    offer: &Offer,
    destination: Destination,
    settings: &Settings,
) -> Result<Report, Error> {
    let IncomingOffer { streams, stream, incoming, .. } = from;
    let progress = Progress::of_dilated(offer.unpacked_size());
    let stream = stream.ok_or_else(|| carry::interrupted(&progress))?;
    let prepared = prepare(destination, offer.clone(), settings.max_entries);
    let Prepared { store, acceptance, done } = driver.unless_given_up(prepared).await?;
    driver.command(ReceiverCommand::Accept);
    if let Some(path) = streams.path() {
        driver.emit(Event::Connected(path)).await?;
    }
    if done > 0 {
        driver.emit(Event::Resuming { done, total: progress.total() }).await?;
    }
    let start = Instant::now();
    let path = streams.path();
    let closing_time = if store.is_writer() { READER_TIME } else { CLEAN_UP_TIME };
    let kept = KeptPath::default();
    let (receiving, monitor) = carry::start(stream, streams, {
        let (progress, kept) = (progress.clone(), kept.clone());
        move |line| receive_thread::receive(line, acceptance, incoming, store, &progress, &kept)
    });
    let received = driver.run_data(receiving, &monitor, &progress, None, closing_time).await;
    if let Err(error) = &received {
        driver.tell_peer(error);
    }
    if let Some(path) = kept.take() {
        // The application may be gone.
        let _gone = driver.emit(Event::Kept(path)).await;
    }
    let Written { path: written, omitted, omitted_more, lost } = received?;
    let report = Report::new(progress.done(), start, path);
    Ok(Report { resumed: done, written, omitted, omitted_more, lost, ..report })
}
