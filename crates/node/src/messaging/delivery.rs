//! The task that decrypts accepted envelopes for the filters, and removes expired filters.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use wormhole_whisper::shh::Envelope;

use super::*;
use crate::{EnvelopeEvent, Envelopes};

/// Starts the task. It ends when the messenger is dropped or the node stops.
pub(super) fn start(inner: &Arc<Inner>, envelopes: Envelopes, over: oneshot::Receiver<()>) {
    let delivering = deliver(Arc::downgrade(inner), envelopes, inner.filter_timeout);
    tokio::spawn(async move {
        tokio::select! {
            // Nothing is sent; the sender is dropped with the messenger.
            _ = over => {}
            () = delivering => {}
        }
    });
}

async fn deliver(messenger: Weak<Inner>, mut envelopes: Envelopes, filter_timeout: Duration) {
    let mut ticks = tokio::time::interval((filter_timeout / 4).clamp(MIN_TICK, MAX_TICK));
    loop {
        let event = tokio::select! {
            event = envelopes.next() => event,
            _ = ticks.tick() => {
                let Some(inner) = messenger.upgrade() else { return };
                let expire = move || inner.filters().expire(Instant::now());
                let _done = tokio::task::spawn_blocking(expire).await;
                continue;
            }
        };
        let Some(event) = event else { return };
        let mut batch = vec![event];
        while batch.len() < BATCH
            && let Some(Some(more)) = envelopes.next().now_or_never()
        {
            batch.push(more);
        }
        let Some(inner) = messenger.upgrade() else { return };
        let _done = tokio::task::spawn_blocking(move || inner.deliver_all(batch)).await;
    }
}

impl Inner {
    /// Delivers envelopes. The lock is taken anew for each of them, so that others can get it in between.
    fn deliver_all(&self, batch: Vec<EnvelopeEvent>) {
        for event in batch {
            match event {
                EnvelopeEvent::Missed(count) => {
                    self.missed.fetch_add(count, Ordering::Relaxed);
                }
                EnvelopeEvent::Envelope { envelope, direct } => self.deliver(&envelope, direct),
            }
        }
    }

    fn deliver(&self, envelope: &Envelope, direct: bool) {
        let delivered = self.filters().deliver(envelope, direct);
        self.delivered.fetch_add(delivered.len().try_into().unwrap_or(0), Ordering::Relaxed);
        let subscribers = lock(&self.subscribers);
        let woken = delivered.iter().filter_map(|id| subscribers.get(id));
        woken.for_each(|more| more.notify_one());
    }
}

/// Maximum number of envelopes to decrypt at a time.
const BATCH: usize = 64;

/// Shortest and longest time between two searches for expired filters.
const MIN_TICK: Duration = Duration::from_millis(100);
const MAX_TICK: Duration = Duration::from_secs(10);
