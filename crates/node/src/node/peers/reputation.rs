//! Nodes and addresses that are banned for a while, because they broke the protocol.
//!
//! A node that breaks the protocol is banned by its node id, each time for longer. Node ids cost nothing,
//! so faults are counted for the address as well (for IPv6: for the first 64 bits), which is banned after
//! many faults; a single bad node does not get all others at its address banned. An attacker may own
//! many IPv6 networks, so the wider network is banned after the faults of three banned addresses.
//! Programs on this computer could do worse things anyway, so loopback addresses are never banned.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};
use wormhole_whisper::devp2p::key::NodeId;

/// The faults and bans of nodes and addresses. Clones share them.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Reputation(Arc<Mutex<Faults>>);

#[derive(Debug, Default)]
struct Faults {
    nodes: Records<NodeId>,
    addresses: Records<IpAddr>,
    /// By wider network, for IPv6 alone.
    wide_networks: Records<IpAddr>,
}

impl Reputation {
    /// Records that a peer at `address` broke the protocol. `id` is known only after the handshake.
    /// Returns for how long the node, or its address, is banned.
    pub(super) fn record_fault(
        &self,
        now: Instant,
        id: Option<NodeId>,
        address: IpAddr,
    ) -> Option<Duration> {
        let mut faults = self.lock();
        let node = id.and_then(|id| faults.nodes.record_fault(now, id, NODE_FAULTS));
        if address.to_canonical().is_loopback() {
            return node;
        }
        node.max(faults.record_address(now, network(address)))
    }

    /// Whether a node is banned.
    pub(super) fn is_node_banned(&self, now: Instant, id: &NodeId) -> bool {
        self.lock().nodes.is_banned(now, id)
    }

    /// Whether an address is banned.
    pub(in crate::node) fn is_address_banned(&self, now: Instant, address: IpAddr) -> bool {
        let faults = self.lock();
        faults.addresses.is_banned(now, &network(address))
            || wide_network(address).is_some_and(|it| faults.wide_networks.is_banned(now, &it))
    }

    /// Lifts the ban of a node.
    pub(super) fn unban_node(&self, id: &NodeId) {
        self.lock().nodes.0.remove(id);
    }

    /// How many nodes, addresses and wider networks are banned.
    pub(super) fn banned(&self, now: Instant) -> usize {
        let faults = self.lock();
        let addresses = faults.addresses.banned(now) + faults.wide_networks.banned(now);
        faults.nodes.banned(now) + addresses
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    fn record_address(&mut self, now: Instant, address: IpAddr) -> Option<Duration> {
        let banned = self.addresses.record_fault(now, address, ADDRESS_FAULTS);
        // Faults of an address that is banned already do not count against its neighbours.
        let counts = self.addresses.faults(&address) <= ADDRESS_FAULTS;
        let wide = wide_network(address).filter(|_| counts);
        let wide =
            wide.and_then(|it| self.wide_networks.record_fault(now, it, WIDE_NETWORK_FAULTS));
        banned.max(wide)
    }
}

/// The wider network of an IPv6 address. `None` for an IPv4 address.
fn wide_network(address: IpAddr) -> Option<IpAddr> {
    Some(wider_network(address)).filter(IpAddr::is_ipv6)
}

#[derive(Debug)]
struct Records<K>(HashMap<K, Record>);

impl<K> Default for Records<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// The faults of one node, address or network.
#[derive(Clone, Copy, Debug)]
struct Record {
    faults: u32,
    last: Instant,
    until: Option<Instant>,
}

impl<K: Copy + Eq + Hash> Records<K> {
    /// Counts a fault. From the fault number `allowed` on, each one leads to a ban of twice the time.
    fn record_fault(&mut self, now: Instant, key: K, allowed: u32) -> Option<Duration> {
        if self.0.len() >= MAX_RECORDS && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let record = self.0.entry(key).or_insert(Record { faults: 0, last: now, until: None });
        if now.saturating_duration_since(record.last) >= MEMORY {
            record.faults = 0;
        }
        record.faults = record.faults.saturating_add(1);
        record.last = now;
        let over = record.faults.checked_sub(allowed)?;
        let ban = FIRST_BAN.saturating_mul(1 << over.min(16)).min(LONGEST_BAN);
        record.until = now.checked_add(ban);
        Some(ban)
    }

    fn faults(&self, key: &K) -> u32 {
        self.0.get(key).map_or(0, |record| record.faults)
    }

    fn is_banned(&self, now: Instant, key: &K) -> bool {
        self.0.get(key).and_then(|record| record.until).is_some_and(|until| now < until)
    }

    fn banned(&self, now: Instant) -> usize {
        self.0.values().filter(|record| record.until.is_some_and(|until| now < until)).count()
    }

    /// Forgets old records. If no record is old, forgets all, so that a flood of node ids takes no more
    /// memory.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, record| now.saturating_duration_since(record.last) < MEMORY);
        if self.0.len() >= MAX_RECORDS {
            self.0.clear();
        }
    }
}

/// Faults after which a node is banned.
const NODE_FAULTS: u32 = 1;

/// Faults after which an address is banned.
const ADDRESS_FAULTS: u32 = 20;

/// Faults after which a wider network is banned.
const WIDE_NETWORK_FAULTS: u32 = 3 * ADDRESS_FAULTS;

/// Duration of the first ban.
const FIRST_BAN: Duration = Duration::from_secs(60);

/// Longest duration of a ban.
const LONGEST_BAN: Duration = Duration::from_secs(24 * 60 * 60);

/// Faults are forgotten this long after the last one.
const MEMORY: Duration = Duration::from_secs(25 * 60 * 60);

/// Maximum number of nodes, most addresses and most wider networks that are remembered.
const MAX_RECORDS: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    const BAD: NodeId = NodeId([1; 64]);

    #[test]
    fn a_node_is_banned_at_once_and_longer_each_time() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        assert_eq!(reputation.record_fault(now, Some(BAD), ADDRESS), Some(FIRST_BAN));
        assert!(
            reputation.is_node_banned(now, &BAD) && !reputation.is_address_banned(now, ADDRESS)
        );
        let later = now + FIRST_BAN;
        assert!(!reputation.is_node_banned(later, &BAD));
        assert_eq!(reputation.record_fault(later, Some(BAD), ADDRESS), Some(2 * FIRST_BAN));
        reputation.unban_node(&BAD);
        assert!(!reputation.is_node_banned(later, &BAD));
        assert_eq!(reputation.banned(later), 0);
    }

    #[test]
    fn an_address_is_banned_after_many_faults() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        let mapped = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().into();
        for _ in 1..ADDRESS_FAULTS {
            assert_eq!(reputation.record_fault(now, None, mapped), None);
        }
        assert!(reputation.record_fault(now, None, ADDRESS).is_some());
        assert!(
            reputation.is_address_banned(now, ADDRESS) && reputation.is_address_banned(now, mapped)
        );
        assert!(!reputation.is_address_banned(now, Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn another_address_of_the_same_ipv6_network_is_banned_too() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        let household = |host| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host).into();
        (0..u128::from(ADDRESS_FAULTS)).for_each(|host| {
            reputation.record_fault(now, None, household(host));
        });
        assert!(reputation.is_address_banned(now, household(12_345)));
        assert!(!reputation.is_address_banned(now, household(1 << 64)));
        for _ in 0..2 * ADDRESS_FAULTS {
            reputation.record_fault(now, None, Ipv6Addr::LOCALHOST.into());
        }
        assert!(!reputation.is_address_banned(now, Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn many_ipv6_networks_of_one_owner_are_banned_together() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        let household = |net: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | net << 64).into();
        for net in 1..u128::from(WIDE_NETWORK_FAULTS) {
            assert_eq!(reputation.record_fault(now, None, household(net)), None);
        }
        assert!(!reputation.is_address_banned(now, household(12_345)));
        assert_eq!(reputation.record_fault(now, None, household(0)), Some(FIRST_BAN));
        assert!(reputation.is_address_banned(now, household(12_345)));
        assert!(!reputation.is_address_banned(now, household(1 << 16)));
        assert_eq!(reputation.banned(now), 1);
        for number in 0..2 * WIDE_NETWORK_FAULTS {
            reputation.record_fault(now, None, Ipv4Addr::from_bits(0xc633_6400 | number).into());
        }
        assert!(!reputation.is_address_banned(now, Ipv4Addr::new(198, 51, 100, 255).into()));
    }

    #[test]
    fn one_network_does_not_get_those_around_it_banned() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        let household = |host: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host).into();
        for _ in 0..10 * WIDE_NETWORK_FAULTS {
            reputation.record_fault(now, None, household(1));
        }
        assert!(reputation.is_address_banned(now, household(2)));
        assert!(!reputation.is_address_banned(now, household(1 << 64)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        for number in 0..3 * MAX_RECORDS {
            let address = Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into();
            reputation.record_fault(now, None, address);
        }
        assert!(reputation.lock().addresses.0.len() <= MAX_RECORDS);
    }
}
