//! The store in a PostgreSQL database, which several nodes can share.
//!
//! A batch needs two round trips, or three if it replays messages: read and lock, then write and commit. Every
//! transaction first locks the only row of `wormhole_server`. So the transactions of all nodes run one after the other,
//! as they do in SQLite, and messages have the same order for all nodes.
//!
//! The limits for mailboxes, the limit for the database and the expiry apply to all nodes together. Each node counts
//! separately how much one address stores, because addresses are never written to the database.
//!
//! A lost connection is replaced. If it is lost during a commit, the row of this node in `wormhole_nodes` shows
//! whether the transaction is durable.

mod load;
mod prune;
mod save;
mod schema;
mod snapshot;
mod statements;
mod uptime;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::replay_cache::ReplayCache;
use super::rules::Rules;
use super::{
    Applied, Command, Counts, Cursor, FetchedMessages, MailboxName, Now, Pruned, Store, StoreError,
    StoreLimits,
};
use crate::ServerError;
use crate::database::notifications::NodeId;
use crate::database::postgres::{
    self, Connection, DatabaseUrl, SessionError, Statements as _, retry_while_lost,
};
use crate::mailbox::usage::Usage;
use crate::mailbox::wake;
use load::Wanted;
use prune::PruneProgress;
use save::{BatchId, Notification};
use snapshot::Snapshot;
use statements::Statements;
use uptime::UptimeClock;

/// A connection with the statements of the mailbox server.
type Session = postgres::Session<Statements>;

/// A node's access to the shared database.
#[derive(Debug)]
pub(in crate::mailbox) struct PostgresStore {
    connection: Connection<Statements>,
    node: NodeId,
    /// Number of the last transaction of this node.
    batch: i64,
    limits: StoreLimits,
    /// Whether commits notify the other nodes.
    notifies: bool,
    activity: Activity,
    replays: ReplayCache,
    uptime: UptimeClock,
    /// `None` unless the removal of unused mailboxes has begun and is not complete.
    pruning: Option<PruneProgress>,
    #[cfg(test)]
    fail_next_commit: bool,
}

impl PostgresStore {
    /// Connects, and creates or upgrades the tables if needed. With `notifies`, commits send notifications
    /// for the other nodes.
    pub(in crate::mailbox) fn open(
        url: &DatabaseUrl,
        limits: StoreLimits,
        node: NodeId,
        notifies: bool,
    ) -> Result<Self, ServerError> {
        Ok(Self {
            connection: Connection::open(url)?,
            node,
            batch: 0,
            limits,
            notifies,
            activity: Activity::new(Instant::now(), 0),
            replays: ReplayCache::default(),
            uptime: UptimeClock::default(),
            pruning: None,
            #[cfg(test)]
            fail_next_commit: false,
        })
    }

    /// Repeats `attempt` on a new connection while the connection is lost, until the time limit for clients.
    fn retry_while_lost<T>(
        &mut self,
        attempt: impl FnMut(&mut Self) -> Result<T, SessionError>,
    ) -> Result<T, StoreError> {
        retry_while_lost(self, |store| &mut store.connection, attempt).map_err(StoreError::Failed)
    }

    /// One transaction: reads the rows that are `wanted` and what `fetch` returns, lets `compute` change the rows, and
    /// commits. Returns the result of `compute`, and what was removed.
    fn transact<F, T>(
        &mut self,
        wanted: &Wanted<'_>,
        now: Now,
        fetch: impl AsyncFnOnce(&Session, &mut Snapshot, &mut ReplayCache) -> Result<F, SessionError>,
        compute: impl FnOnce(&mut Rules<'_, Snapshot>, F) -> Result<T, StoreError>,
    ) -> Result<(T, Vec<Usage>), SessionError> {
        let result = self.read(wanted, now, fetch).and_then(|(snapshot, fetched)| {
            let (snapshot, value, removed) = self.compute(snapshot, fetched, compute)?;
            self.commit(&snapshot)?;
            Ok((value, removed))
        });
        match &result {
            Ok(_) => self.activity.commit(),
            Err(_) => self.abandon(),
        }
        result
    }

    /// One transaction that changes rows directly with SQL statements, without the rules.
    fn transact_rows<T>(
        &mut self,
        now: Now,
        execute: impl AsyncFnOnce(&Session, &Snapshot) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let fetch = async |session: &Session, snapshot: &mut Snapshot, _: &mut ReplayCache| {
            execute(session, snapshot).await
        };
        let (value, _) = self.transact(&Wanted::default(), now, fetch, |_, value| Ok(value))?;
        Ok(value)
    }

    /// Lets `compute` change the rows.
    fn compute<F, T>(
        &mut self,
        snapshot: Snapshot,
        fetched: F,
        compute: impl FnOnce(&mut Rules<'_, Snapshot>, F) -> Result<T, StoreError>,
    ) -> Result<(Snapshot, T, Vec<Usage>), SessionError> {
        self.activity.set_stored(snapshot.server.stored_bytes.unsigned_abs());
        let (mut removed, limits) = (Vec::new(), self.limits);
        let activity = &mut self.activity;
        let mut rules = Rules { tables: snapshot, activity, limits, removed: &mut removed };
        let value = compute(&mut rules, fetched).map_err(|error| match error {
            StoreError::Failed(reason) => SessionError::Failed(reason),
            StoreError::Refused(refusal) => SessionError::Failed(refusal.to_string()),
        })?;
        let mut snapshot = rules.tables;
        snapshot.server.stored_bytes = i64::try_from(self.activity.stored()).unwrap_or(i64::MAX);
        Ok((snapshot, value, removed))
    }

    fn read<T>(
        &mut self,
        wanted: &Wanted<'_>,
        now: Now,
        fetch: impl AsyncFnOnce(&Session, &mut Snapshot, &mut ReplayCache) -> Result<T, SessionError>,
    ) -> Result<(Snapshot, T), SessionError> {
        let (mut clock, mut replays) = (self.uptime, std::mem::take(&mut self.replays));
        let result = self.connection.run(async |session| {
            let mut first = load::begin(session, wanted).await?;
            if first.version != Statements::TABLES.version() {
                return Err(SessionError::Failed(postgres::newer(first.version)));
            }
            let (stored, uptime) = clock.advance(first.server.uptime, now.monotonic);
            first.server.uptime = stored;
            let mut snapshot = first.into_snapshot(wanted, uptime)?;
            load::find_long_nameplates(session, wanted, &mut snapshot).await?;
            let value = fetch(session, &mut snapshot, &mut replays).await?;
            Ok((snapshot, value))
        });
        (self.uptime, self.replays) = (clock, replays);
        result
    }

    /// Writes and commits. After an error, nothing is durable, unless the result of the commit is unknown.
    fn commit(&mut self, snapshot: &Snapshot) -> Result<(), SessionError> {
        #[cfg(test)]
        if std::mem::take(&mut self.fail_next_commit) {
            return Err(SessionError::Failed("a test made this commit fail".into()));
        }
        self.batch += 1;
        let id = BatchId { node: self.node.number(), batch: self.batch };
        let payloads = if self.notifies { self.payloads(snapshot) } else { Vec::new() };
        let notification = Notification { channel: wake::CHANNEL, payloads: &payloads };
        let result = self
            .connection
            .continue_with(async |session| save::save(session, snapshot, id, notification).await);
        match result {
            Err(SessionError::Lost(reason)) => self
                .connection
                .check_commit(reason, async |session| was_committed(session, id).await),
            result => result,
        }
    }

    fn payloads(&self, snapshot: &Snapshot) -> Vec<String> {
        let changed = snapshot.mailboxes.iter().filter_map(|(name, cell)| {
            let row = cell.row.as_ref()?;
            snapshot.new_messages.iter().any(|new| Some(new.mailbox) == row.key).then_some(name)
        });
        wake::payloads_of(self.node, changed)
    }

    /// Reverts the changes of a failed transaction.
    fn abandon(&mut self) {
        self.activity.roll_back();
        self.replays.clear();
        self.connection.roll_back();
    }

    fn apply_once(
        &mut self,
        commands: &[Command<'_>],
        cursors: &[Cursor],
        now: Now,
    ) -> Result<Applied, SessionError> {
        let wanted = Wanted::by(commands, self.limits.hide_nameplates);
        let ((outcomes, from_other_nodes), removed) = self.transact(
            &wanted,
            now,
            async |session, snapshot, replays| {
                let executed = load::read_replays(session, commands, replays, snapshot).await?;
                let behind = behind(cursors, snapshot);
                let FetchedMessages { mailboxes: from_other_nodes, is_complete } =
                    load::read_after(session, &behind).await?;
                // Listeners receive all messages in order, so the messages of other nodes are delivered first.
                let executed = if is_complete { executed } else { 0 };
                Ok((executed, from_other_nodes))
            },
            |rules, (executed, from_other_nodes)| {
                let outcomes =
                    rules.execute_all(commands.iter().take(executed), |rules, command| {
                        // A copy: the batch may have to be repeated.
                        rules.execute(command.caller(now), &mut command.request.clone())
                    })?;
                Ok((outcomes, from_other_nodes))
            },
        )?;
        Ok(Applied { outcomes, removed, from_other_nodes })
    }
}

/// Whether a transaction is durable whose answer was lost.
async fn was_committed(session: &Session, id: BatchId) -> Result<bool, SessionError> {
    session.client.batch_execute("BEGIN").await?;
    // Waits until the lost transaction has ended.
    session.query(&session.statements.lock, &[]).await?;
    let rows = session.query(&session.statements.last_batch, &[&id.node]).await?;
    session.client.batch_execute("COMMIT").await?;
    let last = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose()?;
    Ok(last == Some(id.batch))
}

/// The cursors of mailboxes to which other nodes have added messages.
fn behind(cursors: &[Cursor], snapshot: &Snapshot) -> Vec<Cursor> {
    let is_behind = |cursor: &&Cursor| {
        let cell = snapshot.mailboxes.get(&*cursor.name);
        let row = cell.and_then(|cell| cell.row.as_ref());
        row.is_some_and(|row| row.last_message > cursor.after)
    };
    cursors.iter().filter(is_behind).cloned().collect()
}

impl Store for PostgresStore {
    fn apply(
        &mut self,
        commands: &mut [Command<'_>],
        cursors: &[Cursor],
        now: Now,
    ) -> Result<Applied, StoreError> {
        let count = commands.len().min(MAX_COMMANDS);
        let commands = commands.get(..count).unwrap_or_default();
        self.retry_while_lost(|store| store.apply_once(commands, cursors, now))
    }

    fn prune(&mut self, now: Now, expiry: Duration) -> Result<Pruned, StoreError> {
        self.prune_page(now, expiry)
    }

    fn keep_in_use(
        &mut self,
        now: Now,
        names: &[Arc<MailboxName>],
    ) -> Result<Vec<Arc<MailboxName>>, StoreError> {
        self.touch(now, names)
    }

    fn messages_after(&mut self, cursors: &[Cursor]) -> Result<FetchedMessages, StoreError> {
        self.retry_while_lost(|store| {
            store.connection.run(async |session| load::read_after(session, cursors).await)
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn stop_signal(&self) -> CancellationToken {
        self.connection.stop_signal().clone()
    }

    fn count(&mut self) -> Result<Counts, StoreError> {
        self.retry_while_lost(|store| {
            store.connection.run(async |session| {
                let row = session.client.query_one(&session.statements.count, &[]).await?;
                let number = |column| row.try_get(column).map(i64::unsigned_abs);
                Ok(Counts { nameplates: number(0)?, mailboxes: number(1)? })
            })
        })
    }

    /// Never fails, because the store reconnects to a lost database.
    fn check(&mut self) -> Result<(), ServerError> {
        Ok(())
    }

    /// Does nothing: PostgreSQL's autovacuum does this.
    fn reclaim(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Does nothing: PostgreSQL manages its own caches.
    fn release_memory(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    #[cfg(test)]
    fn fail_next_commit(&mut self) {
        self.fail_next_commit = true;
    }
}

/// Maximum number of requests in one transaction.
const MAX_COMMANDS: usize = 1000;
