//! Limits the rate at which links read: per link, and per address for all its links together, so that opening
//! another link does not raise the limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wormhole_whisper::shh::{
    node::Limits,
    rate::{Bucket, Rate},
};

/// The limits of all links and addresses.
#[derive(Debug)]
pub(super) struct ReadLimits {
    per_link: Rate,
    per_address: Rate,
    addresses: Mutex<HashMap<IpAddr, Arc<Mutex<Bucket>>>>,
}

impl ReadLimits {
    /// Nothing has been read yet.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            per_link: limits.bytes_per_peer,
            per_address: limits.bytes_per_address,
            addresses: Mutex::default(),
        }
    }

    /// The limit of a new link before the handshake is complete.
    pub(super) fn before_handshake(&self, now: Instant) -> ReadLimit {
        ReadLimit { link: Bucket::new(now, self.per_link), address: None }
    }

    /// The limit of a link whose handshake is complete.
    pub(super) fn after_handshake(&self, now: Instant, address: IpAddr) -> ReadLimit {
        let link = Bucket::new(now, self.per_link);
        let mut addresses = lock(&self.addresses);
        if addresses.len() >= MAX_ADDRESSES {
            addresses
                .retain(|_, bucket| Arc::strong_count(bucket) > 1 || lock(bucket).is_charged(now));
        }
        if addresses.len() >= MAX_ADDRESSES {
            // With so many addresses that owe something, all of them start again, so that a flood of
            // addresses takes no more memory.
            addresses.clear();
        }
        let new = || Arc::new(Mutex::new(Bucket::new(now, self.per_address)));
        let address = Arc::clone(addresses.entry(address).or_insert_with(new));
        ReadLimit { link, address: Some(address) }
    }
}

/// The limit of one link.
#[derive(Debug)]
pub(super) struct ReadLimit {
    link: Bucket,
    address: Option<Arc<Mutex<Bucket>>>,
}

impl ReadLimit {
    /// Counts bytes that were read.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize) {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.link.charge(now, bytes);
        if let Some(address) = &self.address {
            lock(address).charge(now, bytes);
        }
    }

    /// Until when nothing more may be read. `None` if reading is allowed.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        let address = self.address.as_ref().and_then(|address| lock(address).settled());
        self.link.settled().max(address)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maximum number of addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn read_limits() -> ReadLimits {
        let mut limits = Limits::default();
        limits.bytes_per_peer = Rate { per_second: 10.0, burst: 100.0 };
        limits.bytes_per_address = Rate { per_second: 20.0, burst: 200.0 };
        ReadLimits::new(&limits)
    }

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn a_new_link_brings_no_new_allowance() {
        let (limits, now) = (read_limits(), Instant::now());
        for _ in 0..2 {
            let mut limit = limits.after_handshake(now, address(1));
            limit.charge(now, 110);
            assert_eq!(limit.blocked_until(), Some(now + Duration::from_secs(1)));
        }
        let third = limits.after_handshake(now, address(1));
        assert_eq!(third.blocked_until(), Some(now + Duration::from_secs(1)));
        assert_eq!(limits.after_handshake(now, address(2)).blocked_until(), None);
        assert_eq!(limits.before_handshake(now).blocked_until(), None);
    }

    #[test]
    fn addresses_that_owe_nothing_are_forgotten_when_there_are_many() {
        let (limits, now) = (read_limits(), Instant::now());
        for number in 0..MAX_ADDRESSES {
            limits.after_handshake(now, address(number)).charge(now, 50 * (number % 2));
        }
        assert_eq!(lock(&limits.addresses).len(), MAX_ADDRESSES);
        drop(limits.after_handshake(now, address(MAX_ADDRESSES)));
        assert_eq!(lock(&limits.addresses).len(), MAX_ADDRESSES / 2 + 1);
        for number in 0..3 * MAX_ADDRESSES {
            limits.after_handshake(now, address(number)).charge(now, 50);
        }
        assert!(lock(&limits.addresses).len() <= MAX_ADDRESSES);
    }
}
