//! The requests that wait for the thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::closed;
use crate::messaging::store::{StoreError, Turn};

/// The requests that wait for the thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<WaitingTurn>,
    changed: Condvar,
}

/// The next turn.
#[derive(Debug, Default)]
struct WaitingTurn {
    turn: Turn,
    is_closed: bool,
}

impl Queue {
    /// Adds a request, and wakes the thread if nothing was waiting before.
    pub(super) fn push(&self, add: impl FnOnce(&mut Turn)) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(closed());
        }
        let was_empty = waiting.turn.is_empty();
        add(&mut waiting.turn);
        drop(waiting);
        if was_empty {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Takes all requests, or none at `deadline`; `None` once the queue is closed and empty.
    pub(super) fn take(&self, deadline: Instant) -> Option<Turn> {
        let mut waiting = self.lock();
        loop {
            if !waiting.turn.is_empty() {
                return Some(waiting.turn.take());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.is_closed || left.is_zero() {
                return (!waiting.is_closed).then(Turn::default);
            }
            let woken = self.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Refuses what waits, and all later requests.
    pub(super) fn refuse_all(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let turn = std::mem::take(&mut waiting.turn);
        drop(waiting);
        turn.finish(&Err(closed()));
    }

    fn lock(&self) -> MutexGuard<'_, WaitingTurn> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses all requests when it is dropped.
pub(super) struct RefuseAll<'a>(pub(super) &'a Queue);

impl Drop for RefuseAll<'_> {
    fn drop(&mut self) {
        self.0.refuse_all();
    }
}

impl Queue {
    /// Refuses all later requests.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }
}
