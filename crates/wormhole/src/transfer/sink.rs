//! Writes received data, under a temporary name until it is complete.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wormhole_magic::transfer::zip::ZipPath;
use wormhole_magic::transfer::{Attributes, BadMessage, TransferError};

use super::disk::{Limits, MetadataLoss, Offered, OnExists, Part, PartFile, Unpacker, failed};
use super::{Destination, Error, Offer, PeerMisbehaved};

/// Writes the data. Dropping an incomplete one removes everything.
pub(super) enum Sink {
    File { file: Box<PartFile>, attributes: Option<Attributes> },
    Tree(Box<Unpacker>),
    Writer(Box<dyn Write + Send>),
}

/// The result of a complete sink.
#[derive(Default)]
pub(super) struct Written {
    /// The created path; `None` for a writer.
    pub(super) path: Option<PathBuf>,
    /// The first files of the folder that the sender could not read completely.
    pub(super) omitted: Vec<ZipPath>,
    /// Number of further such files.
    pub(super) omitted_more: u64,
    /// Metadata that could not be set.
    pub(super) lost: Option<Box<MetadataLoss>>,
}

impl Sink {
    /// Prepares the destination of an offer. A folder may have at most `most` files and folders.
    ///
    /// # Errors
    /// It exists, has not enough space, or cannot be written; nothing was changed.
    pub(super) fn open(
        destination: Destination,
        offer: &Offer,
        most: Option<u64>,
    ) -> Result<Self, Error> {
        let target = destination.target(offer).map_err(|why| {
            let name = offer.name().cloned();
            name.map_or(Error::Rejected, |name| PeerMisbehaved::UnsafeName { name, why }.into())
        })?;
        let on_exists = destination.on_exists();
        let Some(target) = target else {
            return match destination {
                Destination::Writer(writer) => Ok(Self::Writer(writer)),
                Destination::Folder { .. } | Destination::Path { .. } => Err(Error::Rejected),
            };
        };
        // One of the two sizes of an offer may be wrong.
        let needed = offer.unpacked_size().unwrap_or(0).max(offer.transfer_size().unwrap_or(0));
        match offer {
            Offer::Directory { bytes, files, attributes, .. } => {
                let limits = Limits::new(most, needed);
                limits.check_offer(*files)?;
                let part = Part::folder(&target, on_exists)?;
                check_space(&part, needed)?;
                let offered = Offered { bytes: *bytes, files: *files, attributes: *attributes };
                Ok(Self::Tree(Box::new(Unpacker::new(part, offered, limits))))
            }
            Offer::File { attributes, .. } => {
                Self::open_file(&target, on_exists, needed, *attributes)
            }
            Offer::Stream { .. } | Offer::Text(_) => {
                Self::open_file(&target, on_exists, needed, None)
            }
            // The core accepts no offers that it does not know.
            _ => Err(Error::from(TransferError::from(BadMessage::UnknownOffer))),
        }
    }

    fn open_file(
        target: &Path,
        on_exists: OnExists,
        needed: u64,
        attributes: Option<Attributes>,
    ) -> Result<Self, Error> {
        if needed > longest_file() {
            return Err(failed(target, io::ErrorKind::FileTooLarge.into()));
        }
        let file = Box::new(Part::file(target, on_exists)?);
        check_space(&file.part, needed)?;
        Ok(Self::File { file, attributes })
    }

    /// Whether the data goes to a writer of the application.
    pub(super) const fn is_writer(&self) -> bool {
        matches!(self, Self::Writer(_))
    }

    /// Writes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File { file, .. } => {
                file.file.write_all(bytes).map_err(|error| failed(&file.part.target(), error))
            }
            Self::Tree(unpacker) => Ok(unpacker.write(bytes)?),
            Self::Writer(writer) => {
                writer.write_all(bytes).map_err(|error| failed(Path::new("-"), error))
            }
        }
    }

    /// Renames the complete data to its final name. When this returns, the data is durable, so it may be
    /// acknowledged.
    pub(super) fn complete(self) -> Result<Written, Error> {
        match self {
            Self::File { file, attributes } => {
                let (path, loss) = file.complete(attributes)?;
                Ok(Written { path: Some(path), lost: loss.into_loss(), ..Written::default() })
            }
            Self::Tree(unpacker) => {
                let unpacked = unpacker.complete()?;
                Ok(Written {
                    path: Some(unpacked.path),
                    omitted: unpacked.omitted,
                    omitted_more: unpacked.omitted_more,
                    lost: unpacked.loss.into_loss(),
                })
            }
            Self::Writer(mut writer) => {
                writer.flush().map_err(|error| failed(Path::new("-"), error))?;
                Ok(Written::default())
            }
        }
    }
}

/// Maximum size of a file that this process may write (`ulimit -f`).
#[cfg(unix)]
pub(super) fn longest_file() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
pub(super) const fn longest_file() -> u64 {
    u64::MAX
}

/// Checks that the file system of the target has `needed` free bytes.
pub(super) fn check_space(part: &Part, needed: u64) -> Result<(), Error> {
    // If the free space is unknown, writing will show.
    let available = part.free_space().unwrap_or(u64::MAX);
    if available < needed { Err(Error::NoSpace { needed, available }) } else { Ok(()) }
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "helpers of tests")]
mod tests;
