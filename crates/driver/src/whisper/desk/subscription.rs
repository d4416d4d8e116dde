//! A filter that tells when there is something in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wormhole_whisper::shh::filter::{FilterId, Received};

use super::{Inner, lock};

/// Messages as they come. What is not taken waits within the bounds of a filter. It ends when it is
/// dropped.
#[derive(Debug)]
pub struct Subscription {
    id: FilterId,
    more: Arc<Notify>,
    inner: Arc<Inner>,
}

impl Subscription {
    pub(super) fn new(id: FilterId, inner: Arc<Inner>) -> Self {
        let more = Arc::new(Notify::new());
        lock(&inner.subscribers).insert(id, Arc::clone(&more));
        // What came between the making of the filter and now.
        more.notify_one();
        Self { id, more, inner }
    }

    /// Waits for messages; there is always at least one. `None` when nobody has asked for so long
    /// that the filter was forgotten. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Arc<Received>>> {
        loop {
            // Polled now and then even if nothing comes: nobody must think that it is forgotten.
            let _quiet = tokio::time::timeout(KEEP_ALIVE, self.more.notified()).await;
            let messages = lock(&self.inner.filters).poll(Instant::now(), &self.id);
            if messages.as_ref().is_none_or(|messages| !messages.is_empty()) {
                return messages;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.inner.subscribers).remove(&self.id);
        lock(&self.inner.filters).remove(&self.id);
    }
}

/// How often a quiet subscription shows that it is there. Patience with filters must be longer.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
