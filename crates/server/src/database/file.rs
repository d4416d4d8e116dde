//! Detects that the database file was removed, moved or replaced.
//!
//! The operating system continues to write to a file that has been deleted, and its content is lost when the process
//! ends. So the server must not acknowledge anything that was written to such a file.

use std::path::{Path, PathBuf};

use wormhole_disk::with_suffix;

use super::is_in_memory;

/// The files of an open database.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    main: Option<Watched>,
    log: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// The identity of the file; `None` until the file exists.
    identity: Option<Identity>,
}

impl DatabaseFile {
    /// The files of a database that has just been opened.
    pub(crate) fn new(path: &Path) -> Self {
        if is_in_memory(path) {
            return Self { main: None, log: None };
        }
        let watch = |path: PathBuf| Watched { identity: identity(&path), path };
        Self { main: Some(watch(path.into())), log: Some(watch(with_suffix(path, "-wal"))) }
    }

    /// Checks that both files are still in place, with two system calls.
    ///
    /// # Errors
    /// The path of a file that was removed or replaced.
    pub(crate) fn check(&mut self) -> Result<(), PathBuf> {
        [&mut self.main, &mut self.log].into_iter().flatten().try_for_each(Watched::check)
    }
}

impl Watched {
    fn check(&mut self) -> Result<(), PathBuf> {
        let found = identity(&self.path);
        match &self.identity {
            Some(known) if found.as_ref() != Some(known) => Err(self.path.clone()),
            Some(_) => Ok(()),
            None => {
                self.identity = found;
                Ok(())
            }
        }
    }
}

/// Device and inode number of a file.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// On other systems, only the existence of the file is checked: an open file cannot be removed or replaced.
#[cfg(not(unix))]
type Identity = ();

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.exists().then_some(())
}
