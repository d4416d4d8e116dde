//! Our own envelopes while only one neighbour knows them.
//!
//! Whoever hears of an envelope first hears of it from its maker, if the maker tells everyone at
//! once. So we tell one neighbour, drawn at random, and the others when the envelope comes back
//! around, as if we had heard of it then, or when that has taken too long. (The idea is Dandelion's;
//! nothing of it can be seen in any packet.)

use wormhole_kit::Instant;

use super::super::{envelope::EnvelopeHash, pool::Slot};
use crate::devp2p::key::NodeId;

/// Envelopes that only one neighbour was told about.
#[derive(Debug, Default)]
pub(super) struct Stems(Vec<Stem>);

#[derive(Debug)]
struct Stem {
    slot: Slot,
    hash: EnvelopeHash,
    /// Who was told.
    first: NodeId,
    until: Instant,
}

impl Stems {
    /// One neighbour was told; the others must wait, at most until `until`.
    pub(super) fn add(&mut self, slot: Slot, hash: EnvelopeHash, first: NodeId, until: Instant) {
        self.0.push(Stem { slot, hash, first, until });
    }

    /// The envelope has come back. Returns its place if the others were waiting for it: that the one
    /// who was told has it means nothing.
    pub(super) fn come_back(&mut self, hash: &EnvelopeHash, from: &NodeId) -> Option<Slot> {
        let is_back = |stem: &Stem| stem.hash == *hash && stem.first != *from;
        let position = self.0.iter().position(is_back)?;
        Some(self.0.swap_remove(position).slot)
    }

    /// The places of those that took too long, with their hashes: the place may have been used
    /// again.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Slot, EnvelopeHash)> {
        let overdue = self.0.extract_if(.., |stem| stem.until <= now);
        overdue.map(|stem| (stem.slot, stem.hash)).collect()
    }

    /// The places of all, with their hashes: the place may have been used again.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, EnvelopeHash)> {
        self.0.iter().map(|stem| (stem.slot, stem.hash))
    }
}
