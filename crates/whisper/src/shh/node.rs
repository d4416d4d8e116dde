//! A Whisper node: its pool, its peers, and what to send to whom (docs/whisper-protocol.md "States").
//!
//! It decrypts nothing: it forwards accepted envelopes and then outputs them, and `filter` tries the keys. It
//! uses no connection: packets are codes and bodies, which the caller transports. Both clocks are arguments:
//! `Instant` for waiting, `UnixTime` for the times in envelopes.
//!
//! ```text
//! packet ──► rate ──► check ──► pool ──► every other peer (on the tick) ──► Deliver
//! post ──► check ──► Deliver, outbox (until the delay is over and enough peers are connected) ──► pool ──►
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
    envelope::{Envelope, EnvelopeError, EnvelopeHash, ValidEnvelope},
    packet::{self, Envelopes, LONGEST_FOR_ALL, Packet, Status},
    peer::{LARGEST_FOR_ALL, Peer, STATUS_TIMEOUT},
    pool::{Pool, PoolError, Record, Slot},
    requirements::Requirements,
    topic::Topic,
    whole_seconds,
    work::Work,
};
use crate::devp2p::{
    key::{NodeId, keccak256},
    rlp,
};

mod flood;
mod outbox;
mod output;
mod peers;
mod settings;
mod stems;
mod unsent;

use flood::FloodDetector;
use outbox::Outbox;
pub use output::{NodeOutput, PeerError};
use peers::Peers;
pub use settings::{DEFAULT_POOL_BYTES, Limits, Privacy, Settings};
use stems::Stems;
use unsent::Unsent;

/// A node. Methods may be called in any order.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    requirements: Requirements,
    pool: Pool,
    peers: Peers,
    trusted: BTreeSet<NodeId>,
    outbox: Outbox,
    stems: Stems,
    unsent: Unsent,
    /// Accepted envelopes that have not been forwarded yet.
    accepted: Vec<Envelope>,
    flood: FloodDetector,
    outputs: VecDeque<NodeOutput>,
    next_tick: Instant,
    next_expiry: Instant,
}

impl Node {
    /// Creates a node without peers.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            requirements: settings.requirements.clone(),
            pool: Pool::new(settings.pool_bytes),
            peers: Peers::new(settings.limits),
            trusted: BTreeSet::new(),
            outbox: Outbox::default(),
            stems: Stems::default(),
            unsent: Unsent::default(),
            accepted: Vec::new(),
            flood: FloodDetector::new(now, &settings.limits),
            outputs: VecDeque::new(),
            next_tick: now + TICK,
            next_expiry: now + EXPIRY_TICK,
            settings,
        }
    }

    /// The requirements for envelopes.
    pub const fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// The pool.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The peers that have completed the handshake.
    pub fn peers(&self) -> impl Iterator<Item = (&NodeId, &Status)> {
        self.peers.iter().filter_map(|(id, peer)| Some((id, peer.status()?)))
    }

    /// A connection to a peer was opened. Sends our handshake.
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

    /// The connection to a peer was closed.
    pub fn disconnected(&mut self, id: &NodeId) {
        self.peers.remove(id);
    }

    /// Handles a packet of a peer. Disconnects peers that misbehave, but keeps valid envelopes of the packet.
    pub fn handle(&mut self, now: Instant, wall: UnixTime, id: NodeId, code: u16, body: &[u8]) {
        if self.peers.contains(&id)
            && let Err(error) = self.handle_packet(now, wall, id, code, body)
        {
            self.disconnect(id, error);
        }
    }

    /// A packet of messages has been written to the connection of a peer, which is ready for the next one.
    pub fn sent(&mut self, now: Instant, wall: UnixTime, id: NodeId) {
        if let Some(peer) = self.peers.find(&id) {
            peer.sent();
            self.send_bundle(now, wall, id);
        }
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Node::handle_timeout`].
    pub fn deadline(&self) -> Instant {
        let peers = self.peers.iter().filter_map(|(_, peer)| peer.deadline());
        peers.fold(self.next_tick.min(self.next_expiry), Instant::min)
    }

    /// Handles the passing of time. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        if now >= self.next_expiry {
            let more = self.pool.expire(wall, EXPIRY_STEP);
            self.next_expiry = if more { now } else { now + EXPIRY_TICK };
            self.peers.forget_addresses(now);
            self.report_unsent(whole_seconds(wall));
        }
        if now >= self.next_tick {
            self.next_tick = now + self.settings.privacy.tick(TICK, rng);
            self.tick(now, wall, rng);
        }
        let overdue = |peer: &Peer| peer.deadline().is_some_and(|until| now >= until);
        let overdue = self.peers.iter().filter(|(_, peer)| overdue(peer)).map(|(id, _)| *id);
        let overdue: Vec<_> = overdue.collect();
        overdue
            .into_iter()
            .for_each(|id| self.disconnect(id, PeerError::NoStatusInTime(STATUS_TIMEOUT)));
    }

    /// Posts an envelope of our own and outputs it at once. It is sent after a random delay and when enough peers
    /// are connected; until then no other node can see it.
    ///
    /// # Errors
    /// No node would accept the envelope.
    pub fn post(
        &mut self,
        now: Instant,
        wall: UnixTime,
        envelope: Envelope,
        rng: &mut impl CryptoRngCore,
    ) -> Result<EnvelopeHash, EnvelopeError> {
        let valid = self.check_own(now, wall, envelope)?;
        let envelope = valid.envelope().clone();
        let hash = envelope.hash();
        if !self.pool.has_seen(&hash) && !self.outbox.contains(&hash) {
            self.outputs.push_back(NodeOutput::Deliver { envelope, direct: false });
        }
        self.outbox.add(now + self.settings.privacy.delay(rng), valid);
        Ok(hash)
    }

    fn check_own(
        &self,
        now: Instant,
        wall: UnixTime,
        envelope: Envelope,
    ) -> Result<ValidEnvelope, EnvelopeError> {
        let (size, limit) = (envelope.size(), self.max_own_size());
        if size > limit {
            return Err(EnvelopeError::TooLarge { size, limit });
        }
        // Our own envelopes need not match our filter.
        let mut requirements = self.requirements.clone();
        requirements.set_bloom(now, Bloom::FULL);
        envelope.check(&requirements, now, wall)
    }

    /// Maximum size of our own envelopes in bytes: what every peer accepts, or our own limit if there is a trusted
    /// peer that accepts as much.
    pub fn max_own_size(&self) -> usize {
        let taken = self.requirements.max_size();
        if self.trusted.is_empty() { taken.min(LARGEST_FOR_ALL) } else { taken }
    }

    /// Number of our own envelopes that have not been sent yet.
    pub const fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Whether a peer has received this envelope of our own. `None` if it is unknown or expired.
    pub fn is_sent(&self, hash: &EnvelopeHash) -> Option<bool> {
        if self.outbox.contains(hash) || self.unsent.contains(hash) {
            return Some(false);
        }
        self.pool.find(hash).map(|_| true)
    }

    /// The stored envelopes with these topics, including our own ones that have not been sent yet.
    pub fn pool_envelopes<'a>(&'a self, topics: &'a [Topic]) -> impl Iterator<Item = &'a Envelope> {
        let pool = self.pool.from(Slot(0)).filter_map(|(_, valid)| valid);
        let all = self.outbox.iter().chain(pool).map(ValidEnvelope::envelope);
        all.filter(|envelope| topics.contains(&envelope.topic()))
    }

    /// Sends an envelope to one peer only, without using the pool. The peer ignores it unless it trusts
    /// us. Returns whether the peer is connected.
    pub fn send_direct(&mut self, id: NodeId, envelope: &Envelope) -> bool {
        self.send_open(id, packet::DIRECT, envelope.encoded().to_vec())
    }

    /// Sends a request to a mail server; see `archive`. Returns whether the peer is connected.
    pub fn request_archive(&mut self, id: NodeId, request: &Envelope) -> bool {
        self.send_open(id, packet::ARCHIVE_REQUEST, request.encoded().to_vec())
    }

    /// Accepts direct messages from this node, connected or not.
    pub fn trust(&mut self, id: NodeId) {
        self.trusted.insert(id);
    }

    /// Whether direct messages from this node are accepted.
    pub fn trusts(&self, id: &NodeId) -> bool {
        self.trusted.contains(id)
    }

    /// Whether this is a light node, which only sends its own envelopes.
    pub const fn is_light(&self) -> bool {
        self.settings.light
    }

    /// Changes the minimum work and notifies all peers.
    pub fn set_min_work(&mut self, now: Instant, work: Work) {
        self.requirements.set_min_work(now, work);
        self.broadcast(packet::MIN_WORK, &packet::encode_min_work(work));
    }

    /// Changes our Bloom filter and notifies all peers.
    pub fn set_bloom(&mut self, now: Instant, bloom: Bloom) {
        self.requirements.set_bloom(now, bloom);
        self.broadcast(packet::BLOOM, &packet::encode_bloom(&bloom));
    }

    /// Turns light mode on or off. Peers notice it when they connect: the protocol has no packet for it.
    pub const fn set_light(&mut self, light: bool) {
        self.settings.light = light;
    }

    /// Changes the maximum size of envelopes in bytes.
    pub fn set_max_size(&mut self, bytes: usize) {
        self.requirements.set_max_size(bytes);
    }

    /// Everything that must be saved for a restart: the pool, and our own envelopes that have not been sent yet.
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

    /// Restores an item of [`Node::records`] if it is still valid. Stored envelopes are forwarded again, but not
    /// output again.
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
            None if code == packet::STATUS => self.handle_status(id, body),
            None => Err(PeerError::NoStatus(code)),
            // Further handshakes are ignored, whatever they contain.
            Some(_) if code == packet::STATUS => Ok(()),
            // Ignores direct packets from untrusted peers.
            Some(_) if code == packet::DIRECT && !self.trusted.contains(&id) => Ok(()),
            Some(status) => {
                let confirmations = status.confirmations;
                if code == packet::MESSAGES && confirmations {
                    self.send(id, packet::ACKNOWLEDGED, rlp::string(&keccak256(&[body])));
                }
                self.handle_open_packet(now, wall, id, Packet::decode(code, body)?)
            }
        }
    }

    /// Handles the handshake of a peer.
    fn handle_status(&mut self, id: NodeId, body: &[u8]) -> Result<(), PeerError> {
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

    /// Handles any packet after the handshake.
    fn handle_open_packet(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        packet: Packet<'_>,
    ) -> Result<(), PeerError> {
        let send_pool = !self.settings.light;
        let Some(peer) = self.peers.find(&id) else { return Ok(()) };
        match packet {
            Packet::Messages(envelopes) => return self.handle_envelopes(now, wall, id, envelopes),
            Packet::MinWork(work) => peer.set_min_work(work, send_pool),
            Packet::Bloom(bloom) => peer.set_bloom(bloom, send_pool),
            Packet::Direct(envelopes) => self.handle_direct(envelopes),
            Packet::ArchiveRequest(request) => self.handle_archive_request(now, id, request),
            Packet::ArchiveComplete { request, last } if self.trusted.contains(&id) => {
                self.outputs.push_back(NodeOutput::ArchiveComplete { peer: id, request, last });
            }
            Packet::ArchiveComplete { .. } | Packet::Status(_) | Packet::Unknown => {}
        }
        Ok(())
    }

    /// Handles all valid envelopes of a packet; the error is that of the first invalid one. Envelopes beyond the
    /// rate limit are ignored.
    fn handle_envelopes(
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
            let Err(error) = self.handle_envelope(now, wall, id, envelope) else { continue };
            if error.is_early() && self.peers.record_early(now, &id) {
                self.emit_once(NodeOutput::ClockMayBeWrong);
            }
            if error.is_misbehaviour() {
                fault = fault.or(Some(error));
            }
        }
        fault.map_or(Ok(()), |error| Err(PeerError::InvalidEnvelope(error)))
    }

    /// Handles one envelope.
    fn handle_envelope(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        envelope: Envelope,
    ) -> Result<(), EnvelopeError> {
        let hash = envelope.hash();
        if let Some(slot) = self.pool.find(&hash) {
            if let Some(peer) = self.peers.find(&id) {
                peer.mark_known(slot);
            }
            if let Some(slot) = self.stems.returned(&hash, &id) {
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

    /// Stores a valid envelope of a peer, queues it for all other peers, and outputs it after forwarding.
    fn accept(&mut self, now: Instant, valid: ValidEnvelope, from: NodeId) {
        let envelope = valid.envelope().clone();
        if let Some(slot) = self.keep(now, valid) {
            self.offer(slot, Some(from));
            self.accepted.push(envelope);
        }
    }

    /// Stores a valid envelope of our own and queues it for one peer or all, according to the settings.
    fn accept_own(&mut self, now: Instant, valid: ValidEnvelope, rng: &mut impl CryptoRngCore) {
        let hash = valid.envelope().hash();
        let first = self.settings.privacy.choose_stem(self.interested_peers(&valid), rng);
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
        self.stems.add(slot, hash, first, now + self.settings.privacy.tick(EMBARGO, rng));
    }

    /// The peers that want this envelope and have received the initial contents of the pool.
    fn interested_peers(&self, valid: &ValidEnvelope) -> Vec<NodeId> {
        let interested_peers =
            self.peers.iter().filter(|(_, peer)| peer.is_synced() && peer.matches(valid));
        interested_peers.map(|(id, _)| *id).collect()
    }

    fn keep(&mut self, now: Instant, valid: ValidEnvelope) -> Option<Slot> {
        let envelope = valid.envelope().clone();
        match self.pool.insert(valid) {
            Ok(slot) => {
                if self.flood.record(now, &envelope) {
                    self.emit_once(NodeOutput::Flooded);
                }
                Some(slot)
            }
            Err(PoolError::PoolFull) => {
                self.emit_once(NodeOutput::PoolFull);
                None
            }
            Err(PoolError::Known(_)) => None,
        }
    }

    /// Reports our own envelopes that expired or were removed from the pool before a peer received them.
    fn report_unsent(&mut self, second: u32) {
        let pool = &self.pool;
        let gone = self.unsent.take_gone(|slot, hash| pool.find(hash) == Some(slot));
        let expired = self.outbox.expire(second);
        self.outputs.extend(gone.into_iter().chain(expired).map(NodeOutput::Unsent));
    }

    /// Adds an output unless it repeats the previous one.
    fn emit_once(&mut self, output: NodeOutput) {
        if self.outputs.back() != Some(&output) {
            self.outputs.push_back(output);
        }
    }

    fn offer(&mut self, slot: Slot, from: Option<NodeId>) {
        let own = from.is_none();
        let light = self.settings.light;
        for (id, peer) in self.peers.iter_mut() {
            // A light node only sends its own envelopes.
            if from == Some(*id) || (light && !own) {
                peer.skip(slot);
            } else {
                peer.offer(slot, !light);
            }
        }
    }

    /// Queues an envelope that was sent to one peer only for all other peers.
    fn release(&mut self, slot: Slot) {
        let send_pool = !self.settings.light;
        self.peers.iter_mut().for_each(|(_, peer)| peer.release(slot, send_pool));
    }

    /// Outputs a request if this node has an archive. It counts as an envelope, because decryption is work.
    fn handle_archive_request(&mut self, now: Instant, peer: NodeId, request: Envelope) {
        let admitted = self.peers.admit(now, &peer) && self.peers.admit_new(now, &peer);
        if admitted && self.settings.serves_archive {
            self.outputs.push_back(NodeOutput::ArchiveRequest { peer, request });
        }
    }

    /// Outputs direct envelopes of a trusted peer.
    fn handle_direct(&mut self, envelopes: Envelopes<'_>) {
        for envelope in envelopes {
            self.outputs.push_back(NodeOutput::Deliver { envelope, direct: true });
        }
    }

    /// Forwards accepted envelopes to peers, and then outputs them.
    fn tick(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        for (slot, hash) in self.stems.overdue(now) {
            if self.pool.find(&hash) == Some(slot) {
                self.release(slot);
            }
        }
        if self.can_send_own() {
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

    /// Whether enough peers are connected to hide our own envelopes, and have received the initial contents of the
    /// pool: an envelope that is sent earlier would be conspicuous.
    fn can_send_own(&self) -> bool {
        let min_peers = self.settings.privacy.min_peers;
        let synced = self.peers.iter().filter(|(_, peer)| peer.is_synced()).count();
        let alone = self.peers().next().is_none();
        synced >= min_peers.max(1) || (min_peers == 0 && alone)
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

    fn disconnect(&mut self, peer: NodeId, error: PeerError) {
        self.peers.remove(&peer);
        self.outputs.push_back(NodeOutput::Disconnect { peer, error });
    }
}

/// Time between two rounds of forwarding (geth `transmissionCycle`).
const TICK: Duration = Duration::from_millis(300);

/// Time between two rounds of expiry (geth `expirationCycle`).
const EXPIRY_TICK: Duration = Duration::from_secs(1);

/// Mean time until an envelope of our own is sent to all peers if it does not come back from the network,
/// which takes about two seconds.
const EMBARGO: Duration = Duration::from_secs(6);

/// Maximum number of envelopes that expire in one step: about two milliseconds.
const EXPIRY_STEP: usize = 512;

#[cfg(test)]
mod tests;
