//! One peer: its handshake, its requirements, and the envelopes that must still be sent to it
//! (docs/whisper-protocol.md "States").
//!
//! Envelopes are sent no faster than this node itself would accept them. `node` checks envelopes, and
//! `devp2p` handles the connection.
//!
//! | state        | input          | output             | next   |
//! |--------------|----------------|--------------------|--------|
//! | ExpectStatus | status         |                    | Open   |
//! | ExpectStatus | any other      | disconnect         |        |
//! | ExpectStatus | 5 s            | disconnect         |        |
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

/// A peer and its queue.
#[derive(Debug)]
pub(super) struct Peer {
    state: PeerState,
    /// The envelopes that it has.
    known: SlotSet,
    /// Envelopes that must not be sent yet.
    withheld: SlotSet,
    /// Envelopes to send, in order of arrival.
    queue: VecDeque<Queued>,
    /// Number of queued envelopes that may be sent in this tick.
    due: usize,
    /// Number of ticks so far; wraps around.
    ticks: u32,
    /// Where to continue sending the rest of the pool.
    backlog: Option<Slot>,
    /// Whether the pool must be scanned once more after that.
    scan_again: bool,
    /// Whether the initial contents of the pool have been sent.
    synced: bool,
    /// Whether a bundle is being written.
    in_flight: bool,
    limit: SendLimit,
    /// Whether its Bloom filter is tested with all bits, not only go-ethereum's.
    strict_bloom: bool,
}

/// An envelope in the queue.
#[derive(Clone, Copy, Debug)]
struct Queued {
    slot: Slot,
    /// The tick at which it was queued.
    tick: u32,
}

#[derive(Debug)]
enum PeerState {
    ExpectStatus { until: Instant },
    Open(Status),
}

impl Peer {
    /// A peer before its handshake.
    pub(super) fn new(now: Instant, strict_bloom: bool, limits: &Limits) -> Self {
        Self {
            state: PeerState::ExpectStatus { until: now + STATUS_TIMEOUT },
            known: SlotSet::default(),
            withheld: SlotSet::default(),
            queue: VecDeque::new(),
            due: 0,
            ticks: 0,
            backlog: None,
            scan_again: false,
            synced: false,
            in_flight: false,
            limit: SendLimit::new(now, limits),
            strict_bloom,
        }
    }

    /// Its handshake, if it has been received.
    pub(super) const fn status(&self) -> Option<&Status> {
        match &self.state {
            PeerState::ExpectStatus { .. } => None,
            PeerState::Open(status) => Some(status),
        }
    }

    /// Whether the initial contents of the pool have been sent, or enough time has passed.
    pub(super) const fn is_synced(&self) -> bool {
        self.synced
    }

    /// When the handshake times out.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match &self.state {
            PeerState::ExpectStatus { until } => Some(*until),
            PeerState::Open(_) => None,
        }
    }

    /// Handles the handshake. `send_pool` says whether to send the whole pool.
    pub(super) fn open(&mut self, status: Status, send_pool: bool) {
        self.state = PeerState::Open(status);
        self.backlog = send_pool.then_some(Slot(0));
        self.synced = !send_pool;
    }

    /// Sets the minimum work that the peer requires.
    pub(super) fn set_min_work(&mut self, work: Work, send_pool: bool) {
        if let PeerState::Open(status) = &mut self.state {
            if work < status.min_work && send_pool {
                self.backlog = Some(Slot(0));
            }
            status.min_work = work;
        }
    }

    /// Sets the Bloom filter of the peer.
    pub(super) fn set_bloom(&mut self, bloom: Bloom, send_pool: bool) {
        if let PeerState::Open(status) = &mut self.state {
            if !status.bloom.contains(&bloom) && send_pool {
                self.backlog = Some(Slot(0));
            }
            status.bloom = bloom;
        }
    }

    /// Records that the peer has this envelope.
    pub(super) fn mark_known(&mut self, slot: Slot) {
        self.known.set(slot, true);
    }

    /// Whether the peer has the envelope in this slot.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.known.has(slot)
    }

    /// Queues the new envelope in this slot.
    pub(super) fn offer(&mut self, slot: Slot, send_pool: bool) {
        self.known.set(slot, false);
        self.release(slot, send_pool);
    }

    /// Registers the new envelope in this slot; it is not sent before [`Peer::release`].
    pub(super) fn withhold(&mut self, slot: Slot) {
        self.known.set(slot, false);
        self.withheld.set(slot, true);
    }

    /// Queues an envelope; it is sent if the peer wants it and does not have it.
    pub(super) fn release(&mut self, slot: Slot, send_pool: bool) {
        self.withheld.set(slot, false);
        if self.status().is_none() {
            return;
        }
        if self.queue.len() < MAX_QUEUED {
            self.queue.push_back(Queued { slot, tick: self.ticks });
        } else if send_pool {
            // The peer is too slow for the queue: find the missing envelopes in the pool later.
            self.queue.clear();
            self.due = 0;
            self.schedule_scan();
        }
    }

    /// Registers the new envelope in this slot, which must not be sent.
    pub(super) fn skip(&mut self, slot: Slot) {
        self.known.set(slot, true);
        self.withheld.set(slot, false);
    }

    /// Allows everything that is queued to be sent, in random order within a tick so that the order reveals
    /// nothing. Envelopes that have waited too long leave the queue in favour of new ones, and are found in the
    /// pool later.
    pub(super) fn tick(&mut self, send_pool: bool, rng: &mut impl RngCore) {
        if let Some(new) = self.queue.make_contiguous().get_mut(self.due..) {
            shuffle(new, rng);
        }
        self.ticks = self.ticks.wrapping_add(1);
        let stale = |queued: &Queued| self.ticks.wrapping_sub(queued.tick) > LONGEST_WAIT;
        let stale = self.queue.iter().take_while(|queued| send_pool && stale(queued)).count();
        if stale > 0 {
            self.queue.drain(..stale);
            self.schedule_scan();
        }
        self.synced |= self.status().is_some() && self.ticks > MAX_SYNC_TICKS;
        self.due = self.queue.len();
        self.limit.reached = false;
    }

    /// Schedules a scan of the pool for envelopes that the peer does not have.
    const fn schedule_scan(&mut self) {
        match self.backlog {
            Some(_) => self.scan_again = true,
            None => self.backlog = Some(Slot(0)),
        }
    }

    /// Builds the next bundle: the body of a packet with envelopes that are alive at `second` and not longer than
    /// `longest` bytes. `None` while a bundle is being written or if the limit of this tick has been reached.
    pub(super) fn next_bundle(
        &mut self,
        pool: &Pool,
        now: Instant,
        second: u32,
        longest: usize,
    ) -> Option<Vec<u8>> {
        if self.in_flight || self.limit.reached {
            return None;
        }
        let mut bundle = Bundle::new(self.limit.envelopes(now), second, longest);
        while let Some(Queued { slot, .. }) = self.queue.front().copied().filter(|_| self.due > 0) {
            let envelope =
                pool.at(slot).filter(|envelope| self.should_send(slot, envelope, &bundle));
            if let Some(envelope) = envelope {
                if !bundle.add(envelope) {
                    break;
                }
                self.known.set(slot, true);
            }
            self.queue.pop_front();
            self.due -= 1;
        }
        if !bundle.is_full {
            self.add_backlog(pool, &mut bundle);
        }
        self.limit.charge(now, &bundle);
        self.in_flight = !bundle.envelopes.is_empty();
        self.in_flight.then(|| packet::encode_messages(bundle.envelopes))
    }

    /// Adds envelopes from the pool that the peer does not have; scans a part of the pool at a time.
    fn add_backlog<'a>(&mut self, pool: &'a Pool, bundle: &mut Bundle<'a>) {
        let Some(start) = self.backlog else { return };
        let mut looked_at = 0;
        for (slot, envelope) in pool.from(start) {
            if let Some(envelope) = envelope.filter(|it| self.should_send(slot, it, bundle)) {
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
        self.backlog = std::mem::take(&mut self.scan_again).then_some(Slot(0));
        self.synced = true;
    }

    /// The last bundle has been written.
    pub(super) const fn sent(&mut self) {
        self.in_flight = false;
    }

    fn should_send(&self, slot: Slot, envelope: &ValidEnvelope, bundle: &Bundle<'_>) -> bool {
        bundle.may_hold(envelope)
            && !self.known.has(slot)
            && !self.withheld.has(slot)
            && self.matches(envelope)
    }

    /// Whether the peer wants this envelope.
    pub(super) fn matches(&self, envelope: &ValidEnvelope) -> bool {
        let topic = envelope.envelope().topic();
        self.status().is_some_and(|status| {
            let interested = match self.strict_bloom {
                true => status.bloom.matches_strictly(topic),
                false => status.bloom.matches(topic),
            };
            interested && envelope.work() >= status.min_work
        })
    }
}

/// The rate at which envelopes are sent to a peer.
#[derive(Debug)]
struct SendLimit {
    envelopes: Bucket,
    bytes: Bucket,
    /// Whether the limit of this tick is reached.
    reached: bool,
}

impl SendLimit {
    /// Slightly below the rate that we accept from a peer.
    fn new(now: Instant, limits: &Limits) -> Self {
        let envelopes = Bucket::new(now, limits.envelopes_per_peer.to_send());
        let bytes = Bucket::new(now, limits.bytes_per_peer.to_send());
        Self { envelopes, bytes, reached: false }
    }

    /// Maximum number of envelopes now. Bundles may be sent while the byte budget is not overdrawn.
    fn envelopes(&mut self, now: Instant) -> usize {
        self.bytes.charge(now, 0.0);
        if self.bytes.settled().is_none() { self.envelopes.whole(now) } else { 0 }
    }

    /// Charges a bundle.
    fn charge(&mut self, now: Instant, bundle: &Bundle<'_>) {
        let amount = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.envelopes.charge(now, amount(bundle.envelopes.len()));
        self.bytes.charge(now, amount(bundle.bytes));
        self.reached = bundle.envelopes.len() >= bundle.most;
    }
}

/// Envelopes for one packet.
#[derive(Debug)]
struct Bundle<'a> {
    envelopes: Vec<&'a [u8]>,
    bytes: usize,
    /// Maximum number of envelopes.
    most: usize,
    /// Sending time in seconds since 1970.
    second: u32,
    /// Maximum size of an envelope in bytes.
    longest: usize,
    is_full: bool,
}

impl<'a> Bundle<'a> {
    /// An empty bundle with these limits.
    const fn new(most: usize, second: u32, longest: usize) -> Self {
        Self { envelopes: Vec::new(), bytes: 0, most, second, longest, is_full: most == 0 }
    }

    /// Whether an envelope is alive and not too long.
    fn may_hold(&self, envelope: &ValidEnvelope) -> bool {
        let envelope = envelope.envelope();
        envelope.expiry() >= self.second && envelope.encoded().len() <= self.longest
    }

    /// Adds an envelope if it fits. The first one always fits in bytes. Returns whether it was added.
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

/// A set of slots, one bit each. Expired envelopes need no clean-up, because the bit is set again when the
/// slot is reused.
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

/// Shuffles items (Fisher–Yates).
fn shuffle<T>(items: &mut [T], rng: &mut impl RngCore) {
    for end in (1..items.len()).rev() {
        let range = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        let other = usize::try_from(rng.next_u64() % range).unwrap_or(end);
        items.swap(end, other);
    }
}

/// Time limit for the handshake. go-ethereum has none.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum bytes of envelopes in a packet that we send: go-ethereum disconnects peers that exceed its maximum
/// message size, 1 MiB by default.
const MAX_BUNDLE: usize = 512 * 1024;

/// [`LONGEST_FOR_ALL`] in terms of `size`, which is up to 12 bytes less than the encoded length.
pub(super) const LARGEST_FOR_ALL: usize = LONGEST_FOR_ALL - 12;

/// Maximum number of queued envelopes of a peer.
const MAX_QUEUED: usize = 1 << 16;

/// Maximum number of ticks (about twenty seconds) to wait until the pool has been sent.
const MAX_SYNC_TICKS: u32 = 64;

/// Maximum number of ticks (about five seconds) in the queue when more envelopes arrive than may be sent: new
/// ones must not wait for old ones.
const LONGEST_WAIT: u32 = 16;

/// Number of pool slots that are scanned for one bundle: about a millisecond.
const BACKLOG_STEP: u32 = 1 << 15;

#[cfg(test)]
mod tests;
