//! The store in a PostgreSQL database that any number of nodes share.
//!
//! A batch costs two round trips, or three if it replays messages: read and lock, then write and
//! commit. Every transaction first locks the one row of `wormhole_server`, so transactions of all nodes run one
//! after the other, as they do in SQLite, and messages have one order for all nodes.
//!
//! These limits hold for all nodes together: messages and bytes of a mailbox, bytes of the database, expiry. How
//! much one address stores is counted by each node for itself, because addresses are never written.
//!
//! A lost connection is replaced. If it is lost during a commit, the row of this node in `wormhole_nodes` shows
//! whether the transaction is durable.

mod load;
mod save;
mod schema;
mod session;
mod snapshot;
mod statements;
mod uptime;
mod url;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::Config;

use super::activity::Activity;
use super::replay_cache::ReplayCache;
use super::rules::{Rules, Tables};
use super::{
    Applied, Command, Counts, Cursor, Found, MAX_ANSWER_BYTES, MailboxName, Missed, Now, Outcome,
    Pruned, Store, StoreError, StoreLimits,
};
use crate::ServerError;
use crate::mailbox::usage::Usage;
use crate::mailbox::wake::{self, NodeId};
use load::Wanted;
use save::{BatchId, Notification};
use session::{ROUND, Session, SessionError, within};
use snapshot::Snapshot;
use uptime::UptimeClock;
pub(crate) use url::DatabaseUrl;

/// A node's access to the shared database.
#[derive(Debug)]
pub(in crate::mailbox) struct PostgresStore {
    config: Config,
    /// Runs the connection while this thread waits for it.
    runtime: Runtime,
    session: Option<Session>,
    node: NodeId,
    /// Number of the last transaction of this node.
    batch: i64,
    limits: StoreLimits,
    /// Whether commits notify the other nodes.
    notifies: bool,
    activity: Activity,
    replays: ReplayCache,
    uptime: UptimeClock,
    /// If the last call failed because PostgreSQL was away: when to try again.
    down_until: Option<Instant>,
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
        let bad = |path: &str, reason: &str| ServerError::Database {
            path: path.into(),
            reason: reason.into(),
        };
        let config = url.parse().map_err(|reason| bad("of PostgreSQL", reason))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ServerError::System(error.to_string()))?;
        let session = runtime
            .block_on(Session::connect(&config))
            .map_err(|error| bad(&url::describe(&config), &error.text()))?;
        Ok(Self {
            config,
            runtime,
            session: Some(session),
            node,
            batch: 0,
            limits,
            notifies,
            activity: Activity::new(Instant::now(), 0),
            replays: ReplayCache::default(),
            uptime: UptimeClock::default(),
            down_until: None,
            #[cfg(test)]
            fail_next_commit: false,
        })
    }

    /// Does something on a connection; connects first if needed.
    fn on_session<T>(
        &mut self,
        work: impl AsyncFnOnce(&Session) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => self.runtime.block_on(Session::connect(&self.config))?,
        };
        let result = self.runtime.block_on(within(ROUND, work(&session)));
        if !matches!(result, Err(SessionError::Lost(_))) {
            self.session = Some(session);
        }
        result
    }

    /// Repeats an attempt on new connections for up to [`PATIENCE`] while the connection is lost. After that, calls
    /// fail at once, and one call every [`DOWN_PAUSE`] makes one attempt, until an attempt succeeds.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, SessionError>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        if self.down_until.is_some_and(|time| start < time) {
            return Err(StoreError::Failed(AWAY.into()));
        }
        let deadline = if self.down_until.is_some() { start } else { start + PATIENCE };
        let mut is_lost = self.down_until.is_some();
        loop {
            match attempt(self) {
                Ok(value) => {
                    self.down_until = None;
                    if is_lost {
                        tracing::info!("connected to PostgreSQL again");
                    }
                    return Ok(value);
                }
                Err(SessionError::Lost(reason)) => {
                    if !std::mem::replace(&mut is_lost, true) {
                        tracing::warn!(
                            reason,
                            "lost the connection to PostgreSQL, connecting again"
                        );
                    }
                    if Instant::now() >= deadline {
                        self.down_until = Some(Instant::now() + DOWN_PAUSE);
                        return Err(StoreError::Failed(AWAY.into()));
                    }
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(SessionError::Failed(reason)) => return Err(StoreError::Failed(reason)),
            }
        }
    }

    /// One transaction: reads what is `wanted`, lets `compute` change it, and commits.
    fn transact<T>(
        &mut self,
        wanted: &Wanted<'_>,
        now: Now,
        fetch: impl AsyncFnOnce(&Session, &mut Snapshot, &mut ReplayCache) -> Result<T, SessionError>,
        compute: impl FnOnce(&mut Rules<'_, Snapshot>, T) -> Result<T, StoreError>,
    ) -> Result<(T, Vec<Usage>), SessionError> {
        let work = match self.read(wanted, now, fetch) {
            Ok(work) => work,
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        };
        let (snapshot, value) = work;
        self.activity.set_stored(snapshot.server.stored_bytes.unsigned_abs());
        let (mut removed, limits) = (Vec::new(), self.limits);
        let activity = &mut self.activity;
        let mut rules = Rules { tables: snapshot, activity, limits, removed: &mut removed };
        let result = compute(&mut rules, value);
        let mut snapshot = rules.tables;
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                self.abandon();
                return Err(match error {
                    StoreError::Failed(reason) => SessionError::Failed(reason),
                    StoreError::Refused(refusal) => SessionError::Failed(refusal.to_string()),
                });
            }
        };
        let stored = i64::try_from(self.activity.stored()).unwrap_or(i64::MAX);
        snapshot.server.stored_bytes = stored;
        match self.commit(&snapshot) {
            Ok(()) => {
                self.activity.commit();
                Ok((value, removed))
            }
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn read<T>(
        &mut self,
        wanted: &Wanted<'_>,
        now: Now,
        fetch: impl AsyncFnOnce(&Session, &mut Snapshot, &mut ReplayCache) -> Result<T, SessionError>,
    ) -> Result<(Snapshot, T), SessionError> {
        let (mut clock, mut replays) = (self.uptime, std::mem::take(&mut self.replays));
        let result = self.on_session(async |session| {
            let mut first = load::begin(session, wanted).await?;
            if first.version != schema::VERSION {
                return Err(SessionError::Failed(session::newer(first.version)));
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

    /// Writes and commits; when it returns an error, nothing is durable as far as can be known.
    fn commit(&mut self, snapshot: &Snapshot) -> Result<(), SessionError> {
        #[cfg(test)]
        if std::mem::take(&mut self.fail_next_commit) {
            return Err(SessionError::Failed("a test made this commit fail".into()));
        }
        self.batch += 1;
        let id = BatchId { node: self.node.number(), batch: self.batch };
        let payloads = if self.notifies { self.payloads(snapshot) } else { Vec::new() };
        let notification = Notification { channel: wake::CHANNEL, payloads: &payloads };
        let result =
            self.on_session(async |session| save::save(session, snapshot, id, notification).await);
        match result {
            Err(SessionError::Lost(reason)) => self.was_committed(id, reason),
            result => result,
        }
    }

    fn payloads(&self, snapshot: &Snapshot) -> Vec<String> {
        let changed = snapshot.mailboxes.iter().filter_map(|(name, cell)| {
            let row = cell.row.as_ref()?;
            snapshot.new_messages.iter().any(|new| Some(new.mailbox) == row.key).then_some(name)
        });
        wake::payloads(self.node, changed)
    }

    /// Finds out whether a transaction is durable whose answer was lost.
    fn was_committed(&mut self, id: BatchId, reason: String) -> Result<(), SessionError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.on_session(async |session| {
                session.client.batch_execute("BEGIN").await?;
                // Waits until the lost transaction has ended.
                session.query(&session.statements.lock, &[]).await?;
                let rows = session.query(&session.statements.last_batch, &[&id.node]).await?;
                session.client.batch_execute("COMMIT").await?;
                Ok(rows.first().map(|row| row.try_get::<_, i64>(0)).transpose()?)
            });
            match found {
                Ok(Some(batch)) if batch == id.batch => return Ok(()),
                Ok(_) => return Err(SessionError::Lost(reason)),
                Err(SessionError::Lost(_)) if Instant::now() < deadline => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(error) => {
                    let unknown = format!("a commit may or may not be durable: {}", error.text());
                    return Err(SessionError::Failed(unknown));
                }
            }
        }
    }

    /// Forgets what a failed transaction has changed.
    fn abandon(&mut self) {
        self.activity.roll_back();
        self.replays.clear();
        let Some(session) = self.session.take() else { return };
        if self.runtime.block_on(session.roll_back()).is_ok() {
            self.session = Some(session);
        }
    }

    fn apply_once(
        &mut self,
        commands: &[Command<'_>],
        cursors: &[Cursor],
        now: Now,
    ) -> Result<Applied, SessionError> {
        let wanted = Wanted::by(commands, self.limits.hide_nameplates);
        let (batch, removed) = self.transact(
            &wanted,
            now,
            async |session, snapshot, replays| {
                let executed = load::read_replays(session, commands, replays, snapshot).await?;
                let behind = behind(cursors, snapshot);
                let Found { missed, is_complete } = load::read_after(session, &behind).await?;
                // Listeners get all messages in order, so the missed ones go first.
                let executed = if is_complete { executed } else { 0 };
                Ok(Batch { executed, missed, outcomes: Vec::new() })
            },
            |rules, mut batch| {
                let commands = commands.iter().take(batch.executed);
                batch.outcomes = execute_all(rules, commands, now)?;
                Ok(batch)
            },
        )?;
        Ok(Applied { outcomes: batch.outcomes, removed, missed: batch.missed })
    }

    /// Removes some unused mailboxes; returns how many.
    fn prune_some(
        &mut self,
        now: Now,
        expiry: Duration,
    ) -> Result<(usize, Vec<Usage>), StoreError> {
        let (_, names) = self.persist(|store| store.unused_mailboxes(now, expiry))?;
        if names.is_empty() {
            return Ok((0, Vec::new()));
        }
        self.persist(|store| {
            let mut wanted = Wanted::default();
            names.iter().for_each(|name| wanted.mailbox(&name.app, &name.mailbox));
            let seconds = expiry.as_secs_f64();
            store.transact(
                &wanted,
                now,
                async |_, _, _| Ok(0),
                |rules, _| {
                    let uptime = rules.tables.uptime;
                    let mut pruned = 0;
                    for name in &names {
                        let mailbox = rules.tables.mailbox(&name.app, &name.mailbox)?;
                        // Another node may have used or removed it since it was selected.
                        if let Some(mailbox) = mailbox.filter(|row| uptime - row.updated >= seconds)
                        {
                            rules.prune(&mailbox, now)?;
                            pruned += 1;
                        }
                    }
                    Ok(pruned)
                },
            )
        })
    }

    fn unused_mailboxes(
        &mut self,
        now: Now,
        expiry: Duration,
    ) -> Result<(f64, Vec<MailboxName>), SessionError> {
        let ((uptime, names), _) = self.transact(
            &Wanted::default(),
            now,
            async |session, snapshot, _| {
                let before = snapshot.uptime - expiry.as_secs_f64();
                let statement = &session.statements.unused_mailboxes;
                let rows = session.query(statement, &[&before, &PRUNED_AT_ONCE]).await?;
                let name = |row| -> Result<MailboxName, SessionError> {
                    Ok(MailboxName { app: load::text(row, 0)?, mailbox: load::text(row, 1)? })
                };
                Ok((snapshot.uptime, rows.iter().map(name).collect::<Result<Vec<_>, _>>()?))
            },
            |_, found| Ok(found),
        )?;
        Ok((uptime, names))
    }

    /// Writes that these mailboxes are used now.
    fn touch(&mut self, now: Now, names: &[MailboxName]) -> Result<(), StoreError> {
        for names in names.chunks(TOUCHED_AT_ONCE) {
            let apps: Vec<&[u8]> = names.iter().map(|name| name.app.as_bytes()).collect();
            let ids: Vec<&[u8]> = names.iter().map(|name| name.mailbox.as_bytes()).collect();
            self.persist(|store| {
                store.transact(
                    &Wanted::default(),
                    now,
                    async |session, snapshot, _| {
                        let statement = &session.statements.touch;
                        session.query(statement, &[&apps, &ids, &snapshot.uptime]).await?;
                        Ok(())
                    },
                    |_, ()| Ok(()),
                )
            })?;
        }
        Ok(())
    }

    /// Drops what this node knows about mailboxes that other nodes have removed, and nodes that are gone.
    fn forget_removed(&mut self, now: Now) -> Result<(), StoreError> {
        let keys = self.activity.keys();
        for keys in keys.chunks(TOUCHED_AT_ONCE) {
            let removed: Vec<i64> = self.persist(|store| {
                store.on_session(async |session| {
                    let rows = session.query(&session.statements.removed_keys, &[&keys]).await?;
                    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
                })
            })?;
            removed.into_iter().for_each(|key| self.activity.discard(key));
        }
        self.persist(|store| {
            store.transact(
                &Wanted::default(),
                now,
                async |session, snapshot, _| {
                    let before = snapshot.uptime - NODE_EXPIRY;
                    session.query(&session.statements.forget_nodes, &[&before]).await?;
                    Ok(())
                },
                |_, ()| Ok(()),
            )
        })?;
        Ok(())
    }
}

/// What one attempt at a batch has found and done.
#[derive(Debug)]
struct Batch {
    executed: usize,
    missed: Vec<Missed>,
    outcomes: Vec<Outcome>,
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

fn execute_all<'a>(
    rules: &mut Rules<'_, Snapshot>,
    commands: impl Iterator<Item = &'a Command<'a>>,
    now: Now,
) -> Result<Vec<Outcome>, StoreError> {
    let (mut outcomes, mut bytes) = (Vec::new(), 0);
    for command in commands {
        // A copy: the batch may have to be repeated.
        let mut request = command.request.clone();
        let outcome = match rules.execute(command.caller(now), &mut request) {
            Err(StoreError::Refused(refusal)) => Outcome::refused(refusal),
            result => result?,
        };
        bytes += outcome.bytes();
        outcomes.push(outcome);
        if bytes >= MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(outcomes)
}

impl Store for PostgresStore {
    fn apply(
        &mut self,
        commands: &mut [Command<'_>],
        cursors: &[Cursor],
        now: Now,
    ) -> Result<Applied, StoreError> {
        let most = commands.len().min(MAX_COMMANDS);
        let commands = commands.get(..most).unwrap_or_default();
        self.persist(|store| store.apply_once(commands, cursors, now))
    }

    fn prune(
        &mut self,
        now: Now,
        expiry: Duration,
        listened: &mut dyn Iterator<Item = &MailboxName>,
    ) -> Result<Pruned, StoreError> {
        let listened: Vec<MailboxName> = listened.cloned().collect();
        self.touch(now, &listened)?;
        let (mut mailboxes, mut removed) = (0, Vec::new());
        loop {
            let (pruned, usage) = self.prune_some(now, expiry)?;
            removed.extend(usage);
            mailboxes += pruned;
            if pruned == 0 {
                break;
            }
        }
        self.forget_removed(now)?;
        Ok(Pruned { mailboxes, removed })
    }

    fn messages_after(&mut self, cursors: &[Cursor]) -> Result<Found, StoreError> {
        self.persist(|store| {
            store.on_session(async |session| load::read_after(session, cursors).await)
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn count(&mut self) -> Result<Counts, StoreError> {
        self.persist(|store| {
            store.on_session(async |session| {
                let row = session.client.query_one(&session.statements.count, &[]).await?;
                let number = |column| row.try_get(column).map(i64::unsigned_abs);
                Ok(Counts { nameplates: number(0)?, mailboxes: number(1)? })
            })
        })
    }

    /// A lost database comes back, so this never fails.
    fn check(&mut self) -> Result<(), ServerError> {
        Ok(())
    }

    /// PostgreSQL's autovacuum does this.
    fn reclaim(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// The caches are PostgreSQL's.
    fn release_memory(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    #[cfg(test)]
    fn fail_next_commit(&mut self) {
        self.fail_next_commit = true;
    }
}

/// How long clients wait for a lost PostgreSQL before their requests are refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Pause between two attempts to connect once clients do not wait for them any more.
const DOWN_PAUSE: Duration = Duration::from_secs(1);

/// Why requests fail without an attempt.
const AWAY: &str = "PostgreSQL is not available";

/// Requests in one transaction.
const MAX_COMMANDS: usize = 1000;

/// Mailboxes that one transaction removes because nobody uses them.
const PRUNED_AT_ONCE: i64 = 1000;

/// Mailboxes in one statement that keeps them in use.
const TOUCHED_AT_ONCE: usize = 1000;

/// Seconds of uptime after which the row of a node that is gone is removed.
const NODE_EXPIRY: f64 = 86_400.0;
