//! Whom not to talk to for a while.
//!
//! A node that breaks the protocol is banned by its name, longer each time. Names cost nothing, so
//! its address is remembered too (of IPv6 the part that a household has), and banned once enough has
//! come from there; a single bad node in a large household does not lock the household out. Some have a
//! thousand such parts, so the network around them is banned once it is enough for three of them.
//! What is on this machine could do worse and is banned by name alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};
use wormhole_whisper::devp2p::key::NodeId;

/// What nodes and addresses have done lately.
#[derive(Debug, Default)]
pub(in crate::node) struct Reputation {
    nodes: Records<NodeId>,
    addresses: Records<IpAddr>,
    /// By wider network of IPv6.
    wide_networks: Records<IpAddr>,
}

impl Reputation {
    /// Somebody there broke the protocol. `id` is known only after the handshake. Returns how long
    /// the node, if it is known, or else the address, is banned.
    pub(in crate::node) fn record_fault(
        &mut self,
        now: Instant,
        id: Option<NodeId>,
        address: IpAddr,
    ) -> Option<Duration> {
        let node = id.map(|id| self.nodes.record_fault(now, id, NODE_FAULTS));
        if address.to_canonical().is_loopback() {
            return node.flatten();
        }
        let address = network(address);
        let household = self.addresses.record_fault(now, address, ADDRESS_FAULTS);
        // What an address does beyond its own ban is not its neighbours' fault.
        let counts = self.addresses.faults(&address) <= ADDRESS_FAULTS;
        let wide_network = wide_network(address).filter(|_| counts);
        let wide_network =
            wide_network.map(|it| self.wide_networks.record_fault(now, it, WIDE_NETWORK_FAULTS));
        node.flatten().max(household).max(wide_network.flatten())
    }

    /// Whether a node is banned.
    pub(in crate::node) fn is_node_banned(&self, now: Instant, id: &NodeId) -> bool {
        self.nodes.is_banned(now, id)
    }

    /// Whether an address is banned.
    pub(in crate::node) fn is_address_banned(&self, now: Instant, address: IpAddr) -> bool {
        self.addresses.is_banned(now, &network(address))
            || wide_network(address).is_some_and(|it| self.wide_networks.is_banned(now, &it))
    }

    /// Forgives a node, because whoever runs us asks for it.
    pub(in crate::node) fn unban_node(&mut self, id: &NodeId) {
        self.nodes.0.remove(id);
    }

    /// How many nodes, addresses and wider networks are banned.
    pub(in crate::node) fn banned(&self, now: Instant) -> usize {
        self.nodes.banned(now) + self.addresses.banned(now) + self.wide_networks.banned(now)
    }
}

/// The wider network of an IPv6 address. An IPv4 address has none but itself.
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

/// What one has done.
#[derive(Clone, Copy, Debug)]
struct Record {
    faults: u32,
    last: Instant,
    until: Option<Instant>,
}

impl<K: Copy + Eq + Hash> Records<K> {
    /// Counts a fault; bans from the `allowed`-th on, twice as long each time.
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

    /// Forgets what is long ago; if that is nothing, everything: a flood of names must not cost
    /// more than that.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, record| now.saturating_duration_since(record.last) < MEMORY);
        if self.0.len() >= MAX_RECORDS {
            self.0.clear();
        }
    }
}

/// Faults from which on a node is banned.
const NODE_FAULTS: u32 = 1;

/// Faults from which on an address is banned.
const ADDRESS_FAULTS: u32 = 20;

/// Faults from which on a wider network is banned.
const WIDE_NETWORK_FAULTS: u32 = 3 * ADDRESS_FAULTS;

/// How long a ban lasts the first time.
const FIRST_BAN: Duration = Duration::from_secs(60);

/// How long a ban lasts at most.
const LONGEST_BAN: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a fault is remembered after the last one.
const MEMORY: Duration = Duration::from_secs(25 * 60 * 60);

/// Most nodes, most addresses and most wider networks that are remembered.
const MAX_RECORDS: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    const BAD: NodeId = NodeId([1; 64]);

    #[test]
    fn a_node_is_banned_at_once_and_longer_each_time() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
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
    fn an_address_is_banned_once_enough_has_come_from_there() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
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
    fn another_address_of_the_same_household_does_not_escape() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
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
    fn whoever_has_many_ipv6_networks_does_not_escape_by_another_one() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
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
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let household = |host: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host).into();
        for _ in 0..10 * WIDE_NETWORK_FAULTS {
            reputation.record_fault(now, None, household(1));
        }
        assert!(reputation.is_address_banned(now, household(2)));
        assert!(!reputation.is_address_banned(now, household(1 << 64)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        for number in 0..3 * MAX_RECORDS {
            let address = Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into();
            reputation.record_fault(now, None, address);
        }
        assert!(reputation.addresses.0.len() <= MAX_RECORDS);
    }
}
