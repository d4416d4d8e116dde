//! The zip that carries a directory, written and read as a stream (APPNOTE 6.3).
//!
//! [`write::ZipWriter`] stores files as they are, with every size known in advance, so that the
//! exact length of the zip can be offered before a file is opened. [`read::ZipReader`] takes bytes
//! in any pieces and hands out files while they come; it reads what all known senders write
//! (stored or deflated, with or without data descriptors, ZIP64) and refuses everything that
//! could harm. Neither touches a disk. This is not a general zip library: no encryption, no
//! spanning, no archive that is not a plain tree of files and folders.

mod header;
pub mod path;
pub mod read;
pub mod write;

pub use path::ZipPath;
pub use read::{Piece, ZipError, ZipReader};
pub use write::{Entry, EntryKind, ZipWriter};

/// `PK\x03\x04`: a file begins.
const LOCAL: u32 = 0x0403_4b50;

/// `PK\x07\x08`: what was not known when the file began.
const DESCRIPTOR: u32 = 0x0807_4b50;

/// `PK\x01\x02`: one line of the table of contents.
const CENTRAL: u32 = 0x0201_4b50;

/// `PK\x06\x09`: a file that came before is to be removed. Ours alone, and between the last file and
/// the table of contents, where other programs do not look.
const OMISSION: u32 = 0x0906_4b50;

/// `PK\x06\x06`: the end of the table of contents, in 64 bits.
const END_64: u32 = 0x0606_4b50;

/// `PK\x06\x07`: where [`END_64`] is.
const LOCATOR_64: u32 = 0x0706_4b50;

/// `PK\x05\x06`: the end.
const END: u32 = 0x0605_4b50;

/// Extra field with sizes of 64 bits.
const EXTRA_ZIP64: u16 = 0x0001;

/// Extra field with the time of the last change, in seconds since 1970 (Info-ZIP).
const EXTRA_TIMESTAMP: u16 = 0x5455;

/// General purpose flag: the file is encrypted.
const FLAG_ENCRYPTED: u16 = 1;

/// General purpose flag: CRC and sizes follow the data.
const FLAG_DESCRIPTOR: u16 = 1 << 3;

/// General purpose flag: the name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;

/// Method: as it is.
const STORED: u16 = 0;

/// Method: DEFLATE.
const DEFLATED: u16 = 8;

/// The type of an entry, in its mode.
const TYPE_MASK: u32 = 0o170_000;

/// Type: a file.
const TYPE_FILE: u32 = 0o100_000;

/// Type: a folder.
const TYPE_FOLDER: u32 = 0o040_000;

/// A length as a zip has it.
fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
