//! Prints results on standard output and errors on standard error. `logging` writes the log.

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
    let error = without_error_numbers(error);
    let _unwritable = writeln!(io::stderr().lock(), "wormhole-server: error: {error}");
}

/// Removes the numbers that Rust adds to errors of the system, such as ` (os error 2)`.
fn without_error_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_of_the_system_are_not_shown() {
        let texts = [
            ("cannot read x: No such file (os error 2)", "cannot read x: No such file"),
            ("a (os error 2): b (os error 13)", "a: b"),
            ("nothing to serve", "nothing to serve"),
        ];
        for (text, shown) in texts {
            assert_eq!(without_error_numbers(text), shown);
        }
    }
}
