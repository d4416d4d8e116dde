//! Places for envelopes, and bags of places: the storage under the pool.
//!
//! Everything here takes the same time however much is stored, and nothing ever moves: growing adds
//! a chunk. What the places mean is the pool's business.

use std::collections::BTreeMap;

use super::super::envelope::{EnvelopeHash, ValidEnvelope};

/// The place of an envelope in the pool. Used again for another one once it is free.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(pub(in crate::shh) u32);

impl Slot {
    /// Position for tables that are indexed by slot.
    pub(in crate::shh) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// An envelope in its place.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) envelope: ValidEnvelope,
    /// Position in the bag of its expiry.
    pub(super) expiry_position: usize,
    /// Position in the bag of its work.
    pub(super) work_position: usize,
}

/// Places, some of them free.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    chunks: Vec<Vec<Option<Stored>>>,
    free: Vec<Slot>,
}

impl Shelf {
    /// Finds a free place, or makes one, up to 2^32 of them.
    pub(super) fn add(&mut self, stored: Stored) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            *self.place(slot)? = Some(stored);
            return Some(slot);
        }
        let slot = Slot(self.places());
        slot.0.checked_add(1)?;
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut()?.push(Some(stored));
        Some(slot)
    }

    /// Frees a place.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Stored> {
        let stored = self.place(slot)?.take()?;
        self.free.push(slot);
        Some(stored)
    }

    /// What is in a place.
    pub(super) fn at(&self, slot: Slot) -> Option<&Stored> {
        self.chunks.get(slot.index() / CHUNK)?.get(slot.index() % CHUNK)?.as_ref()
    }

    /// What is in a place.
    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Stored> {
        self.place(slot)?.as_mut()
    }

    /// Number of places, free or not.
    pub(super) fn places(&self) -> u32 {
        let last = self.chunks.last().map_or(0, Vec::len);
        let places = self.chunks.len().saturating_sub(1) * CHUNK + last;
        u32::try_from(places).unwrap_or(u32::MAX)
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<Stored>> {
        self.chunks.get_mut(slot.index() / CHUNK)?.get_mut(slot.index() % CHUNK)
    }
}

/// Slots in unordered bags under ordered keys.
#[derive(Debug)]
pub(super) struct Bags<K>(BTreeMap<K, Vec<Slot>>);

impl<K: Copy + Ord> Bags<K> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The position at which the next slot under `key` will be.
    pub(super) fn next_position(&self, key: K) -> usize {
        self.0.get(&key).map_or(0, Vec::len)
    }

    /// Puts a slot into a bag.
    pub(super) fn put(&mut self, key: K, slot: Slot) {
        self.0.entry(key).or_default().push(slot);
    }

    /// Takes what is at `position` out of a bag. Returns the slot that stands there now instead.
    pub(super) fn remove(&mut self, key: K, position: usize) -> Option<Slot> {
        let bag = self.0.get_mut(&key)?;
        if position < bag.len() {
            bag.swap_remove(position);
        }
        let moved = bag.get(position).copied();
        if bag.is_empty() {
            self.0.remove(&key);
        }
        moved
    }

    /// The lowest key, and a slot from its bag.
    pub(super) fn lowest(&self) -> Option<(K, Slot)> {
        let (key, bag) = self.0.first_key_value()?;
        Some((*key, *bag.last()?))
    }
}

/// What became of every envelope that is or was here.
///
/// Divided by the first bits of the hash, so that no part is large.
#[derive(Debug)]
pub(super) struct Index(Vec<BTreeMap<EnvelopeHash, Option<Slot>>>);

impl Index {
    pub(super) fn new() -> Self {
        Self((0..PARTS).map(|_| BTreeMap::new()).collect())
    }

    /// `Some(Some(slot))` for what is here, `Some(None)` for what was.
    pub(super) fn find(&self, hash: &EnvelopeHash) -> Option<Option<Slot>> {
        self.0.get(part(hash))?.get(hash).copied()
    }

    /// Says what became of an envelope.
    pub(super) fn set(&mut self, hash: EnvelopeHash, slot: Option<Slot>) {
        if let Some(part) = self.0.get_mut(part(&hash)) {
            part.insert(hash, slot);
        }
    }

    /// Forgets an envelope.
    pub(super) fn forget(&mut self, hash: &EnvelopeHash) {
        if let Some(part) = self.0.get_mut(part(hash)) {
            part.remove(hash);
        }
    }
}

/// The part of the index for a hash: its first 12 bits.
fn part(hash: &EnvelopeHash) -> usize {
    let [first, second, ..] = hash.0;
    usize::from(first) << 4 | usize::from(second >> 4)
}

/// Parts of the index.
const PARTS: usize = 1 << 12;

/// Places in a chunk: small enough that adding one is nothing.
const CHUNK: usize = 1024;
