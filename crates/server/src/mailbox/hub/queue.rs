//! The queue of requests and notifications for the store's thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wormhole_magic::mailbox::server::{Identity, Request, RequestId};

use crate::mailbox::inbox::Inbox;
use crate::mailbox::wake::Changed;
use crate::memory::Share;

/// A queue with many senders and the store's thread as its receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    changed: Condvar,
}

/// All items that the thread has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// In order of arrival.
    pub(super) requests: Vec<ClientRequest>,
    /// Numbers of links that have ended. They have made no requests since then.
    pub(super) disconnected: Vec<u64>,
    /// Mailboxes to which other nodes may have added messages.
    pub(super) changed: Changed,
    /// Whether to return unused memory to the system.
    pub(super) release_memory: bool,
    closed: bool,
}

/// A request of one link.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) inbox: Arc<Inbox>,
    pub(super) client: Arc<Identity>,
    pub(super) id: RequestId,
    pub(super) request: Request,
    #[expect(
        dead_code,
        reason = "memory that is charged to the client's address until it is dropped"
    )]
    pub(super) share: Share,
}

impl Pending {
    const fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.disconnected.is_empty()
            && self.changed.is_nothing()
            && !self.release_memory
    }
}

impl Queue {
    /// Adds an item, and wakes the thread if the queue was empty.
    pub(super) fn push(&self, add: impl FnOnce(&mut Pending)) {
        let mut pending = self.lock();
        let was_empty = pending.is_empty();
        add(&mut pending);
        drop(pending);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Ends the thread once it has handled all waiting items.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for items and takes all of them. Returns an empty value at `deadline`, and `None` once the queue is closed
    /// and empty.
    pub(super) fn take(&self, deadline: Instant) -> Option<Pending> {
        let mut pending = self.lock();
        loop {
            if !pending.is_empty() {
                let closed = pending.closed;
                return Some(std::mem::replace(
                    &mut *pending,
                    Pending { closed, ..Pending::default() },
                ));
            }
            if pending.closed {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Pending::default());
            }
            let woken = self.changed.wait_timeout(pending, left);
            pending = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Adds the requests that have arrived in the meantime to `requests`.
    pub(super) fn take_more(&self, requests: &mut Vec<ClientRequest>) {
        requests.append(&mut self.lock().requests);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
