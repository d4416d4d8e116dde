//! What came out of a zip so far, to be compared with its table of contents.
//!
//! It keeps no paths: a zip may have millions of entries, in any order. Two sums over the hashes of
//! all entries are equal only if the same entries came and were listed, whatever their order. A sender
//! could make two sums meet on purpose, which gains nothing: it wrote both halves of the zip, and
//! whoever unpacks looks up each listed entry where it was created.

use sha2::{Digest, Sha256};

use super::ZipError;

/// The entries that have come, and the lines of the table of contents.
#[derive(Default)]
pub(super) struct Table {
    came: Sum,
    listed: Sum,
}

impl Table {
    /// Counts an entry that has come. `name` is as in the zip: a folder's ends with `/`.
    pub(super) fn add(&mut self, name: &[u8], crc: u32, size: u64) {
        self.came.add(name, crc, size);
    }

    /// Takes back a file that its sender could not read to its end.
    ///
    /// # Errors
    /// No entry is left to take back.
    pub(super) fn omit(&mut self, name: &[u8], crc: u32, size: u64) -> Result<(), ZipError> {
        self.came.remove(name, crc, size).ok_or(ZipError::WrongTable)
    }

    /// Counts a line of the table of contents.
    ///
    /// # Errors
    /// There are more lines than entries.
    pub(super) fn list(&mut self, name: &[u8], crc: u32, size: u64) -> Result<(), ZipError> {
        self.listed.add(name, crc, size);
        if self.listed.entries > self.came.entries { Err(ZipError::WrongTable) } else { Ok(()) }
    }

    /// Lines so far.
    pub(super) const fn listed(&self) -> u64 {
        self.listed.entries
    }

    /// Whether the table of contents lists what has come.
    pub(super) fn is_complete(&self) -> bool {
        self.came == self.listed
    }
}

/// How many entries, and the sum of their hashes.
#[derive(Default, Eq, PartialEq)]
struct Sum {
    entries: u64,
    hashes: u128,
}

impl Sum {
    fn add(&mut self, name: &[u8], crc: u32, size: u64) {
        self.hashes = self.hashes.wrapping_add(hash(name, crc, size));
        self.entries = self.entries.saturating_add(1);
    }

    fn remove(&mut self, name: &[u8], crc: u32, size: u64) -> Option<()> {
        self.entries = self.entries.checked_sub(1)?;
        self.hashes = self.hashes.wrapping_sub(hash(name, crc, size));
        Some(())
    }
}

fn hash(name: &[u8], crc: u32, size: u64) -> u128 {
    let hash = Sha256::new()
        .chain_update(crc.to_le_bytes())
        .chain_update(size.to_le_bytes())
        .chain_update(name)
        .finalize();
    hash.first_chunk().copied().map_or(0, u128::from_le_bytes)
}
