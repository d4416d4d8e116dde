//! The peer's offers: waits for the user's answer, and receives the files.

use std::time::Instant;

use tokio::sync::oneshot;
use wormhole_magic::transfer::dilated::{Incoming, Received, Violation, frame};

use super::super::dilated::{self, KeptPath, Prepared};
use super::super::sink::Written;
use super::super::{Destination, Error, Offer, PeerMisbehaved, Progress, Report};
use super::Event;
use super::transfers::{TransferContext, report_failure};
use crate::dilated::Subchannel;
use crate::transit::Path;

/// The first frame of a stream of the peer.
pub(super) enum FirstFrame {
    /// An offer, and the reader of what follows.
    Offer(Box<(Offer, Frames)>),
    /// The peer offers nothing more.
    Finished,
}

/// What a stream of the peer has brought: its decoder, and bytes that were not decoded yet.
pub(super) struct Frames {
    incoming: Incoming,
    rest: Vec<u8>,
}

/// Reads the first frame of a stream.
///
/// # Errors
/// The stream ended before, or the peer violates the protocol.
pub(super) async fn read_first_frame(stream: &Subchannel) -> Result<FirstFrame, Error> {
    let mut frames = Frames { incoming: Incoming::new(), rest: Vec::new() };
    loop {
        match frames.next(stream).await? {
            Some(Received::Offer(offer)) => {
                return Ok(FirstFrame::Offer(Box::new((offer, frames))));
            }
            Some(Received::Finished) => return Ok(FirstFrame::Finished),
            None => {}
            Some(_) => return Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into()),
        }
    }
}

impl Frames {
    /// Reads what comes next, before any data is allowed. Cancelling loses nothing.
    async fn next(&mut self, stream: &Subchannel) -> Result<Option<Received<'static>>, Error> {
        if self.rest.is_empty() {
            let bytes = stream.read_chunk().await.ok().flatten().ok_or(Error::PeerGone)?;
            self.rest = bytes.to_vec();
        }
        let mut input = self.rest.as_slice();
        let received = match self.incoming.next(&mut input).map_err(PeerMisbehaved::Dilated)? {
            Some(Received::Offer(offer)) => Some(Received::Offer(offer)),
            Some(Received::Finished) => Some(Received::Finished),
            Some(Received::Failed(reason)) => return Err(Error::PeerRefused(reason)),
            None => None,
            Some(_) => return Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into()),
        };
        self.rest = input.to_vec();
        Ok(received)
    }
}

/// An offer that waits for the user's answer.
pub(super) struct OpenOffer {
    pub(super) offer: Offer,
    pub(super) frames: Frames,
    pub(super) answer: oneshot::Receiver<Option<Destination>>,
    pub(super) path: Option<Path>,
    pub(super) max_entries: Option<u64>,
}

/// Reports an offer, waits for the answer, and receives the files. Returns whether the sender has broken it off.
pub(super) async fn receive(
    mut context: TransferContext,
    stream: Subchannel,
    open: OpenOffer,
) -> bool {
    let (id, kept) = (context.id, KeptPath::default());
    context.emit(Event::Offered { id, offer: open.offer.clone() }).await;
    let outcome = answer_and_receive(&mut context, &stream, open, &kept).await;
    if let Err(error) = &outcome {
        report_failure(&stream, error, frame::refused).await;
    }
    let is_broken_off = matches!(&outcome, Err(error) if !is_our_decision(error));
    context
        .emit(match outcome {
            Ok(report) => Event::Done { id, report },
            Err(error) => Event::Failed { id, error, kept: kept.take() },
        })
        .await;
    is_broken_off
}

/// Whether a transfer failed on this side.
const fn is_our_decision(error: &Error) -> bool {
    matches!(
        error,
        Error::Rejected
            | Error::Cancelled
            | Error::Exists(_)
            | Error::NoSpace { .. }
            | Error::NoThread
            | Error::TooManyEntries(_)
            | Error::TooManyFolders(_)
            | Error::WriteFailed { .. }
    )
}

async fn answer_and_receive(
    context: &mut TransferContext,
    stream: &Subchannel,
    open: OpenOffer,
    kept: &KeptPath,
) -> Result<Report, Error> {
    let OpenOffer { offer, mut frames, answer, path, max_entries } = open;
    let id = context.id;
    let answered = async {
        tokio::select! {
            biased;
            // Before the offer is accepted, the sender can only withdraw it.
            withdrawn = withdrawn(stream, &mut frames) => Err(withdrawn),
            answer = answer => Ok(answer.ok().flatten()),
        }
    };
    let destination = context.unless_cancelled(answered).await?.ok_or(Error::Rejected)?;
    let progress = Progress::of_dilated(offer.unpacked_size());
    let prepared = async {
        tokio::select! {
            biased;
            // Also if the connection ends: reading what an earlier attempt has left can take minutes.
            withdrawn = withdrawn(stream, &mut frames) => Err(withdrawn),
            prepared = dilated::prepare(destination, offer, max_entries) => prepared,
        }
    };
    let Prepared { store, acceptance, done } = context.unless_cancelled(prepared).await?;
    if done > 0 {
        context.emit(Event::Resuming { id, done, total: progress.total() }).await;
    }
    let start = Instant::now();
    let (working, keeping) = (progress.clone(), kept.clone());
    let written = context.run(stream, &progress, move |line| {
        dilated::receive_all(line, acceptance, frames.incoming, store, &working, &keeping)
    });
    let Written { path: written, omitted, omitted_more, lost } = written.await?;
    let report = Report::new(progress.done(), start, path);
    Ok(Report { resumed: done, written, omitted, omitted_more, lost, ..report })
}

/// Sends why an offer is refused without asking the user.
pub(super) async fn refuse(stream: &Subchannel, reason: &str) {
    let mut bytes = Vec::new();
    frame::refused(&mut bytes, reason);
    // A connection that has ended carries nothing.
    let _lost = stream.write_chunk(bytes).await;
}

/// Waits until the sender withdraws its offer.
async fn withdrawn(stream: &Subchannel, frames: &mut Frames) -> Error {
    loop {
        match frames.next(stream).await {
            Ok(None) => {}
            Ok(Some(_)) => return PeerMisbehaved::Dilated(Violation::OutOfOrder).into(),
            Err(error) => return error,
        }
    }
}
