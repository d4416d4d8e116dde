//! How much one address may do: links at a time and per minute, claims and messages per minute.
//!
//! Addresses are not kept. What is counted is counted under a keyed hash whose key lives in memory
//! alone and is replaced every day together with the counts, so nothing here can be matched with
//! anything later. There is no clock here; time is an argument.
//!
//! Only so many can be counted apart. IPv6 networks, which anyone may have by the thousand, have a
//! book of their own, and share the account of the wider network around them when it is full: who
//! fills it locks nobody out.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};

/// What an address may do. 0 is without limit, everywhere.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Allowance {
    /// Links open at the same time.
    pub(crate) links: u32,
    /// Links opened per minute.
    pub(crate) links_per_minute: u32,
    /// Nameplates allocated or claimed per minute. What else a rendezvous takes, opening and
    /// closing mailboxes and releasing nameplates, may happen [`VISITS_PER_CLAIM`] times as often.
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
    /// IPv6 networks of the size that a household has.
    narrow: Book,
    /// IPv4 addresses, and wider IPv6 networks with members that found no room in `narrow`.
    wide: Book,
    /// Shared account for networks that found no room in `wide`.
    others: Account,
}

/// The accounts of networks of one size.
#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<u64, Account>,
    /// When settled accounts were looked for.
    swept: Option<Instant>,
}

/// Where a link is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Narrow(u64),
    Others,
    Wide(u64),
}

/// What clients of one address make the server keep, in bytes. A service that bounds it counts it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In memory.
    pub(crate) memory: AtomicUsize,
    /// In a database.
    pub(crate) stored: AtomicU64,
}

/// What one address has done lately.
#[derive(Clone, Debug)]
struct Account {
    links: u32,
    /// Shared with everything that is counted there.
    held: Arc<Held>,
    entries: Spent,
    claims: Spent,
    visits: Spent,
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
    account: Option<(Place, u64)>,
    held: Arc<Held>,
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
        let ledger = Ledger {
            key: RandomState::new(),
            since: now,
            generation: 0,
            links: 0,
            narrow: Book::default(),
            wide: Book::default(),
            others: Account::new(now),
        };
        Self { allowance, altogether, loopback_too, ledger: Mutex::new(ledger) }
    }

    /// Admits a link, if there is room.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        let exempt = address.to_canonical().is_loopback() && !self.loopback_too;
        self.admit_unless_full(address, !exempt, now)
    }

    /// Admits a link that came through a proxy, if there is room. Nobody is exempt there: what looks
    /// like loopback is a proxy that does not say whose the link is.
    pub(crate) fn admit_forwarded(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        self.admit_unless_full(address, true, now)
    }

    /// Admits a link. What it makes the server keep is counted by its address in any case, its links
    /// and rates only if they are limited.
    fn admit_unless_full(
        self: &Arc<Self>,
        address: IpAddr,
        is_limited: bool,
        now: Instant,
    ) -> Option<Pass> {
        let mut ledger = self.lock();
        if self.altogether > 0 && ledger.links >= self.altogether {
            return None;
        }
        let (place, generation) = ledger.place(address, now);
        let account = ledger.account(place, now);
        if is_limited {
            let Allowance { links, links_per_minute, .. } = self.allowance;
            if (links > 0 && account.links >= links)
                || !account.entries.spend(links_per_minute, 1.0, now)
            {
                return None;
            }
            account.links += 1;
        }
        let held = Arc::clone(&account.held);
        ledger.links += 1;
        let account = is_limited.then_some((place, generation));
        Some(Pass { limits: Arc::clone(self), account, held })
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// What the clients of the link's address make the server keep.
    pub(crate) const fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Takes back that the link counted as one of those per minute: it only asked whether the server
    /// is well.
    pub(crate) fn forgive_entry(&self) {
        let Some((place, generation)) = self.account else { return };
        let mut ledger = self.limits.lock();
        if ledger.generation == generation
            && let Some(account) = ledger.known(place)
        {
            account.entries.amount = (account.entries.amount - 1.0).max(0.0);
        }
    }

    /// Whether the link's address may allocate or claim a nameplate now.
    pub(crate) fn may_claim(&self, now: Instant) -> bool {
        let limit = self.limits.allowance.claims;
        self.spend(now, |account| account.claims.spend(limit, 1.0, now))
    }

    /// Whether the link's address may open or close a mailbox or release a nameplate now.
    pub(crate) fn may_visit(&self, now: Instant) -> bool {
        let limit = self.limits.allowance.claims.saturating_mul(VISITS_PER_CLAIM);
        self.spend(now, |account| account.visits.spend(limit, 1.0, now))
    }

    /// Whether the link's address may add a message of so many bytes now. Every
    /// [`BYTES_PER_MESSAGE`] count as one more.
    pub(crate) fn may_add(&self, bytes: usize, now: Instant) -> bool {
        let limit = self.limits.allowance.messages;
        let more = u32::try_from(bytes / BYTES_PER_MESSAGE).unwrap_or(u32::MAX);
        self.spend(now, |account| account.messages.spend(limit, 1.0 + f64::from(more), now))
    }

    fn spend(&self, now: Instant, on: impl FnOnce(&mut Account) -> bool) -> bool {
        let Some((place, _)) = self.account else { return true };
        on(self.limits.lock().account(place, now))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut ledger = self.limits.lock();
        ledger.links = ledger.links.saturating_sub(1);
        let Some((place, generation)) = self.account else { return };
        if ledger.generation == generation
            && let Some(account) = ledger.known(place)
        {
            account.links = account.links.saturating_sub(1);
        }
    }
}

impl Ledger {
    /// Where an address is counted. Starts a new day with a new key when the old one is over.
    fn place(&mut self, address: IpAddr, now: Instant) -> (Place, u64) {
        if now.saturating_duration_since(self.since) >= KEY_LIFE {
            self.key = RandomState::new();
            self.since = now;
            self.generation += 1;
            self.narrow.accounts.clear();
            self.wide.accounts.clear();
            self.others = Account::new(now);
        }
        let address = address.to_canonical();
        let narrow = self.key.hash_one(network(address));
        let wide = self.key.hash_one(wider_network(address));
        let place = if address.is_ipv6() && self.narrow.account(narrow, now).is_some() {
            Place::Narrow(narrow)
        } else if self.wide.account(wide, now).is_some() {
            Place::Wide(wide)
        } else {
            Place::Others
        };
        (place, self.generation)
    }

    /// The account of a place; that of all others if it is new and there is no room for more.
    fn account(&mut self, place: Place, now: Instant) -> &mut Account {
        let account = match place {
            Place::Narrow(hash) => self.narrow.account(hash, now),
            Place::Others => None,
            Place::Wide(hash) => self.wide.account(hash, now),
        };
        account.unwrap_or(&mut self.others)
    }

    /// The account of a place, if there is one.
    fn known(&mut self, place: Place) -> Option<&mut Account> {
        match place {
            Place::Narrow(hash) => self.narrow.accounts.get_mut(&hash),
            Place::Others => Some(&mut self.others),
            Place::Wide(hash) => self.wide.accounts.get_mut(&hash),
        }
    }
}

impl Book {
    /// The account of a network; none if it is new and there is no room for more.
    fn account(&mut self, hash: u64, now: Instant) -> Option<&mut Account> {
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&hash) {
            // Looking through all of them takes a while.
            let since = self.swept.map(|swept| now.saturating_duration_since(swept));
            if since.is_some_and(|since| since < SWEEP_PERIOD) {
                return None;
            }
            self.swept = Some(now);
            self.accounts.retain(|_, account| account.matters(now));
            if self.accounts.len() >= MAX_ACCOUNTS {
                return None;
            }
        }
        Some(self.accounts.entry(hash).or_insert_with(|| Account::new(now)))
    }
}

impl Account {
    /// An account of somebody who has done nothing lately.
    fn new(now: Instant) -> Self {
        let nothing = Spent { amount: 0.0, at: now };
        let held = Arc::default();
        Self {
            links: 0,
            held,
            entries: nothing,
            claims: nothing,
            visits: nothing,
            messages: nothing,
        }
    }

    /// Whether forgetting it would forgive anything.
    fn matters(&self, now: Instant) -> bool {
        let recent =
            |spent: &Spent| spent.amount > 0.0 && now.saturating_duration_since(spent.at) < MINUTE;
        let Self { links, held, entries, claims, visits, messages } = self;
        // Whoever else has it counts something there.
        *links > 0
            || Arc::strong_count(held) > 1
            || [entries, claims, visits, messages].into_iter().any(recent)
    }
}

impl Spent {
    /// Spends `cost`, if `per_minute` has room for it; 0 has always.
    fn spend(&mut self, per_minute: u32, cost: f64, now: Instant) -> bool {
        if per_minute == 0 {
            return true;
        }
        let limit = f64::from(per_minute);
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        let amount = minutes.mul_add(-limit, self.amount).max(0.0);
        // What costs more than a minute has may be had once a minute.
        let cost = cost.min(limit);
        let allowed = amount + cost <= limit;
        *self = Self { amount: if allowed { amount + cost } else { amount }, at: now };
        allowed
    }
}

/// How long one key serves.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

const MINUTE: Duration = Duration::from_secs(60);

/// How often a mailbox may be opened or closed or a nameplate released for each claim: once each.
const VISITS_PER_CLAIM: u32 = 3;

/// Bytes of a message that cost as much as another message.
const BYTES_PER_MESSAGE: usize = 64 << 10;

/// How often settled accounts are looked for at most.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// Accounts in a book beyond which those that are settled are forgotten, and no more are made. About
/// 15 MB.
const MAX_ACCOUNTS: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn limits(links: u32, claims: u32, messages: u32, loopback_too: bool) -> Arc<Limits> {
        let allowance = Allowance { links, claims, messages, ..Allowance::default() };
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
        assert!(pass.may_add(0, now) && !pass.may_add(0, now));
        let again = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(!again.may_claim(now + MINUTE / 4));
        assert!(again.may_claim(now + MINUTE));
    }

    #[test]
    fn opening_links_is_limited_per_minute_too() {
        let allowance = Allowance { links_per_minute: 2, ..Allowance::default() };
        let now = Instant::now();
        let limits = Arc::new(Limits::new(allowance, 0, false, now));
        assert!(limits.admit(address("192.0.2.1"), now).is_some());
        assert!(limits.admit(address("192.0.2.1"), now).is_some());
        assert!(limits.admit(address("192.0.2.1"), now).is_none());
        assert!(limits.admit(address("192.0.2.1"), now + MINUTE / 2).is_some());
    }

    #[test]
    fn a_long_message_counts_as_several_and_the_longest_as_a_minutes_worth() {
        let (limits, now) = (limits(0, 0, 4, false), Instant::now());
        let pass = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(pass.may_add(2 * BYTES_PER_MESSAGE, now) && !pass.may_add(BYTES_PER_MESSAGE, now));
        assert!(pass.may_add(0, now) && !pass.may_add(0, now));
        assert!(pass.may_add(usize::MAX, now + MINUTE) && !pass.may_add(0, now + MINUTE));
    }

    #[test]
    fn visits_are_counted_apart_from_claims_but_not_without_limit() {
        let (limits, now) = (limits(0, 1, 0, false), Instant::now());
        let pass = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(pass.may_claim(now));
        assert!((0..VISITS_PER_CLAIM).all(|_| pass.may_visit(now)) && !pass.may_visit(now));
    }

    /// Admits links of more networks than there are accounts for; all are kept open.
    fn fill(limits: &Arc<Limits>, now: Instant, network: impl Fn(u32) -> IpAddr) -> Vec<Pass> {
        let count = u32::try_from(MAX_ACCOUNTS).unwrap();
        (0..count).map(|number| limits.admit(network(number), now).unwrap()).collect()
    }

    /// One of the 2^32 networks of households in `2001::/32`.
    fn household(number: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from((0x2001_u128 << 112) | (u128::from(number) << 64)))
    }

    /// One of the 2^32 wider networks in `3000::/16`.
    fn customer(number: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from((0x3000_u128 << 112) | (u128::from(number) << 80)))
    }

    #[test]
    fn who_has_a_hundred_thousand_ipv6_networks_locks_nobody_out() {
        let (limits, now) = (limits(1, 0, 0, false), Instant::now());
        let _passes = fill(&limits, now, household);
        assert_eq!(limits.lock().narrow.accounts.len(), MAX_ACCOUNTS);
        assert!(limits.admit(household(1), now).is_none(), "those that are known stay limited");
        let _ipv4 = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(limits.admit(address("192.0.2.1"), now).is_none());
        // Newcomers share what one address has with those in the same wider network, no others.
        let _ipv6 = limits.admit(address("2001:db8::1"), now).unwrap();
        assert!(limits.admit(address("2001:db8:0:1::1"), now).is_none());
        assert!(limits.admit(address("2001:db8:1::1"), now).is_some());
    }

    #[test]
    fn who_finds_no_room_at_all_shares_one_account_with_all_the_others() {
        let (limits, now) = (limits(1, 1, 0, false), Instant::now());
        let _passes = fill(&limits, now, household);
        let wide = fill(&limits, now, customer);
        let one = limits.admit(address("192.0.2.1"), now).unwrap();
        assert!(one.may_claim(now) && !one.may_claim(now));
        assert!(limits.admit(address("192.0.2.2"), now).is_none());
        drop(one);
        assert!(limits.admit(address("192.0.2.2"), now).is_some());
        drop(wide);
        assert!(limits.admit(address("192.0.2.1"), now + SWEEP_PERIOD).is_some());
        assert_eq!(limits.lock().wide.accounts.len(), 1);
    }

    #[test]
    fn settled_accounts_are_looked_for_once_a_second() {
        let (limits, now) = (limits(1, 0, 0, false), Instant::now());
        let mut passes = fill(&limits, now, |number| IpAddr::from((number << 4).to_be_bytes()));
        let place = |now| limits.lock().place(address("192.0.2.1"), now).0;
        assert_eq!(place(now), Place::Others);
        passes.truncate(1000);
        assert_eq!(place(now), Place::Others, "searched twice in a second");
        assert!(matches!(place(now + SWEEP_PERIOD), Place::Wide(_)));
        assert_eq!(limits.lock().wide.accounts.len(), 1001);
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
        let hashes: Vec<u64> = limits.lock().wide.accounts.keys().copied().collect();
        let _today = limits.admit(address("192.0.2.1"), now + KEY_LIFE).unwrap();
        assert!(hashes.iter().all(|hash| !limits.lock().wide.accounts.contains_key(hash)));
        drop(yesterday);
        assert!(limits.admit(address("192.0.2.1"), now + KEY_LIFE).is_none());
    }
}
