//! The file of keys that may log in: found, checked for writing, appended to.
//!
//! This is not a parser of that file; only whether a key is already in it is looked up.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::key::PublicKey;
use crate::failure::Failure;

/// One user's `authorized_keys`.
#[derive(Debug)]
pub(crate) struct AuthorizedKeys {
    home: PathBuf,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Added {
    /// It is in the file now.
    Appended,
    /// It was in the file before.
    AlreadyThere,
}

impl AuthorizedKeys {
    /// The file of `user`, or of whoever runs this.
    ///
    /// # Errors
    /// There is no such user here.
    pub(crate) fn of(user: Option<&str>) -> Result<Self> {
        let home = match user {
            None => etcetera::home_dir().ok(),
            Some(user) => home_of(user),
        };
        home.map(|home| Self { home }).ok_or_else(|| {
            let whose = user.map_or_else(|| "your".to_owned(), |user| format!("{user}'s"));
            Failure::new(format!("cannot find {whose} home directory")).into()
        })
    }

    /// Where the file is, or will be.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("authorized_keys")
    }

    /// Makes sure, before anyone is invited, that the key can be written.
    ///
    /// # Errors
    /// The file exists and cannot be written, or its directory cannot be.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let (file, directory) = (self.path(), self.directory());
        let checked = if file.exists() {
            OpenOptions::new().append(true).open(&file).map(drop)
        } else if directory.exists() {
            check_directory(&directory)
        } else {
            check_directory(&self.home)
        };
        checked.with_context(|| format!("cannot write {}", file.display()))
    }

    /// Appends a key, making the directory (0700) and the file (0600) where they are missing.
    ///
    /// # Errors
    /// The key was not added.
    pub(crate) fn add(&self, key: &PublicKey) -> Result<Added> {
        let path = self.path();
        self.append(key).with_context(|| format!("cannot write {}", path.display()))
    }

    fn append(&self, key: &PublicKey) -> io::Result<Added> {
        let directory = self.directory();
        if !directory.exists() {
            create_private_directory(&directory)?;
            self.give_to_owner(&directory)?;
        }
        let path = self.path();
        let present = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let same = |line: &str| PublicKey::parse(line).is_ok_and(|other| other.is_same_key(key));
        if present.lines().any(same) {
            return Ok(Added::AlreadyThere);
        }
        let is_new = !path.exists();
        let mut file = private(OpenOptions::new().append(true).create(true)).open(&path)?;
        if is_new {
            self.give_to_owner(&path)?;
        }
        // A last line without its end would swallow ours.
        let start = if present.is_empty() || present.ends_with('\n') { "" } else { "\n" };
        file.write_all(format!("{start}{key}\n").as_bytes())?;
        Ok(Added::Appended)
    }

    fn directory(&self) -> PathBuf {
        self.home.join(".ssh")
    }

    /// What root makes in another's home belongs to that user, or sshd could not read it.
    #[cfg(unix)]
    fn give_to_owner(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt as _, chown};

        let (home, made) = (fs::metadata(&self.home)?, fs::metadata(path)?);
        if (home.uid(), home.gid()) == (made.uid(), made.gid()) {
            return Ok(());
        }
        chown(path, Some(home.uid()), Some(home.gid()))
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only Unix has owners")]
    fn give_to_owner(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

fn check_directory(directory: &Path) -> io::Result<()> {
    let metadata = fs::metadata(directory)?;
    if metadata.permissions().readonly() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fs::read_dir(directory).map(drop)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;

    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn create_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// The home of a user by name, from the list of accounts.
#[cfg(unix)]
fn home_of(user: &str) -> Option<PathBuf> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    home_in(&accounts, user).or_else(|| {
        // Accounts of a directory service are not in the file.
        let found = std::process::Command::new("getent").args(["passwd", user]).output().ok()?;
        home_in(&String::from_utf8_lossy(&found.stdout), user)
    })
}

#[cfg(not(unix))]
fn home_of(_user: &str) -> Option<PathBuf> {
    None
}

/// The sixth field of the account called `user` (passwd(5)).
#[cfg(unix)]
fn home_in(accounts: &str, user: &str) -> Option<PathBuf> {
    let mut fields = accounts.lines().map(|line| line.split(':'));
    let mut account = fields.find_map(|mut line| (line.next() == Some(user)).then_some(line))?;
    account.nth(4).map(PathBuf::from)
}

#[cfg(test)]
mod tests;
