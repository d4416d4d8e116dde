//! Wall-clock time as a value that travels: stored, sent, compared between machines.
//!
//! Waiting is done with [`Instant`](crate::Instant); the two are never converted into one another.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use web_time::SystemTime;

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

    /// Year, month (1-12) and day (1-31) of this time in UTC. Times before 1970 count as 1970.
    pub fn date(self) -> (u64, u64, u64) {
        date(Duration::try_from_secs_f64(self.0).unwrap_or_default().as_secs() / DAY)
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

/// Year, month (1-12) and day (1-31) of a number of days since 1970, in the Gregorian calendar.
///
/// ```
/// assert_eq!(wormhole_kit::date(18_831), (2021, 7, 23));
/// ```
pub const fn date(days: u64) -> (u64, u64, u64) {
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the day that some years
    // lack comes last; 719,468 days lie between the March of year 0 and 1970.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era + year_of_era / 100 - year_of_era / 4 - year_of_era * 365;
    let month_from_march = (day_of_year * 5 + 2) / 153;
    let day = day_of_year - (month_from_march * 153 + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month_from_march < 10 {
        (year, month_from_march + 3, day)
    } else {
        (year + 1, month_from_march - 9, day)
    }
}

/// Seconds of a day.
const DAY: u64 = 86_400;

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
    fn dates_follow_the_calendar() {
        for (seconds, date) in [
            (-1.0, (1970, 1, 1)),
            (86_399.0, (1970, 1, 1)),
            (951_782_400.0, (2000, 2, 29)),
            (951_868_800.0, (2000, 3, 1)),
            (1_626_998_400.0, (2021, 7, 23)),
            (4_102_444_799.0, (2099, 12, 31)),
        ] {
            assert_eq!(UnixTime::from_secs(seconds).date(), date);
        }
    }

    #[test]
    fn what_is_not_a_number_counts_as_1970() {
        assert_eq!(UnixTime::from_secs(f64::NAN), UnixTime::from_secs(0.0));
    }
}
