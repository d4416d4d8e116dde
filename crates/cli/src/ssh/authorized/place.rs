//! Opens a user's `.ssh/authorized_keys`, for reading and appending.
//!
//! In the home of another user, each step starts at the open directory of the step before and follows no links:
//! that user could link to any file of the system, and we may be root. Our own links are followed, as in sshd.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// A home directory and its owner.
struct Home {
    directory: File,
    uid: u32,
    gid: u32,
    is_foreign: bool,
}

/// Checks that the file can be written, or created if it is missing.
///
/// # Errors
/// It cannot, or it is not a regular file of that user.
pub(super) fn check(home: &Path) -> io::Result<()> {
    let home = Home::open(home)?;
    if home.existing()?.is_some() {
        return Ok(());
    }
    match found(openat(&home.directory, SSH, home.flags(DIRECTORY), Mode::empty()))? {
        Some(directory) => try_to_create_in(&directory),
        None => try_to_create_in(&home.directory),
    }
}

/// Creates a file of one byte and removes it. Nothing else shows whether permissions and space suffice.
fn try_to_create_in(directory: &File) -> io::Result<()> {
    let name = format!(".wormhole-{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file.write_all(&[0]);
    unlinkat(directory, &name, AtFlags::empty())?;
    written
}

/// Opens the file, creating the directory (0700) and the file (0600) if they are missing. Files that root creates in
/// the home of a user belong to that user, because sshd must be able to read them.
///
/// # Errors
/// The file cannot be created or written, or it is not a regular file of that user.
pub(super) fn open_or_create(home: &Path) -> io::Result<File> {
    let home = Home::open(home)?;
    if let Some(file) = home.existing()? {
        return Ok(file);
    }
    let directory = home.make_directory()?;
    let flags = APPEND | OFlags::CREATE | OFlags::EXCL;
    let file = File::from(openat(&directory, FILE, flags, Mode::RUSR | Mode::WUSR)?);
    home.give_to_owner(&file)?;
    // Some file systems do not support this.
    let _unsupported = directory.sync_all().and_then(|()| home.directory.sync_all());
    Ok(file)
}

impl Home {
    fn open(path: &Path) -> io::Result<Self> {
        let directory = File::from(openat(CWD, path, DIRECTORY, Mode::empty())?);
        let metadata = directory.metadata()?;
        Ok(Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            is_foreign: metadata.uid() != geteuid().as_raw(),
            directory,
        })
    }

    fn existing(&self) -> io::Result<Option<File>> {
        let Some(directory) =
            found(openat(&self.directory, SSH, self.flags(DIRECTORY), Mode::empty()))?
        else {
            return Ok(None);
        };
        let Some(file) = found(openat(&directory, FILE, self.flags(APPEND), Mode::empty()))? else {
            return Ok(None);
        };
        self.check(&file).map(|()| Some(file))
    }

    fn make_directory(&self) -> io::Result<File> {
        let is_new = match mkdirat(&self.directory, SSH, Mode::RWXU) {
            Err(Errno::EXIST) => false,
            made => made.map(|()| true)?,
        };
        let flags = self.flags(DIRECTORY);
        let directory = File::from(openat(&self.directory, SSH, flags, Mode::empty())?);
        if is_new {
            self.give_to_owner(&directory)?;
        }
        Ok(directory)
    }

    /// Refuses hard links, which no flag of the system excludes.
    fn check(&self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let is_theirs = metadata.uid() == self.uid && metadata.nlink() == 1;
        if metadata.is_file() && (is_theirs || !self.is_foreign) {
            Ok(())
        } else {
            Err(io::Error::other(
                "it is not a regular file, belongs to another user, or has hard links",
            ))
        }
    }

    fn give_to_owner(&self, made: &File) -> io::Result<()> {
        if self.is_foreign { fchown(made, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }

    fn flags(&self, flags: OFlags) -> OFlags {
        if self.is_foreign { flags | OFlags::NOFOLLOW } else { flags }
    }
}

fn found(opened: rustix::io::Result<OwnedFd>) -> io::Result<Option<File>> {
    match opened {
        Err(Errno::NOENT) => Ok(None),
        opened => Ok(Some(opened?.into())),
    }
}

const SSH: &str = ".ssh";
const FILE: &str = "authorized_keys";

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Without NONBLOCK, opening a pipe would wait for its other end.
const APPEND: OFlags =
    OFlags::RDWR.union(OFlags::APPEND).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
