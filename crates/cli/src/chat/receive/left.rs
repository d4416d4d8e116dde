//! Files that are left for another run of `chat receive`.

use std::collections::BTreeMap;

use super::files::{LARGEST, MEGABYTE};
use crate::chat::show;

/// Why a file waits.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum LeftReason {
    /// The message has too many files.
    TooMany,
    /// The files of this run have too many bytes.
    TooLarge,
    /// Something else, which may be different the next time.
    Other(String),
}

/// Files that wait for another run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LeftFiles {
    pub(super) reasons: BTreeMap<LeftReason, LeftCount>,
    /// The number of messages.
    pub(super) messages: usize,
    /// The largest number of files of a message.
    pub(super) largest: usize,
}

/// How many files wait for the same reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LeftCount {
    files: usize,
    bytes: u64,
}

impl LeftFiles {
    pub(super) fn add(&mut self, why: LeftReason, size: Option<u64>) {
        // A file of unknown size is saved only if the largest one would be.
        let unknown = if why == LeftReason::TooLarge { LARGEST } else { 0 };
        let count = self.reasons.entry(why).or_default();
        count.files += 1;
        count.bytes = count.bytes.saturating_add(size.unwrap_or(unknown));
    }

    /// Adds the files of other messages.
    pub(super) fn extend(&mut self, other: &Self) {
        for (why, count) in &other.reasons {
            let sum = self.reasons.entry(why.clone()).or_default();
            sum.files += count.files;
            sum.bytes = sum.bytes.saturating_add(count.bytes);
        }
        self.messages += other.messages;
        self.largest = self.largest.max(other.largest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// How many files, and their size.
    pub(super) fn words(&self) -> String {
        let mut sum = LeftCount::default();
        for count in self.reasons.values() {
            sum.files += count.files;
            sum.bytes = sum.bytes.saturating_add(count.bytes);
        }
        sum.words()
    }

    /// The command that saves them.
    pub(super) fn command(&self) -> String {
        let mut command = "receive".to_owned();
        if self.reasons.contains_key(&LeftReason::TooMany) {
            command += &format!(" --max-files {}", self.largest);
        }
        if let Some(count) = self.reasons.get(&LeftReason::TooLarge) {
            let needed = count.bytes.div_ceil(MEGABYTE).max(1);
            command += &format!(" --max-size {needed}");
        }
        command
    }
}

impl LeftCount {
    pub(super) fn words(self) -> String {
        let files =
            if self.files == 1 { "1 file".to_owned() } else { format!("{} files", self.files) };
        if self.bytes == 0 { files } else { format!("{files} ({})", show::size(self.bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_raises_only_the_limits_that_were_reached() {
        let mut left = LeftFiles { messages: 1, largest: 20, ..LeftFiles::default() };
        left.add(LeftReason::Other("the disk is full".to_owned()), Some(5));
        assert_eq!(left.command(), "receive");
        left.add(LeftReason::TooLarge, Some(1_000_001));
        assert_eq!(left.command(), "receive --max-size 2");
        left.add(LeftReason::TooMany, Some(1));
        assert_eq!(left.command(), "receive --max-files 20 --max-size 2");
        assert_eq!(left.words(), "3 files (1.0 MB)");
        left.add(LeftReason::TooLarge, None);
        assert_eq!(left.command(), "receive --max-files 20 --max-size 106");
    }
}
