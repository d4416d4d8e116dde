//! Reads a zip while it arrives, in pieces of any size; outputs folders and files.
//!
//! The output is checked against the central directory at the end of the zip. Until [`ZipReader::finish`] succeeds,
//! everything unpacked is provisional and belongs into a separate folder.

mod data;
mod table;

use wormhole_kit::TooShort;

use super::header::{
    CENTRAL_FIXED, CentralHeader, END_64_FIXED, END_FIXED, LOCAL_FIXED, LOCATOR_LENGTH,
    LocalHeader, central_rest, end_64_entries, end_64_rest, end_entries, end_rest, local_rest,
};
use super::path::{MAX_PATH, UnsafePath, ZipPath};
use super::{
    CENTRAL, DEFLATED, END, END_64, FLAG_ENCRYPTED, LOCAL, LOCATOR_64, OMISSION, STORED, TYPE_FILE,
    TYPE_FOLDER, TYPE_MASK, to_u64,
};
use crate::transfer::PeerName;
use data::{DataLocation, FileData, InputBuffer};
use table::DirectoryCheck;

/// An output of the reader.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A folder. Its parent folders may be missing in the zip.
    Folder(ZipPath),
    /// The beginning of a file. Its parent folders may be missing in the zip.
    File {
        /// Its path.
        path: ZipPath,
        /// Exact modification time in seconds since 1970, if present.
        modified: Option<i64>,
    },
    /// Data of the current file.
    Data(&'a [u8]),
    /// The file is complete, and its checksum is correct.
    FileEnd,
    /// The sender could not read this earlier file completely. Remove it; if there is no such file, reject the
    /// zip.
    Omitted(ZipPath),
    /// Permissions of an entry, from the central directory. All of them arrive at the end, in any order;
    /// [`ZipReader::finish`] checks whether they belong to entries of the zip.
    Permissions {
        /// The path of the entry.
        path: ZipPath,
        /// The lowest 12 bits of a Unix mode; `None` if the entry was not made on Unix.
        permissions: Option<u16>,
        /// Exact modification time in seconds since 1970, if present.
        modified: Option<i64>,
        /// Whether it is a folder.
        is_folder: bool,
    },
}

/// Why a zip is rejected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ZipError {
    /// Its files are larger than this many offered bytes.
    #[error("it unpacks to more than the {0} offered bytes")]
    Bomb(u64),
    /// The compressed data is invalid.
    #[error("it is damaged")]
    Damaged,
    /// Two entries have the same path. Reported by the code that creates them, because the reader stores no paths.
    #[error("it contains '{0}' twice, or two names that are the same on this system")]
    Duplicate(ZipPath),
    /// An entry is neither a file nor a folder, such as a symbolic link.
    #[error("'{0}' is neither a file nor a folder")]
    NotAFile(ZipPath),
    /// A name is not UTF-8.
    #[error("a name in it is not Unicode")]
    NotUnicode,
    /// There is data after its end.
    #[error("it has data after its end")]
    Trailing,
    /// It ends too early.
    #[error("it ends too early")]
    Truncated,
    /// It contains more than the offered number of files.
    #[error("it contains more than the {0} offered files")]
    TooManyFiles(u64),
    /// The path of an entry is not allowed.
    #[error(transparent)]
    UnsafePath(#[from] UnsafePath),
    /// It is encrypted, or uses an unsupported compression.
    #[error("its compression is not supported")]
    Unsupported,
    /// The checksum of a file is wrong.
    #[error("the checksum of '{0}' is wrong")]
    WrongChecksum(ZipPath),
    /// Its central directory does not match its contents.
    #[error("its central directory does not match its contents")]
    WrongCentralDirectory,
}

impl From<TooShort> for ZipError {
    fn from(_: TooShort) -> Self {
        Self::Damaged
    }
}

/// Reads one zip.
///
/// | state | input | piece | next |
/// |---|---|---|---|
/// | `ExpectHeader` | local header of a folder | Folder | same |
/// | `ExpectHeader` | local header of a file | File | `InFile` |
/// | `InFile` | data | Data | same |
/// | `InFile` | the end of the data | `FileEnd` | `ExpectHeader` |
/// | `ExpectHeader` | central header | Permissions | `InCentralDirectory` |
/// | `ExpectHeader` | omission | Omitted | same |
/// | `InCentralDirectory` | central header | Permissions | same |
/// | `InCentralDirectory` | the end | | Ended |
pub struct ZipReader {
    state: ReaderState,
    held: InputBuffer,
    table: DirectoryCheck,
    /// Remaining bytes of files.
    allowance: u64,
    offered: u64,
    /// Remaining number of files.
    files_left: u64,
    files: u64,
}

enum ReaderState {
    ExpectHeader,
    InFile(Box<FileData>),
    InCentralDirectory,
    Ended,
}

impl ZipReader {
    /// Starts to read a zip of at most `files` files with `offered` bytes in total. Folders are not counted, because
    /// offers do not count them: the caller must limit them. Memory does not grow with the number of
    /// entries.
    pub fn new(offered: u64, files: u64) -> Self {
        Self {
            state: ReaderState::ExpectHeader,
            held: InputBuffer::default(),
            table: DirectoryCheck::default(),
            allowance: offered,
            offered,
            files_left: files,
            files,
        }
    }

    /// Consumes bytes of `input` until there is an output; `None` when all of it has been
    /// consumed.
    ///
    /// # Errors
    /// The zip is rejected; discard everything unpacked.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'s>>, ZipError> {
        self.held.release();
        if matches!(self.state, ReaderState::InFile(_)) {
            return self.next_of_file(input);
        }
        loop {
            let Some(signature) = self.held.signature(input) else { return Ok(None) };
            match (&self.state, signature) {
                (ReaderState::ExpectHeader, LOCAL) => return self.on_local(input),
                (ReaderState::ExpectHeader, OMISSION) => return self.on_omission(input),
                (ReaderState::ExpectHeader | ReaderState::InCentralDirectory, CENTRAL) => {
                    return self.on_central(input);
                }
                (
                    ReaderState::ExpectHeader | ReaderState::InCentralDirectory,
                    END_64 | LOCATOR_64 | END,
                ) => {
                    if !self.on_end(signature, input)? {
                        return Ok(None);
                    }
                }
                (ReaderState::Ended, _) => return Err(ZipError::Trailing),
                (ReaderState::InCentralDirectory | ReaderState::InFile(_), LOCAL) => {
                    return Err(ZipError::WrongCentralDirectory);
                }
                _ => return Err(ZipError::Damaged),
            }
        }
    }

    /// Checks that the zip is complete and consistent.
    ///
    /// # Errors
    /// Something is missing or inconsistent.
    pub fn finish(self) -> Result<(), ZipError> {
        match self.state {
            ReaderState::Ended if self.held.is_empty() => Ok(()),
            ReaderState::Ended => Err(ZipError::Trailing),
            ReaderState::ExpectHeader
            | ReaderState::InFile(_)
            | ReaderState::InCentralDirectory => Err(ZipError::Truncated),
        }
    }

    fn on_local(&mut self, input: &mut &[u8]) -> Result<Option<Piece<'static>>, ZipError> {
        let Some(header) = self.held.gather(LOCAL_FIXED, input) else { return Ok(None) };
        let length = LOCAL_FIXED + local_rest(header)?;
        let Some(header) = self.held.gather(length, input) else { return Ok(None) };
        let header = LocalHeader::parse(header)?;
        self.held.consume(length);
        if header.flags & FLAG_ENCRYPTED != 0 || !matches!(header.method, STORED | DEFLATED) {
            return Err(ZipError::Unsupported);
        }
        let is_folder = header.name.ends_with(b"/");
        let path = parse_path(&header.name)?;
        let modified = header.modified;
        if is_folder && header.size == 0 && header.compressed == 0 {
            self.table.add(&header.name, 0, 0);
            return Ok(Some(Piece::Folder(path)));
        }
        if is_folder {
            return Err(ZipError::NotAFile(path));
        }
        self.files_left =
            self.files_left.checked_sub(1).ok_or(ZipError::TooManyFiles(self.files))?;
        self.state = ReaderState::InFile(Box::new(FileData::new(&header, path.clone())));
        Ok(Some(Piece::File { path, modified }))
    }

    fn next_of_file<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'s>>, ZipError> {
        let ReaderState::InFile(body) = &mut self.state else { return Ok(None) };
        if let Some(range) = body.next(&mut self.held, input)? {
            let left = self
                .allowance
                .checked_sub(to_u64(range.len()))
                .ok_or(ZipError::Bomb(self.offered))?;
            self.allowance = left;
            return Ok(Some(Piece::Data(self.resolve(&range))));
        }
        if !body.is_complete() {
            return Ok(None);
        }
        let (path, crc, size) = body.result();
        self.table.add(path.as_str().as_bytes(), crc, size);
        self.state = ReaderState::ExpectHeader;
        Ok(Some(Piece::FileEnd))
    }

    fn resolve<'s>(&'s self, range: &DataLocation<'s>) -> &'s [u8] {
        match &self.state {
            ReaderState::InFile(body) => body.slice(range, &self.held),
            ReaderState::ExpectHeader | ReaderState::InCentralDirectory | ReaderState::Ended => &[],
        }
    }

    /// Reads an entry of the central directory, or of an omission.
    fn line(&mut self, input: &mut &[u8]) -> Result<Option<CentralHeader>, ZipError> {
        let Some(header) = self.held.gather(CENTRAL_FIXED, input) else { return Ok(None) };
        let length = CENTRAL_FIXED + central_rest(header)?;
        let Some(header) = self.held.gather(length, input) else { return Ok(None) };
        let header = CentralHeader::parse(header)?;
        self.held.consume(length);
        Ok(Some(header))
    }

    fn on_omission(&mut self, input: &mut &[u8]) -> Result<Option<Piece<'static>>, ZipError> {
        let Some(header) = self.line(input)? else { return Ok(None) };
        let path = parse_path(&header.name)?;
        if header.name.ends_with(b"/") {
            return Err(ZipError::WrongCentralDirectory);
        }
        self.table.omit(&header.name, header.crc, header.size)?;
        Ok(Some(Piece::Omitted(path)))
    }

    fn on_central(&mut self, input: &mut &[u8]) -> Result<Option<Piece<'static>>, ZipError> {
        let Some(header) = self.line(input)? else { return Ok(None) };
        self.state = ReaderState::InCentralDirectory;
        let path = parse_path(&header.name)?;
        self.table.list(&header.name, header.crc, header.size)?;
        let is_folder = header.name.ends_with(b"/");
        let kind = header.mode.unwrap_or(0) & TYPE_MASK;
        let expected = if is_folder { TYPE_FOLDER } else { TYPE_FILE };
        if kind != 0 && kind != expected {
            return Err(ZipError::NotAFile(path));
        }
        let permissions = header
            .mode
            .filter(|mode| *mode != 0)
            .and_then(|mode| u16::try_from(mode & 0o7777).ok());
        let modified = header.modified;
        Ok(Some(Piece::Permissions { path, permissions, modified, is_folder }))
    }

    /// Reads a record of the end. Returns whether it was complete.
    fn on_end(&mut self, signature: u32, input: &mut &[u8]) -> Result<bool, ZipError> {
        let fixed = match signature {
            END_64 => END_64_FIXED,
            LOCATOR_64 => LOCATOR_LENGTH,
            _ => END_FIXED,
        };
        let Some(record) = self.held.gather(fixed, input) else { return Ok(false) };
        let length = match signature {
            END_64 => end_64_length(record)?,
            LOCATOR_64 => LOCATOR_LENGTH,
            _ => END_FIXED + end_rest(record)?,
        };
        let Some(record) = self.held.gather(length, input) else { return Ok(false) };
        match signature {
            END_64 if end_64_entries(record)? != self.table.listed() => {
                return Err(ZipError::WrongCentralDirectory);
            }
            END => {
                let stated = end_entries(record)?;
                let fits = stated == self.table.listed() || stated == u64::from(u16::MAX);
                if !fits || !self.table.is_complete() {
                    return Err(ZipError::WrongCentralDirectory);
                }
                self.state = ReaderState::Ended;
            }
            _ => self.state = ReaderState::InCentralDirectory,
        }
        self.held.consume(length);
        Ok(true)
    }
}

impl std::fmt::Debug for ZipReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZipReader").field("allowance", &self.allowance).finish_non_exhaustive()
    }
}

fn parse_path(name: &[u8]) -> Result<ZipPath, ZipError> {
    let name = std::str::from_utf8(name).map_err(|_| ZipError::NotUnicode)?;
    if name.len() > MAX_PATH {
        return Err(UnsafePath(PeerName::new(name)).into());
    }
    Ok(ZipPath::parse(name)?)
}

fn end_64_length(record: &[u8]) -> Result<usize, ZipError> {
    let rest = usize::try_from(end_64_rest(record)?).map_err(|_| ZipError::Damaged)?;
    if (END_64_FIXED - 12..MAX_END_64).contains(&rest) {
        Ok(12 + rest)
    } else {
        Err(ZipError::Damaged)
    }
}

/// Maximum size of the ZIP64 end in bytes: no program extends it.
const MAX_END_64: usize = 4096;
