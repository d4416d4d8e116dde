//! Our own envelopes that are in the pool, but that no peer has received yet. If one of them expires,
//! its author has to know that nobody got it.

use super::super::{envelope::EnvelopeHash, peer::Peer, pool::Slot};

/// Own envelopes in the pool that no peer has received.
#[derive(Debug, Default)]
pub(super) struct Unsent(Vec<(Slot, EnvelopeHash)>);

impl Unsent {
    /// An own envelope has entered the pool.
    pub(super) fn add(&mut self, slot: Slot, hash: EnvelopeHash) {
        // Beyond that, envelopes are not watched any more; they are sent all the same.
        if self.0.len() < MAX_UNSENT {
            self.0.push((slot, hash));
        }
    }

    /// Forgets what this peer has received.
    pub(super) fn forget_known(&mut self, peer: &Peer) {
        self.0.retain(|(slot, _)| !peer.has(*slot));
    }

    /// Removes what is not in the pool any more, and returns it.
    pub(super) fn take_gone(
        &mut self,
        mut is_there: impl FnMut(Slot, &EnvelopeHash) -> bool,
    ) -> Vec<EnvelopeHash> {
        let gone = self.0.extract_if(.., |(slot, hash)| !is_there(*slot, hash));
        gone.map(|(_, hash)| hash).collect()
    }

    /// Whether this envelope is one of them.
    pub(super) fn contains(&self, hash: &EnvelopeHash) -> bool {
        self.0.iter().any(|(_, other)| other == hash)
    }
}

/// Own envelopes that are watched.
const MAX_UNSENT: usize = 4096;
