//! Frames in the order of the client's messages, whatever order their answers come in.
//!
//! A request to the store leaves a gap. Frames behind it wait until it is filled. Stored messages
//! are shared with whoever else is shown them, and become frames only when they leave.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::value::RawValue;
use wormhole_kit::UnixTime;

use super::reply::Reply;
use super::{StoredMessage, Undo};

/// Frames on their way out, and the gaps between them.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// What may leave now.
    ready: VecDeque<Slot>,
    /// The requests without an answer, each with what has to wait for it.
    gaps: VecDeque<Gap>,
    next: u64,
    held_bytes: usize,
    asked_bytes: usize,
}

/// One frame.
#[derive(Debug)]
pub(super) enum Slot {
    Frame(String),
    /// A stored message, and when it was put here.
    Message(UnixTime, Arc<StoredMessage>),
}

#[derive(Debug)]
struct Gap {
    id: u64,
    /// Says that the request has been done or refused; so it must not leave before that.
    ack: String,
    /// The message that asked, shortened, for the `error` that a refusal becomes.
    orig: Box<RawValue>,
    /// Size of the request that the store has.
    asked_bytes: usize,
    undo: Option<Undo>,
    behind: Vec<Slot>,
}

impl Slots {
    /// Requests without an answer.
    pub(super) fn unanswered(&self) -> usize {
        self.gaps.len()
    }

    /// Size of everything that waits here, in bytes.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Size of the requests that the store has and has not answered, in bytes.
    pub(super) const fn asked_bytes(&self) -> usize {
        self.asked_bytes
    }

    /// Whether a frame may leave now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts a frame at the end.
    pub(super) fn push(&mut self, frame: String) {
        self.held_bytes += frame.len();
        match self.gaps.back_mut() {
            Some(gap) => gap.behind.push(Slot::Frame(frame)),
            None => self.ready.push_back(Slot::Frame(frame)),
        }
    }

    /// Puts a message where the next answer will go: what the store reported before that answer
    /// belongs before it.
    pub(super) fn push_before_the_unanswered(&mut self, now: UnixTime, stored: Arc<StoredMessage>) {
        let slot = Slot::Message(now, stored);
        self.held_bytes += slot.bytes();
        self.ready.push_back(slot);
    }

    /// Leaves a gap for the acknowledgement of a request of `asked_bytes` and for its answer.
    pub(super) fn reserve(
        &mut self,
        ack: String,
        orig: Box<RawValue>,
        asked_bytes: usize,
        undo: Option<Undo>,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        self.held_bytes += ack.len() + orig.get().len();
        self.asked_bytes += asked_bytes;
        self.gaps.push_back(Gap { id, ack, orig, asked_bytes, undo, behind: Vec::new() });
        id
    }

    /// The message that asked for request `id`, and what a refusal takes back.
    pub(super) fn request(&self, id: u64) -> Option<(&RawValue, Option<Undo>)> {
        let gap = self.gaps.iter().find(|gap| gap.id == id)?;
        Some((&gap.orig, gap.undo))
    }

    /// Puts the answer into the gap of request `id`. An answer that nobody waits for is dropped.
    pub(super) fn fill(&mut self, id: u64, answer: impl IntoIterator<Item = Slot>) {
        let Some(at) = self.gaps.iter().position(|gap| gap.id == id) else { return };
        let Some(Gap { ack, orig, asked_bytes, behind, .. }) = self.gaps.remove(at) else {
            return;
        };
        self.held_bytes -= orig.get().len();
        self.asked_bytes -= asked_bytes;
        let held_bytes = &mut self.held_bytes;
        let answer = answer.into_iter().inspect(|slot| *held_bytes += slot.bytes());
        let slots = std::iter::once(Slot::Frame(ack)).chain(answer).chain(behind);
        match at.checked_sub(1).and_then(|before| self.gaps.get_mut(before)) {
            Some(gap) => gap.behind.extend(slots),
            None => self.ready.extend(slots),
        }
    }

    /// Takes out the first frame, unless something before it waits for its answer.
    pub(super) fn pop(&mut self) -> Option<String> {
        let slot = self.ready.pop_front()?;
        self.held_bytes -= slot.bytes();
        if self.ready.is_empty() {
            // An idle link holds no memory.
            self.ready = VecDeque::new();
        }
        if self.gaps.is_empty() {
            self.gaps = VecDeque::new();
        }
        Some(slot.into_frame())
    }
}

impl Slot {
    /// What it holds in memory, in bytes; a message is counted as if nobody shared it.
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len(),
            Self::Message(_, stored) => stored.bytes(),
        }
    }

    fn into_frame(self) -> String {
        match self {
            Self::Frame(frame) => frame,
            Self::Message(now, stored) => Reply::message(&stored).encode(now),
        }
    }
}
