//! A node of the network: its pool, its neighbours, and what goes from one to the other (spec
//! sections 1.8 and 1.9).
//!
//! It reads no message: what it accepts it hands out, after having passed it on, and `filter` tries
//! the keys. It knows no link either: packets come and go as code and body, and whoever drives it
//! carries them. Both clocks are arguments: `Instant` for waiting, `UnixTime` for envelopes.
//!
//! ```text
//! packet ──► rate ──► check ──► pool ──► every other peer (on the tick) ──► Deliver
//! post ──► check ──► outbox (until the delay is over and there are enough peers) ──► pool
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use rand_core::CryptoRngCore;
use wormhole_kit::UnixTime;

use super::{
    bloom::Bloom,
    envelope::{Envelope, EnvelopeHash, Refusal, ValidEnvelope},
    packet::{self, Envelopes, Packet, PacketError, Status},
    peer::{Peer, STATUS_TIMEOUT},
    pool::{NotKept, Pool, Record, Slot},
    rate::{Admission, Bucket},
    requirements::Requirements,
    whole_seconds,
    work::Work,
};
use crate::devp2p::key::{NodeId, keccak256};

mod outbox;
mod settings;

use outbox::Outbox;
pub use settings::{Darkness, Limits, Settings};

/// A node. Any order of calls is safe.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    requirements: Requirements,
    pool: Pool,
    peers: BTreeMap<NodeId, Neighbour>,
    addresses: BTreeMap<IpAddr, Address>,
    trusted: BTreeSet<NodeId>,
    outbox: Outbox,
    /// What was accepted and has not been passed on yet.
    accepted: Vec<Envelope>,
    outputs: VecDeque<NodeOutput>,
    next_tick: Instant,
    next_expiry: Instant,
}

/// A peer, and what it has used up of what it may send.
#[derive(Debug)]
struct Neighbour {
    peer: Peer,
    address: Option<IpAddr>,
    envelopes: Bucket,
    bytes: Bucket,
}

/// What all peers of one address have used up.
#[derive(Debug)]
struct Address {
    peers: usize,
    envelopes: Bucket,
}

impl Node {
    /// A node without neighbours.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            requirements: settings.requirements.clone(),
            pool: Pool::new(settings.pool_bytes),
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            trusted: BTreeSet::new(),
            outbox: Outbox::default(),
            accepted: Vec::new(),
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
        let open = |(id, neighbour)| Some((id, Neighbour::status(neighbour)?));
        self.peers.iter().filter_map(open)
    }

    /// A link to a peer is open. Tells it at once what we are.
    pub fn connected(&mut self, now: Instant, id: NodeId, address: Option<IpAddr>) {
        let limits = self.settings.limits;
        let neighbour = Neighbour {
            peer: Peer::new(now, self.settings.strict_bloom),
            address,
            envelopes: Bucket::new(now, limits.envelopes_per_peer),
            bytes: Bucket::new(now, limits.bytes_per_peer),
        };
        self.remove(&id);
        if let Some(address) = address {
            let envelopes = Bucket::new(now, limits.envelopes_per_address);
            let new = || Address { peers: 0, envelopes };
            self.addresses.entry(address).or_insert_with(new).peers += 1;
        }
        self.peers.insert(id, neighbour);
        let requirements = &self.requirements;
        let (work, bloom) = (requirements.min_work(), *requirements.bloom());
        let status = Status::new(work, bloom, self.settings.light);
        self.send(id, packet::STATUS, status.encode());
    }

    /// The link to a peer is gone.
    pub fn disconnected(&mut self, id: &NodeId) {
        self.remove(id);
    }

    /// A packet came from a peer. A peer that misbehaves is cut; what was good in its packet stays.
    pub fn handle(&mut self, now: Instant, wall: UnixTime, id: NodeId, code: u16, body: &[u8]) {
        if self.peers.contains_key(&id)
            && let Err(error) = self.handle_packet(now, wall, id, code, body)
        {
            self.cut(id, error);
        }
    }

    /// A packet of messages has been written to the link of a peer: it can take another.
    pub fn sent(&mut self, wall: UnixTime, id: NodeId) {
        if let Some(neighbour) = self.peers.get_mut(&id) {
            neighbour.peer.sent();
            self.send_bundle(id, whole_seconds(wall));
        }
    }

    /// Hands out the next thing to do.
    pub fn poll(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front()
    }

    /// When [`Node::handle_timeout`] wants to be called, if nothing happens before.
    pub fn deadline(&self) -> Instant {
        let peers = self.peers.values().filter_map(|neighbour| neighbour.peer.deadline());
        peers.fold(self.next_tick.min(self.next_expiry), Instant::min)
    }

    /// Lets time pass. Calling it before the deadline does nothing.
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        if now >= self.next_expiry {
            let more = self.pool.expire(wall, EXPIRY_STEP);
            self.next_expiry = if more { now } else { now + EXPIRY_TICK };
            self.addresses.retain(|_, address| address.peers > 0 || address.envelopes.owes(now));
        }
        if now >= self.next_tick {
            self.next_tick = now + self.settings.darkness.tick(TICK, rng);
            self.tick(now, wall, rng);
        }
        let overdue = |(id, neighbour): (&NodeId, &Neighbour)| {
            neighbour.peer.deadline().is_some_and(|until| now >= until).then_some(*id)
        };
        let overdue: Vec<_> = self.peers.iter().filter_map(overdue).collect();
        overdue.into_iter().for_each(|id| self.cut(id, PeerError::NoStatusInTime(STATUS_TIMEOUT)));
    }

    /// Takes in an envelope of our own. It leaves after a random delay, once there are enough
    /// peers; until then nobody can see it.
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
        // We may say what we do not want to hear.
        let mut requirements = self.requirements.clone();
        requirements.set_bloom(now, Bloom::FULL);
        let valid = envelope.check(&requirements, now, wall)?;
        let hash = valid.envelope().hash();
        self.outbox.add(now + self.settings.darkness.delay(rng), valid);
        Ok(hash)
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

    /// Takes envelopes of at most this many bytes from now on.
    pub fn set_max_size(&mut self, bytes: usize) {
        self.requirements.set_max_size(bytes);
    }

    /// Takes back what [`Pool::records`] gave before a restart, as far as it is still good.
    pub fn restore(&mut self, now: Instant, wall: UnixTime, record: Record) {
        match record {
            Record::Seen { hash, expiry } => self.pool.restore(hash, expiry),
            Record::Kept(envelope) => {
                if let Ok(valid) = envelope.check(&self.requirements, now, wall) {
                    let _ = self.pool.insert(valid).map(|slot| self.offer(slot, None));
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
        let limit = self.requirements.max_size().saturating_mul(3) / 2;
        if body.len() > limit {
            return Err(PeerError::OversizedPacket { bytes: body.len(), limit });
        }
        self.admit_bytes(now, &id, body.len())?;
        let owes_pool = !self.settings.light;
        let light = self.settings.light && self.settings.restrict_light;
        let Some(neighbour) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(status) = neighbour.status() else {
            if code != packet::STATUS {
                return Err(PeerError::NoStatus(code));
            }
            let Packet::Status(status) = Packet::decode(code, body)? else { return Ok(()) };
            if light && status.light {
                return Err(PeerError::BothLight);
            }
            neighbour.peer.open(status, owes_pool);
            self.outputs.push_back(NodeOutput::Opened(id));
            return Ok(());
        };
        let confirmations = status.confirmations;
        // Later ones are ignored, whatever is in them.
        if code == packet::STATUS {
            return Ok(());
        }
        match Packet::decode(code, body)? {
            Packet::Messages(envelopes) => {
                if confirmations {
                    let hash = keccak256(&[body]);
                    self.send(id, packet::ACKNOWLEDGED, crate::devp2p::rlp::string(&hash));
                }
                self.take_all(now, wall, id, envelopes)?;
            }
            Packet::MinWork(work) => neighbour.peer.set_min_work(work, owes_pool),
            Packet::Bloom(bloom) => neighbour.peer.set_bloom(bloom, owes_pool),
            Packet::Direct(envelopes) => self.take_direct(&id, envelopes),
            Packet::ArchiveRequest(request) if self.settings.serves_archive => {
                self.outputs.push_back(NodeOutput::ArchiveRequest { peer: id, request });
            }
            Packet::ArchiveRequest(_) | Packet::Status(_) | Packet::Unknown => {}
        }
        Ok(())
    }

    /// Takes in what is good of a packet, and blames its sender for the first that is not.
    fn take_all(
        &mut self,
        now: Instant,
        wall: UnixTime,
        id: NodeId,
        envelopes: Envelopes<'_>,
    ) -> Result<(), PeerError> {
        let mut fault = None;
        for envelope in envelopes {
            match self.admit_envelope(now, &id) {
                Admission::Within => {}
                Admission::Over => continue,
                Admission::Flood => return Err(PeerError::Flooding),
            }
            if let Err(refusal) = self.take(now, wall, id, envelope)
                && refusal.is_misbehaviour()
            {
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
            if let Some(neighbour) = self.peers.get_mut(&id) {
                neighbour.peer.learn(slot);
            }
            return Ok(());
        }
        if self.pool.has_seen(&hash) {
            return Ok(());
        }
        let valid = envelope.check(&self.requirements, now, wall)?;
        self.accept(valid, Some(id));
        Ok(())
    }

    /// Keeps a valid envelope, offers it to all peers but the one that has it, and hands it out
    /// once it has been passed on.
    fn accept(&mut self, valid: ValidEnvelope, from: Option<NodeId>) {
        let envelope = valid.envelope().clone();
        match self.pool.insert(valid) {
            Ok(slot) => {
                self.offer(slot, from);
                self.accepted.push(envelope);
            }
            Err(NotKept::PoolFull) => self.outputs.push_back(NodeOutput::PoolFull),
            Err(NotKept::Known(_)) => {}
        }
    }

    fn offer(&mut self, slot: Slot, from: Option<NodeId>) {
        let own = from.is_none();
        let light = self.settings.light;
        for (id, neighbour) in &mut self.peers {
            // A light node passes nothing on but what it says itself.
            if from == Some(*id) || (light && !own) {
                neighbour.peer.pass_over(slot);
            } else {
                neighbour.peer.offer(slot, !light);
            }
        }
    }

    fn take_direct(&mut self, id: &NodeId, envelopes: Envelopes<'_>) {
        if self.trusted.contains(id) {
            for envelope in envelopes {
                self.outputs.push_back(NodeOutput::Deliver { envelope, direct: true });
            }
        }
    }

    fn admit_bytes(&mut self, now: Instant, id: &NodeId, bytes: usize) -> Result<(), PeerError> {
        let Some(neighbour) = self.peers.get_mut(id) else { return Ok(()) };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match neighbour.bytes.take(now, bytes.into()) {
            // Envelopes are dropped by number; bytes only tell when it is too much altogether.
            Admission::Within | Admission::Over => Ok(()),
            Admission::Flood => Err(PeerError::Flooding),
        }
    }

    fn admit_envelope(&mut self, now: Instant, id: &NodeId) -> Admission {
        let Some(neighbour) = self.peers.get_mut(id) else { return Admission::Over };
        let by_peer = neighbour.envelopes.take(now, 1.0);
        let address = neighbour.address.and_then(|address| self.addresses.get_mut(&address));
        // Neighbours behind one address are not to blame for one another: theirs is only dropped.
        match address.map(|address| address.envelopes.take(now, 1.0)) {
            Some(Admission::Over | Admission::Flood) if by_peer == Admission::Within => {
                Admission::Over
            }
            _ => by_peer,
        }
    }

    /// Sends what has come, first to the peers and only then to the keys.
    fn tick(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        let open = self.peers().count();
        if open >= self.settings.darkness.min_peers {
            let wall = whole_seconds(wall);
            for valid in self.outbox.due(now) {
                if valid.envelope().expiry() >= wall {
                    self.accept(valid, None);
                }
            }
        }
        let ids: Vec<_> = self.peers.keys().copied().collect();
        for id in ids {
            if let Some(neighbour) = self.peers.get_mut(&id) {
                neighbour.peer.tick(rng);
            }
            self.send_bundle(id, whole_seconds(wall));
        }
        for envelope in self.accepted.drain(..) {
            self.outputs.push_back(NodeOutput::Deliver { envelope, direct: false });
        }
    }

    fn send_bundle(&mut self, id: NodeId, now: u32) {
        let Some(neighbour) = self.peers.get_mut(&id) else { return };
        if let Some(body) = neighbour.peer.next_bundle(&self.pool, now) {
            self.send(id, packet::MESSAGES, body);
        }
    }

    fn broadcast(&mut self, code: u16, body: &[u8]) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.send(id, code, body.to_vec()));
    }

    fn send_open(&mut self, id: NodeId, code: u16, body: Vec<u8>) -> bool {
        let open = self.peers.get(&id).is_some_and(|neighbour| neighbour.status().is_some());
        if open {
            self.send(id, code, body);
        }
        open
    }

    fn send(&mut self, peer: NodeId, code: u16, body: Vec<u8>) {
        self.outputs.push_back(NodeOutput::Send { peer, code, body });
    }

    fn cut(&mut self, peer: NodeId, error: PeerError) {
        self.remove(&peer);
        self.outputs.push_back(NodeOutput::Disconnect { peer, error });
    }

    fn remove(&mut self, id: &NodeId) {
        let removed = self.peers.remove(id);
        let address = removed.and_then(|neighbour| neighbour.address);
        if let Some(address) = address.and_then(|address| self.addresses.get_mut(&address)) {
            address.peers = address.peers.saturating_sub(1);
        }
    }
}

impl Neighbour {
    const fn status(&self) -> Option<&Status> {
        self.peer.status()
    }
}

/// What a node wants done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "whoever drives a node must handle every output")]
pub enum NodeOutput {
    /// Send this packet. Once a packet of messages has been written, call [`Node::sent`].
    Send {
        /// To whom.
        peer: NodeId,
        /// The packet's code within the capability.
        code: u16,
        /// What follows the code.
        body: Vec<u8>,
    },
    /// This peer has said what it is: it is one of us.
    Opened(NodeId),
    /// Close the link: reason 0x10 (subprotocol error) towards the peer, the error for the log.
    Disconnect {
        /// Whose link.
        peer: NodeId,
        /// What it did.
        error: PeerError,
    },
    /// Try our keys on this envelope. It has been passed on already.
    Deliver {
        /// The envelope.
        envelope: Envelope,
        /// Whether it was for us alone, from a trusted peer, with work or without.
        direct: bool,
    },
    /// Answer this request from the archive, if it opens.
    ArchiveRequest {
        /// Who asks.
        peer: NodeId,
        /// What it asks, sealed.
        request: Envelope,
    },
    /// A valid envelope was dropped for lack of room: time to ask for more work.
    PoolFull,
}

/// Why a peer is cut.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Neither side would pass anything on.
    #[error("two light client communication restricted")]
    BothLight,
    /// It sends more than it may, and does not stop.
    #[error("peer is flooding us")]
    Flooding,
    /// It passed on what no honest peer would.
    #[error("invalid envelope: {0}")]
    InvalidEnvelope(Refusal),
    /// A packet is malformed.
    #[error("malformed packet: {0}")]
    Malformed(#[from] PacketError),
    /// Its first packet had this code.
    #[error("peer sent packet {0} before status packet")]
    NoStatus(u16),
    /// It did not say what it is for this long.
    #[error("no status within {} s", .0.as_secs())]
    NoStatusInTime(Duration),
    /// A packet is larger than any that we need.
    #[error("oversized packet of {bytes} bytes, more than {limit}")]
    OversizedPacket {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        limit: usize,
    },
}

/// Time between two rounds of passing on (geth `transmissionCycle`).
const TICK: Duration = Duration::from_millis(300);

/// Time between two rounds of expiry (geth `expirationCycle`).
const EXPIRY_TICK: Duration = Duration::from_secs(1);

/// Envelopes that expire in one go: a millisecond or so.
const EXPIRY_STEP: usize = 4096;

#[cfg(test)]
mod tests;
