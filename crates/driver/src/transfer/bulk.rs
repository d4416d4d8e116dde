//! The data phase, on a thread that may block: read, hash, seal, send, and the same in reverse.

use std::io::Read;
use std::time::Instant;

use sha2::{Digest, Sha256};
use wormhole_magic::transfer::Ack;

use super::session::Progress;
use super::sink::Sink;
use super::source::Source;
use super::{Error, PeerMisbehaved};
use crate::net::LinkFailure;
use crate::transit::PipeError;
use crate::transit::blocking::{Batch, BlockingPipe};

/// Sends everything `source` gives and waits for the receiver to have it. `sent` is called when
/// the last byte is on its way.
pub(super) fn send(
    mut pipe: BlockingPipe,
    source: &mut Source,
    progress: &Progress,
    sent: impl FnOnce(),
) -> Result<(), Error> {
    let mut hash = Sha256::new();
    let mut batch = Batch::new();
    loop {
        let more = fill(&mut pipe, source, &mut batch, &mut hash)?;
        if !batch.is_empty() {
            let count = pipe.send(&mut batch).map_err(|error| broken(error, progress))?;
            progress.add(count);
        }
        if !more {
            break;
        }
    }
    source.finish(progress.done())?;
    if progress.total().is_none() {
        // A stream ends with an empty record.
        pipe.send_record(&[]).map_err(|error| broken(error, progress))?;
    }
    sent();
    let ack = pipe.receive().map_err(|error| broken(error, progress))?;
    let ack = Ack::decode(ack).map_err(|bad| Error::from(PeerMisbehaved::BadAck(bad)))?;
    if ack.sha256.is_some_and(|theirs| theirs != <[u8; 32]>::from(hash.finalize())) {
        return Err(PeerMisbehaved::WrongHash.into());
    }
    pipe.close();
    Ok(())
}

/// Fills a batch of records. Returns whether there is more.
///
/// A short read ends the batch, so that a slow source is not held up until much has come.
fn fill(
    pipe: &mut BlockingPipe,
    source: &mut Source,
    batch: &mut Batch,
    hash: &mut Sha256,
) -> Result<bool, Error> {
    while let Some(room) = batch.room() {
        let (wanted, count) = (room.len(), source.read(room)?);
        if count == 0 {
            return Ok(false);
        }
        hash.update(room.get(..count).unwrap_or_default());
        pipe.seal(batch, count).map_err(|error| Error::NoConnection(error.into()))?;
        if count < wanted {
            break;
        }
    }
    Ok(true)
}
