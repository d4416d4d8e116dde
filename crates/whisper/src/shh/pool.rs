//! The pool: every envelope that lives, until it expires (docs/whisper-protocol.md "States").
//!
//! Nothing enters twice, not even after it has left; the least work leaves first when the pool is
//! full; and nothing takes longer because there is more of it. Who is told about an envelope is the
//! business of `peer` and `node`.

use std::collections::BTreeMap;

use wormhole_kit::UnixTime;

use super::{
    envelope::{Envelope, EnvelopeHash, GRACE, ValidEnvelope},
    whole_seconds,
    work::Work,
};

mod shelf;

pub use shelf::Slot;
use shelf::{Bags, Index, Shelf, Stored};

/// Envelopes by their hash, bounded in bytes.
#[derive(Debug)]
pub struct Pool {
    shelf: Shelf,
    index: Index,
    /// What is here, by the second of its expiry.
    by_expiry: Bags<u32>,
    /// What is here, by the class of its work.
    by_work: Bags<i16>,
    /// What it takes of the capacity, by the class of its work.
    bytes_by_work: BTreeMap<i16, usize>,
    /// What was here, by the second of its expiry.
    gone: BTreeMap<u32, Vec<EnvelopeHash>>,
    gone_count: usize,
    count: usize,
    bytes: usize,
    capacity: usize,
}

impl Pool {
    /// A pool that takes up to `capacity` bytes of memory for the envelopes in it.
    pub fn new(capacity: usize) -> Self {
        Self {
            shelf: Shelf::default(),
            index: Index::new(),
            by_expiry: Bags::new(),
            by_work: Bags::new(),
            bytes_by_work: BTreeMap::new(),
            gone: BTreeMap::new(),
            gone_count: 0,
            count: 0,
            bytes: 0,
            capacity,
        }
    }

    /// Takes an envelope in. Makes room for it at the expense of those with less work.
    ///
    /// # Errors
    /// It was here before, or there is no room for so little work. Neither is its sender's fault.
    pub fn insert(&mut self, envelope: ValidEnvelope) -> Result<Slot, NotKept> {
        let hash = envelope.envelope().hash();
        if let Some(slot) = self.index.find(&hash) {
            return Err(NotKept::Known(slot));
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
        let slot = self.shelf.add(stored).ok_or(NotKept::PoolFull)?;
        self.by_expiry.put(expiry, slot);
        self.by_work.put(class, slot);
        self.index.set(hash, Some(slot));
        *self.bytes_by_work.entry(class).or_default() += cost;
        self.bytes += cost;
        self.count += 1;
        Ok(slot)
    }

    /// The place of an envelope that is here.
    pub fn find(&self, hash: &EnvelopeHash) -> Option<Slot> {
        self.index.find(hash).flatten()
    }

    /// Whether an envelope is here, or was within its life.
    pub fn has_seen(&self, hash: &EnvelopeHash) -> bool {
        self.index.find(hash).is_some()
    }

    /// The envelope in a place.
    pub fn at(&self, slot: Slot) -> Option<&ValidEnvelope> {
        self.shelf.at(slot).map(|stored| &stored.envelope)
    }

    /// All envelopes from a place on, with their places.
    pub fn from(&self, start: Slot) -> impl Iterator<Item = (Slot, Option<&ValidEnvelope>)> {
        (start.0..self.shelf.places()).map(Slot).map(|slot| (slot, self.at(slot)))
    }

    /// Number of envelopes here.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is here.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory that the envelopes here take.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets up to `most` envelopes expire, and forgets as many that expired a while ago. Returns
    /// whether there are more.
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
            if !self.forget_before(now.saturating_sub(GRACE)) {
                break;
            }
        }
        let more = self.by_expiry.lowest().and_then(expired).is_some();
        more || self.gone.keys().next().is_some_and(|expiry| *expiry < now.saturating_sub(GRACE))
    }

    /// Everything that [`Node::restore`](super::Node::restore) needs of this after a restart.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let kept = self.from(Slot(0)).filter_map(|(_, envelope)| envelope);
        let kept = kept.map(|envelope| Record::Kept(envelope.envelope().clone()));
        let gone = self.gone.iter().flat_map(|(expiry, hashes)| {
            hashes.iter().map(|hash| Record::Seen { hash: *hash, expiry: *expiry })
        });
        kept.chain(gone)
    }

    /// Takes back what was here before a restart. What was kept comes checked anew.
    pub fn restore(&mut self, hash: EnvelopeHash, expiry: u32) {
        if self.index.find(&hash).is_none() {
            self.mark_gone(hash, expiry);
        }
    }

    /// Lets envelopes with less work go until there is room for `cost` bytes. If all of them were
    /// not enough, none goes.
    fn make_room(&mut self, cost: usize, class: i16) -> Result<(), NotKept> {
        let missing = (self.bytes + cost).saturating_sub(self.capacity);
        let mut lower = self.bytes_by_work.range(..class).map(|(_, bytes)| *bytes);
        let mut found = 0;
        while found < missing {
            found += lower.next().ok_or(NotKept::PoolFull)?;
        }
        while self.bytes + cost > self.capacity {
            let (_, slot) = self.by_work.lowest().ok_or(NotKept::PoolFull)?;
            self.leave(slot);
        }
        Ok(())
    }

    /// Removes an envelope and remembers that it was here.
    fn leave(&mut self, slot: Slot) {
        let Some(stored) = self.shelf.take(slot) else { return };
        let envelope = stored.envelope.envelope();
        let class = class(stored.envelope.work());
        self.bytes = self.bytes.saturating_sub(cost(envelope));
        if let Some(bytes) = self.bytes_by_work.get_mut(&class) {
            *bytes = bytes.saturating_sub(cost(envelope));
        }
        self.count = self.count.saturating_sub(1);
        let moved = self.by_expiry.remove(envelope.expiry(), stored.expiry_position);
        if let Some(moved) = moved.and_then(|slot| self.shelf.at_mut(slot)) {
            moved.expiry_position = stored.expiry_position;
        }
        let moved = self.by_work.remove(class, stored.work_position);
        if let Some(moved) = moved.and_then(|slot| self.shelf.at_mut(slot)) {
            moved.work_position = stored.work_position;
        }
        self.mark_gone(envelope.hash(), envelope.expiry());
    }

    fn mark_gone(&mut self, hash: EnvelopeHash, expiry: u32) {
        self.index.set(hash, None);
        self.gone.entry(expiry).or_default().push(hash);
        self.gone_count += 1;
        if self.gone_count > MAX_GONE {
            self.forget_before(u32::MAX);
        }
    }

    /// Forgets one envelope that expired before `second`, the earliest. Returns whether there was
    /// one.
    fn forget_before(&mut self, second: u32) -> bool {
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

/// One thing to keep over a restart.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// An envelope that is here.
    Kept(Envelope),
    /// An envelope of our own that not all peers have been told yet.
    Own(Envelope),
    /// An envelope that was here and must not come again.
    Seen {
        /// Its name.
        hash: EnvelopeHash,
        /// When it expires, in seconds since 1970.
        expiry: u32,
    },
}

/// Why an envelope did not enter the pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// It is here already, at this place, or it was.
    #[error("known already")]
    Known(Option<Slot>),
    /// The pool is full of envelopes with as much work.
    #[error("pool is full of envelopes with as much work")]
    PoolFull,
}

/// Work in eighths of a bit: what is evicted may have up to a tenth more work than what stays.
#[expect(clippy::as_conversions, reason = "a float becomes the nearest integer that fits")]
fn class(work: Work) -> i16 {
    (8.0 * work.as_f64().log2()).floor() as i16
}

/// What an envelope takes of the capacity, in bytes.
fn cost(envelope: &Envelope) -> usize {
    envelope.encoded().len() + OVERHEAD
}

/// Bytes that an envelope takes beside its encoding: its place, its share of index and bags.
const OVERHEAD: usize = 320;

/// Most envelopes that are remembered after they have left, about 100 MB. A flood can make us
/// forget the ones that expire first, which are of the least use to whoever would send them again.
const MAX_GONE: usize = 1 << 20;

#[cfg(test)]
mod tests;
