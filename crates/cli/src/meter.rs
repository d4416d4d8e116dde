//! Measures the speed of a transfer and the remaining time: averages over the last seconds.
//!
//! Time is an argument, and `screen.rs` displays the results.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units;

/// Measures one transfer.
#[derive(Debug)]
pub(crate) struct Meter {
    total: Option<u64>,
    /// Times and bytes of the last [`WINDOW`], and one sample before it.
    samples: VecDeque<(Instant, u64)>,
    /// Time of the last progress.
    moved: Instant,
    /// Bytes that were done then.
    done: u64,
}

impl Meter {
    /// Measures a transfer of `total` bytes, or of an unknown number.
    pub(crate) fn new(now: Instant, total: Option<u64>) -> Self {
        Self { total, samples: VecDeque::from([(now, 0)]), moved: now, done: 0 }
    }

    /// Adds a sample.
    pub(crate) fn observe(&mut self, now: Instant, done: u64) {
        if done != self.done {
            (self.moved, self.done) = (now, done);
        }
        let is_due = self.samples.back().is_none_or(|(at, _)| now >= *at + SPACING);
        if is_due {
            self.samples.push_back((now, done));
        }
        let is_old =
            |sample: Option<&(Instant, u64)>| sample.is_some_and(|(at, _)| *at + WINDOW <= now);
        while is_old(self.samples.get(1)) {
            self.samples.pop_front();
        }
    }

    /// Average bytes per second; `None` at the beginning.
    pub(crate) fn rate(&self, now: Instant) -> Option<u64> {
        let (at, before) = self.samples.front()?;
        let millis = now.saturating_duration_since(*at).as_millis();
        if millis < MIN_MEASURED.as_millis() {
            return None;
        }
        let bytes = u128::from(self.done.saturating_sub(*before));
        u64::try_from(bytes * 1000 / millis).ok()
    }

    /// Remaining time at this speed; `None` if unknown.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let rest = self.total?.saturating_sub(self.done);
        let rate = self.rate(now).filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(rest.div_ceil(rate)))
    }

    /// Time without progress, from [`STALLED`] on.
    pub(crate) fn stalled(&self, now: Instant) -> Option<Duration> {
        let is_complete = self.total == Some(self.done);
        let still = now.saturating_duration_since(self.moved);
        (still >= STALLED && !is_complete).then_some(still)
    }

    /// Speed and remaining time, or that the transfer is stalled.
    pub(crate) fn describe(&self, now: Instant) -> String {
        if let Some(still) = self.stalled(now) {
            // A stream may wait for a person who types it.
            let word = if self.total.is_some() { "stalled" } else { "idle" };
            return format!("{word} for {}", units::left(still));
        }
        let Some(rate) = self.rate(now) else { return String::new() };
        let rate = units::rate(rate, Duration::from_secs(1)).unwrap_or_default();
        match self.left(now) {
            Some(left) => format!("{rate}  {} left", units::left(left)),
            None => rate,
        }
    }
}

/// The time over which speeds are averaged: long enough to be steady, short enough to show a change.
const WINDOW: Duration = Duration::from_secs(15);

/// Time between two samples.
const SPACING: Duration = Duration::from_millis(500);

/// The speed is shown after this time.
const MIN_MEASURED: Duration = Duration::from_millis(500);

/// A transfer without progress for this time is stalled.
const STALLED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    /// Observes `rate` bytes per second for this number of seconds, in ticks and with this jitter.
    fn run(meter: &mut Meter, now: &mut Instant, done: &mut u64, rate: u64, seconds: u64) {
        for tick in 0..seconds * 10 {
            *now += TICK;
            // Data arrives in bursts.
            *done += if tick % 5 == 4 { rate / 2 } else { 0 };
            meter.observe(*now, *done);
        }
    }

    #[test]
    fn rate_and_time_left_are_right_at_a_steady_pace() {
        let (mut now, mut done, rate) = (Instant::now(), 0, 1_500_000);
        let mut meter = Meter::new(now, Some(90_000_000));
        for passed in 1..=59 {
            run(&mut meter, &mut now, &mut done, rate, 1);
            let left = meter.left(now).unwrap().as_secs();
            assert!(left.abs_diff(60 - passed) <= 3, "{left} s left after {passed} s");
            let found = meter.rate(now).unwrap();
            assert!(found.abs_diff(rate) <= rate / 20, "{found} bytes/s after {passed} s");
        }
    }

    #[test]
    fn a_change_of_pace_is_followed_within_seconds() {
        let (mut now, mut done) = (Instant::now(), 0);
        let mut meter = Meter::new(now, Some(1_000_000_000));
        run(&mut meter, &mut now, &mut done, 10_000_000, 30);
        run(&mut meter, &mut now, &mut done, 1_000_000, 16);
        let found = meter.rate(now).unwrap();
        assert!((900_000..1_600_000).contains(&found), "{found}");
        assert!(meter.samples.len() <= 40);
    }

    #[test]
    fn a_transfer_that_does_not_move_is_stalled_and_goes_on() {
        let (mut now, mut done) = (Instant::now(), 0);
        let mut meter = Meter::new(now, Some(10_000_000));
        run(&mut meter, &mut now, &mut done, 1_000_000, 2);
        run(&mut meter, &mut now, &mut done, 0, 4);
        assert_eq!(meter.stalled(now), None);
        run(&mut meter, &mut now, &mut done, 0, 4);
        assert!(meter.describe(now).starts_with("stalled for 0:08"), "{}", meter.describe(now));
        run(&mut meter, &mut now, &mut done, 1_000_000, 1);
        assert_eq!(meter.stalled(now), None);
        assert!(meter.describe(now).ends_with(" left"), "{}", meter.describe(now));
    }

    #[test]
    fn one_that_is_complete_is_not_stalled_and_a_stream_is_idle() {
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        let mut meter = Meter::new(start, Some(10));
        meter.observe(start + TICK, 10);
        assert_eq!(meter.stalled(later), None);
        assert_eq!(Meter::new(start, None).describe(later), "idle for 1:00");
    }
}
