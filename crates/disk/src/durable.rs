//! Renames files so that the new name survives a power failure.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Renames a complete file, and replaces the file that had this name. Returns when both the content and
/// the name are on the disk.
///
/// # Errors
/// The file cannot be written or renamed. If only the name cannot be made durable, the file has its new name
/// already.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    File::options().write(true).open(from)?.sync_all()?;
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Waits until the names in the directory of this file are on the disk. Does nothing on systems that cannot
/// do this, such as Windows and some network file systems.
///
/// # Errors
/// The directory cannot be opened or written.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
