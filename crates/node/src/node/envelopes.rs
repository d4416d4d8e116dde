//! The envelopes that a node accepts, as a stream for each subscriber.
//!
//! A subscriber that is too slow misses envelopes and learns how many. Nobody waits for it, and its queue
//! is limited in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use wormhole_whisper::shh::Envelope;

/// An event in the stream of envelopes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnvelopeEvent {
    /// The node accepted an envelope, and has forwarded it already.
    Envelope {
        /// The envelope.
        envelope: Envelope,
        /// Whether a trusted peer sent it to this node alone. It may have no proof of work then.
        direct: bool,
    },
    /// This many envelopes were dropped, because the subscriber was too slow.
    Missed(u64),
}

/// The envelopes that a node accepts from the time of the subscription on.
#[derive(Debug)]
pub struct Envelopes(Arc<Subscriber>);

impl Envelopes {
    /// Waits for the next event. `None` once the node has stopped. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<EnvelopeEvent> {
        loop {
            // Created before the queue is checked, so that no notification is lost in between.
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

/// The queue of one subscriber.
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
        // Nothing panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends envelopes to all subscribers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Broadcast(Arc<Mutex<Subscribers>>);

#[derive(Debug, Default)]
struct Subscribers {
    open: Vec<Weak<Subscriber>>,
    closed: bool,
}

impl Broadcast {
    /// Adds a subscriber.
    pub(super) fn subscribe(&self) -> Envelopes {
        let subscriber = Arc::new(Subscriber::default());
        let mut subscribers = self.lock();
        subscriber.lock().closed = subscribers.closed;
        subscribers.open.retain(|other| other.strong_count() > 0);
        subscribers.open.push(Arc::downgrade(&subscriber));
        Envelopes(subscriber)
    }

    /// Sends an envelope to all subscribers.
    pub(super) fn publish(&self, envelope: &Envelope, direct: bool) {
        self.lock().open.retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else { return false };
            let mut queue = subscriber.lock();
            // An empty queue takes an envelope of any size.
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

    /// Ends all streams after the envelopes that are in their queues.
    pub(super) fn close(&self) {
        let mut subscribers = self.lock();
        subscribers.closed = true;
        for subscriber in subscribers.open.drain(..).filter_map(|it| it.upgrade()) {
            subscriber.lock().closed = true;
            subscriber.more.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that an envelope takes in a queue, in bytes.
fn cost(envelope: &Envelope) -> usize {
    envelope.encoded().len() + OVERHEAD
}

/// Bytes that an envelope takes in addition to its encoding.
const OVERHEAD: usize = 160;

/// Maximum number of bytes in the queue of one subscriber: about ten thousand envelopes of the usual size.
const MAX_WAITING: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use wormhole_whisper::shh::{Draft, Topic};

    use super::*;

    fn envelope(nonce: u64) -> Envelope {
        Draft { expiry: 100, ttl: 50, topic: Topic([1; 4]), data: vec![0; 100_000] }.finish(nonce)
    }

    #[tokio::test]
    async fn a_slow_subscriber_learns_how_many_it_missed_and_others_miss_nothing() {
        let broadcast = Broadcast::default();
        let (mut slow, mut quick) = (broadcast.subscribe(), broadcast.subscribe());
        for nonce in 0..100 {
            broadcast.publish(&envelope(nonce), false);
            let event = EnvelopeEvent::Envelope { envelope: envelope(nonce), direct: false };
            assert_eq!(quick.next().await, Some(event));
        }
        let kept = MAX_WAITING / (cost(&envelope(0)));
        assert_eq!(
            slow.next().await,
            Some(EnvelopeEvent::Missed(100 - u64::try_from(kept).unwrap()))
        );
        for nonce in 0..u64::try_from(kept).unwrap() {
            let event = EnvelopeEvent::Envelope { envelope: envelope(nonce), direct: false };
            assert_eq!(slow.next().await, Some(event));
        }
        broadcast.close();
        assert_eq!(slow.next().await, None);
        assert_eq!(broadcast.subscribe().next().await, None);
    }
}
