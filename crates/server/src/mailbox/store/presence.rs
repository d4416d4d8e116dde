//! What this process knows of mailboxes that were used since it started: when each was used last, and
//! which addresses its bytes count for.
//!
//! The times are of a clock that nobody sets, so that a wall clock that jumps removes nothing too soon
//! and keeps nothing for years. Addresses are never written to the database. After a restart nobody
//! knows whose bytes are there, so the first address that uses a mailbox again is charged for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wormhole_magic::mailbox::server::Refusal;

use super::moment::Moment;
use crate::limits::Held;

/// How many bytes may be stored. 0 is any number.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mailbox) struct Quota {
    /// For the clients of one address.
    pub(in crate::mailbox) per_address: u64,
    /// For all together.
    pub(in crate::mailbox) database: u64,
}

/// The mailboxes in use, by their key, and the bytes of all.
#[derive(Debug)]
pub(super) struct Presence {
    started: Instant,
    mailboxes: HashMap<i64, Known>,
    /// Bytes of everything in the database, in use or not.
    stored: u64,
    /// How to take back what the open transaction has changed.
    undo: Vec<Undo>,
}

#[derive(Debug)]
struct Known {
    used: Instant,
    /// Hardly ever more than two.
    owners: Vec<(Arc<Held>, u64)>,
}

#[derive(Debug)]
enum Undo {
    Charged { key: i64, address: Arc<Held>, bytes: u64 },
    Forgotten { key: i64, known: Option<Known>, bytes: u64 },
}

impl Presence {
    /// Nothing is known yet of a database that holds so many bytes.
    pub(super) fn new(started: Instant, stored: u64) -> Self {
        Self { started, mailboxes: HashMap::new(), stored, undo: Vec::new() }
    }

    /// Whether there is room for `bytes` more of this address. It may have as much as it leaves free,
    /// and [`ALWAYS`] while the reserve lasts: however many addresses fill the database, a newcomer
    /// can still store what an ordinary rendezvous needs.
    pub(super) fn check(&self, address: &Held, bytes: u64, quota: Quota) -> Result<(), Refusal> {
        let own = address.stored.load(Ordering::Relaxed).saturating_add(bytes);
        if quota.per_address > 0 && own > quota.per_address {
            return Err(Refusal::TooMuchStored);
        }
        if quota.database == 0 || self.stored.saturating_add(own) <= quota.database {
            return Ok(());
        }
        let with_reserve = quota.database.saturating_add(quota.database / PARTS_PER_RESERVE);
        if own <= ALWAYS && self.stored.saturating_add(bytes) <= with_reserve {
            return Ok(());
        }
        Err(Refusal::StorageFull)
    }

    /// Somebody of this address uses a mailbox that holds so many bytes.
    pub(super) fn used(&mut self, key: i64, bytes: u64, address: &Arc<Held>, now: Moment) {
        let adopt = || {
            address.stored.fetch_add(bytes, Ordering::Relaxed);
            Known { used: now.steady, owners: vec![(Arc::clone(address), bytes)] }
        };
        self.mailboxes.entry(key).or_insert_with(adopt).used = now.steady;
    }

    /// Somebody listens to a mailbox.
    pub(super) fn listened(&mut self, key: i64, now: Moment) {
        let unknown = || Known { used: now.steady, owners: Vec::new() };
        self.mailboxes.entry(key).or_insert_with(unknown).used = now.steady;
    }

    /// So many bytes were added to a mailbox by somebody of this address.
    pub(super) fn charge(&mut self, key: i64, bytes: u64, address: &Arc<Held>, now: Moment) {
        self.undo.push(Undo::Charged { key, address: Arc::clone(address), bytes });
        self.stored = self.stored.saturating_add(bytes);
        address.stored.fetch_add(bytes, Ordering::Relaxed);
        self.listened(key, now);
        let Some(known) = self.mailboxes.get_mut(&key) else { return };
        match known.owners.iter_mut().find(|(owner, _)| Arc::ptr_eq(owner, address)) {
            Some((_, owned)) => *owned = owned.saturating_add(bytes),
            None => {
                known.owners.reserve_exact(1);
                known.owners.push((Arc::clone(address), bytes));
            }
        }
    }

    /// A mailbox that held so many bytes is gone.
    pub(super) fn forget(&mut self, key: i64, bytes: u64) {
        let known = self.mailboxes.remove(&key);
        for (owner, owned) in known.iter().flat_map(|known| &known.owners) {
            owner.stored.fetch_sub(*owned, Ordering::Relaxed);
        }
        self.stored = self.stored.saturating_sub(bytes);
        self.undo.push(Undo::Forgotten { key, known, bytes });
    }

    /// Whether nobody has used a mailbox for `expiry`. Its row says that it was `updated` last, in
    /// seconds since 1970.
    pub(super) fn is_unused(&self, key: i64, updated: f64, now: Moment, expiry: Duration) -> bool {
        let since = |earlier| now.steady.saturating_duration_since(earlier);
        match self.mailboxes.get(&key) {
            Some(known) => since(known.used) >= expiry,
            // Since the start nobody has. What the row says may be of a wall clock that was set since:
            // it counts once everybody has had the time to come back.
            None => {
                let age = now.wall.as_secs() - updated;
                since(self.started) >= expiry
                    || (age >= expiry.as_secs_f64() && since(self.started) >= COMING_BACK)
            }
        }
    }

    /// The transaction is durable.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
        if self.mailboxes.capacity() > SLACK + 4 * self.mailboxes.len() {
            self.mailboxes.shrink_to(2 * self.mailboxes.len());
        }
    }

    /// The transaction has not happened.
    pub(super) fn roll_back(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Charged { key, address, bytes } => self.discharge(key, &address, bytes),
                Undo::Forgotten { key, known, bytes } => {
                    self.stored = self.stored.saturating_add(bytes);
                    for (owner, owned) in known.iter().flat_map(|known| &known.owners) {
                        owner.stored.fetch_add(*owned, Ordering::Relaxed);
                    }
                    self.mailboxes.extend(known.map(|known| (key, known)));
                }
            }
        }
    }

    fn discharge(&mut self, key: i64, address: &Arc<Held>, bytes: u64) {
        self.stored = self.stored.saturating_sub(bytes);
        address.stored.fetch_sub(bytes, Ordering::Relaxed);
        let Some(known) = self.mailboxes.get_mut(&key) else { return };
        for (_, owned) in known.owners.iter_mut().filter(|(owner, _)| Arc::ptr_eq(owner, address)) {
            *owned = owned.saturating_sub(bytes);
        }
        known.owners.retain(|(_, owned)| *owned > 0);
        if known.owners.is_empty() {
            self.mailboxes.remove(&key);
        }
    }
}

/// How long after a start clients may take to come back: twice the longest pause between two tries of
/// the usual ones.
const COMING_BACK: Duration = Duration::from_secs(120);

/// Bytes that an address may have stored although the database is full, while the reserve lasts.
const ALWAYS: u64 = 64 << 10;

/// The reserve for that is the limit of the database, divided by this. With the usual limit it is
/// enough for 2,048 addresses that take all they may, and for far more that behave as usual.
const PARTS_PER_RESERVE: u64 = 8;

/// Mailboxes for which there may be room without any.
const SLACK: usize = 1000;
