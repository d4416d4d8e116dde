//! Frames in the order of the client's messages, whatever order their answers come in.
//!
//! A request to the store leaves an empty slot. Frames behind it wait until it is filled.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use super::Undo;

/// Frames on their way out, and the gaps between them.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: VecDeque<Slot>,
    next: u64,
    unanswered: usize,
    held_bytes: usize,
}

#[derive(Debug)]
enum Slot {
    Frame(String),
    Request { id: u64, question: Box<RawValue>, undo: Option<Undo> },
}

impl Slots {
    /// Requests without an answer.
    pub(super) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Size of everything that waits, in bytes.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Puts a frame at the end.
    pub(super) fn push(&mut self, frame: String) {
        self.held_bytes += frame.len();
        self.slots.push_back(Slot::Frame(frame));
    }

    /// Puts a frame where the next answer will go: what the store reported before that answer
    /// belongs before it.
    pub(super) fn push_before_the_unanswered(&mut self, frame: String) {
        let first = self.slots.iter().position(|slot| matches!(slot, Slot::Request { .. }));
        self.held_bytes += frame.len();
        self.slots.insert(first.unwrap_or(self.slots.len()), Slot::Frame(frame));
    }

    /// Leaves a gap for the answer to `question`.
    pub(super) fn reserve(&mut self, question: &RawValue, undo: Option<Undo>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.unanswered += 1;
        self.held_bytes += question.get().len();
        self.slots.push_back(Slot::Request { id, question: question.to_owned(), undo });
        id
    }

    /// The message that asked for request `id`, and what a refusal takes back.
    pub(super) fn request(&self, id: u64) -> Option<(&RawValue, Option<Undo>)> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Request { id: this, question, undo } => {
                (*this == id).then_some((&**question, *undo))
            }
            Slot::Frame(_) => None,
        })
    }

    /// Puts frames into the gap of request `id`. An answer that nobody waits for is dropped.
    pub(super) fn fill(&mut self, id: u64, frames: Vec<String>) {
        let gap = self.slots.iter().position(|slot| match slot {
            Slot::Request { id: this, .. } => *this == id,
            Slot::Frame(_) => false,
        });
        let Some(gap) = gap else { return };
        if let Some(Slot::Request { question, .. }) = self.slots.remove(gap) {
            self.held_bytes -= question.get().len();
            self.unanswered -= 1;
        }
        for (offset, frame) in frames.into_iter().enumerate() {
            self.held_bytes += frame.len();
            self.slots.insert(gap + offset, Slot::Frame(frame));
        }
    }

    /// Takes out the first frame, unless something before it waits for its answer.
    pub(super) fn pop(&mut self) -> Option<String> {
        match self.slots.pop_front()? {
            Slot::Frame(frame) => {
                self.held_bytes -= frame.len();
                if self.slots.is_empty() {
                    // An idle link holds no memory.
                    self.slots = VecDeque::new();
                }
                Some(frame)
            }
            request @ Slot::Request { .. } => {
                self.slots.push_front(request);
                None
            }
        }
    }
}
