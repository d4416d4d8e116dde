//! How much of a transfer is done, shared between the thread that moves the data and the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wormhole_magic::transfer::{DataReceiver, DataSender};

use super::Event;

/// What a thread that moves data has done so far.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Bytes taken from a source, or put into a sink.
    done: Arc<AtomicU64>,
    /// Bytes that the receiver reports to have; [`NOT_REPORTED`] if its program does not report.
    received: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// Of a sender.
    pub(super) fn of_sender(data: &DataSender) -> Self {
        let progress = Self::new(data.offered());
        progress.set_received(data.received());
        progress
    }

    /// Of a receiver.
    pub(super) fn of_receiver(data: &DataReceiver) -> Self {
        Self::new(data.offered())
    }

    fn new(total: Option<u64>) -> Self {
        Self { done: Arc::default(), received: Arc::new(AtomicU64::new(NOT_REPORTED)), total }
    }

    pub(super) fn set_done(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    /// The receiver reports that it has so many bytes; `None` if it does not report.
    pub(super) fn set_received(&self, bytes: Option<u64>) {
        self.received.store(bytes.unwrap_or(NOT_REPORTED), Ordering::Relaxed);
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
            NOT_REPORTED => self.done().saturating_sub(outstanding),
            received => received,
        }
    }
}

/// Not a number of bytes.
const NOT_REPORTED: u64 = u64::MAX;

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
        progress.set_done(60);
        assert_eq!((shown(&progress, 50), progress.has_arrived(50)), (10, false));
        assert_eq!((shown(&progress, 90), progress.has_arrived(0)), (0, true));
    }

    #[test]
    fn what_the_receiver_reports_counts_more_than_what_the_system_knows() {
        let progress = Progress::new(Some(100));
        progress.set_received(Some(0));
        progress.set_done(60);
        assert_eq!((shown(&progress, 0), progress.has_arrived(0)), (0, false));
        progress.set_received(Some(40));
        assert_eq!(shown(&progress, 0), 40);
        progress.set_received(Some(60));
        assert_eq!((shown(&progress, 30), progress.has_arrived(30)), (60, true));
    }
}
