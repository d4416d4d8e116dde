//! Prints results on standard output and errors on standard error. Log lines are written by `logging`.

use std::io::{self, Write as _};

use crate::ServerError;

/// Prints a result on standard output. If the reader has closed it, that is success: `config | head`.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn print(text: &str) -> Result<(), ServerError> {
    let mut output = io::stdout().lock();
    checked(output.write_all(text.as_bytes()).and_then(|()| output.flush()))
}

/// Prints an error on standard error. Ignores a standard error that cannot be written.
pub(crate) fn print_error(error: &str) {
    let _unwritable = writeln!(io::stderr().lock(), "wormhole-server: error: {error}");
}

/// The result of writing to standard output.
pub(crate) fn checked(written: io::Result<()>) -> Result<(), ServerError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ServerError::Output(error.to_string()))
        }
        _ => Ok(()),
    }
}
