//! Private keys as text, one private file each.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use wormhole_disk::private;
use zeroize::Zeroizing;

/// The name of a key or a message store: letters, digits, `-` and `_`. So it is also a safe name of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyName(String);

/// This text cannot be the name of a key or a message store.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a name consists of letters, digits, - and _")]
#[non_exhaustive]
pub struct InvalidKeyName;

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        if text.is_empty() || !text.chars().all(is_allowed) {
            return Err(InvalidKeyName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directory with the keys of one protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFolder {
    directory: PathBuf,
}

impl KeyFolder {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory. It is created with the first key.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The file of a key. It may not exist.
    pub fn file(&self, name: &KeyName) -> PathBuf {
        self.directory.join(format!("{name}.{EXTENSION}"))
    }

    /// Stores a new key. On Unix, only its owner can read the file. When this returns, it is on the disk.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a key with this name: use another name. Otherwise the file cannot be written.
    pub fn create(&self, name: &KeyName, key: &str) -> io::Result<()> {
        private::create_directory(&self.directory)?;
        private::write_new(&self.file(name), key.as_bytes())
    }

    /// The files of all keys, in the order of their names. Files with another ending are ignored.
    ///
    /// # Errors
    /// The directory exists and cannot be read.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let files: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut files = files?;
        files.retain(|path| path.extension() == Some(OsStr::new(EXTENSION)));
        files.sort_unstable_by(|one, two| one.file_stem().cmp(&two.file_stem()));
        Ok(files)
    }
}

/// Reads a key from a file.
///
/// # Errors
/// `NotFound` if there is no such file. Otherwise it cannot be read, or is not UTF-8.
pub fn read_key(file: &Path) -> io::Result<Zeroizing<String>> {
    fs::read_to_string(file).map(Zeroizing::new)
}

/// The ending of the names of key files.
const EXTENSION: &str = "key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_to_another_directory() {
        for name in ["default", "my_key-2", "cl\u{e9}"] {
            assert_eq!(name.parse().map(|name: KeyName| name.to_string()), Ok(name.to_owned()));
        }
        for name in ["", ".", "..", "a/b", "a\\b", "a.key", "a b", "a\0", "C:"] {
            assert_eq!(name.parse::<KeyName>(), Err(InvalidKeyName), "{name:?}");
        }
    }

    #[test]
    fn a_key_is_created_once_and_listed() {
        let directory = std::env::temp_dir().join(format!("wormhole-{}-keys", std::process::id()));
        let keys = KeyFolder::new(directory.join("above/protocol"));
        assert_eq!(keys.files().unwrap(), Vec::<PathBuf>::new());
        let name = |text: &str| text.parse::<KeyName>().unwrap();
        for text in ["b", "a-b", "a"] {
            keys.create(&name(text), text).unwrap();
        }
        let again = keys.create(&name("a"), "other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        fs::write(keys.path().join("notes.txt"), "not a key").unwrap();
        assert_eq!(keys.files().unwrap(), ["a", "a-b", "b"].map(|text| keys.file(&name(text))));
        assert_eq!(*read_key(&keys.file(&name("a"))).unwrap(), "a");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(keys.path()), mode(&keys.file(&name("a")))), (0o700, 0o600));
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
