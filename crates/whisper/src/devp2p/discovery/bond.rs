//! Endpoint proofs: which nodes are known to receive datagrams at their address (discv4.md "Endpoint Proof").
//!
//! A pong that answers our ping is a proof. Without it, sender addresses may be forged, and replies that are
//! longer than the request could be used to flood a victim.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use wormhole_kit::{Instant, wider_network};

use crate::devp2p::key::NodeId;

/// Known proofs: a limited number in total and per owner of addresses.
#[derive(Debug, Default)]
pub(super) struct Bonds {
    /// By [`wider_network`]; the newest proof is last.
    by_owner: HashMap<IpAddr, VecDeque<Bond>>,
}

#[derive(Debug)]
struct Bond {
    id: NodeId,
    ip: IpAddr,
    /// When the node proved its address to us.
    proved: Instant,
    /// When we proved our address to it, as far as we know.
    proved_to: Option<Instant>,
}

impl Bonds {
    /// Records that a node has proved its address.
    pub(super) fn note_proof(&mut self, now: Instant, id: NodeId, ip: IpAddr) {
        let proved_to = self.find(&id, ip).and_then(|bond| bond.proved_to);
        if !self.by_owner.contains_key(&wider_network(ip)) && self.by_owner.len() >= MAX_OWNERS {
            self.forget_oldest();
        }
        let bonds = self.by_owner.entry(wider_network(ip)).or_default();
        bonds.retain(|bond| bond.id != id || bond.ip != ip);
        if bonds.len() >= MAX_PER_OWNER {
            bonds.pop_front();
        }
        bonds.push_back(Bond { id, ip, proved: now, proved_to });
    }

    /// Records that we have answered the node's ping. Does nothing for unknown nodes.
    pub(super) fn note_our_proof(&mut self, now: Instant, id: &NodeId, ip: IpAddr) {
        let bonds = self.by_owner.get_mut(&wider_network(ip)).into_iter().flatten();
        for bond in bonds.filter(|bond| bond.id == *id && bond.ip == ip) {
            bond.proved_to = Some(now);
        }
    }

    /// Whether the node has a valid proof for this address.
    pub(super) fn has_proved(&self, now: Instant, id: &NodeId, ip: IpAddr) -> bool {
        self.find(id, ip).is_some_and(|bond| now < bond.proved + VALID)
    }

    /// Whether the node should have a valid proof from us, so that it will answer requests.
    pub(super) fn knows_us(&self, now: Instant, id: &NodeId, ip: IpAddr) -> bool {
        let proved_to = self.find(id, ip).and_then(|bond| bond.proved_to);
        proved_to.is_some_and(|proved_to| now < proved_to + VALID)
    }

    fn find(&self, id: &NodeId, ip: IpAddr) -> Option<&Bond> {
        let mut bonds = self.by_owner.get(&wider_network(ip))?.iter();
        bonds.find(|bond| bond.id == *id && bond.ip == ip)
    }

    fn forget_oldest(&mut self) {
        let newest = |bonds: &VecDeque<Bond>| bonds.back().map(|bond| bond.proved);
        let oldest = self.by_owner.iter().min_by_key(|(_, bonds)| newest(bonds));
        if let Some(owner) = oldest.map(|(owner, _)| *owner) {
            self.by_owner.remove(&owner);
        }
    }
}

/// Validity of a proof (discv4.md "Endpoint Proof").
const VALID: Duration = Duration::from_secs(12 * 60 * 60);

/// Maximum number of owners.
const MAX_OWNERS: usize = 4096;

/// Maximum number of proofs per owner: enough for nodes behind one router.
const MAX_PER_OWNER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "only the distance to it matters")]
    fn start() -> Instant {
        Instant::now()
    }

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn a_proof_holds_for_12_hours_at_its_address() {
        let (mut bonds, now, id) = (Bonds::default(), start(), NodeId([1; 64]));
        bonds.note_proof(now, id, ip(1));
        assert!(bonds.has_proved(now + VALID - Duration::from_secs(1), &id, ip(1)));
        assert!(!bonds.has_proved(now + VALID, &id, ip(1)));
        assert!(!bonds.has_proved(now, &id, ip(2)));
        assert!(!bonds.has_proved(now, &NodeId([2; 64]), ip(1)));
    }

    #[test]
    fn our_own_proof_is_remembered_with_theirs() {
        let (mut bonds, now, id) = (Bonds::default(), start(), NodeId([1; 64]));
        bonds.note_our_proof(now, &id, ip(1));
        assert!(!bonds.knows_us(now, &id, ip(1)), "strangers are not noted");
        bonds.note_proof(now, id, ip(1));
        bonds.note_our_proof(now, &id, ip(1));
        bonds.note_proof(now, id, ip(1));
        assert!(bonds.knows_us(now, &id, ip(1)));
    }

    #[test]
    fn neither_many_owners_nor_one_with_many_names_fill_the_memory() {
        let (mut bonds, mut now) = (Bonds::default(), start());
        for n in 0..10_000_u32 {
            now += Duration::from_millis(1);
            let name = |salt: u8| {
                let mut name = [salt; 64];
                name[..4].copy_from_slice(&n.to_be_bytes());
                NodeId(name)
            };
            bonds.note_proof(now, name(0), ip(n));
            bonds.note_proof(now, name(1), ip(7));
            let v6 = std::net::Ipv6Addr::from_bits(7 << 80 | u128::from(n) << 64).into();
            bonds.note_proof(now, name(2), v6);
        }
        assert_eq!(bonds.by_owner.len(), MAX_OWNERS);
        assert!(bonds.by_owner.values().all(|bonds| bonds.len() <= MAX_PER_OWNER));
        assert!(bonds.by_owner.contains_key(&ip(9_999)));
        assert_eq!(bonds.by_owner.keys().filter(|ip| ip.is_ipv6()).count(), 1);
    }
}
