//! What the data of a transfer travels on. The transfer does not know what that is: today it is always
//! a transit connection ([`BlockingPipe`](crate::transit::blocking::BlockingPipe)).

use std::io;
use std::time::Duration;

use wormhole_magic::transit::{Role, TransitInfo};

use super::driver::{TransferDriver, TransferSession};
use super::{Error, Event};
use crate::transit::{Path, PipeError, Transit};

/// A connection to the peer that carries whole records in order, in both directions. It is used on a
/// thread that may block.
///
/// Bulk data is read straight into the carrier's buffer: fill [`room`](Self::room),
/// [`add`](Self::add) it as one record, and [`flush`](Self::flush) when the room is used up.
pub(crate) trait Carrier: Send + 'static {
    /// What watches it from other threads.
    type Monitor: CarrierMonitor;

    /// A monitor. Must be called before anything is sent.
    fn monitor(&self) -> io::Result<Self::Monitor>;

    /// Room for the content of one more record; `None` when the batch is full.
    fn room(&mut self) -> Option<&mut [u8]>;

    /// Adds the first `length` bytes of the room to the batch as one record.
    fn add(&mut self, length: usize) -> Result<(), PipeError>;

    /// Writes the batch.
    fn flush(&mut self) -> Result<(), PipeError>;

    /// Writes one record.
    fn send(&mut self, record: &[u8]) -> Result<(), PipeError>;

    /// Waits for the next record.
    fn receive(&mut self) -> Result<&[u8], PipeError>;

    /// The next record if it has arrived already.
    fn try_receive(&mut self) -> Result<Option<&[u8]>, PipeError>;

    /// Waits until something arrives, for this long at most. Returns whether it did.
    fn wait(&mut self, patience: Duration) -> Result<bool, PipeError>;

    /// Closes the connection once everything was written.
    fn close(self);
}

/// Watches a carrier from another thread.
pub(crate) trait CarrierMonitor: Send + Sync {
    /// Bytes written that the other end of the connection has not acknowledged; `None` if the system
    /// does not tell.
    fn outstanding(&self) -> Option<u64>;

    /// Time since the other end was last heard of, if something waits for its answer.
    fn unanswered(&self) -> Option<Duration>;

    /// Breaks the connection: whoever reads or writes it gets an error at once, on both sides.
    fn abort(&self);
}

/// Connects to the peer over transit, which the peer has described in `peer`, and tells the session and
/// the application.
///
/// # Errors
/// No connection can be made, or the application or the peer gave up before.
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
