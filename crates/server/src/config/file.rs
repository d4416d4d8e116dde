//! The TOML file: one section per service, the keys of the process at the top.
//!
//! Values are passed on as text, so that they have the same meaning in all sources. Errors contain the line of the key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use crate::service::SERVICES;

/// The keys of the configuration file; none if there is no file.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One key of the file.
#[derive(Clone, Debug)]
struct Entry {
    /// Empty for the top of the file.
    section: String,
    key: String,
    /// One value, or those of a list.
    values: Vec<String>,
    line: usize,
    kind: &'static str,
}

impl ConfigFile {
    /// Reads the file that `--config` names.
    pub(super) fn load(given: &ArgMatches) -> Result<Self, ConfigError> {
        match given.get_one::<PathBuf>("config") {
            Some(path) => Self::read(path),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            ConfigError::Text(format!("cannot read the configuration file {path}: {error}"))
        })?;
        let mut file = Self { path: path.to_owned(), entries: Vec::new() };
        let table = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map(|span| line_of(&text, &span));
            file.error(line, "", "", error.message())
        })?;
        for (key, value) in table.get_ref() {
            if let DeValue::Table(section) = value.get_ref() {
                file.read_section(&text, key, section)?;
            } else {
                file.add(&text, "", key, value)?;
            }
        }
        Ok(file)
    }

    fn read_section(
        &mut self,
        text: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        section: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        if !sections().contains(&name.get_ref().as_ref()) {
            let problem = format!("unknown section; the sections are {}", sections().join(", "));
            let line = line_of(text, &name.span());
            return Err(self.error(Some(line), name.get_ref(), "", &problem));
        }
        section.iter().try_for_each(|(key, value)| self.add(text, name.get_ref(), key, value))
    }

    fn add(
        &mut self,
        text: &str,
        section: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        let line = line_of(text, &key.span());
        let values = if let DeValue::Array(values) = value.get_ref() {
            values.iter().map(|value| plain(value.get_ref())).collect()
        } else {
            plain(value.get_ref()).map(|value| vec![value])
        };
        let kind = value.get_ref().type_str();
        let values = values.ok_or_else(|| {
            let problem = format!(
                "a value of type {kind} is not allowed here; use a string, a number, true, \
                 false or a list"
            );
            self.error(Some(line), section, key.get_ref(), &problem)
        })?;
        let (section, key) = (section.to_owned(), key.get_ref().to_string());
        self.entries.push(Entry { section, key, values, line, kind });
        Ok(())
    }

    fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.section == section && entry.key == key)
    }

    /// The values of `key` in `section` (empty: the top); `None` if the key is missing.
    pub(super) fn values(&self, section: &str, key: &str) -> Option<&[String]> {
        self.entry(section, key).map(|entry| entry.values.as_slice())
    }

    /// The boolean value of `key`; `None` if the key is missing.
    pub(super) fn switch(&self, section: &str, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(entry) = self.entry(section, key) else { return Ok(None) };
        match (entry.kind, entry.values.as_slice()) {
            ("boolean", [value]) => Ok(Some(value == "true")),
            _ => Err(self.refuse(section, key, "the value must be true or false, without quotes")),
        }
    }

    /// Whether `run` starts the service: according to the switch if given, otherwise the file.
    pub(super) fn enables(&self, service: &str, given: &ArgMatches) -> Result<bool, ConfigError> {
        use clap::parser::ValueSource::DefaultValue;
        let switch = given.get_one::<bool>(service).copied().unwrap_or(true);
        match self.switch(service, ENABLED)? {
            Some(written) if given.value_source(service) == Some(DefaultValue) => Ok(written),
            _ => Ok(switch),
        }
    }

    /// Rejects unknown keys.
    pub(super) fn check(&self, section: &str, keys: &[&str]) -> Result<(), ConfigError> {
        let known = |key: &str| keys.contains(&key) || !section.is_empty() && key == ENABLED;
        let mut unknown = self.entries.iter();
        match unknown.find(|entry| entry.section == section && !known(&entry.key)) {
            None => Ok(()),
            Some(entry) => {
                let mut problem = "unknown key".to_owned();
                if section.is_empty() && sections().contains(&entry.key.as_str()) {
                    problem = format!("this is a section: write [{}]", entry.key);
                } else if let Some(near) = nearest(&entry.key, keys) {
                    problem += &format!("; did you mean {near}?");
                } else {
                    problem += "; `wormhole-server config` prints all keys";
                }
                Err(self.refuse(section, &entry.key, &problem))
            }
        }
    }

    /// An error about a key, with its line if it is in the file.
    pub(super) fn refuse(&self, section: &str, key: &str, problem: &str) -> ConfigError {
        let line = self.entry(section, key).map(|entry| entry.line);
        self.error(line, section, key, problem)
    }

    fn error(&self, line: Option<usize>, section: &str, key: &str, problem: &str) -> ConfigError {
        let mut place = Vec::new();
        // Otherwise the value does not come from the file.
        if line.is_some() || key.is_empty() {
            let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
            place.push(format!("{}{line}", self.path.display()));
        }
        let section = if section.is_empty() { String::new() } else { format!("[{section}]") };
        let key = [section.as_str(), key].join(" ").trim().to_owned();
        place.extend((!key.is_empty()).then_some(key));
        place.push(problem.to_owned());
        ConfigError::Text(place.join(": "))
    }
}

/// A single value as text; `None` if it is a table or a list.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            number.map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The line of a position, counted from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The most similar key, if any is similar.
fn nearest<'a>(key: &str, keys: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &str| strsim::osa_distance(key, known);
    let near = keys.iter().min_by_key(|known| distance(known))?;
    (distance(near) <= key.len() / 3).then_some(near)
}

/// The sections that a file may have.
fn sections() -> Vec<&'static str> {
    SERVICES.iter().map(|service| service.about().name).collect()
}

/// The key that disables a service for `run`.
const ENABLED: &str = "enabled";
