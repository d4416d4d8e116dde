//! Why there is no configuration to run with.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The command line, the environment or the file is wrong; or help was asked for.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// From the command line parser, which prints its errors and pages of help itself.
    Usage(Box<clap::Error>),
    /// Everything else: what is wrong, where, and what to do.
    Text(String),
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl ConfigError {
    /// Prints the error, or the help that was asked for. Returns the exit code: 2 for an error.
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // Nobody is left to be told that printing failed.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Text(text) => {
                eprintln!("wormhole-server: error: {text}");
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

/// The flag that an error of the parser is about, without its dashes.
pub(super) fn flag_of(error: &clap::Error) -> Option<&str> {
    let ContextValue::String(flag) = error.get(ContextKind::InvalidArg)? else { return None };
    flag.strip_prefix("--")?.split([' ', '=', '[']).next()
}

/// What the parser found wrong with a value, without the name of a flag. `value_name` says what kind
/// of value was expected.
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
    let expected = match value_name {
        "ADDRESS" => "expected an address with a port, such as 127.0.0.1:4000 or [::]:4000",
        "BITS" | "BYTES" | "DAYS" | "N" | "SECONDS" => "expected a whole number",
        "BOOL" => "expected true or false",
        "IP" => "expected an IP address without a port",
        _ => "",
    };
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    // A range says more than the kind of number.
    let says_more = source.contains(" in ") && !source.contains(" digit ");
    match (expected, source.as_str()) {
        ("", "") => format!("'{value}' is not valid here"),
        ("", source) => format!("'{value}' is not valid here: {source}"),
        (_, source) if says_more => format!("'{value}' is not valid here: {source}"),
        (expected, _) => format!("'{value}' is not valid here: {expected}"),
    }
}
