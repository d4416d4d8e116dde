//! Slots for envelopes, and indexes of slots: the storage of the pool.
//!
//! All operations take the same time however much is stored, and nothing is moved: growing adds a chunk.

use std::collections::BTreeMap;

use super::super::envelope::{EnvelopeHash, ValidEnvelope};

/// The position of an envelope in the pool. Reused when it is free again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(pub(in crate::shh) u32);

impl Slot {
    /// Index for tables with one entry per slot.
    pub(in crate::shh) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// An envelope in its slot.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) envelope: ValidEnvelope,
    /// Position in the list of its expiry.
    pub(super) expiry_position: usize,
    /// Position in the list of its work.
    pub(super) work_position: usize,
}

/// Slots, some of them free.
#[derive(Debug, Default)]
pub(super) struct SlotStore {
    chunks: Vec<Vec<Option<Stored>>>,
    free: Vec<Slot>,
}

impl SlotStore {
    /// Stores an envelope in a free or new slot; there are up to 2^32.
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

    /// Removes an envelope and frees its slot.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Stored> {
        let stored = self.place(slot)?.take()?;
        self.free.push(slot);
        Some(stored)
    }

    /// The content of a slot.
    pub(super) fn at(&self, slot: Slot) -> Option<&Stored> {
        self.chunks.get(slot.index() / CHUNK)?.get(slot.index() % CHUNK)?.as_ref()
    }

    /// The content of a slot.
    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Stored> {
        self.place(slot)?.as_mut()
    }

    /// Number of slots, free or not.
    pub(super) fn places(&self) -> u32 {
        let last = self.chunks.last().map_or(0, Vec::len);
        let places = self.chunks.len().saturating_sub(1) * CHUNK + last;
        u32::try_from(places).unwrap_or(u32::MAX)
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<Stored>> {
        self.chunks.get_mut(slot.index() / CHUNK)?.get_mut(slot.index() % CHUNK)
    }
}

/// Unordered lists of slots by an ordered key.
#[derive(Debug)]
pub(super) struct SlotLists<K>(BTreeMap<K, Vec<Slot>>);

impl<K: Copy + Ord> SlotLists<K> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The position of the next slot that is added under `key`.
    pub(super) fn next_position(&self, key: K) -> usize {
        self.0.get(&key).map_or(0, Vec::len)
    }

    /// Adds a slot.
    pub(super) fn put(&mut self, key: K, slot: Slot) {
        self.0.entry(key).or_default().push(slot);
    }

    /// Removes the slot at `position`. Returns the slot that was moved to this position, if any.
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

    /// The lowest key and one of its slots.
    pub(super) fn lowest(&self) -> Option<(K, Slot)> {
        let (key, bag) = self.0.first_key_value()?;
        Some((*key, *bag.last()?))
    }
}

/// Stored and removed envelopes by hash.
///
/// Split by the first bits of the hash, so that no map becomes large.
#[derive(Debug)]
pub(super) struct Index(Vec<BTreeMap<EnvelopeHash, Option<Slot>>>);

impl Index {
    pub(super) fn new() -> Self {
        Self((0..PARTS).map(|_| BTreeMap::new()).collect())
    }

    /// `Some(Some(slot))` for a stored envelope, `Some(None)` for a removed one.
    pub(super) fn find(&self, hash: &EnvelopeHash) -> Option<Option<Slot>> {
        self.0.get(part(hash))?.get(hash).copied()
    }

    /// Records an envelope as stored in a slot, or as removed.
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

/// The map for a hash: its first 12 bits.
fn part(hash: &EnvelopeHash) -> usize {
    let [first, second, ..] = hash.0;
    usize::from(first) << 4 | usize::from(second >> 4)
}

/// Number of maps.
const PARTS: usize = 1 << 12;

/// Number of slots in a chunk: small enough that adding one takes negligible time.
const CHUNK: usize = 1024;
