//! Deletes messages of the history in time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;
use wormhole_chat::Timestamp;

use super::Driver;
use crate::chat::account::{SharedStore, now};
use crate::chat::store::StoreError;

/// When something must be deleted, or the deletion that is running.
#[derive(Default)]
pub(super) struct HistoryUpkeep {
    due: Option<Timestamp>,
    running: Option<Running>,
}

type Running = Pin<Box<dyn Future<Output = Result<Option<Timestamp>, StoreError>> + Send>>;

impl HistoryUpkeep {
    pub(super) const fn new(due: Option<Timestamp>) -> Self {
        Self { due, running: None }
    }

    /// Sets when the next message must be deleted.
    pub(super) const fn set_due(&mut self, due: Option<Timestamp>) {
        self.due = due;
    }

    /// Deletes what is due as soon as it is. Returns what is due next.
    pub(super) async fn next(
        &mut self,
        store: &SharedStore,
    ) -> Result<Option<Timestamp>, StoreError> {
        loop {
            if let Some(running) = &mut self.running {
                let due = running.await;
                self.running = None;
                return due;
            }
            let Some(due) = self.due else { return std::future::pending().await };
            let left = Duration::from_millis(due.0.saturating_sub(now().0));
            if left.is_zero() {
                let store = store.clone();
                self.running = Some(Box::pin(async move {
                    let purged = store.run(|store| {
                        store.purge_history()?;
                        Ok(store.history_due())
                    });
                    purged.await
                }));
            } else {
                // The clock may be set, and computers sleep.
                sleep(left.min(MAX_SLEEP)).await;
            }
        }
    }
}

impl Driver {
    /// Sets when the next message of the history must be deleted.
    pub(in crate::chat) const fn set_history_due(&mut self, due: Option<Timestamp>) {
        self.history.set_due(due);
    }
}

/// Longest time without a look at the clock.
const MAX_SLEEP: Duration = Duration::from_secs(10);
