//! Wall-clock time as a value that travels: stored, sent, compared between machines.
//!
//! Waiting is done with [`std::time::Instant`]; the two are never converted into one another.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, with a fraction.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct UnixTime(f64);

impl UnixTime {
    /// From seconds since 1970. What is not a number counts as 1970.
    pub const fn from_secs(seconds: f64) -> Self {
        Self(if seconds.is_finite() { seconds } else { 0.0 })
    }

    /// Seconds since 1970.
    pub const fn as_secs(self) -> f64 {
        self.0
    }

    /// Seconds from `earlier` until this time; negative if this comes first.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0 - earlier.0
    }

    /// This time, rounded down to a multiple of `step` seconds; unchanged when `step` is zero.
    #[must_use]
    pub fn blurred(self, step: Duration) -> Self {
        let step = step.as_secs_f64();
        if step > 0.0 { Self((self.0 / step).floor() * step) } else { self }
    }
}

/// Times before 1970 count as 1970.
impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blurring_rounds_down_to_the_step() {
        let time = UnixTime::from_secs(1234.5);
        assert_eq!(time.blurred(Duration::from_secs(100)), UnixTime::from_secs(1200.0));
        assert_eq!(time.blurred(Duration::ZERO), time);
    }

    #[test]
    fn what_is_not_a_number_counts_as_1970() {
        assert_eq!(UnixTime::from_secs(f64::NAN), UnixTime::from_secs(0.0));
    }
}
