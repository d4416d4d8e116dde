//! Allows only one process at a time to open a store.
//!
//! The lock is on a file of its own: closing any handle of the database file would release SQLite's locks.

use std::fs::{File, TryLockError};
use std::path::Path;

use wormhole_disk::private;

use super::StoreError;

/// The lock of a store. Dropping it unlocks the store; so does the end of the process, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a store.
    ///
    /// # Errors
    /// `InUse` if another process has it, or the file cannot be created.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        private::create_if_missing(path)?;
        let file = File::options().write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}
