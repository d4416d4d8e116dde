//! Receives a file that somebody has offered, and that is accepted.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wormhole_chat::{DirectAnswer, DirectOffer};

use super::storage::Places;
use super::{CONNECT_TIME, FileName, SILENCE, WHOLE};
use crate::chat::attachment::Partial;
use crate::net::LinkFailure;
use crate::transit::{Pipe, PipeError, Role, Settings, Transit, TransitInfo, TransitKey};

/// An offer that is accepted.
#[derive(Debug)]
pub(in crate::chat) struct Accepted {
    pub(in crate::chat) offer: DirectOffer,
    pub(in crate::chat) transit: Settings,
    /// The folder of the sender's files.
    pub(in crate::chat) folder: PathBuf,
    /// Takes the answer.
    pub(in crate::chat) answer: oneshot::Sender<DirectAnswer>,
}

/// Answers an offer and receives the file. What has arrived stays if the connection is lost, also if this is dropped.
pub(in crate::chat) async fn receive(accepted: Accepted) {
    let Accepted { offer, transit, folder, answer } = accepted;
    // The sender notices a failure, and tries again or uses the service.
    let _received = attempt(offer, transit, &folder, answer).await;
}

/// Why a file did not arrive. What has arrived stays, unless it is wrong.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error("no connection")]
    NotConnected,
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error("the sender sends something else than it has offered")]
    Wrong,
}

async fn attempt(
    offer: DirectOffer,
    settings: Settings,
    folder: &Path,
    answer: oneshot::Sender<DirectAnswer>,
) -> Result<(), ReceiveError> {
    let name = FileName(offer.file);
    let (places, length) = (Places::new(folder, name), offer.length);
    let opened = spawn_blocking(move || Incoming::open(places, length)).await;
    let incoming = opened.map_err(io::Error::other)??;
    let hints: Value = serde_json::from_str(&offer.hints).map_err(|_| ReceiveError::Wrong)?;
    let peer = TransitInfo::decode(&hints);
    let transit = Transit::new(settings).map_err(|_| ReceiveError::NotConnected)?;
    let hints = Some(transit.info().encode().to_string());
    let offset = incoming.len();
    if answer.send(DirectAnswer { id: offer.id, hints, offset }).is_err() {
        return Err(ReceiveError::NotConnected);
    }
    let key = TransitKey::new(offer.secret);
    let connected = timeout(CONNECT_TIME, transit.connect(Role::Receiver, &key, &peer)).await;
    let mut pipe = connected
        .map_err(|_| ReceiveError::NotConnected)?
        .map_err(|_| ReceiveError::NotConnected)?;
    take(&mut pipe, incoming).await?;
    pipe.send_record(WHOLE).await?;
    pipe.close().await;
    Ok(())
}

/// A file that is arriving.
struct Incoming {
    places: Places,
    /// `None` until the first bytes arrive: an offer alone leaves nothing on the disk.
    partial: Option<Partial>,
    /// Of what has arrived.
    digest: Sha256,
    length: u64,
}

impl Incoming {
    /// Opens the part that an earlier transfer has left, or an empty one.
    fn open(places: Places, length: u64) -> io::Result<Self> {
        let mut partial = places.open()?;
        if let Some(useless) = partial.take_if(|partial| partial.len() > length) {
            useless.remove();
        }
        let mut digest = Sha256::new();
        if let Some(partial) = &mut partial {
            partial.read(|piece| {
                digest.update(piece);
                io::Result::Ok(())
            })?;
        }
        Ok(Self { places, partial, digest, length })
    }

    fn len(&self) -> u64 {
        self.partial.as_ref().map_or(0, Partial::len)
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), ReceiveError> {
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.len().saturating_add(bytes) > self.length {
            return Err(ReceiveError::Wrong);
        }
        let partial = match &mut self.partial {
            Some(partial) => partial,
            none => none.insert(self.places.create()?),
        };
        partial.append(piece)?;
        self.digest.update(piece);
        Ok(())
    }

    /// Checks the whole file, and brings it to the disk.
    fn finish(self, digest: &[u8]) -> Result<(), ReceiveError> {
        let Some(partial) = self.partial else { return Err(ReceiveError::Wrong) };
        let found: [u8; 32] = self.digest.finalize().into();
        if digest != found.as_slice() {
            // Perhaps a power failure has damaged it: the next transfer begins with nothing.
            partial.remove();
            return Err(ReceiveError::Wrong);
        }
        Ok(partial.finish(&self.places.whole)?)
    }
}

/// Reads all records. A thread writes them, so that the disk and the network work at the same time.
async fn take(pipe: &mut Pipe, mut incoming: Incoming) -> Result<(), ReceiveError> {
    let mut left = incoming.length.saturating_sub(incoming.len());
    let (records, mut receiver) = mpsc::channel::<Vec<u8>>(RECORDS);
    let writing = spawn_blocking(move || {
        while let Some(record) = receiver.blocking_recv() {
            if incoming.len() < incoming.length {
                incoming.append(&record)?;
            } else {
                return incoming.finish(&record);
            }
        }
        Err(ReceiveError::NotConnected)
    });
    loop {
        let record = timeout(SILENCE, pipe.receive_record()).await;
        let record = record.map_err(|_| PipeError::Link(LinkFailure::TimedOut));
        let record = match record.and_then(|record| record) {
            Ok(record) => record,
            Err(error) => {
                drop(records);
                let _written = writing.await;
                return Err(error.into());
            }
        };
        let is_last = left == 0;
        left = left.saturating_sub(u64::try_from(record.len()).unwrap_or(u64::MAX));
        if record.len() > MAX_RECORD {
            return Err(ReceiveError::Wrong);
        }
        // If the thread has ended, its result says why.
        if record.is_empty() || records.send(record).await.is_err() || is_last {
            break;
        }
    }
    drop(records);
    writing.await.map_err(io::Error::other)?
}

/// Records between the connection and the thread.
const RECORDS: usize = 8;

/// Longest record, in bytes.
const MAX_RECORD: usize = 256 << 10;
