//! Information in memory about the mailboxes that were used since the start of the process: when each of them was last
//! used, and which client addresses are charged for its bytes.
//!
//! The times come from the monotonic clock. So if the wall clock jumps, a mailbox is neither removed too soon nor kept
//! for years. Addresses are never written to the database. After a restart, it is unknown which addresses stored the
//! bytes, so the first address that uses a mailbox again is charged for all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wormhole_magic::mailbox::server::Refusal;

use super::clock::Now;
use crate::limits::AddressUsage;

/// Maximum number of stored bytes; 0 means unlimited.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mailbox) struct Quota {
    /// For all clients of one address.
    pub(in crate::mailbox) per_address: u64,
    /// For all clients together.
    pub(in crate::mailbox) database: u64,
}

/// The mailboxes that were used since the start, by their key, and the total of stored bytes.
#[derive(Debug)]
pub(super) struct Activity {
    started: Instant,
    mailboxes: HashMap<i64, Entry>,
    /// Bytes of all mailboxes in the database, including those without an entry here.
    stored: u64,
    /// Changes of the open transaction, to be reverted if it fails.
    undo: Vec<Undo>,
}

#[derive(Debug)]
struct Entry {
    used: Instant,
    /// The addresses that are charged, with the bytes of each; rarely more than two.
    owners: Vec<(Arc<AddressUsage>, u64)>,
}

#[derive(Debug)]
enum Undo {
    Charged { key: i64, address: Arc<AddressUsage>, bytes: u64 },
    Removed { key: i64, entry: Option<Entry>, bytes: u64 },
}

impl Activity {
    /// Starts without entries, for a database with `stored` bytes.
    pub(super) fn new(started: Instant, stored: u64) -> Self {
        Self { started, mailboxes: HashMap::new(), stored, undo: Vec::new() }
    }

    /// Sets the total, for a database that other processes change, too.
    pub(super) const fn set_stored(&mut self, bytes: u64) {
        self.stored = bytes;
    }

    /// The total of stored bytes.
    pub(super) const fn stored(&self) -> u64 {
        self.stored
    }

    /// Checks whether this address may store `bytes` more. An address may store at most as many bytes as then remain
    /// free. While the reserve lasts, it may store [`GUARANTEED`] bytes in any case: even if many addresses fill the
    /// database, a new address can still store what an ordinary exchange needs.
    pub(super) fn check_quota(
        &self,
        address: &AddressUsage,
        bytes: u64,
        quota: Quota,
    ) -> Result<(), Refusal> {
        let own = address.stored.load(Ordering::Relaxed).saturating_add(bytes);
        if quota.per_address > 0 && own > quota.per_address {
            return Err(Refusal::TooMuchStored);
        }
        if quota.database == 0 || self.stored.saturating_add(own) <= quota.database {
            return Ok(());
        }
        let with_reserve = quota.database.saturating_add(quota.database / PARTS_PER_RESERVE);
        if own <= GUARANTEED && self.stored.saturating_add(bytes) <= with_reserve {
            return Ok(());
        }
        Err(Refusal::StorageFull)
    }

    /// Records that this address uses a mailbox of `bytes`. If no address is known for the mailbox, this one is charged.
    pub(super) fn record_use(
        &mut self,
        key: i64,
        bytes: u64,
        address: &Arc<AddressUsage>,
        now: Now,
    ) {
        let charge_all = || {
            address.stored.fetch_add(bytes, Ordering::Relaxed);
            Entry { used: now.monotonic, owners: vec![(Arc::clone(address), bytes)] }
        };
        self.mailboxes.entry(key).or_insert_with(charge_all).used = now.monotonic;
    }

    /// Records that a link listens to a mailbox.
    pub(super) fn record_listening(&mut self, key: i64, now: Now) {
        let unknown = || Entry { used: now.monotonic, owners: Vec::new() };
        self.mailboxes.entry(key).or_insert_with(unknown).used = now.monotonic;
    }

    /// Charges this address for `bytes` that it adds to a mailbox.
    pub(super) fn charge(&mut self, key: i64, bytes: u64, address: &Arc<AddressUsage>, now: Now) {
        self.undo.push(Undo::Charged { key, address: Arc::clone(address), bytes });
        self.stored = self.stored.saturating_add(bytes);
        address.stored.fetch_add(bytes, Ordering::Relaxed);
        self.record_listening(key, now);
        let Some(entry) = self.mailboxes.get_mut(&key) else { return };
        match entry.owners.iter_mut().find(|(owner, _)| Arc::ptr_eq(owner, address)) {
            Some((_, owned)) => *owned = owned.saturating_add(bytes),
            None => {
                entry.owners.reserve_exact(1);
                entry.owners.push((Arc::clone(address), bytes));
            }
        }
    }

    /// Removes a mailbox of `bytes`, and the charges for it.
    pub(super) fn remove(&mut self, key: i64, bytes: u64) {
        let entry = self.mailboxes.remove(&key);
        for (owner, owned) in entry.iter().flat_map(|entry| &entry.owners) {
            owner.stored.fetch_sub(*owned, Ordering::Relaxed);
        }
        self.stored = self.stored.saturating_sub(bytes);
        self.undo.push(Undo::Removed { key, entry, bytes });
    }

    /// Drops the charges for mailboxes that other processes have removed. `present` contains all keys that exist after
    /// `after`, up to `last`.
    pub(super) fn discard_others(&mut self, after: i64, last: i64, present: &HashSet<i64>) {
        self.mailboxes.retain(|key, entry| {
            let is_removed = after < *key && *key <= last && !present.contains(key);
            for (owner, owned) in entry.owners.iter().filter(|_| is_removed) {
                owner.stored.fetch_sub(*owned, Ordering::Relaxed);
            }
            !is_removed
        });
    }

    /// Whether a mailbox has been unused for `expiry`. `updated` is the time of last use in its row, in seconds since
    /// 1970.
    pub(super) fn is_unused(&self, key: i64, updated: f64, now: Now, expiry: Duration) -> bool {
        let since = |earlier| now.monotonic.saturating_duration_since(earlier);
        match self.mailboxes.get(&key) {
            Some(entry) => since(entry.used) >= expiry,
            // The mailbox has not been used since the start. The wall clock may have been set after the time in the row
            // was written. So this time is used only after clients have had time to reconnect.
            None => {
                let age = now.wall.as_secs_f64() - updated;
                since(self.started) >= expiry
                    || (age >= expiry.as_secs_f64() && since(self.started) >= RECONNECT_TIME)
            }
        }
    }

    /// Keeps the changes of the transaction.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
        if self.mailboxes.capacity() > SLACK + 4 * self.mailboxes.len() {
            self.mailboxes.shrink_to(2 * self.mailboxes.len());
        }
    }

    /// Reverts the changes of the transaction.
    pub(super) fn roll_back(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Charged { key, address, bytes } => self.discharge(key, &address, bytes),
                Undo::Removed { key, entry, bytes } => {
                    self.stored = self.stored.saturating_add(bytes);
                    for (owner, owned) in entry.iter().flat_map(|entry| &entry.owners) {
                        owner.stored.fetch_add(*owned, Ordering::Relaxed);
                    }
                    self.mailboxes.extend(entry.map(|entry| (key, entry)));
                }
            }
        }
    }

    fn discharge(&mut self, key: i64, address: &Arc<AddressUsage>, bytes: u64) {
        self.stored = self.stored.saturating_sub(bytes);
        address.stored.fetch_sub(bytes, Ordering::Relaxed);
        let Some(entry) = self.mailboxes.get_mut(&key) else { return };
        for (_, owned) in entry.owners.iter_mut().filter(|(owner, _)| Arc::ptr_eq(owner, address)) {
            *owned = owned.saturating_sub(bytes);
        }
        entry.owners.retain(|(_, owned)| *owned > 0);
        if entry.owners.is_empty() {
            self.mailboxes.remove(&key);
        }
    }
}

/// Time that clients have to reconnect after a start: twice the longest pause between two connection attempts of known
/// clients.
const RECONNECT_TIME: Duration = Duration::from_secs(120);

/// Number of bytes that an address may store even if the database is full, while the reserve lasts.
const GUARANTEED: u64 = 64 << 10;

/// The reserve is the limit of the database divided by this number. With the default limit, it is enough for 2,048
/// addresses that store [`GUARANTEED`] bytes each, and for many more that store less.
const PARTS_PER_RESERVE: u64 = 8;

/// Number of unused entries below which the table is not shrunk.
const SLACK: usize = 1000;
