//! The configured database of a service: an SQLite file, or a PostgreSQL database that several nodes can share.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::postgres::DatabaseUrl;

/// The value of the key `db`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Database {
    /// An SQLite file, which only this node uses.
    File(PathBuf),
    /// A PostgreSQL database, which other nodes may use at the same time.
    Postgres(DatabaseUrl),
}

/// Text with a scheme is an address, everything else is a path. [`Database::check`] checks the address later, because an
/// error of the command line parser would show its password.
impl From<OsString> for Database {
    fn from(value: OsString) -> Self {
        match value.to_str() {
            Some(text) if text.contains("://") => {
                Self::Postgres(DatabaseUrl::from(text.to_owned()))
            }
            _ => Self::File(value.into()),
        }
    }
}

impl Database {
    /// Makes the path of a file relative to this directory, unless it is absolute.
    pub(crate) fn place(&mut self, directory: &Path) {
        if let Self::File(path) = self {
            *path = directory.join(&*path);
        }
    }

    /// The file; `None` for PostgreSQL.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// Checks an address without connecting.
    ///
    /// # Errors
    /// The problem, without the text itself.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::File(_) => Ok(()),
            Self::Postgres(url) => url.check(),
        }
    }
}
