//! Unpacks a zip while it arrives, into a provisional folder.

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::zip::{Piece, ZipError, ZipPath, ZipReader, most_folders};

use super::sink::{Part, end, failed};
use super::{Error, PeerMisbehaved, durable};

/// A tree that is being unpacked.
pub(super) struct Unpacker {
    reader: ZipReader,
    /// Before the folder, so that it is closed before that is removed.
    current: Option<Current>,
    folder: Folder,
    /// Permissions and times of folders, which are set once nothing is created in them any more.
    folders: Vec<(PathBuf, Option<u16>, Option<i64>)>,
    /// Files that the sender could not read to their end.
    omitted: Vec<ZipPath>,
    files: u64,
    end: FolderEnd,
}

/// What the folder that is filled gets in the end. Until then it is its owner's alone, as what is in
/// it has not got its permissions yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct FolderEnd {
    /// All of its mode, with the bits that the folder above it hands down.
    mode: Option<u32>,
    modified: Option<i64>,
}

/// The folder that is filled.
struct Folder {
    part: Part,
    /// The folders in it.
    known: BTreeSet<PathBuf>,
    /// How many of them there may be.
    most: u64,
    /// The permissions that a new file gets here, if one was created.
    default: Option<u16>,
}

struct Current {
    file: File,
    path: PathBuf,
    modified: Option<i64>,
}

impl Unpacker {
    /// Unpacks into `part` a zip that was offered with `bytes` in `files` files.
    pub(super) fn new(part: Part, end: FolderEnd, bytes: u64, files: u64) -> Self {
        let known = BTreeSet::new();
        let folder = Folder { part, known, most: most_folders(files), default: None };
        let reader = ZipReader::new(bytes, files);
        let (folders, omitted) = (Vec::new(), Vec::new());
        Self { reader, current: None, folder, folders, omitted, files, end }
    }

    /// Where it is unpacked for now.
    #[cfg(all(test, unix))]
    pub(super) fn place(&self) -> &Path {
        self.folder.part.path()
    }

    /// Takes the next bytes of the zip.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut input = bytes;
        while let Some(piece) = self.reader.next(&mut input).map_err(PeerMisbehaved::BadZip)? {
            match piece {
                Piece::Data(data) => {
                    if let Some(Current { file, path, .. }) = &mut self.current {
                        file.write_all(data).map_err(|error| failed(path, error))?;
                    }
                }
                Piece::File { path, modified } => {
                    self.current = Some(self.folder.create_file(&path, modified)?);
                }
                Piece::FileEnd => {
                    if let Some(current) = self.current.take() {
                        current.end()?;
                    }
                }
                Piece::Omitted(path) => {
                    let place = self.folder.place(&path);
                    std::fs::remove_file(&place).map_err(|error| failed(&place, error))?;
                    self.omitted.push(path);
                }
                Piece::Folder(path) => {
                    let path = self.folder.place(&path);
                    self.folder.create_folder(&path)?;
                }
                Piece::Permissions { path, permissions, modified, is_folder: true } => {
                    self.folders.push((self.folder.place(&path), permissions, modified));
                }
                Piece::Permissions { path, permissions, is_folder: false, .. } => {
                    self.folder.allow(&path, permissions)?;
                }
            }
        }
        Ok(())
    }

    /// Everything has come: gives the folder its name. Returns that, and the files that are missing.
    pub(super) fn complete(self) -> Result<(PathBuf, Vec<ZipPath>), Error> {
        self.reader.finish().map_err(PeerMisbehaved::BadZip)?;
        let root = self.folder.part.path();
        durable::tree(root, self.files).map_err(|error| failed(root, error))?;
        let mut folders = self.folders;
        // From the inside out: a folder may forbid to look into it.
        folders.sort_by(|one, other| other.0.cmp(&one.0));
        for (path, permissions, modified) in folders {
            if let Some(modified) = modified {
                set_folder_time(&path, modified).map_err(|error| failed(&path, error))?;
            }
            if let Some(permissions) = permissions {
                set_permissions(&path, permissions).map_err(|error| failed(&path, error))?;
            }
        }
        let part = self.folder.part;
        self.end.apply(part.path()).map_err(|error| failed(part.path(), error))?;
        part.complete().map(|path| (path, self.omitted))
    }
}

impl FolderEnd {
    /// Creates a folder for what was offered with these attributes.
    #[cfg(unix)]
    pub(super) fn create(path: &Path, offered: Option<Attributes>) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        // Never more open than in the end, not even for a moment.
        let mode = if offered.is_some() { 0o700 } else { 0o777 };
        std::fs::DirBuilder::new().mode(mode).create(path)?;
        let created = close(path).inspect_err(|_| drop(std::fs::remove_dir(path)))?;
        let mode = offered
            .map_or(created, |offered| created & !0o777 | u32::from(offered.permissions & 0o777));
        Ok(Self { mode: Some(mode), modified: offered.map(|offered| offered.modified) })
    }

    /// Creates a folder; whoever may look into it is decided by the one above it.
    #[cfg(not(unix))]
    pub(super) fn create(path: &Path, offered: Option<Attributes>) -> io::Result<Self> {
        std::fs::create_dir(path)?;
        Ok(Self { mode: None, modified: offered.map(|offered| offered.modified) })
    }

    /// Gives the folder what it gets in the end.
    fn apply(self, path: &Path) -> io::Result<()> {
        if let Some(modified) = self.modified {
            set_folder_time(path, modified)?;
        }
        self.mode.map_or(Ok(()), |mode| set_mode(path, mode))
    }
}

impl Folder {
    /// Where an entry is put for now.
    fn place(&self, path: &ZipPath) -> PathBuf {
        let mut place = self.part.path().to_owned();
        place.extend(path.components());
        place
    }

    fn create_file(&mut self, path: &ZipPath, modified: Option<i64>) -> Result<Current, Error> {
        let place = self.place(path);
        if let Some(parent) = place.parent() {
            self.create_folder(parent)?;
        }
        let file = File::create_new(&place).map_err(|error| failed(&place, error))?;
        if self.default.is_none() {
            self.default = permissions(&file).map_err(|error| failed(&place, error))?;
        }
        Ok(Current { file, path: place, modified })
    }

    /// Creates a folder and those above it, asking the system once for each.
    fn create_folder(&mut self, path: &Path) -> Result<(), Error> {
        if path == self.part.path() || self.known.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.create_folder(parent)?;
        }
        if u64::try_from(self.known.len()).is_ok_and(|count| count >= self.most) {
            return Err(PeerMisbehaved::BadZip(ZipError::TooManyFolders(self.most)).into());
        }
        std::fs::create_dir(path).map_err(|error| failed(path, error))?;
        self.known.insert(path.to_owned());
        Ok(())
    }

    fn allow(&self, path: &ZipPath, permissions: Option<u16>) -> Result<(), Error> {
        let Some(permissions) = permissions.filter(|_| permissions != self.default) else {
            return Ok(());
        };
        let place = self.place(path);
        set_permissions(&place, permissions).map_err(|error| failed(&place, error))
    }
}

impl Current {
    fn end(self) -> Result<(), Error> {
        let Self { file, path, modified } = self;
        let timed = modified.map_or(Ok(()), |modified| file.set_modified(time(modified)));
        timed.and_then(|()| end(&file)).map_err(|error| failed(&path, error))
    }
}

/// A time that the system can represent, or 1970.
pub(super) fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if seconds < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    time.unwrap_or(epoch)
}

#[cfg(unix)]
fn permissions(file: &File) -> io::Result<Option<u16>> {
    use std::os::unix::fs::PermissionsExt;
    Ok(u16::try_from(file.metadata()?.permissions().mode() & 0o777).ok())
}

#[cfg(unix)]
fn set_permissions(path: &Path, permissions: u16) -> io::Result<()> {
    // Whoever sends us a program does not get to say as whom it runs.
    set_mode(path, u32::from(permissions & 0o777))
}

/// Takes the folder away from everybody but its owner. Returns the mode it had.
#[cfg(unix)]
fn close(folder: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o7777;
    set_mode(folder, mode & !0o777 | 0o700)?;
    Ok(mode)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(unix)]
fn set_folder_time(path: &Path, modified: i64) -> io::Result<()> {
    File::open(path)?.set_times(FileTimes::new().set_modified(time(modified)))
}

#[cfg(not(unix))]
fn permissions(_: &File) -> io::Result<Option<u16>> {
    Ok(None)
}

/// Systems without these permissions know one: whether a file may be changed.
#[cfg(not(unix))]
fn set_permissions(path: &Path, permissions: u16) -> io::Result<()> {
    let mut current = std::fs::metadata(path)?.permissions();
    if current.readonly() == (permissions & 0o200 != 0) && !path.is_dir() {
        current.set_readonly(permissions & 0o200 == 0);
        std::fs::set_permissions(path, current)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// A folder cannot be opened everywhere; its time is no loss.
#[cfg(not(unix))]
fn set_folder_time(_: &Path, _: i64) -> io::Result<()> {
    Ok(())
}
