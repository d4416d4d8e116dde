//! Runs the data phase on a blocking thread: a sender reads, hashes, encrypts and sends; a receiver does the
//! reverse.
//!
//! The core decides what comes next and what is valid ([`DataSender`], [`DataReceiver`]).

use std::time::Instant;

use wormhole_magic::transfer::{DataError, DataReceiver, DataSender, SendStep};

use super::carrier::Carrier;
use super::hasher::Hasher;
use super::progress::Progress;
use super::sink::{Sink, Written};
use super::source::Source;
use super::{Error, PeerMisbehaved, Unsendable, UnsendableReason};
use crate::transit::PipeError;

/// Sends all data of `source` and waits for the receiver's acknowledgement. Calls `all_sent` after the last byte.
/// Returns the files that changed while they were sent.
pub(super) fn send<C: Carrier>(
    mut carrier: C,
    mut source: Source,
    mut data: DataSender,
    progress: &Progress,
    all_sent: impl FnOnce(),
) -> Result<Vec<Unsendable>, Error> {
    while data.step() == SendStep::SendData {
        send_batch(&mut carrier, &mut source, &mut data, progress)?;
    }
    all_sent();
    loop {
        match data.step() {
            SendStep::SendEnd => send_end(&mut carrier, &mut data, progress)?,
            SendStep::SendEndUnlessReceived(patience) => {
                if carrier.wait(patience).map_err(|error| broken(error, progress))? {
                    receive_record(&mut carrier, &mut data, progress)?;
                } else {
                    send_end(&mut carrier, &mut data, progress)?;
                }
            }
            SendStep::Receive => receive_record(&mut carrier, &mut data, progress)?,
            SendStep::SendData | SendStep::Done => break,
        }
    }
    carrier.close();
    Ok(source.into_changed())
}

/// Sends one batch of records, and handles the receiver's reports that have arrived.
///
/// A short read ends the batch, so that a slow source is not delayed.
fn send_batch(
    carrier: &mut impl Carrier,
    source: &mut Source,
    data: &mut DataSender,
    progress: &Progress,
) -> Result<(), Error> {
    let mut is_end = false;
    while let Some(room) = carrier.room() {
        let wanted = room.len();
        let count = source.read(room)?;
        is_end = count == 0;
        if is_end {
            break;
        }
        let piece = room.get(..count).unwrap_or_default();
        data.on_data(piece).map_err(|error| failed(error, source))?;
        carrier.add(count).map_err(|error| broken(error, progress))?;
        if count < wanted {
            break;
        }
    }
    carrier.flush().map_err(|error| broken(error, progress))?;
    progress.set_done(data.sent());
    if is_end {
        return data.on_source_end().map_err(|error| failed(error, source));
    }
    while data.takes_records_early()
        && let Some(record) = carrier.try_receive().map_err(|error| broken(error, progress))?
    {
        data.on_record(record).map_err(peer_error)?;
        progress.set_received(data.received());
    }
    Ok(())
}

/// Marks the end of the data with an empty record.
fn send_end(
    carrier: &mut impl Carrier,
    data: &mut DataSender,
    progress: &Progress,
) -> Result<(), Error> {
    carrier.send(&[]).map_err(|error| broken(error, progress))?;
    data.on_end_sent();
    Ok(())
}

/// Waits for a record of the receiver.
fn receive_record(
    carrier: &mut impl Carrier,
    data: &mut DataSender,
    progress: &Progress,
) -> Result<(), Error> {
    let record = carrier.receive().map_err(|error| broken(error, progress))?;
    data.on_record(record).map_err(peer_error)?;
    progress.set_received(data.received());
    Ok(())
}

/// Receives everything into `sink`, completes it, and sends the acknowledgement.
pub(super) fn receive<C: Carrier>(
    mut carrier: C,
    mut sink: Sink,
    data: DataReceiver,
    progress: &Progress,
) -> Result<Written, Error> {
    let mut data = data.with_hash(Hasher::new());
    while !data.is_complete() {
        let record = carrier.receive().map_err(|error| broken(error, progress))?;
        data.on_record(record).map_err(peer_error)?;
        sink.write(record)?;
        progress.set_done(data.received());
        report(&mut carrier, &mut data);
    }
    // An empty file has no records.
    report(&mut carrier, &mut data);
    let written = sink.complete()?;
    // The data is complete even if the acknowledgement is lost.
    let _sent = carrier.send(&data.acknowledge());
    carrier.close();
    Ok(written)
}

/// Sends a progress report, if it is due. Errors are ignored: if data is missing, the next attempt to receive it
/// fails.
fn report(carrier: &mut impl Carrier, data: &mut DataReceiver<Hasher>) {
    if let Some(report) = data.report(Instant::now()) {
        let _sent = carrier.send(&report);
    }
}

fn broken(error: PipeError, progress: &Progress) -> Error {
    match error {
        PipeError::Record(bad) => PeerMisbehaved::BadRecord(bad).into(),
        PipeError::Link(_) | PipeError::TooLong(_) => {
            Error::Interrupted { done: progress.done(), total: progress.total() }
        }
    }
}

/// Converts errors of the peer; [`failed`] converts those of our source.
fn peer_error(error: DataError) -> Error {
    match error {
        DataError::BadAck(bad) => PeerMisbehaved::BadAck(bad).into(),
        DataError::WrongHash => PeerMisbehaved::WrongHash.into(),
        DataError::WrongSize { offered, sent } => {
            PeerMisbehaved::WrongSize { offered, sent }.into()
        }
        DataError::SourceTooShort { .. } | DataError::SourceTooLong { .. } => Error::NothingToSend,
    }
}

/// The source has another length than offered.
fn failed(error: DataError, source: &Source) -> Error {
    let why = match error {
        DataError::SourceTooLong { .. } => UnsendableReason::Grew,
        DataError::SourceTooShort { .. } => UnsendableReason::Shrank,
        DataError::BadAck(_) | DataError::WrongHash | DataError::WrongSize { .. } => {
            return peer_error(error);
        }
    };
    Unsendable { path: source.path(), why }.into()
}

#[cfg(test)]
mod tests;
