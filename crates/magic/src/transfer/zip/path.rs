//! Paths inside a zip, checked before anything is created.

use std::fmt;

use super::super::name::{PeerName, check};

/// A relative path inside the unpacked directory: components joined by `/`, none of which leads outside. Displayed
/// escaped.
///
/// Control characters are allowed where a file system supports them (macOS itself uses one in the names of folder
/// icons); they are only dangerous when a name is displayed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ZipPath(String);

impl ZipPath {
    /// Checks a path of a zip entry. A trailing `/`, the mark of a folder, is removed.
    ///
    /// # Errors
    /// The path is absolute, leads upwards, is empty, too long, too deep, or not allowed on this system. The error
    /// contains the path.
    pub fn parse(path: &str) -> Result<Self, UnsafePath> {
        let refused = || UnsafePath(PeerName::new(path));
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        if trimmed.len() > MAX_PATH || trimmed.split('/').count() > MAX_DEPTH {
            return Err(refused());
        }
        for component in trimmed.split('/') {
            check(component, cfg!(windows)).map_err(|_| refused())?;
        }
        Ok(Self(trimmed.to_owned()))
    }

    /// The path, components joined by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for ZipPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PeerName::new(&self.0).fmt(f)
    }
}

/// A path that must not be created.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a file may not be called '{0}'")]
pub struct UnsafePath(pub PeerName);

/// Maximum size of a path in bytes: the limit of most systems.
pub const MAX_PATH: usize = 4096;

/// Maximum number of components. Removing a tree needs an open folder for each.
const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_kept_and_folders_lose_their_mark() {
        for path in ["a", "a/b c/é", "-x", "..a/b..", ".hidden/.x"] {
            assert_eq!(ZipPath::parse(path).unwrap().as_str(), path);
        }
        assert_eq!(ZipPath::parse("sub/empty/").unwrap().as_str(), "sub/empty");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = "x/".repeat(2049);
        for path in
            ["", "/", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", &long]
        {
            assert!(ZipPath::parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_path_may_be_128_deep() {
        assert!(ZipPath::parse(&"x/".repeat(128)).is_ok());
        assert!(ZipPath::parse(&"x/".repeat(129)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_only_windows_dislikes_is_kept_elsewhere() {
        for path in ["a\\b", "c:x", "con", "Icon\r"] {
            assert!(ZipPath::parse(path).is_ok(), "{path:?}");
        }
    }
}
