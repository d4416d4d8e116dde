//! Limits for the clients of one address: connections at the same time, and actions per minute.
//!
//! Each service names its own actions and says how much of each an address may do ([`Allowance`]).
//!
//! Addresses are not kept. They are counted under a keyed hash. The key is only in memory, and is replaced every day
//! together with the counts, so a hash cannot be matched with anything later. Time is an argument.
//!
//! The number of accounts is limited. IPv6 networks, which anyone may have by the thousand, are counted separately, and
//! share the account of the wider network around them when there are too many. So nobody can lock others out by using
//! many networks.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wormhole_kit::{network, wider_network};

/// What an address may do. 0 is always without limit.
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

    /// The place of the action in [`Self::ALL`].
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

/// How much an address may do of each action of a service per minute. By default, a service has no limited actions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PerMinute(Vec<u32>);

impl PerMinute {
    /// The limit of each action; 0 is without limit. A `match` in `limit` does not compile if it misses an action.
    pub(crate) fn new<A: LimitedAction>(limit: impl Fn(A) -> u32) -> Self {
        Self(A::ALL.iter().map(|action| limit(*action)).collect())
    }
}

/// Counts what each address does.
#[derive(Debug)]
pub(crate) struct Limits {
    allowance: Allowance,
    max_links: u32,
    limit_loopback: bool,
    accounts: Mutex<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    key: RandomState,
    since: Instant,
    /// Grows with each new key.
    generation: u64,
    /// Links of all addresses.
    links: u32,
    /// Accounts of IPv6 networks of the size that a household has.
    narrow: AccountTable,
    /// Accounts of IPv4 addresses, and of wider IPv6 networks whose members found no room in `narrow`.
    wide: AccountTable,
    /// Shared by all networks that found no room in `wide`.
    others: Account,
    /// Number of actions.
    actions: usize,
}

/// The accounts of networks of one size.
#[derive(Debug, Default)]
struct AccountTable {
    accounts: HashMap<u64, Account>,
    /// When unused accounts were last searched for.
    swept: Option<Instant>,
}

/// Which account counts a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AccountId {
    Narrow(u64),
    Others,
    Wide(u64),
}

/// Bytes that the server holds for the clients of one address. A service that limits them counts them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In memory.
    pub(crate) memory: AtomicUsize,
    /// In a database.
    pub(crate) stored: AtomicU64,
}

/// What one address has done in the last minute, and what it has now.
#[derive(Clone, Debug)]
struct Account {
    links: u32,
    /// Shared with everything that is counted there.
    held: Arc<Held>,
    opened: MinuteBudget,
    /// One for each action of the service.
    actions: Box<[MinuteBudget]>,
}

/// A leaky bucket: an amount that was spent, and that is forgotten within a minute.
#[derive(Clone, Copy, Debug)]
struct MinuteBudget {
    spent: f64,
    at: Instant,
}

/// One admitted link. Dropping it makes room for another one.
#[derive(Debug)]
pub(crate) struct Pass {
    limits: Arc<Limits>,
    /// The account and its generation; `None` if the address is not limited.
    account: Option<(AccountId, u64)>,
    held: Arc<Held>,
}

impl Limits {
    /// An `allowance` for each address, and `max_links` for all addresses together. Loopback addresses are limited only
    /// with `limit_loopback`: all clients of a proxy on the same machine would share one account.
    pub(crate) fn new(
        allowance: Allowance,
        max_links: u32,
        limit_loopback: bool,
        now: Instant,
    ) -> Self {
        let actions = allowance.per_minute.0.len();
        let accounts = Accounts {
            key: RandomState::new(),
            since: now,
            generation: 0,
            links: 0,
            narrow: AccountTable::default(),
            wide: AccountTable::default(),
            others: Account::new(actions, now),
            actions,
        };
        Self { allowance, max_links, limit_loopback, accounts: Mutex::new(accounts) }
    }

    /// Admits a link, if there is room.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        let exempt = address.to_canonical().is_loopback() && !self.limit_loopback;
        self.admit_unless_full(address, !exempt, now)
    }

    /// Admits a link that came through a proxy, if there is room. No address is exempt: a loopback address is the
    /// proxy's own, and means that the proxy did not report the client's.
    pub(crate) fn admit_forwarded(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        self.admit_unless_full(address, true, now)
    }

    /// Admits a link. The bytes that the server holds for an address are always counted, links and actions only if they
    /// are limited.
    fn admit_unless_full(
        self: &Arc<Self>,
        address: IpAddr,
        is_limited: bool,
        now: Instant,
    ) -> Option<Pass> {
        let mut accounts = self.lock();
        if self.max_links > 0 && accounts.links >= self.max_links {
            return None;
        }
        let (id, generation) = accounts.id(address, now);
        let account = accounts.account(id, now);
        if is_limited {
            let Allowance { links, links_per_minute, .. } = self.allowance;
            if (links > 0 && account.links >= links)
                || !account.opened.spend(links_per_minute, 1.0, now)
            {
                return None;
            }
            account.links += 1;
        }
        let held = Arc::clone(&account.held);
        accounts.links += 1;
        let account = is_limited.then_some((id, generation));
        Some(Pass { limits: Arc::clone(self), account, held })
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// What the server holds for the clients of the link's address.
    pub(crate) const fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Does not count the link as one of those per minute: it only asked whether the server works.
    pub(crate) fn forgive_entry(&self) {
        let Some((id, generation)) = self.account else { return };
        let mut accounts = self.limits.lock();
        if accounts.generation == generation
            && let Some(account) = accounts.known(id)
        {
            account.opened.spent = (account.opened.spent - 1.0).max(0.0);
        }
    }

    /// Spends this much of what the link's address may do of an action per minute. Returns whether it was allowed. An
    /// action of another service than the one in [`Allowance::per_minute`] may be refused.
    pub(crate) fn spend<A: LimitedAction>(&self, action: A, cost: f64, now: Instant) -> bool {
        let Some((id, _)) = self.account else { return true };
        let Some(index) = action.index() else { return false };
        let Some(limit) = self.limits.allowance.per_minute.0.get(index) else { return false };
        let mut accounts = self.limits.lock();
        let budget = accounts.account(id, now).actions.get_mut(index);
        budget.is_some_and(|budget| budget.spend(*limit, cost, now))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut accounts = self.limits.lock();
        accounts.links = accounts.links.saturating_sub(1);
        let Some((id, generation)) = self.account else { return };
        if accounts.generation == generation
            && let Some(account) = accounts.known(id)
        {
            account.links = account.links.saturating_sub(1);
        }
    }
}

impl Accounts {
    /// The account of an address, and its generation. Replaces the key and all counts when a day is over.
    fn id(&mut self, address: IpAddr, now: Instant) -> (AccountId, u64) {
        if now.saturating_duration_since(self.since) >= KEY_LIFE {
            self.key = RandomState::new();
            self.since = now;
            self.generation += 1;
            self.narrow.accounts.clear();
            self.wide.accounts.clear();
            self.others = Account::new(self.actions, now);
        }
        let address = address.to_canonical();
        let narrow = self.key.hash_one(network(address));
        let wide = self.key.hash_one(wider_network(address));
        let id = if address.is_ipv6() && self.narrow.account(narrow, self.actions, now).is_some() {
            AccountId::Narrow(narrow)
        } else if self.wide.account(wide, self.actions, now).is_some() {
            AccountId::Wide(wide)
        } else {
            AccountId::Others
        };
        (id, self.generation)
    }

    /// An account. If it is new and there is no room for it, the account of all others.
    fn account(&mut self, id: AccountId, now: Instant) -> &mut Account {
        let account = match id {
            AccountId::Narrow(hash) => self.narrow.account(hash, self.actions, now),
            AccountId::Others => None,
            AccountId::Wide(hash) => self.wide.account(hash, self.actions, now),
        };
        account.unwrap_or(&mut self.others)
    }

    /// An account, if it exists.
    fn known(&mut self, id: AccountId) -> Option<&mut Account> {
        match id {
            AccountId::Narrow(hash) => self.narrow.accounts.get_mut(&hash),
            AccountId::Others => Some(&mut self.others),
            AccountId::Wide(hash) => self.wide.accounts.get_mut(&hash),
        }
    }
}

impl AccountTable {
    /// The account of a network; `None` if it is new and there is no room for it.
    fn account(&mut self, hash: u64, actions: usize, now: Instant) -> Option<&mut Account> {
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&hash) {
            // Searching all of them takes a while.
            let since = self.swept.map(|swept| now.saturating_duration_since(swept));
            if since.is_some_and(|since| since < SWEEP_PERIOD) {
                return None;
            }
            self.swept = Some(now);
            self.accounts.retain(|_, account| account.is_used(now));
            if self.accounts.len() >= MAX_ACCOUNTS {
                return None;
            }
        }
        Some(self.accounts.entry(hash).or_insert_with(|| Account::new(actions, now)))
    }
}

impl Account {
    fn new(actions: usize, now: Instant) -> Self {
        let unspent = MinuteBudget { spent: 0.0, at: now };
        let actions = vec![unspent; actions].into();
        Self { links: 0, held: Arc::default(), opened: unspent, actions }
    }

    /// Whether it counts anything, so that removing it would forgive something.
    fn is_used(&self, now: Instant) -> bool {
        let Self { links, held, opened, actions } = self;
        *links > 0
            // Somebody else counts something there.
            || Arc::strong_count(held) > 1
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

/// Shortest time between two searches for unused accounts.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// Most accounts in a table. When it is full, unused accounts are removed. About 20 MB.
const MAX_ACCOUNTS: usize = 100_000;

#[cfg(test)]
mod tests;
