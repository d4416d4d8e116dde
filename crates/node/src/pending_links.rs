//! Limits the number of links that have not completed their handshake.
//!
//! An attacker could open many links and send nothing. So a new link always gets a slot: if its address has
//! too many such links, the oldest of them is closed; otherwise, if all slots are in use, the oldest link of
//! the network with the most such links is closed. An honest peer completes its handshake in a fraction of a
//! second, so ten thousand silent links do not keep it out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use wormhole_kit::{network, wider_network};

/// All links that have not shaken hands yet.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingLinks(Arc<Mutex<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    next: u64,
    /// In the order in which they were opened.
    waiting: BTreeMap<u64, Waiting>,
    per_address: HashMap<IpAddr, usize>,
    per_wider_network: HashMap<IpAddr, usize>,
}

/// A link that has not shaken hands yet.
#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    wider: IpAddr,
    /// Dropping it closes the link.
    _keep: oneshot::Sender<()>,
}

impl PendingLinks {
    /// Takes a slot. If there is no room, the oldest link of the network with the most such links loses its
    /// slot.
    pub(super) fn enter(&self, address: IpAddr) -> PendingSlot {
        let (keep, evicted) = oneshot::channel();
        let (address, wider) = (network(address), wider_network(address));
        let mut slots = self.lock();
        if let Some(number) = slots.find_victim(address, wider) {
            slots.leave(number);
        }
        let number = slots.next;
        slots.next += 1;
        slots.waiting.insert(number, Waiting { address, wider, _keep: keep });
        *slots.per_address.entry(address).or_default() += 1;
        *slots.per_wider_network.entry(wider).or_default() += 1;
        PendingSlot { pending: self.clone(), number, evicted }
    }

    /// Number of links.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Nothing in here panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// The link to evict if there is no room for another link from this address; `None` if there is room.
    /// Takes time proportional to the number of links.
    fn find_victim(&self, address: IpAddr, wider: IpAddr) -> Option<u64> {
        let of_address = count(&self.per_address, &address) >= MAX_PER_ADDRESS;
        let of_wider =
            count(&self.per_wider_network, &wider) >= WIDER_NETWORK_FACTOR * MAX_PER_ADDRESS;
        if !of_address && !of_wider && self.waiting.len() < MAX_PENDING {
            return None;
        }
        let may_go = |it: &Waiting| {
            (!of_address || it.address == address) && (!of_wider || it.wider == wider)
        };
        let waiting = self.waiting.iter().filter(|(_, it)| may_go(it));
        let first = waiting.max_by_key(|(number, it)| (self.link_counts(it), Reverse(**number)));
        first.map(|(number, _)| *number)
    }

    /// The number of links from the same wider network and from the same address, including this one.
    fn link_counts(&self, it: &Waiting) -> (usize, usize) {
        (count(&self.per_wider_network, &it.wider), count(&self.per_address, &it.address))
    }

    fn leave(&mut self, number: u64) {
        let Some(Waiting { address, wider, .. }) = self.waiting.remove(&number) else { return };
        decrement(&mut self.per_address, &address);
        decrement(&mut self.per_wider_network, &wider);
    }
}

fn count(of: &HashMap<IpAddr, usize>, key: &IpAddr) -> usize {
    of.get(key).copied().unwrap_or_default()
}

fn decrement(of: &mut HashMap<IpAddr, usize>, key: &IpAddr) {
    if let Some(count) = of.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            of.remove(key);
        }
    }
}

/// The slot of one link, until it is dropped.
#[derive(Debug)]
pub(super) struct PendingSlot {
    pending: PendingLinks,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl PendingSlot {
    /// Waits until another link takes the slot: then this link must be closed.
    pub(super) async fn evicted(&mut self) {
        // Nothing is ever sent; the sender is dropped.
        let _dropped = (&mut self.evicted).await;
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        self.pending.lock().leave(self.number);
    }
}

/// Maximum number of links that have not shaken hands. Each takes an open file, of which there may be a thousand.
const MAX_PENDING: usize = 256;

/// Maximum number of links of one address that have not completed their handshake.
const MAX_PER_ADDRESS: usize = 64;

/// A wider network (IPv6) may have this many times as many links as one address. For IPv4, both are the same.
const WIDER_NETWORK_FACTOR: usize = 2;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use futures_util::FutureExt;

    use super::*;

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn the_oldest_of_the_same_address_makes_room_first() {
        let pending = PendingLinks::default();
        let mut other = pending.enter(address(1));
        let mut slots: Vec<_> = (0..=MAX_PER_ADDRESS).map(|_| pending.enter(address(2))).collect();
        assert_eq!(pending.len(), MAX_PER_ADDRESS + 1);
        assert!(slots[0].evicted().now_or_never().is_some());
        assert!(slots[1].evicted().now_or_never().is_none());
        assert!(other.evicted().now_or_never().is_none());
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_addresses_differ() {
        let pending = PendingLinks::default();
        let mut slots: Vec<_> = (0..10_000).map(|number| pending.enter(address(number))).collect();
        assert_eq!(pending.len(), MAX_PENDING);
        let stay = slots.split_off(10_000 - MAX_PENDING);
        assert!(slots.iter_mut().all(|slot| slot.evicted().now_or_never().is_some()));
        drop(stay);
        assert_eq!(pending.len(), 0);
        let slots = pending.lock();
        assert!(slots.per_address.is_empty() && slots.per_wider_network.is_empty());
    }

    /// One of the networks of one customer.
    fn house(number: usize) -> IpAddr {
        let net = u128::try_from(number).unwrap() << 64;
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | net).into()
    }

    #[test]
    fn addresses_that_fill_all_slots_evict_only_their_own_links() {
        let pending = PendingLinks::default();
        let mut honest = pending.enter(address(99));
        let mut silent: Vec<_> =
            (0..10_000).map(|number| pending.enter(address(number % 5))).collect();
        assert_eq!(pending.len(), MAX_PENDING);
        assert!(honest.evicted().now_or_never().is_none());
        assert!(silent[0].evicted().now_or_never().is_some());
    }

    #[test]
    fn whoever_has_many_ipv6_networks_sends_none_but_its_own_away() {
        let pending = PendingLinks::default();
        let mut honest: Vec<_> = (0..200).map(|number| pending.enter(address(number))).collect();
        let mut silent: Vec<_> = (0..10_000).map(|number| pending.enter(house(number))).collect();
        assert_eq!(pending.len(), MAX_PENDING);
        assert!(honest.iter_mut().all(|slot| slot.evicted().now_or_never().is_none()));
        assert!(silent[0].evicted().now_or_never().is_some());
        drop(honest);
        silent.extend((0..10_000).map(|number| pending.enter(house(number))));
        assert_eq!(pending.len(), WIDER_NETWORK_FACTOR * MAX_PER_ADDRESS);
    }
}
