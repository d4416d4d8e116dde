//! Drafts of own envelopes, with a rounded time so that they do not reveal the second in which they were
//! made.
//!
//! Cover envelopes are made in the same way and with the same work, so that nobody can distinguish them from
//! real ones.

use std::time::Duration;

use wormhole_kit::UnixTime;
use wormhole_whisper::shh::{Draft, Topic};

/// A draft whose time is `now`, rounded down by less than [`MAX_STEP`] seconds and less than a fifth of
/// `ttl`. It expires earlier by as much.
pub(crate) fn rounded_draft(now: UnixTime, ttl: u32, topic: Topic, data: Vec<u8>) -> Draft {
    // A longer TTL would compensate for that, but would look different, and is not what clients asked
    // for.
    let step = MAX_STEP.min(ttl / SHARE);
    Draft::new(now.rounded_down(Duration::from_secs(step.into())), ttl, topic, data)
}

/// Times are rounded down to a multiple of this many seconds, or of fewer for a short TTL. Clocks differ
/// by as much, so peers accept it.
pub(crate) const MAX_STEP: u32 = 10;

/// An envelope may be older by one part in this many of its TTL.
const SHARE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_of_many_seconds_have_the_same_time_and_none_is_early_or_loses_much_of_its_ttl() {
        for ttl in [1, 4, 5, 30, 50, 3600, 172_800] {
            let mut made = Vec::new();
            for second in 1_575_000_000..1_575_000_060_u32 {
                let now = UnixTime::from_secs_f64(f64::from(second) + 0.9);
                let draft = rounded_draft(now, ttl, Topic([1, 2, 3, 4]), vec![]);
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
