//! Limits the number of connections of admitted clients, in total and per network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};

/// The connection slots of a listener.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

impl Places {
    /// Allows this many open connections.
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Takes a slot, unless all slots, or all slots for this network, are taken.
    fn take(&self, network: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        let of_network = taken.get(&network).copied().unwrap_or_default();
        let for_others = self.most / FOR_OTHERS;
        if taken.values().sum::<usize>() >= self.most || of_network >= self.most - for_others {
            return None;
        }
        *taken.entry(network).or_default() += 1;
        Some(Place { places: self.clone(), network })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of one connection. Dropping it frees the slot.
#[derive(Debug)]
struct Place {
    places: Places,
    network: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// A connection, and its slot once one of its requests was admitted.
#[derive(Debug)]
pub(super) struct Seat {
    places: Places,
    /// The network of the client.
    pub(super) network: IpAddr,
    place: OnceLock<Place>,
    taken: Notify,
    _alive: mpsc::Sender<()>,
}

impl Seat {
    pub(super) fn new(places: Places, network: IpAddr, alive: mpsc::Sender<()>) -> Self {
        Self { places, network, place: OnceLock::new(), taken: Notify::new(), _alive: alive }
    }

    /// Takes a slot if the connection has none yet. Returns whether it has one now.
    pub(super) fn take(&self) -> bool {
        if self.place.get().is_some() {
            return true;
        }
        let Some(place) = self.places.take(self.network) else { return false };
        // A connection handles one request at a time, so nothing else sets it.
        let _first = self.place.set(place);
        self.taken.notify_one();
        true
    }

    /// Waits until the connection has taken a slot.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }
}

/// One network leaves one in this many slots to other networks.
const FOR_OTHERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_leaves_slots_to_others() {
        let places = Places::new(8);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let mut of_one: Vec<_> = std::iter::from_fn(|| places.take(one)).collect();
        assert_eq!(of_one.len(), 6);
        let of_other: Vec<_> = std::iter::from_fn(|| places.take(other)).collect();
        assert_eq!(of_other.len(), 2);
        of_one.pop();
        assert!(places.take(one).is_some() && places.lock().len() == 2);
        drop((of_one, of_other));
        assert!(places.lock().is_empty());
    }

    #[test]
    fn a_single_slot_can_be_taken() {
        let places = Places::new(1);
        let place = places.take([192, 0, 2, 1].into());
        assert!(place.is_some() && places.take([192, 0, 2, 2].into()).is_none());
    }
}
