//! Reads the data to send: a file, the zip of a directory, or any reader.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use wormhole_magic::transfer::{Attributes, Message, Offer, PeerName};

use super::archive::Archive;
use super::exact_reader::{self, ExactReader};
use super::tree::{self, Tree};
use super::{Error, Outgoing, Unsendable, UnsendableReason, thread};

/// The data to send, checked as far as possible in advance.
pub(super) enum SendItem {
    File(OpenFile),
    Stream { name: String, reader: Box<dyn Read + Send> },
    Text(String),
    Tree(Tree),
}

/// A file, opened before any connection is made.
pub(super) struct OpenFile {
    /// Name for the receiver.
    pub(super) name: String,
    /// Its path; `None` for a temporary file.
    pub(super) path: Option<PathBuf>,
    pub(super) file: File,
    /// Size in bytes.
    pub(super) size: u64,
    /// Attributes, for peers that support them.
    pub(super) attributes: Option<Attributes>,
}

impl SendItem {
    /// Checks everything that is to be sent. With `lenient`, files that cannot be sent are omitted and returned, unless
    /// the user named them directly.
    pub(super) fn check(what: Outgoing, lenient: bool) -> Result<(Self, Vec<Unsendable>), Error> {
        match what {
            Outgoing::Text(text) => {
                check_text(&text)?;
                Ok((Self::Text(text), Vec::new()))
            }
            Outgoing::Stream { name, reader } => Ok((Self::Stream { name, reader }, Vec::new())),
            Outgoing::Paths(paths) => Self::check_paths(&paths, lenient),
        }
    }

    fn check_paths(paths: &[PathBuf], lenient: bool) -> Result<(Self, Vec<Unsendable>), Error> {
        let [path] = paths else {
            let (tree, skipped) = Tree::of(paths, lenient)?;
            return Ok((Self::Tree(tree), skipped));
        };
        let unsendable = |why: UnsendableReason| Unsendable { path: path.clone(), why };
        let metadata = std::fs::metadata(path).map_err(|error| unsendable(system(error)))?;
        if metadata.is_dir() {
            let (tree, skipped) = Tree::of(paths, lenient)?;
            return Ok((Self::Tree(tree), skipped));
        }
        // Opening a pipe would wait for a writer.
        if !metadata.is_file() && !is_disk(&metadata) {
            return Err(unsendable(UnsendableReason::NotAFile).into());
        }
        let file = exact_reader::open(path).map_err(|error| unsendable(system(error)))?;
        let size = size_of(&file).map_err(unsendable)?;
        let name = tree::name_of(path)?;
        let attributes = metadata.is_file().then(|| tree::attributes(&metadata));
        let path = Some(path.clone());
        Ok((Self::File(OpenFile { name, path, file, size, attributes }), Vec::new()))
    }

    /// The same for a peer that does not create symbolic links. May read folders again. Dropping this future stops waiting.
    ///
    /// # Errors
    /// What a link leads to cannot be sent.
    pub(super) async fn followed(self) -> Result<Self, Error> {
        match self {
            Self::Tree(tree) => {
                let following = thread::start(move || tree.followed().map(Self::Tree));
                following.await.unwrap_or(Err(Error::NoThread))
            }
            item @ (Self::File(_) | Self::Stream { .. } | Self::Text(_)) => Ok(item),
        }
    }

    /// The offer for the receiver.
    pub(super) fn offer(&self) -> Offer {
        match self {
            Self::File(OpenFile { name, size, attributes, .. }) => {
                let (name, size) = (PeerName::new(name), *size);
                Offer::File { name, size, attributes: *attributes }
            }
            Self::Stream { name, .. } => Offer::Stream { name: PeerName::new(name) },
            Self::Text(text) => Offer::Text(text.clone()),
            Self::Tree(tree) => tree.offer(),
        }
    }

    /// The bytes; a text has no length.
    pub(super) fn into_source(self) -> Source {
        match self {
            Self::File(OpenFile { name, path, file, size, .. }) => {
                Source::File { name, path, file: ExactReader::new(file, size) }
            }
            Self::Stream { name, reader } => Source::Stream { name, reader },
            Self::Text(_) => Source::Stream { name: String::new(), reader: Box::new(io::empty()) },
            Self::Tree(tree) => Source::Tree(Box::new(Archive::new(tree))),
        }
    }
}

/// Checks that the encoded text fits into a message.
fn check_text(text: &str) -> Result<(), Error> {
    let bytes = Message::Offer(Offer::Text(text.to_owned())).encode().len();
    if bytes > MAX_TEXT { Err(Error::TextTooLong { bytes, most: MAX_TEXT }) } else { Ok(()) }
}

/// Size of a file or of a block device.
fn size_of(file: &File) -> Result<u64, UnsendableReason> {
    let metadata = file.metadata().map_err(system)?;
    if metadata.is_file() {
        return exact_reader::check_size(file, &metadata).map(|()| metadata.len());
    }
    if is_disk(&metadata) {
        let mut file = file;
        let size = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(system)?;
        io::Seek::rewind(&mut file).map_err(system)?;
        return Ok(size);
    }
    Err(UnsendableReason::NotAFile)
}

#[cfg(unix)]
fn is_disk(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type())
}

#[cfg(not(unix))]
const fn is_disk(_: &std::fs::Metadata) -> bool {
    false
}

/// The bytes to send.
pub(super) enum Source {
    File { name: String, path: Option<PathBuf>, file: ExactReader },
    Stream { name: String, reader: Box<dyn Read + Send> },
    Tree(Box<Archive>),
}

impl Source {
    /// Reads the next bytes; none at the end. Only a stream returns less than the buffer before its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unsendable> {
        match self {
            Self::File { name, path, file } => read_file(file, buffer).map_err(|why| {
                let path = path.clone().unwrap_or_else(|| name.as_str().into());
                Unsendable { path, why }
            }),
            Self::Stream { name, reader } => loop {
                match reader.read(buffer) {
                    Ok(count) => return Ok(count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        return Err(Unsendable { path: name.as_str().into(), why: system(error) });
                    }
                }
            },
            Self::Tree(tree) => tree.read(buffer),
        }
    }

    /// The name for error messages.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File { name, path, .. } => path.clone().unwrap_or_else(|| name.into()),
            Self::Stream { name, .. } => name.into(),
            Self::Tree(_) => PathBuf::new(),
        }
    }

    /// After the last byte: files that changed while they were sent.
    pub(super) fn into_changed(self) -> Vec<Unsendable> {
        match self {
            Self::File { path: Some(path), file, .. } if file.is_replaced(&path) => {
                vec![Unsendable { path, why: UnsendableReason::Replaced }]
            }
            Self::File { .. } | Self::Stream { .. } => Vec::new(),
            Self::Tree(tree) => tree.into_changed(),
        }
    }
}

/// Fills the buffer, or reads to the end of the file: before the last byte is returned, it is certain that the file
/// ends there.
fn read_file(file: &mut ExactReader, buffer: &mut [u8]) -> Result<usize, UnsendableReason> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..)
        && !room.is_empty()
        && file.left() > 0
    {
        filled += file.read(room)?;
    }
    file.check_end().map(|()| filled)
}

pub(super) fn system(error: io::Error) -> UnsendableReason {
    UnsendableReason::System(error.into())
}

/// Maximum size of a message with a text. The mailbox server accepts frames of 4 MiB, with two hex digits per
/// byte.
const MAX_TEXT: usize = 2_000_000;
