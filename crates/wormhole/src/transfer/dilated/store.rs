//! The receiver's side of the files: writes them, checks their hashes, and writes down what has arrived.

mod opening;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use wormhole_magic::transfer::dilated::{
    Claims, FileEntry, FileKey, Hash, JournalFile, Received, Violation, chunk_range, frame,
    length_of_chunks,
};

use super::super::disk::{Donor, JournalWriter, failed};
use super::super::sink::Written;
use super::super::{Error, PeerMisbehaved};
use super::compress::Decompression;
use super::hash::{ChunkHasher, count, key};
use super::target::Target;

/// Writes an accepted offer.
pub(in super::super) struct Store {
    target: Target,
    /// What an earlier attempt has left.
    claims: HashMap<FileKey, JournalFile>,
    may_be_damaged: bool,
    /// Whether this is what an earlier attempt has left, and nothing of it has been continued or changed.
    is_untouched: bool,
    /// What a folder of another offer has left.
    donor: Option<FileDonor>,
    journal: Option<JournalWriter>,
    /// The hash of the offer.
    offer: Hash,
    /// Bytes since the last commit of the journal.
    uncommitted: u64,
    current: Option<CurrentFile>,
    received: u64,
    decompression: Decompression,
}

/// What a folder of another offer has left.
struct FileDonor {
    donor: Donor,
    /// The files that can be moved.
    keys: HashSet<FileKey>,
    /// Whether one was moved.
    is_used: bool,
}

/// The file that is being received.
struct CurrentFile {
    entry: FileEntry,
    key: Option<FileKey>,
    hasher: ChunkHasher,
    /// The chunks that the sender has replaced, in order.
    replaced: Vec<u64>,
    is_replacing: bool,
    /// Whether the journal knows that this file is the current one.
    is_recorded: bool,
}

impl Store {
    /// Whether the data goes to a writer of the application.
    pub(super) const fn is_writer(&self) -> bool {
        matches!(self.target, Target::Writer(_) | Target::Zip(_))
    }

    /// What has been received, including what was left by an earlier attempt, in bytes.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// The frames that accept the offer and say what an earlier attempt has left, and how many bytes that are.
    pub(in super::super) fn acceptance(&mut self) -> (Vec<u8>, u64) {
        if self.may_be_damaged {
            self.forget_damaged();
        }
        let (mut frames, mut bytes) = (Vec::new(), 0_u64);
        let mut claims = Claims::default();
        frame::accept(&mut frames);
        // What exceeds the limit is received again.
        self.claims.retain(|key, file| claims.add(*key, &file.hashes));
        for (key, file) in &self.claims {
            frame::have(&mut frames, key, &file.hashes);
            bytes = bytes.saturating_add(bytes_of(file));
        }
        frame::ready(&mut frames, bytes);
        (frames, bytes)
    }

    /// After a restart of the system, some data may not have reached the disk: keeps only what has the right hashes.
    fn forget_damaged(&mut self) {
        for claim in self.claims.values_mut() {
            let left = self.target.file_left(claim.path.as_ref());
            let right = left.map_or(0, |mut file| right_chunks(&mut file, claim));
            claim.hashes.truncate(right);
        }
        self.claims.retain(|_, claim| !claim.hashes.is_empty());
    }

    /// Handles what was received.
    ///
    /// # Errors
    /// The peer violates the protocol, or it cannot be written.
    pub(super) fn on_received(&mut self, received: Received<'_>) -> Result<(), Error> {
        match received {
            Received::File(entry) => self.begin(entry),
            Received::Data(data) => self.write(data),
            Received::Compressed(bytes, plain) => match self.decompression.block(&bytes, plain) {
                Ok(block) => self.write(&block),
                Err(_) => Err(PeerMisbehaved::Dilated(Violation::Malformed).into()),
            },
            Received::Chunk(index) => self.replace(index),
            Received::FileEnd(hash) => self.end_file(&hash),
            Received::Omitted => {
                self.record_changed(0);
                self.current = None;
                self.target.omit()
            }
            Received::Folder(entry) => {
                self.is_untouched = false;
                self.target.folder(entry)
            }
            Received::Link(entry) => {
                self.is_untouched = false;
                self.target.link(entry)
            }
            Received::Offer(_) | Received::End => Ok(()),
            Received::Failed(reason) => Err(Error::PeerRefused(reason)),
            Received::Finished => Err(PeerMisbehaved::Dilated(Violation::OutOfOrder).into()),
        }
    }

    fn begin(&mut self, entry: FileEntry) -> Result<(), Error> {
        let key = key(&entry);
        let claim = key.and_then(|key| self.claims.remove(&key));
        let keep = usize::try_from(entry.keep).unwrap_or(usize::MAX);
        if keep > claim.as_ref().map_or(0, |claim| claim.hashes.len()) {
            return Err(PeerMisbehaved::Dilated(Violation::WrongClaim).into());
        }
        self.is_untouched = false;
        let mut is_recorded = false;
        let kept = match claim {
            Some(mut claim) if keep > 0 => {
                claim.hashes.truncate(keep);
                is_recorded = self.take_from_donor(&claim)?;
                claim.hashes
            }
            Some(_) | None => Vec::new(),
        };
        let bytes = length_of_chunks(entry.size.unwrap_or(0), entry.keep);
        self.target.begin(&entry, bytes)?;
        self.received = self.received.saturating_add(bytes);
        let hasher = ChunkHasher::new(entry.size, kept);
        let (replaced, is_replacing) = (Vec::new(), false);
        let current = CurrentFile { entry, key, hasher, replaced, is_replacing, is_recorded };
        self.current = Some(current);
        Ok(())
    }

    /// Moves a file from what a folder of another offer has left, and writes that down; `false` if it is not from there.
    fn take_from_donor(&mut self, file: &JournalFile) -> Result<bool, Error> {
        let (Some(from), Some(path)) = (&mut self.donor, &file.path) else { return Ok(false) };
        let Target::Tree(unpacker) = &mut self.target else { return Ok(false) };
        if !from.keys.remove(&file.key) {
            return Ok(false);
        }
        unpacker.take_file(&from.donor.part, path)?;
        from.donor.record_moved(path, bytes_of(file));
        from.is_used = true;
        let part = unpacker.part_mut();
        if self.journal.is_none() {
            self.journal = part.start_journal(self.offer);
        }
        if let Some(journal) = &mut self.journal {
            journal.begin(file);
            (0..).zip(&file.hashes).for_each(|(index, hash)| journal.chunk(index, hash));
            journal.commit();
            part.keep();
        }
        Ok(true)
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.target.write(data)?;
        let Some(current) = &mut self.current else { return Ok(()) };
        if !current.is_replacing {
            self.received = self.received.saturating_add(count(data));
        }
        let CurrentFile { entry, key, hasher, is_recorded, .. } = current;
        let (journal, target, offer) = (&mut self.journal, &mut self.target, &self.offer);
        hasher.update(data, |index, hash| {
            let (Some(key), Some(size)) = (*key, entry.size) else { return };
            let Some(part) = target.part() else { return };
            if journal.is_none() {
                *journal = part.start_journal(*offer);
            }
            let Some(journal) = journal else { return };
            if !std::mem::replace(is_recorded, true) {
                if entry.keep > 0 {
                    journal.resume(&key, entry.keep);
                } else {
                    let (path, hashes) = (entry.path.clone(), Vec::new());
                    journal.begin(&JournalFile { key, path, size, hashes });
                }
            }
            journal.chunk(index, hash);
        });
        self.uncommitted = self.uncommitted.saturating_add(count(data));
        self.commit_if_due();
        Ok(())
    }

    /// Commits the journal from time to time. From the first time on, the data is worth keeping.
    fn commit_if_due(&mut self) {
        if self.uncommitted < COMMIT {
            return;
        }
        self.uncommitted = 0;
        if let (Some(journal), Some(part)) = (&mut self.journal, self.target.part()) {
            journal.commit();
            part.keep();
        }
    }

    fn replace(&mut self, index: u64) -> Result<(), Error> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.is_replacing = true;
        current.replaced.push(index);
        current.hasher.seek(index);
        let position = length_of_chunks(current.entry.size.unwrap_or(0), index);
        self.record_changed(position);
        let Some((file, place)) = self.target.file() else { return Ok(()) };
        let moved = file.seek(SeekFrom::Start(position));
        moved.map(drop).map_err(|error| failed(&place, error))
    }

    /// If the current file was moved from what a folder of another offer has left, only so many bytes of it stay as they were.
    fn record_changed(&mut self, bytes: u64) {
        let path = self.current.as_ref().and_then(|current| current.entry.path.as_ref());
        if let (Some(from), Some(path)) = (&mut self.donor, path) {
            from.donor.record_changed(path, bytes);
        }
    }

    fn end_file(&mut self, hash: &Hash) -> Result<(), Error> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if current.hasher.finish() != *hash || !self.has_kept_chunks(&current)? {
            return Err(PeerMisbehaved::Dilated(Violation::WrongHash).into());
        }
        self.target.end_file(current.entry)
    }

    /// Whether the chunks that were kept are on the disk as the journal says.
    fn has_kept_chunks(&mut self, current: &CurrentFile) -> Result<bool, Error> {
        let Some(size) = current.entry.size else { return Ok(true) };
        let kept = (0..current.entry.keep).zip(current.hasher.hashes());
        // Chunks are replaced in ascending order.
        let is_kept = |index: &u64| current.replaced.binary_search(index).is_err();
        for (index, hash) in kept.filter(|(index, _)| is_kept(index)) {
            let Some((file, place)) = self.target.file() else { return Ok(false) };
            let found = hash_at(file, chunk_range(size, index));
            let found = found.map_err(|error| failed(&place, error))?;
            if found != *hash {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Everything has arrived: gives it its final name. When this returns, it is durable.
    ///
    /// # Errors
    /// It cannot be written; then nothing is kept.
    pub(super) fn complete(mut self) -> Result<Written, Error> {
        // If this fails, nothing is kept; if the program is killed meanwhile, it can be continued.
        if let Some(part) = self.target.part() {
            part.discard();
        }
        let written = self.target.complete()?;
        // A sender who does not name all files of the other folder may be somebody else.
        if let Some(mut from) = self.donor.filter(|from| from.is_used && from.keys.is_empty()) {
            from.donor.part.discard();
        }
        Ok(written)
    }

    /// The transfer failed. Returns what is kept for a later attempt. Of an earlier one, everything is kept until the sender has
    /// continued it.
    pub(super) fn fail(mut self, error: &Error) -> Option<PathBuf> {
        let is_interrupted = matches!(error, Error::Interrupted { .. } | Error::PeerRefused(_));
        let may_continue = is_interrupted || self.is_untouched;
        if let Some(journal) = self.journal.as_mut().filter(|_| may_continue) {
            journal.commit();
        }
        let part = self.target.part()?;
        if may_continue && part.is_kept() {
            return Some(part.temporary_path());
        }
        if let Some(from) = &mut self.donor {
            from.donor.move_back(part);
        }
        part.discard();
        None
    }
}

/// How many chunks at the beginning of a file have the hashes that the journal says.
fn right_chunks(file: &mut File, claim: &JournalFile) -> usize {
    let is_right = |(index, hash): &(u64, &Hash)| {
        hash_at(file, chunk_range(claim.size, *index)).is_ok_and(|found| found == **hash)
    };
    (0..).zip(&claim.hashes).take_while(is_right).count()
}

/// The hash of a part of a file.
fn hash_at(file: &mut File, part: Range<u64>) -> io::Result<Hash> {
    file.seek(SeekFrom::Start(part.start))?;
    let mut state = blake3::Hasher::new();
    let mut buffer = vec![0; READ];
    let mut left = part.end.saturating_sub(part.start);
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(READ);
        let room = buffer.get_mut(..room).unwrap_or_default();
        file.read_exact(room)?;
        state.update(room);
        left = left.saturating_sub(count(room));
    }
    Ok(*state.finalize().as_bytes())
}

/// The bytes of a file that have arrived.
fn bytes_of(file: &JournalFile) -> u64 {
    let chunks = u64::try_from(file.hashes.len()).unwrap_or(u64::MAX);
    length_of_chunks(file.size, chunks)
}

/// Bytes after which the journal is committed.
const COMMIT: u64 = 4 << 20;

/// Bytes to read at once.
const READ: usize = 64 << 10;
