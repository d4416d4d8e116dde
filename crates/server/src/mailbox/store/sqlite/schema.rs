//! Creates, checks and upgrades the database file.
//!
//! The tables of a new file are created in one transaction. An upgrade first copies the file to `FILE-backup-vN`, and
//! then runs all steps in one transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use wormhole_disk::with_suffix;

use super::import::Owner;
use crate::ServerError;
use crate::database::{SqlPath, create_file};

/// Opens the database of nameplates, mailboxes and messages.
pub(super) fn open(path: &Path) -> Result<Connection, ServerError> {
    open_with(path, &STEPS).map_err(|error| database_error(path, &error))
}

/// An error that names the file.
pub(super) fn database_error(path: &Path, reason: &str) -> ServerError {
    ServerError::Database { path: path.display().to_string(), reason: reason.into() }
}

/// Opens a database, and creates or upgrades it with `steps`: the first one creates version 1, the second one upgrades
/// to version 2, and so on.
fn open_with(path: &Path, steps: &[&str]) -> Result<Connection, String> {
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
    if version == 0 && has_tables(&database).map_err(text_of_error)? {
        return Err(match Owner::of(&database, "main").map_err(text_of_error)? {
            Owner::Python(_) => PYTHON.into(),
            Owner::Ours | Owner::Usage | Owner::Unknown => "not a database of this server".into(),
        });
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
pub(in crate::mailbox) fn set_pragmas(
    database: &Connection,
    synchronous: &str,
) -> rusqlite::Result<()> {
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    database.pragma_update(None, "synchronous", synchronous)?;
    database.pragma_update(None, "cache_size", CACHE_KIB)?;
    database.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    database.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
}

/// Copies the database before an upgrade. Returns the path of the copy.
pub(in crate::mailbox) fn back_up(
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

/// The SQL statements that upgrade each version to the next one. The first creates version 1.
const STEPS: [&str; 1] = ["
    CREATE TABLE nameplates (
        app TEXT NOT NULL,
        name TEXT NOT NULL,
        mailbox TEXT NOT NULL,
        crowded INTEGER NOT NULL DEFAULT 0, -- a third side was refused
        side_1 TEXT,
        added_1 REAL, -- seconds since 1970
        claimed_1 INTEGER,
        side_2 TEXT,
        added_2 REAL,
        claimed_2 INTEGER,
        PRIMARY KEY (app, name)
    ) WITHOUT ROWID;
    CREATE TABLE mailboxes (
        key INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        id TEXT NOT NULL,
        nameplate TEXT, -- the one for which it was created, even if released
        messages INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        updated REAL NOT NULL, -- seconds since 1970
        crowded INTEGER NOT NULL DEFAULT 0,
        side_1 TEXT,
        added_1 REAL,
        opened_1 INTEGER,
        mood_1 TEXT,
        side_2 TEXT,
        added_2 REAL,
        opened_2 INTEGER,
        mood_2 TEXT,
        UNIQUE (app, id)
    );
    CREATE TABLE messages (
        mailbox INTEGER NOT NULL, -- key of its mailbox
        number INTEGER NOT NULL,
        side TEXT NOT NULL,
        phase TEXT NOT NULL,
        body TEXT NOT NULL,
        server_rx REAL NOT NULL, -- seconds since 1970
        id TEXT NOT NULL, -- JSON
        PRIMARY KEY (mailbox, number)
    ) WITHOUT ROWID;
"];

/// The error for a database of the Python server.
const PYTHON: &str = "a database of the Python mailbox server: import it into a new one with \
     `wormhole-server import FILE`";

/// How long to wait while another program locks the database. Readers do not lock it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Capacity of the cache of prepared statements: more than there are.
const STATEMENTS: usize = 64;

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
            self.0.join("mailbox.sqlite")
        }
    }

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
        drop(open(&scratch.file()).unwrap());
        let database = open(&scratch.file()).unwrap();
        assert_private(&scratch);
        let tables: i64 = database
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0))
            .unwrap();
        assert_eq!(tables, 3);
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
        let [tables] = STEPS;
        old.execute_batch(tables).unwrap();
        old.execute("INSERT INTO mailboxes (app, id, updated) VALUES ('a', 'm', 1)", []).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let mode = |database: &Connection| -> i64 {
            database.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap()
        };
        let database = open(&scratch.file()).unwrap();
        assert_eq!(mode(&database), INCREMENTAL);
        let id: String = database.query_row("SELECT id FROM mailboxes", [], |r| r.get(0)).unwrap();
        assert_eq!(id, "m");
        drop(database);
        let new = scratch.0.join("new.sqlite");
        assert_eq!(mode(&open(&new).unwrap()), INCREMENTAL);
    }

    #[test]
    fn an_upgrade_keeps_a_copy_of_the_old_file_and_its_rows() {
        let scratch = Scratch::new("upgrade");
        let old = open_with(&scratch.file(), &["CREATE TABLE a (x); INSERT INTO a VALUES (7)"]);
        drop(old.unwrap());
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b AS SELECT x + 1 AS y FROM a"];
        let new = open_with(&scratch.file(), &steps).unwrap();
        assert_eq!(new.query_row("SELECT y FROM b", [], |row| row.get(0)), Ok(8));
        assert_private(&scratch);
        let copy = Connection::open(scratch.0.join("mailbox.sqlite-backup-v1")).unwrap();
        assert_eq!(copy.query_row("SELECT x FROM a", [], |row| row.get(0)), Ok(7));
    }

    #[test]
    fn a_failed_upgrade_leaves_the_old_version() {
        let scratch = Scratch::new("failed");
        drop(open_with(&scratch.file(), &["CREATE TABLE a (x)"]).unwrap());
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (y); SELECT nonsense"];
        assert!(open_with(&scratch.file(), &steps).is_err());
        assert!(open_with(&scratch.file(), &["CREATE TABLE a (x)"]).is_ok());
    }

    #[test]
    fn files_of_other_programs_and_newer_versions_are_rejected_with_a_reason() {
        let scratch = Scratch::new("others");
        let python = Connection::open(scratch.file()).unwrap();
        python.execute_batch("CREATE TABLE version (version INTEGER)").unwrap();
        drop(python);
        assert_eq!(
            open_with(&scratch.file(), &STEPS).unwrap_err(),
            "not a database of this server"
        );
        let newer = scratch.0.join("newer.sqlite");
        drop(open_with(&newer, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap());
        assert!(open_with(&newer, &STEPS).unwrap_err().contains("newer version"));
    }

    #[test]
    fn the_error_for_a_database_of_the_python_server_names_the_import_command() {
        let scratch = Scratch::new("python");
        let python = Connection::open(scratch.file()).unwrap();
        let tables = "CREATE TABLE version (version INTEGER); INSERT INTO version VALUES (1);
            CREATE TABLE nameplate_sides (x); CREATE TABLE mailbox_sides (x)";
        python.execute_batch(tables).unwrap();
        drop(python);
        let refusal = open(&scratch.file()).unwrap_err().to_string();
        assert!(refusal.contains("wormhole-server import"), "{refusal}");
    }

    #[test]
    fn other_programs_can_read_while_the_database_is_open() {
        let scratch = Scratch::new("read");
        let ours = open(&scratch.file()).unwrap();
        let insert = "INSERT INTO nameplates (app, name, mailbox) VALUES ('a', '1', 'm')";
        ours.execute(insert, []).unwrap();
        let reader = Connection::open(scratch.file()).unwrap();
        let count = || reader.query_row("SELECT count(*) FROM nameplates", [], |row| row.get(0));
        assert_eq!(count(), Ok(1));
        // The server can write while another program has an open read transaction.
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(count(), Ok(1));
        ours.execute("UPDATE nameplates SET crowded = 1", []).unwrap();
        ours.execute("DELETE FROM nameplates", []).unwrap();
        assert_eq!(count(), Ok(1));
    }
}
