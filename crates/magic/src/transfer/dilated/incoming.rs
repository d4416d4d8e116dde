//! Decodes the sender's frames: the offer, and after it was accepted its files and folders.

use super::frame::{self, FrameKind, FramePart, FrameReader};
use super::message::{
    FileEntry, FolderEntry, decode_file, decode_folder, decode_link, decode_offer,
};
use super::{Hash, LinkEntry, Violation, chunk_range, length_of_chunks};
use crate::transfer::Offer;

/// Reads the sender's frames, and checks that they are in order and contain what was offered.
///
/// | state | frame | next |
/// |---|---|---|
/// | `ExpectOffer` | Offer | `Offered` |
/// | `ExpectOffer` | Finished | `Ended` |
/// | `Offered`, `Entries`, `File` | Failed | `Ended` |
/// | `Offered` | no other: the caller continues with [`accept`](Self::accept) | `Entries` |
/// | `Entries` | File | `File` |
/// | `Entries` | Folder or Link, if a folder was offered | same |
/// | `Entries` | End, if all bytes and files have arrived | `Ended` |
/// | `File` | Data or Compressed, up to the end of the file or of the replaced chunk | same |
/// | `File` | Chunk, if the kept part is followed by everything else, in ascending order | same |
/// | `File` | FileEnd, if nothing is missing | `Entries` |
/// | `File` | Omit, if a folder was offered | `Entries` |
/// | any | any other | error |
#[derive(Debug)]
pub struct Incoming {
    frames: FrameReader,
    state: State,
    /// Offered bytes and files that have not begun. `None` for a stream.
    bytes_left: Option<u64>,
    files_left: u64,
    is_folder: bool,
}

#[derive(Debug)]
enum State {
    ExpectOffer,
    Offered,
    Entries,
    File(FileState),
    Ended,
}

/// The file that is being received.
#[derive(Debug)]
struct FileState {
    size: Option<u64>,
    keep: u64,
    /// The position of the next byte.
    position: u64,
    /// Where the data ends that has to arrive before the next frame of another kind; `None` for a stream.
    end: Option<u64>,
    /// The smallest chunk that may still be replaced.
    next_chunk: u64,
}

/// A frame of the sender, or a part of one.
#[derive(Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a receiver must handle all of them")]
pub enum Received<'a> {
    /// The offer. Nothing follows before it is accepted.
    Offer(Offer),
    /// A file begins. Its data continues after the chunks that are kept.
    File(FileEntry),
    /// Contents of the file.
    Data(&'a [u8]),
    /// Compressed contents of the file, and the number of bytes that they must have when they are decompressed.
    Compressed(Vec<u8>, usize),
    /// The next data replaces this chunk, which the sender has differently.
    Chunk(u64),
    /// The file is complete and must have this hash.
    FileEnd(Hash),
    /// The sender cannot read the file completely: remove it.
    Omitted,
    /// A folder, after everything in it.
    Folder(FolderEntry),
    /// A symbolic link that stays inside the folder.
    Link(LinkEntry),
    /// Everything has arrived.
    End,
    /// The sender cannot go on, for this reason. Nothing follows.
    Failed(String),
    /// Instead of an offer: the peer offers nothing more.
    Finished,
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

impl Incoming {
    /// Expects an offer.
    pub fn new() -> Self {
        Self {
            frames: FrameReader::default(),
            state: State::ExpectOffer,
            bytes_left: None,
            files_left: 0,
            is_folder: false,
        }
    }

    /// The offer is accepted: its files may arrive.
    pub fn accept(&mut self) {
        if matches!(self.state, State::Offered) {
            self.state = State::Entries;
        }
    }

    /// Takes the next part from the front of `input`; `None` if more input is needed.
    ///
    /// # Errors
    /// The sender violates the protocol: end the transfer.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Received<'a>>, Violation> {
        let received = match self.frames.next(input)? {
            None => return Ok(None),
            Some(FramePart::Data(data)) => {
                self.on_data(data.len())?;
                Received::Data(data)
            }
            Some(FramePart::Frame(kind, contents)) => self.on_frame(kind, &contents)?,
        };
        let waits = matches!(self.state, State::Offered | State::Ended);
        if waits && !(input.is_empty() && self.frames.is_between_frames()) {
            return Err(Violation::OutOfOrder);
        }
        Ok(Some(received))
    }

    fn on_data(&mut self, length: usize) -> Result<(), Violation> {
        let State::File(file) = &mut self.state else { return Err(Violation::OutOfOrder) };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let position = file.position.checked_add(length).ok_or(Violation::NotAsOffered)?;
        if file.end.is_some_and(|end| position > end) {
            return Err(Violation::NotAsOffered);
        }
        file.position = position;
        Ok(())
    }

    fn on_frame(
        &mut self,
        kind: FrameKind,
        contents: &[u8],
    ) -> Result<Received<'static>, Violation> {
        match (kind, &mut self.state) {
            (FrameKind::Offer, State::ExpectOffer) => self.on_offer(decode_offer(contents)?),
            (FrameKind::File, State::Entries) => self.on_file(decode_file(contents)?),
            (FrameKind::Folder, State::Entries) if self.is_folder => {
                Ok(Received::Folder(decode_folder(contents)?))
            }
            (FrameKind::Link, State::Entries) if self.is_folder => {
                Ok(Received::Link(decode_link(contents)?))
            }
            (FrameKind::End, State::Entries) => self.on_end(contents),
            (FrameKind::Finished, State::ExpectOffer) if contents.is_empty() => {
                self.state = State::Ended;
                Ok(Received::Finished)
            }
            (FrameKind::Failed, State::Offered | State::Entries | State::File(_)) => {
                let reason = frame::reason(contents)?;
                self.state = State::Ended;
                Ok(Received::Failed(reason))
            }
            (FrameKind::Compressed, State::File(_)) => self.on_compressed(contents),
            (FrameKind::Chunk, State::File(file)) => {
                let index = u64::from_be_bytes(exactly(contents)?);
                file.replace(index)?;
                Ok(Received::Chunk(index))
            }
            (FrameKind::FileEnd, State::File(file)) => {
                if file.end.is_some_and(|end| file.position != end) {
                    return Err(Violation::NotAsOffered);
                }
                self.state = State::Entries;
                Ok(Received::FileEnd(exactly(contents)?))
            }
            (FrameKind::Omit, State::File(_)) if self.is_folder && contents.is_empty() => {
                self.state = State::Entries;
                Ok(Received::Omitted)
            }
            _ => Err(Violation::OutOfOrder),
        }
    }

    fn on_compressed(&mut self, contents: &[u8]) -> Result<Received<'static>, Violation> {
        let (plain, bytes) = contents.split_first_chunk().ok_or(Violation::Malformed)?;
        let plain = usize::try_from(u32::from_be_bytes(*plain)).unwrap_or(usize::MAX);
        if plain == 0 || plain > frame::MAX_BLOCK {
            return Err(Violation::Malformed);
        }
        self.on_data(plain)?;
        Ok(Received::Compressed(bytes.to_vec(), plain))
    }

    fn on_offer(&mut self, offer: Offer) -> Result<Received<'static>, Violation> {
        (self.is_folder, self.bytes_left, self.files_left) = match &offer {
            Offer::Directory { bytes, files, .. } => (true, Some(*bytes), *files),
            Offer::File { size, .. } => (false, Some(*size), 1),
            Offer::Stream { .. } => (false, None, 1),
            Offer::Text(_) => return Err(Violation::Malformed),
        };
        self.state = State::Offered;
        Ok(Received::Offer(offer))
    }

    fn on_file(&mut self, entry: FileEntry) -> Result<Received<'static>, Violation> {
        if entry.path.is_some() != self.is_folder {
            return Err(Violation::OutOfOrder);
        }
        self.files_left = self.files_left.checked_sub(1).ok_or(Violation::NotAsOffered)?;
        self.bytes_left = match (self.bytes_left, entry.size) {
            (Some(left), Some(size)) => {
                Some(left.checked_sub(size).ok_or(Violation::NotAsOffered)?)
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(Violation::NotAsOffered),
        };
        self.state = State::File(FileState::new(&entry));
        Ok(Received::File(entry))
    }

    fn on_end(&mut self, contents: &[u8]) -> Result<Received<'static>, Violation> {
        if !contents.is_empty() {
            return Err(Violation::Malformed);
        }
        if self.files_left > 0 || self.bytes_left.is_some_and(|left| left > 0) {
            return Err(Violation::NotAsOffered);
        }
        self.state = State::Ended;
        Ok(Received::End)
    }
}

impl FileState {
    fn new(entry: &FileEntry) -> Self {
        let position = entry.size.map_or(0, |size| length_of_chunks(size, entry.keep));
        Self { size: entry.size, keep: entry.keep, position, end: entry.size, next_chunk: 0 }
    }

    /// The next data replaces a chunk that was kept.
    fn replace(&mut self, index: u64) -> Result<(), Violation> {
        let (Some(size), Some(end)) = (self.size, self.end) else {
            return Err(Violation::OutOfOrder);
        };
        if self.position != end || index < self.next_chunk || index >= self.keep {
            return Err(Violation::OutOfOrder);
        }
        let chunk = chunk_range(size, index);
        self.next_chunk = index + 1;
        self.position = chunk.start;
        self.end = Some(chunk.end);
        Ok(())
    }
}

/// Contents of exactly this length.
pub(super) fn exactly<const N: usize>(contents: &[u8]) -> Result<[u8; N], Violation> {
    contents.try_into().map_err(|_| Violation::Malformed)
}
