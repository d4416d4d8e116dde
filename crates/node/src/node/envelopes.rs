//! What a node accepted, as a stream for each of those who subscribe.
//!
//! A listener that does not keep up misses envelopes and is told how many; nobody waits for it, and
//! its queue is bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use wormhole_whisper::shh::Envelope;

/// Something that came by.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else to hear")]
pub enum EnvelopeEvent {
    /// An envelope, passed on already.
    Envelope {
        /// The envelope.
        envelope: Envelope,
        /// Whether it was for us alone, from a trusted peer, with work or without.
        direct: bool,
    },
    /// So many envelopes were not kept for this listener, because it was slow.
    Missed(u64),
}

/// All envelopes from now on.
#[derive(Debug)]
pub struct Envelopes(Arc<Subscriber>);

impl Envelopes {
    /// Waits for the next one. `None` once the node has stopped. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<EnvelopeEvent> {
        loop {
            // Made before the look, so that nothing slips between the two.
            let more = self.0.more.notified();
            {
                let mut queue = self.0.lock();
                if queue.missed > 0 {
                    return Some(EnvelopeEvent::Missed(std::mem::take(&mut queue.missed)));
                }
                if let Some((envelope, direct)) = queue.waiting.pop_front() {
                    queue.bytes = queue.bytes.saturating_sub(cost(&envelope));
                    return Some(EnvelopeEvent::Envelope { envelope, direct });
                }
                if queue.closed {
                    return None;
                }
            }
            more.await;
        }
    }
}

/// One who listens.
#[derive(Debug, Default)]
struct Subscriber {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Envelope, bool)>,
    bytes: usize,
    missed: u64,
    closed: bool,
}

impl Subscriber {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All who subscribe.
#[derive(Clone, Debug, Default)]
pub(super) struct Broadcast(Arc<Mutex<Subscribers>>);

#[derive(Debug, Default)]
struct Subscribers {
    subscribers: Vec<Weak<Subscriber>>,
    closed: bool,
}

impl Broadcast {
    /// Somebody listens from now on.
    pub(super) fn subscribe(&self) -> Envelopes {
        let subscriber = Arc::new(Subscriber::default());
        let mut listeners = self.lock();
        subscriber.lock().closed = listeners.closed;
        listeners.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        listeners.subscribers.push(Arc::downgrade(&subscriber));
        Envelopes(subscriber)
    }

    /// Lets everyone hear an envelope.
    pub(super) fn publish(&self, envelope: &Envelope, direct: bool) {
        let mut listeners = self.lock();
        listeners.subscribers.retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else { return false };
            let mut queue = subscriber.lock();
            // One always fits, however large.
            if !queue.waiting.is_empty() && queue.bytes + cost(envelope) > MAX_WAITING {
                queue.missed = queue.missed.saturating_add(1);
            } else {
                queue.bytes += cost(envelope);
                queue.waiting.push_back((envelope.clone(), direct));
            }
            drop(queue);
            subscriber.more.notify_one();
            true
        });
    }

    /// There will be nothing more.
    pub(super) fn close(&self) {
        let mut listeners = self.lock();
        listeners.closed = true;
        for subscriber in
            listeners.subscribers.drain(..).filter_map(|subscriber| subscriber.upgrade())
        {
            subscriber.lock().closed = true;
            subscriber.more.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an envelope takes in a queue, in bytes.
fn cost(envelope: &Envelope) -> usize {
    envelope.encoded().len() + OVERHEAD
}

/// Bytes that an envelope takes beside its encoding.
const OVERHEAD: usize = 160;

/// Most bytes that wait for one listener: some ten thousand envelopes of the usual size.
const MAX_WAITING: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use wormhole_whisper::shh::{Draft, Topic};

    use super::*;

    fn envelope(nonce: u64) -> Envelope {
        Draft { expiry: 100, ttl: 50, topic: Topic([1; 4]), data: vec![0; 100_000] }.finish(nonce)
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_many_it_missed_and_others_miss_nothing() {
        let broadcast = Broadcast::default();
        let (mut slow, mut quick) = (broadcast.subscribe(), broadcast.subscribe());
        for nonce in 0..100 {
            broadcast.publish(&envelope(nonce), false);
            let heard = EnvelopeEvent::Envelope { envelope: envelope(nonce), direct: false };
            assert_eq!(quick.next().await, Some(heard));
        }
        let kept = MAX_WAITING / (cost(&envelope(0)));
        assert_eq!(
            slow.next().await,
            Some(EnvelopeEvent::Missed(100 - u64::try_from(kept).unwrap()))
        );
        for nonce in 0..u64::try_from(kept).unwrap() {
            let heard = EnvelopeEvent::Envelope { envelope: envelope(nonce), direct: false };
            assert_eq!(slow.next().await, Some(heard));
        }
        broadcast.close();
        assert_eq!(slow.next().await, None);
        assert_eq!(broadcast.subscribe().next().await, None);
    }
}
