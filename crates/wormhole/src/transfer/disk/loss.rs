//! Permissions and times that could not be set. Phones, FAT and some network and FUSE file systems
//! reject them; that is no reason to discard the contents.

use std::io;
use std::path::{Path, PathBuf};

/// Metadata of received files and folders that could not be set, and links. The contents of files are complete.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetadataLoss {
    /// Number of files and folders without their permissions.
    pub permissions: u64,
    /// Number of files and folders without their modification time.
    pub times: u64,
    /// Number of symbolic links that could not be created, on a file system without links.
    pub links: u64,
    /// Number of files on file systems that do not support flushing.
    pub unflushed: u64,
    /// The path of the first one.
    pub path: PathBuf,
    /// The system's error for the first one.
    pub why: String,
}

/// Collects the losses of a transfer.
#[derive(Debug, Default)]
pub(crate) struct Loss(Option<MetadataLoss>);

impl Loss {
    /// Records that permissions could not be set, if so.
    pub(super) fn permissions(&mut self, path: impl FnOnce() -> PathBuf, outcome: io::Result<()>) {
        self.note(path, outcome, |loss| &mut loss.permissions);
    }

    /// Records that a time could not be set, if so.
    pub(super) fn time(&mut self, path: impl FnOnce() -> PathBuf, outcome: io::Result<()>) {
        self.note(path, outcome, |loss| &mut loss.times);
    }

    /// Records that a file system has no symbolic links, if so.
    ///
    /// # Errors
    /// It has links, but creating one failed.
    pub(super) fn link(
        &mut self,
        path: impl FnOnce() -> PathBuf,
        outcome: io::Result<()>,
    ) -> io::Result<()> {
        match outcome {
            Err(error) if !is_unsupported(&error) => Err(error),
            outcome => {
                self.note(path, outcome, |loss| &mut loss.links);
                Ok(())
            }
        }
    }

    /// Records that a file system does not support flushing, if so.
    ///
    /// # Errors
    /// The file system supports flushing, but it failed.
    pub(super) fn flush(&mut self, path: &Path, outcome: io::Result<()>) -> io::Result<()> {
        match outcome {
            Err(error) if !is_unsupported(&error) => Err(error),
            outcome => {
                self.note(|| path.to_owned(), outcome, |loss| &mut loss.unflushed);
                Ok(())
            }
        }
    }

    /// All losses; `None` if nothing was lost.
    pub(crate) fn into_loss(self) -> Option<Box<MetadataLoss>> {
        self.0.map(Box::new)
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
            MetadataLoss { permissions: 0, times: 0, links: 0, unflushed: 0, path: path(), why }
        });
        *count(loss) += 1;
    }
}

/// Whether an error means that the file system does not support the operation.
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
