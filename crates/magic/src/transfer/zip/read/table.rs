//! Checks that the entries of a zip match its central directory.
//!
//! It stores no paths, because a zip may have millions of entries, in any order. It compares two sums of
//! hashes: one over the received entries, one over the entries of the central directory. Except for
//! deliberate collisions, they are equal only if the entries are the same. A sender that creates a collision
//! gains nothing: it wrote both the entries and the directory, and the code that unpacks opens each listed
//! entry where it was created.

use sha2::{Digest, Sha256};

use super::ZipError;

/// The received entries, and the entries of the central directory.
#[derive(Default)]
pub(super) struct DirectoryCheck {
    received: Sum,
    listed: Sum,
}

impl DirectoryCheck {
    /// Adds a received entry. `name` is as in the zip: a folder's ends with `/`.
    pub(super) fn add(&mut self, name: &[u8], crc: u32, size: u64) {
        self.received.add(name, crc, size);
    }

    /// Removes a file that its sender could not read completely.
    ///
    /// # Errors
    /// No entry is left to take back.
    pub(super) fn omit(&mut self, name: &[u8], crc: u32, size: u64) -> Result<(), ZipError> {
        self.received.remove(name, crc, size).ok_or(ZipError::WrongCentralDirectory)
    }

    /// Adds an entry of the central directory.
    ///
    /// # Errors
    /// There are more lines than entries.
    pub(super) fn list(&mut self, name: &[u8], crc: u32, size: u64) -> Result<(), ZipError> {
        self.listed.add(name, crc, size);
        if self.listed.entries > self.received.entries {
            Err(ZipError::WrongCentralDirectory)
        } else {
            Ok(())
        }
    }

    /// Number of entries of the central directory so far.
    pub(super) const fn listed(&self) -> u64 {
        self.listed.entries
    }

    /// Whether the central directory matches the received entries.
    pub(super) fn is_complete(&self) -> bool {
        self.received == self.listed
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
