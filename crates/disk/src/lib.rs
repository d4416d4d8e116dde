//! How the SDK, the node and the server keep their own data on a disk: files and directories that only
//! their owner may read, and files that are replaced completely or not at all.
//!
//! It does not know what the files contain, and it does not touch files that users send or receive: those get
//! the permissions of the umask.
//!
//! ```
//! use std::io::Write as _;
//! use wormhole_disk::private;
//!
//! # fn main() -> std::io::Result<()> {
//! # let parent = std::env::temp_dir().join(format!("wormhole-{}-disk-example", std::process::id()));
//! let folder = parent.join("profile");
//! private::create_directory(&folder)?;
//! private::replace(&folder.join("settings"), |file| file.write_all(b"one"))?;
//! private::replace(&folder.join("settings"), |file| file.write_all(b"two"))?;
//! assert_eq!(std::fs::read(folder.join("settings"))?, b"two");
//! # std::fs::remove_dir_all(&parent)
//! # }
//! ```

pub mod durable;
pub mod private;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The path with a suffix added to its name: `data` with `.part` is `data.part`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
