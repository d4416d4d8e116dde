//! Keeps a second server away from a database. Other programs may read it.
//!
//! A file beside the database is locked, not the database: `SQLite` has locks of its own there, which closing
//! another handle of the same file would release.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use wormhole_disk::{private, with_suffix};

use super::schema::database_error;
use crate::ServerError;
use crate::database::is_in_memory;

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
        if is_in_memory(path) {
            return Ok(Self { file: None });
        }
        let file = with_suffix(path, "-lock");
        let created = private::create_if_missing(&file);
        let file = created.and_then(|()| File::options().write(true).open(&file));
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
