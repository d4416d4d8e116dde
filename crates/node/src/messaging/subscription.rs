//! A filter whose messages are returned as they arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wormhole_whisper::shh::filter::{FilterId, Received};

use super::{Inner, lock};

/// Messages as they arrive. Messages that are not taken yet wait in the filter, within its limits. Dropping
/// the subscription removes the filter.
#[derive(Debug)]
pub struct Subscription {
    id: FilterId,
    more: Arc<Notify>,
    inner: Arc<Inner>,
    /// The messages that are being taken out of the filter.
    taking: Option<JoinHandle<Option<Vec<Arc<Received>>>>>,
    /// How often the filter is polled when nothing arrives.
    keep_alive: Duration,
}

impl Subscription {
    pub(super) fn new(id: FilterId, inner: Arc<Inner>) -> Self {
        let more = Arc::new(Notify::new());
        lock(&inner.subscribers).insert(id, Arc::clone(&more));
        // Messages may have arrived since the filter was added.
        more.notify_one();
        let keep_alive = inner.filter_timeout / 4;
        Self { id, more, inner, taking: None, keep_alive }
    }

    /// Waits for messages; there is always at least one. `None` if this was not called for so long that the
    /// filter has expired. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Arc<Received>>> {
        loop {
            let taking = match &mut self.taking {
                Some(taking) => taking,
                None => {
                    // Polls once in a while even if nothing arrives, so that the filter does not
                    // expire.
                    let _quiet = timeout(self.keep_alive, self.more.notified()).await;
                    let (inner, id) = (Arc::clone(&self.inner), self.id);
                    let take = move || inner.filters().poll(Instant::now(), &id);
                    self.taking.insert(tokio::task::spawn_blocking(take))
                }
            };
            // It fails when the runtime shuts down.
            let messages = taking.await.ok().flatten();
            self.taking = None;
            if messages.as_ref().is_none_or(|messages| !messages.is_empty()) {
                return messages;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.inner.subscribers).remove(&self.id);
        // This thread may not block. The next access to the filters removes it.
        lock(&self.inner.abandoned).push(self.id);
    }
}
