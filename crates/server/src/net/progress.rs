//! Checks that a connection makes enough progress: 8 KiB per second, measured over a minute.

use std::time::{Duration, Instant};

/// Recent progress of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    since: Instant,
    bytes: usize,
}

impl Progress {
    /// Starts the measurement.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// Counts bytes.
    pub(crate) const fn made(&mut self, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= PACE {
            *self = Self::new(now);
        }
    }

    /// Whether it was less than [`PACE`] for [`PATIENCE`].
    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PATIENCE
    }
}

/// Minimum number of bytes per [`PATIENCE`], unless everything has been moved. At this rate the longest message of a
/// client, 4 MiB, takes nine minutes.
pub(crate) const PACE: usize = 480 << 10;

/// The measurement interval.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
