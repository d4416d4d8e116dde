//! Own envelopes that are in the pool but have not been received by any peer. If one of them expires, the
//! node notifies the application.

use super::super::{envelope::EnvelopeHash, peer::Peer, pool::Slot};

/// Own envelopes in the pool that no peer has received.
#[derive(Debug, Default)]
pub(super) struct Unsent(Vec<(Slot, EnvelopeHash)>);

impl Unsent {
    /// Adds an envelope that has entered the pool.
    pub(super) fn add(&mut self, slot: Slot, hash: EnvelopeHash) {
        // Envelopes beyond the limit are not tracked, but still sent.
        if self.0.len() < MAX_UNSENT {
            self.0.push((slot, hash));
        }
    }

    /// Removes the envelopes that this peer has received.
    pub(super) fn forget_known(&mut self, peer: &Peer) {
        self.0.retain(|(slot, _)| !peer.has(*slot));
    }

    /// Removes and returns the envelopes that are no longer in the pool.
    pub(super) fn take_gone(
        &mut self,
        mut is_there: impl FnMut(Slot, &EnvelopeHash) -> bool,
    ) -> Vec<EnvelopeHash> {
        let gone = self.0.extract_if(.., |(slot, hash)| !is_there(*slot, hash));
        gone.map(|(_, hash)| hash).collect()
    }

    /// Whether this envelope is tracked.
    pub(super) fn contains(&self, hash: &EnvelopeHash) -> bool {
        self.0.iter().any(|(_, other)| other == hash)
    }
}

/// Maximum number of tracked envelopes.
const MAX_UNSENT: usize = 4096;
