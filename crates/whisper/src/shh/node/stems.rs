//! Our own envelopes while only one neighbour knows them.
//!
//! Whoever hears of an envelope first hears of it from its maker, if the maker tells everyone at
//! once. So we tell one neighbour, drawn at random, and the others when the envelope comes back
//! around, as if we had heard of it then, or when that has taken too long. (The idea is Dandelion's;
//! nothing of it can be seen in any packet.)

use std::time::Instant;

use super::super::{envelope::EnvelopeHash, pool::Slot};

/// Envelopes that only one neighbour was told about.
#[derive(Debug, Default)]
pub(super) struct Stems(Vec<Stem>);

#[derive(Debug)]
struct Stem {
    slot: Slot,
    hash: EnvelopeHash,
    until: Instant,
}

impl Stems {
    /// One neighbour was told; the others must wait, at most until `until`.
    pub(super) fn add(&mut self, slot: Slot, hash: EnvelopeHash, until: Instant) {
        self.0.push(Stem { slot, hash, until });
    }

    /// The envelope has come back. Returns its place if the others were waiting for it.
    pub(super) fn come_back(&mut self, hash: &EnvelopeHash) -> Option<Slot> {
        let position = self.0.iter().position(|stem| stem.hash == *hash)?;
        Some(self.0.swap_remove(position).slot)
    }

    /// The places of those that took too long, with their hashes: the place may have been used
    /// again.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Slot, EnvelopeHash)> {
        let overdue = self.0.extract_if(.., |stem| stem.until <= now);
        overdue.map(|stem| (stem.slot, stem.hash)).collect()
    }

    /// The places of all.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.0.iter().map(|stem| stem.slot)
    }
}
