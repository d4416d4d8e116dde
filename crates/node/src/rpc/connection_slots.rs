//! Limits the number of connections of admitted clients, in total and per network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};

/// The connection slots of a listener.
#[derive(Clone, Debug)]
pub(super) struct ConnectionSlots {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

impl ConnectionSlots {
    /// Allows this many open connections.
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Takes a slot, unless all slots, or all slots for this network, are taken.
    fn take(&self, network: IpAddr) -> Option<ConnectionSlot> {
        let mut taken = self.lock();
        let of_network = taken.get(&network).copied().unwrap_or_default();
        let for_others = self.most / FOR_OTHERS;
        if taken.values().sum::<usize>() >= self.most || of_network >= self.most - for_others {
            return None;
        }
        *taken.entry(network).or_default() += 1;
        Some(ConnectionSlot { slots: self.clone(), network })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of one connection. Dropping it frees the slot.
#[derive(Debug)]
struct ConnectionSlot {
    slots: ConnectionSlots,
    network: IpAddr,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
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
pub(super) struct ClientConnection {
    slots: ConnectionSlots,
    /// The network of the client.
    pub(super) network: IpAddr,
    slot: OnceLock<ConnectionSlot>,
    taken: Notify,
    _alive: mpsc::Sender<()>,
}

impl ClientConnection {
    pub(super) fn new(slots: ConnectionSlots, network: IpAddr, alive: mpsc::Sender<()>) -> Self {
        Self { slots, network, slot: OnceLock::new(), taken: Notify::new(), _alive: alive }
    }

    /// Takes a slot if the connection has none yet. Returns whether it has one now.
    pub(super) fn take(&self) -> bool {
        if self.slot.get().is_some() {
            return true;
        }
        let Some(slot) = self.slots.take(self.network) else { return false };
        // A connection handles one request at a time, so nothing else sets it.
        let _first = self.slot.set(slot);
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
        let slots = ConnectionSlots::new(8);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let mut of_one: Vec<_> = std::iter::from_fn(|| slots.take(one)).collect();
        assert_eq!(of_one.len(), 6);
        let of_other: Vec<_> = std::iter::from_fn(|| slots.take(other)).collect();
        assert_eq!(of_other.len(), 2);
        of_one.pop();
        assert!(slots.take(one).is_some() && slots.lock().len() == 2);
        drop((of_one, of_other));
        assert!(slots.lock().is_empty());
    }

    #[test]
    fn a_single_slot_can_be_taken() {
        let slots = ConnectionSlots::new(1);
        let slot = slots.take([192, 0, 2, 1].into());
        assert!(slot.is_some() && slots.take([192, 0, 2, 2].into()).is_none());
    }
}
