//! How long a pair may last after one of its links has gone.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// The end of a pair: not begun, begun, or over.
#[derive(Debug)]
pub(in crate::transit_relay) struct Ending {
    limit: Duration,
    deadline: OnceLock<Instant>,
}

impl Ending {
    /// An ending that takes at most `limit` once it has begun.
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, deadline: OnceLock::new() }
    }

    /// Begins, unless it has begun before.
    pub(super) fn begin(&self) {
        self.deadline();
    }

    /// Whether its time has passed.
    pub(super) fn is_over(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| *deadline <= Instant::now())
    }

    /// Begins, unless it has begun before, and waits for `work` until its time has passed; `None` then.
    pub(super) async fn limit<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.deadline(), work).await.ok()
    }

    fn deadline(&self) -> Instant {
        *self.deadline.get_or_init(|| Instant::now() + self.limit)
    }
}
