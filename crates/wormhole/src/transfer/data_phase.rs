//! Runs a data thread: reports progress to the application, and ends the transfer when the application, the peer or
//! the network gives up.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::carrier::CarrierMonitor;
use super::driver::{TransferDriver, TransferSession};
use super::progress::Progress;
use super::thread::Outcome;
use super::{Error, Event};

impl<S: TransferSession> TransferDriver<S> {
    /// Waits for a data thread and reports progress. If the application or the peer gives up, or the future is dropped,
    /// the connection is closed; after that, the thread has `closing_time` to end. A sender's thread reports through
    /// `all_sent`.
    pub(super) async fn run_data<T>(
        &mut self,
        mut thread: Outcome<T>,
        monitor: &impl CarrierMonitor,
        progress: &Progress,
        mut all_sent: Option<oneshot::Receiver<()>>,
        closing_time: Duration,
    ) -> Result<T, Error> {
        let connection = AbortOnDrop(monitor);
        let mut stage = Stage::Moving;
        let mut tick = interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut silence = Silence::default();
        let mut looked = Instant::now();
        let gave_up = loop {
            tokio::select! {
                // A fast receiver may confirm at once: keep the order.
                biased;
                () = notified(&mut all_sent) => stage = Stage::AllWritten,
                outcome = &mut thread => {
                    let outcome = outcome.unwrap_or(Err(Error::NoThread));
                    if outcome.is_ok() {
                        self.report_arrival(progress, stage).await?;
                    }
                    return self.explain(outcome).await;
                }
                error = self.given_up() => break error,
                _ = tick.tick() => {
                    if let Some(event) = monitor.news() {
                        self.emit(event).await?;
                    }
                    stage = self.report_progress(monitor, progress, stage).await?;
                    let now = Instant::now();
                    let elapsed = now - std::mem::replace(&mut looked, now);
                    if silence.is_final(monitor.unanswered(), elapsed) {
                        let (done, total) = (progress.done(), progress.total());
                        break Error::Interrupted { done, total };
                    }
                }
            }
        };
        drop(connection);
        self.tell_peer(&gave_up);
        let _outcome = timeout(closing_time, thread).await;
        Err(gave_up)
    }

    /// Reports progress to the application; returns the stage.
    async fn report_progress(
        &mut self,
        monitor: &impl CarrierMonitor,
        progress: &Progress,
        stage: Stage,
    ) -> Result<Stage, Error> {
        let outstanding = monitor.outstanding().unwrap_or(0);
        if stage == Stage::AllWritten && progress.has_arrived(outstanding) {
            self.report_arrival(progress, stage).await?;
            return Ok(Stage::AllArrived);
        }
        if stage != Stage::AllArrived {
            // A busy application receives the next one.
            self.emit_if_room(progress.event(outstanding));
        }
        Ok(stage)
    }

    /// Reports to the application that everything has arrived, unless it knows.
    async fn report_arrival(&mut self, progress: &Progress, stage: Stage) -> Result<(), Error> {
        if stage != Stage::AllArrived {
            self.emit(progress.event(0)).await?;
        }
        if stage == Stage::AllWritten {
            self.emit(Event::AwaitingConfirmation).await?;
        }
        Ok(())
    }
}

/// Closes the connection of a data thread when the transfer no longer waits for the thread, also when the runtime ends:
/// the thread must not continue the transfer alone.
struct AbortOnDrop<'a, M: CarrierMonitor>(&'a M);

impl<M: CarrierMonitor> Drop for AbortOnDrop<'_, M> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The stage of a data thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Data is still to be written or received.
    Moving,
    /// A sender has written everything.
    AllWritten,
    /// Everything has arrived, and the application was notified.
    AllArrived,
}

/// Waits until the thread has sent everything; for ever if that was already reported.
async fn notified(all_sent: &mut Option<oneshot::Receiver<()>>) {
    let outcome = match all_sent {
        Some(receiver) => receiver.await,
        None => std::future::pending().await,
    };
    *all_sent = None;
    if outcome.is_err() {
        // The thread ended before; its result is returned separately.
        std::future::pending::<()>().await;
    }
}

/// Decides when a silent peer is gone.
///
/// The system knows when the peer was last heard, but not for how long data has been unanswered: after a pause, data
/// that was just sent seems to be unanswered for the whole pause.
#[derive(Debug, Default)]
struct Silence {
    /// For how long every check has found unanswered data.
    unanswered: Duration,
}

impl Silence {
    /// Adds the result of a check, `elapsed` after the previous one: the time since the peer was last heard, if data is
    /// unanswered. Returns whether the peer is gone.
    fn is_final(&mut self, silence: Option<Duration>, elapsed: Duration) -> bool {
        // A program that was stopped does not know what happened in the
        // meantime.
        if silence.is_none() || elapsed >= ANSWER_TIME {
            self.unanswered = Duration::ZERO;
        } else {
            self.unanswered += elapsed;
        }
        self.unanswered >= ANSWER_TIME && silence.is_some_and(|silence| silence >= PEER_GONE)
    }
}

/// Time limit for unanswered data. The system itself would try for a quarter of an hour. Together with the time for
/// closing it is less than a minute.
const PEER_GONE: Duration = Duration::from_secs(45);

/// Minimum time of uninterrupted unanswered data before the peer counts as gone: several round trips of the slowest
/// path. It must be much shorter than [`PEER_GONE`], so that a peer that disappears during a pause is also noticed in
/// time.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Time limit for the thread of a reader or writer of the application. It may be blocked: by a terminal, for example, or by
/// a full pipe.
pub(super) const READER_TIME: Duration = Duration::from_millis(500);

/// Time to remove incomplete files.
pub(super) const CLEAN_UP_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// The time after the last sign of life at which a peer counts as gone, if something is sent
    /// at this second and remains unanswered.
    fn gone_after(sent: u64) -> Option<u64> {
        let mut silence = Silence::default();
        let tick = Duration::from_secs(1);
        let seconds = |second| (second >= sent).then_some(Duration::from_secs(second));
        (0..600).find(|&second| silence.is_final(seconds(second), tick))
    }

    #[test]
    fn a_dead_link_is_noticed_in_less_than_a_minute() {
        assert_eq!(gone_after(0), Some(45));
        assert_eq!(gone_after(30), Some(45));
        // The system's own questions end a link that is idle for longer than this.
        assert!(gone_after(45).unwrap() < 60);
    }

    #[test]
    fn what_was_just_sent_after_a_pause_may_be_unanswered() {
        let tick = Duration::from_millis(100);
        let mut silence = Silence::default();
        let pause = Duration::from_secs(50);
        for _ in 0..1000 {
            assert!(!silence.is_final(None, tick));
            // A round trip of some seconds, and its answer.
            for _ in 0..30 {
                assert!(!silence.is_final(Some(pause), tick));
            }
        }
    }

    #[test]
    fn a_program_that_was_stopped_gives_the_peer_time_to_answer() {
        let (tick, stopped) = (Duration::from_secs(1), Duration::from_secs(50));
        let mut silence = Silence::default();
        for _ in 0..100 {
            assert!(!silence.is_final(Some(tick), tick));
        }
        assert!(!silence.is_final(Some(stopped), stopped));
        assert!(!silence.is_final(Some(stopped + tick), tick));
        assert!(!silence.is_final(None, tick));
    }
}
