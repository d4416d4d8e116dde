//! Writes a zip of stored files, with a size that is known in advance.
//!
//! Local headers contain the sizes, and flag bit 3 because the CRC follows the data: a reader need not search for
//! the end of a file, and files need not be read before they are sent.
//!
//! A file that cannot be read can still be omitted ([`ZipWriter::omit`]): its entry moves from the central directory
//! to the place before it, where only our own reader looks; it then removes the unpacked file. Other readers use the
//! central directory. The size remains as announced.

use super::header::{
    Fields, central_length, end_length, local_length, needs_end_64, needs_zip64, write_central,
    write_end, write_local, write_omission,
};
use super::path::ZipPath;
use super::{DESCRIPTOR, FLAG_DESCRIPTOR, TYPE_FILE, TYPE_FOLDER, TYPE_LINK, to_u64};

/// A file or folder to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the caller that makes a zip knows all of it")]
pub struct Entry {
    /// Path in the zip.
    pub path: ZipPath,
    /// Unix permissions, the lowest 12 bits of a mode.
    pub permissions: u16,
    /// The last change, in seconds since 1970.
    pub modified: i64,
    /// The kind.
    pub kind: EntryKind,
}

/// The kind of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// A file of this many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link with this target. Our own reader refuses it.
    Link(String),
}

impl Entry {
    /// The name of the entry.
    fn name(&self) -> Vec<u8> {
        let mut name = self.path.as_str().as_bytes().to_vec();
        if self.kind == EntryKind::Folder {
            name.push(b'/');
        }
        name
    }

    fn size(&self) -> u64 {
        match &self.kind {
            EntryKind::File(size) => *size,
            EntryKind::Folder => 0,
            EntryKind::Link(target) => to_u64(target.len()),
        }
    }

    /// Empty entries need no descriptor, because their CRC is 0.
    fn has_descriptor(&self) -> bool {
        self.size() > 0
    }

    fn mode(&self) -> u32 {
        let kind = match self.kind {
            EntryKind::File(_) => TYPE_FILE,
            EntryKind::Folder => TYPE_FOLDER,
            EntryKind::Link(_) => TYPE_LINK,
        };
        kind | u32::from(self.permissions & 0o7777)
    }
}

/// Writes a zip, entry by entry. File data is not copied: the writer only counts and checksums it.
#[derive(Debug, Default)]
pub struct ZipWriter {
    central: Vec<u8>,
    entries: u64,
    /// Entries before the central directory instead of in it.
    omissions: Vec<u8>,
    omitted: u64,
    offset: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    entry: Entry,
    start: u64,
    crc: crc32fast::Hasher,
    seen: u64,
}

/// A file had more or fewer bytes than its entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a file has {actual} bytes instead of the announced {announced}")]
pub struct SizeChanged {
    /// Size that the entry announced, in bytes.
    pub announced: u64,
    /// Bytes of data that were written.
    pub actual: u64,
}

impl ZipWriter {
    /// Starts a zip.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exact size of the zip with these entries in bytes.
    pub fn length<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> u64 {
        let (mut offset, mut central, mut count) = (0_u64, 0_u64, 0_u64);
        for entry in entries {
            let (name, size) = (entry.name().len(), entry.size());
            central += to_u64(central_length(name, size, offset));
            offset += to_u64(local_length(name, size)) + size + descriptor_length(entry);
            count += 1;
        }
        offset + central + to_u64(end_length(count, central, offset))
    }

    /// Begins an entry: appends its header to `out`, and the target of a link. The data of a file follows.
    ///
    /// # Errors
    /// The previous entry was not complete.
    pub fn begin(&mut self, entry: Entry, out: &mut Vec<u8>) -> Result<(), SizeChanged> {
        self.end(out)?;
        let start = self.offset;
        let before = out.len();
        write_local(fields(&entry, &entry.name(), 0), out);
        self.offset += to_u64(out.len() - before);
        let target =
            if let EntryKind::Link(target) = &entry.kind { target.clone() } else { String::new() };
        self.current = Some(Current { entry, start, crc: crc32fast::Hasher::new(), seen: 0 });
        out.extend(target.as_bytes());
        self.data(target.as_bytes());
        Ok(())
    }

    /// Counts and checksums the next bytes of the current file.
    pub fn data(&mut self, bytes: &[u8]) {
        if let Some(current) = &mut self.current {
            current.crc.update(bytes);
            current.seen += to_u64(bytes.len());
            self.offset += to_u64(bytes.len());
        }
    }

    /// Ends the current entry, if any: appends the descriptor to `out`.
    ///
    /// # Errors
    /// The file had another size; the zip cannot be completed.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), SizeChanged> {
        let Some(Line { entry, name, crc, start }) = self.end_data(out)? else { return Ok(()) };
        write_central(fields(&entry, &name, crc), entry.mode(), start, &mut self.central);
        self.entries += 1;
        Ok(())
    }

    /// Ends the current file as omitted: its data is invalid. It must still have as many bytes as announced, to keep the
    /// size of the zip.
    ///
    /// # Errors
    /// There were more or fewer bytes; the zip cannot be completed.
    pub fn omit(&mut self, out: &mut Vec<u8>) -> Result<(), SizeChanged> {
        let Some(Line { entry, name, crc, start }) = self.end_data(out)? else { return Ok(()) };
        write_omission(fields(&entry, &name, crc), entry.mode(), start, &mut self.omissions);
        self.omitted += 1;
        Ok(())
    }

    fn end_data(&mut self, out: &mut Vec<u8>) -> Result<Option<Line>, SizeChanged> {
        let Some(Current { entry, start, crc, seen }) = self.current.take() else {
            return Ok(None);
        };
        if seen != entry.size() {
            return Err(SizeChanged { announced: entry.size(), actual: seen });
        }
        let crc = crc.finalize();
        if entry.has_descriptor() {
            let before = out.len();
            write_descriptor(crc, seen, out);
            self.offset += to_u64(out.len() - before);
        }
        let name = entry.name();
        Ok(Some(Line { entry, name, crc, start }))
    }

    /// Ends the zip: appends the central directory to `out`.
    ///
    /// # Errors
    /// The last entry was not complete; or the zip is slightly smaller than 4 GiB, and omissions moved its central
    /// directory beyond that.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), SizeChanged> {
        self.end(out)?;
        let (size, moved) = (to_u64(self.central.len()), to_u64(self.omissions.len()));
        // Use the announced form, even if fewer entries would fit into the plain one.
        let is_64 = needs_end_64(self.entries + self.omitted, size + moved, self.offset);
        let offset = self.offset + moved;
        if !is_64 && needs_end_64(self.entries, size, offset) {
            return Err(SizeChanged { announced: self.offset, actual: offset });
        }
        out.append(&mut self.omissions);
        out.append(&mut self.central);
        write_end(self.entries, size, offset, is_64, out);
        Ok(())
    }
}

/// An entry whose data is complete.
struct Line {
    entry: Entry,
    name: Vec<u8>,
    crc: u32,
    start: u64,
}

fn fields<'a>(entry: &Entry, name: &'a [u8], crc: u32) -> Fields<'a> {
    let flags = if entry.has_descriptor() { FLAG_DESCRIPTOR } else { 0 };
    Fields { name, flags, crc, size: entry.size(), modified: entry.modified }
}

fn write_descriptor(crc: u32, size: u64, out: &mut Vec<u8>) {
    out.extend(DESCRIPTOR.to_le_bytes());
    out.extend(crc.to_le_bytes());
    match u32::try_from(size) {
        Ok(narrow) if !needs_zip64(size) => out.extend([narrow.to_le_bytes(); 2].concat()),
        _ => out.extend([size.to_le_bytes(); 2].concat()),
    }
}

fn descriptor_length(entry: &Entry) -> u64 {
    match (entry.has_descriptor(), needs_zip64(entry.size())) {
        (false, _) => 0,
        (true, false) => 16,
        (true, true) => 24,
    }
}
