//! Warns, at most once per minute, that a clock is wrong: perhaps that of this computer.

use std::time::{Duration, Instant};

/// When the last warning was logged.
#[derive(Debug, Default)]
pub(super) struct ClockWarning(Option<Instant>);

impl ClockWarning {
    /// Logs a warning. If the last one was less than a minute ago, logs at the level `debug`.
    pub(super) fn log(&mut self, now: Instant, reason: &str) {
        if self.is_due(now) {
            tracing::warn!(reason, "the clock of this computer or of a peer is wrong");
        } else {
            tracing::debug!(reason, "the clock of this computer or of a peer is wrong");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_recent = |last: Instant| now.saturating_duration_since(last) < INTERVAL;
        let is_due = !self.0.is_some_and(is_recent);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// Shortest time between two warnings.
const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_at_most_one_warning_in_a_minute() {
        let (mut warning, now) = (ClockWarning::default(), Instant::now());
        let times = [0, 1, 59, 60, 61, 120].map(|seconds| now + Duration::from_secs(seconds));
        assert_eq!(times.map(|now| warning.is_due(now)), [true, false, false, true, false, true]);
    }
}
