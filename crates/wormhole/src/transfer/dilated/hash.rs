//! Hashes of chunks and files (BLAKE3).

use wormhole_magic::transfer::Offer;
use wormhole_magic::transfer::dilated::{FileEntry, FileKey, Hash, chunk_size, frame};
use wormhole_magic::transfer::zip::ZipPath;

/// Hashes a file chunk by chunk.
#[derive(Debug)]
pub(super) struct ChunkHasher {
    size: Option<u64>,
    chunk: u64,
    hashes: Vec<Hash>,
    /// The chunk that is being hashed, and the number of its bytes so far.
    index: usize,
    filled: u64,
    state: blake3::Hasher,
}

impl ChunkHasher {
    /// Starts after the chunks that have these hashes.
    pub(super) fn new(size: Option<u64>, kept: Vec<Hash>) -> Self {
        let index = kept.len();
        let (chunk, state) = (chunk_size(size), blake3::Hasher::new());
        Self { size, chunk, hashes: kept, index, filled: 0, state }
    }

    /// Continues at the beginning of another chunk, which is replaced.
    pub(super) fn seek(&mut self, index: u64) {
        self.index = usize::try_from(index).unwrap_or(usize::MAX);
        self.filled = 0;
        self.state.reset();
    }

    /// Adds bytes. Calls `done` for each chunk that is complete.
    pub(super) fn update(&mut self, mut bytes: &[u8], mut done: impl FnMut(u64, &Hash)) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.length().saturating_sub(self.filled));
            let (now, later) = bytes.split_at(room.unwrap_or(usize::MAX).min(bytes.len()));
            if now.is_empty() {
                // There is more than the file may have, which others check.
                return;
            }
            self.state.update(now);
            self.filled = self.filled.saturating_add(count(now));
            bytes = later;
            if self.filled == self.length() {
                self.end_chunk(&mut done);
            }
        }
    }

    /// The hash of the file: of the hashes of all its chunks.
    pub(super) fn finish(&mut self) -> Hash {
        if self.filled > 0 {
            self.end_chunk(&mut |_, _| {});
        }
        *blake3::hash(self.hashes.as_flattened()).as_bytes()
    }

    /// The number of the current chunk.
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// The hashes of all chunks so far.
    pub(super) fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The length of the current chunk.
    fn length(&self) -> u64 {
        let start = u64::try_from(self.index).unwrap_or(u64::MAX).saturating_mul(self.chunk);
        self.size.map_or(self.chunk, |size| size.saturating_sub(start).min(self.chunk))
    }

    fn end_chunk(&mut self, done: &mut impl FnMut(u64, &Hash)) {
        let hash = *self.state.finalize().as_bytes();
        match self.hashes.get_mut(self.index) {
            Some(replaced) => *replaced = hash,
            None => self.hashes.push(hash),
        }
        done(u64::try_from(self.index).unwrap_or(u64::MAX), &hash);
        self.index = self.index.saturating_add(1);
        self.filled = 0;
        self.state.reset();
    }
}

/// The key of a file. Versions of a file that have the same size have the same key, and where they differ, their hashes do.
pub(super) fn key(entry: &FileEntry) -> Option<FileKey> {
    let mut state = blake3::Hasher::new();
    state.update(entry.path.as_ref().map_or("", ZipPath::as_str).as_bytes());
    state.update(&[0]);
    state.update(&entry.size?.to_be_bytes());
    state.finalize().as_bytes().first_chunk().copied()
}

/// The hash of an offer: of its frame.
pub(super) fn of_offer(offer: &Offer) -> Hash {
    let mut bytes = Vec::new();
    frame::offer(&mut bytes, offer);
    *blake3::hash(&bytes).as_bytes()
}

/// The number of bytes.
pub(super) fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use wormhole_magic::transfer::dilated::MIN_CHUNK;

    use super::*;

    #[test]
    fn a_continued_file_has_the_same_hash_and_a_replaced_chunk_counts() {
        let chunk = usize::try_from(MIN_CHUNK).unwrap();
        let bytes: Vec<u8> = (0..chunk * 2 + 5).map(|n| n.to_le_bytes()[1]).collect();
        let size = Some(count(&bytes));
        let mut whole = ChunkHasher::new(size, Vec::new());
        let mut seen = Vec::new();
        bytes.chunks(70_001).for_each(|piece| whole.update(piece, |index, _| seen.push(index)));
        let hash = whole.finish();
        assert_eq!((seen, whole.hashes().len()), (vec![0, 1, 2], 3));

        let mut kept = whole.hashes()[..2].to_vec();
        kept[1] = [0; 32];
        let mut continued = ChunkHasher::new(size, kept);
        continued.update(&bytes[2 * chunk..], |_, _| {});
        assert_ne!(continued.finish(), hash);
        continued.seek(1);
        continued.update(&bytes[chunk..2 * chunk], |_, _| {});
        assert_eq!(continued.finish(), hash);
    }

    #[test]
    fn a_stream_has_a_hash_too() {
        let mut stream = ChunkHasher::new(None, Vec::new());
        stream.update(b"ab", |_, _| {});
        stream.update(b"c", |_, _| {});
        let chunk = blake3::hash(b"abc");
        assert_eq!(stream.finish(), *blake3::hash(chunk.as_bytes()).as_bytes());
    }
}
