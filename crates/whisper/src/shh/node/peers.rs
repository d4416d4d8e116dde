//! The peers of a node, and the rate limits of peers and addresses.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use wormhole_kit::Instant;

use super::{
    super::{peer::Peer, rate::Bucket},
    settings::Limits,
};
use crate::devp2p::key::NodeId;

/// All peers, and current and recent addresses.
#[derive(Debug)]
pub(super) struct Peers {
    limits: Limits,
    peers: BTreeMap<NodeId, PeerEntry>,
    addresses: BTreeMap<IpAddr, Address>,
}

/// A peer and its rate limit.
#[derive(Debug)]
struct PeerEntry {
    peer: Peer,
    address: Option<IpAddr>,
    envelopes: Bucket,
    /// When an envelope of this peer was last rejected because its sent time was in the future.
    early: Option<Instant>,
}

/// The rate limit of all peers of one address.
#[derive(Debug)]
struct Address {
    peers: usize,
    envelopes: Bucket,
}

impl Peers {
    /// No peers yet.
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, peers: BTreeMap::new(), addresses: BTreeMap::new() }
    }

    /// Adds a peer, or replaces it.
    pub(super) fn add(&mut self, now: Instant, id: NodeId, peer: Peer, address: Option<IpAddr>) {
        self.remove(&id);
        if let Some(address) = address {
            let envelopes = Bucket::new(now, self.limits.envelopes_per_address);
            let new = || Address { peers: 0, envelopes };
            self.addresses.entry(address).or_insert_with(new).peers += 1;
        }
        let envelopes = Bucket::new(now, self.limits.envelopes_per_peer);
        self.peers.insert(id, PeerEntry { peer, address, envelopes, early: None });
    }

    /// Removes a peer. Its address is remembered until its rate limit has recovered.
    pub(super) fn remove(&mut self, id: &NodeId) {
        let removed = self.peers.remove(id);
        let address = removed.and_then(|neighbour| neighbour.address);
        if let Some(address) = address.and_then(|address| self.addresses.get_mut(&address)) {
            address.peers = address.peers.saturating_sub(1);
        }
    }

    /// Forgets addresses that have no peers and have recovered.
    pub(super) fn forget_addresses(&mut self, now: Instant) {
        self.addresses.retain(|_, address| address.peers > 0 || address.envelopes.is_charged(now));
    }

    /// Whether a peer is connected.
    pub(super) fn contains(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id)
    }

    /// Finds a peer.
    pub(super) fn find(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.peers.get_mut(id).map(|neighbour| &mut neighbour.peer)
    }

    /// All peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.peers.iter().map(|(id, neighbour)| (id, &neighbour.peer))
    }

    /// All peers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Peer)> {
        self.peers.iter_mut().map(|(id, neighbour)| (id, &mut neighbour.peer))
    }

    /// The ids of all peers.
    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Charges a received envelope, new or not. Returns whether it is within the peer's limit.
    pub(super) fn admit(&mut self, now: Instant, id: &NodeId) -> bool {
        self.peers.get_mut(id).is_some_and(|neighbour| neighbour.envelopes.take(now, 1.0))
    }

    /// Records that an envelope was rejected because its sent time was in the future. Returns whether that
    /// happened recently with most peers.
    pub(super) fn record_early(&mut self, now: Instant, id: &NodeId) -> bool {
        if let Some(neighbour) = self.peers.get_mut(id) {
            neighbour.early = Some(now);
        }
        let lately = |early: Instant| now.saturating_duration_since(early) < LATELY;
        let early = self.peers.values().filter(|it| it.early.is_some_and(lately)).count();
        2 * early > self.peers.len()
    }

    /// Charges a new envelope. Returns whether it is within the address's limit.
    pub(super) fn admit_new(&mut self, now: Instant, id: &NodeId) -> bool {
        let address = self.peers.get(id).and_then(|neighbour| neighbour.address);
        let address = address.and_then(|address| self.addresses.get_mut(&address));
        address.is_none_or(|address| address.envelopes.take(now, 1.0))
    }
}

/// Time during which an envelope from the future counts.
const LATELY: Duration = Duration::from_secs(60);
