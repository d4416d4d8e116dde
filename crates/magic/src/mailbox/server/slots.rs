//! Puts frames into the order of the client's messages, whatever the order of the store's answers.
//!
//! A request to the store leaves a gap, and later frames wait until it is filled. Stored messages are shared
//! with other recipients, and are encoded only when they are sent.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::value::RawValue;
use wormhole_kit::UnixTime;

use super::reply::Reply;
use super::{StoredMessage, Undo};

/// Frames to send, with gaps for unanswered requests.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Frames that can be sent now.
    ready: VecDeque<Slot>,
    /// Unanswered requests, each with the frames that wait for it.
    gaps: VecDeque<Gap>,
    next: u64,
    held_bytes: usize,
    asked_bytes: usize,
}

/// One frame.
#[derive(Debug)]
pub(super) enum Slot {
    Frame(String),
    /// A stored message, and when it was added here.
    Message(UnixTime, Arc<StoredMessage>),
}

#[derive(Debug)]
struct Gap {
    id: u64,
    /// The acknowledgement. Sent together with the answer, because it confirms that the request was handled.
    ack: String,
    /// The shortened request, for the `error` if it is rejected.
    orig: Box<RawValue>,
    /// Size of the request in bytes.
    asked_bytes: usize,
    undo: Option<Undo>,
    behind: Vec<Slot>,
}

impl Slots {
    /// Number of unanswered requests.
    pub(super) fn unanswered(&self) -> usize {
        self.gaps.len()
    }

    /// Size of all waiting frames in bytes.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Size of the unanswered requests in bytes.
    pub(super) const fn asked_bytes(&self) -> usize {
        self.asked_bytes
    }

    /// Whether a frame can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Adds a frame at the end.
    pub(super) fn push(&mut self, frame: String) {
        self.held_bytes += frame.len();
        match self.gaps.back_mut() {
            Some(gap) => gap.behind.push(Slot::Frame(frame)),
            None => self.ready.push_back(Slot::Frame(frame)),
        }
    }

    /// Adds a message before the first unanswered request: the store reported it before that
    /// answer.
    pub(super) fn push_before_the_unanswered(&mut self, now: UnixTime, stored: Arc<StoredMessage>) {
        let slot = Slot::Message(now, stored);
        self.held_bytes += slot.bytes();
        self.ready.push_back(slot);
    }

    /// Adds a gap for the acknowledgement of a request of `asked_bytes` and for its answer.
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

    /// The message of request `id`, and the state to revert if it is rejected.
    pub(super) fn request(&self, id: u64) -> Option<(&RawValue, Option<Undo>)> {
        let gap = self.gaps.iter().find(|gap| gap.id == id)?;
        Some((&gap.orig, gap.undo))
    }

    /// Fills the gap of request `id`. An unexpected answer is dropped.
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

    /// Removes the first frame, unless an earlier request is unanswered.
    pub(super) fn pop(&mut self) -> Option<String> {
        let slot = self.ready.pop_front()?;
        self.held_bytes -= slot.bytes();
        if self.ready.is_empty() {
            // Free the memory of an idle connection.
            self.ready = VecDeque::new();
        }
        if self.gaps.is_empty() {
            self.gaps = VecDeque::new();
        }
        Some(slot.into_frame())
    }
}

impl Slot {
    /// Size in memory in bytes; a message counts as if it were not shared.
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
