//! A filter that tells when there is something in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wormhole_whisper::shh::filter::{FilterId, Received};

use super::{Inner, lock};

/// Messages as they come. What is not taken waits within the bounds of a filter. It ends when it is
/// dropped.
#[derive(Debug)]
pub struct Subscription {
    id: FilterId,
    more: Arc<Notify>,
    inner: Arc<Inner>,
    /// The messages that are being taken out of the filter.
    taking: Option<JoinHandle<Option<Vec<Arc<Received>>>>>,
    /// How often it shows that it is there, when nothing comes.
    keep_alive: Duration,
}

impl Subscription {
    pub(super) fn new(id: FilterId, inner: Arc<Inner>) -> Self {
        let more = Arc::new(Notify::new());
        lock(&inner.subscribers).insert(id, Arc::clone(&more));
        // What came between the making of the filter and now.
        more.notify_one();
        let keep_alive = inner.patience / 4;
        Self { id, more, inner, taking: None, keep_alive }
    }

    /// Waits for messages; there is always at least one. `None` when nobody has asked for so long
    /// that the filter was forgotten. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Arc<Received>>> {
        loop {
            let taking = match &mut self.taking {
                Some(taking) => taking,
                None => {
                    // Polled now and then even if nothing comes: nobody must think that it is
                    // forgotten.
                    let _quiet = timeout(self.keep_alive, self.more.notified()).await;
                    let (inner, id) = (Arc::clone(&self.inner), self.id);
                    let take = move || inner.filters().poll(Instant::now(), &id);
                    self.taking.insert(tokio::task::spawn_blocking(take))
                }
            };
            // It fails when the runtime ends.
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
        // This thread may not block: whoever looks at the filters next removes it.
        lock(&self.inner.abandoned).push(self.id);
    }
}
