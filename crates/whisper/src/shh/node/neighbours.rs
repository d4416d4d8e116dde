//! The peers of a node, and how much each of them, and each address, has sent.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use super::{
    super::{
        peer::Peer,
        rate::{Admission, Bucket},
    },
    settings::Limits,
};
use crate::devp2p::key::NodeId;

/// All peers, and the addresses that they have or had.
#[derive(Debug)]
pub(super) struct Neighbours {
    limits: Limits,
    peers: BTreeMap<NodeId, Neighbour>,
    addresses: BTreeMap<IpAddr, Address>,
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

impl Neighbours {
    /// None yet.
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, peers: BTreeMap::new(), addresses: BTreeMap::new() }
    }

    /// Adds a peer, in place of itself if it is here already.
    pub(super) fn add(&mut self, now: Instant, id: NodeId, peer: Peer, address: Option<IpAddr>) {
        self.remove(&id);
        if let Some(address) = address {
            let envelopes = Bucket::new(now, self.limits.envelopes_per_address);
            let new = || Address { peers: 0, envelopes };
            self.addresses.entry(address).or_insert_with(new).peers += 1;
        }
        let envelopes = Bucket::new(now, self.limits.envelopes_per_peer);
        let bytes = Bucket::new(now, self.limits.bytes_per_peer);
        self.peers.insert(id, Neighbour { peer, address, envelopes, bytes });
    }

    /// Removes a peer. Its address is remembered as long as it owes something.
    pub(super) fn remove(&mut self, id: &NodeId) {
        let removed = self.peers.remove(id);
        let address = removed.and_then(|neighbour| neighbour.address);
        if let Some(address) = address.and_then(|address| self.addresses.get_mut(&address)) {
            address.peers = address.peers.saturating_sub(1);
        }
    }

    /// Forgets the addresses that have no peers and owe nothing.
    pub(super) fn forget_addresses(&mut self, now: Instant) {
        self.addresses.retain(|_, address| address.peers > 0 || address.envelopes.owes(now));
    }

    /// Whether a peer is here.
    pub(super) fn contains(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id)
    }

    /// A peer.
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

    /// The names of all peers.
    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// A packet of this many bytes came. Bytes only tell when it is too much altogether: what is
    /// dropped before is counted in envelopes.
    pub(super) fn admit_bytes(&mut self, now: Instant, id: &NodeId, bytes: usize) -> Admission {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let neighbour = self.peers.get_mut(id);
        neighbour.map_or(Admission::Over, |neighbour| neighbour.bytes.take(now, bytes.into()))
    }

    /// An envelope came.
    pub(super) fn admit_envelope(&mut self, now: Instant, id: &NodeId) -> Admission {
        let Some(neighbour) = self.peers.get_mut(id) else { return Admission::Over };
        let by_peer = neighbour.envelopes.take(now, 1.0);
        let address = neighbour.address.and_then(|address| self.addresses.get_mut(&address));
        // Peers behind one address are not to blame for one another: theirs is only dropped.
        match address.map(|address| address.envelopes.take(now, 1.0)) {
            Some(Admission::Over | Admission::Flood) if by_peer == Admission::Within => {
                Admission::Over
            }
            _ => by_peer,
        }
    }
}
