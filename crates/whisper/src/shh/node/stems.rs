//! Own envelopes that have been sent to one peer only.
//!
//! If a node sends its own envelope to all peers at once, each of them can guess who created it. So the node
//! sends it to one random peer first. When the envelope comes back from the network, or after a timeout, the
//! node forwards it to all other peers like an envelope that it has just received. (The idea comes from
//! Dandelion; the packet format is unchanged.)

use wormhole_kit::Instant;

use super::super::{envelope::EnvelopeHash, pool::Slot};
use crate::devp2p::key::NodeId;

/// Envelopes that were sent to one peer only.
#[derive(Debug, Default)]
pub(super) struct Stems(Vec<Stem>);

#[derive(Debug)]
struct Stem {
    slot: Slot,
    hash: EnvelopeHash,
    /// The peer that received it.
    first: NodeId,
    until: Instant,
}

impl Stems {
    /// Adds an envelope. All peers may receive it after `until`.
    pub(super) fn add(&mut self, slot: Slot, hash: EnvelopeHash, first: NodeId, until: Instant) {
        self.0.push(Stem { slot, hash, first, until });
    }

    /// Handles an envelope that came back. Returns its slot if other peers were waiting for it. An envelope from
    /// the first peer itself does not count.
    pub(super) fn returned(&mut self, hash: &EnvelopeHash, from: &NodeId) -> Option<Slot> {
        let is_back = |stem: &Stem| stem.hash == *hash && stem.first != *from;
        let position = self.0.iter().position(is_back)?;
        Some(self.0.swap_remove(position).slot)
    }

    /// Removes and returns the envelopes whose timeout has passed. A slot may have been reused, so compare the
    /// hash.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Slot, EnvelopeHash)> {
        let overdue = self.0.extract_if(.., |stem| stem.until <= now);
        overdue.map(|stem| (stem.slot, stem.hash)).collect()
    }

    /// All envelopes. A slot may have been reused, so compare the hash.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, EnvelopeHash)> {
        self.0.iter().map(|stem| (stem.slot, stem.hash))
    }
}
