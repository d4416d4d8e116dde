//! Links that have not shaken hands yet, and how few of them there may be.
//!
//! Whoever opens links and says nothing takes the place of others of its kind: when there is no
//! room, the oldest such link of the same address goes, then the oldest of all. An honest peer
//! needs a fraction of a second, so ten thousand silent links do not keep it out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All links that have not shaken hands yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// In the order in which they came. Dropping the sender sends a link away.
    waiting: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    per_address: HashMap<IpAddr, usize>,
}

impl Pending {
    /// Takes a place, at the expense of the oldest if there is no room.
    pub(super) fn enter(&self, address: IpAddr) -> Place {
        let (keep, evicted) = oneshot::channel();
        let mut places = self.lock();
        if places.per_address.get(&address).is_some_and(|count| *count >= MAX_PER_ADDRESS) {
            let mut waiting = places.waiting.iter();
            let oldest =
                waiting.find(|(_, (other, _))| *other == address).map(|(number, _)| *number);
            oldest.into_iter().for_each(|number| places.leave(number));
        } else if places.waiting.len() >= MAX_PENDING {
            let oldest = places.waiting.keys().next().copied();
            oldest.into_iter().for_each(|number| places.leave(number));
        }
        let number = places.next;
        places.next += 1;
        places.waiting.insert(number, (address, keep));
        *places.per_address.entry(address).or_default() += 1;
        Place { pending: self.clone(), number, evicted }
    }

    /// Number of links.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing in here panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn leave(&mut self, number: u64) {
        let Some((address, _keep)) = self.waiting.remove(&number) else { return };
        if let Some(count) = self.per_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }
}

/// The place of one link, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pending: Pending,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Place {
    /// Waits until somebody else needs the place.
    pub(super) async fn evicted(&mut self) {
        // Nothing is ever sent; the sender is dropped.
        let _dropped = (&mut self.evicted).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pending.lock().leave(self.number);
    }
}

/// Most links that have not shaken hands. Each takes an open file, of which there may be a thousand.
const MAX_PENDING: usize = 256;

/// Most such links of one address.
const MAX_PER_ADDRESS: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;

    use super::*;

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn the_oldest_of_the_same_address_makes_room_first() {
        let pending = Pending::default();
        let mut other = pending.enter(address(1));
        let mut places: Vec<_> = (0..=MAX_PER_ADDRESS).map(|_| pending.enter(address(2))).collect();
        assert_eq!(pending.len(), MAX_PER_ADDRESS + 1);
        assert!(places[0].evicted().now_or_never().is_some());
        assert!(places[1].evicted().now_or_never().is_none());
        assert!(other.evicted().now_or_never().is_none());
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_addresses_differ() {
        let pending = Pending::default();
        let mut places: Vec<_> = (0..10_000).map(|number| pending.enter(address(number))).collect();
        assert_eq!(pending.len(), MAX_PENDING);
        let stay = places.split_off(10_000 - MAX_PENDING);
        assert!(places.iter_mut().all(|place| place.evicted().now_or_never().is_some()));
        drop(stay);
        assert_eq!(pending.len(), 0);
        assert!(pending.lock().per_address.is_empty());
    }
}
