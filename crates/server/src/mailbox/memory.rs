//! How much memory clients may make the server hold: those of one address, and all together.
//!
//! It counts only what clients control: messages that are being read, requests that wait for the
//! store, and answers and messages that wait until the client reads them. One address has a limit, and
//! cannot use more than all others leave free. A link can always use [`ALWAYS`], which is more than an
//! ordinary rendezvous needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::counters::Counters;
use super::hub::Hub;
use crate::limits::Held;

/// The bounds, and what is held by all together. Numbers are in bytes.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    per_address: usize,
    limit: usize,
    held: AtomicUsize,
    /// The most that was held since somebody asked.
    peak: AtomicUsize,
}

/// What one link, inbox or request holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<MemoryBudget>,
    address: Arc<Held>,
    bytes: usize,
}

impl MemoryBudget {
    pub(super) const fn new(per_address: usize, limit: usize) -> Self {
        Self { per_address, limit, held: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// What all clients together hold now.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The most that was held since the last call.
    pub(super) fn take_peak(&self) -> usize {
        self.peak.swap(self.held(), Ordering::Relaxed)
    }
}

impl Share {
    /// A share of nothing yet.
    pub(super) const fn new(budget: Arc<MemoryBudget>, address: Arc<Held>) -> Self {
        Self { budget, address, bytes: 0 }
    }

    /// Another one of the same address, for something that is in memory already.
    pub(super) fn sibling(&self, bytes: usize) -> Self {
        let mut share = Self::new(Arc::clone(&self.budget), Arc::clone(&self.address));
        share.set(bytes);
        share
    }

    /// Whose it is.
    pub(super) const fn address(&self) -> &Arc<Held> {
        &self.address
    }

    /// Counts what is in memory already.
    pub(super) fn set(&mut self, bytes: usize) {
        // Almost always both are nothing, and nothing is to be done.
        let bytes = if bytes <= UNCOUNTED { 0 } else { bytes };
        if bytes > self.bytes {
            self.add(bytes.saturating_sub(self.bytes));
        } else if bytes < self.bytes {
            self.subtract(self.bytes.saturating_sub(bytes));
        }
        self.bytes = bytes;
    }

    /// Makes it `bytes`, if there is room for that and for as much again as `spare`; changes nothing
    /// if not.
    pub(super) fn grow(&mut self, bytes: usize, spare: usize) -> bool {
        let before = self.bytes;
        self.set(bytes);
        let MemoryBudget { per_address, limit, held, .. } = &*self.budget;
        let address = self.address.memory.load(Ordering::Relaxed);
        let all = held.load(Ordering::Relaxed);
        let fits =
            address.saturating_add(spare) <= *per_address && all.saturating_add(address) <= *limit;
        if !fits && bytes > ALWAYS {
            self.set(before);
            return false;
        }
        true
    }

    // These numbers guard no other memory.

    fn add(&self, more: usize) {
        self.address.memory.fetch_add(more, Ordering::Relaxed);
        let held = self.budget.held.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        self.budget.peak.fetch_max(held, Ordering::Relaxed);
    }

    fn subtract(&self, less: usize) {
        self.address.memory.fetch_sub(less, Ordering::Relaxed);
        self.budget.held.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Has memory given back to the system whenever clients have held much more than they do now, or there
/// were many more of them. Never ends.
pub(super) async fn give_back(budget: &MemoryBudget, counters: &Counters, hub: &Hub) {
    let (mut turns, mut most_links) = (0_u8, 0);
    loop {
        tokio::time::sleep(GIVE_BACK_PERIOD).await;
        let (peak, links) = (budget.take_peak(), counters.links());
        most_links = links.max(most_links);
        if peak.saturating_sub(budget.held()) >= WORTH_GIVING_BACK
            || most_links.saturating_sub(links) >= MANY_LINKS
        {
            (turns, most_links) = (TURNS, links);
        }
        if let Some(left) = turns.checked_sub(1) {
            turns = left;
            hub.release_memory();
        }
    }
}

/// How often memory is given back after a peak: what was under way then is freed a little later.
const TURNS: u8 = 3;

/// How often it is looked whether there is memory to give back.
const GIVE_BACK_PERIOD: Duration = Duration::from_secs(2);

/// Freed bytes that justify trimming the heap.
const WORTH_GIVING_BACK: usize = 1 << 20;

/// Links whose memory is worth as much.
const MANY_LINKS: u64 = 256;

/// Bytes that any link may hold at any time: a message of 16 KiB and what goes with it.
pub(super) const ALWAYS: usize = 20 << 10;

/// Bytes that are not worth counting: as much as an idle link takes anyway.
const UNCOUNTED: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn shares<const N: usize>(budget: &Arc<MemoryBudget>) -> [Share; N] {
        let address: Arc<Held> = Arc::default();
        std::array::from_fn(|_| Share::new(Arc::clone(budget), Arc::clone(&address)))
    }

    #[test]
    fn one_address_has_its_part_however_many_links_it_has() {
        let budget = Arc::new(MemoryBudget::new(8 * MIB, 100 * MIB));
        let mut links: [Share; 20] = shares(&budget);
        let granted = links.iter_mut().filter_map(|link| link.grow(MIB, 0).then_some(())).count();
        assert_eq!((granted, budget.held()), (8, 8 * MIB));
        let [mut stranger] = shares(&budget);
        assert!(stranger.grow(8 * MIB, 0), "another address is not affected");
        drop((links, stranger));
        assert_eq!(budget.held(), 0);
        assert_eq!((budget.take_peak(), budget.take_peak()), (16 * MIB, 0));
    }

    #[test]
    fn the_more_addresses_hold_something_the_less_each_gets_but_some_is_always_left() {
        let budget = Arc::new(MemoryBudget::new(8 * MIB, 16 * MIB));
        let mut holders = Vec::new();
        for _ in 0..10 {
            let [mut share] = shares(&budget);
            let got = (0..8 * MIB).step_by(MIB / 64).rev().find(|bytes| share.grow(*bytes, 0));
            holders.push((got.unwrap(), share));
        }
        let got: Vec<usize> = holders.iter().map(|(got, _)| got / (MIB / 64)).collect();
        assert!(got.is_sorted_by(|one, next| one >= next) && got[0] == 511, "{got:?}");
        assert!(budget.held() < 16 * MIB);
        let [mut last] = shares(&budget);
        assert!(last.grow(ALWAYS, 0));
    }

    #[test]
    fn what_must_leave_room_for_others_of_its_address_gets_less() {
        let budget = Arc::new(MemoryBudget::new(8 * MIB, 100 * MIB));
        let [mut one, mut two, mut three] = shares(&budget);
        assert!(one.grow(4 * MIB, 4 * MIB) && !one.grow(5 * MIB, 5 * MIB));
        assert!(two.grow(2 * MIB, 2 * MIB) && !two.grow(3 * MIB, 3 * MIB));
        assert!(!three.grow(2 * MIB, 2 * MIB) && three.grow(MIB, MIB));
        assert_eq!(budget.held(), 7 * MIB);
    }

    #[test]
    fn a_little_is_not_counted_and_always_granted() {
        let budget = Arc::new(MemoryBudget::new(0, 0));
        let [mut one] = shares(&budget);
        assert!(one.grow(UNCOUNTED, 0) && budget.held() == 0);
        assert!(one.grow(ALWAYS, 0) && budget.held() == ALWAYS);
        assert!(!one.grow(ALWAYS + 1, 0) && budget.held() == ALWAYS);
        drop(one);
        assert_eq!(budget.held(), 0);
    }
}
