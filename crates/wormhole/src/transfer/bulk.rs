//! The data phase, on a thread that may block: read, hash, seal, send; and the same in reverse.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wormhole_magic::transfer::{Ack, BadMessage, ReceiverRecord};

use super::hasher::Hasher;
use super::progress::Progress;
use super::sink::{Sink, Written};
use super::source::Source;
use super::{Error, PeerMisbehaved, Unsendable};
use crate::transit::PipeError;
use crate::transit::blocking::{Batch, BlockingPipe};

/// How the receiver knows that it has everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// It counts.
    Counted,
    /// An empty file needs no record, but wormhole-william waits for one: it is sent if the
    /// receiver says nothing. The others might have closed the connection by then.
    EmptyFile,
    /// An empty record follows.
    EmptyRecord,
}

/// Sends everything `source` gives and waits for the receiver to have it. `sent` is called when
/// the last byte is on its way. Returns what did not arrive as it is here.
pub(super) fn send(
    mut pipe: BlockingPipe,
    mut source: Source,
    progress: &Progress,
    ending: Ending,
    sent: impl FnOnce(),
) -> Result<Vec<Unsendable>, Error> {
    let mut hash = Sha256::new();
    let mut batch = Batch::new();
    let mut more = true;
    while more {
        more = fill(&mut pipe, &mut source, &mut batch, &mut hash, progress)?;
        if !batch.is_empty() {
            progress.add(pipe.send(&mut batch).map_err(|error| broken(error, progress))?);
            // Once everything was sent, what comes may be the confirmation: it is awaited below.
            if Some(progress.done()) != progress.total() {
                hear(&mut pipe, progress)?;
            }
        }
    }
    sent();
    let lacks_end = match ending {
        Ending::Counted => false,
        Ending::EmptyRecord => true,
        Ending::EmptyFile => !pipe.wait(PATIENCE).map_err(|error| broken(error, progress))?,
    };
    if lacks_end {
        pipe.send_record(&[]).map_err(|error| broken(error, progress))?;
    }
    let ack = await_ack(&mut pipe, progress)?;
    let ours: [u8; 32] = hash.finalize().into();
    if ack.sha256.is_some_and(|theirs| theirs != ours) {
        return Err(PeerMisbehaved::WrongHash.into());
    }
    pipe.close();
    Ok(source.into_changed())
}

/// Takes in what the receiver has said meanwhile about how much it has, without waiting.
fn hear(pipe: &mut BlockingPipe, progress: &Progress) -> Result<(), Error> {
    if !progress.is_told_by_receiver() {
        return Ok(());
    }
    while let Some(record) = pipe.try_receive().map_err(|error| broken(error, progress))? {
        match ReceiverRecord::decode(record).map_err(PeerMisbehaved::BadAck)? {
            ReceiverRecord::Received(bytes) => progress.set_received(bytes),
            // Nobody has everything before everything was sent.
            ReceiverRecord::Ack(_) => {
                return Err(PeerMisbehaved::BadAck(BadMessage::Field("ack")).into());
            }
        }
    }
    Ok(())
}

/// Waits until the receiver has everything.
fn await_ack(pipe: &mut BlockingPipe, progress: &Progress) -> Result<Ack, Error> {
    loop {
        let record = pipe.receive().map_err(|error| broken(error, progress))?;
        match ReceiverRecord::decode(record).map_err(PeerMisbehaved::BadAck)? {
            ReceiverRecord::Received(bytes) if progress.is_told_by_receiver() => {
                progress.set_received(bytes);
            }
            ReceiverRecord::Received(_) => {
                return Err(PeerMisbehaved::BadAck(BadMessage::Field("ack")).into());
            }
            ReceiverRecord::Ack(ack) => {
                if progress.is_told_by_receiver() {
                    progress.set_received(progress.done());
                }
                return Ok(ack);
            }
        }
    }
}

/// Fills a batch of records. Returns whether there is more.
///
/// A short read ends the batch, so that a slow source is not held up until much has come.
fn fill(
    pipe: &mut BlockingPipe,
    source: &mut Source,
    batch: &mut Batch,
    hash: &mut Sha256,
    progress: &Progress,
) -> Result<bool, Error> {
    while let Some(room) = batch.room() {
        let wanted = room.len();
        let count = source.read(room)?;
        if count == 0 {
            return Ok(false);
        }
        hash.update(room.get(..count).unwrap_or_default());
        pipe.seal(batch, count).map_err(|error| broken(error, progress))?;
        if count < wanted {
            break;
        }
    }
    Ok(true)
}

/// Receives everything into `sink`, gives it its name, and tells the sender so. A sender that wants
/// to know is told from time to time how much is here.
pub(super) fn receive(
    mut pipe: BlockingPipe,
    mut sink: Sink,
    progress: &Progress,
    tells_progress: bool,
) -> Result<Written, Error> {
    let mut hash = Hasher::new();
    let mut told = Instant::now();
    while progress.total() != Some(progress.done()) {
        let record = pipe.receive().map_err(|error| broken(error, progress))?;
        if record.is_empty() && progress.total().is_none() {
            break;
        }
        let sent = progress.done().saturating_add(u64::try_from(record.len()).unwrap_or(u64::MAX));
        if let Some(offered) = progress.total()
            && sent > offered
        {
            return Err(PeerMisbehaved::WrongSize { offered, sent }.into());
        }
        hash.update(record);
        sink.write(record)?;
        progress.add(record.len());
        if tells_progress && told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(&mut pipe, progress);
        }
    }
    if tells_progress {
        tell(&mut pipe, progress);
    }
    let written = sink.complete()?;
    let ack = Ack { sha256: hash.finish() };
    // It is here, whatever becomes of the confirmation.
    let _told = pipe.send_record(&ack.encode());
    pipe.close();
    Ok(written)
}

/// Tells the sender how much is here. A sender that is gone costs nothing that has come: if
/// something is missing, the next attempt to receive it says so.
fn tell(pipe: &mut BlockingPipe, progress: &Progress) {
    let record = ReceiverRecord::Received(progress.done()).encode();
    let _told = pipe.send_record(&record);
}

fn broken(error: PipeError, progress: &Progress) -> Error {
    match error {
        PipeError::Record(bad) => PeerMisbehaved::BadRecord(bad).into(),
        PipeError::Link(_) | PipeError::TooLong(_) => {
            Error::Interrupted { done: progress.done(), total: progress.total() }
        }
    }
}

/// How often a sender is told how much is here.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// How long the receiver of an empty file is given to confirm it unasked.
const PATIENCE: Duration = Duration::from_millis(300);
