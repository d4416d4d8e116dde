//! Files that are left for another run of `chat receive`.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{LARGEST, MEGABYTE};
use crate::args::chat::{DEFAULT_MAX_FILES, DEFAULT_MAX_SIZE};
use crate::chat::show;
use crate::printable;
use crate::shell::quote;

/// Why a file waits.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum LeftReason {
    /// The message has too many files.
    TooMany,
    /// The files of this run have too many bytes.
    TooLarge,
    /// The disk has too little space.
    NoSpace(String),
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

    /// Whether the disk has too little space for some of them.
    pub(super) fn lacks_space(&self) -> bool {
        self.reasons.keys().any(|why| matches!(why, LeftReason::NoSpace(_)))
    }

    /// How many files, and their size.
    pub(super) fn words(&self) -> String {
        self.sum().words()
    }

    fn sum(&self) -> LeftCount {
        let mut sum = LeftCount::default();
        for count in self.reasons.values() {
            sum.files += count.files;
            sum.bytes = sum.bytes.saturating_add(count.bytes);
        }
        sum
    }

    /// The command that saves them, perhaps into another directory. It names only limits that must be higher than usual.
    pub(super) fn command(&self, directory: Option<&Path>) -> String {
        let mut command = "receive".to_owned();
        if let Some(directory) = directory {
            command += &format!(" --to {}", quote(&printable::path(directory)));
        }
        if self.reasons.contains_key(&LeftReason::TooMany) && self.largest > DEFAULT_MAX_FILES {
            command += &format!(" --max-files {}", self.largest);
        }
        let megabytes = self.sum().bytes.div_ceil(MEGABYTE);
        if megabytes > DEFAULT_MAX_SIZE {
            command += &format!(" --max-size {megabytes}");
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
    fn the_command_raises_only_the_limits_that_are_too_low() {
        let mut left = LeftFiles { messages: 1, largest: 20, ..LeftFiles::default() };
        left.add(LeftReason::Other("the disk is full".to_owned()), Some(5));
        assert_eq!((left.command(None).as_str(), left.lacks_space()), ("receive", false));
        left.add(LeftReason::NoSpace("only 1 kB is free".to_owned()), None);
        assert!(left.lacks_space());
        left.reasons.retain(|why, _| !matches!(why, LeftReason::NoSpace(_)));
        left.add(LeftReason::TooLarge, Some(1_000_001));
        assert_eq!(left.words(), "2 files (1.0 MB)");
        assert_eq!(left.command(None), "receive");
        left.add(LeftReason::TooMany, Some(1));
        assert_eq!(left.command(None), "receive --max-files 20");
        left.add(LeftReason::TooLarge, None);
        left.add(LeftReason::TooMany, Some(100_000_000));
        assert_eq!(left.command(None), "receive --max-files 20 --max-size 206");
    }

    #[test]
    fn the_command_saves_into_the_same_directory() {
        let mut left = LeftFiles { messages: 1, largest: 1, ..LeftFiles::default() };
        left.add(LeftReason::TooLarge, Some(300_000_000));
        let command = left.command(Some("my files".as_ref()));
        assert_eq!(command, "receive --to 'my files' --max-size 300");
    }
}
