//! Files and directories that only their owner may read.
//!
//! On Unix their modes are 0600 and 0700, whatever the umask is. On other systems they have the permissions of
//! the directory above.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::{durable, with_suffix};

/// Options with which a new file is readable by its owner only. An existing file keeps its permissions.
pub fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a file for writing.
///
/// # Errors
/// `AlreadyExists` if there is something with this name, even a broken symbolic link. Otherwise the file
/// cannot be created.
pub fn create(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// Creates an empty file unless there is something with this name. Useful before a library opens the file, which
/// would create it with the mode of the umask.
///
/// # Errors
/// The file cannot be created.
pub fn create_if_missing(path: &Path) -> io::Result<()> {
    match create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Creates a directory, and those above it, unless there is one.
///
/// # Errors
/// The directory cannot be created.
pub fn create_directory(path: &Path) -> io::Result<()> {
    directory_builder().recursive(true).create(path)
}

/// Creates a directory.
///
/// # Errors
/// `AlreadyExists` if there is something with this name. Otherwise the directory cannot be created.
pub fn create_new_directory(path: &Path) -> io::Result<()> {
    directory_builder().create(path)
}

fn directory_builder() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Creates a file with this content. When this returns, file and name are on the disk.
///
/// # Errors
/// `AlreadyExists` if there is something with this name. Otherwise the file cannot be written; then it does
/// not exist.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let written = written.and_then(|()| durable::sync_parent(path));
    written.inspect_err(|_| {
        // If this fails, too, a part of the file stays.
        let _left = fs::remove_file(path);
    })
}

/// Writes a file completely or not at all, and replaces the one that had this name. When this returns, file
/// and name are on the disk. Meanwhile the new content is in a file with `.part` added to its name.
///
/// # Errors
/// That of `write`, or the file cannot be written. The old file is still there.
pub fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let part = with_suffix(path, ".part");
    // A file with this name may be left over, or may belong to somebody else, who could then read the
    // content. So the file is always a new one.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut writer = BufWriter::new(create(&part)?);
    write(&mut writer)?;
    writer.flush()?;
    durable::rename(&part, path)
}

#[cfg(test)]
mod tests;
