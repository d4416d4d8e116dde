//! The TOML file: one table per service, the process's own keys at the top.
//!
//! Values are handed on as text, so that a value means the same wherever it stands.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::error::ErrorKind;
use toml::{Table, Value};

/// A configuration file, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    table: Table,
}

impl ConfigFile {
    /// Reads the file that `--config` names.
    pub(super) fn load(given: &ArgMatches) -> Result<Self, clap::Error> {
        let Some(path) = given.get_one::<PathBuf>("config") else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| file_error(path, ErrorKind::Io, &error.to_string()))?;
        let table = text
            .parse::<Table>()
            .map_err(|error| file_error(path, ErrorKind::InvalidValue, error.message()))?;
        let file = Self { path: path.clone(), table };
        for (key, value) in &file.table {
            if value.is_table() && !SERVICES.contains(&key.as_str()) {
                return Err(file.unknown(key));
            }
        }
        Ok(file)
    }

    /// The values of `key` in the table `section` (empty: the top); none if it is not there.
    pub(super) fn values(&self, section: &str, key: &str) -> Result<Vec<String>, clap::Error> {
        match self.section(section).and_then(|table| table.get(key)) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(|v| self.text(key, v)).collect(),
            Some(value) => Ok(vec![self.text(key, value)?]),
        }
    }

    /// Whether the service takes part in `run`: the switch if it was given, else the file.
    pub(super) fn enables(&self, service: &str, given: &ArgMatches) -> bool {
        use clap::parser::ValueSource::DefaultValue;
        let switch = given.get_one::<bool>(service).copied().unwrap_or(true);
        let written = self.section(service).and_then(|table| table.get(ENABLED)?.as_bool());
        match written {
            Some(written) if given.value_source(service) == Some(DefaultValue) => written,
            _ => switch,
        }
    }

    /// Refuses keys that nobody would read.
    pub(super) fn check(&self, section: &str, keys: &[&str]) -> Result<(), clap::Error> {
        let Some(table) = self.section(section) else { return Ok(()) };
        let known = |key: &str, value: &Value| {
            keys.contains(&key)
                || if section.is_empty() { value.is_table() } else { key == ENABLED }
        };
        match table.iter().find(|(key, value)| !known(key, value)) {
            Some((key, _)) => Err(self.unknown(key)),
            None => Ok(()),
        }
    }

    fn section(&self, section: &str) -> Option<&Table> {
        if section.is_empty() { Some(&self.table) } else { self.table.get(section)?.as_table() }
    }

    fn text(&self, key: &str, value: &Value) -> Result<String, clap::Error> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Float(number) => Ok(number.to_string()),
            Value::Boolean(truth) => Ok(truth.to_string()),
            Value::Array(_) | Value::Datetime(_) | Value::Table(_) => {
                let problem = format!("{key} has a value of an unusable kind");
                Err(file_error(&self.path, ErrorKind::InvalidValue, &problem))
            }
        }
    }

    fn unknown(&self, key: &str) -> clap::Error {
        file_error(&self.path, ErrorKind::UnknownArgument, &format!("unknown key {key}"))
    }
}

fn file_error(path: &Path, kind: ErrorKind, problem: &str) -> clap::Error {
    super::command().error(kind, format!("{}: {problem}", path.display()))
}

/// Tables that a file may hold.
const SERVICES: [&str; 3] = ["mailbox", "transit-relay", "whisper"];

/// The key that keeps a service out of `run`.
const ENABLED: &str = "enabled";
