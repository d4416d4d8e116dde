//! Returns the space of removed rows to the file system, in small steps.

use rusqlite::Connection;

/// Removes some of the unused pages from the database; returns false when only few are left.
///
/// The file becomes smaller only after the last step.
pub(crate) fn reclaim(database: &Connection) -> rusqlite::Result<bool> {
    let free: u32 = database.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free <= KEPT {
        return Ok(false);
    }
    free_pages(database, STEP.min(free - KEPT))?;
    let done = free - KEPT <= STEP;
    if done {
        truncate_log(database)?;
    }
    Ok(!done)
}

/// Moves the write-ahead log into the database file, which then becomes smaller.
fn truncate_log(database: &Connection) -> rusqlite::Result<()> {
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Removes this number of unused pages from the database.
fn free_pages(database: &Connection, pages: u32) -> rusqlite::Result<()> {
    let mut statement = database.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    // Each step removes one page.
    while rows.next()?.is_some() {}
    Ok(())
}

/// Number of unused pages that are kept for later requests: 4 MiB.
const KEPT: u32 = 1024;

/// Number of pages that are removed in one call. Requests wait during a call.
const STEP: u32 = 2048;
