//! What both directions have in common: runs a thread with a stream, and reports to the application.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use wormhole_magic::transfer::dilated::frame;

use super::super::data_phase::CLEAN_UP_TIME;
use super::super::dilated::Line;
use super::super::error::REJECTED;
use super::super::{Error, Event as TransferEvent, Progress, dilated};
use super::{Error as ShareError, Event, TransferId};
use crate::dilated::Subchannel;

/// The application's events.
pub(super) type Events = mpsc::Sender<Result<Event, ShareError>>;

/// A transfer of a session: its number, where it reports, and when it is cancelled.
pub(super) struct TransferContext {
    pub(super) id: TransferId,
    pub(super) events: Events,
    pub(super) cancelled: oneshot::Receiver<()>,
}

impl TransferContext {
    /// Reports an event. Does nothing if the application is gone.
    pub(super) async fn emit(&self, event: Event) {
        let _gone = self.events.send(Ok(event)).await;
    }

    /// Waits for `work`, unless the transfer is cancelled.
    pub(super) async fn unless_cancelled<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            outcome = work => outcome,
            () = wait_for(&mut self.cancelled) => Err(Error::Cancelled),
        }
    }

    /// Runs a thread with the stream until it ends or the transfer is cancelled. Reports progress.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        stream: &Subchannel,
        progress: &Progress,
        work: impl FnOnce(Line) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (ended, carrying) = dilated::run(stream, work);
        let gave_up = {
            tokio::pin!(carrying);
            let mut tick = interval(PROGRESS_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut shown = None;
            loop {
                tokio::select! {
                    () = &mut carrying => break false,
                    () = wait_for(&mut self.cancelled) => break true,
                    _ = tick.tick() => self.report(progress, &mut shown),
                }
            }
        };
        // A thread that waits for the connection has noticed its end.
        let outcome = timeout(CLEAN_UP_TIME, ended).await;
        let outcome = match outcome {
            Ok(ended) => ended.unwrap_or(Err(Error::NoThread)),
            Err(_) => Err(Error::Stopped),
        };
        match outcome {
            Ok(done) => {
                self.report(progress, &mut None);
                Ok(done)
            }
            Err(_) if gave_up => Err(Error::Cancelled),
            Err(error) => Err(error),
        }
    }

    /// Reports progress, if there is any and the application has room.
    fn report(&self, progress: &Progress, shown: &mut Option<u64>) {
        let TransferEvent::Progress { done, total } = progress.event(0) else { return };
        if shown.replace(done) != Some(done) {
            let _full = self.events.try_send(Ok(Event::Progress { id: self.id, done, total }));
        }
    }
}

/// Waits until the transfer is cancelled, or the session has ended. Only once.
async fn wait_for(cancelled: &mut oneshot::Receiver<()>) {
    let _either = cancelled.await;
}

/// Sends the reason of a failure to the peer, unless the peer knows it.
pub(super) async fn report_failure(
    stream: &Subchannel,
    error: &Error,
    append: fn(&mut Vec<u8>, &str),
) {
    let reason = if *error == Error::Rejected {
        Some(REJECTED.to_owned())
    } else {
        // Nothing can be sent over a connection that has ended.
        error.reply().filter(|_| !matches!(error, Error::Interrupted { .. }))
    };
    if let Some(reason) = reason {
        let mut bytes = Vec::new();
        append(&mut bytes, &reason);
        // A connection that has ended carries nothing.
        let _lost = timeout(REPORT_TIME, stream.write_chunk(bytes)).await;
    }
}

/// Sends the frame which means that nothing more is offered.
pub(super) async fn send_finished(stream: Subchannel) {
    let mut bytes = Vec::new();
    frame::finished(&mut bytes);
    let _lost = stream.write_chunk(bytes).await;
}

/// Time between two progress events of a transfer.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long to wait until a reason can be sent.
const REPORT_TIME: Duration = Duration::from_secs(2);
