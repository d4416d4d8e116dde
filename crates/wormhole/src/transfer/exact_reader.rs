//! Reads exactly as many bytes of a file as were offered, and notices if the file has more or fewer.
//!
//! The receiver counts bytes, so a number that was offered cannot be taken back. A file may grow,
//! shrink or be replaced before it is its turn, and some files (in `/proc`, for example) state a size
//! that is not the number of bytes in them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use super::UnsendableReason;
use super::source::system;

/// A file from which a fixed number of bytes is read.
pub(super) struct ExactReader<R = File> {
    reader: R,
    left: u64,
    /// Whether we tried to read one byte more than was offered.
    is_end_checked: bool,
}

impl<R: Read> ExactReader<R> {
    /// Reads `size` bytes from the current position.
    pub(super) const fn new(reader: R, size: u64) -> Self {
        Self { reader, left: size, is_end_checked: false }
    }

    /// Number of bytes still to be read.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Reads some of the remaining bytes; none only if none remain or the buffer is empty.
    ///
    /// # Errors
    /// The file has fewer bytes, or cannot be read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnsendableReason> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let count = read_some(&mut self.reader, room)?;
        if count == 0 {
            return Err(UnsendableReason::Shrank);
        }
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    /// After the last byte, checks that the file ends there, too.
    ///
    /// # Errors
    /// The file has more bytes, or cannot be read.
    pub(super) fn check_end(&mut self) -> Result<(), UnsendableReason> {
        if self.left > 0 || std::mem::replace(&mut self.is_end_checked, true) {
            return Ok(());
        }
        match read_some(&mut self.reader, &mut [0])? {
            0 => Ok(()),
            _ => Err(UnsendableReason::Grew),
        }
    }
}

impl ExactReader {
    /// Leaves out the next bytes, without reading them.
    ///
    /// # Errors
    /// The file cannot be positioned.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), UnsendableReason> {
        if bytes > 0 {
            let distance = i64::try_from(bytes).map_err(|_| UnsendableReason::Shrank)?;
            io::Seek::seek(&mut self.reader, io::SeekFrom::Current(distance)).map_err(system)?;
            self.left = self.left.saturating_sub(bytes);
        }
        Ok(())
    }

    /// The file.
    pub(super) const fn file(&self) -> &File {
        &self.reader
    }

    /// Whether the path now refers to a different file. A deleted file was not replaced: the open
    /// file still has its last contents.
    #[cfg(unix)]
    pub(super) fn is_replaced(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;

        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let (opened, named) = (self.reader.metadata(), std::fs::metadata(path));
        match (opened, named) {
            (Ok(opened), Ok(named)) => identity(opened) != identity(named),
            _ => false,
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "other systems do not tell one file from another")]
    pub(super) const fn is_replaced(&self, _: &Path) -> bool {
        false
    }
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, UnsendableReason> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome.map_err(system),
        }
    }
}

/// Opens a file that may have been replaced since it was checked. Opening a pipe does not wait for
/// a writer.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.open(path)
}

/// Opens a regular file of which `size` bytes were offered.
///
/// # Errors
/// It cannot be read, or is no longer a regular file.
pub(super) fn open_file(path: &Path, size: u64) -> Result<ExactReader, UnsendableReason> {
    let file = open(path).map_err(system)?;
    if !file.metadata().map_err(system)?.is_file() {
        return Err(UnsendableReason::NotAFile);
    }
    Ok(ExactReader::new(file, size))
}

/// Checks that a regular file can be read and has as many bytes as its metadata says.
///
/// # Errors
/// It cannot be read, or its size is unknown until it is read.
pub(super) fn examine(path: &Path, metadata: &Metadata) -> Result<(), UnsendableReason> {
    check_size(&open(path).map_err(system)?, metadata)
}

/// Checks the size of an open file without reading it: one byte, and only where the size is doubtful.
#[cfg(unix)]
pub(super) fn check_size(file: &File, metadata: &Metadata) -> Result<(), UnsendableReason> {
    use std::os::unix::fs::{FileExt, MetadataExt};

    let size = metadata.len();
    // Kernel files occupy no blocks; files on a disk do, unless they are empty or tiny.
    if size > 0 && metadata.blocks() > 0 {
        return Ok(());
    }
    let has_byte = match file.read_at(&mut [0], size.saturating_sub(1)) {
        Ok(count) => count > 0,
        // More bytes than the stated size are equally wrong.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => size == 0,
        Err(error) => return Err(system(error)),
    };
    if has_byte == (size > 0) { Ok(()) } else { Err(UnsendableReason::UnknownSize) }
}

#[cfg(not(unix))]
pub(super) const fn check_size(_: &File, _: &Metadata) -> Result<(), UnsendableReason> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads like the sender: whole buffers, then the end.
    fn drain(contents: &[u8], offered: u64, buffer: usize) -> Result<u64, UnsendableReason> {
        let mut file = ExactReader::new(contents, offered);
        let mut buffer = vec![0; buffer];
        let mut sum = 0;
        while file.left() > 0 {
            sum += u64::try_from(file.read(&mut buffer)?).unwrap();
        }
        file.check_end()?;
        Ok(sum)
    }

    #[test]
    fn a_file_that_is_longer_or_shorter_is_noticed_at_every_boundary() {
        for size in [0, 1, 15, 16, 17, 31, 32, 33, 1000] {
            let contents = vec![7; usize::try_from(size).unwrap()];
            for buffer in [1, 16, 17, 1000, 4096] {
                assert_eq!(drain(&contents, size, buffer), Ok(size));
                assert_eq!(drain(&contents, size + 1, buffer), Err(UnsendableReason::Shrank));
                if size > 0 {
                    let fewer = drain(&contents, size - 1, buffer);
                    assert_eq!(fewer, Err(UnsendableReason::Grew));
                }
            }
        }
    }
}
