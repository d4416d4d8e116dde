//! Encrypted files that came directly, and that the application has not saved yet.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{DirectFiles, FileName};

/// Checks that there is room for a file of this length, while others with so many bytes arrive. Files that nobody has saved for 45
/// days make room, as at the service.
///
/// # Errors
/// There is no room.
pub(in crate::chat) fn make_room(
    folder: &Path,
    settings: &DirectFiles,
    name: FileName,
    (length, reserved): (u64, u64),
) -> io::Result<()> {
    if length > settings.max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (own, mut bytes, mut count) = (name.to_text(), length.saturating_add(reserved), 0_usize);
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_str() == Some(own.as_str()) {
            continue;
        }
        let metadata = entry.metadata()?;
        if metadata.modified()?.elapsed().is_ok_and(|age| age > MAX_AGE) {
            fs::remove_file(entry.path())?;
        } else {
            bytes = bytes.saturating_add(metadata.len());
            count += 1;
        }
    }
    let has_room = bytes <= settings.max_waiting && count < MAX_FILES;
    if has_room { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// How long a file waits until it is saved.
const MAX_AGE: Duration = Duration::from_secs(45 * 24 * 60 * 60);

/// Maximum number of files that wait.
const MAX_FILES: usize = 64;

/// The directory with them, in that of the store.
pub(in crate::chat) const FOLDER: &str = "direct";

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn files_that_wait_and_files_that_arrive_have_a_limit_and_old_ones_make_room() {
        let folder = std::env::temp_dir().join(format!("wormhole-direct-{}", std::process::id()));
        let _left = fs::remove_dir_all(&folder);
        let settings = DirectFiles { max_bytes: 100, max_waiting: 150, ..DirectFiles::default() };
        let room = |name, length, reserved| {
            make_room(&folder, &settings, FileName([name; 16]), (length, reserved)).is_ok()
        };
        assert!(room(1, 100, 50));
        assert!(!room(1, 101, 0) && !room(1, 100, 51));
        fs::create_dir(&folder).unwrap();
        let waiting = folder.join(FileName([1; 16]).to_text());
        fs::write(&waiting, [0; 60]).unwrap();
        assert!(room(2, 90, 0) && !room(2, 91, 0));
        assert!(room(1, 100, 50), "it is the same file");
        let old = SystemTime::now() - MAX_AGE * 2;
        File::options().write(true).open(&waiting).unwrap().set_modified(old).unwrap();
        assert!(room(2, 100, 50) && !waiting.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
