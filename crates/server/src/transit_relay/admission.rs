//! How many links may be open, altogether and from one address.
//!
//! Addresses are not kept: a link is counted under a keyed hash of its address whose key lives in
//! memory alone and is replaced every day, so nothing here can be matched with anything later.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts links and says when there are enough.
#[derive(Debug)]
pub(super) struct Admission {
    per_address: u32,
    altogether: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    altogether: u32,
    per_address: HashMap<AddressHash, u32>,
    generation: Generation,
}

/// The key in use and since when.
#[derive(Debug)]
struct Generation {
    key: RandomState,
    since: Instant,
}

/// What is left of an address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct AddressHash(u64);

/// A link's place in the counts; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Pass {
    admission: Arc<Admission>,
    address: AddressHash,
}

impl Admission {
    /// Admits `per_address` links of one address and `altogether`; 0 is any number.
    pub(super) fn new(per_address: u32, altogether: u32) -> Self {
        let generation = Generation { key: RandomState::new(), since: Instant::now() };
        let counts = Counts { altogether: 0, per_address: HashMap::new(), generation };
        Self { per_address, altogether, counts: Mutex::new(counts) }
    }

    /// Admits a link, if there is room.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |count: u32, limit: u32| limit > 0 && count >= limit;
        if full(counts.altogether, self.altogether) {
            return None;
        }
        let address = counts.generation.hash(address, now);
        let count = counts.per_address.get(&address).copied().unwrap_or_default();
        if full(count, self.per_address) {
            return None;
        }
        counts.per_address.insert(address, count + 1);
        counts.altogether += 1;
        Some(Pass { admission: Arc::clone(self), address })
    }
}

impl Generation {
    /// Hashes an address, with a new key when the old one has served its time.
    ///
    /// Links counted under the old key are forgotten with their last one; until then an address may
    /// have its number of links once more.
    fn hash(&mut self, address: IpAddr, now: Instant) -> AddressHash {
        if now.saturating_duration_since(self.since) >= KEY_LIFE {
            *self = Self { key: RandomState::new(), since: now };
        }
        AddressHash(self.key.hash_one(network(address)))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.altogether = counts.altogether.saturating_sub(1);
        if let Some(count) = counts.per_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.per_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: IPv4 whole, IPv6 without the half that a household gives itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// How long one key serves.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_number_of_links_and_others_have_theirs() {
        let (admission, now) = (Arc::new(Admission::new(2, 0)), Instant::now());
        let first = admission.admit(address("192.0.2.1"), now);
        let _second = admission.admit(address("::ffff:192.0.2.1"), now).unwrap();
        assert!(admission.admit(address("192.0.2.1"), now).is_none());
        assert!(admission.admit(address("192.0.2.2"), now).is_some());
        drop(first);
        assert!(admission.admit(address("192.0.2.1"), now).is_some());
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let (admission, now) = (Arc::new(Admission::new(1, 0)), Instant::now());
        let _first = admission.admit(address("2001:db8::1"), now).unwrap();
        assert!(admission.admit(address("2001:db8::ffff:0:0:2"), now).is_none());
        assert!(admission.admit(address("2001:db8:0:1::1"), now).is_some());
    }

    #[test]
    fn all_addresses_together_have_a_limit_too() {
        let (admission, now) = (Arc::new(Admission::new(0, 1)), Instant::now());
        let first = admission.admit(address("192.0.2.1"), now).unwrap();
        assert!(admission.admit(address("192.0.2.2"), now).is_none());
        drop(first);
        assert!(admission.admit(address("192.0.2.2"), now).is_some());
    }

    #[test]
    fn nothing_is_kept_of_an_address_without_links_nor_beyond_a_day() {
        let (admission, now) = (Arc::new(Admission::new(1, 0)), Instant::now());
        let yesterday = admission.admit(address("192.0.2.1"), now).unwrap();
        let today = admission.admit(address("192.0.2.1"), now + KEY_LIFE).unwrap();
        drop((yesterday, today));
        assert!(admission.counts.lock().unwrap().per_address.is_empty());
    }
}
