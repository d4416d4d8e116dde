//! How far a client is behind the least rate, 8 KiB per second.

use std::time::Duration;

/// Measures the waiting for a client. Time in which nobody waits for it does not count.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    most: Duration,
    delay: Duration,
}

impl Pace {
    /// A client may be this far behind.
    pub const fn new(most: Duration) -> Self {
        Self { most, delay: Duration::ZERO }
    }

    /// How long to wait for the client before it is too slow.
    pub const fn left(&self) -> Duration {
        self.most.saturating_sub(self.delay)
    }

    /// Counts the time after which the client moved some bytes.
    pub fn waited(&mut self, time: Duration, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let allowed = Duration::from_nanos(bytes.saturating_mul(NANOS_PER_BYTE));
        self.delay = self.delay.saturating_add(time).saturating_sub(allowed);
    }
}

/// The time for one byte at the least rate.
const NANOS_PER_BYTE: u64 = 1_000_000_000 / (8 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_steps_add_up_and_fast_ones_make_up_for_them() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(second * 30);
        for _ in 0..10 {
            pace.waited(second * 2, 8 << 10);
        }
        assert!((19_900..20_100).contains(&pace.left().as_millis()), "{:?}", pace.left());
        pace.waited(second, 100 << 10);
        assert_eq!(pace.left(), second * 30, "a fast client gets nothing in advance");
        pace.waited(second * 31, 0);
        assert_eq!(pace.left(), Duration::ZERO);
    }
}
