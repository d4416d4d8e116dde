//! How much one address may do: open links, claims per minute, messages per minute.
//!
//! Addresses are not kept. What is counted is counted under a keyed hash whose key lives in memory
//! alone and is replaced every day together with the counts, so nothing here can be matched with
//! anything later. There is no clock here; time is an argument.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What an address may do. 0 is without limit, everywhere.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Allowance {
    /// Links open at the same time.
    pub(crate) links: u32,
    /// Nameplates allocated or claimed per minute.
    pub(crate) claims: u32,
    /// Messages added per minute.
    pub(crate) messages: u32,
}

/// Keeps count.
#[derive(Debug)]
pub(crate) struct Limits {
    allowance: Allowance,
    altogether: u32,
    loopback_too: bool,
    ledger: Mutex<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    key: RandomState,
    since: Instant,
    generation: u64,
    links: u32,
    accounts: HashMap<u64, Account>,
}

/// What one address has done lately.
#[derive(Clone, Copy, Debug)]
struct Account {
    links: u32,
    claims: Spent,
    messages: Spent,
}

/// A leaky bucket: what was spent, and is forgotten within a minute.
#[derive(Clone, Copy, Debug)]
struct Spent {
    amount: f64,
    at: Instant,
}

/// A link's place in the count; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Pass {
    limits: Arc<Limits>,
    /// The account and the day it belongs to; none if the address is not limited.
    account: Option<(u64, u64)>,
}

impl Limits {
    /// An `allowance` for each address, `altogether` links for all. Loopback addresses are limited
    /// only if asked for: behind a proxy on the same machine everyone would share one.
    pub(crate) fn new(
        allowance: Allowance,
        altogether: u32,
        loopback_too: bool,
        now: Instant,
    ) -> Self {
        let key = RandomState::new();
        let ledger = Ledger { key, since: now, generation: 0, links: 0, accounts: HashMap::new() };
        Self { allowance, altogether, loopback_too, ledger: Mutex::new(ledger) }
    }

    /// Admits a link, if there is room.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        let mut ledger = self.lock();
        if self.altogether > 0 && ledger.links >= self.altogether {
            return None;
        }
        let account = if address.to_canonical().is_loopback() && !self.loopback_too {
            None
        } else {
            let (hash, generation) = ledger.place(address, now);
            let account = ledger.account(hash, now);
            if self.allowance.links > 0 && account.links >= self.allowance.links {
                return None;
            }
            account.links += 1;
            Some((hash, generation))
        };
        ledger.links += 1;
        Some(Pass { limits: Arc::clone(self), account })
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Whether the link's address may allocate or claim a nameplate now.
    pub(crate) fn may_claim(&self, now: Instant) -> bool {
        let limit = self.limits.allowance.claims;
        self.spend(limit, now, |account| &mut account.claims)
    }

    /// Whether the link's address may add a message now.
    pub(crate) fn may_add(&self, now: Instant) -> bool {
        let limit = self.limits.allowance.messages;
        self.spend(limit, now, |account| &mut account.messages)
    }

    fn spend(&self, limit: u32, now: Instant, of: fn(&mut Account) -> &mut Spent) -> bool {
        let Some((hash, _)) = self.account else { return true };
        limit == 0 || of(self.limits.lock().account(hash, now)).spend(limit, now)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut ledger = self.limits.lock();
        ledger.links = ledger.links.saturating_sub(1);
        let Some((hash, generation)) = self.account else { return };
        if ledger.generation == generation
            && let Some(account) = ledger.accounts.get_mut(&hash)
        {
            account.links = account.links.saturating_sub(1);
        }
    }
}

impl Ledger {
    /// Where an address is counted. Starts a new day with a new key when the old one is over.
    fn place(&mut self, address: IpAddr, now: Instant) -> (u64, u64) {
        if now.saturating_duration_since(self.since) >= KEY_LIFE {
            self.key = RandomState::new();
            self.since = now;
            self.generation += 1;
            self.accounts.clear();
        }
        (self.key.hash_one(network(address)), self.generation)
    }

    fn account(&mut self, hash: u64, now: Instant) -> &mut Account {
        if self.accounts.len() >= MAX_ACCOUNTS {
            self.accounts.retain(|_, account| account.matters(now));
        }
        let nothing = Spent { amount: 0.0, at: now };
        self.accounts.entry(hash).or_insert(Account {
            links: 0,
            claims: nothing,
            messages: nothing,
        })
    }
}

impl Account {
    /// Whether forgetting it would forgive anything.
    fn matters(&self, now: Instant) -> bool {
        let recent = |spent: &Spent| now.saturating_duration_since(spent.at) < MINUTE;
        self.links > 0 || recent(&self.claims) || recent(&self.messages)
    }
}

impl Spent {
    fn spend(&mut self, per_minute: u32, now: Instant) -> bool {
        let limit = f64::from(per_minute);
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        let amount = minutes.mul_add(-limit, self.amount).max(0.0);
        let allowed = amount + 1.0 <= limit;
        *self = Self { amount: if allowed { amount + 1.0 } else { amount }, at: now };
        allowed
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

const MINUTE: Duration = Duration::from_secs(60);

/// Accounts beyond which those that are settled are forgotten. About 10 MB.
const MAX_ACCOUNTS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(links: u32, claims: u32, messages: u32, loopback_too: bool) -> Arc<Limits> {
        let allowance = Allowance { links, claims, messages };
        Arc::new(Limits::new(allowance, 0, loopback_too, Instant::now()))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_number_of_links_and_others_have_theirs() {
        let (limits, now) = (limits(2, 0, 0, false), Instant::now());
        let first = limits.admit(address("192.0.2.1"), now).unwrap();
        let _second = limits.admit(address("::ffff:192.0.2.1"), now).unwrap();
        assert!(limits.admit(address("192.0.2.1"), now).is_none());
        assert!(limits.admit(address("192.0.2.2"), now).is_some());
        drop(first);
        assert!(limits.admit(address("192.0.2.1"), now).is_some());
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let (limits, now) = (limits(1, 0, 0, false), Instant::now());
        let _first = limits.admit(address("2001:db8::1"), now).unwrap();
        assert!(limits.admit(address("2001:db8::ffff:0:0:2"), now).is_none());
        assert!(limits.admit(address("2001:db8:0:1::1"), now).is_some());
    }

    #[test]
    fn claims_and_messages_are_counted_apart_and_forgiven_in_a_minute() {
        let (limits, now) = (limits(0, 2, 1, false), Instant::now());
        let pass = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(pass.may_claim(now) && pass.may_claim(now) && !pass.may_claim(now));
        assert!(pass.may_add(now) && !pass.may_add(now));
        let again = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(!again.may_claim(now + MINUTE / 4));
        assert!(again.may_claim(now + MINUTE));
    }

    #[test]
    fn loopback_is_limited_only_if_asked_for() {
        let now = Instant::now();
        let exempt = limits(1, 1, 1, false);
        let _first = exempt.admit(address("127.0.0.1"), now).unwrap();
        let second = exempt.admit(address("::1"), now).unwrap();
        assert!(second.may_claim(now) && second.may_claim(now));
        let limited = limits(1, 1, 1, true);
        let _first = limited.admit(address("127.0.0.1"), now).unwrap();
        assert!(limited.admit(address("127.0.0.1"), now).is_none());
    }

    #[test]
    fn nothing_of_an_address_is_kept_beyond_a_day() {
        let (limits, now) = (limits(1, 0, 0, false), Instant::now());
        let yesterday = limits.admit(address("192.0.2.1"), now).unwrap();
        let hashes: Vec<u64> = limits.lock().accounts.keys().copied().collect();
        let _today = limits.admit(address("192.0.2.1"), now + KEY_LIFE).unwrap();
        assert!(hashes.iter().all(|hash| !limits.lock().accounts.contains_key(hash)));
        drop(yesterday);
        assert!(limits.admit(address("192.0.2.1"), now + KEY_LIFE).is_none());
    }
}
