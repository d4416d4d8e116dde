//! Creates, checks and upgrades the database file.
//!
//! The tables of a new file are created in one transaction. An upgrade first copies the file to `FILE-backup-vN`, and
//! then runs all steps in one transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use wormhole_disk::with_suffix;

use super::{SqlPath, create_file};
use crate::ServerError;

/// The tables of a database, and how to recognise it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema<'a> {
    /// The steps that create each version from the one before: the first creates version 1, the next version 2, ...
    pub(crate) steps: &'a [&'a str],
    /// A table of every version, which databases of other services do not have.
    pub(crate) table: &'a str,
    /// Says why a file with other tables is not used.
    pub(crate) refusal: fn(&Connection) -> rusqlite::Result<String>,
}

/// Opens a database; creates or upgrades it if needed.
///
/// # Errors
/// The file cannot be used, or belongs to another program, another service or a newer version.
pub(crate) fn open(path: &Path, schema: Schema<'_>) -> Result<Connection, ServerError> {
    open_with(path, schema).map_err(|error| database_error(path, &error))
}

/// An error that names the file.
pub(crate) fn database_error(path: &Path, reason: &str) -> ServerError {
    ServerError::Database { path: path.display().to_string(), reason: reason.into() }
}

fn open_with(path: &Path, schema: Schema<'_>) -> Result<Connection, String> {
    let steps = schema.steps;
    let flags = OpenFlags::default() & !OpenFlags::SQLITE_OPEN_URI;
    create_file(path).map_err(text_of_error)?;
    let mut database = Connection::open_with_flags(path, flags).map_err(text_of_error)?;
    database.busy_timeout(BUSY_TIMEOUT).map_err(text_of_error)?;
    // The first counts for a file that is new, before its first page is written.
    let set = database
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .and_then(|()| set_pragmas(&database, "FULL"));
    set.map_err(text_of_error)?;
    database.set_prepared_statement_cache_capacity(STATEMENTS);
    let version = database.pragma_query_value(None, "user_version", |row| row.get(0));
    let version: usize = version.map_err(text_of_error)?;
    if version > steps.len() {
        return Err(format!(
            "made by a newer version of this server (schema {version}): upgrade the server"
        ));
    }
    let is_ours = if version == 0 {
        !has_tables(&database).map_err(text_of_error)?
    } else {
        database.table_exists(Some("main"), schema.table).map_err(text_of_error)?
    };
    if !is_ours {
        return Err((schema.refusal)(&database).map_err(text_of_error)?);
    }
    if version > 0 && version < steps.len() {
        back_up(&database, path, version).map_err(text_of_error)?;
    }
    let upgrade = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let upgrade = upgrade.map_err(text_of_error)?;
    for step in steps.iter().skip(version) {
        upgrade.execute_batch(step).map_err(text_of_error)?;
    }
    upgrade.pragma_update(None, "user_version", steps.len()).map_err(text_of_error)?;
    upgrade.commit().map_err(text_of_error)?;
    if let Err(error) = enable_incremental_vacuum(&database) {
        tracing::warn!(%error, "could not compact the database: its file does not shrink; the next start tries again");
    }
    Ok(database)
}

/// Enables incremental vacuum, so that the file can become smaller. This rewrites a file of an earlier version once.
fn enable_incremental_vacuum(database: &Connection) -> rusqlite::Result<()> {
    let kind: i64 = database.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if kind != INCREMENTAL {
        tracing::info!("rewriting the database so that it can shrink");
        database.execute_batch("VACUUM")?;
    }
    Ok(())
}

/// Enables write-ahead logging: one sequential write per transaction. If `synchronous` is `FULL`, the write is flushed to
/// disk before the commit returns. If it is `NORMAL`, a power failure can lose recent transactions. A killed process
/// loses nothing in both cases.
pub(crate) fn set_pragmas(database: &Connection, synchronous: &str) -> rusqlite::Result<()> {
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    database.pragma_update(None, "synchronous", synchronous)?;
    database.pragma_update(None, "cache_size", CACHE_KIB)?;
    database.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    database.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
}

/// Copies the database before an upgrade. Returns the path of the copy.
pub(crate) fn back_up(
    database: &Connection,
    path: &Path,
    version: usize,
) -> rusqlite::Result<PathBuf> {
    let backup = with_suffix(path, &format!("-backup-v{version}"));
    // A half-written copy of an earlier attempt is worth nothing.
    let _ = std::fs::remove_file(&backup);
    create_file(&backup)?;
    database.execute("VACUUM INTO ?", [SqlPath(&backup)])?;
    Ok(backup)
}

fn has_tables(database: &Connection) -> rusqlite::Result<bool> {
    database.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text_of_error(error: rusqlite::Error) -> String {
    error.to_string()
}

/// How long to wait while another program locks the database. Readers do not lock it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Capacity of the cache of prepared statements: more than there are.
const STATEMENTS: usize = 128;

/// Size of the page cache: 8 MiB. For SQLite, a negative number is a size in KiB.
const CACHE_KIB: i64 = -8192;

/// Number of pages in the log at which they are moved into the database: 16 MiB.
const CHECKPOINT_PAGES: i64 = 4096;

/// Maximum size of the log file in bytes once its pages have been moved.
const LOG_BYTES: i64 = 16 << 20;

/// SQLite's value for `auto_vacuum = INCREMENTAL`.
const INCREMENTAL: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder for a database, removed when dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("wormhole-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("test.sqlite")
        }

        fn open(&self, steps: &[&str]) -> Result<Connection, String> {
            let refusal = |_: &Connection| Ok("not this database".into());
            open_with(&self.file(), Schema { steps, table: "a", refusal })
        }
    }

    const FIRST: &str = "CREATE TABLE a (x)";

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Asserts that only the owner can read the files in the folder.
    #[cfg(unix)]
    fn assert_private(scratch: &Scratch) {
        use std::os::unix::fs::PermissionsExt as _;

        let files = std::fs::read_dir(&scratch.0).unwrap().map(Result::unwrap);
        for file in files {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        }
    }

    #[cfg(not(unix))]
    const fn assert_private(_: &Scratch) {}

    #[test]
    fn a_new_file_gets_every_table_and_opens_again() {
        let scratch = Scratch::new("new");
        drop(scratch.open(&[FIRST, "CREATE TABLE b (x)"]).unwrap());
        let database = scratch.open(&[FIRST, "CREATE TABLE b (x)"]).unwrap();
        assert_private(&scratch);
        let tables: i64 = database
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0))
            .unwrap();
        assert_eq!(tables, 2);
        let journal: String =
            database.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(journal, "wal");
        let synchronous: i64 =
            database.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!(synchronous, 2);
    }

    #[test]
    fn a_file_without_incremental_vacuum_is_rewritten_and_keeps_its_rows() {
        let scratch = Scratch::new("shrinkable");
        let old = Connection::open(scratch.file()).unwrap();
        old.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        old.execute_batch("CREATE TABLE a (x); INSERT INTO a VALUES (7)").unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let mode = |database: &Connection| -> i64 {
            database.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap()
        };
        let database = scratch.open(&[FIRST]).unwrap();
        assert_eq!(mode(&database), INCREMENTAL);
        assert_eq!(database.query_row("SELECT x FROM a", [], |row| row.get(0)), Ok(7));
        drop(database);
        std::fs::remove_file(scratch.file()).unwrap();
        assert_eq!(mode(&scratch.open(&[FIRST]).unwrap()), INCREMENTAL);
    }

    #[test]
    fn an_upgrade_keeps_a_copy_of_the_old_file_and_its_rows() {
        let scratch = Scratch::new("upgrade");
        drop(scratch.open(&["CREATE TABLE a (x); INSERT INTO a VALUES (7)"]).unwrap());
        let steps = [FIRST, "CREATE TABLE b AS SELECT x + 1 AS y FROM a"];
        let new = scratch.open(&steps).unwrap();
        assert_eq!(new.query_row("SELECT y FROM b", [], |row| row.get(0)), Ok(8));
        assert_private(&scratch);
        let copy = Connection::open(scratch.0.join("test.sqlite-backup-v1")).unwrap();
        assert_eq!(copy.query_row("SELECT x FROM a", [], |row| row.get(0)), Ok(7));
    }

    #[test]
    fn a_failed_upgrade_leaves_the_old_version() {
        let scratch = Scratch::new("failed");
        drop(scratch.open(&[FIRST]).unwrap());
        let steps = [FIRST, "CREATE TABLE b (y); SELECT nonsense"];
        assert!(scratch.open(&steps).is_err());
        assert!(scratch.open(&[FIRST]).is_ok());
    }

    #[test]
    fn files_of_other_programs_and_newer_versions_are_rejected_with_a_reason() {
        let scratch = Scratch::new("others");
        let other = Connection::open(scratch.file()).unwrap();
        other.execute_batch("CREATE TABLE c (x)").unwrap();
        assert_eq!(scratch.open(&[FIRST]).unwrap_err(), "not this database");
        // A database of another service has a version, too.
        other.pragma_update(None, "user_version", 1).unwrap();
        assert_eq!(scratch.open(&[FIRST]).unwrap_err(), "not this database");
        other.execute_batch("CREATE TABLE a (x)").unwrap();
        assert!(scratch.open(&[FIRST]).is_ok());
        other.pragma_update(None, "user_version", 2).unwrap();
        assert!(scratch.open(&[FIRST]).unwrap_err().contains("newer version"));
    }

    #[test]
    fn other_programs_can_read_while_the_database_is_open() {
        let scratch = Scratch::new("read");
        let ours = scratch.open(&[FIRST]).unwrap();
        ours.execute("INSERT INTO a VALUES (1)", []).unwrap();
        let reader = Connection::open(scratch.file()).unwrap();
        let count = || reader.query_row("SELECT count(*) FROM a", [], |row| row.get(0));
        assert_eq!(count(), Ok(1));
        // The server can write while another program has an open read transaction.
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(count(), Ok(1));
        ours.execute("UPDATE a SET x = 2", []).unwrap();
        ours.execute("DELETE FROM a", []).unwrap();
        assert_eq!(count(), Ok(1));
    }
}
