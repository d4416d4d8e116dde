//! How much links may read: each for itself, and all links of an address together, so that nobody
//! begins anew with a new link.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wormhole_whisper::shh::{
    node::Limits,
    rate::{Bucket, Rate},
};

/// What every link and every address may read.
#[derive(Debug)]
pub(super) struct ReadLimits {
    per_link: Rate,
    per_address: Rate,
    addresses: Mutex<HashMap<IpAddr, Arc<Mutex<Bucket>>>>,
}

impl ReadLimits {
    /// Nobody has read anything.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            per_link: limits.bytes_per_peer,
            per_address: limits.bytes_per_address,
            addresses: Mutex::default(),
        }
    }

    /// What a new link may read that has not shaken hands.
    pub(super) fn of_stranger(&self, now: Instant) -> ReadLimit {
        ReadLimit { link: Bucket::new(now, self.per_link), address: None }
    }

    /// What a link may read whose handshake is over.
    pub(super) fn of_address(&self, now: Instant, address: IpAddr) -> ReadLimit {
        let link = Bucket::new(now, self.per_link);
        let mut addresses = lock(&self.addresses);
        if addresses.len() >= MAX_ADDRESSES {
            addresses.retain(|_, bucket| Arc::strong_count(bucket) > 1 || lock(bucket).owes(now));
        }
        if addresses.len() >= MAX_ADDRESSES {
            // A flood of addresses must not cost more than that some begin anew.
            addresses.clear();
        }
        let new = || Arc::new(Mutex::new(Bucket::new(now, self.per_address)));
        let address = Arc::clone(addresses.entry(address).or_insert_with(new));
        ReadLimit { link, address: Some(address) }
    }
}

/// What one link may read.
#[derive(Debug)]
pub(super) struct ReadLimit {
    link: Bucket,
    address: Option<Arc<Mutex<Bucket>>>,
}

impl ReadLimit {
    /// So much was read.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize) {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.link.charge(now, bytes);
        if let Some(address) = &self.address {
            lock(address).charge(now, bytes);
        }
    }

    /// Until when nothing more may be read; `None` if it may.
    pub(super) fn settled(&self) -> Option<Instant> {
        let address = self.address.as_ref().and_then(|address| lock(address).settled());
        self.link.settled().max(address)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn budgets() -> ReadLimits {
        let mut limits = Limits::default();
        limits.bytes_per_peer = Rate { per_second: 10.0, burst: 100.0 };
        limits.bytes_per_address = Rate { per_second: 20.0, burst: 200.0 };
        ReadLimits::new(&limits)
    }

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn a_new_link_does_not_begin_anew() {
        let (budgets, now) = (budgets(), Instant::now());
        for _ in 0..2 {
            let mut budget = budgets.of_address(now, address(1));
            budget.charge(now, 110);
            assert_eq!(budget.settled(), Some(now + Duration::from_secs(1)));
        }
        let third = budgets.of_address(now, address(1));
        assert_eq!(third.settled(), Some(now + Duration::from_secs(1)));
        assert_eq!(budgets.of_address(now, address(2)).settled(), None);
        assert_eq!(budgets.of_stranger(now).settled(), None);
    }

    #[test]
    fn an_address_that_owes_nothing_is_forgotten_when_there_are_many() {
        let (budgets, now) = (budgets(), Instant::now());
        for number in 0..MAX_ADDRESSES {
            budgets.of_address(now, address(number)).charge(now, 50 * (number % 2));
        }
        assert_eq!(lock(&budgets.addresses).len(), MAX_ADDRESSES);
        drop(budgets.of_address(now, address(MAX_ADDRESSES)));
        assert_eq!(lock(&budgets.addresses).len(), MAX_ADDRESSES / 2 + 1);
        for number in 0..3 * MAX_ADDRESSES {
            budgets.of_address(now, address(number)).charge(now, 50);
        }
        assert!(lock(&budgets.addresses).len() <= MAX_ADDRESSES);
    }
}
