//! Limits the memory that a service uses for clients: for the clients of one address, and for all clients together.
//!
//! It counts only data that clients control: messages that are being received, requests that wait for the store, and
//! answers and messages that wait until the client reads them. The memory of one address has a fixed limit. It also
//! must not exceed the memory that is still free for all clients. Each link can always use [`GUARANTEED`] bytes, more
//! than an ordinary exchange needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::AddressUsage;

/// The memory limits, and the memory in use for all clients together. All numbers are in bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    per_address: usize,
    limit: usize,
    used: AtomicUsize,
    /// The maximum of `used` since the last call of [`MemoryBudget::take_peak`].
    peak: AtomicUsize,
}

/// The memory of one link, inbox or request. Dropping it subtracts its bytes.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<MemoryBudget>,
    address: Arc<AddressUsage>,
    bytes: usize,
}

impl MemoryBudget {
    pub(crate) const fn new(per_address: usize, limit: usize) -> Self {
        Self { per_address, limit, used: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// The memory in use for all clients together.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The maximum of [`MemoryBudget::used`] since the last call.
    pub(crate) fn take_peak(&self) -> usize {
        self.peak.swap(self.used(), Ordering::Relaxed)
    }
}

impl Share {
    /// Creates an empty share.
    pub(crate) const fn new(budget: Arc<MemoryBudget>, address: Arc<AddressUsage>) -> Self {
        Self { budget, address, bytes: 0 }
    }

    /// Creates another share of the same address, for `bytes` that are already in use.
    pub(crate) fn for_same_address(&self, bytes: usize) -> Self {
        let mut share = Self::new(Arc::clone(&self.budget), Arc::clone(&self.address));
        share.set(bytes);
        share
    }

    /// The address that is charged.
    pub(crate) const fn address(&self) -> &Arc<AddressUsage> {
        &self.address
    }

    /// Sets the size of this share. It never fails, because the memory is already in use.
    pub(crate) fn set(&mut self, bytes: usize) {
        // Almost always, the old and the new size are 0, and no counter changes.
        let bytes = if bytes <= UNCOUNTED { 0 } else { bytes };
        if bytes > self.bytes {
            self.add(bytes.saturating_sub(self.bytes));
        } else if bytes < self.bytes {
            self.subtract(self.bytes.saturating_sub(bytes));
        }
        self.bytes = bytes;
    }

    /// Changes the size of this share to `bytes` and returns true if the address then has `spare` more bytes free, and
    /// does not use more than what is free for all clients. Up to [`GUARANTEED`] bytes are always allowed. Otherwise,
    /// changes nothing and returns false.
    pub(crate) fn try_resize(&mut self, bytes: usize, spare: usize) -> bool {
        let before = self.bytes;
        self.set(bytes);
        let MemoryBudget { per_address, limit, used, .. } = &*self.budget;
        let address = self.address.memory.load(Ordering::Relaxed);
        let all = used.load(Ordering::Relaxed);
        let fits =
            address.saturating_add(spare) <= *per_address && all.saturating_add(address) <= *limit;
        if !fits && bytes > GUARANTEED {
            self.set(before);
            return false;
        }
        true
    }

    // `Relaxed` is enough: no other memory is read depending on these numbers.

    fn add(&self, more: usize) {
        self.address.memory.fetch_add(more, Ordering::Relaxed);
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        self.budget.peak.fetch_max(used, Ordering::Relaxed);
    }

    fn subtract(&self, less: usize) {
        self.address.memory.fetch_sub(less, Ordering::Relaxed);
        self.budget.used.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Number of bytes that every link may always use: enough for a message of 16 KiB and its overhead.
pub(crate) const GUARANTEED: usize = 20 << 10;

/// Shares up to this number of bytes count as empty: an idle link needs about as much anyway.
pub(crate) const UNCOUNTED: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn shares<const N: usize>(budget: &Arc<MemoryBudget>) -> [Share; N] {
        let address: Arc<AddressUsage> = Arc::default();
        std::array::from_fn(|_| Share::new(Arc::clone(budget), Arc::clone(&address)))
    }

    #[test]
    fn one_address_has_one_limit_for_all_its_links() {
        let budget = Arc::new(MemoryBudget::new(8 * MIB, 100 * MIB));
        let mut links: [Share; 20] = shares(&budget);
        let granted =
            links.iter_mut().filter_map(|link| link.try_resize(MIB, 0).then_some(())).count();
        assert_eq!((granted, budget.used()), (8, 8 * MIB));
        let [mut stranger] = shares(&budget);
        assert!(stranger.try_resize(8 * MIB, 0), "another address is not affected");
        drop((links, stranger));
        assert_eq!(budget.used(), 0);
        assert_eq!((budget.take_peak(), budget.take_peak()), (16 * MIB, 0));
    }

    #[test]
    fn each_new_address_gets_less_memory_but_never_less_than_the_guaranteed_bytes() {
        let budget = Arc::new(MemoryBudget::new(8 * MIB, 16 * MIB));
        let mut shares_of_addresses = Vec::new();
        for _ in 0..10 {
            let [mut share] = shares(&budget);
            let got =
                (0..8 * MIB).step_by(MIB / 64).rev().find(|bytes| share.try_resize(*bytes, 0));
            shares_of_addresses.push((got.unwrap(), share));
        }
        let got: Vec<usize> = shares_of_addresses.iter().map(|(got, _)| got / (MIB / 64)).collect();
        assert!(got.is_sorted_by(|one, next| one >= next) && got[0] == 511, "{got:?}");
        assert!(budget.used() < 16 * MIB);
        let [mut last] = shares(&budget);
        assert!(last.try_resize(GUARANTEED, 0));
    }

    #[test]
    fn a_share_that_must_leave_bytes_free_for_its_address_gets_less() {
        let budget = Arc::new(MemoryBudget::new(8 * MIB, 100 * MIB));
        let [mut one, mut two, mut three] = shares(&budget);
        assert!(one.try_resize(4 * MIB, 4 * MIB) && !one.try_resize(5 * MIB, 5 * MIB));
        assert!(two.try_resize(2 * MIB, 2 * MIB) && !two.try_resize(3 * MIB, 3 * MIB));
        assert!(!three.try_resize(2 * MIB, 2 * MIB) && three.try_resize(MIB, MIB));
        assert_eq!(budget.used(), 7 * MIB);
    }

    #[test]
    fn small_shares_are_not_counted_and_guaranteed_bytes_are_always_allowed() {
        let budget = Arc::new(MemoryBudget::new(0, 0));
        let [mut one] = shares(&budget);
        assert!(one.try_resize(UNCOUNTED, 0) && budget.used() == 0);
        assert!(one.try_resize(GUARANTEED, 0) && budget.used() == GUARANTEED);
        assert!(!one.try_resize(GUARANTEED + 1, 0) && budget.used() == GUARANTEED);
        drop(one);
        assert_eq!(budget.used(), 0);
    }
}
