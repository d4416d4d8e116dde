//! Drafts of our own envelopes: they do not tell the second of their making.
//!
//! Envelopes of cover traffic are made in the same way and with the same work, so that nobody can tell
//! the two apart.

use std::time::Duration;

use wormhole_kit::UnixTime;
use wormhole_whisper::shh::{Draft, Topic, Work};

/// A draft that is made about `now`: earlier by less than [`MAX_STEP`] seconds and than a fifth of its
/// life, never later. It lives so much shorter than others do.
pub(super) fn own_draft(now: UnixTime, ttl: u32, topic: Topic, data: Vec<u8>) -> Draft {
    // A longer life would make up for it, but be unlike all others, and not what clients asked for.
    let step = MAX_STEP.min(ttl / SHARE);
    Draft::new(now.blurred(Duration::from_secs(step.into())), ttl, topic, data)
}

/// The work of an own envelope unless told otherwise: what we ask for ourselves, no less than usual,
/// and what most peers ask for. Not what each of them asks for: a single one could mark what we say
/// by the work in it, and one that asks for very much could make us work for ever.
pub fn usual_work(own: Work, of_peers: impl IntoIterator<Item = Work>) -> Work {
    let own = own.max(Work::DEFAULT_MINIMUM);
    let mut of_peers: Vec<_> = of_peers.into_iter().collect();
    of_peers.sort_unstable_by(|one, other| one.as_f64().total_cmp(&other.as_f64()));
    let middle = of_peers.len().saturating_sub(1) / 2;
    let is_reasonable = |work: &Work| work.as_f64() <= WITHIN_REASON * own.as_f64();
    of_peers.get(middle).copied().filter(is_reasonable).map_or(own, |work| work.max(own))
}

/// How many times as much as we need anyway most peers may ask for. Else they do without us.
const WITHIN_REASON: f64 = 10.0;

/// The time of making is a multiple of so many seconds, or of less if the envelope is short-lived: as
/// much as clocks may differ, so that others ask for nothing more.
pub(super) const MAX_STEP: u32 = 10;

/// The part of its life by which an envelope may be too old.
const SHARE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_work_as_most_peers_ask_for_is_done_within_reason() {
        let work = |amount: f64| Work::new(amount).unwrap();
        let usual = |own: f64, peers: &[f64]| {
            usual_work(work(own), peers.iter().map(|amount| work(*amount))).as_f64()
        };
        assert_eq!((usual(0.0, &[]), usual(1.0, &[])), (0.2, 1.0));
        assert_eq!((usual(0.2, &[1.0]), usual(0.2, &[0.1])), (1.0, 0.2));
        // One in three marks nobody.
        assert_eq!(usual(0.2, &[0.2, 1.9, 0.2]), 0.2);
        assert_eq!(usual(0.2, &[0.5, 1.9, 0.2]), 0.5);
        assert_eq!(usual(0.2, &[3.0, 3.0, 3.0]), 0.2);
    }

    #[test]
    fn many_seconds_look_alike_and_no_envelope_is_early_or_loses_much_of_its_life() {
        for ttl in [1, 4, 5, 30, 50, 3600, 172_800] {
            let mut made = Vec::new();
            for second in 1_575_000_000..1_575_000_060_u32 {
                let now = UnixTime::from_secs(f64::from(second) + 0.9);
                let draft = own_draft(now, ttl, Topic([1, 2, 3, 4]), vec![]);
                let sent = draft.expiry - draft.ttl;
                assert!(draft.ttl == ttl && sent <= second, "{ttl}");
                assert!(5 * (draft.expiry - second) > 4 * ttl, "{ttl}");
                made.push(sent);
            }
            made.dedup();
            let step = (ttl / 5).clamp(1, 10);
            assert_eq!(made.len(), usize::try_from(60 / step).unwrap(), "{ttl}");
        }
    }
}
