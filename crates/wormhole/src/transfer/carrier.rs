//! The connection for the data of a transfer. The transfer is independent of its kind: currently always a transit
//! connection ([`BlockingPipe`](crate::transit::blocking::BlockingPipe)).

use std::io;
use std::time::Duration;

use wormhole_magic::transit::{Role, TransitInfo};

use super::driver::{TransferDriver, TransferSession};
use super::{Error, Event};
use crate::transit::{Path, PipeError, Transit};

/// A connection to the peer for whole records in order, in both directions. Used on a thread that may
/// block.
///
/// Bulk data is read directly into the carrier's buffer: fill [`room`](Self::room), [`add`](Self::add) it as one
/// record, and [`flush`](Self::flush) when there is no more room.
pub(crate) trait Carrier: Send + 'static {
    /// Monitors it from other threads.
    type Monitor: CarrierMonitor;

    /// Creates a monitor. Must be called before anything is sent.
    fn monitor(&self) -> io::Result<Self::Monitor>;

    /// Room for the content of another record; `None` when the batch is full.
    fn room(&mut self) -> Option<&mut [u8]>;

    /// Adds the first `length` bytes of the room to the batch as one record.
    fn add(&mut self, length: usize) -> Result<(), PipeError>;

    /// Writes the batch.
    fn flush(&mut self) -> Result<(), PipeError>;

    /// Writes one record.
    fn send(&mut self, record: &[u8]) -> Result<(), PipeError>;

    /// Waits for the next record.
    fn receive(&mut self) -> Result<&[u8], PipeError>;

    /// The next record, if it has already arrived.
    fn try_receive(&mut self) -> Result<Option<&[u8]>, PipeError>;

    /// Waits at most this long for data. Returns whether any arrived.
    fn wait(&mut self, patience: Duration) -> Result<bool, PipeError>;

    /// Closes the connection after everything has been written.
    fn close(self);
}

/// Monitors a carrier from another thread.
pub(crate) trait CarrierMonitor: Send + Sync {
    /// Written bytes that the other end of the connection has not acknowledged; `None` if
    /// unknown.
    fn outstanding(&self) -> Option<u64>;

    /// Time since the other end was last heard, if data is unanswered.
    fn unanswered(&self) -> Option<Duration>;

    /// What has happened to the connection since the last call: an event for the application.
    fn news(&self) -> Option<Event> {
        None
    }

    /// Closes the connection: readers and writers fail at once, on both sides.
    fn abort(&self);
}

/// Connects to the peer with its hints in `peer`, and notifies the session and the
/// application.
///
/// # Errors
/// No connection succeeded, or the application or the peer gave up before.
pub(super) async fn connect<S: TransferSession>(
    driver: &mut TransferDriver<S>,
    transit: Transit,
    role: Role,
    peer: &TransitInfo,
) -> Result<(impl Carrier, Path), Error> {
    let key = driver.transit_key()?;
    let connecting = transit.connect(role, &key, peer);
    let connecting = async { connecting.await.map_err(Error::NoConnection) };
    let pipe = driver.unless_given_up(connecting).await?;
    let path = pipe.path().clone();
    driver.emit(Event::Connected(path.clone())).await?;
    driver.on_connected();
    Ok((pipe.into_blocking().map_err(Error::pipe)?, path))
}
