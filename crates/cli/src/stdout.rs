//! Writes received data to standard output, and reports every error.
//!
//! Rust's own standard output ignores errors of a descriptor that cannot be written.

use std::io::{self, Write};

/// Standard output without a buffer, for data that is confirmed to its sender once
/// [`Write::flush`] has succeeded. It is opened when it is first written to.
#[derive(Debug, Default)]
pub(crate) struct DataOutput(Option<Inner>);

#[cfg(unix)]
type Inner = std::fs::File;
#[cfg(not(unix))]
type Inner = io::Stdout;

impl DataOutput {
    /// Checks that standard output is open for writing.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check() -> io::Result<()> {
        open().map(drop)
    }

    /// Writes everything, and flushes it to the disk if standard output is a file.
    ///
    /// # Errors
    /// Something could not be written.
    pub(crate) fn write_and_flush(bytes: &[u8]) -> io::Result<()> {
        let mut output = Self::default();
        output.write_all(bytes)?;
        output.flush()
    }

    fn opened(&mut self) -> io::Result<&mut Inner> {
        match &mut self.0 {
            Some(inner) => Ok(inner),
            unopened => Ok(unopened.insert(open()?)),
        }
    }
}

impl Write for DataOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.opened()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let inner = self.opened()?;
        inner.flush()?;
        sync(inner)
    }
}

#[cfg(unix)]
fn open() -> io::Result<Inner> {
    use std::os::fd::AsFd as _;

    use rustix::fs::{OFlags, fcntl_getfl};

    let stdout = io::stdout();
    let mode = fcntl_getfl(stdout.as_fd())? & OFlags::ACCMODE;
    if mode == OFlags::RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    if mode == OFlags::RDWR && is_null_device(stdout.as_fd()) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(stdout.as_fd().try_clone_to_owned()?.into())
}

/// Whether this is `/dev/null`. If standard output is closed when a program starts (`>&-`), Rust opens
/// the null device in its place, for reading and writing. A shell's `> /dev/null` is for writing only.
#[cfg(unix)]
fn is_null_device(output: std::os::fd::BorrowedFd<'_>) -> bool {
    let Ok(output) = rustix::fs::fstat(output) else { return false };
    rustix::fs::stat("/dev/null").is_ok_and(|null| null.st_rdev == output.st_rdev)
}

#[cfg(not(unix))]
fn open() -> io::Result<Inner> {
    Ok(io::stdout())
}

/// A file on another computer or on a full disk may fail only now.
#[cfg(unix)]
fn sync(file: &Inner) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, Unsupported};

    if !file.metadata()?.is_file() {
        return Ok(());
    }
    match file.sync_all() {
        Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(not(unix))]
fn sync(_: &Inner) -> io::Result<()> {
    Ok(())
}
