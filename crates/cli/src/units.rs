//! Sizes, rates and durations as people read them: decimal units, one digit after the point.
//!
//! JSON contains plain numbers of bytes and seconds instead.

use std::time::Duration;

use wormhole_node::{UnixTime, Utc};

/// A number of bytes: `1 Byte`, `18 Bytes`, `300.4 kB`, `21.0 MB`, as the Python command line.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1 => "1 Byte".to_owned(),
        0..1000 => format!("{bytes} Bytes"),
        _ => scaled(bytes),
    }
}

/// A number of bytes in the unit that keeps it below 1000.
fn scaled(bytes: u64) -> String {
    let mut unit: u128 = 1000;
    let mut names = ["kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut name = names.next().unwrap_or_default();
    // Rounds first, then chooses the unit: otherwise 999,950 bytes would be 1000.0 kB.
    for next in names {
        if tenths(bytes, unit) < 10_000 {
            break;
        }
        unit *= 1000;
        name = next;
    }
    let tenths = tenths(bytes, unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Tenths of `unit` in `bytes`, rounded.
fn tenths(bytes: u64, unit: u128) -> u128 {
    (u128::from(bytes) * 10 + unit / 2) / unit
}

/// Bytes per second over a time, `52.1 MB/s`; `None` for less than a millisecond.
pub(crate) fn rate(bytes: u64, time: Duration) -> Option<String> {
    let millis = time.as_millis();
    if millis == 0 {
        return None;
    }
    let per_second = u128::from(bytes) * 1000 / millis;
    Some(format!("{}/s", size(u64::try_from(per_second).unwrap_or(u64::MAX))))
}

/// A time that has passed: `12 ms`, `0.4 s`, `12.0 s`, `3:07 min`, `1:02:03 h`.
pub(crate) fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        0 if time.as_millis() < 100 => format!("{} ms", time.as_millis().max(1)),
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        _ => clock(time),
    }
}

/// A time to come, in whole seconds: `0:07`, `3:07`, `1:02:03`.
pub(crate) fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

fn clock(time: Duration) -> String {
    let unit = if time.as_secs() < 3600 { "min" } else { "h" };
    format!("{} {unit}", left(time))
}

/// A time in seconds since 1970, with its zone: `2026-11-25 14:03:07 UTC`.
pub(crate) fn time(seconds: u64) -> String {
    let Utc { year, month, day, hour, minute, second } =
        UnixTime::from_secs(seconds.try_into().unwrap_or(i64::MAX)).utc();
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_with_one_digit() {
        for (bytes, shown) in [
            (0, "0 Bytes"),
            (1, "1 Byte"),
            (18, "18 Bytes"),
            (999, "999 Bytes"),
            (300_400, "300.4 kB"),
            (21_000_000, "21.0 MB"),
            (1 << 30, "1.1 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn rounding_never_shows_a_thousand_of_a_unit() {
        assert_eq!(size(999_949), "999.9 kB");
        assert_eq!(size(999_950), "1.0 MB");
    }

    #[test]
    fn times_grow_from_milliseconds_to_hours() {
        assert_eq!(elapsed(Duration::from_micros(12_300)), "12 ms");
        assert_eq!(elapsed(Duration::from_millis(440)), "0.4 s");
        assert_eq!(elapsed(Duration::from_secs(187)), "3:07 min");
        assert_eq!(elapsed(Duration::from_secs(3723)), "1:02:03 h");
    }

    #[test]
    fn no_rate_is_shown_for_no_time() {
        assert_eq!(rate(100, Duration::ZERO), None);
        assert_eq!(rate(1_000_000, Duration::from_millis(500)).as_deref(), Some("2.0 MB/s"));
    }
}
