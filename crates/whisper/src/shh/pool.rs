//! The pool: all envelopes until they expire (docs/whisper-protocol.md "States").
//!
//! An envelope is accepted only once, even after it has been removed. When the pool is full, envelopes with the
//! least work are removed first. All operations take the same time however many envelopes are stored. `peer`
//! and `node` decide who receives an envelope.

use std::collections::BTreeMap;

use wormhole_kit::UnixTime;

use super::{
    envelope::{Envelope, EnvelopeHash, GRACE, ValidEnvelope},
    whole_seconds,
    work::Work,
};

mod slots;

pub use slots::Slot;
use slots::{Index, SlotLists, SlotStore, Stored};

/// Envelopes by hash, limited in bytes.
#[derive(Debug)]
pub struct Pool {
    slots: SlotStore,
    index: Index,
    /// Stored envelopes by the second of their expiry.
    by_expiry: SlotLists<u32>,
    /// Stored envelopes by the class of their work.
    by_work: SlotLists<i16>,
    /// Used capacity by the class of work.
    bytes_by_work: BTreeMap<i16, usize>,
    /// Removed envelopes by the second of their expiry.
    gone: BTreeMap<u32, Vec<EnvelopeHash>>,
    gone_count: usize,
    count: usize,
    bytes: usize,
    capacity: usize,
}

impl Pool {
    /// Creates a pool for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: SlotStore::default(),
            index: Index::new(),
            by_expiry: SlotLists::new(),
            by_work: SlotLists::new(),
            bytes_by_work: BTreeMap::new(),
            gone: BTreeMap::new(),
            gone_count: 0,
            count: 0,
            bytes: 0,
            capacity,
        }
    }

    /// Stores an envelope. Removes envelopes with less work if there is no room.
    ///
    /// # Errors
    /// The envelope is a duplicate, or its work is too low for a full pool. Neither is the sender's fault.
    pub fn insert(&mut self, envelope: ValidEnvelope) -> Result<Slot, PoolError> {
        let hash = envelope.envelope().hash();
        if let Some(slot) = self.index.find(&hash) {
            return Err(PoolError::Known(slot));
        }
        let class = class(envelope.work());
        let cost = cost(envelope.envelope());
        self.make_room(cost, class)?;
        let expiry = envelope.envelope().expiry();
        let stored = Stored {
            expiry_position: self.by_expiry.next_position(expiry),
            work_position: self.by_work.next_position(class),
            envelope,
        };
        let slot = self.slots.add(stored).ok_or(PoolError::PoolFull)?;
        self.by_expiry.put(expiry, slot);
        self.by_work.put(class, slot);
        self.index.set(hash, Some(slot));
        *self.bytes_by_work.entry(class).or_default() += cost;
        self.bytes += cost;
        self.count += 1;
        Ok(slot)
    }

    /// The slot of a stored envelope.
    pub fn find(&self, hash: &EnvelopeHash) -> Option<Slot> {
        self.index.find(hash).flatten()
    }

    /// Whether an envelope is stored, or was before it expired.
    pub fn has_seen(&self, hash: &EnvelopeHash) -> bool {
        self.index.find(hash).is_some()
    }

    /// The envelope in a slot.
    pub fn at(&self, slot: Slot) -> Option<&ValidEnvelope> {
        self.slots.at(slot).map(|stored| &stored.envelope)
    }

    /// All slots from `start` on, with their envelopes.
    pub fn from(&self, start: Slot) -> impl Iterator<Item = (Slot, Option<&ValidEnvelope>)> {
        (start.0..self.slots.places()).map(Slot).map(|slot| (slot, self.at(slot)))
    }

    /// Number of stored envelopes.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether the pool is empty.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Used memory in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes up to `most` expired envelopes, and forgets as many that expired earlier. Returns whether there are
    /// more.
    pub fn expire(&mut self, now: UnixTime, most: usize) -> bool {
        let now = whole_seconds(now);
        let expired = |(expiry, slot)| (expiry < now).then_some(slot);
        for _ in 0..most {
            match self.by_expiry.lowest().and_then(expired) {
                Some(slot) => self.leave(slot),
                None => break,
            }
        }
        for _ in 0..most {
            if !self.forget_oldest_hash(now.saturating_sub(GRACE)) {
                break;
            }
        }
        let more = self.by_expiry.lowest().and_then(expired).is_some();
        more || self.gone.keys().next().is_some_and(|expiry| *expiry < now.saturating_sub(GRACE))
    }

    /// Everything that must be saved for [`Node::restore`](super::Node::restore).
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let kept = self.from(Slot(0)).filter_map(|(_, envelope)| envelope);
        let kept = kept.map(|envelope| Record::Kept(envelope.envelope().clone()));
        let gone = self.gone.iter().flat_map(|(expiry, hashes)| {
            hashes.iter().map(|hash| Record::Seen { hash: *hash, expiry: *expiry })
        });
        kept.chain(gone)
    }

    /// Restores the hash of a removed envelope. Stored envelopes are restored by inserting them again.
    pub fn restore(&mut self, hash: EnvelopeHash, expiry: u32) {
        if self.index.find(&hash).is_none() {
            self.remember_hash(hash, expiry);
        }
    }

    /// Removes envelopes with less work until there is room for `cost` bytes. Removes nothing if that would not be
    /// enough.
    fn make_room(&mut self, cost: usize, class: i16) -> Result<(), PoolError> {
        let missing = (self.bytes + cost).saturating_sub(self.capacity);
        let mut lower = self.bytes_by_work.range(..class).map(|(_, bytes)| *bytes);
        let mut found = 0;
        while found < missing {
            found += lower.next().ok_or(PoolError::PoolFull)?;
        }
        while self.bytes + cost > self.capacity {
            let (_, slot) = self.by_work.lowest().ok_or(PoolError::PoolFull)?;
            self.leave(slot);
        }
        Ok(())
    }

    /// Removes an envelope and remembers its hash.
    fn leave(&mut self, slot: Slot) {
        let Some(stored) = self.slots.take(slot) else { return };
        let envelope = stored.envelope.envelope();
        let class = class(stored.envelope.work());
        self.bytes = self.bytes.saturating_sub(cost(envelope));
        if let Some(bytes) = self.bytes_by_work.get_mut(&class) {
            *bytes = bytes.saturating_sub(cost(envelope));
        }
        self.count = self.count.saturating_sub(1);
        let moved = self.by_expiry.remove(envelope.expiry(), stored.expiry_position);
        if let Some(moved) = moved.and_then(|slot| self.slots.at_mut(slot)) {
            moved.expiry_position = stored.expiry_position;
        }
        let moved = self.by_work.remove(class, stored.work_position);
        if let Some(moved) = moved.and_then(|slot| self.slots.at_mut(slot)) {
            moved.work_position = stored.work_position;
        }
        self.remember_hash(envelope.hash(), envelope.expiry());
    }

    fn remember_hash(&mut self, hash: EnvelopeHash, expiry: u32) {
        self.index.set(hash, None);
        self.gone.entry(expiry).or_default().push(hash);
        self.gone_count += 1;
        if self.gone_count > MAX_GONE {
            self.forget_oldest_hash(u32::MAX);
        }
    }

    /// Forgets the removed envelope that expired first, if it expired before `second`. Returns whether there was
    /// one.
    fn forget_oldest_hash(&mut self, second: u32) -> bool {
        let Some(mut earliest) = self.gone.first_entry() else { return false };
        if *earliest.key() >= second {
            return false;
        }
        if let Some(hash) = earliest.get_mut().pop() {
            self.index.forget(&hash);
            self.gone_count = self.gone_count.saturating_sub(1);
        }
        if earliest.get().is_empty() {
            earliest.remove();
        }
        true
    }
}

/// An item to save for a restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// A stored envelope.
    Kept(Envelope),
    /// An envelope of our own that has not been sent to all peers yet.
    Own(Envelope),
    /// A removed envelope that must not be accepted again.
    Seen {
        /// Its hash.
        hash: EnvelopeHash,
        /// Expiry time in seconds since 1970.
        expiry: u32,
    },
}

/// Why the pool did not store an envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// It is stored in this slot, or was stored before.
    #[error("already known")]
    Known(Option<Slot>),
    /// The pool is full of envelopes with at least as much work.
    #[error("pool is full, and all its envelopes have at least as much proof of work")]
    PoolFull,
}

/// Logarithmic class of work, in eighths of a bit: a removed envelope may have up to 10 % more work than one
/// that stays.
#[expect(clippy::as_conversions, reason = "a float becomes the nearest integer that fits")]
fn class(work: Work) -> i16 {
    (8.0 * work.as_f64().log2()).floor() as i16
}

/// Memory that an envelope uses, in bytes.
fn cost(envelope: &Envelope) -> usize {
    envelope.encoded().len() + OVERHEAD
}

/// Memory for an envelope in addition to its encoding: its slot and index entries.
const OVERHEAD: usize = 320;

/// Maximum number of hashes of removed envelopes, about 100 MB. A flood can displace those that expire first,
/// which are the least useful ones to send again.
const MAX_GONE: usize = 1 << 20;

#[cfg(test)]
mod tests;
