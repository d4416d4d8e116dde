//! A node of the network: its pool, its neighbours, and what goes from one to the other
//! (docs/whisper-protocol.md "States").
//!
//! It reads no message: what it accepts it hands out, after having passed it on, and `filter` tries
//! the keys. It knows no link either: packets come and go as code and body, and whoever drives it
//! carries them. Both clocks are arguments: `Instant` for waiting, `UnixTime` for envelopes.
//!
//! ```text
//! packet ──► rate ──► check ──► pool ──► every other peer (on the tick) ──► Deliver
//! post ──► check ──► Deliver, outbox (until the delay is over and there are enough peers) ──► pool ──►
//!          one peer ──► every other peer (when it comes back, or after six seconds)
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use rand_core::CryptoRngCore;
use wormhole_kit::{Instant, UnixTime};

use super::{
    bloom::Bloom,
    envelope::{Envelope, EnvelopeHash, Refusal, ValidEnvelope},
    packet::{self, Envelopes, LONGEST_FOR_ALL, Packet, Status},
    peer::{LARGEST_FOR_ALL, Peer, STATUS_TIMEOUT},
    pool::{NotKept, Pool, Record, Slot},
    requirements::Requirements,
    topic::Topic,
    whole_seconds,
    work::Work,
};
use crate::devp2p::{
    key::{NodeId, keccak256},
    rlp,
};

mod inflow;
mod neighbours;
mod outbox;
mod output;
mod settings;
mod stems;
mod unsent;

use inflow::Inflow;
use neighbours::Neighbours;
use outbox::Outbox;
pub use output::{NodeOutput, PeerError};
pub use settings::{DEFAULT_POOL_BYTES, Darkness, Limits, Settings};
use stems::Stems;
use unsent::Unsent;

/// A node. Any order of calls is safe.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    requirements: Requirements,
    pool: Pool,
    peers: Neighbours,
    trusted: BTreeSet<NodeId>,
    outbox: Outbox,
    stems: Stems,
    unsent: Unsent,
    /// What was accepted and has not been passed on yet.
    accepted: Vec<Envelope>,
    inflow: Inflow,
    outputs: VecDeque<NodeOutput>,
    next_tick: Instant,
    next_expiry: Instant,
}

impl Node {
    /// A node without neighbours.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            requirements: settings.requirements.clone(),
            pool: Pool::new(settings.pool_bytes),
            peers: Neighbours::new(settings.limits),
            trusted: BTreeSet::new(),
            outbox: Outbox::default(),
            stems: Stems::default(),
            unsent: Unsent::default(),
            accepted: Vec::new(),
            inflow: Inflow::new(now, &settings.limits),
            outputs: VecDeque::new(),
            next_tick: now + TICK,
            next_expiry: now + EXPIRY_TICK,
            settings,
        }
    }

    /// What this node asks of envelopes.
    pub const fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// What this node holds.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The peers that have said what they are.
    pub fn peers(&self) -> impl Iterator<Item = (&NodeId, &Status)> {
        self.peers.iter().filter_map(|(id, peer)| Some((id, peer.status()?)))
    }

    /// A link to a peer is open. Tells it at once what we are.
    pub fn connected(&mut self, now: Instant, id: NodeId, address: Option<IpAddr>) {
        let mut peer = Peer::new(now, self.settings.strict_bloom, &self.settings.limits);
        let stems = self.stems.iter().filter(|(slot, hash)| self.pool.find(hash) == Some(*slot));
        stems.for_each(|(slot, _)| peer.withhold(slot));
        self.peers.add(now, id, peer, address);
        let requirements = &self.requirements;
        let (work, bloom) = (requirements.min_work(), *requirements.bloom());
        let status = Status::new(work, bloom, self.settings.light);
        self.send(id, packet::STATUS, status.encode());
    }

    /// The link to a peer is gone.
    pub fn disconnected(&mut self, id: &NodeId) {
        self.peers.remove(id);
    }

    /// A packet came from a peer. A peer that misbehaves is cut; what was good in its packet stays.
    pub fn handle(&mut self, now: Instant, wall: UnixTime, id: NodeId, code: u16, body: &[u8]) {
        if self.peers.contains(&id)
            && let Err(error) = self.handle_packet(now, wall, id, code, body)
        {
            self.cut(id, error);
        }
    }

    /// A packet of messages has been written to the link of a peer: it can take another.
    pub fn sent(&mut self, now: Instant, wall: UnixTime, id: NodeId) {
        if let Some(peer) = self.peers.find(&id) {
            peer.sent();
            self.send_bundle(now, wall, id);
        }
    }

    /// Hands out the next thing to do.
    pub fn poll(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front()
    }

    /// When [`Node::handle_timeout`] wants to be called, if nothing happens before.
    pub fn deadline(&self) -> Instant {
        let peers = self.peers.iter().filter_map(|(_, peer)| peer.deadline());
        peers.fold(self.next_tick.min(self.next_expiry), Instant::min)
    }

    /// Lets time pass. Calling it before the deadline does nothing.
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        if now >= self.next_expiry {
            let more = self.pool.expire(wall, EXPIRY_STEP);
            self.next_expiry = if more { now } else { now + EXPIRY_TICK };
            self.peers.forget_addresses(now);
            self.report_unsent(whole_seconds(wall));
        }
        if now >= self.next_tick {
            self.next_tick = now + self.settings.darkness.tick(TICK, rng);
            self.tick(now, wall, rng);
        }
        let overdue = |peer: &Peer| peer.deadline().is_some_and(|until| now >= until);
        let overdue = self.peers.iter().filter(|(_, peer)| overdue(peer)).map(|(id, _)| *id);
        let overdue: Vec<_> = overdue.collect();
        overdue.into_iter().for_each(|id| self.cut(id, PeerError::NoStatusInTime(STATUS_TIMEOUT)));
    }

    /// Takes in an envelope of our own, and hands it out at once. It leaves after a random delay, once
    /// there are enough peers; until then nobody else can see it.
    ///
    /// # Errors
    /// No node would take it.
    pub fn post(
        &mut self,
        now: Instant,
        wall: UnixTime,
        envelope: Envelope,
        rng: &mut impl CryptoRngCore,
    ) -> Result<EnvelopeHash, Refusal> {
        let valid = self.check_own(now, wall, envelope)?;
        let envelope = valid.envelope().clone();
        let hash = envelope.hash();
        if !self.pool.has_seen(&hash) && !self.outbox.contains(&hash) {
            self.outputs.push_back(NodeOutput::Deliver { envelope, direct: false });
        }
        self.outbox.add(now + self.settings.darkness.delay(rng), valid);
        Ok(hash)
    }

    fn check_own(
        &self,
        now: Instant,
        wall: UnixTime,
        envelope: Envelope,
    ) -> Result<ValidEnvelope, Refusal> {
        let (size, limit) = (envelope.size(), self.max_own_size());
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        // We may say what we do not want to hear.
        let mut requirements = self.requirements.clone();
        requirements.set_bloom(now, Bloom::FULL);
        envelope.check(&requirements, now, wall)
    }

    /// Largest envelope of our own, in bytes: what every peer takes, or what we take ourselves if
    /// there is a peer that we trust to take as much.
    pub fn max_own_size(&self) -> usize {
        let taken = self.requirements.max_size();
        if self.trusted.is_empty() { taken.min(LARGEST_FOR_ALL) } else { taken }
    }

    /// Own envelopes that have not left yet.
    pub const fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Whether any peer has received this envelope of our own. `None` if we do not have it (any more).
    pub fn is_sent(&self, hash: &EnvelopeHash) -> Option<bool> {
        if self.outbox.contains(hash) || self.unsent.contains(hash) {
            return Some(false);
        }
        self.pool.find(hash).map(|_| true)
    }

    /// The envelopes under these topics that live here, including our own that have not left yet.
    pub fn held<'a>(&'a self, topics: &'a [Topic]) -> impl Iterator<Item = &'a Envelope> {
        let pool = self.pool.from(Slot(0)).filter_map(|(_, valid)| valid);
        let all = self.outbox.iter().chain(pool).map(ValidEnvelope::envelope);
        all.filter(|envelope| topics.contains(&envelope.topic()))
    }

    /// Sends an envelope to one peer alone, past the pool. Only a peer that trusts us will look at
    /// it. Returns whether there is such a peer.
    pub fn send_direct(&mut self, id: NodeId, envelope: &Envelope) -> bool {
        self.send_open(id, packet::DIRECT, envelope.encoded().to_vec())
    }

    /// Sends a request to a mail server; see `archive`. Returns whether there is such a peer.
    pub fn request_archive(&mut self, id: NodeId, request: &Envelope) -> bool {
        self.send_open(id, packet::ARCHIVE_REQUEST, request.encoded().to_vec())
    }

    /// Looks at what this node sends to us alone from now on. It need not be connected.
    pub fn trust(&mut self, id: NodeId) {
        self.trusted.insert(id);
    }

    /// Whether it looks at what this node sends to us alone.
    pub fn trusts(&self, id: &NodeId) -> bool {
        self.trusted.contains(id)
    }

    /// Whether it passes on only what it says itself.
    pub const fn is_light(&self) -> bool {
        self.settings.light
    }

    /// Asks for this much work from now on, and tells all peers.
    pub fn set_min_work(&mut self, now: Instant, work: Work) {
        self.requirements.set_min_work(now, work);
        self.broadcast(packet::MIN_WORK, &packet::encode_min_work(work));
    }

    /// Asks for these topics from now on, and tells all peers.
    pub fn set_bloom(&mut self, now: Instant, bloom: Bloom) {
        self.requirements.set_bloom(now, bloom);
        self.broadcast(packet::BLOOM, &packet::encode_bloom(&bloom));
    }

    /// Passes on only what it says itself from now on, or everything again. Peers learn of it when
    /// they connect: the protocol has no packet for it.
    pub const fn set_light(&mut self, light: bool) {
        self.settings.light = light;
    }

    /// Takes envelopes of at most this many bytes from now on.
    pub fn set_max_size(&mut self, bytes: usize) {
        self.requirements.set_max_size(bytes);
    }

    /// Everything that a restart must not lose: the pool, and what of our own is to leave yet.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let untold =
            |hash| self.unsent.contains(&hash) || self.stems.iter().any(|(_, stem)| stem == hash);
        let pool = self.pool.records().map(move |record| {
            if let Record::Kept(envelope) = &record
                && untold(envelope.hash())
            {
                return Record::Own(envelope.clone());
            }
            record
        });
        pool.chain(self.outbox.iter().map(|valid| Record::Own(valid.envelope().clone())))
    }

    /// Takes back what [`Node::records`] gave before a restart, as far as it is still good. What is
    /// kept is passed on again, but not handed out again.
    pub fn restore(&mut self, now: Instant, wall: UnixTime, record: Record) {
        match record {
            Record::Seen { hash, expiry } => self.pool.restore(hash, expiry),
            Record::Kept(envelope) => {
                if let Ok(valid) = envelope.check(&self.requirements, now, wall) {
                    let _ = self.pool.insert(valid).map(|slot| self.offer(slot, None));
                }
            }
            Record::Own(envelope) => {
                if let Ok(valid) = self.check_own(now, wall, envelope) {
                    self.outbox.add(now, valid);
                }
            }
        }
    }

    fn handle_packet(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        code: u16,
        body: &[u8],
    ) -> Result<(), PeerError> {
        let limit = self.requirements.max_packet();
        if body.len() > limit {
            return Err(PeerError::OversizedPacket { bytes: body.len(), limit });
        }
        match self.peers.find(&id).and_then(|peer| peer.status()) {
            None if code == packet::STATUS => self.take_status(id, body),
            None => Err(PeerError::NoStatus(code)),
            // Later ones are ignored, whatever is in them.
            Some(_) if code == packet::STATUS => Ok(()),
            // Who may not say this is not listened to.
            Some(_) if code == packet::DIRECT && !self.trusted.contains(&id) => Ok(()),
            Some(status) => {
                let confirmations = status.confirmations;
                if code == packet::MESSAGES && confirmations {
                    self.send(id, packet::ACKNOWLEDGED, rlp::string(&keccak256(&[body])));
                }
                self.take_packet(now, wall, id, Packet::decode(code, body)?)
            }
        }
    }

    /// Takes in the first packet of a peer.
    fn take_status(&mut self, id: NodeId, body: &[u8]) -> Result<(), PeerError> {
        let (light, restrict_light) = (self.settings.light, self.settings.restrict_light);
        let Packet::Status(status) = Packet::decode(packet::STATUS, body)? else { return Ok(()) };
        if light && restrict_light && status.light {
            return Err(PeerError::BothLight);
        }
        if let Some(peer) = self.peers.find(&id) {
            peer.open(status, !light && !self.pool.is_empty());
            self.outputs.push_back(NodeOutput::Opened(id));
        }
        Ok(())
    }

    /// Takes in any later packet.
    fn take_packet(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        packet: Packet<'_>,
    ) -> Result<(), PeerError> {
        let owes_pool = !self.settings.light;
        let Some(peer) = self.peers.find(&id) else { return Ok(()) };
        match packet {
            Packet::Messages(envelopes) => return self.take_all(now, wall, id, envelopes),
            Packet::MinWork(work) => peer.set_min_work(work, owes_pool),
            Packet::Bloom(bloom) => peer.set_bloom(bloom, owes_pool),
            Packet::Direct(envelopes) => self.take_direct(envelopes),
            Packet::ArchiveRequest(request) => self.take_request(now, id, request),
            Packet::ArchiveComplete { request, last } if self.trusted.contains(&id) => {
                self.outputs.push_back(NodeOutput::ArchiveComplete { peer: id, request, last });
            }
            Packet::ArchiveComplete { .. } | Packet::Status(_) | Packet::Unknown => {}
        }
        Ok(())
    }

    /// Takes in what is good of a packet, and blames its sender for the first that is not. What is
    /// too much is not looked at.
    fn take_all(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        envelopes: Envelopes<'_>,
    ) -> Result<(), PeerError> {
        let mut fault = None;
        for envelope in envelopes {
            if !self.peers.admit(now, &id) {
                break;
            }
            let Err(refusal) = self.take(now, wall, id, envelope) else { continue };
            if refusal.is_early() && self.peers.note_early(now, &id) {
                self.note(NodeOutput::ClockDoubted);
            }
            if refusal.is_misbehaviour() {
                fault = fault.or(Some(refusal));
            }
        }
        fault.map_or(Ok(()), |refusal| Err(PeerError::InvalidEnvelope(refusal)))
    }

    /// Takes one envelope in.
    fn take(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        envelope: Envelope,
    ) -> Result<(), Refusal> {
        let hash = envelope.hash();
        if let Some(slot) = self.pool.find(&hash) {
            if let Some(peer) = self.peers.find(&id) {
                peer.learn(slot);
            }
            if let Some(slot) = self.stems.come_back(&hash, &id) {
                self.release(slot);
            }
            return Ok(());
        }
        if self.pool.has_seen(&hash) {
            return Ok(());
        }
        let valid = envelope.check(&self.requirements, now, wall)?;
        if self.peers.admit_new(now, &id) {
            self.accept(now, valid, id);
        }
        Ok(())
    }

    /// Keeps a valid envelope that came from a peer, offers it to all others, and hands it out once
    /// it has been passed on.
    fn accept(&mut self, now: Instant, valid: ValidEnvelope, from: NodeId) {
        let envelope = valid.envelope().clone();
        if let Some(slot) = self.keep(now, valid) {
            self.offer(slot, Some(from));
            self.accepted.push(envelope);
        }
    }

    /// Keeps a valid envelope of our own, and tells one peer or all, as told to.
    fn accept_own(&mut self, now: Instant, valid: ValidEnvelope, rng: &mut impl CryptoRngCore) {
        let hash = valid.envelope().hash();
        let first = self.settings.darkness.draw_stem(self.takers(&valid), rng);
        let Some(slot) = self.keep(now, valid) else {
            if self.pool.find(&hash).is_none() {
                self.outputs.push_back(NodeOutput::Unsent(hash));
            }
            return;
        };
        self.unsent.add(slot, hash);
        let Some(first) = first else { return self.offer(slot, None) };
        for (id, peer) in self.peers.iter_mut() {
            if *id == first {
                peer.offer(slot, !self.settings.light);
            } else {
                peer.withhold(slot);
            }
        }
        self.stems.add(slot, hash, first, now + self.settings.darkness.tick(EMBARGO, rng));
    }

    /// The peers that ask for such an envelope and have been told what else there is.
    fn takers(&self, valid: &ValidEnvelope) -> Vec<NodeId> {
        let takers = self.peers.iter().filter(|(_, peer)| peer.is_settled() && peer.wants(valid));
        takers.map(|(id, _)| *id).collect()
    }

    fn keep(&mut self, now: Instant, valid: ValidEnvelope) -> Option<Slot> {
        let envelope = valid.envelope().clone();
        match self.pool.insert(valid) {
            Ok(slot) => {
                if self.inflow.is_too_much(now, &envelope) {
                    self.note(NodeOutput::Flooded);
                }
                Some(slot)
            }
            Err(NotKept::PoolFull) => {
                self.note(NodeOutput::PoolFull);
                None
            }
            Err(NotKept::Known(_)) => None,
        }
    }

    /// Names our own envelopes that have expired, or had to leave the pool, before any peer received
    /// them.
    fn report_unsent(&mut self, second: u32) {
        let pool = &self.pool;
        let gone = self.unsent.take_gone(|slot, hash| pool.find(hash) == Some(slot));
        let expired = self.outbox.expire(second);
        self.outputs.extend(gone.into_iter().chain(expired).map(NodeOutput::Unsent));
    }

    /// Says something once for all that happens in a row.
    fn note(&mut self, output: NodeOutput) {
        if self.outputs.back() != Some(&output) {
            self.outputs.push_back(output);
        }
    }

    fn offer(&mut self, slot: Slot, from: Option<NodeId>) {
        let own = from.is_none();
        let light = self.settings.light;
        for (id, peer) in self.peers.iter_mut() {
            // A light node passes nothing on but what it says itself.
            if from == Some(*id) || (light && !own) {
                peer.pass_over(slot);
            } else {
                peer.offer(slot, !light);
            }
        }
    }

    /// Tells all peers what only one of them knew.
    fn release(&mut self, slot: Slot) {
        let owes_pool = !self.settings.light;
        self.peers.iter_mut().for_each(|(_, peer)| peer.release(slot, owes_pool));
    }

    /// Hands a request out, if it can be served. It counts as an envelope: opening it is work.
    fn take_request(&mut self, now: Instant, peer: NodeId, request: Envelope) {
        let admitted = self.peers.admit(now, &peer) && self.peers.admit_new(now, &peer);
        if admitted && self.settings.serves_archive {
            self.outputs.push_back(NodeOutput::ArchiveRequest { peer, request });
        }
    }

    /// Hands out what a trusted peer has for us alone.
    fn take_direct(&mut self, envelopes: Envelopes<'_>) {
        for envelope in envelopes {
            self.outputs.push_back(NodeOutput::Deliver { envelope, direct: true });
        }
    }

    /// Sends what has come, first to the peers and only then to the keys.
    fn tick(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        for (slot, hash) in self.stems.overdue(now) {
            if self.pool.find(&hash) == Some(slot) {
                self.release(slot);
            }
        }
        if self.may_speak() {
            let alive = |valid: &ValidEnvelope| valid.envelope().expiry() >= whole_seconds(wall);
            for valid in self.outbox.due(now).into_iter().filter(alive) {
                self.accept_own(now, valid, rng);
            }
        }
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.find(&id) {
                peer.tick(!self.settings.light, rng);
            }
            self.send_bundle(now, wall, id);
        }
        for envelope in self.accepted.drain(..) {
            self.outputs.push_back(NodeOutput::Deliver { envelope, direct: false });
        }
    }

    /// Whether there are enough peers to hide among, who have been told the pool: what is told before
    /// that would stand out.
    fn may_speak(&self) -> bool {
        let min_peers = self.settings.darkness.min_peers;
        let settled = self.peers.iter().filter(|(_, peer)| peer.is_settled()).count();
        let alone = self.peers().next().is_none();
        settled >= min_peers.max(1) || (min_peers == 0 && alone)
    }

    fn send_bundle(&mut self, now: Instant, wall: UnixTime, id: NodeId) {
        let Some(peer) = self.peers.find(&id) else { return };
        let longest = if self.trusted.contains(&id) { usize::MAX } else { LONGEST_FOR_ALL };
        if let Some(body) = peer.next_bundle(&self.pool, now, whole_seconds(wall), longest) {
            self.unsent.forget_known(peer);
            self.send(id, packet::MESSAGES, body);
        }
    }

    fn broadcast(&mut self, code: u16, body: &[u8]) {
        self.peers.ids().into_iter().for_each(|id| self.send(id, code, body.to_vec()));
    }

    fn send_open(&mut self, id: NodeId, code: u16, body: Vec<u8>) -> bool {
        let open = self.peers.find(&id).is_some_and(|peer| peer.status().is_some());
        if open {
            self.send(id, code, body);
        }
        open
    }

    fn send(&mut self, peer: NodeId, code: u16, body: Vec<u8>) {
        self.outputs.push_back(NodeOutput::Send { peer, code, body });
    }

    fn cut(&mut self, peer: NodeId, error: PeerError) {
        self.peers.remove(&peer);
        self.outputs.push_back(NodeOutput::Disconnect { peer, error });
    }
}

/// Time between two rounds of passing on (geth `transmissionCycle`).
const TICK: Duration = Duration::from_millis(300);

/// Time between two rounds of expiry (geth `expirationCycle`).
const EXPIRY_TICK: Duration = Duration::from_secs(1);

/// Mean time that all but one neighbour wait for an envelope of our own, if it does not come back
/// before. It takes about two seconds to go around.
const EMBARGO: Duration = Duration::from_secs(6);

/// Envelopes that expire in one go: two milliseconds or so.
const EXPIRY_STEP: usize = 512;

#[cfg(test)]
mod tests;
