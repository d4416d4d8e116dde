//! The messages posted at this node that no peer has received.

use std::collections::VecDeque;

use wormhole_whisper::shh::EnvelopeHash;

/// Own envelopes that expired, or had to leave the pool, before any peer received them.
#[derive(Debug, Default)]
pub(super) struct UnsentPosts {
    /// The latest ones, the newest last.
    recent: VecDeque<EnvelopeHash>,
    count: u64,
}

impl UnsentPosts {
    /// Records and logs that no peer received an envelope. `peers` is the number of peers now.
    pub(super) fn add(&mut self, hash: EnvelopeHash, peers: usize) {
        self.count = self.count.saturating_add(1);
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(hash);
        match peers {
            0 => tracing::warn!(
                "a message posted here expired before it could be sent: this node has no peers; \
                 add a peer or a bootnode"
            ),
            peers => tracing::warn!(
                peers,
                "a message posted here expired before it could be sent: no peer accepted it"
            ),
        }
    }

    /// Whether this is one of the latest envelopes that no peer received.
    pub(super) fn contains(&self, hash: &EnvelopeHash) -> bool {
        self.recent.contains(hash)
    }

    /// How many there were since the start.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

/// How many are remembered.
const MAX_RECENT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> EnvelopeHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        EnvelopeHash(hash)
    }

    #[test]
    fn all_are_counted_and_the_latest_are_remembered() {
        let mut unsent = UnsentPosts::default();
        (0..=MAX_RECENT).for_each(|number| unsent.add(hash(number), 0));
        assert_eq!(unsent.count(), u64::try_from(MAX_RECENT).unwrap() + 1);
        assert!(!unsent.contains(&hash(0)) && unsent.contains(&hash(1)));
        assert!(unsent.contains(&hash(MAX_RECENT)));
    }
}
