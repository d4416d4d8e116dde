//! Gives the space of removed rows back to the file system, in small steps.

use rusqlite::Connection;

use super::SqliteStore;
use crate::mailbox::store::StoreError;

impl SqliteStore {
    /// Gives some of the unused pages back; returns false when few are left.
    ///
    /// The file gets shorter only after the last step.
    pub(super) fn reclaim_pages(&self) -> Result<bool, StoreError> {
        let free: u32 =
            self.database.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free <= KEPT {
            return Ok(false);
        }
        free_pages(&self.database, STEP.min(free - KEPT))?;
        let done = free - KEPT <= STEP;
        if done {
            self.truncate_log()?;
        }
        Ok(!done)
    }

    /// Moves the log into the file, which gets shorter then.
    fn truncate_log(&self) -> Result<(), StoreError> {
        Ok(self.database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }
}

/// Cuts so many unused pages off the end.
fn free_pages(database: &Connection, pages: u32) -> rusqlite::Result<()> {
    let mut statement = database.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    // Each step frees one.
    while rows.next()?.is_some() {}
    Ok(())
}

/// Unused pages that stay for later requests: 4 MiB.
const KEPT: u32 = 1024;

/// Pages that are given back in one step. Requests wait during a step.
const STEP: u32 = 2048;
