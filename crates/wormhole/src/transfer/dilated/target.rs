//! Where received files go: one file, a folder, or a writer of the application.

mod zip;

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::dilated::{FileEntry, FolderEntry, LinkEntry};
use wormhole_magic::transfer::zip::{Entry, EntryKind, Piece, ZipPath};

use super::super::Error;
use super::super::disk::{Part, PartFile, Unpacker, failed};
use super::super::sink::Written;
pub(super) use zip::ZipTarget;

/// Where received files go. Dropping an incomplete one removes everything, unless it is kept.
pub(super) enum Target {
    File { file: Box<PartFile>, attributes: Option<Attributes> },
    Tree(Box<Unpacker>),
    Writer(Box<dyn Write + Send>),
    Zip(Box<ZipTarget>),
}

impl Target {
    /// Begins a file, of which the first `kept` bytes are there.
    pub(super) fn begin(&mut self, entry: &FileEntry, kept: u64) -> Result<(), Error> {
        match self {
            Self::File { file, .. } => {
                position(&mut file.file, kept).map_err(|error| failed(&file.part.target(), error))
            }
            Self::Tree(unpacker) => {
                let Some(path) = entry.path.clone() else { return Ok(()) };
                let modified = entry.attributes.map(|given| given.modified);
                if kept == 0 {
                    return Ok(unpacker.on_piece(Piece::File { path, modified })?);
                }
                unpacker.continue_file(path, modified)?;
                let place = unpacker.current_place();
                let moved = unpacker.current_file().map_or(Ok(()), |file| position(file, kept));
                moved.map_err(|error| failed(&place, error))
            }
            Self::Writer(_) => Ok(()),
            Self::Zip(zip) => zip.begin(entry),
        }
    }

    /// Writes the next bytes of the file.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File { file, .. } => {
                file.file.write_all(bytes).map_err(|error| failed(&file.part.target(), error))
            }
            Self::Tree(unpacker) => Ok(unpacker.on_piece(Piece::Data(bytes))?),
            Self::Writer(writer) => writer.write_all(bytes).map_err(to_writer),
            Self::Zip(zip) => zip.write(bytes),
        }
    }

    /// The open file, and its path for messages; a writer has none.
    pub(super) fn file(&mut self) -> Option<(&mut File, PathBuf)> {
        match self {
            Self::File { file, .. } => {
                let place = file.part.target();
                Some((&mut file.file, place))
            }
            Self::Tree(unpacker) => {
                let place = unpacker.current_place();
                unpacker.current_file().map(|file| (file, place))
            }
            Self::Writer(_) | Self::Zip(_) => None,
        }
    }

    /// Opens a file that an earlier attempt has left: the one with this path in a folder, or a single one.
    pub(super) fn file_left(&mut self, path: Option<&ZipPath>) -> io::Result<File> {
        match (self, path) {
            (Self::File { file, .. }, _) => file.file.try_clone(),
            (Self::Tree(unpacker), Some(path)) => unpacker.part_mut().open_left(path),
            (Self::Tree(_) | Self::Writer(_) | Self::Zip(_), _) => {
                Err(io::ErrorKind::NotFound.into())
            }
        }
    }

    /// The file is complete.
    pub(super) fn end_file(&mut self, entry: FileEntry) -> Result<(), Error> {
        match self {
            Self::Tree(unpacker) => {
                let Some(path) = entry.path else { return Ok(()) };
                unpacker.on_piece(Piece::FileEnd)?;
                let permissions = entry.attributes.map(|given| given.permissions);
                let (modified, is_folder) = (None, false);
                let end = Piece::Permissions { path, permissions, modified, is_folder };
                Ok(unpacker.on_piece(end)?)
            }
            Self::Zip(zip) => zip.end_file(),
            Self::File { .. } | Self::Writer(_) => Ok(()),
        }
    }

    /// The file cannot be read completely by its sender.
    pub(super) fn omit(&mut self) -> Result<(), Error> {
        match self {
            Self::File { .. } | Self::Writer(_) => Ok(()),
            Self::Tree(unpacker) => Ok(unpacker.omit_current()?),
            Self::Zip(zip) => zip.omit(),
        }
    }

    /// A folder, after everything in it.
    pub(super) fn folder(&mut self, entry: FolderEntry) -> Result<(), Error> {
        let FolderEntry { path, attributes: Attributes { permissions, modified } } = entry;
        match self {
            Self::File { .. } | Self::Writer(_) => Ok(()),
            Self::Tree(unpacker) => {
                unpacker.on_piece(Piece::Folder(path.clone()))?;
                let (permissions, modified) = (Some(permissions), Some(modified));
                let is_folder = true;
                let end = Piece::Permissions { path, permissions, modified, is_folder };
                Ok(unpacker.on_piece(end)?)
            }
            Self::Zip(zip) => {
                zip.entry(Entry { path, permissions, modified, kind: EntryKind::Folder })
            }
        }
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, entry: LinkEntry) -> Result<(), Error> {
        let LinkEntry { path, target } = entry;
        match self {
            Self::File { .. } | Self::Writer(_) => Ok(()),
            Self::Tree(unpacker) => Ok(unpacker.link(&path, target.as_str())?),
            Self::Zip(zip) => {
                let kind = EntryKind::Link(target.as_str().to_owned());
                zip.entry(Entry { path, permissions: 0o777, modified: 0, kind })
            }
        }
    }

    /// The incomplete file or folder on the disk.
    pub(super) fn part(&mut self) -> Option<&mut Part> {
        match self {
            Self::File { file, .. } => Some(&mut file.part),
            Self::Tree(unpacker) => Some(unpacker.part_mut()),
            Self::Writer(_) | Self::Zip(_) => None,
        }
    }

    /// Everything has arrived: gives it its final name. When this returns, it is durable.
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
                writer.flush().map_err(to_writer)?;
                Ok(Written::default())
            }
            Self::Zip(zip) => zip.complete(),
        }
    }
}

/// Removes everything after the first `kept` bytes, and continues there.
fn position(file: &mut File, kept: u64) -> io::Result<()> {
    file.set_len(kept)?;
    file.seek(SeekFrom::Start(kept)).map(drop)
}

fn to_writer(error: io::Error) -> Error {
    failed(Path::new("-"), error)
}
