//! Prevents two servers from using the same database. Other programs may read it.
//!
//! The lock is on a separate file (`FILE-lock`), not on the database file: there it would conflict with `SQLite`'s own
//! locks, because closing any handle of a file releases all locks that the process has on it.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use wormhole_disk::{private, with_suffix};

use super::is_in_memory;
use super::schema::database_error;
use crate::ServerError;

/// The lock of a database. Dropping it unlocks the database.
#[derive(Debug)]
pub(crate) struct Lock {
    #[expect(dead_code, reason = "unlocked when dropped; absent for a database in memory")]
    file: Option<File>,
}

impl Lock {
    /// Locks a database, which need not exist yet.
    ///
    /// # Errors
    /// Another server uses it.
    pub(crate) fn take(path: &Path) -> Result<Self, ServerError> {
        if is_in_memory(path) {
            return Ok(Self { file: None });
        }
        let file = with_suffix(path, "-lock");
        let created = private::create_if_missing(&file);
        let file = created.and_then(|()| File::options().write(true).open(&file));
        let file = file.map_err(|error| database_error(path, &error.to_string()))?;
        // A server that is just shutting down may still have the lock.
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file: Some(file) }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(RETRY_PAUSE),
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

/// How long to wait for a server that is just shutting down.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Interval between two attempts to take the lock.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
