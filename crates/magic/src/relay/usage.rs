//! Usage records of pairs and unpaired connections.
//!
//! They never contain addresses or tokens. Spec: `usage` table of magic-wormhole-transit-relay 0.5.0.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wormhole_kit::UnixTime;

/// How a pair or an unpaired connection ended, with the names of the Python relay.
///
/// The Python relay also has `jilted`, for the side of a pair that did not close first; it is never recorded,
/// because the partner's `happy` stands for both.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mood {
    /// Closed without a handshake.
    Empty,
    /// Sent an invalid handshake.
    Errory,
    /// Was paired; the relay does not know the result of the transfer.
    Happy,
    /// Sent data before it was paired.
    Impatient,
    /// Closed, or timed out, before its partner connected.
    Lonely,
    /// Closed because another connection of the same client was paired.
    Redundant,
}

impl Mood {
    /// All moods, with their names in the records.
    pub const ALL: [Self; 6] =
        [Self::Empty, Self::Errory, Self::Happy, Self::Impatient, Self::Lonely, Self::Redundant];

    /// The name in the records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Errory => "errory",
            Self::Happy => "happy",
            Self::Impatient => "impatient",
            Self::Lonely => "lonely",
            Self::Redundant => "redundant",
        }
    }
}

impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Mood {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Usage of a pair or connection when it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// From the opening of the first link to now.
    pub total: Duration,
    /// From the opening of the first link to that of the second; `None` without a pair.
    pub waiting: Option<Duration>,
    /// Forwarded bytes in both directions, without handshake lines and answers.
    pub bytes: u64,
    /// How it ended.
    pub mood: Mood,
}

impl Usage {
    /// The row to write, at time `finished`.
    ///
    /// A `blur` above zero rounds the start down to a multiple of it, and the size up: to 10 kB below
    /// 1 MB, to 1 MB below 1 GB, to 100 MB above.
    pub fn record(&self, finished: UnixTime, blur: Duration) -> Record {
        Record {
            started: finished.saturating_sub(self.total).rounded_down(blur),
            total_time: self.total.as_secs_f64(),
            waiting_time: self.waiting.map(|time| time.as_secs_f64()),
            total_bytes: if blur.is_zero() { self.bytes } else { blurred_size(self.bytes) },
            mood: self.mood,
        }
    }
}

/// A usage record. Serialises as one line of the Python relay's JSON log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Record {
    /// When the first link was opened.
    pub started: UnixTime,
    /// Seconds from then to the end.
    pub total_time: f64,
    /// Seconds from then to the second link.
    pub waiting_time: Option<f64>,
    /// Forwarded bytes.
    pub total_bytes: u64,
    /// How it ended.
    pub mood: Mood,
}

/// Rounds a size in bytes up to two or three significant digits.
const fn blurred_size(size: u64) -> u64 {
    let step = match size {
        0..MEGABYTE => 10_000,
        MEGABYTE..GIGABYTE => MEGABYTE,
        _ => 100 * MEGABYTE,
    };
    size.div_ceil(step).saturating_mul(step)
}

/// Bytes in a megabyte, decimal as in the Python relay.
const MEGABYTE: u64 = 1_000_000;

/// Bytes in a gigabyte, decimal as in the Python relay.
const GIGABYTE: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage {
        total: Duration::from_millis(2500),
        waiting: Some(Duration::from_millis(500)),
        bytes: 12_345,
        mood: Mood::Happy,
    };

    #[test]
    fn a_record_reads_like_the_reference_s_log_line() {
        let record = USAGE.record(UnixTime::from_secs_f64(1002.5), Duration::ZERO);
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"started":1000.0,"total_time":2.5,"waiting_time":0.5,"total_bytes":12345,"mood":"happy"}"#,
        );
    }

    #[test]
    fn blurring_rounds_the_start_down_and_the_size_up() {
        let record = USAGE.record(UnixTime::from_secs_f64(1002.5), Duration::from_secs(60));
        assert_eq!(record.started, UnixTime::from_secs(960));
        assert_eq!(record.total_bytes, 20_000);
    }

    #[test]
    fn blurred_sizes_grow_coarser_with_the_size() {
        for (size, blurred) in [
            (0, 0),
            (1, 10_000),
            (10_000, 10_000),
            (10_001, 20_000),
            (999_999, 1_000_000),
            (1_000_001, 2_000_000),
            (999_999_999, 1_000_000_000),
            (1_000_000_001, 1_100_000_000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(blurred_size(size), blurred, "{size}");
        }
    }
}
