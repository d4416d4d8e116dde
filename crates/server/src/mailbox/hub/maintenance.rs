//! Periodic tasks of the store's thread: it marks open mailboxes as used, removes unused ones, and reads messages of
//! other nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listeners::Delivery;
use super::unix_now;
use super::worker::{Parts, StoreWorker};
use crate::mailbox::inbox::Event;
use crate::mailbox::store::{MailboxName, Now, StoreError};
use crate::mailbox::wake::Changed;

/// When each task is due.
#[derive(Debug)]
pub(super) struct Schedule {
    next_prune: Instant,
    /// When to mark the open mailboxes as used; `None` if no other node could remove them.
    next_touch: Option<Instant>,
    /// Open mailboxes that must still be marked as used; each turn marks some of them.
    untouched: Vec<Arc<MailboxName>>,
    /// Whether unused mailboxes are being removed; each turn removes some of them.
    pruning: bool,
    /// Whether the database may have unused space to return.
    reclaiming: bool,
    /// The earliest time to check all open mailboxes for new messages again.
    next_fetch: Instant,
    /// Whether to check all open mailboxes for new messages at `next_fetch`.
    is_fetch_due: bool,
}

impl Schedule {
    pub(super) fn new(parts: &Parts) -> Self {
        let now = Instant::now();
        let touch = || now + touch_period(parts.expiry);
        Self {
            next_prune: now + parts.prune_period,
            next_touch: parts.store.is_shared().then(touch),
            untouched: Vec::new(),
            pruning: false,
            reclaiming: false,
            next_fetch: now,
            is_fetch_due: false,
        }
    }

    /// When the next task is due.
    pub(super) fn next_task(&self) -> Instant {
        if !self.untouched.is_empty() || self.pruning || self.reclaiming {
            return Instant::now();
        }
        let look = self.is_fetch_due.then_some(self.next_fetch);
        let others = [self.next_touch, look].into_iter().flatten();
        others.fold(self.next_prune, Instant::min)
    }

    /// Returns the mailboxes to check for new messages now. All mailboxes are checked at most once per [`FETCH_PAUSE`],
    /// because anyone client can send notifications could request it.
    pub(super) fn admit(&mut self, changed: Changed, now: Instant) -> Changed {
        self.is_fetch_due |= changed == Changed::Everything;
        if self.is_fetch_due && now >= self.next_fetch {
            self.is_fetch_due = false;
            self.next_fetch = now + FETCH_PAUSE;
            return Changed::Everything;
        }
        if changed == Changed::Everything { Changed::Nothing } else { changed }
    }
}

impl StoreWorker {
    /// Runs the due tasks; of a long task only a part.
    pub(super) fn maintain(&mut self, deliver: impl FnMut(Vec<Delivery>)) {
        let now = Instant::now();
        let is_prune_due = now >= self.schedule.next_prune;
        if is_prune_due {
            self.schedule.next_prune = now + self.parts.prune_period;
            self.schedule.pruning = true;
            self.listeners.shrink();
        }
        // Open mailboxes must not be removed, so they are marked as used first.
        if is_prune_due || self.schedule.next_touch.is_some_and(|time| now >= time) {
            self.begin_touching();
        }
        if !self.schedule.untouched.is_empty() {
            self.touch(deliver);
        } else if self.schedule.pruning {
            self.prune();
        } else if self.schedule.reclaiming {
            self.reclaim();
        }
    }

    fn begin_touching(&mut self) {
        self.schedule.untouched = self.listeners.mailboxes().cloned().collect();
        self.schedule.next_touch = self.touch_after(touch_period(self.parts.expiry));
    }

    /// Marks some of the open mailboxes as used. If another node has removed some of them, their links are disconnected:
    /// the clients connect again and open them again.
    fn touch(&mut self, mut deliver: impl FnMut(Vec<Delivery>)) {
        let untouched = &mut self.schedule.untouched;
        let some = untouched.split_off(untouched.len().saturating_sub(TOUCHED_AT_ONCE));
        match self.parts.store.keep_in_use(Now::read(), &some) {
            Ok(gone) => {
                let links = gone.iter().flat_map(|name| self.listeners.remove_all(name));
                deliver(links.map(|inbox| Delivery { inbox, event: Event::Disconnect }).collect());
            }
            Err(error) => {
                tracing::debug!(%error, "could not update the last-use times of open mailboxes");
                self.schedule.untouched.clear();
                self.schedule.next_touch = self.touch_after(TOUCH_AGAIN);
                if self.schedule.pruning {
                    self.end_pruning(Some(&error));
                }
            }
        }
    }

    /// The next time to mark the open mailboxes as used.
    fn touch_after(&self, pause: Duration) -> Option<Instant> {
        self.parts.store.is_shared().then(|| Instant::now() + pause)
    }

    fn prune(&mut self) {
        match self.parts.store.prune(Now::read(), self.parts.expiry) {
            Ok(pruned) => {
                tracing::debug!(mailboxes = pruned.mailboxes, "removed unused mailboxes");
                self.record(&pruned.removed);
                if pruned.is_complete {
                    self.end_pruning(None);
                }
            }
            Err(error) => self.end_pruning(Some(&error)),
        }
    }

    fn end_pruning(&mut self, error: Option<&StoreError>) {
        if let Some(error) = error {
            tracing::error!(%error, "could not remove unused mailboxes");
        }
        self.schedule.pruning = false;
        self.schedule.reclaiming = true;
        self.record_current();
    }

    fn reclaim(&mut self) {
        let more = self.parts.store.reclaim().unwrap_or_else(|error| {
            tracing::error!(%error, "could not return free database space to the file system");
            false
        });
        self.schedule.reclaiming = more;
        if !more {
            self.release_memory();
        }
    }

    pub(super) fn release_memory(&mut self) {
        if let Err(error) = self.parts.store.release_memory() {
            tracing::warn!(%error, "could not release the database's cache memory");
        }
        crate::allocator::release_unused();
    }

    pub(super) fn record_current(&mut self) {
        if let Ok(counts) = self.parts.store.count() {
            self.parts.counters.stored(counts.nameplates, counts.mailboxes);
        }
        let listeners = self.listeners.len();
        if let Some(log) = &mut self.parts.usage
            && let Err(error) = log
                .record_current(self.started, unix_now(), listeners)
                .and_then(|()| log.remove_oldest())
        {
            tracing::warn!(%error, "could not record statistics");
        }
    }
}

/// Interval at which open mailboxes are marked as used, so that no other node removes them even if one or two attempts
/// fail.
fn touch_period(expiry: Duration) -> Duration {
    (expiry / 4).max(TOUCH_AGAIN)
}

/// Number of mailboxes that one turn marks as used.
const TOUCHED_AT_ONCE: usize = 1000;

/// Pause after an attempt that failed.
const TOUCH_AGAIN: Duration = Duration::from_secs(1);

/// Minimum time between two checks of all open mailboxes.
const FETCH_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use wormhole_magic::mailbox::server::{Identity, Request};
    use wormhole_testbed::{Durability, Postgres, installed_or_skip};

    use super::*;
    use crate::database::notifications::NodeId;
    use crate::database::postgres::DatabaseUrl;
    use crate::limits::AddressUsage;
    use crate::mailbox::inbox::Inbox;
    use crate::mailbox::store::{Command, PostgresStore, StoreLimits};
    use crate::mailbox::wake::MailboxHash;
    use crate::memory::{MemoryBudget, Share};

    fn open(url: &DatabaseUrl) -> PostgresStore {
        PostgresStore::open(url, StoreLimits::default(), NodeId::random(), true).unwrap()
    }

    fn worker(store: PostgresStore) -> StoreWorker {
        StoreWorker::new(Parts {
            store: Box::new(store),
            usage: None,
            publisher: None,
            counters: Arc::default(),
            prune_period: Duration::from_secs(300),
            expiry: Duration::from_secs(660),
        })
    }

    /// Whether the link must disconnect.
    fn is_disconnected(inbox: &Inbox) -> bool {
        let polled = inbox.poll(&Context::from_waker(Waker::noop()), true);
        let Poll::Ready(Ok(events)) = polled else { return false };
        events.iter().any(|event| matches!(event, Event::Disconnect))
    }

    #[test]
    fn links_of_a_mailbox_that_another_node_removed_are_disconnected() {
        let started = Postgres::start(Durability::Process, None);
        let Some(postgres) = installed_or_skip(started) else { return };
        let url = DatabaseUrl::from(postgres.url("postgres"));
        let mut worker = worker(open(&url));
        let client = Identity::new("app".into(), "side".into());
        let names =
            ["kept", "gone"].map(|id| MailboxName { app: "app".into(), mailbox: id.into() });
        let budget = Arc::new(MemoryBudget::new(1 << 20, 1 << 20));
        let inboxes = [1, 2].map(|number| {
            let share = Share::new(Arc::clone(&budget), Arc::default());
            Arc::new(Inbox::new(number, 1 << 20, share))
        });
        for (name, inbox) in names.iter().zip(&inboxes) {
            let (mut request, address) =
                (Request::Open(name.mailbox.clone()), Arc::<AddressUsage>::default());
            let command = Command { client: &client, address: &address, request: &mut request };
            worker.parts.store.apply(&mut [command], &[], Now::read()).unwrap();
            worker.listeners.add(name.clone(), inbox, 0);
        }
        let mut deliver = |batch: Vec<Delivery>| batch.into_iter().for_each(Delivery::deliver);
        let mut touch = |worker: &mut StoreWorker| {
            worker.begin_touching();
            worker.touch(&mut deliver);
        };
        touch(&mut worker);
        assert!(!inboxes.iter().any(|inbox| is_disconnected(inbox)));
        postgres.execute("postgres", "DELETE FROM wormhole_mailboxes WHERE id = 'gone'");
        touch(&mut worker);
        assert_eq!(inboxes.each_ref().map(|inbox| is_disconnected(inbox)), [false, true]);
        assert_eq!(worker.listeners.len(), 1);
    }

    #[test]
    fn all_mailboxes_are_checked_at_most_once_per_second_and_no_request_is_lost() {
        let started = Postgres::start(Durability::Process, None);
        let Some(postgres) = installed_or_skip(started) else { return };
        let mut worker = worker(open(&DatabaseUrl::from(postgres.url("postgres"))));
        let (schedule, start) = (&mut worker.schedule, Instant::now());
        assert_eq!(schedule.admit(Changed::Everything, start), Changed::Everything);
        assert_eq!(schedule.admit(Changed::Everything, start), Changed::Nothing);
        let name = MailboxName { app: "app".into(), mailbox: "id".into() };
        let one = Changed::Mailboxes([MailboxHash::of(&name)].into());
        assert_eq!(schedule.admit(one.clone(), start), one);
        assert!(schedule.next_task() <= start + FETCH_PAUSE);
        assert_eq!(schedule.admit(Changed::Nothing, start + FETCH_PAUSE), Changed::Everything);
        assert_eq!(schedule.admit(Changed::Nothing, start + 2 * FETCH_PAUSE), Changed::Nothing);
    }
}
