//! One neighbour: what it is, what it asks for, and what it still has to be told (docs/whisper-protocol.md "States").
//!
//! It is told no faster than a peer would take it from us. It does not judge envelopes (`node` does)
//! and knows no bytes on a link (`devp2p` does).
//!
//! | state        | input          | output             | next   |
//! |--------------|----------------|--------------------|--------|
//! | ExpectStatus | status         |                    | Open   |
//! | ExpectStatus | any other      | cut                |        |
//! | ExpectStatus | 5 s            | cut                |        |
//! | Open         | another status | (ignored)          | Open   |
//! | Open         | envelope       | marked as known    | Open   |
//! | Open         | tick           | bundles of 512 KiB | Open   |

use std::{collections::VecDeque, time::Duration};

use rand_core::RngCore;
use wormhole_kit::Instant;

use super::{
    bloom::Bloom,
    envelope::ValidEnvelope,
    node::Limits,
    packet::{self, LONGEST_FOR_ALL, Status},
    pool::{Pool, Slot},
    rate::Bucket,
    work::Work,
};

/// A neighbour and what it has to be told.
#[derive(Debug)]
pub(super) struct Peer {
    state: State,
    /// The envelopes that it has: from us, or before us.
    known: SlotSet,
    /// Envelopes that it must not be told about yet.
    withheld: SlotSet,
    /// Envelopes to tell it about, in the order in which they came.
    fresh: VecDeque<Fresh>,
    /// How many of them may go now.
    due: usize,
    /// Ticks until now; wraps.
    ticks: u32,
    /// From where on the rest of the pool is still to be told.
    backlog: Option<Slot>,
    /// Whether the pool is to be gone through once more after that.
    owes_more: bool,
    /// Whether it has been told, once, what was here when it came.
    settled: bool,
    /// Whether a bundle is on its way.
    in_flight: bool,
    pace: Pace,
    /// Whether its Bloom filter is taken to be right, where go-ethereum's is not.
    strict_bloom: bool,
}

/// An envelope that waits to be told.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    slot: Slot,
    /// The tick at which it came.
    tick: u32,
}

#[derive(Debug)]
enum State {
    ExpectStatus { until: Instant },
    Open(Status),
}

impl Peer {
    /// A neighbour that has said nothing yet.
    pub(super) fn new(now: Instant, strict_bloom: bool, limits: &Limits) -> Self {
        Self {
            state: State::ExpectStatus { until: now + STATUS_TIMEOUT },
            known: SlotSet::default(),
            withheld: SlotSet::default(),
            fresh: VecDeque::new(),
            due: 0,
            ticks: 0,
            backlog: None,
            owes_more: false,
            settled: false,
            in_flight: false,
            pace: Pace::new(now, limits),
            strict_bloom,
        }
    }

    /// What it said of itself, once it has.
    pub(super) const fn status(&self) -> Option<&Status> {
        match &self.state {
            State::ExpectStatus { .. } => None,
            State::Open(status) => Some(status),
        }
    }

    /// Whether it has said what it is and been told what was here then, or not for long.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// When its status is overdue.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectStatus { until } => Some(*until),
            State::Open(_) => None,
        }
    }

    /// Takes its status in, and owes it the whole pool if it is to have it.
    pub(super) fn open(&mut self, status: Status, owes_pool: bool) {
        self.state = State::Open(status);
        self.backlog = owes_pool.then_some(Slot(0));
        self.settled = !owes_pool;
    }

    /// It asks for this much work from now on.
    pub(super) fn set_min_work(&mut self, work: Work, owes_pool: bool) {
        if let State::Open(status) = &mut self.state {
            if work < status.min_work && owes_pool {
                self.backlog = Some(Slot(0));
            }
            status.min_work = work;
        }
    }

    /// It asks for these topics from now on.
    pub(super) fn set_bloom(&mut self, bloom: Bloom, owes_pool: bool) {
        if let State::Open(status) = &mut self.state {
            if !status.bloom.contains(&bloom) && owes_pool {
                self.backlog = Some(Slot(0));
            }
            status.bloom = bloom;
        }
    }

    /// It has this envelope.
    pub(super) fn learn(&mut self, slot: Slot) {
        self.known.set(slot, true);
    }

    /// Whether it has the envelope in this place.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.known.has(slot)
    }

    /// A new envelope is in this place, and it may be told if it wants to.
    pub(super) fn offer(&mut self, slot: Slot, owes_pool: bool) {
        self.known.set(slot, false);
        self.release(slot, owes_pool);
    }

    /// A new envelope is in this place, and it may be told once it is released.
    pub(super) fn withhold(&mut self, slot: Slot) {
        self.known.set(slot, false);
        self.withheld.set(slot, true);
    }

    /// It may be told about this envelope if it wants to and does not know it.
    pub(super) fn release(&mut self, slot: Slot, owes_pool: bool) {
        self.withheld.set(slot, false);
        if self.status().is_none() {
            return;
        }
        if self.fresh.len() < MAX_FRESH {
            self.fresh.push_back(Fresh { slot, tick: self.ticks });
        } else if owes_pool {
            // It cannot keep up. The pool remembers for us what it has not been told.
            self.fresh.clear();
            self.due = 0;
            self.owe_pool();
        }
    }

    /// A new envelope is in this place, and it is not to be told.
    pub(super) fn pass_over(&mut self, slot: Slot) {
        self.known.set(slot, true);
        self.withheld.set(slot, false);
    }

    /// Lets everything go that has come until now: what came since the last tick in an order that
    /// tells nothing, behind what had to wait. What has waited for long makes way for what is new,
    /// and is told once there is time.
    pub(super) fn tick(&mut self, owes_pool: bool, rng: &mut impl RngCore) {
        if let Some(new) = self.fresh.make_contiguous().get_mut(self.due..) {
            shuffle(new, rng);
        }
        self.ticks = self.ticks.wrapping_add(1);
        let stale = |fresh: &Fresh| self.ticks.wrapping_sub(fresh.tick) > LONGEST_WAIT;
        let stale = self.fresh.iter().take_while(|fresh| owes_pool && stale(fresh)).count();
        if stale > 0 {
            self.fresh.drain(..stale);
            self.owe_pool();
        }
        self.settled |= self.status().is_some() && self.ticks > SETTLING;
        self.due = self.fresh.len();
        self.pace.reached = false;
    }

    /// What it has not been told is to be looked for in the pool.
    const fn owe_pool(&mut self) {
        match self.backlog {
            Some(_) => self.owes_more = true,
            None => self.backlog = Some(Slot(0)),
        }
    }

    /// The next bundle, unless one is on its way or the pace has been reached in this tick: the body
    /// of a packet. It may hold what is alive at `second` and no longer than `longest` bytes.
    pub(super) fn next_bundle(
        &mut self,
        pool: &Pool,
        now: Instant,
        second: u32,
        longest: usize,
    ) -> Option<Vec<u8>> {
        if self.in_flight || self.pace.reached {
            return None;
        }
        let mut bundle = Bundle::new(self.pace.envelopes(now), second, longest);
        while let Some(Fresh { slot, .. }) = self.fresh.front().copied().filter(|_| self.due > 0) {
            let envelope =
                pool.at(slot).filter(|envelope| self.is_to_be_told(slot, envelope, &bundle));
            if let Some(envelope) = envelope {
                if !bundle.add(envelope) {
                    break;
                }
                self.known.set(slot, true);
            }
            self.fresh.pop_front();
            self.due -= 1;
        }
        if !bundle.is_full {
            self.add_backlog(pool, &mut bundle);
        }
        self.pace.note(now, &bundle);
        self.in_flight = !bundle.envelopes.is_empty();
        self.in_flight.then(|| packet::encode_messages(bundle.envelopes))
    }

    /// Adds what the pool holds and this peer has not been told, a part of the pool at a time.
    fn add_backlog<'a>(&mut self, pool: &'a Pool, bundle: &mut Bundle<'a>) {
        let Some(start) = self.backlog else { return };
        let mut looked_at = 0;
        for (slot, envelope) in pool.from(start) {
            if let Some(envelope) = envelope.filter(|it| self.is_to_be_told(slot, it, bundle)) {
                if !bundle.add(envelope) {
                    self.backlog = Some(slot);
                    return;
                }
                self.known.set(slot, true);
            }
            looked_at += 1;
            if looked_at == BACKLOG_STEP {
                self.backlog = Some(Slot(slot.0.saturating_add(1)));
                return;
            }
        }
        self.backlog = std::mem::take(&mut self.owes_more).then_some(Slot(0));
        self.settled = true;
    }

    /// The last bundle has been written.
    pub(super) const fn sent(&mut self) {
        self.in_flight = false;
    }

    fn is_to_be_told(&self, slot: Slot, envelope: &ValidEnvelope, bundle: &Bundle<'_>) -> bool {
        bundle.may_hold(envelope)
            && !self.known.has(slot)
            && !self.withheld.has(slot)
            && self.wants(envelope)
    }

    /// Whether it asks for such an envelope.
    pub(super) fn wants(&self, envelope: &ValidEnvelope) -> bool {
        let topic = envelope.envelope().topic();
        self.status().is_some_and(|status| {
            let interested = match self.strict_bloom {
                true => status.bloom.wants_strictly(topic),
                false => status.bloom.wants(topic),
            };
            interested && envelope.work() >= status.min_work
        })
    }
}

/// How much more a peer may be told now.
#[derive(Debug)]
struct Pace {
    envelopes: Bucket,
    bytes: Bucket,
    /// Whether it has been told all that it may, so that the rest waits for the next tick.
    reached: bool,
}

impl Pace {
    /// Somewhat slower than what we take from a peer ourselves.
    fn new(now: Instant, limits: &Limits) -> Self {
        let envelopes = Bucket::new(now, limits.envelopes_per_peer.to_send());
        let bytes = Bucket::new(now, limits.bytes_per_peer.to_send());
        Self { envelopes, bytes, reached: false }
    }

    /// Most envelopes that may go now. A bundle may go as long as no bytes are owed.
    fn envelopes(&mut self, now: Instant) -> usize {
        self.bytes.charge(now, 0.0);
        if self.bytes.settled().is_none() { self.envelopes.whole(now) } else { 0 }
    }

    /// A bundle goes.
    fn note(&mut self, now: Instant, bundle: &Bundle<'_>) {
        let amount = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.envelopes.charge(now, amount(bundle.envelopes.len()));
        self.bytes.charge(now, amount(bundle.bytes));
        self.reached = bundle.envelopes.len() >= bundle.most;
    }
}

/// Envelopes that travel in one packet.
#[derive(Debug)]
struct Bundle<'a> {
    envelopes: Vec<&'a [u8]>,
    bytes: usize,
    /// Most envelopes in it.
    most: usize,
    /// When it is sent, in seconds since 1970.
    second: u32,
    /// Most bytes of an envelope in it.
    longest: usize,
    is_full: bool,
}

impl<'a> Bundle<'a> {
    /// Nothing yet, and at most so many envelopes later.
    const fn new(most: usize, second: u32, longest: usize) -> Self {
        Self { envelopes: Vec::new(), bytes: 0, most, second, longest, is_full: most == 0 }
    }

    /// Whether an envelope is alive and not too long.
    fn may_hold(&self, envelope: &ValidEnvelope) -> bool {
        let envelope = envelope.envelope();
        envelope.expiry() >= self.second && envelope.encoded().len() <= self.longest
    }

    /// Adds an envelope unless there would be too many or too many bytes. The first always fits in
    /// bytes.
    fn add(&mut self, envelope: &'a ValidEnvelope) -> bool {
        let encoded = envelope.envelope().encoded();
        let too_long = self.bytes > 0 && self.bytes + encoded.len() > MAX_BUNDLE;
        self.is_full = too_long || self.envelopes.len() >= self.most;
        if !self.is_full {
            self.bytes += encoded.len();
            self.envelopes.push(encoded);
        }
        !self.is_full
    }
}

/// A set of slots, one bit each: it needs no clean-up when envelopes expire, because whatever takes
/// a slot next is set anew.
#[derive(Debug, Default)]
struct SlotSet(Vec<u64>);

impl SlotSet {
    fn has(&self, slot: Slot) -> bool {
        self.0.get(slot.index() / 64).is_some_and(|word| word >> (slot.index() % 64) & 1 == 1)
    }

    fn set(&mut self, slot: Slot, present: bool) {
        let index = slot.index() / 64;
        if index >= self.0.len() {
            if !present {
                return;
            }
            self.0.resize(index + 1, 0);
        }
        if let Some(word) = self.0.get_mut(index) {
            let bit = 1 << (slot.index() % 64);
            *word = if present { *word | bit } else { *word & !bit };
        }
    }
}

/// Puts things into a random order (Fisher–Yates).
fn shuffle<T>(items: &mut [T], rng: &mut impl RngCore) {
    for end in (1..items.len()).rev() {
        let range = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        let other = usize::try_from(rng.next_u64() % range).unwrap_or(end);
        items.swap(end, other);
    }
}

/// Time in which a peer must say what it is. Ours: the reference waits for ever.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of envelopes in a packet that we send: the reference cuts whoever sends more than its
/// largest message, which is 1 MiB unless told otherwise.
const MAX_BUNDLE: usize = 512 * 1024;

/// [`LONGEST_FOR_ALL`] by what `size` counts, which is up to 12 bytes less than an encoding has.
pub(super) const LARGEST_FOR_ALL: usize = LONGEST_FOR_ALL - 12;

/// Most envelopes that wait for a peer one by one.
const MAX_FRESH: usize = 1 << 16;

/// Ticks, about twenty seconds, after which nobody waits for a peer to be told the pool.
const SETTLING: u32 = 64;

/// Ticks, about five seconds, for which an envelope keeps its turn: more come than may go, and
/// nothing is to be late for it.
const LONGEST_WAIT: u32 = 16;

/// Slots of the pool that are looked at for one bundle: a millisecond or so.
const BACKLOG_STEP: u32 = 1 << 15;

#[cfg(test)]
mod tests;
