//! Open folders (Unix): each step uses the descriptor of the parent folder and follows no link, so
//! other users with write access to a folder cannot redirect us.
//!
//! Names are single components; callers must check that.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fstatvfs, linkat, mkdirat, openat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::loss::Loss;

/// An open folder. It stays the same folder even if it is moved or its path is replaced.
#[derive(Debug)]
pub(super) struct Dir(File);

/// Permissions of a new file or folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Only its owner.
    Private,
    /// Everyone to whom the system grants access to new files or folders (through the umask or an
    /// ACL of the folder).
    Usual,
}

/// The default permissions of a new file in a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Usual {
    /// The permissions that the system leaves of mode 0777.
    pub(super) permissions: u16,
    /// The user who owns it.
    owner: u32,
}

/// The identity of a file or folder, independent of its name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Dir {
    /// Opens a folder that the user named. Links in this path are the user's own and are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self(openat(CWD, path, DESTINATION, Mode::empty())?.into()))
    }

    /// Opens a folder in it, unless that is a link.
    pub(super) fn open_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(openat(&self.0, name.as_ref(), flags, Mode::empty())?.into()))
    }

    /// Opens a file in it, unless that is a link, to change its metadata.
    pub(super) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        // Opening a pipe in its place must not wait for a writer.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name.as_ref(), flags, Mode::empty())?.into())
    }

    /// Opens a file of ours in it that nobody else can access, unless that is a link or has another name as well.
    pub(super) fn open_private(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let file = self.open_for_writing(name.as_ref())?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.nlink() == 1 && is_ours_alone(&metadata) {
            Ok(file)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Opens a folder of ours in it that nobody else can access, unless that is a link.
    pub(super) fn open_private_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let folder = self.open_folder(name)?;
        if is_ours_alone(&folder.0.metadata()?) {
            Ok(folder)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Opens a file that we have created in it, even if its permissions forbid writing.
    pub(super) fn reopen_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let name = name.as_ref();
        match self.open_for_writing(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.open_file(name)?.set_permissions(Permissions::from_mode(0o600))?;
                self.open_for_writing(name)
            }
            outcome => outcome,
        }
    }

    fn open_for_writing(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::empty())?.into())
    }

    /// Makes sure that we can change what is in it.
    pub(super) fn make_writable(&self) -> io::Result<()> {
        if self.0.metadata()?.mode() & 0o700 == 0o700 {
            return Ok(());
        }
        self.set_permissions(0o700)
    }

    /// Moves a file of another folder into this one, which nobody else can access; an error if the name exists.
    pub(super) fn take_file(&self, from: &Self, name: &str) -> io::Result<()> {
        if self.is_folder(name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        from.make_writable()?;
        Ok(renameat(&from.0, name, &self.0, name)?)
    }

    /// The size of a file in it, unless that is a link or something else.
    pub(super) fn size_of(&self, name: impl AsRef<OsStr>) -> io::Result<u64> {
        let stat = statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            u64::try_from(stat.st_size).map_err(io::Error::other)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Creates a folder; an error if the name exists.
    pub(super) fn create_folder(&self, name: impl AsRef<OsStr>, access: Access) -> io::Result<()> {
        let mode = if access == Access::Private { 0o700 } else { 0o777 };
        Ok(mkdirat(&self.0, name.as_ref(), Mode::from_raw_mode(mode))?)
    }

    /// Creates a file; an error if the name exists.
    pub(super) fn create_file(&self, name: impl AsRef<OsStr>, access: Access) -> io::Result<File> {
        self.create(name.as_ref(), if access == Access::Private { 0o600 } else { 0o666 })
    }

    /// Creates a symbolic link; an error if the name exists.
    pub(super) fn create_link(&self, target: &str, name: &str) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }

    fn create(&self, name: &OsStr, mode: rustix::fs::RawMode) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// The default permissions here, determined with a file called `name` that is removed at once:
    /// reading the umask would require changing it for all threads of the program.
    pub(super) fn usual(&self, name: impl AsRef<OsStr>) -> io::Result<Usual> {
        let name = name.as_ref();
        let file = self.create(name, 0o777)?;
        let metadata = file.metadata();
        unlinkat(&self.0, name, AtFlags::empty())?;
        let metadata = metadata?;
        let permissions = u16::try_from(metadata.mode() & 0o777).unwrap_or_default();
        Ok(Usual { permissions, owner: metadata.uid() })
    }

    /// Whether its owner also owns the files that are created in it.
    pub(super) fn belongs_to(&self, usual: Usual) -> io::Result<bool> {
        Ok(self.0.metadata()?.uid() == usual.owner)
    }

    /// Whether the name exists, and if so whether it is a folder.
    pub(super) fn is_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Option<bool>> {
        Ok(self.kind_of(name.as_ref())?.map(|kind| kind == FileType::Directory))
    }

    fn kind_of(&self, name: &OsStr) -> io::Result<Option<FileType>> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the name still refers to this file or folder.
    pub(super) fn has(&self, name: impl AsRef<OsStr>, identity: Identity) -> bool {
        self.identity_of(name).is_ok_and(|found| found == identity)
    }

    /// The identity of the file, folder or link with this name.
    pub(super) fn identity_of(&self, name: impl AsRef<OsStr>) -> io::Result<Identity> {
        let stat = statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)?;
        // The types of these numbers differ between systems.
        #[allow(clippy::useless_conversion, trivial_numeric_casts, reason = "so they do here")]
        let device = u64::try_from(stat.st_dev).map_err(io::Error::other)?;
        #[allow(clippy::useless_conversion, trivial_numeric_casts, reason = "so they do here")]
        let inode = u64::from(stat.st_ino);
        Ok(Identity { device, inode })
    }

    /// The identity of this folder.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.0)
    }

    /// Renames, replacing an existing file.
    pub(super) fn replace(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Renames, unless the new name exists.
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            // Some file systems cannot do that atomically.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link_new(from, to),
            outcome => Ok(outcome?),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.link_new(from, to)
    }

    /// Adds a hard link with the new name and removes the old one, which never replaces anything.
    /// Folders, and files on systems without hard links, are renamed after a check.
    fn link_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match linkat(&self.0, from, &self.0, to, AtFlags::empty()) {
            Ok(()) => Ok(unlinkat(&self.0, from, AtFlags::empty())?),
            Err(Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) if self.is_folder(to)?.is_some() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => self.replace(from, to),
        }
    }

    /// Removes a file.
    pub(super) fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.0, name.as_ref(), AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.0, name.as_ref(), AtFlags::REMOVEDIR)?)
    }

    /// Removes everything in it, including the contents of read-only folders.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.clear_down_to(MAX_DEPTH)
    }

    fn clear_down_to(&self, depth: u32) -> io::Result<()> {
        // If this fails, the next step reports the error.
        let _closed = self.0.set_permissions(Permissions::from_mode(0o700));
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match unlinkat(&self.0, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) if depth > 0 => {
                    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let inner = Self(openat(&self.0, name, flags, Mode::empty())?.into());
                    inner.clear_down_to(depth - 1)?;
                    unlinkat(&self.0, name, AtFlags::REMOVEDIR)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes everything in it that is not wanted. Paths are relative to this folder, with slashes; names that are not UTF-8
    /// have none.
    ///
    /// # Errors
    /// Something cannot be removed or read.
    pub(super) fn retain(&self, is_wanted: &IsWanted<'_>) -> io::Result<()> {
        self.retain_down_to(MAX_DEPTH, "", is_wanted)
    }

    fn retain_down_to(&self, depth: u32, above: &str, is_wanted: &IsWanted<'_>) -> io::Result<()> {
        let mut unwanted = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if matches!(name.as_bytes(), b"." | b"..") {
                continue;
            }
            let path = name.to_str().map(|name| format!("{above}{name}"));
            if !is_wanted(path.as_deref(), self.identity_of(name)?) {
                unwanted.push(name.to_owned());
            } else if depth > 0 && self.is_folder(name)? == Some(true) {
                let path = format!("{above}{}/", name.to_string_lossy());
                self.open_folder(name)?.retain_down_to(depth - 1, &path, is_wanted)?;
            }
        }
        if unwanted.is_empty() { Ok(()) } else { self.remove_all(&unwanted) }
    }

    /// Removes files and folders in it. Its permissions and its time stay as they are.
    fn remove_all(&self, names: &[OsString]) -> io::Result<()> {
        let metadata = self.0.metadata()?;
        self.make_writable()?;
        for name in names {
            if self.is_folder(name)? == Some(true) {
                self.open_folder(name)?.clear()?;
                self.remove_folder(name)?;
            } else {
                self.remove_file(name)?;
            }
        }
        self.0.set_permissions(metadata.permissions())?;
        self.set_modified(metadata.modified()?)
    }

    /// Waits until everything in it would survive a power failure; `files` is the approximate
    /// number of files. Files that cannot be flushed are recorded in `loss`, for which `path` is
    /// the folder's path.
    ///
    /// # Errors
    /// Flushing failed, or the file system does not support it.
    pub(super) fn flush_contents(
        &self,
        files: u64,
        path: &Path,
        loss: &mut Loss,
    ) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if files > MANY {
            // Flushing the whole file system costs less than flushing each of many files.
            return Ok(rustix::fs::syncfs(&self.0)?);
        }
        let _also_few = files;
        self.flush_down_to(MAX_DEPTH, path, loss)
    }

    fn flush_down_to(&self, depth: u32, path: &Path, loss: &mut Loss) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if matches!(name.as_bytes(), b"." | b"..") {
                continue;
            }
            let path = path.join(name);
            let kind = self.kind_of(name)?;
            if kind == Some(FileType::Symlink) {
                // It is a part of the folder.
                continue;
            }
            if kind != Some(FileType::Directory) {
                // Its permissions may prevent opening it: this is recorded, and the others are
                // flushed.
                loss.flush(&path, self.open_file(name).and_then(|file| file.sync_all()))?;
            } else if depth > 0 {
                self.open_folder(name)?.flush_down_to(depth - 1, &path, loss)?;
            }
        }
        self.0.sync_all()
    }

    /// Waits until the names in it would survive a power failure.
    ///
    /// # Errors
    /// Flushing failed or is not supported, or the folder is not readable.
    pub(super) fn flush_names(&self) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        File::from(openat(&self.0, ".", flags, Mode::empty())?).sync_all()
    }

    /// Free bytes here; `None` if the system does not report them.
    pub(super) fn free_space(&self) -> Option<u64> {
        let system = fstatvfs(&self.0).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }

    /// Sets its permissions, keeping the bits inherited from the parent folder.
    pub(super) fn set_permissions(&self, permissions: u16) -> io::Result<()> {
        let handed_down = self.0.metadata()?.mode() & SET_GROUP;
        self.0.set_permissions(Permissions::from_mode(handed_down | u32::from(permissions)))
    }

    /// Sets its modification time.
    pub(super) fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.0.set_times(FileTimes::new().set_modified(modified))
    }
}

impl Identity {
    /// The metadata of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// The numbers of its device and on it.
    pub(super) const fn numbers(self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// Says for a path and an identity whether to keep it.
type IsWanted<'a> = dyn Fn(Option<&str>, Identity) -> bool + 'a;

/// Whether something belongs to us, and nobody else may access it.
fn is_ours_alone(metadata: &std::fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0
}

/// Sets the permissions of a file, the lowest 9 bits of a mode.
pub(super) fn set_permissions(file: &File, permissions: u16) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(u32::from(permissions & 0o777)))
}

/// Whether a file created as private is private: some file systems have one mode for all files.
pub(super) fn is_private(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.mode() & 0o777 == 0o600)
}

/// The access mode for opening the destination. It need not be readable for creating files in it.
const DESTINATION: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(REACH);

#[cfg(any(target_os = "linux", target_os = "android"))]
const REACH: OFlags = OFlags::PATH;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const REACH: OFlags = OFlags::empty();

/// `S_ISGID` on a folder: new files in it belong to its group.
const SET_GROUP: u32 = 0o2000;

/// Above this number of files, the whole file system is flushed at once.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MANY: u64 = 200;

/// Maximum depth of folders that are removed: more than are ever created.
const MAX_DEPTH: u32 = 256;
