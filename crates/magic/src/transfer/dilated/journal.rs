//! The journal that a receiver keeps about an incomplete file or folder, so that a later attempt can continue.
//!
//! A journal is a header and records that are only appended, each after the data that it describes. A torn record at its end
//! is ignored. It is private, so its contents are trusted as far as they are well-formed; that the data still has the hashes is
//! checked before the transfer is acknowledged.

use super::{FileKey, Hash, MAX_CHUNKS, chunk_size};
use crate::transfer::zip::ZipPath;

/// The beginning of a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "receivers create all of it")]
pub struct JournalHeader {
    /// Identifies the time since the system was started; zeros if that is not known.
    pub boot: [u8; 16],
    /// The device of the incomplete file or folder.
    pub device: u64,
    /// Its number on that device.
    pub inode: u64,
    /// The hash of the offer. The sender of another offer need not know the contents, so it learns less about them.
    pub offer: Hash,
}

/// A journal that was read.
#[derive(Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "receivers use all of it")]
pub struct Journal {
    /// Its header.
    pub header: JournalHeader,
    /// The files of which something has arrived.
    pub files: Vec<JournalFile>,
    /// The number of bytes that are valid.
    pub length: usize,
}

/// The part of a file that has arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "receivers use all of it")]
pub struct JournalFile {
    /// Identifies the file in the offer.
    pub key: FileKey,
    /// Its path in the folder; `None` for a single file.
    pub path: Option<ZipPath>,
    /// Its size in bytes.
    pub size: u64,
    /// The hashes of its first chunks.
    pub hashes: Vec<Hash>,
}

impl JournalHeader {
    /// The bytes at the beginning of a journal.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = [self.device.to_be_bytes(), self.inode.to_be_bytes()];
        [MAGIC, &self.boot, numbers.as_flattened(), &self.offer].concat()
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (device, rest) = rest.split_first_chunk()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (offer, rest) = rest.split_first_chunk()?;
        *bytes = rest;
        let (device, inode) = (u64::from_be_bytes(*device), u64::from_be_bytes(*inode));
        Some(Self { boot: *boot, device, inode, offer: *offer })
    }
}

impl JournalFile {
    /// Appends the record that a file begins or begins again. Its hashes follow with [`append_hash`](Self::append_hash).
    pub fn append_begin(&self, journal: &mut Vec<u8>) {
        let path = self.path.as_ref().map_or("", ZipPath::as_str);
        journal.push(BEGIN);
        journal.extend_from_slice(&self.key);
        journal.extend_from_slice(&self.size.to_be_bytes());
        journal.extend_from_slice(&u16::try_from(path.len()).unwrap_or(u16::MAX).to_be_bytes());
        journal.extend_from_slice(path.as_bytes());
    }

    /// Forgets the chunk at the end, unless it is as long as the others. A short chunk can be guessed from its hash.
    pub fn forget_short_chunk(&mut self) {
        let full = usize::try_from(self.size / chunk_size(Some(self.size))).unwrap_or(usize::MAX);
        self.hashes.truncate(full);
    }

    /// Appends everything that is known about this file.
    pub fn append(&self, journal: &mut Vec<u8>) {
        self.append_begin(journal);
        for (index, hash) in (0..).zip(&self.hashes) {
            Self::append_hash(index, hash, journal);
        }
    }

    /// Appends the record that a file continues after its first `keep` chunks.
    pub fn append_continue(key: &FileKey, keep: u64, journal: &mut Vec<u8>) {
        journal.push(CONTINUE);
        journal.extend_from_slice(key);
        journal.extend_from_slice(&keep.to_be_bytes());
    }

    /// Appends the record that this chunk of the last file has arrived.
    pub fn append_hash(index: u64, hash: &Hash, journal: &mut Vec<u8>) {
        journal.push(HASH);
        journal.extend_from_slice(&index.to_be_bytes());
        journal.extend_from_slice(hash);
    }
}

impl Journal {
    /// Reads a journal; `None` if it does not begin like one. Reading ends at the first record that is not valid.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let header = JournalHeader::decode(&mut rest)?;
        let mut reader = Reader::default();
        let mut length = bytes.len().saturating_sub(rest.len());
        while reader.record(&mut rest).is_some() {
            length = bytes.len().saturating_sub(rest.len());
        }
        Some(Self { header, files: reader.into_files(), length })
    }
}

/// The files so far, and the one that the next hashes belong to.
#[derive(Default)]
struct Reader {
    files: Vec<Option<JournalFile>>,
    by_path: std::collections::HashMap<Option<String>, usize>,
    by_key: std::collections::HashMap<FileKey, usize>,
    current: usize,
}

impl Reader {
    /// Reads one record; `None` if it is not complete or not valid.
    fn record(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let (kind, rest) = bytes.split_first()?;
        let rest = match *kind {
            BEGIN => self.begin(rest)?,
            CONTINUE => self.resume(rest)?,
            HASH => self.hash(rest)?,
            _ => return None,
        };
        *bytes = rest;
        Some(())
    }

    fn begin<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let path = match path {
            [] => None,
            path => Some(ZipPath::parse(std::str::from_utf8(path).ok()?).ok()?),
        };
        self.current = self.files.len();
        let by_path = path.as_ref().map(|path| path.as_str().to_owned());
        // It replaces an earlier file with this path.
        if let Some(old) = self.by_path.insert(by_path, self.current)
            && let Some(old) = self.files.get_mut(old)
        {
            *old = None;
        }
        self.by_key.insert(*key, self.current);
        let size = u64::from_be_bytes(*size);
        self.files.push(Some(JournalFile { key: *key, path, size, hashes: Vec::new() }));
        Some(rest)
    }

    fn resume<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (keep, rest) = rest.split_first_chunk()?;
        let keep = usize::try_from(u64::from_be_bytes(*keep)).ok()?;
        self.current = *self.by_key.get(key)?;
        let file = self.files.get_mut(self.current)?.as_mut()?;
        if keep > file.hashes.len() {
            return None;
        }
        file.hashes.truncate(keep);
        Some(rest)
    }

    fn hash<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (index, rest) = bytes.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let index = u64::from_be_bytes(*index);
        let file = self.files.get_mut(self.current)?.as_mut()?;
        if index >= MAX_CHUNKS {
            return None;
        }
        let index = usize::try_from(index).ok()?;
        if index == file.hashes.len() {
            file.hashes.push(*hash);
        } else {
            *file.hashes.get_mut(index)? = *hash;
        }
        Some(rest)
    }

    fn into_files(self) -> Vec<JournalFile> {
        self.files.into_iter().flatten().filter(|file| !file.hashes.is_empty()).collect()
    }
}

const MAGIC: &[u8] = b"wormhole partial 1\n";
const BEGIN: u8 = 1;
const CONTINUE: u8 = 2;
const HASH: u8 = 3;

/// Maximum size of a journal in bytes. A receiver writes no longer one.
pub const MAX_JOURNAL: u64 = 4 << 20;
