//! The receiver's disk: stores data under a temporary name until it is complete, then renames it.
//!
//! Other users may be able to write in the destination (`/tmp`, a shared folder). So the
//! destination is opened once, and everything below it is created, changed, renamed and removed
//! relative to an open folder, without following links.

#[cfg_attr(not(unix), path = "disk/portable.rs")]
#[cfg_attr(unix, path = "disk/unix.rs")]
mod dir;
mod donor;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod journal;
mod leftovers;
mod limits;
mod loss;
mod named;
mod part;
mod resume;
mod unpack;

use std::io;
use std::path::Path;

pub use leftovers::{Leftover, leftovers};
pub use loss::MetadataLoss;
pub use part::OnExists;
pub(crate) use part::{DiskError, Part, PartFile};
pub(super) use {
    donor::Donor,
    journal::JournalWriter,
    limits::Limits,
    resume::{Resumed, Wanted},
    unpack::{Offered, Unpacker},
};

use super::{Error, PeerMisbehaved};

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Exists(path) => Self::Exists(path),
            DiskError::TooManyEntries(most) => Self::TooManyEntries(most),
            DiskError::TooManyFolders(most) => Self::TooManyFolders(most),
            DiskError::Write { path, error } => failed(&path, error),
            DiskError::Zip(error) => PeerMisbehaved::BadZip(error).into(),
        }
    }
}

/// An error of the system while writing to `path`.
pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    Error::WriteFailed { path: path.to_owned(), why: error.into() }
}
