//! Where what is received goes, checked before a code is used: the code would be lost with the first
//! failure.

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
    /// Understands `-o`, or else the configuration.
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

    /// Makes sure that something can be written there.
    ///
    /// # Errors
    /// Whatever is offered could not be written.
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

/// Makes sure that standard output can be written, as far as that is known beforehand.
pub(super) fn check_stdout() -> Result<(), Failure> {
    DataOutput::check().map_err(|error| {
        Failure::new(format!("cannot write to standard output: {}", words(&error)))
    })
}

/// Makes sure that a file can be created in a directory, by creating one.
fn check_directory(directory: &Path) -> Result<(), Failure> {
    let shown = printable::path(directory);
    if !directory.is_dir() {
        return Err(Failure::new(format!("there is no directory '{shown}' to receive into"))
            .hint("make it, or choose another with -o or `download-dir`"));
    }
    try_to_create_in(directory).map_err(|error| {
        Failure::new(format!("cannot write into the directory '{shown}': {}", words(&error)))
            .hint("choose another with -o, or receive only a text with --only-text")
    })
}

/// Creates a file of one byte and removes it: only that shows whether there is permission, and room.
///
/// # Errors
/// What the system says.
pub(crate) fn try_to_create_in(directory: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = directory.join(format!(".wormhole-{}-{}.part", process::id(), now.as_nanos()));
    let mut file = fs::File::create_new(&path)?;
    let written = file.write_all(&[0]).and_then(|()| file.flush());
    drop(file);
    fs::remove_file(&path).and(written)
}

/// Makes sure that a file can get this name.
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

/// That a name is taken, and what can be done about it. A file can be replaced, by a file.
pub(crate) fn exists(target: &Path, can_replace: bool) -> Failure {
    let target = printable::path(target);
    if can_replace {
        Failure::new(format!("refusing to overwrite existing '{target}'"))
            .hint("use --on-exists rename or overwrite, or another name with -o")
    } else {
        Failure::new(format!(
            "refusing to overwrite existing '{target}': folders are never overwritten"
        ))
        .hint("use --on-exists rename, or another name with -o")
    }
}

/// Why a stream that has to wait in a temporary file could not: the receiver's program may be one that
/// takes no streams. `size` is the length of the stream, if that is known.
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

#[cfg(unix)]
fn free_space(directory: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(directory).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

fn ends_with_separator(path: &Path) -> bool {
    let last = path.as_os_str().as_encoded_bytes().last();
    last.is_some_and(|byte| path::is_separator(char::from(*byte)))
}

/// The path from the root, so that whoever reads it finds it from anywhere.
fn whole(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The system's words, as they are said inside of a sentence.
fn words(error: &io::Error) -> String {
    printable::line(&error.to_string().to_lowercase())
}
