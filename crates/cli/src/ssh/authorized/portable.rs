//! Opens a user's `.ssh/authorized_keys` where files have no owners that we know.
//!
//! On these systems it is always one's own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens the file if it is there.
///
/// # Errors
/// It must not be written.
pub(super) fn open(home: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).append(true).open(home.join(".ssh/authorized_keys")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Opens the file, making it and its directory where they are missing.
///
/// # Errors
/// It cannot be made, or must not be written.
pub(super) fn open_or_create(home: &Path) -> io::Result<File> {
    fs::create_dir_all(home.join(".ssh"))?;
    let path = home.join(".ssh/authorized_keys");
    OpenOptions::new().read(true).append(true).create(true).open(path)
}
