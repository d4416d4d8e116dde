//! Writes the journal of an incomplete file or folder (docs/dilated-transfer.md).

use std::fs::File;
use std::io::Write;
#[cfg(unix)]
use std::io::{Seek, SeekFrom};

use wormhole_magic::transfer::dilated::{FileKey, Hash, JournalFile, JournalHeader, MAX_JOURNAL};

/// The journal of an incomplete file or folder. At most [`MAX_JOURNAL`] bytes are in the file and in memory together.
#[derive(Debug)]
pub(in crate::transfer) struct JournalWriter {
    file: File,
    /// Records that are not written yet.
    pending: Vec<u8>,
    /// Number of bytes that are written.
    length: u64,
    /// Whether nothing more is added: the disk is full, or the journal is as long as it may be.
    is_closed: bool,
}

impl JournalWriter {
    /// Begins a journal in an empty file.
    pub(super) fn started(file: File, header: JournalHeader, files: &[JournalFile]) -> Self {
        let mut pending = header.encode();
        files.iter().for_each(|known| known.append(&mut pending));
        let mut journal = Self { file, pending, length: 0, is_closed: false };
        journal.commit();
        journal
    }

    /// Continues a journal of which this many bytes are valid. A torn record at its end would hide all that follow.
    #[cfg(unix)]
    pub(super) fn continued(mut file: File, length: usize) -> Option<Self> {
        let length = u64::try_from(length).ok()?;
        file.set_len(length).ok()?;
        file.seek(SeekFrom::Start(length)).ok()?;
        Some(Self { file, pending: Vec::new(), length, is_closed: false })
    }

    /// Replaces the contents of a journal.
    #[cfg(unix)]
    pub(super) fn rewritten(
        mut file: File,
        header: JournalHeader,
        files: &[JournalFile],
    ) -> Option<Self> {
        file.set_len(0).ok()?;
        file.seek(SeekFrom::Start(0)).ok()?;
        Some(Self::started(file, header, files))
    }

    /// Records that a file begins, or begins again.
    pub(in crate::transfer) fn begin(&mut self, file: &JournalFile) {
        self.add(|records| file.append_begin(records));
    }

    /// Records that a file continues after its first `keep` chunks.
    pub(in crate::transfer) fn resume(&mut self, key: &FileKey, keep: u64) {
        self.add(|records| JournalFile::append_continue(key, keep, records));
    }

    /// Records that a chunk of the last file is written.
    pub(in crate::transfer) fn chunk(&mut self, index: u64, hash: &Hash) {
        self.add(|records| JournalFile::append_hash(index, hash, records));
    }

    /// Adds a record if there is room. After the first one that does not fit, none is added: it could belong to that one.
    fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        if self.is_closed {
            return;
        }
        let end = self.pending.len();
        append(&mut self.pending);
        if self.length.saturating_add(self.added()) > MAX_JOURNAL {
            self.pending.truncate(end);
            self.is_closed = true;
        }
    }

    /// Writes all records. If that fails, a later attempt can continue less.
    pub(in crate::transfer) fn commit(&mut self) {
        self.is_closed |= self.file.write_all(&self.pending).is_err();
        self.length = self.length.saturating_add(self.added());
        self.pending.clear();
    }

    fn added(&self) -> u64 {
        u64::try_from(self.pending.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use wormhole_magic::transfer::dilated::Journal;
    use wormhole_magic::transfer::zip::ZipPath;

    use super::*;

    #[test]
    fn many_tiny_files_with_long_paths_fill_the_journal_and_no_memory() {
        let path = std::env::temp_dir().join(format!("wormhole-journal-{}", std::process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let mut written = file.try_clone().unwrap();
        let header = JournalHeader { boot: [1; 16], device: 2, inode: 3, offer: [4; 32] };
        let mut journal = JournalWriter::started(file, header, &[]);
        let folder = vec!["x".repeat(250); 15].join("/");
        for number in 0_u128..3000 {
            let path = Some(ZipPath::parse(&format!("{folder}/{number}")).unwrap());
            let key = number.to_be_bytes();
            journal.begin(&JournalFile { key, path, size: 1, hashes: Vec::new() });
            journal.chunk(0, &[5; 32]);
            assert!(journal.added() <= MAX_JOURNAL);
        }
        journal.commit();
        written.rewind().unwrap();
        let mut bytes = Vec::new();
        written.read_to_end(&mut bytes).unwrap();
        assert!(u64::try_from(bytes.len()).unwrap() <= MAX_JOURNAL);
        // Those that fit can be continued.
        let read = Journal::parse(&bytes).unwrap();
        assert_eq!(read.length, bytes.len());
        assert!(read.files.len() > 1000, "{}", read.files.len());
    }
}
