//! The receiver's thread: reads frames, and writes what they contain.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wormhole_magic::transfer::dilated::{Incoming, Received, frame};

use super::super::sink::Written;
use super::super::{Error, PeerMisbehaved, Progress};
use super::carry::Line;
use super::store::Store;

/// Where the thread leaves what is kept for a later attempt, after it failed.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct KeptPath(Arc<Mutex<Option<PathBuf>>>);

impl KeptPath {
    /// What is kept, if anything.
    pub(in super::super) fn take(&self) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, path: Option<PathBuf>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }
}

/// Receives everything and stores it. `acceptance` are the frames that accept the offer.
pub(in super::super) fn receive(
    mut line: Line,
    acceptance: Vec<u8>,
    mut incoming: Incoming,
    mut store: Store,
    progress: &Progress,
    kept: &KeptPath,
) -> Result<Written, Error> {
    incoming.accept();
    let received = line
        .send(acceptance, progress)
        .and_then(|()| receive_all(&mut line, &mut incoming, &mut store, progress));
    if let Err(error) = received {
        kept.set(store.fail(&error));
        return Err(error);
    }
    let written = store.complete()?;
    let mut stored = Vec::new();
    frame::stored(&mut stored);
    // It is complete even if the sender does not learn that.
    let _sent = line.send(stored, progress);
    Ok(written)
}

fn receive_all(
    line: &mut Line,
    incoming: &mut Incoming,
    store: &mut Store,
    progress: &Progress,
) -> Result<(), Error> {
    let mut reported = Instant::now();
    loop {
        let bytes = line.receive(progress)?;
        let mut input = bytes.as_slice();
        let mut is_end = false;
        while let Some(received) = incoming.next(&mut input).map_err(PeerMisbehaved::Dilated)? {
            is_end = received == Received::End;
            store.on_received(received)?;
        }
        progress.set_done(store.received());
        if is_end || reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            let mut report = Vec::new();
            frame::received(&mut report, store.received());
            line.send(report, progress)?;
        }
        if is_end {
            return Ok(());
        }
    }
}

/// Time between two reports to the sender.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
