//! The zip of a directory, created while it is sent: files are opened one at a time.
//!
//! The length of the zip was offered before any file was read. If a file has become longer, only its offered
//! length is sent. If a file cannot be read completely, the transfer ends; with [`Tree::tolerant`], the rest
//! of the file is filled with zeros and the file is omitted from the zip's central directory, so that the
//! other files still arrive.

use std::path::PathBuf;

use wormhole_magic::transfer::zip::{EntryKind, ZipWriter};

use super::exact_reader::{ExactReader, open_file};
use super::tree::{Item, Tree};
use super::{Unsendable, UnsendableReason};

/// The bytes of the zip.
pub(super) struct Archive {
    items: std::vec::IntoIter<Item>,
    writer: Option<ZipWriter>,
    /// Zip headers that have not been returned yet.
    pending: Vec<u8>,
    handed_out: usize,
    current: Option<Current>,
    is_tolerant: bool,
    changed: Vec<Unsendable>,
}

/// The file whose turn it is.
struct Current {
    path: PathBuf,
    data: Data,
}

enum Data {
    /// From the file.
    File(ExactReader),
    /// The file could not be read completely: this number of zeros replaces the rest.
    Zeros(u64),
}

impl Archive {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            items: tree.items.into_iter(),
            writer: Some(ZipWriter::new()),
            pending: Vec::new(),
            handed_out: 0,
            current: None,
            is_tolerant: tree.tolerant,
            changed: tree.omitted,
        }
    }

    /// Files that did not arrive as they are here, so far.
    pub(super) fn into_changed(self) -> Vec<Unsendable> {
        self.changed
    }

    /// Reads the next bytes; fewer than fit only at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unsendable> {
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

    /// Copies pending headers into `room`. Without pending headers, copies data of the current file.
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
        let count = self.step_of_file(room)?;
        if let Some(writer) = &mut self.writer {
            writer.data(room.get(..count).unwrap_or_default());
        }
        Ok(count)
    }

    fn step_of_file(&mut self, room: &mut [u8]) -> Result<usize, Unsendable> {
        let Some(current) = &mut self.current else { return Ok(0) };
        let (left, why) = match &mut current.data {
            Data::Zeros(left) => return Ok(zeros(left, room)),
            Data::File(file) => match file.read(room) {
                Ok(count) => return Ok(count),
                Err(why) => (file.left(), why),
            },
        };
        current.data = Data::Zeros(left);
        let path = current.path.clone();
        self.tolerate(path, why)?;
        // The next step takes the zeros.
        self.step_of_file(room)
    }

    /// Starts the next entry, or the central directory after the last entry. Returns false at the end of the
    /// zip.
    fn advance(&mut self) -> Result<bool, Unsendable> {
        self.end_file()?;
        let Some(writer) = &mut self.writer else { return Ok(false) };
        let Some(Item { entry, path }) = self.items.next() else {
            let finished = self.writer.take().map(|writer| writer.finish(&mut self.pending));
            return finished.transpose().map(|_| true).map_err(|_| broken(PathBuf::new()));
        };
        let size = match entry.kind {
            EntryKind::File(size) => Some(size),
            EntryKind::Folder | EntryKind::Link(_) => None,
        };
        writer.begin(entry, &mut self.pending).map_err(|_| broken(path.clone()))?;
        if let Some(size) = size {
            let data = match open_file(&path, size) {
                Ok(file) => Data::File(file),
                Err(why) => {
                    self.tolerate(path.clone(), why)?;
                    Data::Zeros(size)
                }
            };
            self.current = Some(Current { path, data });
        }
        Ok(true)
    }

    /// Ends the current file. One that has become longer is as long as it was offered.
    fn end_file(&mut self) -> Result<(), Unsendable> {
        let Some(Current { path, data }) = self.current.take() else { return Ok(()) };
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match data {
            Data::Zeros(_) => writer.omit(&mut self.pending).map_err(|_| broken(path)),
            Data::File(mut file) => match file.check_end() {
                Ok(()) => Ok(()),
                Err(why) => self.tolerate(path, why),
            },
        }
    }

    /// Records that a file could not be sent unchanged.
    ///
    /// # Errors
    /// That must end the transfer.
    fn tolerate(&mut self, path: PathBuf, why: UnsendableReason) -> Result<(), Unsendable> {
        let unsendable = Unsendable { path, why };
        if !self.is_tolerant {
            return Err(unsendable);
        }
        self.changed.push(unsendable);
        Ok(())
    }
}

/// Fills the room with as many of the zeros as fit.
fn zeros(left: &mut u64, room: &mut [u8]) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(room.len());
    room.get_mut(..count).unwrap_or_default().fill(0);
    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    count
}

/// The zip would have a different length than offered, so it cannot be completed.
const fn broken(path: PathBuf) -> Unsendable {
    Unsendable { path, why: UnsendableReason::Shrank }
}
