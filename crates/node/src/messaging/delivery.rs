//! The task that reads what the node passes on, and lets go of filters that nobody polls.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use wormhole_whisper::shh::Envelope;

use super::*;
use crate::{EnvelopeEvent, Envelopes};

/// Starts reading until the messenger is gone or the node has stopped.
pub(super) fn start(inner: &Arc<Inner>, envelopes: Envelopes, over: oneshot::Receiver<()>) {
    let reading = read(Arc::downgrade(inner), envelopes, inner.patience);
    tokio::spawn(async move {
        tokio::select! {
            // It is dropped with the messenger; nothing is ever sent.
            _ = over => {}
            () = reading => {}
        }
    });
}

async fn read(messenger: Weak<Inner>, mut envelopes: Envelopes, patience: Duration) {
    let mut ticks = tokio::time::interval((patience / 4).clamp(MIN_TICK, MAX_TICK));
    loop {
        let heard = tokio::select! {
            heard = envelopes.next() => heard,
            _ = ticks.tick() => {
                let Some(inner) = messenger.upgrade() else { return };
                let expire = move || inner.filters().expire(Instant::now());
                let _done = tokio::task::spawn_blocking(expire).await;
                continue;
            }
        };
        let Some(heard) = heard else { return };
        let mut batch = vec![heard];
        while batch.len() < BATCH
            && let Some(Some(more)) = envelopes.next().now_or_never()
        {
            batch.push(more);
        }
        let Some(inner) = messenger.upgrade() else { return };
        let _done = tokio::task::spawn_blocking(move || inner.take(batch)).await;
    }
}

impl Inner {
    /// Tries our keys on what came by, one envelope at a time so that others get their turn.
    fn take(&self, batch: Vec<EnvelopeEvent>) {
        for heard in batch {
            match heard {
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

/// Envelopes that are tried in one go.
const BATCH: usize = 64;

/// Shortest and longest time between two searches for filters that nobody polls.
const MIN_TICK: Duration = Duration::from_millis(100);
const MAX_TICK: Duration = Duration::from_secs(10);
