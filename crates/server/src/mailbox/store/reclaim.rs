//! Gives the space of what was removed back to the file system, a little at a time.

use rusqlite::Connection;

use super::{Store, StoreError};

impl Store {
    /// Gives some of the unused pages back; false once there are few.
    ///
    /// The file gets shorter with the last of them.
    pub(in crate::mailbox) fn reclaim(&self) -> Result<bool, StoreError> {
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

    /// Gives back the memory of the page cache.
    pub(in crate::mailbox) fn shrink(&self) -> Result<(), StoreError> {
        Ok(self.database.execute_batch("PRAGMA shrink_memory")?)
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

/// Unused pages that stay for what comes next: 4 MiB.
const KEPT: u32 = 1024;

/// Pages that are given back at once: requests wait meanwhile.
const STEP: u32 = 2048;
