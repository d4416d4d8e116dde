//! What a link's task is told by the store's thread: answers, and messages for an open mailbox.
//!
//! Bounded in bytes. A link that does not take its mail is cut, so that it costs nobody memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wormhole_magic::mailbox::server::{Answer, RequestId, StoredMessage};

/// One thing to tell.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The store has answered.
    Answer(RequestId, Answer),
    /// Somebody added a message to the open mailbox.
    Message(Arc<StoredMessage>),
}

/// The mail of one link.
#[derive(Debug)]
pub(super) struct Inbox {
    number: u64,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    bytes: usize,
    overflowed: bool,
    waker: Option<Waker>,
}

/// The link did not take its mail, and some of it is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Overflowed;

impl Inbox {
    /// An inbox for `limit` bytes of messages. The `number` tells it from all others.
    pub(super) fn new(number: u64, limit: usize) -> Self {
        Self { number, limit, state: Mutex::default() }
    }

    /// Which inbox this is.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Puts an event in and wakes the link.
    pub(super) fn push(&self, event: Event) {
        let mut state = self.lock();
        // The size of other answers is bounded by the mailbox; and there are few of them.
        if let Event::Message(stored) | Event::Answer(_, Answer::Added(stored)) = &event {
            state.bytes = state.bytes.saturating_add(stored.bytes());
        }
        if state.bytes > self.limit {
            state.overflowed = true;
            state.events = Vec::new();
        } else {
            state.events.push(event);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes out everything, as soon as there is something; or nothing, if the link has `room` for
    /// none.
    pub(super) fn poll(
        &self,
        cx: &Context<'_>,
        room: bool,
    ) -> Poll<Result<Vec<Event>, Overflowed>> {
        let mut state = self.lock();
        if state.overflowed {
            return Poll::Ready(Err(Overflowed));
        }
        if state.events.is_empty() || !room {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        state.bytes = 0;
        Poll::Ready(Ok(std::mem::take(&mut state.events)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; and if it did, what is inside is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wormhole_kit::UnixTime;
    use wormhole_magic::mailbox::server::NewMessage;

    use super::*;

    fn message(bytes: usize) -> Event {
        let new = NewMessage::new("0".into(), "a".repeat(bytes), "null".into());
        Event::Message(Arc::new(StoredMessage::new("s".into(), new, UnixTime::from_secs(1.0))))
    }

    #[test]
    fn events_come_out_in_the_order_they_went_in_and_once() {
        let (inbox, cx) = (Inbox::new(1, 10_000), Context::from_waker(Waker::noop()));
        inbox.push(message(1));
        inbox.push(message(2));
        let Poll::Ready(Ok(events)) = inbox.poll(&cx, true) else { panic!("nothing") };
        let lengths: Vec<usize> = events
            .iter()
            .map(|event| match event {
                Event::Message(stored) => stored.message.body.len(),
                Event::Answer(..) => 0,
            })
            .collect();
        assert_eq!(lengths, [1, 2]);
        assert!(inbox.poll(&cx, true).is_pending());
    }

    #[test]
    fn mail_beyond_the_limit_is_dropped_and_reported() {
        let (inbox, cx) = (Inbox::new(1, 1000), Context::from_waker(Waker::noop()));
        inbox.push(message(700));
        assert!(inbox.poll(&cx, false).is_pending());
        inbox.push(message(700));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Err(Overflowed))));
        assert!(inbox.lock().events.is_empty());
    }
}
