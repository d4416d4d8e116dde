//! Lists what interrupted transfers have left, and removes what is old.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::dir::Dir;
#[cfg(unix)]
use super::resume::{Found, journal_name, remove_orphan};

/// What an interrupted transfer has left in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Leftover {
    /// The incomplete file or folder.
    pub path: PathBuf,
    /// When something was received last.
    pub modified: SystemTime,
}

/// Lists what interrupted transfers have left in a folder, and removes what is older than a week.
///
/// ```no_run
/// for leftover in wormhole::transfer::leftovers("downloads".as_ref()) {
///     println!("{} can be continued", leftover.path.display());
/// }
/// ```
pub fn leftovers(folder: &Path) -> Vec<Leftover> {
    let Ok(dir) = Dir::open(folder) else { return Vec::new() };
    let listing =
        std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let names = listing.into_iter().flatten().flatten().map(|entry| entry.file_name());
    let parts = names.filter_map(|name| {
        let name = name.to_str()?.strip_suffix(".part.resume")?.to_owned();
        Some(OsString::from(name + ".part"))
    });
    parts.take(MAX_LISTED).filter_map(|name| leftover(&dir, folder, name)).collect()
}

#[cfg(unix)]
fn leftover(dir: &Dir, folder: &Path, name: OsString) -> Option<Leftover> {
    let Some(is_folder) = dir.is_folder(&name).ok()? else {
        remove_orphan(dir, &journal_name(&name)?);
        return None;
    };
    // One that is locked is in use.
    let found = Found::open(dir, name, is_folder)?;
    if found.is_expired() {
        found.remove(dir);
        return None;
    }
    Some(Leftover { path: folder.join(&found.name), modified: found.modified })
}

#[cfg(not(unix))]
const fn leftover(_: &Dir, _: &Path, _: OsString) -> Option<Leftover> {
    None
}

/// Maximum number of journals in a folder to look at.
const MAX_LISTED: usize = 1000;
