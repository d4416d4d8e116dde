//! Memory for long messages that have begun and are not whole yet, shared by all links.
//!
//! A link may hold as much as it leaves free for others: one alone half of all, and the more want
//! some, the less each gets. So nobody, with however many links, shuts the others out. Whoever holds
//! something has to make progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::net::Progress;

/// How much there is, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: AtomicUsize,
}

/// What one link holds of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    progress: Progress,
}

impl Budget {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0) }
    }
}

impl Share {
    /// A share of nothing.
    pub(super) const fn new(budget: Arc<Budget>, now: Instant) -> Self {
        Self { budget, bytes: 0, progress: Progress::new(now) }
    }

    /// Makes it so many bytes, which are no fewer than before; false if there is no room for them.
    pub(super) fn grow(&mut self, bytes: usize, now: Instant) -> bool {
        let (more, limit) = (bytes.saturating_sub(self.bytes), self.budget.limit);
        // This number guards no other memory.
        let grown = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let held = held.saturating_add(more);
            (held.saturating_add(bytes) <= limit).then_some(held)
        });
        if grown.is_ok() {
            self.bytes += more;
            self.progress.made(more, now);
        }
        grown.is_ok()
    }

    /// Whether the message comes too slowly to be waited for.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.progress.is_stuck(now)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{PACE, PATIENCE};

    #[test]
    fn a_share_leaves_as_much_free_as_it_takes() {
        let (budget, now) = (Arc::new(Budget::new(100)), Instant::now());
        let new = || Share::new(Arc::clone(&budget), now);
        let (mut one, mut two, mut three) = (new(), new(), new());
        assert!(one.grow(50, now) && !one.grow(51, now));
        assert!(two.grow(25, now) && !two.grow(26, now));
        assert!(three.grow(12, now) && !three.grow(13, now));
        drop((one, two));
        assert!(three.grow(50, now));
        drop(three);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_message_that_comes_byte_by_byte_is_stuck() {
        let start = Instant::now();
        let mut share = Share::new(Arc::new(Budget::new(10 * PACE)), start);
        for bytes in 1..60 {
            assert!(share.grow(bytes, start + PATIENCE * u32::try_from(bytes).unwrap() / 60));
        }
        assert!(share.is_stuck(start + PATIENCE));
        assert!(share.grow(PACE, start + PATIENCE));
        assert!(!share.is_stuck(start + PATIENCE) && share.is_stuck(start + 2 * PATIENCE));
    }
}
