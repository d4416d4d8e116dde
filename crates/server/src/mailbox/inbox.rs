//! A queue from the store's thread to one link's task: answers, and messages for an open mailbox.
//!
//! Its size in bytes is limited, per link and per address. A link whose queue overflows is disconnected, so that a slow
//! reader cannot fill the memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wormhole_magic::mailbox::server::{Answer, RequestId, StoredMessage};

use crate::limits::AddressUsage;
use crate::memory::Share;

/// An event for the link.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The store has answered.
    Answer(RequestId, Answer),
    /// Another link added a message to the open mailbox.
    Message(Arc<StoredMessage>),
    /// Another node has removed the open mailbox.
    Disconnect,
}

impl Event {
    /// Approximate size in memory, in bytes. A message that several links share counts for each of them.
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(_, answer) => answer.bytes(),
            Self::Message(stored) => stored.bytes(),
            Self::Disconnect => 0,
        }
    }

    /// Whether this is a message that was just added to the mailbox. Other clients can add any number of these, so their
    /// size is limited. Replays and other answers are limited by the number of the client's own requests.
    const fn is_message(&self) -> bool {
        matches!(self, Self::Message(_) | Self::Answer(_, Answer::Added(_)))
    }
}

/// The events that wait for one link.
#[derive(Debug)]
pub(super) struct Inbox {
    number: u64,
    limit: usize,
    address: Arc<AddressUsage>,
    state: Mutex<Pending>,
}

#[derive(Debug)]
struct Pending {
    events: Vec<Event>,
    /// Bytes of the messages among the events.
    messages: usize,
    /// Charges all events to the client's address.
    share: Share,
    bytes: usize,
    overflowed: bool,
    waker: Option<Waker>,
}

/// The link was too slow, and events were dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Overflowed;

impl Inbox {
    /// An inbox for `limit` bytes of new messages. Its memory is charged to the client's address. The `number` is the
    /// unique number of the link.
    pub(super) fn new(number: u64, limit: usize, share: Share) -> Self {
        let address = Arc::clone(share.address());
        let pending = Pending {
            events: Vec::new(),
            messages: 0,
            share,
            bytes: 0,
            overflowed: false,
            waker: None,
        };
        Self { number, limit, address, state: Mutex::new(pending) }
    }

    /// The unique number of the inbox and of its link.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The address of the client.
    pub(super) const fn address(&self) -> &Arc<AddressUsage> {
        &self.address
    }

    /// Charges bytes in memory to the client's address until the result is dropped.
    pub(super) fn share(&self, bytes: usize) -> Share {
        self.lock().share.for_same_address(bytes)
    }

    /// Adds an event and wakes the link's task.
    pub(super) fn push(&self, event: Event) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_add(event.bytes());
        if event.is_message() {
            state.messages = state.messages.saturating_add(event.bytes());
        }
        let bytes = state.bytes;
        if state.overflowed || state.messages > self.limit || !state.share.try_resize(bytes, 0) {
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

    /// Returns and removes all events, if there are any and the link `has_room` for them.
    pub(super) fn poll(
        &self,
        cx: &Context<'_>,
        has_room: bool,
    ) -> Poll<Result<Vec<Event>, Overflowed>> {
        let mut state = self.lock();
        if state.overflowed {
            return Poll::Ready(Err(Overflowed));
        }
        if state.events.is_empty() || !has_room {
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

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // No code panics while it holds the lock, and the contents would still be consistent if it did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wormhole_kit::UnixTime;
    use wormhole_magic::mailbox::message::Welcome;
    use wormhole_magic::mailbox::server::{Client, NewMessage, Output};

    use super::*;
    use crate::memory::MemoryBudget;

    fn inbox(limit: usize, memory: usize) -> Inbox {
        let budget = Arc::new(MemoryBudget::new(memory, 10 * memory));
        Inbox::new(1, limit, Share::new(budget, Arc::default()))
    }

    fn message(bytes: usize) -> Event {
        let new = NewMessage::new("0".into(), "a".repeat(bytes), "null".into());
        Event::Message(Arc::new(StoredMessage::new("s".into(), new, UnixTime::from_secs(1))))
    }

    /// The id of a client's first request.
    fn request_id() -> RequestId {
        let now = UnixTime::from_secs(1);
        let mut client = Client::new(&Welcome::default(), now);
        client.handle_frame(now, br#"{"type":"bind","appid":"a","side":"s"}"#);
        match client.poll() {
            Some(Output::Request(id, _)) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_are_returned_once_and_in_order() {
        let (inbox, cx) = (inbox(10_000, 10_000), Context::from_waker(Waker::noop()));
        inbox.push(message(1));
        inbox.push(message(2));
        let Poll::Ready(Ok(events)) = inbox.poll(&cx, true) else { panic!("nothing") };
        let lengths: Vec<usize> = events
            .iter()
            .map(|event| match event {
                Event::Message(stored) => stored.message.body.len(),
                Event::Answer(..) | Event::Disconnect => 0,
            })
            .collect();
        assert_eq!(lengths, [1, 2]);
        assert!(inbox.poll(&cx, true).is_pending());
    }

    #[test]
    fn events_beyond_the_limit_are_dropped_and_reported() {
        let (inbox, cx) = (inbox(1000, 1 << 20), Context::from_waker(Waker::noop()));
        inbox.push(message(700));
        assert!(inbox.poll(&cx, false).is_pending());
        inbox.push(message(700));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Err(Overflowed))));
        assert!(inbox.lock().events.is_empty());
    }

    #[test]
    fn events_beyond_the_memory_of_the_address_are_dropped_and_reported() {
        let (inbox, cx) = (inbox(1 << 20, 100_000), Context::from_waker(Waker::noop()));
        let replay = |bytes: usize| match message(bytes) {
            Event::Message(stored) => Event::Answer(request_id(), Answer::Opened(vec![stored])),
            other @ (Event::Answer(..) | Event::Disconnect) => other,
        };
        inbox.push(replay(60_000));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Ok(_))));
        inbox.push(replay(60_000));
        inbox.push(replay(60_000));
        assert!(matches!(inbox.poll(&cx, true), Poll::Ready(Err(Overflowed))));
        assert!(inbox.lock().events.is_empty());
    }
}
