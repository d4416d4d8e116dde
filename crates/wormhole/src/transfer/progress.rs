//! How much of a transfer is done, where the thread that carries it and everybody else can see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Event;

/// What a thread that carries data has done so far.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Bytes taken from a source, or put into a sink.
    done: Arc<AtomicU64>,
    /// Bytes that the receiver says it has taken; [`NOBODY_TELLS`] if it says nothing.
    received: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// Of `total` bytes, or of an unknown number.
    pub(super) fn new(total: Option<u64>) -> Self {
        Self { done: Arc::default(), received: Arc::new(AtomicU64::new(NOBODY_TELLS)), total }
    }

    /// Of as many bytes, sent to a receiver that tells how much it has taken.
    pub(super) fn told_by_receiver(total: Option<u64>) -> Self {
        Self { done: Arc::default(), received: Arc::default(), total }
    }

    /// Whether the receiver tells how much it has taken.
    pub(super) fn is_told_by_receiver(&self) -> bool {
        self.received.load(Ordering::Relaxed) != NOBODY_TELLS
    }

    pub(super) fn add(&self, bytes: usize) {
        self.done.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The receiver says that it has taken so many bytes. It cannot have more than were sent.
    pub(super) fn set_received(&self, bytes: u64) {
        self.received.store(bytes.min(self.done()), Ordering::Relaxed);
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether all that was sent has arrived, as far as anybody can tell. `outstanding` bytes are not
    /// acknowledged by the other end of the connection.
    pub(super) fn has_arrived(&self, outstanding: u64) -> bool {
        self.arrived(outstanding) == self.done()
    }

    /// How far it is. `outstanding` bytes are not acknowledged by the other end of the connection.
    pub(super) fn event(&self, outstanding: u64) -> Event {
        Event::Progress { done: self.arrived(outstanding), total: self.total }
    }

    fn arrived(&self, outstanding: u64) -> u64 {
        match self.received.load(Ordering::Relaxed) {
            NOBODY_TELLS => self.done().saturating_sub(outstanding),
            received => received,
        }
    }
}

/// Not a number of bytes.
const NOBODY_TELLS: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(progress: &Progress, outstanding: u64) -> u64 {
        let event = progress.event(outstanding);
        let Event::Progress { done, .. } = event else { panic!("{event:?}") };
        done
    }

    #[test]
    fn what_the_system_has_not_delivered_is_not_done() {
        let progress = Progress::new(Some(100));
        progress.add(60);
        assert_eq!((shown(&progress, 50), progress.has_arrived(50)), (10, false));
        assert_eq!((shown(&progress, 90), progress.has_arrived(0)), (0, true));
    }

    #[test]
    fn what_the_receiver_says_counts_but_it_cannot_have_more_than_was_sent() {
        let progress = Progress::told_by_receiver(Some(100));
        progress.add(60);
        assert_eq!((shown(&progress, 0), progress.has_arrived(0)), (0, false));
        progress.set_received(40);
        assert_eq!(shown(&progress, 0), 40);
        progress.set_received(u64::MAX);
        assert_eq!((shown(&progress, 0), progress.has_arrived(0)), (60, true));
        assert!(progress.is_told_by_receiver());
    }
}
