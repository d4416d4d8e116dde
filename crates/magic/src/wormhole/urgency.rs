//! How often to reconnect to the mailbox server, usually and while something waits for it.
//!
//! A dilated connection that was lost can be replaced only through the mailbox, so its pauses are those of the dilated
//! connection itself. The usual pauses would be longer than the loss.

use std::time::Duration;

use rand_core::CryptoRngCore;
use wormhole_kit::Instant;

/// Since when something waits for the server, if anything does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Urgency {
    since: Option<Instant>,
}

impl Urgency {
    pub(super) const fn new() -> Self {
        Self { since: None }
    }

    /// Something waits from now on, unless it does already.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The server has answered.
    pub(super) const fn end(&mut self) {
        self.since = None;
    }

    /// The pause before the next attempt: a tenth of the time that has passed, within limits, and random. `None` if
    /// nothing waits.
    pub(super) fn pause(self, now: Instant, rng: &mut impl CryptoRngCore) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.since?);
        let jitter = f64::from(rng.next_u32()) / f64::from(u32::MAX);
        Some((waited / 10).clamp(MIN_PAUSE, MAX_PAUSE).mul_f64(0.5 + jitter / 2.0))
    }

    /// The time limit of an attempt: half of the time that has passed, within limits, so that slow networks have enough
    /// time at last. `None` if nothing waits.
    pub(super) fn timeout(self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.since?);
        Some((waited / 2).clamp(MIN_TIMEOUT, MAX_TIMEOUT))
    }
}

/// The pause before the next attempt if nothing waits: longer each time and random, so that not all clients return at the same
/// time to a restarted server.
pub(super) fn usual_pause(failures: u32, rng: &mut impl CryptoRngCore) -> Duration {
    let grown = FIRST_PAUSE.as_secs_f64() * 1.5_f64.powi(failures.min(32).cast_signed());
    let jitter = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    Duration::from_secs_f64(grown.min(LONGEST_PAUSE.as_secs_f64()) * (0.5 + jitter))
}

/// Average pause before the first reconnection.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Maximum average pause between attempts, as in the Python client.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Minimum pause between two attempts while something waits.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// Maximum pause between two attempts while something waits.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Minimum time limit of an attempt.
const MIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time limit of an attempt.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
