//! The current time on two clocks.

use std::time::{Instant, SystemTime};

use wormhole_kit::UnixTime;

/// The same point in time on the wall clock and on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(in crate::mailbox) struct Now {
    /// For times that are stored or sent. Operators and time servers set this clock forward and back.
    pub(in crate::mailbox) wall: UnixTime,
    /// For measuring how long something has lasted.
    pub(in crate::mailbox) monotonic: Instant,
}

impl Now {
    /// Reads both clocks.
    pub(in crate::mailbox) fn read() -> Self {
        Self { wall: SystemTime::now().into(), monotonic: Instant::now() }
    }
}
