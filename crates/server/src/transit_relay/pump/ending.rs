//! Limits how long a pair may last after one side has closed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time limits for the last bytes of a closed connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::transit_relay) struct Limits {
    /// Time without progress of the other side.
    pub(in crate::transit_relay) silence: Duration,
    /// Total time.
    pub(in crate::transit_relay) total: Duration,
}

/// The time in which a pair ends: not begun, begun, or over.
#[derive(Debug)]
pub(in crate::transit_relay) struct Ending {
    limits: Limits,
    begun: OnceLock<Instant>,
    /// Milliseconds from the beginning to the last progress.
    progress: AtomicU64,
}

impl Ending {
    /// An ending with these limits.
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, begun: OnceLock::new(), progress: AtomicU64::new(0) }
    }

    /// Begins, unless it has begun before.
    pub(super) fn begin(&self) {
        self.begun();
    }

    /// Whether it has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Records progress of the other side, or that it could not make any before `moment`: the time without progress
    /// starts then.
    pub(super) fn progress(&self, moment: Instant) {
        let Some(begun) = self.begun.get() else { return };
        let since = moment.saturating_duration_since(*begun).as_millis();
        self.progress.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.has_begun() && self.deadline() <= Instant::now()
    }

    /// Begins, unless it has begun, and waits for `work`; `None` if the time is over before `work` has finished.
    pub(super) async fn limit<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let done = tokio::time::timeout_at(self.deadline(), work.as_mut()).await;
            // Progress moves the deadline.
            if done.is_ok() || self.is_over() {
                return done.ok();
            }
        }
    }

    fn begun(&self) -> Instant {
        *self.begun.get_or_init(Instant::now)
    }

    fn deadline(&self) -> Instant {
        let progress = Duration::from_millis(self.progress.load(Ordering::Relaxed));
        self.begun() + progress.saturating_add(self.limits.silence).min(self.limits.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { silence: Duration::from_secs(30), total: Duration::from_secs(600) };

    async fn time_with_progress_every(pause: Duration) -> Duration {
        let (ending, start) = (Ending::new(LIMITS), Instant::now());
        let progressing = async {
            loop {
                tokio::time::sleep(pause).await;
                ending.progress(Instant::now());
            }
        };
        assert_eq!(ending.limit::<()>(progressing).await, None);
        assert!(ending.is_over());
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_after_30_seconds_of_silence_or_600_seconds_in_total() {
        let about = |elapsed: Duration| (elapsed.as_secs_f64() / 10.0).round() * 10.0;
        assert_eq!(about(time_with_progress_every(Duration::from_secs(3600)).await), 30.0);
        assert_eq!(about(time_with_progress_every(Duration::from_secs(29)).await), 600.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_relay_does_not_count_as_silence() {
        let (ending, pause) = (Ending::new(LIMITS), Duration::from_secs(100));
        ending.begin();
        ending.progress(Instant::now() + pause);
        tokio::time::sleep(pause).await;
        assert!(!ending.is_over());
        tokio::time::sleep(LIMITS.silence).await;
        assert!(ending.is_over());
    }
}
