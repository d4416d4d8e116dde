//! How much proof of work this node demands of others: more during a flood or when the pool is full, and
//! as much as configured afterwards.

use std::time::{Duration, Instant};

use wormhole_whisper::shh::Work;

/// Decides when the demanded work changes. Methods return the new work, if it changes.
#[derive(Debug)]
pub(super) struct MinWorkControl {
    /// The configured work, which is demanded when there is no flood.
    usual: Work,
    /// Bytes of memory for envelopes.
    pool_bytes: usize,
    is_raised: bool,
    changed: Option<Instant>,
}

impl MinWorkControl {
    /// Starts with the configured work.
    pub(super) const fn new(usual: Work, pool_bytes: usize) -> Self {
        Self { usual, pool_bytes, is_raised: false, changed: None }
    }

    /// The owner has set the work that is demanded when there is no flood.
    pub(super) const fn set_usual(&mut self, work: Work) {
        self.usual = work;
        self.is_raised = false;
    }

    /// For a minute, more envelopes have arrived than this node may send to a peer.
    pub(super) fn flooded(&mut self, now: Instant, demanded: Work) -> Option<Work> {
        self.raise(now, demanded, MAX_FLOOD_FACTOR)
    }

    /// A valid envelope had to be dropped, because the pool was full.
    pub(super) fn pool_full(&mut self, now: Instant, demanded: Work) -> Option<Work> {
        self.raise(now, demanded, f64::INFINITY)
    }

    /// Returns to the usual work when there has been no flood for a while. `bytes` is the present
    /// size of the pool.
    pub(super) fn lower_if_calm(&mut self, now: Instant, bytes: usize) -> Option<Work> {
        if !self.is_raised || self.has_changed_within(now, CALM) || bytes >= self.pool_bytes / 2 {
            return None;
        }
        self.is_raised = false;
        self.changed = Some(now);
        Some(self.usual)
    }

    /// Doubles the work, up to `max_factor` times the usual.
    fn raise(&mut self, now: Instant, demanded: Work, max_factor: f64) -> Option<Work> {
        if self.has_changed_within(now, RAISE_INTERVAL) {
            return None;
        }
        let usual = self.usual.max(Work::DEFAULT_MINIMUM).as_f64();
        let doubled = Work::new((2.0 * demanded.as_f64()).max(Work::DEFAULT_MINIMUM.as_f64()));
        let work = doubled.filter(|work| work.as_f64() <= max_factor * usual)?;
        tracing::warn!(
            work = work.as_f64(),
            "inbound rate or pool size above the limit; raising the minimum PoW"
        );
        self.is_raised = true;
        self.changed = Some(now);
        Some(work)
    }

    fn has_changed_within(&self, now: Instant, time: Duration) -> bool {
        self.changed.is_some_and(|changed| now.saturating_duration_since(changed) < time)
    }
}

/// Time between two raises: peers are notified, and have ten seconds to comply.
const RAISE_INTERVAL: Duration = Duration::from_secs(20);

/// How many times the usual work is demanded during a flood that fits into the pool. More would exclude
/// ordinary messages, and a flood of small, short-lived envelopes costs little.
const MAX_FLOOD_FACTOR: f64 = 8.0;

/// Shortest time for which the work stays raised.
const CALM: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn work(amount: f64) -> Work {
        Work::new(amount).unwrap()
    }

    #[test]
    fn a_flood_doubles_the_work_up_to_eight_times_the_usual() {
        let (mut min_work_control, mut now) =
            (MinWorkControl::new(work(0.2), 1000), Instant::now());
        let mut demanded = work(0.2);
        let mut raised = Vec::new();
        for _ in 0..9 {
            if let Some(work) = min_work_control.flooded(now, demanded) {
                demanded = work;
                raised.push(work.as_f64());
            }
            now += RAISE_INTERVAL;
        }
        assert_eq!(raised, [0.4, 0.8, 1.6]);
        // A full pool has no such bound.
        assert_eq!(min_work_control.pool_full(now, demanded), Some(work(3.2)));
    }

    #[test]
    fn peers_have_time_to_comply_before_the_next_raise() {
        let (mut min_work_control, now) = (MinWorkControl::new(Work::NONE, 1000), Instant::now());
        assert_eq!(min_work_control.pool_full(now, Work::NONE), Some(Work::DEFAULT_MINIMUM));
        let early = now + RAISE_INTERVAL - Duration::from_millis(1);
        assert_eq!(min_work_control.pool_full(early, Work::DEFAULT_MINIMUM), None);
        let later = now + RAISE_INTERVAL;
        assert_eq!(min_work_control.pool_full(later, Work::DEFAULT_MINIMUM), Some(work(0.4)));
    }

    #[test]
    fn the_work_falls_when_it_is_calm_and_the_pool_is_half_empty() {
        let (mut min_work_control, now) = (MinWorkControl::new(work(0.2), 1000), Instant::now());
        assert_eq!(min_work_control.lower_if_calm(now, 0), None);
        min_work_control.pool_full(now, work(0.2));
        assert_eq!(min_work_control.lower_if_calm(now + RAISE_INTERVAL, 0), None);
        assert_eq!(min_work_control.lower_if_calm(now + CALM, 500), None);
        assert_eq!(min_work_control.lower_if_calm(now + CALM, 499), Some(work(0.2)));
        assert_eq!(min_work_control.lower_if_calm(now + 2 * CALM, 0), None);
    }

    #[test]
    fn what_the_owner_sets_is_not_changed_when_it_is_calm() {
        let (mut min_work_control, now) = (MinWorkControl::new(work(0.2), 1000), Instant::now());
        min_work_control.pool_full(now, work(0.2));
        min_work_control.set_usual(work(5.0));
        assert_eq!(min_work_control.lower_if_calm(now + CALM, 0), None);
    }
}
