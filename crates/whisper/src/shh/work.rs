//! Proof of work of envelopes (docs/whisper-protocol.md "Envelope").
//!
//! Module `miner` searches for nonces.

use std::cmp::Ordering;

/// The proof of work of an envelope: 2 to the power of the number of leading zero bits of its hash, divided
/// by its size in bytes and by its lifetime in seconds. Never negative and never NaN.
#[derive(Clone, Copy, Debug)]
pub struct Work(f64);

impl Work {
    /// No work.
    pub const NONE: Self = Self(0.0);

    /// Minimum work by default, as in go-ethereum.
    pub const DEFAULT_MINIMUM: Self = Self(0.2);

    /// A requirement. `None` unless it is finite and not negative.
    pub fn new(work: f64) -> Option<Self> {
        // `abs` because -0.0 passes the comparison but would sort below zero.
        (work.is_finite() && work >= 0.0).then_some(Self(work.abs()))
    }

    /// The work for these leading zero bits, size in bytes and lifetime in seconds. Infinite for a lifetime of
    /// zero, which is not allowed.
    pub(super) fn of(leading_zero_bits: u32, size: usize, seconds: u32) -> Self {
        // In go-ethereum's order: the last bit of the result depends on it.
        Self(f64::from(leading_zero_bits).exp2() / as_f64(size) / f64::from(seconds))
    }

    /// The value.
    pub const fn as_f64(self) -> f64 {
        self.0
    }

    /// The number of leading zero bits, 1 to 256, that gives at least this work for this size in bytes and
    /// lifetime in seconds.
    pub fn bits_needed(self, size: usize, seconds: u32) -> u32 {
        let tries = self.0 * as_f64(size) * f64::from(seconds);
        let bits = tries.log2().ceil().clamp(1.0, 256.0);
        (1..=256).find(|count| f64::from(*count) >= bits).unwrap_or(256)
    }
}

#[expect(clippy::as_conversions, reason = "sizes are below 2^53, where f64 is exact")]
const fn as_f64(size: usize) -> f64 {
    size as f64
}

impl PartialEq for Work {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Work {}

impl PartialOrd for Work {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Work {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Leading zero bits of a big-endian number.
pub(super) fn leading_zero_bits(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let mut bits = 0;
    for byte in bytes {
        bits += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_finite_and_not_negative() {
        assert_eq!(Work::new(0.2), Some(Work::DEFAULT_MINIMUM));
        for refused in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            assert_eq!(Work::new(refused), None);
        }
    }

    #[test]
    fn at_least_one_bit_is_needed_and_never_more_than_a_hash_has() {
        assert_eq!(Work::NONE.bits_needed(300, 50), 1);
        assert_eq!(Work(f64::MAX).bits_needed(300, 50), 256);
        assert_eq!(Work(0.2).bits_needed(304, 50), 12);
    }

    #[test]
    fn leading_zeros_are_counted_across_bytes() {
        assert_eq!(leading_zero_bits([0, 0x10, 0xff]), 11);
        assert_eq!(leading_zero_bits([0x80]), 0);
        assert_eq!(leading_zero_bits([0; 32]), 256);
    }
}
