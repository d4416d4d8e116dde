//! The zip that carries a directory, written and read as a stream (APPNOTE 6.3).
//!
//! [`write::ZipWriter`] stores files without compression and with sizes known in advance, so that the exact
//! size of the zip can be offered before a file is opened. [`read::ZipReader`] reads a stream in pieces of any size
//! and outputs files as they arrive; it supports what all known senders write (stored or deflated, with or without
//! data descriptors, ZIP64) and rejects anything dangerous. Neither uses a disk. This is not a general zip
//! library: no encryption, no multi-part archives, only trees of files and folders.

mod header;
pub mod path;
pub mod read;
pub mod write;

pub use path::ZipPath;
pub use read::{Piece, ZipError, ZipReader};
pub use write::{Entry, EntryKind, ZipWriter};

/// `PK\x03\x04`: local header of a file.
const LOCAL: u32 = 0x0403_4b50;

/// `PK\x07\x08`: data descriptor, with values that were unknown before the data.
const DESCRIPTOR: u32 = 0x0807_4b50;

/// `PK\x01\x02`: entry of the central directory.
const CENTRAL: u32 = 0x0201_4b50;

/// `PK\x06\x09`: an earlier file must be removed. Specific to this program, and located between the last file and the
/// central directory, where other programs do not look.
const OMISSION: u32 = 0x0906_4b50;

/// `PK\x06\x06`: ZIP64 end of the central directory.
const END_64: u32 = 0x0606_4b50;

/// `PK\x06\x07`: locator of [`END_64`].
const LOCATOR_64: u32 = 0x0706_4b50;

/// `PK\x05\x06`: end of the central directory.
const END: u32 = 0x0605_4b50;

/// Extra field with sizes of 64 bits.
const EXTRA_ZIP64: u16 = 0x0001;

/// Extra field with the modification time in seconds since 1970 (Info-ZIP).
const EXTRA_TIMESTAMP: u16 = 0x5455;

/// General purpose flag: the file is encrypted.
const FLAG_ENCRYPTED: u16 = 1;

/// General purpose flag: CRC and sizes follow the data.
const FLAG_DESCRIPTOR: u16 = 1 << 3;

/// General purpose flag: the name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;

/// Method: stored.
const STORED: u16 = 0;

/// Method: DEFLATE.
const DEFLATED: u16 = 8;

/// The type of an entry, in its mode.
const TYPE_MASK: u32 = 0o170_000;

/// Type: a file.
const TYPE_FILE: u32 = 0o100_000;

/// Type: a folder.
const TYPE_FOLDER: u32 = 0o040_000;

/// The file type bits of a symbolic link.
const TYPE_LINK: u32 = 0o120_000;

/// Converts a length to the 64 bits of the zip format.
fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
