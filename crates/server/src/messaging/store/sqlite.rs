//! The store in one SQLite file that belongs to this process alone.
//!
//! Each turn is one transaction, so a thousand requests cost one write to the disk. It is flushed before the turn ends.

mod accounts;
mod cache;
mod consent;
mod counters;
mod delivery;
mod devices;
mod groups;
mod keys;
mod linking;
mod migrations;
mod profiles;
mod prune;
mod queues;
mod rows;

use std::path::Path;

use rusqlite::Connection;
use wormhole_chat::Timestamp;

use super::cache::AccountCache;
use super::{Counts, DeviceKey, Expiry, ReportKey, Rows, Store, StoreError, Turn, rules};
use crate::ServerError;
use crate::database::{self, DatabaseFile, Lock};
use counters::{Counters, QueueSizes};
#[cfg(test)]
pub(super) use migrations::STEPS;
use rows::SqliteTables;

/// The open database.
#[derive(Debug)]
pub(in crate::messaging) struct SqliteStore {
    database: Connection,
    file: DatabaseFile,
    counters: Counters,
    queues: QueueSizes,
    cache: AccountCache,
    report_key: ReportKey,
    /// The device whose queue was searched last for expired messages.
    pruned: Option<DeviceKey>,
    /// How a transaction begins: one that writes waits for the lock first.
    begin: &'static str,
    #[cfg(test)]
    fail_next_commit: bool,
    #[expect(dead_code, reason = "released when the database has been closed")]
    lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens the database; creates or upgrades it if needed.
    ///
    /// # Errors
    /// It cannot be used, or another server uses it.
    pub(in crate::messaging) fn open(path: &Path) -> Result<Self, ServerError> {
        Self::open_with(path, Some(Lock::take(path)?))
    }

    /// Opens the database to [edit](Self::edit) apps, perhaps while a server uses it.
    ///
    /// # Errors
    /// It cannot be used.
    pub(in crate::messaging) fn open_shared(path: &Path) -> Result<Self, ServerError> {
        Self::open_with(path, None)
    }

    /// Opens the database that this process has [opened](Self::open) already, only to read it, on another thread.
    ///
    /// # Errors
    /// It cannot be used.
    pub(in crate::messaging) fn open_reader(path: &Path) -> Result<Self, ServerError> {
        let store = Self::open_with(path, None)?;
        let bad = |error: rusqlite::Error| database::database_error(path, &error.to_string());
        store.database.pragma_update(None, "query_only", true).map_err(bad)?;
        // Each commit of the other thread makes it worthless.
        store.database.pragma_update(None, "cache_size", READER_CACHE_KIB).map_err(bad)?;
        Ok(Self { begin: "BEGIN", ..store })
    }

    fn open_with(path: &Path, lock: Option<Lock>) -> Result<Self, ServerError> {
        let database = migrations::open(path)?;
        let bad = |error: rusqlite::Error| database::database_error(path, &error.to_string());
        database.pragma_update(None, "cache_size", CACHE_KIB).map_err(bad)?;
        let counters = Counters::load(&database).map_err(bad)?;
        let report_key = consent::report_key(&database).map_err(bad)?;
        Ok(Self {
            database,
            file: DatabaseFile::new(path),
            counters,
            queues: QueueSizes::default(),
            cache: AccountCache::default(),
            report_key,
            pruned: None,
            begin: "BEGIN IMMEDIATE",
            #[cfg(test)]
            fail_next_commit: false,
            lock,
        })
    }

    /// Reads and writes rows in one transaction. A server that uses the database keeps some numbers about messages in its
    /// memory, so `work` must not touch devices and messages then.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(in crate::messaging) fn edit<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transaction(|tables| work(tables))
    }

    /// Runs `work` in a transaction: all of it is durable afterwards, or nothing has changed.
    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteTables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.begin().and_then(|()| work(&mut self.tables()));
        let result = result.and_then(|value| self.commit().map(|()| value));
        if result.is_err()
            && let Err(error) = self.roll_back()
        {
            tracing::error!(%error, "could not roll back the database");
        }
        result
    }

    fn begin(&self) -> Result<(), StoreError> {
        Ok(self.database.prepare_cached(self.begin)?.execute([]).map(drop)?)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.counters.save(&self.database)?;
        #[cfg(test)]
        if std::mem::take(&mut self.fail_next_commit) {
            return Err(StoreError::Database("a test made this commit fail".into()));
        }
        Ok(self.database.prepare_cached("COMMIT")?.execute([]).map(drop)?)
    }

    fn roll_back(&mut self) -> Result<(), StoreError> {
        self.queues.clear();
        self.cache.clear();
        if !self.database.is_autocommit() {
            self.database.execute_batch("ROLLBACK")?;
        }
        self.counters = Counters::load(&self.database)?;
        Ok(())
    }

    const fn tables(&mut self) -> SqliteTables<'_> {
        SqliteTables {
            database: &self.database,
            counters: &mut self.counters,
            queues: &mut self.queues,
            cache: &mut self.cache,
            report_key: &self.report_key,
            removed: Vec::new(),
        }
    }
}

impl Store for SqliteStore {
    fn apply(&mut self, turn: &mut Turn, now: Timestamp) -> Result<(), StoreError> {
        self.transaction(|tables| rules::execute(tables, turn, now))
    }

    fn prune(&mut self, expiry: Expiry, now: Timestamp) -> Result<bool, StoreError> {
        let after = self.pruned;
        let (next, has_more) = self.transaction(|tables| tables.prune(expiry, now, after))?;
        self.pruned = next;
        Ok(has_more || database::reclaim(&self.database)?)
    }

    fn count(&mut self) -> Result<Counts, StoreError> {
        let count = |sql| self.database.query_row(sql, [], |row| row.get::<_, u64>(0));
        Ok(Counts {
            accounts: count("SELECT count(*) FROM accounts")?,
            devices: count("SELECT count(*) FROM devices")?,
            messages: self.counters.messages(),
        })
    }

    fn check(&mut self) -> Result<(), ServerError> {
        let reason = "the file was removed or replaced while the server was using it";
        self.file.check().map_err(|path| database::database_error(&path, reason))
    }

    #[cfg(test)]
    fn fail_next_commit(&mut self) {
        self.fail_next_commit = true;
    }
}

/// The text of SQLite's error names tables and files, never values.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// Page cache, in KiB (SQLite writes KiB as a negative number): the rows of some 50,000 devices.
const CACHE_KIB: i64 = -65_536;

/// Page cache of the thread that only reads, in the same unit.
const READER_CACHE_KIB: i64 = -8192;

#[cfg(test)]
mod tests;
