//! What a link's task is told by the store's thread: answers, and messages for an open mailbox.
//!
//! Bounded in bytes, for each link and for each address. A link that does not take its mail is
//! disconnected, so that it costs nobody memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wormhole_magic::mailbox::server::{Answer, RequestId, StoredMessage};

use super::memory::Share;
use crate::limits::Held;

/// One thing to tell.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The store has answered.
    Answer(RequestId, Answer),
    /// Somebody added a message to the open mailbox.
    Message(Arc<StoredMessage>),
}

impl Event {
    /// What it takes in memory, in bytes, as if nobody shared it.
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(_, answer) => answer.bytes(),
            Self::Message(stored) => stored.bytes(),
        }
    }

    /// Whether it is one of any number: a replay and other answers are as long as they are, and there
    /// is one for each request.
    const fn is_message(&self) -> bool {
        matches!(self, Self::Message(_) | Self::Answer(_, Answer::Added(_)))
    }
}

/// The mail of one link.
#[derive(Debug)]
pub(super) struct Inbox {
    number: u64,
    limit: usize,
    address: Arc<Held>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    events: Vec<Event>,
    /// Size of the messages among the events.
    messages: usize,
    /// Size of all events, as the memory of the link's address.
    share: Share,
    bytes: usize,
    overflowed: bool,
    waker: Option<Waker>,
}

/// The link did not take its mail, and some of it is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Overflowed;

impl Inbox {
    /// An inbox for `limit` bytes of messages, whose memory is a `share` of what its address may have.
    /// The `number` tells it from all others.
    pub(super) fn new(number: u64, limit: usize, share: Share) -> Self {
        let address = Arc::clone(share.address());
        let state = State {
            events: Vec::new(),
            messages: 0,
            share,
            bytes: 0,
            overflowed: false,
            waker: None,
        };
        Self { number, limit, address, state: Mutex::new(state) }
    }

    /// Which inbox this is.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Whose link this is.
    pub(super) const fn address(&self) -> &Arc<Held> {
        &self.address
    }

    /// Counts something of the link's that is in memory, for as long as the share lives.
    pub(super) fn share(&self, bytes: usize) -> Share {
        self.lock().share.sibling(bytes)
    }

    /// Puts an event in and wakes the link.
    pub(super) fn push(&self, event: Event) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_add(event.bytes());
        if event.is_message() {
            state.messages = state.messages.saturating_add(event.bytes());
        }
        let bytes = state.bytes;
        if state.overflowed || state.messages > self.limit || !state.share.grow(bytes, 0) {
            state.overflowed = true;
            state.events = Vec::new();
            state.share.set(0);
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
        (state.bytes, state.messages) = (0, 0);
        state.share.set(0);
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
    use wormhole_magic::mailbox::message::Welcome;
    use wormhole_magic::mailbox::server::{Client, NewMessage, Output};

    use super::super::memory::Budget;
    use super::*;

    fn inbox(limit: usize, memory: usize) -> Inbox {
        let budget = Arc::new(Budget::new(memory, 10 * memory));
        Inbox::new(1, limit, Share::new(budget, Arc::default()))
    }

    fn message(bytes: usize) -> Event {
        let new = NewMessage::new("0".into(), "a".repeat(bytes), "null".into());
        Event::Message(Arc::new(StoredMessage::new("s".into(), new, UnixTime::from_secs(1.0))))
    }

    /// The id of a client's first request.
    fn request_id() -> RequestId {
        let now = UnixTime::from_secs(1.0);
        let mut client = Client::new(&Welcome::default(), now);
        client.handle_frame(now, br#"{"type":"bind","appid":"a","side":"s"}"#);
        match client.poll() {
            Some(Output::Request(id, _)) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_come_out_in_the_order_they_went_in_and_once() {
        let (inbox, cx) = (inbox(10_000, 10_000), Context::from_waker(Waker::noop()));
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
        let (inbox, cx) = (inbox(1000, 1 << 20), Context::from_waker(Waker::noop()));
        inbox.push(message(700));
        assert!(inbox.poll(&cx, false).is_pending());
        inbox.push(message(700));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Err(Overflowed))));
        assert!(inbox.lock().events.is_empty());
    }

    #[test]
    fn mail_beyond_the_memory_of_its_address_is_dropped_and_reported() {
        let (inbox, cx) = (inbox(1 << 20, 100_000), Context::from_waker(Waker::noop()));
        let replay = |bytes: usize| match message(bytes) {
            Event::Message(stored) => Event::Answer(request_id(), Answer::Opened(vec![stored])),
            other @ Event::Answer(..) => other,
        };
        inbox.push(replay(60_000));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Ok(_))));
        inbox.push(replay(60_000));
        inbox.push(replay(60_000));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Err(Overflowed))));
        assert!(inbox.lock().events.is_empty());
    }
}
