//! What an interrupted transfer has left: `NAME.part`, and beside it the journal `NAME.part.resume`, which says what has
//! arrived (docs/dilated-transfer.md).
//!
//! Both are ours alone, and the journal names the device and inode of the other one: other users, who may be able to create and
//! rename files in the destination, cannot make us continue something of theirs. A lock on the journal keeps two transfers from
//! using the same one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use wormhole_magic::transfer::dilated::{
    FileKey, Hash, Journal, JournalFile, JournalHeader, MAX_JOURNAL,
};
use wormhole_magic::transfer::zip::ZipPath;

use super::dir::{Access, Dir};
use super::journal::JournalWriter;
use super::part::{OnExists, Part, Place, temporary};

/// An interrupted transfer that can be continued.
#[derive(Debug)]
pub(in crate::transfer) struct Resumed {
    /// The incomplete file or folder.
    pub(in crate::transfer) part: Part,
    /// Open for reading and writing, if it is a file.
    pub(in crate::transfer) file: Option<File>,
    /// What has arrived. Of each file, at least as much is on the disk.
    pub(in crate::transfer) files: Vec<JournalFile>,
    /// Whether the system has been restarted since, or that is not known: then the data may be incomplete.
    pub(in crate::transfer) may_be_damaged: bool,
    /// The journal, to be continued.
    pub(in crate::transfer) journal: JournalWriter,
}

/// What an offer can continue.
#[derive(Clone, Copy, Debug)]
pub(in crate::transfer) struct Wanted {
    /// The hash of the offer.
    pub(in crate::transfer) offer: Hash,
    /// The key of a single file; `None` for a folder.
    pub(in crate::transfer) key: Option<FileKey>,
}

impl Part {
    /// Starts a journal for the offer with this hash, so that a later attempt can continue. `None` if that is not possible here.
    pub(in crate::transfer) fn start_journal(&mut self, offer: Hash) -> Option<JournalWriter> {
        let (folder, name, identity) = self.location();
        let name = journal_name(name)?;
        let (device, inode) = numbers(identity)?;
        let file = create_journal(folder, &name)?;
        lock(&file)?;
        self.journal = Some(name);
        let header = JournalHeader { boot: boot_id(), device, inode, offer };
        Some(JournalWriter::started(file, header, &[]))
    }

    /// Opens a file that an earlier attempt has left in this folder, for reading.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub(in crate::transfer) fn open_left(&self, path: &ZipPath) -> io::Result<File> {
        open_in(self.inside().ok_or(io::ErrorKind::NotADirectory)?, path.as_str())
    }

    /// Finds what an interrupted transfer of the same folder, or of the same file, to `target` has left. If it was another offer
    /// of the file, what could be guessed from its hashes is forgotten.
    pub(in crate::transfer) fn resume(
        target: &Path,
        on_exists: OnExists,
        wanted: &Wanted,
    ) -> Option<Resumed> {
        let is_folder = wanted.key.is_none();
        let place = Place::open(target, on_exists, is_folder).ok()?;
        (0..MAX_LEFT).find_map(|number| {
            let found = Found::open(&place.destination, temporary(&place.name, number), is_folder)?;
            found.into_resumed(Place::open(target, on_exists, is_folder).ok()?, wanted)
        })
    }
}

/// A journal with its incomplete file or folder.
pub(super) struct Found {
    pub(super) name: OsString,
    journal_file: File,
    pub(super) journal: Journal,
    contents: Contents,
    pub(super) modified: SystemTime,
}

pub(super) enum Contents {
    File(File),
    Folder(Dir),
}

#[cfg(unix)]
impl Found {
    /// Opens what has this temporary name.
    pub(super) fn open(folder: &Dir, name: OsString, is_folder: bool) -> Option<Self> {
        use super::dir::Identity;

        let mut journal_file = folder.open_private(journal_name(&name)?).ok()?;
        lock(&journal_file)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut journal_file).take(MAX_JOURNAL).read_to_end(&mut bytes).ok()?;
        let journal = Journal::parse(&bytes)?;
        let contents = if is_folder {
            Contents::Folder(folder.open_private_folder(&name).ok()?)
        } else {
            Contents::File(folder.open_private(&name).ok()?)
        };
        let identity = match &contents {
            Contents::File(file) => Identity::of(file).ok()?,
            Contents::Folder(inside) => inside.identity().ok()?,
        };
        let modified = journal_file.metadata().and_then(|metadata| metadata.modified()).ok()?;
        (identity.numbers() == (journal.header.device, journal.header.inode)).then_some(Self {
            name,
            journal_file,
            journal,
            contents,
            modified,
        })
    }

    /// Prepares to continue it, if it belongs to the offer.
    fn into_resumed(self, place: Place, wanted: &Wanted) -> Option<Resumed> {
        if self.is_expired() {
            self.remove(&place.destination);
            return None;
        }
        let has_key = |key| self.journal.files.iter().any(|file| file.key == key);
        let header = self.journal.header;
        let is_other_offer = header.offer != wanted.offer;
        if is_other_offer && !wanted.key.is_some_and(has_key) {
            return None;
        }
        let length = self.journal.length;
        let opened = self.into_opened(place, is_other_offer)?;
        let Opened { part, file, files, journal_file } = opened;
        let journal = if is_other_offer {
            let header = JournalHeader { offer: wanted.offer, ..header };
            JournalWriter::rewritten(journal_file, header, &files)?
        } else {
            JournalWriter::continued(journal_file, length)?
        };
        Some(Resumed { part, file, files, may_be_damaged: may_be_damaged(&header), journal })
    }

    /// Opens it, so that it stays when it is dropped. For another offer, hashes that could be guessed are forgotten.
    pub(super) fn into_opened(self, place: Place, is_other_offer: bool) -> Option<Opened> {
        use super::dir::Identity;

        let journal_name = journal_name(&self.name)?;
        let usual = place.destination.usual(self::journal_name(&journal_name)?).ok()?;
        let (file, inside, identity) = match self.contents {
            Contents::File(file) => {
                let identity = Identity::of(&file).ok()?;
                (Some(file), None, identity)
            }
            Contents::Folder(inside) => {
                let identity = inside.identity().ok()?;
                (None, Some(inside), identity)
            }
        };
        let mut files = self.journal.files;
        if is_other_offer {
            files.iter_mut().for_each(JournalFile::forget_short_chunk);
        }
        for it in &mut files {
            let chunks = chunks_on_disk(it, file.as_ref(), inside.as_ref());
            it.hashes.truncate(chunks);
        }
        files.retain(|it| !it.hashes.is_empty());
        let mut part = place.into_part(self.name, usual, identity, inside);
        part.journal = Some(journal_name);
        part.keep();
        Some(Opened { part, file, files, journal_file: self.journal_file })
    }

    pub(super) fn is_expired(&self) -> bool {
        let age = SystemTime::now().duration_since(self.modified);
        age.is_ok_and(|age| age > EXPIRY)
    }

    /// Removes it. If that fails, there is no further remedy.
    pub(super) fn remove(&self, folder: &Dir) {
        let _left = match &self.contents {
            Contents::File(_) => folder.remove_file(&self.name),
            Contents::Folder(inside) => {
                inside.clear().and_then(|()| folder.remove_folder(&self.name))
            }
        };
        if let Some(journal) = journal_name(&self.name) {
            let _left = folder.remove_file(journal);
        }
    }
}

/// Something that can be continued, and its journal.
#[cfg(unix)]
pub(super) struct Opened {
    pub(super) part: Part,
    file: Option<File>,
    pub(super) files: Vec<JournalFile>,
    pub(super) journal_file: File,
}

/// Whether the system has been restarted since, or that is not known.
#[cfg(unix)]
pub(super) fn may_be_damaged(header: &JournalHeader) -> bool {
    header.boot == [0; 16] || header.boot != boot_id()
}

/// How many of the chunks of a file are there that the journal names.
#[cfg(unix)]
fn chunks_on_disk(entry: &JournalFile, file: Option<&File>, inside: Option<&Dir>) -> usize {
    use wormhole_magic::transfer::dilated::{chunk_size, length_of_chunks};

    let size = match (&entry.path, file, inside) {
        (None, Some(file), None) => file.metadata().map(|metadata| metadata.len()),
        (Some(path), None, Some(inside)) => size_in(inside, path.as_str()),
        (None, _, _) | (_, Some(_), _) | (_, None, None) => return 0,
    };
    let Ok(size) = size else { return 0 };
    let chunks = u64::try_from(entry.hashes.len()).unwrap_or(u64::MAX);
    if size >= length_of_chunks(entry.size, chunks) {
        return entry.hashes.len();
    }
    usize::try_from(size / chunk_size(Some(entry.size))).unwrap_or(usize::MAX)
}

/// The size of a file below a folder.
#[cfg(unix)]
fn size_in(folder: &Dir, path: &str) -> io::Result<u64> {
    match path.split_once('/') {
        None => folder.size_of(path),
        Some((first, rest)) => size_in(&folder.open_folder(first)?, rest),
    }
}

/// Opens a file below a folder for reading.
fn open_in(folder: &Dir, path: &str) -> io::Result<File> {
    match path.split_once('/') {
        None => folder.open_file(path),
        Some((first, rest)) => open_in(&folder.open_folder(first)?, rest),
    }
}

#[cfg(not(unix))]
impl Found {
    /// Without owners and inodes, it cannot be known whether something is ours.
    pub(super) fn open(_: &Dir, _: OsString, _: bool) -> Option<Self> {
        None
    }

    fn into_resumed(self, _: Place, _: &Wanted) -> Option<Resumed> {
        None
    }
}

#[cfg(unix)]
const fn numbers(identity: super::dir::Identity) -> Option<(u64, u64)> {
    Some(identity.numbers())
}

#[cfg(not(unix))]
const fn numbers(_: super::dir::Identity) -> Option<(u64, u64)> {
    None
}

/// Creates a journal. One of the same name belongs to something that is gone, because its temporary name was free.
#[cfg(unix)]
fn create_journal(folder: &Dir, name: &OsStr) -> Option<File> {
    if let Ok(file) = folder.create_file(name, Access::Private) {
        return Some(file);
    }
    remove_orphan(folder, name)?;
    folder.create_file(name, Access::Private).ok()
}

#[cfg(not(unix))]
fn create_journal(folder: &Dir, name: &OsStr) -> Option<File> {
    folder.create_file(name, Access::Private).ok()
}

/// Removes the journal of something that is gone; `None` if it is in use, or not ours.
#[cfg(unix)]
pub(super) fn remove_orphan(folder: &Dir, journal: &OsStr) -> Option<()> {
    let file = folder.open_private(journal).ok()?;
    lock(&file)?;
    folder.remove_file(journal).ok()
}

/// Locks a journal until it is closed; `None` if another transfer uses it.
#[cfg(unix)]
fn lock(journal: &File) -> Option<()> {
    rustix::fs::flock(journal, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()
}

#[cfg(not(unix))]
fn lock(_: &File) -> Option<()> {
    None
}

/// Identifies the time since the system was started; zeros where that is not known.
#[cfg(target_os = "linux")]
pub(in crate::transfer) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap_or_default();
    bytes.try_into().unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
pub(in crate::transfer) const fn boot_id() -> [u8; 16] {
    [0; 16]
}

/// The name of the journal of something with this temporary name; `None` if that is too long.
pub(super) fn journal_name(temporary: &OsStr) -> Option<OsString> {
    let mut name = temporary.to_owned();
    name.push(".resume");
    (name.len() <= MAX_NAME).then_some(name)
}

/// How long something is kept after the last data.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Maximum number of temporary names to look at.
pub(super) const MAX_LEFT: u32 = 10;

/// Maximum length of a file name in bytes.
const MAX_NAME: usize = 255;
