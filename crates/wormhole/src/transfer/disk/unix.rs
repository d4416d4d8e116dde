//! Open folders (Unix): each step goes through the descriptor of the folder above it and follows no
//! link, so nobody who may write in one of them can lead us elsewhere.
//!
//! Names are single components; whoever calls has checked that.

use std::ffi::OsStr;
use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, fstatvfs, linkat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::loss::Loss;

/// A folder that stays the same one, wherever it is moved and whatever takes its place.
#[derive(Debug)]
pub(super) struct Dir(File);

/// Who may use what is created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Its owner alone.
    Private,
    /// Whoever the system lets use every new file or folder (the umask, or an ACL of the folder).
    Usual,
}

/// What a new file gets in a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Usual {
    /// What the system leaves of mode 0777.
    pub(super) permissions: u16,
    /// The user it belongs to.
    owner: u32,
}

/// Which file or folder it is, whatever it is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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

    /// Opens a file in it, unless that is a link, to change what is known about it.
    pub(super) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        // A pipe in its place would keep us waiting for its other end.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name.as_ref(), flags, Mode::empty())?.into())
    }

    /// Creates a folder where there is nothing.
    pub(super) fn create_folder(&self, name: impl AsRef<OsStr>, access: Access) -> io::Result<()> {
        let mode = if access == Access::Private { 0o700 } else { 0o777 };
        Ok(mkdirat(&self.0, name.as_ref(), Mode::from_raw_mode(mode))?)
    }

    /// Creates a file where there is nothing.
    pub(super) fn create_file(&self, name: impl AsRef<OsStr>, access: Access) -> io::Result<File> {
        self.create(name.as_ref(), if access == Access::Private { 0o600 } else { 0o666 })
    }

    fn create(&self, name: &OsStr, mode: rustix::fs::RawMode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// What new files get here. It is found out with a file called `name` that is removed at once:
    /// to ask for the umask means to change it, for every thread of the program.
    pub(super) fn usual(&self, name: impl AsRef<OsStr>) -> io::Result<Usual> {
        let name = name.as_ref();
        let file = self.create(name, 0o777)?;
        let metadata = file.metadata();
        unlinkat(&self.0, name, AtFlags::empty())?;
        let metadata = metadata?;
        let permissions = u16::try_from(metadata.mode() & 0o777).unwrap_or_default();
        Ok(Usual { permissions, owner: metadata.uid() })
    }

    /// Whether it belongs to whoever owns the files that are created in it.
    pub(super) fn belongs_to(&self, usual: Usual) -> io::Result<bool> {
        Ok(self.0.metadata()?.uid() == usual.owner)
    }

    /// Whether there is something of that name, and if so whether it is a folder.
    pub(super) fn is_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Option<bool>> {
        match statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
                Ok(Some(kind == rustix::fs::FileType::Directory))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the name still refers to this file or folder.
    pub(super) fn has(&self, name: impl AsRef<OsStr>, identity: Identity) -> bool {
        // The types of these numbers differ between systems.
        #[allow(clippy::useless_conversion, trivial_numeric_casts, reason = "so they do here")]
        statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            u64::try_from(stat.st_dev) == Ok(identity.device)
                && u64::from(stat.st_ino) == identity.inode
        })
    }

    /// Which folder this is.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.0)
    }

    /// Renames, and replaces a file that has the new name.
    pub(super) fn replace(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Renames if nothing has the new name.
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            // Some file systems cannot do that in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link_new(from, to),
            outcome => Ok(outcome?),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.link_new(from, to)
    }

    /// Gives a file a second name and takes the first one: that never replaces anything. Folders, and
    /// files where there are no such links, are renamed after a look.
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

    /// Removes everything in it, also from folders that have been closed for writing.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.clear_down_to(MAX_DEPTH)
    }

    fn clear_down_to(&self, depth: u32) -> io::Result<()> {
        // If that is not allowed, the next step says so.
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

    /// Waits until everything in it would survive a loss of power; `files` says about how many files
    /// that are. What cannot be flushed is noted in `loss`; the folder's `path` is for that.
    ///
    /// # Errors
    /// It cannot be written, or the file system cannot be told.
    pub(super) fn flush_contents(
        &self,
        files: u64,
        path: &Path,
        loss: &mut Loss,
    ) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if files > MANY {
            // To write all that the file system holds back costs less than to ask for each file.
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
            if self.is_folder(name)? != Some(true) {
                // Its permissions may forbid us to open it: that is noted, and the others are flushed.
                loss.flush(&path, self.open_file(name).and_then(|file| file.sync_all()))?;
            } else if depth > 0 {
                self.open_folder(name)?.flush_down_to(depth - 1, &path, loss)?;
            }
        }
        self.0.sync_all()
    }

    /// Waits until the names in it would survive a loss of power.
    ///
    /// # Errors
    /// It cannot be written, the file system cannot be told, or it is not readable.
    pub(super) fn flush_names(&self) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        File::from(openat(&self.0, ".", flags, Mode::empty())?).sync_all()
    }

    /// Bytes that are free here; `None` if the system does not tell.
    pub(super) fn free_space(&self) -> Option<u64> {
        let system = fstatvfs(&self.0).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }

    /// Sets its permissions, and keeps the bits that the folder above hands down to it.
    pub(super) fn set_permissions(&self, permissions: u16) -> io::Result<()> {
        let handed_down = self.0.metadata()?.mode() & SET_GROUP;
        self.0.set_permissions(Permissions::from_mode(handed_down | u32::from(permissions)))
    }

    /// Sets the time of its last change.
    pub(super) fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.0.set_times(FileTimes::new().set_modified(modified))
    }
}

impl Identity {
    /// Of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Sets the permissions of a file, the lowest 9 bits of a mode.
pub(super) fn set_permissions(file: &File, permissions: u16) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(u32::from(permissions & 0o777)))
}

/// Whether a file that was created private is so: some file systems have one mode for all files.
pub(super) fn is_private(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.mode() & 0o777 == 0o600)
}

/// How the destination is opened. It need not be readable for what is created in it.
const DESTINATION: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(REACH);

#[cfg(any(target_os = "linux", target_os = "android"))]
const REACH: OFlags = OFlags::PATH;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const REACH: OFlags = OFlags::empty();

/// `S_ISGID`: on a folder, what is created in it belongs to its group.
const SET_GROUP: u32 = 0o2000;

/// Files above which the whole file system is written at once.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MANY: u64 = 200;

/// Folders within folders that are removed: more than were ever created.
const MAX_DEPTH: u32 = 256;
