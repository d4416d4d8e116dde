//! The peer's offers: waits for the user's answer, and receives the files.

use std::time::Instant;

use tokio::sync::oneshot;
use wormhole_magic::transfer::dilated::{Incoming, Received, Violation, frame};

use super::super::dilated::{self, KeptPath, Store};
use super::super::sink::Written;
use super::super::{Destination, Error, Offer, PeerMisbehaved, Progress, Report, thread};
use super::transfers::{Context, tell_peer};
use super::{Event, TransferId};
use crate::dilated::Subchannel;
use crate::transit::Path;

/// The beginning of a stream of the peer.
pub(super) enum Beginning {
    /// An offer, and the reader of what follows.
    Offer(Box<(Offer, Incoming)>),
    /// The peer offers nothing more.
    Finished,
}

/// Reads the beginning of a stream.
///
/// # Errors
/// The stream ended before, or the peer violates the protocol.
pub(super) async fn begin(stream: &Subchannel) -> Result<Beginning, Error> {
    let mut incoming = Incoming::new();
    loop {
        match next(stream, &mut incoming).await? {
            Some(Received::Offer(offer)) => {
                return Ok(Beginning::Offer(Box::new((offer, incoming))));
            }
            Some(Received::Finished) => return Ok(Beginning::Finished),
            None => {}
            Some(_) => return Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into()),
        }
    }
}

/// Reads what comes next, before any data is allowed.
async fn next(
    stream: &Subchannel,
    incoming: &mut Incoming,
) -> Result<Option<Received<'static>>, Error> {
    let bytes = stream.read_chunk().await.ok().flatten().ok_or(Error::PeerGone)?;
    Ok(match incoming.next(&mut bytes.as_slice()).map_err(PeerMisbehaved::Dilated)? {
        Some(Received::Offer(offer)) => Some(Received::Offer(offer)),
        Some(Received::Finished) => Some(Received::Finished),
        Some(Received::Failed(reason)) => return Err(Error::PeerRefused(reason)),
        None => None,
        Some(_) => return Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into()),
    })
}

/// An offer that waits for the user's answer.
pub(super) struct OpenOffer {
    pub(super) offer: Offer,
    pub(super) incoming: Incoming,
    pub(super) answer: oneshot::Receiver<Option<Destination>>,
    pub(super) path: Option<Path>,
    pub(super) max_entries: Option<u64>,
}

/// Reports an offer, waits for the answer, and receives the files.
pub(super) async fn receive(
    mut context: Context,
    stream: Subchannel,
    open: OpenOffer,
) -> TransferId {
    let (id, kept) = (context.id, KeptPath::default());
    context.emit(Event::Offered { id, offer: open.offer.clone() }).await;
    let outcome = answer_and_receive(&mut context, &stream, open, &kept).await;
    if let Err(error) = &outcome {
        tell_peer(&stream, error, frame::refused).await;
    }
    context
        .emit(match outcome {
            Ok(report) => Event::Done { id, report },
            Err(error) => Event::Failed { id, error, kept: kept.take() },
        })
        .await;
    id
}

async fn answer_and_receive(
    context: &mut Context,
    stream: &Subchannel,
    open: OpenOffer,
    kept: &KeptPath,
) -> Result<Report, Error> {
    let OpenOffer { offer, mut incoming, answer, path, max_entries } = open;
    let id = context.id;
    let answered = async {
        tokio::select! {
            answer = answer => Ok(answer.ok().flatten()),
            // Before the offer is accepted, the sender can only withdraw it.
            withdrawn = withdrawn(stream, &mut incoming) => Err(withdrawn),
        }
    };
    let destination = context.unless_cancelled(answered).await?.ok_or(Error::Rejected)?;
    let progress = Progress::of_dilated(offer.unpacked_size());
    let store = Store::open(destination, &offer, max_entries)?;
    // It may have to hash what an earlier attempt has left.
    let checking = thread::start(move || {
        let mut store = store;
        let acceptance = store.acceptance();
        Ok((store, acceptance))
    });
    let checked = async { checking.await.unwrap_or(Err(Error::NoThread)) };
    let (store, (acceptance, done)) = context.unless_cancelled(checked).await?;
    if done > 0 {
        context.emit(Event::Resuming { id, done, total: progress.total() }).await;
    }
    let start = Instant::now();
    let (working, keeping) = (progress.clone(), kept.clone());
    let written = context.run(stream, &progress, move |line| {
        dilated::receive_all(line, acceptance, incoming, store, &working, &keeping)
    });
    let Written { path: written, omitted, omitted_more, lost } = written.await?;
    let report = Report::new(progress.done(), start, path);
    Ok(Report { written, omitted, omitted_more, lost, ..report })
}

/// Waits until the sender withdraws its offer.
async fn withdrawn(stream: &Subchannel, incoming: &mut Incoming) -> Error {
    loop {
        match next(stream, incoming).await {
            Ok(None) => {}
            Ok(Some(_)) => return PeerMisbehaved::Dilated(Violation::OutOfOrder).into(),
            Err(error) => return error,
        }
    }
}
