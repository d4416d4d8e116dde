//! The progress of a transfer, shared between the data thread and the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wormhole_magic::transfer::{DataReceiver, DataSender};

use super::Event;

/// The progress of a data thread.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Bytes read from a source or written to a sink.
    done: Arc<AtomicU64>,
    /// Bytes that the receiver has reported; [`NOT_REPORTED`] if it does not report.
    received: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// The progress of a sender.
    pub(super) fn of_sender(data: &DataSender) -> Self {
        let progress = Self::new(data.offered());
        progress.set_received(data.received());
        progress
    }

    /// The progress of a receiver.
    pub(super) fn of_receiver(data: &DataReceiver) -> Self {
        Self::new(data.offered())
    }

    /// The progress of either side over a dilated connection, with this many offered bytes.
    pub(super) fn of_dilated(total: Option<u64>) -> Self {
        Self::new(total)
    }

    fn new(total: Option<u64>) -> Self {
        Self { done: Arc::default(), received: Arc::new(AtomicU64::new(NOT_REPORTED)), total }
    }

    pub(super) fn set_done(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    /// Sets the bytes that the receiver has reported; `None` if it does not report.
    pub(super) fn set_received(&self, bytes: Option<u64>) {
        self.received.store(bytes.unwrap_or(NOT_REPORTED), Ordering::Relaxed);
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether all sent data has arrived, as far as known. `outstanding` bytes are not
    /// acknowledged by the other end of the connection.
    pub(super) fn has_arrived(&self, outstanding: u64) -> bool {
        self.arrived(outstanding) == self.done()
    }

    /// The progress event. `outstanding` bytes are not acknowledged by the other end of the connection.
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

/// Marks an unknown number of bytes.
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
