//! The sender's thread: reads and hashes files, and makes frames of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use wormhole_magic::dilation::MAX_DATA;
use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::dilated::{
    Claims, Features, FileEntry, FolderEntry, Hash, LinkEntry, LinkTarget, Replies, Reply,
    Violation, chunk_count, chunk_range, frame, length_of_chunks,
};
use wormhole_magic::transfer::zip::EntryKind;

use super::super::exact_reader::{ExactReader, open_file};
use super::super::source::{OpenFile, SendItem, system};
use super::super::tree::{Item, Tree};
use super::super::{Error, PeerMisbehaved, Progress, Unsendable, UnsendableReason};
use super::carry::Line;
use super::compress::Compression;
use super::hash::{ChunkHasher, count, key};

/// Sends everything and waits until the receiver has stored it. Calls `all_sent` after the last byte. Returns the files that
/// changed while they were sent.
pub(in super::super) fn send(
    line: Line,
    item: SendItem,
    claims: Claims,
    (replies, rest, features): (Replies, Vec<u8>, Features),
    progress: Progress,
    all_sent: impl FnOnce(),
) -> Result<Vec<Unsendable>, Error> {
    let changed = Vec::new();
    let mut sending = Sending {
        line,
        claims,
        replies,
        progress,
        changed,
        batch: Vec::new(),
        is_block: false,
        sent: 0,
        is_complete: false,
        is_stored: false,
        compression: Compression::new(features.zstd),
    };
    sending.on_replies(&rest)?;
    match item {
        SendItem::File(file) => sending.single_file(file)?,
        SendItem::Stream { name, reader } => sending.stream(&name, reader)?,
        SendItem::Tree(tree) => sending.tree(tree)?,
        SendItem::Text(_) => {}
    }
    frame::end(&mut sending.batch);
    // The confirmation may arrive at once.
    sending.is_complete = true;
    sending.flush()?;
    all_sent();
    while !sending.is_stored {
        let bytes = sending.line.receive(&sending.progress)?;
        sending.on_replies(&bytes)?;
    }
    Ok(sending.changed)
}

/// A transfer that is being sent.
struct Sending {
    line: Line,
    claims: Claims,
    replies: Replies,
    progress: Progress,
    changed: Vec<Unsendable>,
    /// Frames that are not sent yet, and whether the last one is a compressed block.
    batch: Vec<u8>,
    is_block: bool,
    /// Bytes of the offer that are sent or that the receiver had.
    sent: u64,
    /// Whether everything was sent.
    is_complete: bool,
    is_stored: bool,
    compression: Compression,
}

/// Why a file could not be sent.
enum Failure {
    /// The file is at fault.
    Source(UnsendableReason),
    /// Everything else.
    Transfer(Error),
}

impl From<UnsendableReason> for Failure {
    fn from(why: UnsendableReason) -> Self {
        Self::Source(why)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Transfer(error)
    }
}

impl Sending {
    fn single_file(&mut self, file: OpenFile) -> Result<(), Error> {
        let OpenFile { name, path, file, size, attributes } = file;
        let shown = path.clone().unwrap_or_else(|| name.into());
        let entry = FileEntry { path: None, size: Some(size), attributes, keep: 0 };
        match self.file(entry, ExactReader::new(file, size)) {
            Ok(reader) => {
                if let Some(path) = path.filter(|path| reader.is_replaced(path)) {
                    self.changed.push(Unsendable { path, why: UnsendableReason::Replaced });
                }
                Ok(())
            }
            Err(Failure::Source(why)) => Err(Unsendable { path: shown, why }.into()),
            Err(Failure::Transfer(error)) => Err(error),
        }
    }

    fn tree(&mut self, tree: Tree) -> Result<(), Error> {
        self.changed = tree.omitted;
        for Item { entry, path } in tree.items {
            let attributes =
                Attributes { permissions: entry.permissions & 0o777, modified: entry.modified };
            match entry.kind {
                EntryKind::Folder => {
                    frame::folder(&mut self.batch, &FolderEntry { path: entry.path, attributes });
                }
                EntryKind::Link(target) => {
                    // It was checked when the folder was read.
                    if let Some((target, _)) = LinkTarget::shortest(&target, &entry.path) {
                        frame::link(&mut self.batch, &LinkEntry { path: entry.path, target });
                    }
                }
                EntryKind::File(size) => {
                    let (in_offer, attributes) = (Some(entry.path), Some(attributes));
                    let entry = FileEntry { path: in_offer, size: Some(size), attributes, keep: 0 };
                    self.tree_file(entry, size, path)?;
                }
            }
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Sends a file of a folder. If it cannot be read, the others are still sent.
    fn tree_file(&mut self, entry: FileEntry, size: u64, path: PathBuf) -> Result<(), Error> {
        let before = self.sent;
        let sent = match open_file(&path, size) {
            Ok(reader) => self.file(entry, reader).map(drop),
            Err(why) => {
                frame::file(&mut self.batch, &entry);
                Err(why.into())
            }
        };
        match sent {
            Ok(()) => Ok(()),
            Err(Failure::Transfer(error)) => Err(error),
            Err(Failure::Source(UnsendableReason::Grew)) => {
                self.changed.push(Unsendable { path, why: UnsendableReason::Grew });
                Ok(())
            }
            Err(Failure::Source(why)) => {
                frame::omit(&mut self.batch);
                self.changed.push(Unsendable { path, why });
                self.sent = before.saturating_add(size);
                Ok(())
            }
        }
    }

    /// Sends a file: first what the receiver does not have, and then what it has differently. A file that grew is complete when
    /// that is returned.
    fn file(
        &mut self,
        mut entry: FileEntry,
        mut reader: ExactReader,
    ) -> Result<ExactReader, Failure> {
        let size = entry.size.unwrap_or(0);
        let mut kept = key(&entry).map(|key| self.claims.take(&key)).unwrap_or_default();
        kept.truncate(usize::try_from(chunk_count(size)).unwrap_or(usize::MAX));
        entry.keep = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        let bytes_kept = length_of_chunks(size, entry.keep);
        frame::file(&mut self.batch, &entry);
        let mut hasher = ChunkHasher::new(entry.size, kept);
        reader.skip(bytes_kept)?;
        self.sent = self.sent.saturating_add(bytes_kept);
        let mut chunk = None;
        while reader.left() > 0 {
            if chunk.replace(hasher.index()) != Some(hasher.index()) {
                self.compression.begin_chunk();
            }
            let length = self.data(&mut hasher, reader.left(), |room| reader.read(room))?;
            self.sent = self.sent.saturating_add(length);
            self.flush_if_full()?;
        }
        let end = reader.check_end();
        if entry.keep > 0 {
            // The receiver waits for nothing else.
            self.flush()?;
            self.check_kept(reader.file(), &mut hasher, entry.keep, size)?;
        }
        frame::file_end(&mut self.batch, &hasher.finish());
        end?;
        Ok(reader)
    }

    /// Compares the source with what the receiver has kept, and sends the chunks that differ.
    fn check_kept(
        &mut self,
        mut file: &File,
        hasher: &mut ChunkHasher,
        keep: u64,
        size: u64,
    ) -> Result<(), Failure> {
        for index in 0..keep {
            let Range { start, end } = chunk_range(size, index);
            let length = end.saturating_sub(start);
            file.seek(SeekFrom::Start(start)).map_err(system)?;
            let claimed = usize::try_from(index).ok().and_then(|index| hasher.hashes().get(index));
            if claimed.copied() == Some(hash_of(file, length)?) {
                continue;
            }
            frame::chunk(&mut self.batch, index);
            self.compression.begin_chunk();
            hasher.seek(index);
            file.seek(SeekFrom::Start(start)).map_err(system)?;
            let mut reader = ExactReader::new(file, length);
            while reader.left() > 0 {
                self.data(hasher, reader.left(), |room| reader.read(room))?;
                self.flush_if_full()?;
            }
        }
        Ok(())
    }

    fn stream(&mut self, name: &str, mut reader: Box<dyn Read + Send>) -> Result<(), Error> {
        let entry = FileEntry { path: None, size: None, attributes: None, keep: 0 };
        frame::file(&mut self.batch, &entry);
        let mut hasher = ChunkHasher::new(None, Vec::new());
        self.compression.begin_chunk();
        let mut chunk = hasher.index();
        loop {
            if std::mem::replace(&mut chunk, hasher.index()) != hasher.index() {
                self.compression.begin_chunk();
            }
            let read = self.data(&mut hasher, u64::MAX, |room| {
                loop {
                    match reader.read(room) {
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        outcome => return outcome.map_err(system),
                    }
                }
            });
            let length = read.map_err(|why| Unsendable { path: name.into(), why })?;
            self.sent = self.sent.saturating_add(length);
            if length == 0 {
                break;
            }
            // A slow source is not delayed.
            self.flush()?;
        }
        frame::file_end(&mut self.batch, &hasher.finish());
        Ok(())
    }

    /// Appends a frame with at most `most` bytes of a source. Returns how many there were.
    fn data(
        &mut self,
        hasher: &mut ChunkHasher,
        most: u64,
        read: impl FnOnce(&mut [u8]) -> Result<usize, UnsendableReason>,
    ) -> Result<u64, UnsendableReason> {
        let start = self.batch.len();
        // The frame of a file may just have filled it.
        let room = BATCH.saturating_sub(start + frame::HEADER).max(1);
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(room);
        if self.batch.capacity() == 0 && room >= MIN_ROOM {
            self.batch.reserve_exact(BATCH);
        }
        let contents = start + frame::HEADER;
        self.batch.resize(contents + room, 0);
        let outcome = read(self.batch.get_mut(contents..).unwrap_or_default());
        let length = *outcome.as_ref().unwrap_or(&0);
        self.batch.truncate(contents + length);
        let plain = self.batch.get(contents..).unwrap_or_default();
        let length = count(plain);
        hasher.update(plain, |_, _| {});
        match (self.compression.block(plain), u32::try_from(length)) {
            (Some(block), Ok(plain)) => {
                self.batch.truncate(start);
                frame::compressed(&mut self.batch, plain, &block);
                self.is_block = true;
            }
            (Some(_), Err(_)) | (None, _) => frame::set_header(&mut self.batch, start),
        }
        outcome.map(|_| length)
    }

    /// A compressed block is sent at once, so that the next one has as many bytes.
    fn flush_if_full(&mut self) -> Result<(), Error> {
        let is_full = self.batch.len() + frame::HEADER + MIN_ROOM > BATCH;
        if is_full || self.is_block { self.flush() } else { Ok(()) }
    }

    /// Sends the batch, and handles the replies that have arrived.
    fn flush(&mut self) -> Result<(), Error> {
        self.is_block = false;
        if !self.batch.is_empty() {
            let (began, length) = (Instant::now(), self.batch.len());
            self.line.send(std::mem::take(&mut self.batch), &self.progress)?;
            self.compression.sent(length, began, Instant::now());
        }
        self.progress.set_done(self.sent);
        while let Ok(bytes) = self.line.incoming.try_recv() {
            self.on_replies(&bytes)?;
        }
        Ok(())
    }

    fn on_replies(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(reply) = self.replies.next(&mut bytes).map_err(PeerMisbehaved::Dilated)? {
            match reply {
                // The receiver cannot have more than was sent.
                Reply::Received(bytes) => self.progress.set_received(Some(bytes.min(self.sent))),
                Reply::Stored if !self.is_complete => {
                    return Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into());
                }
                Reply::Stored => {
                    self.progress.set_received(Some(self.sent));
                    self.is_stored = true;
                }
                Reply::Refused(reason) => return Err(Error::PeerRefused(reason)),
                Reply::Accepted | Reply::Ready(_) => {}
            }
        }
        Ok(())
    }
}

/// The hash of the next bytes of a file.
fn hash_of(file: &File, length: u64) -> Result<Hash, UnsendableReason> {
    let mut reader = ExactReader::new(file, length);
    let mut state = blake3::Hasher::new();
    let mut buffer = vec![0; READ];
    while reader.left() > 0 {
        let length = reader.read(&mut buffer)?;
        state.update(buffer.get(..length).unwrap_or_default());
    }
    Ok(*state.finalize().as_bytes())
}

/// Bytes of frames that are sent together: one record.
const BATCH: usize = MAX_DATA;

/// A batch with less room is sent.
const MIN_ROOM: usize = 4 << 10;

/// Bytes to read at once where nothing is sent.
const READ: usize = 64 << 10;
