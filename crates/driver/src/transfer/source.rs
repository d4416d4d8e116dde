//! What is being sent, as a stream of bytes: a file, the zip of a tree, or any reader.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use wormhole_magic::transfer::zip::{EntryKind, ZipWriter};
use wormhole_magic::transfer::{Offer, PeerName};

use super::tree::{Item, Tree};
use super::{Error, Outgoing, Unsendable, UnsendableReason};

/// What is going to be sent, checked as far as that is possible in advance.
pub(super) enum Parcel {
    File { name: String, path: PathBuf, file: File, size: u64 },
    Stream { name: String, reader: Box<dyn Read + Send> },
    Text(String),
    Tree(Tree),
}

impl Parcel {
    /// Looks at everything that is to be sent. What cannot be sent is left out and returned if
    /// `lenient`, as long as it was not named itself.
    pub(super) fn check(what: Outgoing, lenient: bool) -> Result<(Self, Vec<Unsendable>), Error> {
        match what {
            Outgoing::Text(text) => Ok((Self::Text(text), Vec::new())),
            Outgoing::Stream { name, reader } => Ok((Self::Stream { name, reader }, Vec::new())),
            Outgoing::Paths(paths) => Self::check_paths(&paths, lenient),
        }
    }

    fn check_paths(paths: &[PathBuf], lenient: bool) -> Result<(Self, Vec<Unsendable>), Error> {
        let [path] = paths else {
            let (tree, skipped) = Tree::of_several(paths, lenient)?;
            return Ok((Self::Tree(tree), skipped));
        };
        let unsendable = |why: UnsendableReason| Unsendable { path: path.clone(), why };
        let metadata = std::fs::metadata(path).map_err(|error| unsendable(system(error)))?;
        if metadata.is_dir() {
            let (tree, skipped) = Tree::of_folder(path, lenient)?;
            return Ok((Self::Tree(tree), skipped));
        }
        // Opening a pipe would wait for somebody to write into it.
        if !metadata.is_file() && !is_disk(&metadata) {
            return Err(unsendable(UnsendableReason::NotAFile).into());
        }
        let file = File::open(path).map_err(|error| unsendable(system(error)))?;
        let size = size_of(&file).map_err(unsendable)?;
        let name = super::tree::name_of(path)?;
        Ok((Self::File { name, path: path.clone(), file, size }, Vec::new()))
    }

    /// What the receiver is offered.
    pub(super) fn offer(&self) -> Offer {
        match self {
            Self::File { name, size, .. } => Offer::File { name: PeerName::new(name), size: *size },
            Self::Stream { name, .. } => Offer::Stream { name: PeerName::new(name) },
            Self::Text(text) => Offer::Text(text.clone()),
            Self::Tree(tree) => tree.offer(),
        }
    }

    /// The bytes; a text has none.
    pub(super) fn into_source(self) -> Source {
        match self {
            Self::File { path, file, size, .. } => Source::File { path, file, left: size },
            Self::Stream { name, reader } => Source::Stream { name, reader },
            Self::Text(_) => Source::Stream { name: String::new(), reader: Box::new(io::empty()) },
            Self::Tree(tree) => Source::Tree(Box::new(TreeSource::new(tree))),
        }
    }
}

/// Bytes of a file, or of the disk that the path names.
fn size_of(file: &File) -> Result<u64, UnsendableReason> {
    let metadata = file.metadata().map_err(system)?;
    if metadata.is_file() {
        return Ok(metadata.len());
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

/// The bytes to be sent.
pub(super) enum Source {
    File { path: PathBuf, file: File, left: u64 },
    Stream { name: String, reader: Box<dyn Read + Send> },
    Tree(Box<TreeSource>),
}

impl Source {
    /// Reads the next bytes; none at the end. Only a stream gives fewer than fit before its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unsendable> {
        match self {
            Self::File { path, file, left } => {
                read_file(file, left, buffer).map_err(|why| Unsendable { path: path.clone(), why })
            }
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
}

/// Reads what fits of the `left` bytes that a file should still have.
fn read_file(
    file: &mut impl Read,
    left: &mut u64,
    buffer: &mut [u8],
) -> Result<usize, UnsendableReason> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..)
        && !room.is_empty()
        && *left > 0
    {
        // One byte more is asked for than there should be, to notice a file that has grown.
        let wanted = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(room.len());
        match file.read(room.get_mut(..wanted).unwrap_or_default()) {
            Ok(count) => {
                let wide = u64::try_from(count).unwrap_or(u64::MAX);
                if count == 0 || wide > *left {
                    return Err(UnsendableReason::Changed);
                }
                *left -= wide;
                filled += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(system(error)),
        }
    }
    Ok(filled)
}

/// A tree as the zip it is sent as: files are opened one at a time, when it is their turn.
pub(super) struct TreeSource {
    items: std::vec::IntoIter<Item>,
    writer: Option<ZipWriter>,
    /// Headers that have yet to be handed out.
    pending: Vec<u8>,
    handed_out: usize,
    current: Option<(File, PathBuf, u64)>,
}

impl TreeSource {
    fn new(tree: Tree) -> Self {
        Self {
            items: tree.items.into_iter(),
            writer: Some(ZipWriter::new()),
            pending: Vec::new(),
            handed_out: 0,
            current: None,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unsendable> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..)
            && !room.is_empty()
        {
            let count = self.step(room)?;
            filled += count;
            if count == 0 && !self.advance()? {
                break;
            }
        }
        Ok(filled)
    }

    /// Takes what there is of headers, else of the open file.
    fn step(&mut self, room: &mut [u8]) -> Result<usize, Unsendable> {
        let pending = self.pending.get(self.handed_out..).unwrap_or_default();
        if !pending.is_empty() {
            let count = pending.len().min(room.len());
            room.iter_mut().zip(pending).for_each(|(to, byte)| *to = *byte);
            self.handed_out += count;
            return Ok(count);
        }
        self.pending.clear();
        self.handed_out = 0;
        let (Some((file, path, left)), Some(writer)) = (&mut self.current, &mut self.writer) else {
            return Ok(0);
        };
        let count =
            read_file(file, left, room).map_err(|why| Unsendable { path: path.clone(), why })?;
        writer.data(room.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// Goes on to the next entry, or to the table of contents. Returns whether there was either.
    fn advance(&mut self) -> Result<bool, Unsendable> {
        let at = self.current.take().map(|(_, path, _)| path);
        let changed = |path: Option<PathBuf>| Unsendable {
            path: path.unwrap_or_default(),
            why: UnsendableReason::Changed,
        };
        let Some(writer) = &mut self.writer else { return Ok(false) };
        let Some(Item { entry, path }) = self.items.next() else {
            let finished = self.writer.take().map(|writer| writer.finish(&mut self.pending));
            return finished.transpose().map(|_| true).map_err(|_| changed(at));
        };
        if let EntryKind::File(size) = entry.kind
            && size > 0
        {
            let file = File::open(&path)
                .map_err(|error| Unsendable { path: path.clone(), why: system(error) })?;
            self.current = Some((file, path, size));
        }
        writer.begin(entry, &mut self.pending).map_err(|_| changed(at))?;
        Ok(true)
    }
}

pub(super) fn system(error: io::Error) -> UnsendableReason {
    UnsendableReason::System(error.into())
}
