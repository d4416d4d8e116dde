//! Notices that the database is not where it was any more: removed, or replaced by another file.
//!
//! The system goes on writing to a file that has lost its name, and everything in it is gone when the
//! process ends. So nothing may be acknowledged that went there.

use std::path::{Path, PathBuf};

use wormhole_disk::with_suffix;

use crate::database::is_in_memory;

/// The files of an open database.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    main: Option<Watched>,
    log: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Which file it is; not known before it exists.
    identity: Option<Identity>,
}

impl DatabaseFile {
    /// The files of a database that has just been opened.
    pub(super) fn new(path: &Path) -> Self {
        if is_in_memory(path) {
            return Self { main: None, log: None };
        }
        let watch = |path: PathBuf| Watched { identity: identity(&path), path };
        Self { main: Some(watch(path.into())), log: Some(watch(with_suffix(path, "-wal"))) }
    }

    /// Whether both files are still there; the path of one that is not, if not. Two system calls.
    pub(super) fn check(&mut self) -> Result<(), PathBuf> {
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

/// Device and number of a file.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// That there is a file. Elsewhere an open file cannot be removed or replaced.
#[cfg(not(unix))]
type Identity = ();

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.exists().then_some(())
}
