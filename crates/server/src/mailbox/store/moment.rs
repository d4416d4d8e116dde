//! One moment on two clocks.

use std::time::{Instant, SystemTime};

use wormhole_kit::UnixTime;

/// When something happened.
#[derive(Clone, Copy, Debug)]
pub(in crate::mailbox) struct Moment {
    /// For what is written down or sent. People and time servers set this clock forward and back.
    pub(in crate::mailbox) wall: UnixTime,
    /// For how long something has lasted.
    pub(in crate::mailbox) steady: Instant,
}

impl Moment {
    /// This moment.
    pub(in crate::mailbox) fn now() -> Self {
        Self { wall: SystemTime::now().into(), steady: Instant::now() }
    }
}
