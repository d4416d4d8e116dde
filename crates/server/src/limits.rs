//! Limits for the clients of one address: connections at the same time, and actions per minute.
//!
//! Each service defines its own actions and their limits per address ([`Allowance`]). Time is an argument.
//!
//! Addresses are not stored: the counts are indexed by a keyed hash of the address. The key exists only in memory. It is
//! replaced every day, and the counts are then reset, so hashes of different days cannot be linked.
//!
//! The number of counted addresses is limited. One person can have thousands of IPv6 networks, so these have a separate
//! table, with one entry for each /64 network. If it is full, a new /64 network is counted together with the other new
//! ones of its /48 network, in the table of the IPv4 addresses. So a person who fills the table with the /64 networks of
//! a few /48 networks does not lock out other clients.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};

/// The limits of one address; 0 means unlimited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Allowance {
    /// Links open at the same time.
    pub(crate) links: u32,
    /// Links opened per minute.
    pub(crate) links_per_minute: u32,
    /// The limits of the service's actions.
    pub(crate) per_minute: PerMinute,
}

/// The actions of one service that are limited. Only [`limited_actions`] implements it, so that no action is missing.
pub(crate) trait LimitedAction: Copy + Eq + 'static {
    /// Every action.
    const ALL: &'static [Self];

    /// The index of the action in [`Self::ALL`].
    fn index(self) -> Option<usize> {
        Self::ALL.iter().position(|action| *action == self)
    }
}

/// Defines the limited actions of a service: an enum without values.
macro_rules! limited_actions {
    ($(#[$of_enum:meta])* enum $name:ident { $($(#[$of_action:meta])* $action:ident,)+ }) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        enum $name { $($(#[$of_action])* $action,)+ }

        impl $crate::limits::LimitedAction for $name {
            const ALL: &'static [Self] = &[$(Self::$action,)+];
        }
    };
}

pub(crate) use limited_actions;

/// The limits of one address per minute, for each action of a service. By default, a service has no limited actions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PerMinute(Vec<u32>);

impl PerMinute {
    /// Sets the limit of each action; 0 means unlimited. A `match` in `limit` does not compile if it misses an action.
    pub(crate) fn new<A: LimitedAction>(limit: impl Fn(A) -> u32) -> Self {
        Self(A::ALL.iter().map(|action| limit(*action)).collect())
    }
}

/// Counts the links and actions of each address.
#[derive(Debug)]
pub(crate) struct Limits {
    allowance: Allowance,
    max_links: u32,
    limit_loopback: bool,
    counts: Mutex<AllCounts>,
}

#[derive(Debug)]
struct AllCounts {
    key: RandomState,
    since: Instant,
    /// Grows with each new key.
    generation: u64,
    /// Links of all addresses.
    links: u32,
    /// The counts of IPv6 networks of the size that a household has (/64).
    by_network: CountTable,
    /// The counts of IPv4 addresses, and of wider IPv6 networks, for networks that `by_network` had no space for.
    by_wider_network: CountTable,
    /// The counts of all networks that `by_wider_network` had no space for.
    overflow: AddressCounts,
    /// Number of actions.
    actions: usize,
}

/// The counts of networks of one size.
#[derive(Debug, Default)]
struct CountTable {
    entries: HashMap<u64, AddressCounts>,
    /// When unused entries were last removed.
    swept: Option<Instant>,
}

/// Identifies the counts that include a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CountsId {
    Network(u64),
    Overflow,
    WiderNetwork(u64),
}

/// The memory and storage in use for the clients of one address, in bytes. The services that limit them count them.
#[derive(Debug, Default)]
pub(crate) struct AddressUsage {
    /// In memory.
    pub(crate) memory: AtomicUsize,
    /// In a database.
    pub(crate) stored: AtomicU64,
}

/// The counts of one address: its open links, its memory and storage, and its recent actions.
#[derive(Clone, Debug)]
struct AddressCounts {
    links: u32,
    /// Shared with the owners of the memory and storage.
    usage: Arc<AddressUsage>,
    opened: MinuteBudget,
    /// One for each action of the service.
    actions: Box<[MinuteBudget]>,
}

/// A leaky bucket: the amount that was spent recently. It drains within a minute.
#[derive(Clone, Copy, Debug)]
struct MinuteBudget {
    spent: f64,
    at: Instant,
}

/// The permit of one admitted link. Dropping it permits another link.
#[derive(Debug)]
pub(crate) struct LinkPermit {
    limits: Arc<Limits>,
    /// The counts of the address, and their generation; `None` if the address is not limited.
    counts: Option<(CountsId, u64)>,
    usage: Arc<AddressUsage>,
}

impl Limits {
    /// Creates limits with an `allowance` for each address, and `max_links` for all addresses together. Loopback
    /// addresses are limited only with `limit_loopback`, because all clients of a proxy on the same machine would be
    /// counted as one address.
    pub(crate) fn new(
        allowance: Allowance,
        max_links: u32,
        limit_loopback: bool,
        now: Instant,
    ) -> Self {
        let actions = allowance.per_minute.0.len();
        let counts = AllCounts {
            key: RandomState::new(),
            since: now,
            generation: 0,
            links: 0,
            by_network: CountTable::default(),
            by_wider_network: CountTable::default(),
            overflow: AddressCounts::new(actions, now),
            actions,
        };
        Self { allowance, max_links, limit_loopback, counts: Mutex::new(counts) }
    }

    /// Admits a link if the limits allow it.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<LinkPermit> {
        let exempt = address.to_canonical().is_loopback() && !self.limit_loopback;
        self.admit_unless_full(address, !exempt, now)
    }

    /// Admits a link that came through a proxy, if the limits allow it. No address is exempt: a loopback address is the
    /// address of the proxy, which then did not report the address of the client.
    pub(crate) fn admit_forwarded(
        self: &Arc<Self>,
        address: IpAddr,
        now: Instant,
    ) -> Option<LinkPermit> {
        self.admit_unless_full(address, true, now)
    }

    /// Admits a link if the limits allow it. Memory and storage are counted for all addresses, links and actions only
    /// for addresses that are limited.
    fn admit_unless_full(
        self: &Arc<Self>,
        address: IpAddr,
        is_limited: bool,
        now: Instant,
    ) -> Option<LinkPermit> {
        let mut all = self.lock();
        if self.max_links > 0 && all.links >= self.max_links {
            return None;
        }
        let (id, generation) = all.id(address, now);
        let counts = all.counts(id, now);
        if is_limited {
            let Allowance { links, links_per_minute, .. } = self.allowance;
            if (links > 0 && counts.links >= links)
                || !counts.opened.spend(links_per_minute, 1.0, now)
            {
                return None;
            }
            counts.links += 1;
        }
        let usage = Arc::clone(&counts.usage);
        all.links += 1;
        let counts = is_limited.then_some((id, generation));
        Some(LinkPermit { limits: Arc::clone(self), counts, usage })
    }

    fn lock(&self) -> MutexGuard<'_, AllCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkPermit {
    /// The memory and storage in use for the clients of the link's address.
    pub(crate) const fn usage(&self) -> &Arc<AddressUsage> {
        &self.usage
    }

    /// Does not count this link towards `links_per_minute`: it was only a health check.
    pub(crate) fn refund_link(&self) {
        let Some((id, generation)) = self.counts else { return };
        let mut all = self.limits.lock();
        if all.generation == generation
            && let Some(counts) = all.existing(id)
        {
            counts.opened.spent = (counts.opened.spent - 1.0).max(0.0);
        }
    }

    /// Spends `cost` of the address's limit for an action. Returns whether it was allowed. An action of another service
    /// than the one in [`Allowance::per_minute`] may be refused.
    pub(crate) fn spend<A: LimitedAction>(&self, action: A, cost: f64, now: Instant) -> bool {
        let Some((id, _)) = self.counts else { return true };
        let Some(index) = action.index() else { return false };
        let Some(limit) = self.limits.allowance.per_minute.0.get(index) else { return false };
        let mut all = self.limits.lock();
        let budget = all.counts(id, now).actions.get_mut(index);
        budget.is_some_and(|budget| budget.spend(*limit, cost, now))
    }
}

impl Drop for LinkPermit {
    fn drop(&mut self) {
        let mut all = self.limits.lock();
        all.links = all.links.saturating_sub(1);
        let Some((id, generation)) = self.counts else { return };
        if all.generation == generation
            && let Some(counts) = all.existing(id)
        {
            counts.links = counts.links.saturating_sub(1);
        }
    }
}

impl AllCounts {
    /// Identifies the counts of an address, and returns their generation. Replaces the key and resets all counts after a
    /// day.
    fn id(&mut self, address: IpAddr, now: Instant) -> (CountsId, u64) {
        if now.saturating_duration_since(self.since) >= KEY_LIFE {
            self.key = RandomState::new();
            self.since = now;
            self.generation += 1;
            self.by_network.entries.clear();
            self.by_wider_network.entries.clear();
            self.overflow = AddressCounts::new(self.actions, now);
        }
        let address = address.to_canonical();
        let hash = self.key.hash_one(network(address));
        let wider = self.key.hash_one(wider_network(address));
        let actions = self.actions;
        let id = if address.is_ipv6() && self.by_network.entry(hash, actions, now).is_some() {
            CountsId::Network(hash)
        } else if self.by_wider_network.entry(wider, actions, now).is_some() {
            CountsId::WiderNetwork(wider)
        } else {
            CountsId::Overflow
        };
        (id, self.generation)
    }

    /// The counts with this id. If they no longer exist and their table is full, the overflow.
    fn counts(&mut self, id: CountsId, now: Instant) -> &mut AddressCounts {
        let counts = match id {
            CountsId::Network(hash) => self.by_network.entry(hash, self.actions, now),
            CountsId::Overflow => None,
            CountsId::WiderNetwork(hash) => self.by_wider_network.entry(hash, self.actions, now),
        };
        counts.unwrap_or(&mut self.overflow)
    }

    /// The counts with this id, if they exist.
    fn existing(&mut self, id: CountsId) -> Option<&mut AddressCounts> {
        match id {
            CountsId::Network(hash) => self.by_network.entries.get_mut(&hash),
            CountsId::Overflow => Some(&mut self.overflow),
            CountsId::WiderNetwork(hash) => self.by_wider_network.entries.get_mut(&hash),
        }
    }
}

impl CountTable {
    /// The counts of a network; `None` if they are new and the table is full.
    fn entry(&mut self, hash: u64, actions: usize, now: Instant) -> Option<&mut AddressCounts> {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&hash) {
            // Searching all entries takes a while.
            let since = self.swept.map(|swept| now.saturating_duration_since(swept));
            if since.is_some_and(|since| since < SWEEP_PERIOD) {
                return None;
            }
            self.swept = Some(now);
            self.entries.retain(|_, counts| counts.is_used(now));
            if self.entries.len() >= MAX_ENTRIES {
                return None;
            }
        }
        Some(self.entries.entry(hash).or_insert_with(|| AddressCounts::new(actions, now)))
    }
}

impl AddressCounts {
    fn new(actions: usize, now: Instant) -> Self {
        let unspent = MinuteBudget { spent: 0.0, at: now };
        let actions = vec![unspent; actions].into();
        Self { links: 0, usage: Arc::default(), opened: unspent, actions }
    }

    /// Whether any count is not zero, so that the counts must not be removed.
    fn is_used(&self, now: Instant) -> bool {
        let Self { links, usage, opened, actions } = self;
        *links > 0
            // Memory or storage is still counted there.
            || Arc::strong_count(usage) > 1
            || opened.is_used(now)
            || actions.iter().any(|budget| budget.is_used(now))
    }
}

impl MinuteBudget {
    /// Spends `cost`, if `per_minute` allows it; 0 allows everything.
    fn spend(&mut self, per_minute: u32, cost: f64, now: Instant) -> bool {
        if per_minute == 0 {
            return true;
        }
        let limit = f64::from(per_minute);
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        let spent = minutes.mul_add(-limit, self.spent).max(0.0);
        // An action that costs more than a minute's budget is allowed once per minute.
        let cost = cost.min(limit);
        let allowed = spent + cost <= limit;
        *self = Self { spent: if allowed { spent + cost } else { spent }, at: now };
        allowed
    }

    fn is_used(&self, now: Instant) -> bool {
        self.spent > 0.0 && now.saturating_duration_since(self.at) < MINUTE
    }
}

/// How long one key is used.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

const MINUTE: Duration = Duration::from_secs(60);

/// Minimum time between two searches for unused entries.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// Maximum number of entries in a table, about 20 MB. If it is full, unused entries are removed.
const MAX_ENTRIES: usize = 100_000;

#[cfg(test)]
mod tests;
