//! Makes sure that what was received survives a loss of power, before the sender is told that it
//! arrived.
//!
//! File systems that cannot promise this are taken as they are.

use std::fs::File;
use std::io;
use std::path::Path;

/// Waits until the contents and metadata of a file are on the disk.
///
/// # Errors
/// They cannot be written.
pub(super) fn file(file: &File) -> io::Result<()> {
    where_possible(file.sync_all())
}

/// Waits until the folder that holds `path` knows it under that name.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder_itself(folder.unwrap_or_else(|| Path::new(".")))
}

/// Waits until everything in a folder is on the disk, below which `files` files were written.
///
/// # Errors
/// Something cannot be written.
pub(super) fn tree(root: &Path, files: u64) -> io::Result<()> {
    if files > MANY
        && let Some(outcome) = file_system(root)
    {
        return outcome;
    }
    each(root)
}

fn each(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each(&entry.path())?;
        } else if kind.is_file()
            // Its permissions may forbid us to open it.
            && let Ok(opened) = super::exact::open(&entry.path())
        {
            file(&opened)?;
        }
    }
    folder_itself(folder)
}

/// Some systems have no way to do this for a folder, and some folders may not be opened.
fn folder_itself(folder: &Path) -> io::Result<()> {
    File::open(folder).map_or(Ok(()), |folder| file(&folder))
}

/// Writes all that the file system holds back, which costs less than asking for each of many files.
#[cfg(target_os = "linux")]
fn file_system(root: &Path) -> Option<io::Result<()>> {
    let root = File::open(root).ok()?;
    Some(where_possible(rustix::fs::syncfs(&root).map_err(io::Error::from)))
}

#[cfg(not(target_os = "linux"))]
const fn file_system(_: &Path) -> Option<io::Result<()>> {
    None
}

fn where_possible(outcome: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match outcome {
        Err(error)
            if matches!(
                error.kind(),
                InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported
            ) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// Files above which the whole file system is written at once.
const MANY: u64 = 200;
