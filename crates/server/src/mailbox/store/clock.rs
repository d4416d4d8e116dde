//! The current time on two clocks.

use std::time::{Instant, SystemTime};

use wormhole_kit::UnixTime;

/// The same point in time on the wall clock and on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(in crate::mailbox) struct Now {
    /// The wall clock, for times that are stored or sent. It may jump, because operators and time servers set it.
    pub(in crate::mailbox) wall: UnixTime,
    /// The monotonic clock, for measuring durations.
    pub(in crate::mailbox) monotonic: Instant,
}

impl Now {
    /// Reads both clocks.
    pub(in crate::mailbox) fn read() -> Self {
        Self { wall: SystemTime::now().into(), monotonic: Instant::now() }
    }
}
