//! Whether one end of a link keeps the pace that is asked for: 8 KiB per second, over a minute.

use std::time::{Duration, Instant};

/// What somebody who is waited for has done lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    since: Instant,
    bytes: usize,
}

impl Progress {
    /// Waiting begins.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// So many bytes more have come or gone.
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

/// Bytes that have to move in every [`PATIENCE`], unless everything that waited has moved before. At
/// this pace the longest message of a client, 4 MiB, takes nine minutes.
pub(crate) const PACE: usize = 480 << 10;

/// How long they may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
