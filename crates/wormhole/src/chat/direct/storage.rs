//! Encrypted files that came directly, and that the application has not saved yet.

use std::fs;
use std::io;
use std::path::Path;

use super::{DirectFiles, FileName};

/// Checks that there is room for a file.
///
/// # Errors
/// There is no room.
pub(in crate::chat) fn make_room(
    folder: &Path,
    settings: &DirectFiles,
    name: FileName,
    length: u64,
) -> io::Result<()> {
    if length > settings.max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let (own, mut bytes, mut count) = (name.to_text(), length, 0_usize);
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str() != Some(own.as_str()) {
            bytes = bytes.saturating_add(entry.metadata()?.len());
            count += 1;
        }
    }
    let has_room = bytes <= settings.max_waiting && count < MAX_FILES;
    if has_room { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// Maximum number of files that wait.
const MAX_FILES: usize = 64;

/// The directory with them, in that of the store.
pub(in crate::chat) const FOLDER: &str = "direct";
