//! Errors of commands: a message, a hint and an exit status.
//!
//! `explain.rs` makes them for transfers.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// An error with a message, a hint and an exit status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    exit: u8,
    is_expected: bool,
}

impl Failure {
    /// A failure; exit status 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: FAILED, is_expected: false }
    }

    /// Wrong usage; exit status 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: USAGE, is_expected: false }
    }

    /// A signal; exit status 128 + `number`, as in a shell.
    pub(crate) fn signal(message: impl Into<String>, number: u8) -> Self {
        Self { message: message.into(), hint: None, exit: 128 + number, is_expected: false }
    }

    /// Shows no message to people, who expect the error. Programs and the shell get it.
    fn silent(mut self) -> Self {
        self.is_expected = true;
        self
    }

    /// The reader of our output has closed it: no message, but a failure.
    pub(crate) fn closed_pipe() -> Self {
        Self::new("the reader of standard output has closed it before the end").silent()
    }

    /// Makes a transfer fail that ended because the reader of our output has closed it.
    pub(crate) fn closed_output(error: anyhow::Error) -> anyhow::Error {
        if is_broken_pipe(&error) { Self::closed_pipe().into() } else { error }
    }

    /// For commands that Ctrl-C normally ends: no message after it.
    pub(crate) fn expect_interrupt(error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<Self>() {
            Ok(failure) => Self { is_expected: failure.exit == INTERRUPTED, ..failure }.into(),
            Err(error) => error,
        }
    }

    /// The hint: what the user can do.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Adds a hint: what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The printed error, and the exit status.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct ErrorReport {
    /// The message; `None` if it is not shown.
    pub(crate) message: Option<String>,
    /// A hint for the user: what to do now.
    pub(crate) hint: Option<String>,
    /// Exit status.
    pub(crate) exit: u8,
    /// Whether only programs get the message.
    pub(crate) is_expected: bool,
}

impl ErrorReport {
    /// Reports an error. A closed pipe is success: its reader needs no more.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if is_broken_pipe(error) {
            return Self { message: None, hint: None, exit: 0, is_expected: true };
        }
        let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
        Self {
            message: Some(plain(&format!("{error:#}"))),
            hint: failure.and_then(|failure| failure.hint.clone()),
            exit: failure.map_or(FAILED, |failure| failure.exit),
            is_expected: failure.is_some_and(|failure| failure.is_expected),
        }
    }

    /// The exit status for `main`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

/// The message without the number of a system error.
fn plain(message: &str) -> String {
    match message.split_once(" (os error ") {
        Some((before, number)) => {
            let after = number.split_once(')').map_or("", |(_, after)| after);
            format!("{before}{after}")
        }
        None => message.to_owned(),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Exit status after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Exit status of a failure.
const FAILED: u8 = 1;

/// Exit status of wrong usage.
const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_failure_keeps_its_hint_and_exit_code_under_more_context() {
        let error = anyhow::Error::from(Failure::usage("no such thing").hint("try another"))
            .context("cannot start");
        let report = ErrorReport::of(&error);
        assert_eq!(report.message.as_deref(), Some("cannot start: no such thing"));
        assert_eq!(report.hint.as_deref(), Some("try another"));
        assert_eq!(report.exit, 2);
    }

    #[test]
    fn any_other_error_exits_with_1() {
        assert_eq!(ErrorReport::of(&anyhow::anyhow!("oh")).exit, 1);
    }

    #[test]
    fn a_closed_pipe_is_success() {
        let error = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe))
            .context("cannot write")
            .unwrap_err();
        assert_eq!(ErrorReport::of(&error).exit, 0);
        assert_eq!(ErrorReport::of(&error).message, None);
    }

    #[test]
    fn numbers_of_system_errors_are_left_out() {
        assert_eq!(
            plain("cannot read x: no such file (os error 2)"),
            "cannot read x: no such file"
        );
    }

    #[test]
    fn an_interrupt_exits_as_the_shell_expects() {
        assert_eq!(ErrorReport::of(&Failure::signal("interrupted", 2).into()).exit, 130);
    }

    #[test]
    fn an_expected_interrupt_shows_no_message() {
        let report = |failure: Failure| ErrorReport::of(&Failure::expect_interrupt(failure.into()));
        let interrupt = report(Failure::signal("interrupted", 2));
        assert!(interrupt.is_expected && interrupt.exit == 130);
        assert!(!report(Failure::signal("terminated", 15)).is_expected);
        assert!(!report(Failure::new("gone")).is_expected);
    }
}
