//! A received folder as a zip, which is written to a writer of the application.
//!
//! There is no disk that refuses to create something twice or through a link, so this checks it: a zip that breaks these rules
//! could be unpacked outside its folder.

use std::collections::HashSet;
use std::io::{self, Write};

use unicode_normalization::UnicodeNormalization;
use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::dilated::FileEntry;
use wormhole_magic::transfer::zip::{Entry, EntryKind, ZipError, ZipWriter};

use super::super::super::Error;
use super::super::super::disk::{DiskError, Limits};
use super::super::super::sink::Written;
use super::super::hash::count;
use super::to_writer;

/// A folder that is written as a zip.
pub(in super::super) struct ZipTarget {
    writer: Box<dyn Write + Send>,
    zip: ZipWriter,
    names: Names,
    limits: Limits,
    /// Bytes of the list at the end of the zip, which is kept in memory.
    listed: u64,
    /// Size of the current file in bytes, and how many of them are missing.
    size: u64,
    left: u64,
}

impl ZipTarget {
    /// Writes a zip to the writer, with at most as many entries as `limits` allows.
    pub(in super::super) fn new(writer: Box<dyn Write + Send>, limits: Limits) -> Self {
        let (zip, names) = (ZipWriter::new(), Names::default());
        Self { writer, zip, names, limits, listed: 0, size: 0, left: 0 }
    }

    pub(super) fn begin(&mut self, entry: &FileEntry) -> Result<(), Error> {
        let (Some(path), Some(size)) = (entry.path.clone(), entry.size) else { return Ok(()) };
        let Attributes { permissions, modified } =
            entry.attributes.unwrap_or(Attributes { permissions: 0o644, modified: 0 });
        (self.size, self.left) = (size, size);
        self.entry(Entry { path, permissions, modified, kind: EntryKind::File(size) })
    }

    /// Adds the header of a file, or a folder or a link.
    pub(super) fn entry(&mut self, entry: Entry) -> Result<(), Error> {
        match entry.kind {
            EntryKind::File(_) => self.limits.file()?,
            EntryKind::Folder | EntryKind::Link(_) => self.limits.folder()?,
        }
        self.names.add(&entry)?;
        let mut header = Vec::new();
        self.zip.begin(entry, &mut header).map_err(|_| to_writer(TOO_LARGE.into()))?;
        // The entry in the list is as long as this header and some bytes.
        self.listed = self.listed.saturating_add(count(&header));
        if self.listed > MAX_LIST {
            return Err(to_writer(TOO_LARGE.into()));
        }
        self.writer.write_all(&header).map_err(to_writer)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.zip.data(bytes);
        self.left = self.left.saturating_sub(count(bytes));
        self.writer.write_all(bytes).map_err(to_writer)
    }

    pub(super) fn end_file(&mut self) -> Result<(), Error> {
        Ok(self.limits.file_end(self.size == 0)?)
    }

    /// The size is in the header, so zeros replace what is missing.
    pub(super) fn omit(&mut self) -> Result<(), Error> {
        let zeros = [0; 4096];
        while self.left > 0 {
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(zeros.len());
            self.write(zeros.get(..length).unwrap_or_default())?;
        }
        let mut record = Vec::new();
        self.zip.omit(&mut record).map_err(|_| to_writer(TOO_LARGE.into()))?;
        self.writer.write_all(&record).map_err(to_writer)
    }

    pub(super) fn complete(mut self) -> Result<Written, Error> {
        let mut end = Vec::new();
        self.zip.finish(&mut end).map_err(|_| to_writer(TOO_LARGE.into()))?;
        let written = self.writer.write_all(&end).and_then(|()| self.writer.flush());
        written.map_err(to_writer)?;
        Ok(Written::default())
    }
}

/// The names in a zip. Names that are the same on some systems count as the same.
#[derive(Default)]
struct Names {
    /// The folders, with those that are only part of a path.
    folders: HashSet<NameHash>,
    files_and_links: HashSet<NameHash>,
}

impl Names {
    /// Adds an entry.
    ///
    /// # Errors
    /// Its name exists, or it is below a file or a link.
    fn add(&mut self, entry: &Entry) -> Result<(), DiskError> {
        let folded: String = entry.path.as_str().nfc().flat_map(char::to_lowercase).collect();
        let duplicate = || DiskError::Zip(ZipError::Duplicate(entry.path.clone()));
        for (end, _) in folded.match_indices('/') {
            let above = hash(folded.get(..end).unwrap_or_default());
            if self.files_and_links.contains(&above) {
                return Err(duplicate());
            }
            self.folders.insert(above);
        }
        let own = hash(&folded);
        let is_new = match entry.kind {
            EntryKind::Folder => {
                self.folders.insert(own);
                !self.files_and_links.contains(&own)
            }
            EntryKind::File(_) | EntryKind::Link(_) => {
                !self.folders.contains(&own) && self.files_and_links.insert(own)
            }
        };
        if is_new { Ok(()) } else { Err(duplicate()) }
    }
}

/// The beginning of a hash, which needs less memory than the name.
type NameHash = [u8; 16];

fn hash(name: &str) -> NameHash {
    let mut short = NameHash::default();
    short.copy_from_slice(blake3::hash(name.as_bytes()).as_bytes().get(..16).unwrap_or_default());
    short
}

const TOO_LARGE: io::ErrorKind = io::ErrorKind::FileTooLarge;

/// Maximum size of the list at the end of a zip in bytes: a million entries with long paths.
const MAX_LIST: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use wormhole_magic::transfer::zip::ZipPath;

    use super::*;

    fn target(most: u64) -> ZipTarget {
        ZipTarget::new(Box::new(io::sink()), Limits::new(Some(most), 0))
    }

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: ZipPath::parse(path).unwrap(), permissions: 0o700, modified: 0, kind }
    }

    fn link(target: &str) -> EntryKind {
        EntryKind::Link(target.to_owned())
    }

    /// Adds entries, and returns the error of the last one.
    fn last(entries: impl IntoIterator<Item = (&'static str, EntryKind)>) -> Option<Error> {
        let mut target = target(100);
        let mut outcome = Ok(());
        for (path, kind) in entries {
            outcome.unwrap();
            outcome = target.entry(entry(path, kind));
        }
        outcome.err()
    }

    #[test]
    fn nothing_is_below_a_link_or_a_file_and_no_name_comes_twice() {
        let is_refused = |entries| {
            let error = last(entries);
            error.is_some_and(|error| error.to_string().contains("twice"))
        };
        let (file, folder) = (|| EntryKind::File(0), || EntryKind::Folder);
        assert!(is_refused(vec![("d", link(".")), ("d/l", link(".."))]));
        assert!(is_refused(vec![("d", link(".")), ("d/a/b", file())]));
        assert!(is_refused(vec![("d", link(".")), ("d", folder())]));
        assert!(is_refused(vec![("d/a", file()), ("d", link("."))]));
        assert!(is_refused(vec![("d", folder()), ("d", link("."))]));
        assert!(is_refused(vec![("d", file()), ("d/a", file())]));
        assert!(is_refused(vec![("d", file()), ("D", link("."))]));
        assert!(is_refused(vec![("\u{e9}", link(".")), ("e\u{301}/a", file())]));
        let allowed =
            vec![("d/a", file()), ("d/b", link("a")), ("d", folder()), ("e", link("d/b"))];
        assert!(last(allowed).is_none());
    }

    #[test]
    fn a_zip_has_as_many_entries_as_the_limit_allows() {
        let mut target = target(3);
        for path in ["a", "b"] {
            target.entry(entry(path, link("x"))).unwrap();
        }
        target.entry(entry("c", EntryKind::Folder)).unwrap();
        for kind in [link("x"), EntryKind::Folder, EntryKind::File(0)] {
            let error = target.entry(entry("d", kind)).unwrap_err();
            assert!(error.to_string().contains('3'), "{error}");
        }
    }
}
