//! Permissions and times that the destination did not take. Phones, FAT and some network and FUSE
//! file systems refuse them; that is no reason to throw the contents away.

use std::io;
use std::path::{Path, PathBuf};

/// What could not be set on a file or folder that was received. The contents are complete.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetadataLoss {
    /// Files and folders without their permissions.
    pub permissions: u64,
    /// Files and folders without the time of their last change.
    pub times: u64,
    /// Files that the file system cannot be told to write to its disk.
    pub unflushed: u64,
    /// The first of them.
    pub path: PathBuf,
    /// What the system said about the first of them.
    pub why: String,
}

/// What is lost so far.
#[derive(Debug, Default)]
pub(crate) struct Loss(Option<MetadataLoss>);

impl Loss {
    /// Takes note if permissions could not be set.
    pub(super) fn permissions(&mut self, path: impl FnOnce() -> PathBuf, outcome: io::Result<()>) {
        self.note(path, outcome, |loss| &mut loss.permissions);
    }

    /// Takes note if a time could not be set.
    pub(super) fn time(&mut self, path: impl FnOnce() -> PathBuf, outcome: io::Result<()>) {
        self.note(path, outcome, |loss| &mut loss.times);
    }

    /// Takes note if a file system does not know how to flush.
    ///
    /// # Errors
    /// It knows, and something is lost.
    pub(super) fn flush(&mut self, path: &Path, outcome: io::Result<()>) -> io::Result<()> {
        match outcome {
            Err(error) if !is_unsupported(&error) => Err(error),
            outcome => {
                self.note(|| path.to_owned(), outcome, |loss| &mut loss.unflushed);
                Ok(())
            }
        }
    }

    /// All of it; `None` if nothing was lost.
    pub(crate) fn into_loss(self) -> Option<MetadataLoss> {
        self.0
    }

    fn note(
        &mut self,
        path: impl FnOnce() -> PathBuf,
        outcome: io::Result<()>,
        count: impl FnOnce(&mut MetadataLoss) -> &mut u64,
    ) {
        let Err(error) = outcome else { return };
        let loss = self.0.get_or_insert_with(|| {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
            MetadataLoss { permissions: 0, times: 0, unflushed: 0, path: path(), why }
        });
        *count(loss) += 1;
    }
}

/// Whether a file system says that it does not do such a thing, rather than that it failed.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_cannot_flush_is_noted_and_one_that_fails_is_an_error() {
        let mut loss = Loss::default();
        for kind in [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported] {
            loss.flush(Path::new("a"), Err(kind.into())).unwrap();
        }
        loss.flush(Path::new("b"), Ok(())).unwrap();
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            assert!(loss.flush(Path::new("a"), Err(kind.into())).is_err());
        }
        assert_eq!(loss.into_loss().unwrap().unflushed, 2);
    }
}
