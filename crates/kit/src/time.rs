//! Wall-clock time, for values that are stored, sent or compared between machines.
//!
//! Use [`Instant`](crate::Instant) for waiting; the two are never converted into each other.

use std::time::Duration;

use jiff::{Timestamp, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use web_time::SystemTime;

/// A time of the wall clock, in microseconds since 1970-01-01T00:00:00Z.
///
/// It serialises as a number of seconds with a fraction, as in the mailbox protocol and the usage
/// databases. That number is exact to a microsecond until the year 2106.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(i64);

impl UnixTime {
    /// From whole seconds since 1970.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// From seconds since 1970, rounded to the nearest microsecond. Values that are not finite count
    /// as 1970.
    #[expect(clippy::as_conversions, reason = "a time too far away becomes the last possible one")]
    pub const fn from_secs_f64(seconds: f64) -> Self {
        if !seconds.is_finite() {
            return Self(0);
        }
        let half = if seconds < 0.0 { -0.5 } else { 0.5 };
        Self((seconds * 1e6 + half) as i64)
    }

    /// Seconds since 1970, with a fraction.
    #[expect(
        clippy::as_conversions,
        reason = "off by less than half a microsecond until the year 2106"
    )]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whole seconds since 1970: the fraction is dropped. Times before 1970 count as 1970.
    pub const fn as_secs(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0.unsigned_abs() / 1_000_000 }
    }

    /// This time plus `later`, or the last possible one.
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(micros(later)))
    }

    /// This time minus `earlier`, or the first possible one.
    #[must_use]
    pub fn saturating_sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(micros(earlier)))
    }

    /// This time, rounded down to a multiple of `step`; unchanged when `step` is zero.
    #[must_use]
    pub fn rounded_down(self, step: Duration) -> Self {
        let rest = self.0.checked_rem_euclid(micros(step)).unwrap_or(0);
        Self(self.0.saturating_sub(rest))
    }

    /// Date and time of day in UTC. The calendar ends with the years -9999 and 9999.
    pub fn utc(self) -> Utc {
        let end = if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let timestamp = Timestamp::from_microsecond(self.0).unwrap_or(end);
        let utc = Offset::UTC.to_datetime(timestamp);
        let [month, day, hour, minute, second] =
            [utc.month(), utc.day(), utc.hour(), utc.minute(), utc.second()].map(i8::unsigned_abs);
        Utc { year: utc.year(), month, day, hour, minute, second }
    }
}

/// Times before 1970 count as 1970.
impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        Self(micros(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_secs_f64)
    }
}

/// Date and time of day in UTC, in the Gregorian calendar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the parts of a date do not change")]
pub struct Utc {
    /// The year, -9999 to 9999.
    pub year: i16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// The second, 0 to 59.
    pub second: u8,
}

/// Whole microseconds of `duration`, as many as fit.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

const MICROS_PER_SECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blurring_rounds_down_to_the_step() {
        let time = UnixTime::from_secs_f64(1234.5);
        assert_eq!(time.rounded_down(Duration::from_secs(100)), UnixTime::from_secs(1200));
        assert_eq!(time.rounded_down(Duration::from_millis(200)), UnixTime::from_secs_f64(1234.4));
        assert_eq!(time.rounded_down(Duration::ZERO), time);
        let before_1970 = UnixTime::from_secs(-1);
        assert_eq!(before_1970.rounded_down(Duration::from_secs(100)), UnixTime::from_secs(-100));
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, date) in [
            (-1, (1969, 12, 31)),
            (86_399, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (1_626_998_400, (2021, 7, 23)),
            (4_102_444_799, (2099, 12, 31)),
            (i64::MIN, (-9999, 1, 2)),
            (i64::MAX, (9999, 12, 30)),
        ] {
            let utc = UnixTime::from_secs(seconds).utc();
            assert_eq!((utc.year, utc.month, utc.day), date, "{seconds}");
        }
    }

    #[test]
    fn the_time_of_day_is_in_utc() {
        let utc = UnixTime::from_secs_f64(1_575_000_000.9).utc();
        assert_eq!((utc.hour, utc.minute, utc.second), (4, 0, 0));
    }

    #[test]
    fn a_number_that_is_not_finite_counts_as_1970() {
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(UnixTime::from_secs_f64(seconds), UnixTime::from_secs(0));
        }
    }

    #[test]
    fn every_microsecond_survives_as_seconds_with_a_fraction() {
        for micros in
            [0, 1, -1, 1_732_848_000_123_457, 1_732_848_000_999_999, 4_294_967_295_999_999]
        {
            let time = UnixTime(micros);
            assert_eq!(UnixTime::from_secs_f64(time.as_secs_f64()), time);
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<UnixTime>(&text).unwrap(), time);
        }
        assert_eq!(serde_json::to_string(&UnixTime(1_500_250_000)).unwrap(), "1500.25");
    }

    #[test]
    fn whole_seconds_drop_the_fraction_and_begin_in_1970() {
        assert_eq!(UnixTime::from_secs_f64(59.999_999).as_secs(), 59);
        assert_eq!(UnixTime::from_secs(-5).as_secs(), 0);
    }

    #[test]
    fn times_at_the_edges_do_not_wrap() {
        let last = UnixTime::from_secs(i64::MAX);
        assert_eq!(last.saturating_add(Duration::MAX), last);
        assert!(UnixTime::from_secs(0).saturating_sub(Duration::MAX) < UnixTime::from_secs(0));
        assert_eq!(UnixTime::from_secs_f64(1e300), last);
    }
}
