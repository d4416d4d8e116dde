//! Drafts of our own envelopes: they do not tell the second of their making.
//!
//! Envelopes of cover traffic are made in the same way and with the same work, so that nobody can tell
//! the two apart.

use std::time::Duration;

use wormhole_kit::UnixTime;
use wormhole_whisper::shh::{Draft, Topic};

/// A draft that is made about `now`: earlier by less than [`MAX_STEP`] seconds and than a fifth of its
/// life, never later. It lives so much shorter than others do.
pub(crate) fn rounded_draft(now: UnixTime, ttl: u32, topic: Topic, data: Vec<u8>) -> Draft {
    // A longer life would make up for it, but be unlike all others, and not what clients asked for.
    let step = MAX_STEP.min(ttl / SHARE);
    Draft::new(now.blurred(Duration::from_secs(step.into())), ttl, topic, data)
}

/// The time of making is a multiple of so many seconds, or of less if the envelope is short-lived: as
/// much as clocks may differ, so that others ask for nothing more.
pub(crate) const MAX_STEP: u32 = 10;

/// The part of its life by which an envelope may be too old.
const SHARE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seconds_look_alike_and_no_envelope_is_early_or_loses_much_of_its_life() {
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
