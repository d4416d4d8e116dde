//! Keeps a second server away from a database. Other programs may read it.
//!
//! A file beside the database is locked, not the database: `SQLite` has locks of its own there, which closing
//! another handle of the same file would release.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::schema::database_error;
use crate::ServerError;

/// The database is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Lock {
    #[expect(dead_code, reason = "unlocked when dropped; absent for a database in memory")]
    file: Option<File>,
}

impl Lock {
    /// Locks a database, which need not exist yet.
    ///
    /// # Errors
    /// Another server uses it.
    pub(super) fn take(path: &Path) -> Result<Self, ServerError> {
        if path == Path::new(":memory:") {
            return Ok(Self { file: None });
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push("-lock");
        wormhole_disk::private::create_if_missing(Path::new(&beside));
        let file = File::options().write(true).open(&beside);
        let file = file.map_err(|error| database_error(path, &error.to_string()))?;
        // A server that is just ending may still have it.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file: Some(file) }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOOK_AGAIN),
                Err(TryLockError::WouldBlock) => {
                    let reason = "in use by another process: stop that server first";
                    return Err(database_error(path, reason));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(database_error(path, &error.to_string()));
                }
            }
        }
    }
}

/// How long a server that is just ending may still hold the lock.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often to look whether it has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
