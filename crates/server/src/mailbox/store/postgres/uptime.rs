//! A clock that all nodes share and that cannot be set: the time during which at least one node was running.
//!
//! It decides when a mailbox expires. A node advances the stored value by the time that its own monotonic clock has
//! measured since the node last read the value, and only if the value has not changed since then. So the clock never
//! runs faster than real time, even if many nodes advance it, and it stops while no node is running.

use std::time::{Duration, Instant};

/// The last value of the shared clock that a node has read, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UptimeClock {
    seen: Option<(f64, Instant)>,
}

impl UptimeClock {
    /// Returns the value to store and the exact time, both in seconds, given the stored value.
    pub(super) fn advance(&mut self, stored: f64, now: Instant) -> (f64, f64) {
        let (mut value, mut since) = match self.seen {
            Some((value, since)) if value.to_bits() == stored.to_bits() => (value, since),
            _ => (stored, now),
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= STEP {
            value += elapsed.as_secs_f64();
            since = now;
        }
        self.seen = Some((value, since));
        (value, value + now.saturating_duration_since(since).as_secs_f64())
    }
}

/// Time after which the stored value is advanced. Much less than the expiry of a mailbox.
const STEP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_nodes_do_not_advance_the_clock_faster_than_real_time() {
        let (mut clocks, mut stored) = ([UptimeClock::default(); 3], 0.0);
        let start = Instant::now();
        for second in 0..1000 {
            let clock = &mut clocks[usize::try_from(second % 3).unwrap()];
            (stored, _) = clock.advance(stored, start + Duration::from_secs(second));
        }
        assert!((900.0..1000.0).contains(&stored), "{stored}");
    }

    #[test]
    fn the_clock_stops_while_no_node_is_running() {
        let start = Instant::now();
        let (stored, _) = UptimeClock::default().advance(70.0, start);
        let mut next = UptimeClock::default();
        assert_eq!(next.advance(stored, start + Duration::from_secs(9000)), (70.0, 70.0));
        assert_eq!(next.advance(70.0, start + Duration::from_secs(9004)), (70.0, 74.0));
        assert_eq!(next.advance(70.0, start + Duration::from_secs(9020)), (90.0, 90.0));
    }
}
