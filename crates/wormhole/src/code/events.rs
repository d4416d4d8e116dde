//! The events of a wormhole in one queue, in order and with the types of the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use wormhole_magic::wormhole::Event;

use super::{Closed, Error};
use crate::net::LinkFailure;

/// An event in the queue.
#[derive(Debug)]
pub(crate) enum QueuedEvent {
    /// An event of the core.
    Core(Event),
    /// The core's event with this name, with the reason, which only the sockets know.
    ServerRetry {
        /// Why the last link was lost or could not be opened.
        why: LinkFailure,
        /// Number of failed links in a row.
        failures: u32,
        /// Time until the next attempt.
        pause: Duration,
    },
    /// The wormhole has ended. This is the last event.
    Ended(Result<Closed, Error>),
    /// The peer sends messages faster than they are read. Later ones are lost.
    TooManyMessages,
}

/// The events of one wormhole.
#[derive(Debug)]
pub(crate) struct Events {
    queue: mpsc::UnboundedReceiver<QueuedEvent>,
    size: Arc<AtomicUsize>,
}

impl Events {
    /// Waits for the next event. Dropping this future loses nothing.
    pub(crate) async fn next(&mut self) -> QueuedEvent {
        // The task only ends without a last event if its runtime ends.
        let closed = QueuedEvent::Ended(Err(Error::Closed));
        let event = self.queue.recv().await.unwrap_or(closed);
        if let QueuedEvent::Core(Event::Message(message)) = &event {
            self.size.fetch_sub(message_size(message), Ordering::Relaxed);
        }
        event
    }
}

/// The sending half of the queue.
#[derive(Debug)]
pub(super) struct EventSender {
    queue: mpsc::UnboundedSender<QueuedEvent>,
    /// Size of the messages in the queue in bytes.
    size: Arc<AtomicUsize>,
    is_full: bool,
}

/// Creates a queue.
pub(super) fn queue() -> (EventSender, Events) {
    let (sender, queue) = mpsc::unbounded_channel();
    let size = Arc::<AtomicUsize>::default();
    let sender = EventSender { queue: sender, size: Arc::clone(&size), is_full: false };
    (sender, Events { queue, size })
}

impl EventSender {
    /// Adds an event; `failure` is the error of the last lost link.
    pub(super) fn send(&mut self, event: Event, failure: Option<&LinkFailure>) {
        if let Event::ServerRetry { failures, pause } = event {
            let why = failure.cloned().unwrap_or(LinkFailure::Closed);
            self.push(QueuedEvent::ServerRetry { why, failures, pause });
        } else if let Event::Message(message) = event {
            self.send_message(message);
        } else if !matches!(event, Event::Dilation { .. }) {
            // A dilated wormhole has a queue of its own for them.
            self.push(QueuedEvent::Core(event));
        }
    }

    fn send_message(&mut self, message: Vec<u8>) {
        if self.is_full {
            return;
        }
        let size = message_size(&message);
        let queued = self.size.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        self.is_full = queued > MAX_QUEUED;
        self.push(if self.is_full {
            QueuedEvent::TooManyMessages
        } else {
            QueuedEvent::Core(Event::Message(message))
        });
    }

    /// Adds the last event.
    pub(super) fn end(&self, end: Result<Closed, Error>) {
        self.push(QueuedEvent::Ended(end));
    }

    fn push(&self, event: QueuedEvent) {
        // A wormhole that is being dropped has no reader.
        let _unread = self.queue.send(event);
    }
}

/// Size of a message in the queue in bytes, including overhead.
const fn message_size(message: &[u8]) -> usize {
    message.len() + 4096
}

/// Maximum size of the messages in the queue in bytes: two of the longest that a frame can contain.
const MAX_QUEUED: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_unread_messages_is_limited() {
        let (mut sender, mut events) = queue();
        for _ in 0..100_000 {
            sender.send(Event::Message(Vec::new()), None);
        }
        let mut count = 0;
        while let Ok(QueuedEvent::Core(_)) = events.queue.try_recv() {
            count += 1;
        }
        assert_eq!(count, MAX_QUEUED / message_size(&[]));
        assert!(events.queue.is_empty());
    }

    #[tokio::test]
    async fn messages_that_are_read_make_room_for_others() {
        let (mut sender, mut events) = queue();
        for _ in 0..100_000 {
            sender.send(Event::Message(vec![7]), None);
            let event = events.next().await;
            assert!(matches!(event, QueuedEvent::Core(Event::Message(_))), "{event:?}");
        }
    }

    #[tokio::test]
    async fn the_reason_for_a_retry_travels_with_it_and_dilation_messages_do_not_travel() {
        let (mut sender, mut events) = queue();
        sender.send(Event::Dilation { number: 0, plaintext: vec![] }, None);
        let pause = Duration::from_secs(1);
        let retry = Event::ServerRetry { failures: 3, pause };
        sender.send(retry, Some(&LinkFailure::TimedOut));
        sender.end(Err(Error::WrongCode));
        drop(sender);
        let retry = events.next().await;
        let QueuedEvent::ServerRetry { why: LinkFailure::TimedOut, failures: 3, .. } = retry else {
            panic!("{retry:?}")
        };
        let end = events.next().await;
        assert!(matches!(end, QueuedEvent::Ended(Err(Error::WrongCode))), "{end:?}");
        let end = events.next().await;
        assert!(matches!(end, QueuedEvent::Ended(Err(Error::Closed))), "{end:?}");
    }
}
