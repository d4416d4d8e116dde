//! Files and directories that only the user of the server can read.
//!
//! On Unix by their mode, independent of the umask; on other systems according to the parent directory.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// Creates an empty file for a database if it is missing, because `SQLite` would use the umask.
/// Its log and its shared memory get the mode of the database.
pub(crate) fn make_file(path: &Path) {
    // An in-memory database has no file.
    if path == Path::new(":memory:") {
        return;
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // If this fails, the file exists, or opening it will report the error.
    let _ = options.write(true).create_new(true).open(path);
}

/// Creates a directory and its parents, if missing.
///
/// # Errors
/// It cannot be created.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_database_in_memory_leaves_no_file() {
        make_file(Path::new(":memory:"));
        assert!(!Path::new(":memory:").exists());
    }

    #[test]
    fn what_is_new_is_for_its_owner_alone_and_what_was_there_stays_as_it_was() {
        let folder = std::env::temp_dir().join(format!("wormhole-{}-private", std::process::id()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (data, file) = (folder.join("data"), folder.join("data/mailbox.sqlite"));
        make_directory(&data).unwrap();
        make_file(&file);
        assert_eq!((mode(&data), mode(&file)), (0o700, 0o600));
        std::fs::write(&file, "kept").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        make_file(&file);
        assert_eq!((mode(&file), std::fs::read(&file).unwrap()), (0o640, b"kept".to_vec()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
