//! The place for received files, checked before a code is used, because a failed transfer uses up the code.

use std::io::{self, Write as _};
use std::path::{self, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

use crate::args::OnExists;
use crate::config::Config;
use crate::failure::Failure;
use crate::printable;
use crate::stdout::DataOutput;

/// Where a received file goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    /// Into this directory, under the sender's name.
    Into(PathBuf),
    /// To this path, whatever the sender calls it.
    Named(PathBuf),
    /// To standard output.
    Stdout,
}

impl Output {
    /// Reads `-o`, or else the configuration.
    pub(super) fn new(typed: Option<&Path>, config: &Config) -> Self {
        match typed {
            Some(path) if path.as_os_str() == "-" => Self::Stdout,
            Some(path) if path.is_dir() || ends_with_separator(path) => Self::Into(whole(path)),
            Some(path) => Self::Named(whole(path)),
            None => {
                Self::Into(whole(config.download_dir.as_deref().unwrap_or_else(|| Path::new("."))))
            }
        }
    }

    /// Checks that a file can be written there.
    ///
    /// # Errors
    /// No file could be written.
    pub(super) fn check(&self, on_exists: OnExists) -> Result<(), Failure> {
        match self {
            Self::Into(directory) => check_directory(directory),
            Self::Named(path) => {
                if let Some(directory) = path.parent() {
                    check_directory(directory)?;
                }
                check_name(path, on_exists)
            }
            Self::Stdout => Ok(()),
        }
    }
}

/// Checks that standard output is open for writing.
pub(super) fn check_stdout() -> Result<(), Failure> {
    DataOutput::check().map_err(|error| {
        Failure::new(format!("cannot write to standard output: {}", words(&error)))
    })
}

/// Checks that a file can be created in a directory, by creating one.
fn check_directory(directory: &Path) -> Result<(), Failure> {
    let shown = printable::path(directory);
    if !directory.is_dir() {
        return Err(Failure::new(format!("there is no directory '{shown}' to receive into")).hint(
            "create it, or choose another with -o, or with download-dir in the configuration file",
        ));
    }
    try_to_create_in(directory).map_err(|error| {
        Failure::new(format!("cannot write into the directory '{shown}': {}", words(&error)))
            .hint("choose another with -o, or receive only a text with --only-text")
    })
}

/// Creates a file of one byte and removes it. Nothing else shows whether the permissions and the space suffice.
///
/// # Errors
/// The error of the system.
pub(crate) fn try_to_create_in(directory: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = directory.join(format!(".wormhole-{}-{}.part", process::id(), now.as_nanos()));
    let mut file = fs::File::create_new(&path)?;
    let written = file.write_all(&[0]).and_then(|()| file.flush());
    drop(file);
    fs::remove_file(&path).and(written)
}

/// Checks that a file can get this name.
fn check_name(path: &Path, on_exists: OnExists) -> Result<(), Failure> {
    let shown = printable::path(path);
    match path.metadata() {
        Ok(there) if !there.is_file() => {
            Err(Failure::new(format!("'{shown}' exists and is not a file"))
                .hint("to write into a pipe or a device, use `-o - > PATH`"))
        }
        Ok(_) if on_exists == OnExists::Refuse => Err(exists(path, true)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot write '{shown}': {}", words(&error)))),
    }
}

/// The error for a name that exists. `can_replace`: a file could replace it.
pub(crate) fn exists(target: &Path, can_replace: bool) -> Failure {
    let (is_folder, target) = (target.is_dir(), printable::path(target));
    if can_replace {
        Failure::new(format!("refusing to overwrite existing '{target}'"))
            .hint("use --on-exists rename or overwrite, or another name with -o")
    } else {
        let why = if is_folder { "is never replaced" } else { "never replaces a file" };
        Failure::new(format!("refusing to overwrite existing '{target}': a directory {why}"))
            .hint("use --on-exists rename, or another name with -o")
    }
}

/// Why a stream would not fit into a temporary file, which is needed if the receiver's program does not support
/// streams. `size` is the length of the stream, if known.
pub(crate) fn temporary_trouble(size: Option<u64>) -> Option<String> {
    let directory = env::temp_dir();
    let shown = printable::path(&directory);
    if let Err(error) = try_to_create_in(&directory) {
        return Some(format!("cannot write into '{shown}': {}", words(&error)));
    }
    let (size, free) = (size?, free_space(&directory)?);
    (size > free).then(|| {
        let (size, free) = (crate::units::size(size), crate::units::size(free));
        format!("'{shown}' has only {free} free, but the stream has {size}")
    })
}

/// Free bytes on the file system of a directory; `None` if the system does not report them.
#[cfg(unix)]
pub(crate) fn free_space(directory: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(directory).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Free bytes are not reported here.
#[cfg(not(unix))]
pub(crate) fn free_space(_: &Path) -> Option<u64> {
    None
}

fn ends_with_separator(path: &Path) -> bool {
    let last = path.as_os_str().as_encoded_bytes().last();
    last.is_some_and(|byte| path::is_separator(char::from(*byte)))
}

/// The absolute path, for messages.
fn whole(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An error of the system as part of a sentence.
fn words(error: &io::Error) -> String {
    printable::line(&error.to_string().to_lowercase())
}
