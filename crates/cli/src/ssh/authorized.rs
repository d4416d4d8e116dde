//! Adds keys to a user's `authorized_keys`.
//!
//! Reads the file only to find out whether a key is in it already.

#[cfg(unix)]
mod place;
#[cfg(not(unix))]
#[path = "authorized/portable.rs"]
mod place;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::key::PublicKey;
use crate::failure::Failure;
use crate::printable;

/// One user's `authorized_keys`.
#[derive(Debug)]
pub(crate) struct AuthorizedKeys {
    home: PathBuf,
}

/// The result of adding a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Added {
    /// The key was added.
    Appended,
    /// The key was in the file before.
    AlreadyThere,
}

impl AuthorizedKeys {
    /// The file of `user`, or of the present user.
    ///
    /// # Errors
    /// There is no such user.
    pub(crate) fn of(user: Option<&str>) -> Result<Self> {
        let home = match user {
            None => etcetera::home_dir().ok(),
            Some(user) => home_of(user),
        };
        home.map(|home| Self { home }).ok_or_else(|| {
            let why = match user {
                None => "cannot find your home directory: set HOME".to_owned(),
                Some(user) => format!(
                    "there is no user '{}' on this computer, or the user has no home directory",
                    printable::line(user)
                ),
            };
            Failure::new(why).into()
        })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("authorized_keys")
    }

    /// Checks, before anyone is invited, that the key can be written: opens the file, or creates and removes another
    /// one in its place.
    ///
    /// # Errors
    /// The file or its directory cannot be written.
    pub(crate) fn check_writable(&self) -> Result<()> {
        place::check(&self.home).with_context(|| format!("cannot write {}", self.path().display()))
    }

    /// Appends a key, creating the directory (0700) and the file (0600) if they are missing.
    ///
    /// # Errors
    /// The key was not added.
    pub(crate) fn add(&self, key: &PublicKey) -> Result<Added> {
        let path = self.path();
        self.append(key).with_context(|| format!("cannot write {}", path.display()))
    }

    fn append(&self, key: &PublicKey) -> io::Result<Added> {
        let mut file = place::open_or_create(&self.home)?;
        let mut present = Vec::new();
        let length = u64::try_from(file.read_to_end(&mut present)?).unwrap_or(u64::MAX);
        let present = String::from_utf8_lossy(&present);
        let same = |line: &str| PublicKey::parse(line).is_ok_and(|other| other.is_same_key(key));
        if present.lines().any(same) {
            return Ok(Added::AlreadyThere);
        }
        // Otherwise our key would become part of a last line without its end.
        let start = if present.is_empty() || present.ends_with('\n') { "" } else { "\n" };
        let line = format!("{start}{key}\n");
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
            // The next key must not become part of an incomplete line. If this fails, too, nothing helps.
            let _left = file.set_len(length);
        })?;
        Ok(Added::Appended)
    }

    fn directory(&self) -> PathBuf {
        self.home.join(".ssh")
    }
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
