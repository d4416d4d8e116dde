//! The store in one SQLite file, which only this process uses.
//!
//! Each batch is one transaction, so a thousand requests cost one write to disk.

mod import;
mod migrations;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::replay_cache::ReplayCache;
use super::rules::Rules;
use super::short_nameplates::ShortNameplates;
use super::{
    Applied, Command, Counts, Cursor, FetchedMessages, MailboxName, Now, Pruned, Store, StoreError,
    StoreLimits,
};
use crate::ServerError;
use crate::database::{self, DatabaseFile, Lock};
use crate::mailbox::usage::Usage;
pub(crate) use import::Imported;
pub(in crate::mailbox) use import::import;
use tables::SqliteTables;

/// The open database.
#[derive(Debug)]
pub(in crate::mailbox) struct SqliteStore {
    database: Connection,
    file: DatabaseFile,
    short_nameplates: ShortNameplates,
    limits: StoreLimits,
    activity: Activity,
    removed: Vec<Usage>,
    replays: ReplayCache,
    /// Counts the messages that were added since the start.
    position: i64,
    #[cfg(test)]
    fail_next_commit: bool,
    #[expect(dead_code, reason = "released when the database has been closed")]
    lock: Lock,
}

impl SqliteStore {
    /// Opens the database, creating or upgrading it if needed.
    pub(in crate::mailbox) fn open(path: &Path, limits: StoreLimits) -> Result<Self, ServerError> {
        let lock = Lock::take(path)?;
        let database = migrations::open(path)?;
        let bad = |error: StoreError| database::database_error(path, &error.to_string());
        let stored = tables::stored_bytes(&database).map_err(|error| bad(error.into()))?;
        let mut store = Self {
            database,
            file: DatabaseFile::new(path),
            short_nameplates: ShortNameplates::default(),
            limits,
            activity: Activity::new(Now::read().monotonic, stored),
            removed: Vec::new(),
            replays: ReplayCache::default(),
            position: 0,
            #[cfg(test)]
            fail_next_commit: false,
            lock,
        };
        store.load_short_nameplates().map_err(bad)?;
        Ok(store)
    }

    fn begin(&self) -> Result<(), StoreError> {
        Ok(self.database.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)?)
    }

    /// Makes the transaction durable and returns the nameplates and mailboxes that it removed.
    fn commit(&mut self) -> Result<Vec<Usage>, StoreError> {
        #[cfg(test)]
        if std::mem::take(&mut self.fail_next_commit) {
            return Err(StoreError::Failed("a test made this commit fail".into()));
        }
        self.database.prepare_cached("COMMIT")?.execute([])?;
        self.activity.commit();
        Ok(std::mem::take(&mut self.removed))
    }

    /// Runs `work` in a transaction. Afterwards, all its changes are durable, or none was made.
    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<(T, Vec<Usage>), StoreError> {
        let result =
            self.begin().and_then(|()| work(self)).and_then(|value| Ok((value, self.commit()?)));
        if result.is_err()
            && let Err(error) = self.roll_back()
        {
            tracing::error!(%error, "could not roll back the database");
        }
        result
    }

    fn roll_back(&mut self) -> Result<(), StoreError> {
        self.removed.clear();
        self.replays.clear();
        self.activity.roll_back();
        if !self.database.is_autocommit() {
            self.database.execute_batch("ROLLBACK")?;
        }
        self.load_short_nameplates()
    }

    fn rules(&mut self) -> Rules<'_, SqliteTables<'_>> {
        let tables = SqliteTables {
            database: &self.database,
            short_nameplates: &mut self.short_nameplates,
            replays: &mut self.replays,
            position: &mut self.position,
        };
        let (limits, removed) = (self.limits, &mut self.removed);
        Rules { tables, activity: &mut self.activity, limits, removed }
    }

    fn touch(&mut self, names: &[Arc<MailboxName>], now: Now) -> Result<(), StoreError> {
        let sql = "UPDATE mailboxes SET updated = ? WHERE app = ? AND id = ? RETURNING key";
        let mut touch = self.database.prepare_cached(sql)?;
        for name in names {
            let row = params![now.wall.as_secs_f64(), name.app, name.mailbox];
            if let Some(key) = touch.query_row(row, |row| row.get(0)).optional()? {
                self.activity.record_listening(key, now);
            }
        }
        Ok(())
    }

    fn load_short_nameplates(&mut self) -> Result<(), StoreError> {
        let mut short_nameplates = ShortNameplates::default();
        let mut statement = self.database.prepare("SELECT app, name FROM nameplates")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (app, name): (String, String) = (row.get(0)?, row.get(1)?);
            short_nameplates.mark_taken(&app, &name);
        }
        self.short_nameplates = short_nameplates;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn apply(
        &mut self,
        commands: &mut [Command<'_>],
        _: &[Cursor],
        now: Now,
    ) -> Result<Applied, StoreError> {
        let (outcomes, removed) = self.transaction(|store| {
            store.rules().execute_all(commands.iter_mut(), |rules, command| {
                rules.execute(command.caller(now), command.request)
            })
        })?;
        Ok(Applied { outcomes, removed, from_other_nodes: Vec::new() })
    }

    fn prune(&mut self, now: Now, expiry: Duration) -> Result<Pruned, StoreError> {
        let (mailboxes, removed) = self.transaction(|store| {
            let unused = |key, updated| store.activity.is_unused(key, updated, now, expiry);
            let unused = tables::select_mailboxes(&store.database, unused)?;
            for key in &unused {
                let mailbox = tables::mailbox_at(&store.database, *key)?;
                store.rules().prune(&mailbox, now)?;
            }
            Ok(unused.len())
        })?;
        Ok(Pruned { mailboxes, removed, is_complete: true })
    }

    /// Finds no removed mailboxes, because no other process removes any.
    fn keep_in_use(
        &mut self,
        now: Now,
        names: &[Arc<MailboxName>],
    ) -> Result<Vec<Arc<MailboxName>>, StoreError> {
        self.transaction(|store| store.touch(names, now))?;
        Ok(Vec::new())
    }

    /// Finds nothing: no other process adds messages.
    fn messages_after(&mut self, _: &[Cursor]) -> Result<FetchedMessages, StoreError> {
        Ok(FetchedMessages { mailboxes: Vec::new(), is_complete: true })
    }

    fn is_shared(&self) -> bool {
        false
    }

    /// The database is always there.
    fn stop_signal(&self) -> CancellationToken {
        CancellationToken::new()
    }

    fn count(&mut self) -> Result<Counts, StoreError> {
        let count = |sql| self.database.query_row(sql, [], |row| row.get::<_, i64>(0));
        let nameplates = count("SELECT count(*) FROM nameplates")?.unsigned_abs();
        let mailboxes = count("SELECT count(*) FROM mailboxes")?.unsigned_abs();
        Ok(Counts { nameplates, mailboxes })
    }

    fn check(&mut self) -> Result<(), ServerError> {
        let reason = "the file was removed or replaced while the server was using it";
        self.file.check().map_err(|path| database::database_error(&path, reason))
    }

    fn reclaim(&mut self) -> Result<bool, StoreError> {
        Ok(database::reclaim(&self.database)?)
    }

    fn release_memory(&mut self) -> Result<(), StoreError> {
        Ok(self.database.execute_batch("PRAGMA shrink_memory")?)
    }

    #[cfg(test)]
    fn fail_next_commit(&mut self) {
        self.fail_next_commit = true;
    }
}

/// The text of an SQLite error contains names of tables and files, but never values.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests;
