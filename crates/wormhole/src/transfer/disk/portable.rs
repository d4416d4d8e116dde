//! Folders by path, for systems without folder descriptors.
//!
//! Another user who may write in the destination could replace our files with links; SECURITY.md
//! documents this. The only permission here is whether a file is read-only.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::loss::Loss;

/// A folder.
#[derive(Debug)]
pub(super) struct Dir(PathBuf);

/// Permissions of a new file or folder: here the parent folder decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Only its owner.
    Private,
    /// Everyone to whom the system grants access to new files or folders.
    Usual,
}

/// The default permissions of a new file in a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Usual {
    /// The permissions left of mode 0777: all, because the system has no modes.
    pub(super) permissions: u16,
}

/// The identity of a file or folder: not known here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Identity;

impl Dir {
    /// Opens a folder that the user named.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Self(path.to_owned()).checked()
    }

    /// Opens a folder in it, unless that is a link.
    pub(super) fn open_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let folder = Self(self.at(name));
        if fs::symlink_metadata(&folder.0)?.is_symlink() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        folder.checked()
    }

    fn checked(self) -> io::Result<Self> {
        if fs::metadata(&self.0)?.is_dir() {
            Ok(self)
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// Opens a file in it, to change its metadata.
    pub(super) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        File::options().write(true).open(self.at(name))
    }

    /// Opens a file that we have created in it.
    pub(super) fn reopen_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        File::options().read(true).write(true).open(self.at(name))
    }

    /// Makes sure that we can change what is in it: here that is always so.
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "other systems have permissions"
    )]
    pub(super) const fn make_writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Moves a file of another folder into this one; an error if the name exists.
    pub(super) fn take_file(&self, from: &Self, name: &str) -> io::Result<()> {
        if self.is_folder(name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from.at(name), self.at(name))
    }

    /// Creates a folder; an error if the name exists.
    pub(super) fn create_folder(&self, name: impl AsRef<OsStr>, _: Access) -> io::Result<()> {
        fs::create_dir(self.at(name))
    }

    /// Creates a file; an error if the name exists.
    pub(super) fn create_file(&self, name: impl AsRef<OsStr>, _: Access) -> io::Result<File> {
        File::create_new(self.at(name))
    }

    /// Links need a special permission here, and are not announced.
    #[expect(clippy::unused_self, reason = "other systems create them")]
    pub(super) fn create_link(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The default permissions here; also checks that a file called `name` could be created and
    /// does not exist.
    pub(super) fn usual(&self, name: impl AsRef<OsStr>) -> io::Result<Usual> {
        let path = self.at(name);
        drop(File::create_new(&path)?);
        fs::remove_file(path)?;
        Ok(Usual { permissions: 0o777 })
    }

    /// Whether its owner also owns the files that are created in it.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "other systems know")]
    pub(super) const fn belongs_to(&self, _: Usual) -> io::Result<bool> {
        Ok(true)
    }

    /// Does nothing: here, nothing of an earlier attempt is continued.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems need them")]
    pub(super) fn retain(&self, _: &dyn Fn(Option<&str>, Identity) -> bool) -> io::Result<()> {
        Ok(())
    }

    /// Whether the name exists, and if so whether it is a folder.
    pub(super) fn is_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Option<bool>> {
        match fs::symlink_metadata(self.at(name)) {
            Ok(metadata) => Ok(Some(metadata.is_dir())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the name exists; the identity is not known here.
    pub(super) fn has(&self, name: impl AsRef<OsStr>, _: Identity) -> bool {
        fs::symlink_metadata(self.at(name)).is_ok()
    }

    /// Not known here.
    #[expect(clippy::unused_self, reason = "other systems know")]
    pub(super) fn identity_of(&self, _: impl AsRef<OsStr>) -> io::Result<Identity> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The identity of this folder.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "other systems know")]
    pub(super) const fn identity(&self) -> io::Result<Identity> {
        Ok(Identity)
    }

    /// Renames, replacing an existing file.
    pub(super) fn replace(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    /// Renames, unless the new name exists.
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match self.is_folder(to)? {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => self.replace(from, to),
        }
    }

    /// Removes a file.
    pub(super) fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::remove_dir(self.at(name))
    }

    /// Removes everything in it.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Waits until the files in it would survive a power failure. Files that cannot be flushed are
    /// recorded in `loss`, for which `path` is the folder's path.
    pub(super) fn flush_contents(
        &self,
        files: u64,
        path: &Path,
        loss: &mut Loss,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let path = path.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                Self(entry.path()).flush_contents(files, &path, loss)?;
                continue;
            }
            match File::options().write(true).open(entry.path()) {
                Ok(file) => loss.flush(&path, file.sync_all())?,
                // A read-only file cannot be opened for flushing: that is ordinary here.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Folders are not flushed here.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "other systems do it")]
    pub(super) const fn flush_names(&self) -> io::Result<()> {
        Ok(())
    }

    /// Not known here: a write fails when the disk is full.
    #[expect(clippy::unused_self, reason = "other systems ask")]
    pub(super) const fn free_space(&self) -> Option<u64> {
        None
    }

    /// Folders have no permissions here.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "other systems have them")]
    pub(super) const fn set_permissions(&self, _: u16) -> io::Result<()> {
        Ok(())
    }

    /// A folder cannot be opened on every system, so a missing time is not recorded.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "other systems do it")]
    pub(super) const fn set_modified(&self, _: SystemTime) -> io::Result<()> {
        Ok(())
    }

    fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.join(name.as_ref())
    }
}

impl Identity {
    /// The metadata of an open file.
    #[expect(clippy::unnecessary_wraps, reason = "other systems know")]
    pub(super) const fn of(_: &File) -> io::Result<Self> {
        Ok(Self)
    }
}

/// Sets whether a file is read-only, from Unix permissions.
pub(super) fn set_permissions(file: &File, permissions: u16) -> io::Result<()> {
    let mut current = file.metadata()?.permissions();
    let readonly = permissions & 0o200 == 0;
    if current.readonly() == readonly {
        return Ok(());
    }
    current.set_readonly(readonly);
    file.set_permissions(current)
}

/// Whether a file has permissions to set at the end.
pub(super) const fn is_private(_: &File) -> bool {
    false
}
