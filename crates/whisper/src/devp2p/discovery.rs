//! Discovery v4: how nodes find one another over UDP (discv4.md).
//!
//! A session without sockets: the caller sends and receives the datagrams. Nodes that answer are reported;
//! the caller decides whether to connect to them.
//!
//! Protection against abuse: an unverified address receives only one pong per ping, of about the same length,
//! and one ping. A reply counts only if it comes from the address that was asked and names the request. All
//! state is bounded. A node cannot make us contact addresses in networks that are closer to us than to that
//! node, such as private ones.
//!
//! | queried node     | input               | output         | next        |
//! |------------------|---------------------|----------------|-------------|
//! | does not know us |                     | ping           | await pong  |
//! | knows us         |                     | findnode       | await nodes |
//! | await pong       | pong, it knows us   | findnode       | await nodes |
//! | await pong       | pong                |                | await ping  |
//! | await pong       | 500 ms              |                | forgotten   |
//! | await ping       | ping, or 500 ms     | pong, findnode | await nodes |
//! | await nodes      | 16 nodes, or 500 ms |                | done        |
//!
//! A node that answers a ping for the first time is reported as `Found`.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rand_core::CryptoRngCore;
use wormhole_kit::{Instant, Scope, UnixTime, scope};

use self::{
    endpoint_proof::EndpointProofs,
    lookup::Lookup,
    packet::{MAX_NEIGHBORS, Packet, PacketError},
    table::{BUCKET_SIZE, Neighbor, Table},
};
use super::{
    enode::{Endpoint, Enode},
    enr::Record,
    key::{NodeId, PrivateKey},
};

mod endpoint_proof;
mod lookup;
pub mod packet;
mod table;

/// Discovery of one node. Methods may be called in any order.
#[derive(Debug)]
pub struct Discovery {
    key: PrivateKey,
    id: NodeId,
    local: Endpoint,
    record: Record,
    bootnodes: Vec<Neighbor>,
    table: Table,
    proofs: EndpointProofs,
    queries: HashMap<NodeId, Query>,
    lookup: Option<Lookup>,
    next_refresh: Instant,
    next_check: Instant,
    outputs: VecDeque<DiscoveryOutput>,
}

/// A node whose reply we expect.
#[derive(Debug)]
struct Query {
    node: Neighbor,
    expected: ExpectedReply,
    until: Instant,
    /// Whether the current lookup needs it.
    wanted: bool,
    /// Whether it is only queried because it pinged us.
    ping_back: bool,
    /// Whether it has pinged us since, so that it knows us.
    pinged: bool,
}

/// Why we ping a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PingReason {
    /// To check that it is alive.
    Check,
    /// To query it in a lookup.
    Lookup,
    /// To verify the address from which it pinged us.
    Pinged,
}

/// The reply that we expect.
#[derive(Debug)]
enum ExpectedReply {
    /// A pong for the ping with this hash.
    Pong([u8; 32]),
    /// A ping from the node; our pong verifies us to it.
    Ping,
    /// Neighbors packets; the number of nodes received so far.
    Nodes(usize),
}

impl Discovery {
    /// Creates the discovery of the node with this key and address. `sequence` must increase whenever `local`
    /// changes, for example the current time in seconds.
    pub fn new(
        key: PrivateKey,
        local: Endpoint,
        sequence: u64,
        bootnodes: &[Enode],
        now: Instant,
    ) -> Self {
        let (id, record) = (key.public_key().node_id(), Record::sign(&key, sequence, &local));
        Self {
            key,
            id,
            local,
            record,
            bootnodes: bootnodes.iter().filter_map(Neighbor::from_enode).collect(),
            table: Table::new(&id),
            proofs: EndpointProofs::default(),
            queries: HashMap::new(),
            lookup: None,
            next_refresh: now,
            next_check: now + CHECK_INTERVAL,
            outputs: VecDeque::new(),
        }
    }

    /// Handles a datagram. `wall` is needed because datagrams contain times.
    ///
    /// # Errors
    /// The datagram was ignored and nothing has changed. Anyone can send such datagrams, so no reaction is
    /// needed.
    pub fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let received = Packet::open(datagram)?;
        let (sender, wall) = (received.sender, wall.as_secs());
        if sender == self.id {
            return Err(DatagramError::FromOurselves);
        }
        if received.packet.expiration().is_some_and(|expiration| expiration < wall) {
            return Err(DatagramError::Expired);
        }
        match received.packet {
            Packet::Ping { from: claimed, .. } => {
                let endpoint = Endpoint { ip: from.ip(), udp: from.port(), tcp: claimed.tcp };
                self.on_ping(now, wall, Neighbor { id: sender, endpoint }, received.hash);
                Ok(())
            }
            Packet::Pong { ping, .. } => self.on_pong(now, wall, &sender, from, &ping),
            Packet::FindNode { target, .. } => {
                self.require_proof(now, &sender, from)?;
                self.send_neighbors(wall, from, &target);
                Ok(())
            }
            Packet::Neighbors { nodes, .. } => self.on_nodes(now, wall, &sender, from, &nodes),
            Packet::EnrRequest { .. } => {
                self.require_proof(now, &sender, from)?;
                let record = Box::new(self.record.clone());
                self.send(from, &Packet::EnrResponse { request: received.hash, record });
                Ok(())
            }
            Packet::EnrResponse { .. } => Err(DatagramError::Unsolicited),
        }
    }

    /// Whether we expect a reply from this address to a request of our own. Pings that only answer a ping do not
    /// count, because anyone can cause them.
    pub fn expects(&self, from: SocketAddr) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let asked = |query: &Query| !query.ping_back && query.node.endpoint.udp_address() == from;
        self.queries.values().any(asked)
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<DiscoveryOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Discovery::handle_timeout`].
    pub fn deadline(&self) -> Instant {
        let queries = self.queries.values().map(|query| query.until);
        queries.fold(self.next_refresh.min(self.next_check), Instant::min)
    }

    /// Handles timeouts, checks one old node, and starts a lookup every half hour. Does nothing before the
    /// deadline.
    pub fn handle_timeout(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        let wall = wall.as_secs();
        let due = |query: &Query| now >= query.until;
        let late: Vec<_> =
            self.queries.iter().filter(|(_, query)| due(query)).map(|(id, _)| *id).collect();
        for id in late {
            self.on_timeout(now, wall, &id);
        }
        if now >= self.next_check {
            self.next_check = now + CHECK_INTERVAL;
            if let Some(node) = self.table.stalest(rng.next_u32()).copied() {
                self.ping(now, wall, node, PingReason::Check);
            }
        }
        if now >= self.next_refresh {
            self.next_refresh = now + REFRESH_INTERVAL;
            self.look_up(now, wall, self.id);
        }
    }

    /// Starts a lookup for a random id. Does nothing while a lookup is running.
    pub fn search(&mut self, now: Instant, wall: UnixTime, rng: &mut impl CryptoRngCore) {
        let mut target = NodeId([0; 64]);
        rng.fill_bytes(&mut target.0);
        if self.lookup.is_none() {
            self.look_up(now, wall.as_secs(), target);
        }
    }

    /// All nodes in the table, unordered.
    pub fn nodes(&self) -> impl Iterator<Item = Enode> {
        self.table.nodes().map(|node| node.to_enode())
    }

    /// Our own record.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    fn look_up(&mut self, now: Instant, wall: u64, target: NodeId) {
        let mut known = self.table.closest(&target.digest(), BUCKET_SIZE);
        if known.len() < BUCKET_SIZE {
            known.extend(&self.bootnodes);
        }
        known.retain(|node| node.id != self.id);
        self.lookup = Some(Lookup::new(target, known));
        self.advance_lookup(now, wall);
    }

    fn advance_lookup(&mut self, now: Instant, wall: u64) {
        while let Some(node) = self.lookup.as_mut().and_then(Lookup::next) {
            if self.proofs.knows_us(now, &node.id, node.endpoint.ip) {
                self.ask(now, wall, node);
            } else {
                self.ping(now, wall, node, PingReason::Lookup);
            }
        }
        if self.lookup.as_ref().is_some_and(Lookup::is_done) {
            self.lookup = None;
        }
    }

    /// Pings a node unless a reply from it is already expected.
    fn ping(&mut self, now: Instant, wall: u64, node: Neighbor, reason: PingReason) {
        if let Some(query) = self.queries.get_mut(&node.id) {
            query.wanted |= reason == PingReason::Lookup;
            query.ping_back &= reason == PingReason::Pinged;
            return;
        }
        let most = if reason == PingReason::Pinged { MAX_PING_BACKS } else { MAX_QUERIES };
        if self.queries.len() >= most {
            if let Some(lookup) = &mut self.lookup {
                lookup.failed(&node.id);
            }
            return;
        }
        let (from, to, record) = (self.local, node.endpoint, Some(self.record.sequence()));
        let ping = Packet::Ping { from, to, expiration: expiration(wall), record };
        let hash = self.send(node.endpoint.udp_address(), &ping);
        let query = Query {
            node,
            expected: ExpectedReply::Pong(hash),
            until: now + REPLY_TIMEOUT,
            wanted: reason == PingReason::Lookup,
            ping_back: reason == PingReason::Pinged,
            pinged: reason == PingReason::Pinged,
        };
        self.queries.insert(node.id, query);
    }

    /// Queries a node that knows us for nodes near the target of the lookup.
    fn ask(&mut self, now: Instant, wall: u64, node: Neighbor) {
        let Some(target) = self.lookup.as_ref().map(Lookup::target) else {
            self.queries.remove(&node.id);
            return;
        };
        let request = Packet::FindNode { target, expiration: expiration(wall) };
        self.send(node.endpoint.udp_address(), &request);
        let (expected, until) = (ExpectedReply::Nodes(0), now + REPLY_TIMEOUT);
        let query = Query { node, expected, until, wanted: true, ping_back: false, pinged: true };
        self.queries.insert(node.id, query);
    }

    fn on_ping(&mut self, now: Instant, wall: u64, node: Neighbor, hash: [u8; 32]) {
        let (id, ip) = (node.id, node.endpoint.ip);
        let record = Some(self.record.sequence());
        let expiration = expiration(wall);
        let pong = Packet::Pong { to: node.endpoint, ping: hash, expiration, record };
        self.send(node.endpoint.udp_address(), &pong);
        self.proofs.record_our_proof(now, &id, ip);
        match self.queries.get_mut(&id).filter(|query| query.node.endpoint.ip == ip) {
            Some(Query { expected: ExpectedReply::Ping, node, .. }) => {
                let node = *node;
                self.ask(now, wall, node);
            }
            Some(query) => query.pinged = true,
            None if self.proofs.has_proved(now, &id, ip) => self.add_node(node),
            None => self.ping(now, wall, node, PingReason::Pinged),
        }
    }

    fn on_pong(
        &mut self,
        now: Instant,
        wall: u64,
        sender: &NodeId,
        from: SocketAddr,
        ping: &[u8; 32],
    ) -> Result<(), DatagramError> {
        let query = self.queries.get_mut(sender).ok_or(DatagramError::Unsolicited)?;
        let (node, wanted) = (query.node, query.wanted);
        match query.expected {
            ExpectedReply::Pong(hash) if hash == *ping && from == node.endpoint.udp_address() => {}
            ExpectedReply::Pong(_) | ExpectedReply::Ping | ExpectedReply::Nodes(_) => {
                return Err(DatagramError::Unsolicited);
            }
        }
        query.expected = ExpectedReply::Ping;
        query.until = now + REPLY_TIMEOUT;
        self.proofs.record_proof(now, *sender, from.ip());
        if query.pinged {
            self.proofs.record_our_proof(now, sender, from.ip());
        }
        self.add_node(node);
        if !wanted {
            self.queries.remove(sender);
        } else if self.proofs.knows_us(now, sender, from.ip()) {
            self.ask(now, wall, node);
        }
        Ok(())
    }

    fn on_nodes(
        &mut self,
        now: Instant,
        wall: u64,
        sender: &NodeId,
        from: SocketAddr,
        nodes: &[Enode],
    ) -> Result<(), DatagramError> {
        let query = self.queries.get_mut(sender).ok_or(DatagramError::Unsolicited)?;
        let ExpectedReply::Nodes(count) = &mut query.expected else {
            return Err(DatagramError::Unsolicited);
        };
        if from != query.node.endpoint.udp_address() {
            return Err(DatagramError::Unsolicited);
        }
        let fresh = nodes.iter().take(BUCKET_SIZE.saturating_sub(*count));
        *count = count.saturating_add(nodes.len());
        let complete = *count >= BUCKET_SIZE;
        let fresh = fresh.filter_map(Neighbor::from_enode);
        for node in fresh.filter(|node| may_announce(from.ip(), node.endpoint.ip)) {
            // For known nodes, our own address is more reliable.
            let node = self.table.find(&node.id).copied().unwrap_or(node);
            if let Some(lookup) = self.lookup.as_mut().filter(|_| node.id != self.id) {
                lookup.add(node);
            }
        }
        if complete {
            self.end_query(sender, Lookup::answered);
        }
        self.advance_lookup(now, wall);
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant, wall: u64, id: &NodeId) {
        let Some(query) = self.queries.get(id) else { return };
        match query.expected {
            ExpectedReply::Pong(_) => {
                let node = query.node;
                self.end_query(id, Lookup::failed);
                // Removes the node only if the table contains this address.
                if let Some(next) = self.table.remove(&node) {
                    self.outputs.push_back(DiscoveryOutput::Found(next.to_enode()));
                }
            }
            // It may remember us from before a restart.
            ExpectedReply::Ping => {
                let node = query.node;
                self.ask(now, wall, node);
            }
            ExpectedReply::Nodes(_) => self.end_query(id, Lookup::answered),
        }
        self.advance_lookup(now, wall);
    }

    fn end_query(&mut self, id: &NodeId, conclude: fn(&mut Lookup, &NodeId)) {
        self.queries.remove(id);
        if let Some(lookup) = &mut self.lookup {
            conclude(lookup, id);
        }
    }

    /// Adds a verified node to the table.
    fn add_node(&mut self, node: Neighbor) {
        if self.table.add(node) {
            self.outputs.push_back(DiscoveryOutput::Found(node.to_enode()));
        }
    }

    fn send_neighbors(&mut self, wall: u64, to: SocketAddr, target: &NodeId) {
        let mut nodes = self.table.closest(&target.digest(), BUCKET_SIZE);
        nodes.retain(|node| may_announce(to.ip(), node.endpoint.ip));
        let nodes: Vec<_> = nodes.iter().map(|node| node.to_enode()).collect();
        let expiration = expiration(wall);
        if nodes.is_empty() {
            self.send(to, &Packet::Neighbors { nodes, expiration });
            return;
        }
        for nodes in nodes.chunks(MAX_NEIGHBORS) {
            self.send(to, &Packet::Neighbors { nodes: nodes.to_vec(), expiration });
        }
    }

    fn require_proof(
        &self,
        now: Instant,
        id: &NodeId,
        from: SocketAddr,
    ) -> Result<(), DatagramError> {
        if self.proofs.has_proved(now, id, from.ip()) {
            Ok(())
        } else {
            Err(DatagramError::UnverifiedAddress)
        }
    }

    fn send(&mut self, to: SocketAddr, packet: &Packet) -> [u8; 32] {
        let sealed = packet.seal(&self.key);
        self.outputs.push_back(DiscoveryOutput::Send(to, sealed.datagram));
        sealed.hash
    }
}

impl Neighbor {
    fn from_enode(enode: &Enode) -> Option<Self> {
        let endpoint = enode.endpoint.filter(|endpoint| endpoint.udp != 0)?;
        Some(Self { id: enode.id, endpoint })
    }

    const fn to_enode(self) -> Enode {
        Enode { id: self.id, endpoint: Some(self.endpoint) }
    }
}

/// Whether a node at `source` may announce a node at `announced`: addresses of local networks are useless
/// outside of these networks.
fn may_announce(source: IpAddr, announced: IpAddr) -> bool {
    match scope(announced) {
        Scope::Unusable => false,
        Scope::Loopback => scope(source) == Scope::Loopback,
        Scope::Private => matches!(scope(source), Scope::Loopback | Scope::Private),
        Scope::Global => true,
    }
}

const fn expiration(wall: u64) -> u64 {
    wall.saturating_add(EXPIRATION)
}

/// An action for the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DiscoveryOutput {
    /// Send a datagram.
    Send(SocketAddr, Vec<u8>),
    /// A node answered for the first time.
    Found(Enode),
}

/// Why a datagram was ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DatagramError {
    /// It has expired.
    #[error("datagram has expired")]
    Expired,
    /// We sent it ourselves.
    #[error("datagram is our own")]
    FromOurselves,
    /// It is not a valid packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A reply to no request of ours, or from the wrong address.
    #[error("unexpected answer")]
    Unsolicited,
    /// A request from an address that is not verified.
    #[error("request from an unverified address")]
    UnverifiedAddress,
}

/// Validity of our datagrams in seconds, as in go-ethereum.
const EXPIRATION: u64 = 20;

/// Time limit for a reply, as in go-ethereum.
const REPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// Time between two checks of old nodes. go-ethereum uses a random time of up to 10 s.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two lookups of our own id, as in go-ethereum.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Maximum number of concurrent requests.
const MAX_QUERIES: usize = 256;

/// Number of concurrent requests beyond which pings are not answered with pings: the rest is reserved for
/// lookups.
const MAX_PING_BACKS: usize = 192;

#[cfg(test)]
mod tests;
