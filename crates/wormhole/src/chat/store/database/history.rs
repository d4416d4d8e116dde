//! The rows of the message history, in tables of their own: they are not read when the store is opened.
//!
//! A message has a number, which says when it was added, and a keyed hash of its author and timestamp. The words of a segment
//! are in pages, numbered from 65,536 times the number of its first message. Both values are sealed.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{CHECKPOINT_BUSY, Database, StoreError, Transaction};

/// The tables of the history.
#[derive(Clone, Copy)]
pub(in crate::chat::store) struct HistoryTable<'a>(&'a Connection);

impl Database {
    pub(in crate::chat::store) const fn history(&self) -> HistoryTable<'_> {
        HistoryTable(&self.connection)
    }

    /// Overwrites the log, so that it does not contain what was deleted. Everything in it is in the database before.
    pub(in crate::chat::store) fn wipe_log(&self) -> Result<(), StoreError> {
        self.checkpoint("RESTART")?;
        let mut name = self.path.as_os_str().to_owned();
        name.push("-wal");
        if let Ok(mut log) = std::fs::OpenOptions::new().write(true).open(name) {
            let length = log.seek(SeekFrom::End(0))?;
            log.seek(SeekFrom::Start(0))?;
            std::io::copy(&mut std::io::repeat(0).take(length), &mut log)?;
            log.sync_data()?;
        }
        self.checkpoint("TRUNCATE")
    }

    fn checkpoint(&self, mode: &str) -> Result<(), StoreError> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let is_busy: bool = self.connection.query_row(&sql, [], |row| row.get(0))?;
        if is_busy { Err(StoreError::Database(CHECKPOINT_BUSY.to_owned())) } else { Ok(()) }
    }
}

impl Transaction<'_> {
    pub(in crate::chat::store) fn history(&self) -> HistoryTable<'_> {
        HistoryTable(&self.transaction)
    }
}

impl HistoryTable<'_> {
    /// Passes the messages with these numbers to `handle`, the newest first, until it returns false.
    pub(in crate::chat::store) fn for_each(
        self,
        numbers: RangeInclusive<i64>,
        mut handle: impl FnMut(i64, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT number, sealed FROM history WHERE number BETWEEN ? AND ? ORDER BY number DESC",
        )?;
        let mut rows = statement.query([numbers.start(), numbers.end()])?;
        while let Some(row) = rows.next()? {
            let sealed = row.get_ref(1)?.as_blob().map_err(|_| StoreError::Damaged)?;
            if !handle(row.get(0)?, sealed)? {
                break;
            }
        }
        Ok(())
    }

    /// Passes the messages with these numbers to `handle`, the oldest first.
    pub(in crate::chat::store) fn for_each_ascending(
        self,
        numbers: RangeInclusive<i64>,
        mut handle: impl FnMut(i64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT number, sealed FROM history WHERE number BETWEEN ? AND ? ORDER BY number",
        )?;
        let mut rows = statement.query([numbers.start(), numbers.end()])?;
        while let Some(row) = rows.next()? {
            handle(row.get(0)?, row.get_ref(1)?.as_blob().map_err(|_| StoreError::Damaged)?)?;
        }
        Ok(())
    }

    /// A message.
    pub(in crate::chat::store) fn get(self, number: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut read = self.0.prepare_cached("SELECT sealed FROM history WHERE number = ?")?;
        Ok(read.query_row([number], |row| row.get(0)).optional()?)
    }

    /// The numbers of the messages with this keyed hash, the newest first.
    pub(in crate::chat::store) fn named(self, name: i64) -> Result<Vec<i64>, StoreError> {
        let mut read = self.0.prepare_cached(
            "SELECT number FROM history WHERE name = ? ORDER BY number DESC LIMIT 16",
        )?;
        let numbers = read.query_map([name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(numbers)
    }

    /// Writes a message, or replaces it.
    pub(in crate::chat::store) fn put(
        self,
        number: i64,
        name: i64,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let mut write = self.0.prepare_cached("INSERT OR REPLACE INTO history VALUES (?, ?, ?)")?;
        write.execute(params![number, name, sealed])?;
        Ok(())
    }

    pub(in crate::chat::store) fn delete(self, number: i64) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM history WHERE number = ?")?.execute([number])?;
        Ok(())
    }

    /// A page of words.
    pub(in crate::chat::store) fn words(self, page: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut read = self.0.prepare_cached("SELECT sealed FROM history_words WHERE page = ?")?;
        Ok(read.query_row([page], |row| row.get(0)).optional()?)
    }

    /// Deletes pages of words.
    pub(in crate::chat::store) fn delete_words(
        self,
        pages: RangeInclusive<i64>,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM history_words WHERE page BETWEEN ? AND ?";
        self.0.prepare_cached(sql)?.execute([pages.start(), pages.end()])?;
        Ok(())
    }

    /// Adds a page of words.
    pub(in crate::chat::store) fn put_words(
        self,
        page: i64,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let mut write = self.0.prepare_cached("INSERT INTO history_words VALUES (?, ?)")?;
        write.execute(params![page, sealed])?;
        Ok(())
    }

    /// Deletes everything.
    pub(in crate::chat::store) fn clear(self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch("DELETE FROM history; DELETE FROM history_words;")?)
    }
}

/// Version 2 of the tables.
pub(super) const TABLES: &str = "
    CREATE TABLE history (
        number INTEGER PRIMARY KEY, name INTEGER NOT NULL, sealed BLOB NOT NULL
    );
    CREATE INDEX history_names ON history (name);
    CREATE TABLE history_words (first INTEGER PRIMARY KEY, sealed BLOB NOT NULL);";

/// Version 3 of the tables: words are in pages. Segments whose words were stored before are read completely.
pub(super) const PAGES: &str = "
    DROP TABLE history_words;
    CREATE TABLE history_words (page INTEGER PRIMARY KEY, sealed BLOB NOT NULL);";
