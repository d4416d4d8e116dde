//! Checks standard input before it is read.
//!
//! Rust treats a descriptor that cannot be read as the end of the input, so an empty stream would be sent without an
//! error.

use crate::failure::Failure;

/// Checks that standard input can be read.
///
/// # Errors
/// It is a directory, or open for writing only.
#[cfg(unix)]
pub(crate) fn check() -> Result<(), Failure> {
    use std::io;

    use rustix::fs::{OFlags, fcntl_getfl};

    let input = io::stdin();
    let refused = |why: &str| Err(Failure::new(format!("cannot read standard input: {why}")));
    if fcntl_getfl(&input).is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::WRONLY) {
        return refused("it is open for writing only");
    }
    if metadata().is_some_and(|metadata| metadata.is_dir()) {
        return refused("it is a directory");
    }
    Ok(())
}

/// Checks nothing on this system; reading shows whether standard input can be read.
///
/// # Errors
/// Never here.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "other systems may refuse")]
pub(crate) fn check() -> Result<(), Failure> {
    Ok(())
}

/// Length of standard input in bytes, if it is a file.
pub(crate) fn length() -> Option<u64> {
    metadata().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

#[cfg(unix)]
fn metadata() -> Option<std::fs::Metadata> {
    use std::os::fd::AsFd as _;

    let file = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    std::fs::File::from(file).metadata().ok()
}

#[cfg(not(unix))]
fn metadata() -> Option<std::fs::Metadata> {
    None
}
