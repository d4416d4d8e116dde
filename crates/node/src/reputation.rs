//! Whom not to talk to for a while.
//!
//! A node that breaks the protocol is banned by its name, longer each time. Names cost nothing, so
//! its address is remembered too (of IPv6 the part that a household has), and banned once enough has
//! come from there; a single bad node in a large house does not lock the house out. Some have a
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
pub(super) struct Reputation {
    nodes: Records<NodeId>,
    addresses: Records<IpAddr>,
    /// By wider network of IPv6.
    districts: Records<IpAddr>,
}

impl Reputation {
    /// Somebody there broke the protocol. `id` is known only after the handshake. Returns how long
    /// the node, if it is known, or else the address, is banned.
    pub(super) fn blame(
        &mut self,
        now: Instant,
        id: Option<NodeId>,
        address: IpAddr,
    ) -> Option<Duration> {
        let node = id.map(|id| self.nodes.blame(now, id, NODE_FAULTS));
        if address.to_canonical().is_loopback() {
            return node.flatten();
        }
        let address = network(address);
        let house = self.addresses.blame(now, address, ADDRESS_FAULTS);
        // What an address does beyond its own ban is not its neighbours' fault.
        let counts = self.addresses.faults(&address) <= ADDRESS_FAULTS;
        let district = district(address).filter(|_| counts);
        let district = district.map(|it| self.districts.blame(now, it, DISTRICT_FAULTS));
        node.flatten().max(house).max(district.flatten())
    }

    /// Whether a node is banned.
    pub(super) fn bans_node(&self, now: Instant, id: &NodeId) -> bool {
        self.nodes.is_banned(now, id)
    }

    /// Whether an address is banned.
    pub(super) fn bans_address(&self, now: Instant, address: IpAddr) -> bool {
        self.addresses.is_banned(now, &network(address))
            || district(address).is_some_and(|it| self.districts.is_banned(now, &it))
    }

    /// Forgives a node, because whoever runs us asks for it.
    pub(super) fn pardon(&mut self, id: &NodeId) {
        self.nodes.0.remove(id);
    }

    /// How many nodes, addresses and wider networks are banned.
    pub(super) fn banned(&self, now: Instant) -> usize {
        self.nodes.banned(now) + self.addresses.banned(now) + self.districts.banned(now)
    }
}

/// The wider network of an IPv6 address. An IPv4 address has none but itself.
fn district(address: IpAddr) -> Option<IpAddr> {
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
    fn blame(&mut self, now: Instant, key: K, allowed: u32) -> Option<Duration> {
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
const DISTRICT_FAULTS: u32 = 3 * ADDRESS_FAULTS;

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
        assert_eq!(reputation.blame(now, Some(BAD), ADDRESS), Some(FIRST_BAN));
        assert!(reputation.bans_node(now, &BAD) && !reputation.bans_address(now, ADDRESS));
        let later = now + FIRST_BAN;
        assert!(!reputation.bans_node(later, &BAD));
        assert_eq!(reputation.blame(later, Some(BAD), ADDRESS), Some(2 * FIRST_BAN));
        reputation.pardon(&BAD);
        assert!(!reputation.bans_node(later, &BAD));
        assert_eq!(reputation.banned(later), 0);
    }

    #[test]
    fn an_address_is_banned_once_enough_has_come_from_there() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let mapped = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().into();
        for _ in 1..ADDRESS_FAULTS {
            assert_eq!(reputation.blame(now, None, mapped), None);
        }
        assert!(reputation.blame(now, None, ADDRESS).is_some());
        assert!(reputation.bans_address(now, ADDRESS) && reputation.bans_address(now, mapped));
        assert!(!reputation.bans_address(now, Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn another_address_of_the_same_household_does_not_escape() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let house = |host| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host).into();
        (0..u128::from(ADDRESS_FAULTS)).for_each(|host| {
            reputation.blame(now, None, house(host));
        });
        assert!(reputation.bans_address(now, house(12_345)));
        assert!(!reputation.bans_address(now, house(1 << 64)));
        for _ in 0..2 * ADDRESS_FAULTS {
            reputation.blame(now, None, Ipv6Addr::LOCALHOST.into());
        }
        assert!(!reputation.bans_address(now, Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn whoever_has_many_ipv6_networks_does_not_escape_by_another_one() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let house = |net: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | net << 64).into();
        for net in 1..u128::from(DISTRICT_FAULTS) {
            assert_eq!(reputation.blame(now, None, house(net)), None);
        }
        assert!(!reputation.bans_address(now, house(12_345)));
        assert_eq!(reputation.blame(now, None, house(0)), Some(FIRST_BAN));
        assert!(reputation.bans_address(now, house(12_345)));
        assert!(!reputation.bans_address(now, house(1 << 16)));
        assert_eq!(reputation.banned(now), 1);
        for number in 0..2 * DISTRICT_FAULTS {
            reputation.blame(now, None, Ipv4Addr::from_bits(0xc633_6400 | number).into());
        }
        assert!(!reputation.bans_address(now, Ipv4Addr::new(198, 51, 100, 255).into()));
    }

    #[test]
    fn one_network_does_not_get_those_around_it_banned() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let house = |host: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host).into();
        for _ in 0..10 * DISTRICT_FAULTS {
            reputation.blame(now, None, house(1));
        }
        assert!(reputation.bans_address(now, house(2)));
        assert!(!reputation.bans_address(now, house(1 << 64)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        for number in 0..3 * MAX_RECORDS {
            let address = Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into();
            reputation.blame(now, None, address);
        }
        assert!(reputation.addresses.0.len() <= MAX_RECORDS);
    }
}
