//! Known nodes, in buckets by distance to our own id (discv4.md "Kademlia Table").
//!
//! The far buckets cover half, a quarter, … of all ids, and the nearest of the 17 covers the rest. A known node
//! keeps its place while it answers; new nodes wait. Together with a limit per subnet, this makes it expensive
//! to fill the table with nodes of one owner.

use std::{collections::VecDeque, net::IpAddr};

use wormhole_kit::{Scope, scope};

use crate::devp2p::{enode::Endpoint, key::NodeId};

/// A node in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Neighbor {
    /// Its id.
    pub(super) id: NodeId,
    /// Its endpoint.
    pub(super) endpoint: Endpoint,
}

/// Nodes with verified endpoints.
#[derive(Clone, Debug)]
pub(super) struct Table {
    own: [u8; 32],
    /// Sorted by distance, nearest first.
    buckets: Vec<Bucket>,
}

/// Nodes at one distance.
#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Active nodes, which we report to others. The one that answered last is first.
    nodes: VecDeque<Neighbor>,
    /// Replacements for active nodes, newest first.
    waiting: VecDeque<Neighbor>,
}

impl Table {
    /// An empty table for our own id.
    pub(super) fn new(own: &NodeId) -> Self {
        Self { own: own.digest(), buckets: vec![Bucket::default(); BUCKETS] }
    }

    /// Adds a node that has just answered, or moves it to the front. Returns whether it is new and active.
    pub(super) fn add(&mut self, node: Neighbor) -> bool {
        let digest = node.id.digest();
        if digest == self.own {
            return false;
        }
        let crowded = self.subnet_count(&node) >= MAX_PER_SUBNET;
        let Some(bucket) = self.bucket(&digest) else { return false };
        if let Some(place) = bucket.nodes.iter().position(|known| known.id == node.id) {
            // Its address may have changed.
            bucket.nodes.remove(place);
            bucket.nodes.push_front(node);
            return false;
        }
        if crowded || bucket.subnet_count(&node) >= MAX_PER_SUBNET_AND_BUCKET {
            return false;
        }
        if bucket.nodes.len() < BUCKET_SIZE {
            bucket.waiting.retain(|waiting| waiting.id != node.id);
            bucket.nodes.push_front(node);
            return true;
        }
        bucket.wait(node);
        false
    }

    /// Removes a node that does not answer at this endpoint. Returns the replacement that takes its place.
    pub(super) fn remove(&mut self, node: &Neighbor) -> Option<Neighbor> {
        let bucket = self.bucket(&node.id.digest())?;
        let place = bucket.nodes.iter().position(|known| known == node)?;
        bucket.nodes.remove(place);
        let next = bucket.waiting.pop_front()?;
        bucket.nodes.push_back(next);
        Some(next)
    }

    /// Finds an active node by id.
    pub(super) fn find(&self, id: &NodeId) -> Option<&Neighbor> {
        self.nodes().find(|node| node.id == *id)
    }

    /// The `count` active nodes nearest to `target`, sorted by distance.
    pub(super) fn closest(&self, target: &[u8; 32], count: usize) -> Vec<Neighbor> {
        let mut nodes: Vec<_> =
            self.nodes().map(|node| (distance(&node.id.digest(), target), *node)).collect();
        nodes.sort_unstable_by_key(|(distance, _)| *distance);
        nodes.into_iter().take(count).map(|(_, node)| node).collect()
    }

    /// The active node of a random non-empty bucket that answered longest ago. `random` selects the
    /// bucket.
    pub(super) fn stalest(&self, random: u32) -> Option<&Neighbor> {
        let mut buckets: Vec<_> =
            self.buckets.iter().filter_map(|bucket| bucket.nodes.back()).collect();
        let place = usize::try_from(random).unwrap_or_default().checked_rem(buckets.len())?;
        Some(buckets.swap_remove(place))
    }

    /// All active nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Neighbor> {
        self.buckets.iter().flat_map(|bucket| &bucket.nodes)
    }

    fn bucket(&mut self, digest: &[u8; 32]) -> Option<&mut Bucket> {
        let equal_bits = leading_zeros(&distance(digest, &self.own));
        self.buckets.get_mut(BUCKETS.saturating_sub(1).saturating_sub(equal_bits))
    }

    fn subnet_count(&self, node: &Neighbor) -> usize {
        self.buckets.iter().map(|bucket| bucket.subnet_count(node)).sum()
    }
}

impl Bucket {
    /// Number of other nodes in the same public subnet as `node`.
    fn subnet_count(&self, node: &Neighbor) -> usize {
        let Some(subnet) = public_subnet(node.endpoint.ip) else { return 0 };
        let shares = |other: &&Neighbor| {
            other.id != node.id && public_subnet(other.endpoint.ip).as_ref() == Some(&subnet)
        };
        self.nodes.iter().filter(shares).count()
    }

    fn wait(&mut self, node: Neighbor) {
        self.waiting.retain(|waiting| waiting.id != node.id);
        self.waiting.truncate(MAX_WAITING.saturating_sub(1));
        self.waiting.push_front(node);
    }
}

/// Distance between two digests, to be compared as big-endian numbers (discv4.md "Kademlia Table").
pub(super) fn distance(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut distance = *left;
    distance.iter_mut().zip(right).for_each(|(to, other)| *to ^= other);
    distance
}

fn leading_zeros(number: &[u8; 32]) -> usize {
    let mut zeros = 0_u32;
    for byte in number {
        zeros = zeros.saturating_add(byte.leading_zeros());
        if *byte != 0 {
            break;
        }
    }
    usize::try_from(zeros).unwrap_or_default()
}

/// The subnet that one owner usually controls: 24 bits of IPv4, 48 of IPv6. `None` for addresses that are not
/// public, where several nodes of one owner are normal.
fn public_subnet(ip: IpAddr) -> Option<Vec<u8>> {
    if scope(ip) != Scope::Global {
        return None;
    }
    match ip.to_canonical() {
        IpAddr::V4(ip) => Some(ip.octets().into_iter().take(3).collect()),
        IpAddr::V6(ip) => Some(ip.octets().into_iter().take(6).collect()),
    }
}

/// Number of buckets, as in go-ethereum: nodes nearer than the last one are too rare.
const BUCKETS: usize = 17;

/// Maximum number of active nodes in a bucket (discv4.md: k).
pub(super) const BUCKET_SIZE: usize = 16;

/// Maximum number of replacements in a bucket, as in go-ethereum.
const MAX_WAITING: usize = 10;

/// Maximum number of nodes of one subnet in the table, as in go-ethereum.
const MAX_PER_SUBNET: usize = 10;

/// Maximum number of nodes of one subnet in a bucket, as in go-ethereum.
const MAX_PER_SUBNET_AND_BUCKET: usize = 2;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn id(n: u32) -> NodeId {
        let mut id = [0; 64];
        id[..4].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    fn node(n: u32, ip: [u8; 4]) -> Neighbor {
        let endpoint = Endpoint { ip: Ipv4Addr::from(ip).into(), tcp: 1, udp: 1 };
        Neighbor { id: id(n), endpoint }
    }

    /// A node at an address that no limit holds for.
    fn local(n: u32) -> Neighbor {
        node(n, [127, 0, 0, 1])
    }

    fn table() -> Table {
        Table::new(&id(0))
    }

    /// Numbers of nodes that belong into the farthest bucket: half of all.
    fn far() -> impl Iterator<Item = u32> {
        let own = id(0).digest();
        (1..).filter(move |n| (id(*n).digest()[0] ^ own[0]) & 0x80 != 0)
    }

    #[test]
    fn the_nearest_nodes_come_first() {
        let mut table = table();
        (1..200).for_each(|n| {
            table.add(local(n));
        });
        let target = id(1000).digest();
        let closest = table.closest(&target, 16);
        let mut all: Vec<_> = table.nodes().copied().collect();
        all.sort_by_key(|node| distance(&node.id.digest(), &target));
        assert_eq!(closest, all[..16]);
        assert!(all.len() > 60 && all.len() < 199, "far buckets overflow: {}", all.len());
    }

    #[test]
    fn a_node_that_answers_keeps_its_place_and_a_newcomer_waits() {
        let mut table = table();
        let numbers: Vec<_> = far().take(18).collect();
        for n in &numbers[..16] {
            assert!(table.add(local(*n)));
        }
        assert!(!table.add(local(numbers[16])));
        assert!(!table.add(local(numbers[17])));
        assert_eq!(table.find(&id(numbers[16])), None);
        // The newest of those who wait takes the place, as the likeliest to be there.
        assert_eq!(table.remove(&local(numbers[3])), Some(local(numbers[17])));
        assert_eq!(table.find(&id(numbers[3])), None);
        assert_eq!(table.find(&id(numbers[17])), Some(&local(numbers[17])));
    }

    #[test]
    fn the_stalest_node_is_the_one_that_answered_longest_ago() {
        let mut table = table();
        let numbers: Vec<_> = far().take(3).collect();
        numbers.iter().for_each(|n| {
            table.add(local(*n));
        });
        assert_eq!(table.stalest(5), Some(&local(numbers[0])));
        table.add(local(numbers[0]));
        assert_eq!(table.stalest(5), Some(&local(numbers[1])));
        assert_eq!(Table::new(&id(0)).stalest(5), None);
    }

    #[test]
    fn a_node_that_moved_is_known_by_its_new_address() {
        let mut table = table();
        table.add(node(1, [192, 0, 2, 1]));
        assert!(!table.add(node(1, [198, 51, 100, 1])));
        assert_eq!(table.find(&id(1)), Some(&node(1, [198, 51, 100, 1])));
        assert_eq!(table.nodes().count(), 1);
    }

    #[test]
    fn one_subnet_gets_few_places() {
        let mut table = table();
        let in_bucket: Vec<_> = far()
            .take(5)
            .filter(|n| table.add(node(*n, [192, 0, 2, n.to_be_bytes()[3]])))
            .collect();
        assert_eq!(in_bucket.len(), MAX_PER_SUBNET_AND_BUCKET);
        (1..500).for_each(|n| {
            table.add(node(n, [192, 0, 2, 7]));
        });
        assert!(table.nodes().count() <= MAX_PER_SUBNET);
    }

    #[test]
    fn an_owner_of_many_ipv6_networks_counts_as_one_subnet() {
        let mut table = table();
        let mut add = |n: u32, district: u16| {
            let net = u16::try_from(n).unwrap();
            let ip = Ipv6Addr::new(0x2001, 0xdb8, district, net, 0, 0, 0, 1).into();
            table.add(Neighbor { id: id(n), endpoint: Endpoint { ip, tcp: 1, udp: 1 } })
        };
        assert!((1..500).filter(|n| add(*n, 1)).count() <= MAX_PER_SUBNET);
        assert!((501..1000).any(|n| add(n, 2)));
    }

    #[test]
    fn we_are_not_in_our_own_table() {
        let mut table = table();
        assert!(!table.add(local(0)));
        assert_eq!(table.nodes().count(), 0);
    }
}
