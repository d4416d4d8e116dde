//! The common parts of all services' databases: the configured address, SQLite files, connections to PostgreSQL,
//! and notifications between servers that share a database.

mod address;
mod file;
mod lock;
pub(crate) mod notifications;
pub(crate) mod postgres;
mod reclaim;
mod schema;

use std::path::Path;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ffi};
use wormhole_disk::private;

pub(crate) use address::Database;
pub(crate) use file::DatabaseFile;
pub(crate) use lock::Lock;
pub(crate) use reclaim::reclaim;
pub(crate) use schema::{Schema, back_up, database_error, open, set_pragmas};

/// Whether this is the name of a database in memory, which has no file.
pub(crate) fn is_in_memory(path: &Path) -> bool {
    path == Path::new(":memory:")
}

/// Creates the file of a database unless there is one, because `SQLite` would create it with the mode of the umask. The
/// other files of the database get the mode of this one.
pub(crate) fn create_file(path: &Path) -> rusqlite::Result<()> {
    if is_in_memory(path) {
        return Ok(());
    }
    private::create_if_missing(path).map_err(|error| {
        let code = ffi::Error::new(ffi::SQLITE_CANTOPEN);
        rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
    })
}

/// A path as a parameter of a statement, such as `ATTACH ?`. On Unix a path may be any bytes, and `SQLite` uses them as
/// they are. A conversion to Unicode would name another file.
#[derive(Debug)]
pub(crate) struct SqlPath<'a>(pub(crate) &'a Path);

impl ToSql for SqlPath<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        #[cfg(unix)]
        let bytes = Some(std::os::unix::ffi::OsStrExt::as_bytes(self.0.as_os_str()));
        #[cfg(not(unix))]
        let bytes = self.0.to_str().map(str::as_bytes);
        match bytes {
            Some(bytes) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes))),
            None => Err(rusqlite::Error::InvalidPath(self.0.to_owned())),
        }
    }
}

/// Whether the rows of a database use more than `limit` bytes. Always false if `limit` is 0, which means unlimited.
pub(crate) fn is_over(database: &Connection, limit: u64) -> rusqlite::Result<bool> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get(0));
    let (pages, free, size): (u64, u64, u64) =
        (number("page_count")?, number("freelist_count")?, number("page_size")?);
    Ok(limit > 0 && pages.saturating_sub(free).saturating_mul(size) > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_in_memory_leaves_no_file() {
        create_file(":memory:".as_ref()).unwrap();
        assert!(!Path::new(":memory:").exists());
    }

    #[test]
    fn a_file_that_cannot_be_created_is_reported_with_the_error_of_the_system() {
        let error = create_file("/no such directory/database".as_ref()).unwrap_err();
        assert!(error.to_string().contains("No such file or directory"), "{error}");
    }
}
