//! What came out of a zip so far, to be compared with its table of contents.

use std::collections::BTreeMap;

use super::super::header::CentralHeader;
use super::{ZipError, ZipPath};

/// The entries that have come, by path.
#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<ZipPath, Seen>,
    checked: u64,
}

/// One entry as it came.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) is_folder: bool,
    pub(super) modified: Option<i64>,
    crc: u32,
    size: u64,
    checked: bool,
}

impl Table {
    /// Notes a new entry.
    pub(super) fn add(
        &mut self,
        path: &ZipPath,
        is_folder: bool,
        modified: Option<i64>,
    ) -> Result<(), ZipError> {
        let seen = Seen { is_folder, modified, crc: 0, size: 0, checked: false };
        match self.entries.insert(path.clone(), seen) {
            None => Ok(()),
            Some(_) => Err(ZipError::Duplicate(path.clone())),
        }
    }

    /// Notes what a file turned out to be.
    pub(super) fn complete(&mut self, path: &ZipPath, crc: u32, size: u64) {
        if let Some(seen) = self.entries.get_mut(path) {
            seen.crc = crc;
            seen.size = size;
        }
    }

    /// Compares a line of the table of contents with what came.
    pub(super) fn check(&mut self, path: &ZipPath, line: &CentralHeader) -> Result<Seen, ZipError> {
        let seen = self.entries.get_mut(path).ok_or(ZipError::WrongTable)?;
        let is_folder = line.name.ends_with(b"/");
        let fits = seen.crc == line.crc && seen.size == line.size && seen.is_folder == is_folder;
        if !fits || std::mem::replace(&mut seen.checked, true) {
            return Err(ZipError::WrongTable);
        }
        self.checked += 1;
        Ok(*seen)
    }

    /// Forgets a file that its sender could not read to its end.
    pub(super) fn omit(&mut self, path: &ZipPath, line: &CentralHeader) -> Result<(), ZipError> {
        let seen = self.entries.remove(path).ok_or(ZipError::WrongTable)?;
        let fits = seen.crc == line.crc && seen.size == line.size;
        if fits && !seen.is_folder { Ok(()) } else { Err(ZipError::WrongTable) }
    }

    /// Lines compared so far.
    pub(super) const fn checked(&self) -> u64 {
        self.checked
    }

    /// Whether every entry was in the table of contents.
    pub(super) fn is_checked(&self) -> bool {
        u64::try_from(self.entries.len()) == Ok(self.checked)
    }
}
