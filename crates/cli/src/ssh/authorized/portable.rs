//! Opens a user's `.ssh/authorized_keys` on systems without Unix file owners.
//!
//! On these systems it is always the file of the user who runs the program.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes sure that the file can be written, or created where it is missing.
///
/// # Errors
/// It must not be written or created.
pub(super) fn check(home: &Path) -> io::Result<()> {
    let directory = home.join(".ssh");
    match OpenOptions::new().read(true).append(true).open(directory.join("authorized_keys")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            crate::request::try_to_create_in(if directory.is_dir() { &directory } else { home })
        }
        opened => opened.map(drop),
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
