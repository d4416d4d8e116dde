//! Errors in the command line, the environment or the configuration file.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::console;

/// The command line, the environment or the file is invalid; or help was requested.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// An error of the command line parser, which prints its errors and help itself.
    Usage(Box<clap::Error>),
    /// Any other error: what is wrong, where, and what to do.
    Text(String),
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl ConfigError {
    /// Prints the error, or the requested help. Returns the exit code: 2 for a wrong configuration.
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Usage(error) if error.use_stderr() => {
                let text = error.render().to_string();
                match text.strip_prefix("error: ") {
                    Some(text) => console::print_error(explained(error, text).trim_end()),
                    // The help of a command without arguments.
                    None => drop(error.print()),
                }
                ExitCode::from(2)
            }
            // Help or the version.
            Self::Usage(help) => match console::checked(help.print()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    console::print_error(&error.to_string());
                    ExitCode::FAILURE
                }
            },
            Self::Text(text) => {
                console::print_error(text);
                ExitCode::from(2)
            }
        }
    }
}

#[cfg(test)]
impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The flag in an error of the parser, without dashes.
pub(super) fn flag_of(error: &clap::Error) -> Option<&str> {
    let ContextValue::String(flag) = error.get(ContextKind::InvalidArg)? else { return None };
    flag.strip_prefix("--")?.split([' ', '=', '[']).next()
}

/// Why the parser rejected a value, without the name of the flag. `value_name` is the expected kind of
/// value.
pub(super) fn reason(error: &clap::Error, value_name: &str) -> String {
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    if let Some(ContextValue::Strings(possible)) = error.get(ContextKind::ValidValue)
        && !possible.is_empty()
    {
        return format!("'{value}' is not allowed here; use one of: {}", possible.join(", "));
    }
    if error.kind() == ErrorKind::ArgumentConflict {
        return "the key takes one value, not a list".to_owned();
    }
    let source = std::error::Error::source(error).map(|source| explain(source, value_name));
    match source {
        None => format!("'{value}' is not valid here"),
        Some(source) => format!("'{value}' is not valid here: {source}"),
    }
}

/// The text of the parser, with a better explanation of a wrong value.
fn explained(error: &clap::Error, text: &str) -> String {
    match (error.kind(), std::error::Error::source(error)) {
        (ErrorKind::ValueValidation, Some(source)) => {
            // Such as `--listen <ADDRESS>`.
            let name = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(name)) => name.as_str(),
                _ => "",
            };
            let value_name = name.split(['<', '>']).nth(1).unwrap_or_default();
            text.replacen(&source.to_string(), &explain(source, value_name), 1)
        }
        _ => text.to_owned(),
    }
}

/// Explains why a value cannot be parsed, and what is expected. The texts of the standard library and of clap say only
/// what is wrong with the characters.
fn explain(source: &(dyn std::error::Error + 'static), value_name: &str) -> String {
    let text = source.to_string();
    if text.starts_with("expected") {
        return text;
    }
    let Some((_, range)) = text.split_once(" is not in ") else {
        return match value_name {
            "ADDRESS" => "expected an address with a port, such as 127.0.0.1:4000 or [::]:4000",
            "BITS" | "BYTES" | "DAYS" | "N" | "SECONDS" => "expected a whole number",
            "BOOL" => "expected true or false",
            "IP" => "expected an IP address without a port",
            "POW" => "expected a number, such as 0.2",
            _ => &text,
        }
        .to_owned();
    };
    match range.split_once("..") {
        Some((least, "" | "18446744073709551615")) => {
            format!("expected a whole number, at least {least}")
        }
        Some((least, most)) => {
            format!("expected a whole number from {least} to {}", most.trim_start_matches('='))
        }
        None => text,
    }
}
