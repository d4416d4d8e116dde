//! The maximum number of files and folders in a received directory.
//!
//! Each takes an inode and a disk block, whatever size the sender claims. The bytes are counted by
//! [`ZipReader`](wormhole_magic::transfer::zip::ZipReader).

use super::part::DiskError;

/// The numbers of created entries and their limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    max_entries: u64,
    created: u64,
    /// Files with contents.
    nonempty_files: u64,
    /// Folders, and files without contents.
    empty_entries: u64,
    /// The number of empty entries permitted without any files that have contents; `None` if the user has set the
    /// limit.
    base_empty_entries: Option<u64>,
}

impl Limits {
    /// The limits for an offer of `offered` bytes: the zip's size or the unpacked size, whichever is greater.
    /// `max_entries` is the limit that the user chose; it replaces both limits.
    pub(crate) fn new(max_entries: Option<u64>, offered: u64) -> Self {
        let free = FREE_ENTRIES.saturating_add(offered / BYTES_PER_ENTRY);
        Self {
            max_entries: max_entries.unwrap_or(MOST_ENTRIES),
            created: 0,
            nonempty_files: 0,
            empty_entries: 0,
            base_empty_entries: max_entries.is_none().then_some(free),
        }
    }

    /// Checks the offered number of files before anything is accepted.
    pub(crate) const fn check_offer(&self, files: u64) -> Result<(), DiskError> {
        if files > self.max_entries {
            Err(DiskError::TooManyEntries(self.max_entries))
        } else {
            Ok(())
        }
    }

    /// Counts a file that is about to be created.
    pub(crate) const fn file(&mut self) -> Result<(), DiskError> {
        self.entry()
    }

    /// Counts a file that is complete, by its contents: an empty file costs as much as a folder.
    pub(crate) fn file_end(&mut self, is_empty: bool) -> Result<(), DiskError> {
        if is_empty {
            return self.empty();
        }
        self.nonempty_files += 1;
        Ok(())
    }

    /// Counts a folder that is about to be created.
    pub(crate) fn folder(&mut self) -> Result<(), DiskError> {
        self.entry()?;
        self.empty()
    }

    fn empty(&mut self) -> Result<(), DiskError> {
        let most = self
            .base_empty_entries
            .map_or(u64::MAX, |free| free.saturating_add(self.nonempty_files));
        if self.empty_entries >= most {
            return Err(DiskError::TooManyFolders(most));
        }
        self.empty_entries += 1;
        Ok(())
    }

    const fn entry(&mut self) -> Result<(), DiskError> {
        if self.created >= self.max_entries {
            return Err(DiskError::TooManyEntries(self.max_entries));
        }
        self.created += 1;
        Ok(())
    }
}

/// Maximum number of files and folders, unless the user permits more.
const MOST_ENTRIES: u64 = 1_000_000;

/// Number of folders and empty files that are permitted for any offer. Each file with contents
/// permits one more.
const FREE_ENTRIES: u64 = 16_384;

/// Bytes of the offer that permit one more folder or empty file: the size of a folder on most
/// disks.
const BYTES_PER_ENTRY: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(limits: &mut Limits) -> u64 {
        let mut count = 0;
        while limits.folder().is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn folders_are_paid_for_by_bytes_that_are_offered_and_files_with_contents() {
        assert_eq!(folders(&mut Limits::new(None, 0)), FREE_ENTRIES);
        assert_eq!(folders(&mut Limits::new(None, 10 * BYTES_PER_ENTRY)), FREE_ENTRIES + 10);
        let mut limits = Limits::new(None, 0);
        limits.file().unwrap();
        limits.file_end(false).unwrap();
        assert_eq!(folders(&mut limits), FREE_ENTRIES + 1);
        assert!(matches!(limits.folder(), Err(DiskError::TooManyFolders(_))));
    }

    #[test]
    fn empty_files_pay_for_nothing_and_cost_as_much_as_folders() {
        let mut limits = Limits::new(None, 0);
        for _ in 0..FREE_ENTRIES - 10 {
            limits.file().unwrap();
            limits.file_end(true).unwrap();
        }
        assert_eq!(folders(&mut limits), 10);
        limits.file().unwrap();
        assert!(matches!(limits.file_end(true), Err(DiskError::TooManyFolders(FREE_ENTRIES))));
        // A file with contents is still permitted, and permits another empty one.
        limits.file().unwrap();
        limits.file_end(false).unwrap();
        assert_eq!(folders(&mut limits), 1);
    }

    #[test]
    fn packages_with_a_folder_and_an_empty_file_each_are_ordinary() {
        // Each has one module of 1,000 bytes.
        let mut limits = Limits::new(None, 20_000 * 1000);
        for _ in 0..20_000 {
            limits.folder().unwrap();
            for is_empty in [true, false] {
                limits.file().unwrap();
                limits.file_end(is_empty).unwrap();
            }
        }
    }

    #[test]
    fn no_offer_is_large_enough_for_more_than_a_million_entries() {
        let mut limits = Limits::new(None, u64::MAX);
        limits.check_offer(MOST_ENTRIES).unwrap();
        assert!(limits.check_offer(MOST_ENTRIES + 1).is_err());
        for _ in 0..10 {
            limits.file().unwrap();
        }
        assert_eq!(folders(&mut limits), MOST_ENTRIES - 10);
        assert!(matches!(limits.file(), Err(DiskError::TooManyEntries(MOST_ENTRIES))));
    }

    #[test]
    fn the_user_sets_the_limit_for_folders_too() {
        assert_eq!(folders(&mut Limits::new(Some(FREE_ENTRIES * 3), 0)), FREE_ENTRIES * 3);
        assert_eq!(folders(&mut Limits::new(Some(2), u64::MAX)), 2);
    }
}
