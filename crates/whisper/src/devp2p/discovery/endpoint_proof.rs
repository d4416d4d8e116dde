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
pub(super) struct EndpointProofs {
    /// By [`wider_network`]; the newest proof is last.
    by_owner: HashMap<IpAddr, VecDeque<EndpointProof>>,
}

#[derive(Debug)]
struct EndpointProof {
    id: NodeId,
    ip: IpAddr,
    /// When the node proved its address to us.
    proved: Instant,
    /// When we proved our address to it, as far as we know.
    proved_ours: Option<Instant>,
}

impl EndpointProofs {
    /// Records that a node has proved its address.
    pub(super) fn record_proof(&mut self, now: Instant, id: NodeId, ip: IpAddr) {
        let proved_ours = self.find(&id, ip).and_then(|proof| proof.proved_ours);
        if !self.by_owner.contains_key(&wider_network(ip)) && self.by_owner.len() >= MAX_OWNERS {
            self.forget_oldest();
        }
        let proofs = self.by_owner.entry(wider_network(ip)).or_default();
        proofs.retain(|proof| proof.id != id || proof.ip != ip);
        if proofs.len() >= MAX_PER_OWNER {
            proofs.pop_front();
        }
        proofs.push_back(EndpointProof { id, ip, proved: now, proved_ours });
    }

    /// Records that we have answered the node's ping. Does nothing for unknown nodes.
    pub(super) fn record_our_proof(&mut self, now: Instant, id: &NodeId, ip: IpAddr) {
        let proofs = self.by_owner.get_mut(&wider_network(ip)).into_iter().flatten();
        for proof in proofs.filter(|proof| proof.id == *id && proof.ip == ip) {
            proof.proved_ours = Some(now);
        }
    }

    /// Whether the node has a valid proof for this address.
    pub(super) fn has_proved(&self, now: Instant, id: &NodeId, ip: IpAddr) -> bool {
        self.find(id, ip).is_some_and(|proof| now < proof.proved + VALID)
    }

    /// Whether the node should have a valid proof from us, so that it will answer requests.
    pub(super) fn knows_us(&self, now: Instant, id: &NodeId, ip: IpAddr) -> bool {
        let proved_ours = self.find(id, ip).and_then(|proof| proof.proved_ours);
        proved_ours.is_some_and(|proved_ours| now < proved_ours + VALID)
    }

    fn find(&self, id: &NodeId, ip: IpAddr) -> Option<&EndpointProof> {
        let mut proofs = self.by_owner.get(&wider_network(ip))?.iter();
        proofs.find(|proof| proof.id == *id && proof.ip == ip)
    }

    fn forget_oldest(&mut self) {
        let newest = |proofs: &VecDeque<EndpointProof>| proofs.back().map(|proof| proof.proved);
        let oldest = self.by_owner.iter().min_by_key(|(_, proofs)| newest(proofs));
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
        let (mut proofs, now, id) = (EndpointProofs::default(), start(), NodeId([1; 64]));
        proofs.record_proof(now, id, ip(1));
        assert!(proofs.has_proved(now + VALID - Duration::from_secs(1), &id, ip(1)));
        assert!(!proofs.has_proved(now + VALID, &id, ip(1)));
        assert!(!proofs.has_proved(now, &id, ip(2)));
        assert!(!proofs.has_proved(now, &NodeId([2; 64]), ip(1)));
    }

    #[test]
    fn our_own_proof_is_remembered_with_theirs() {
        let (mut proofs, now, id) = (EndpointProofs::default(), start(), NodeId([1; 64]));
        proofs.record_our_proof(now, &id, ip(1));
        assert!(!proofs.knows_us(now, &id, ip(1)), "strangers are not noted");
        proofs.record_proof(now, id, ip(1));
        proofs.record_our_proof(now, &id, ip(1));
        proofs.record_proof(now, id, ip(1));
        assert!(proofs.knows_us(now, &id, ip(1)));
    }

    #[test]
    fn neither_many_owners_nor_many_ids_of_one_owner_fill_the_memory() {
        let (mut proofs, mut now) = (EndpointProofs::default(), start());
        for n in 0..10_000_u32 {
            now += Duration::from_millis(1);
            let name = |salt: u8| {
                let mut name = [salt; 64];
                name[..4].copy_from_slice(&n.to_be_bytes());
                NodeId(name)
            };
            proofs.record_proof(now, name(0), ip(n));
            proofs.record_proof(now, name(1), ip(7));
            let v6 = std::net::Ipv6Addr::from_bits(7 << 80 | u128::from(n) << 64).into();
            proofs.record_proof(now, name(2), v6);
        }
        assert_eq!(proofs.by_owner.len(), MAX_OWNERS);
        assert!(proofs.by_owner.values().all(|proofs| proofs.len() <= MAX_PER_OWNER));
        assert!(proofs.by_owner.contains_key(&ip(9_999)));
        assert_eq!(proofs.by_owner.keys().filter(|ip| ip.is_ipv6()).count(), 1);
    }
}
