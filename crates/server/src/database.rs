//! What the SQLite databases of all services have in common.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

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

/// Whether the rows of a database take more than this many bytes; 0 is any number.
pub(crate) fn is_over(database: &Connection, limit: u64) -> rusqlite::Result<bool> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get(0));
    let (pages, free, size): (u64, u64, u64) =
        (number("page_count")?, number("freelist_count")?, number("page_size")?);
    Ok(limit > 0 && pages.saturating_sub(free).saturating_mul(size) > limit)
}
