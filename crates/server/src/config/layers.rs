//! Combines flags, environment, file and defaults, key by key.
//!
//! It knows no specific keys: they come from a `clap::Args` struct, which also checks the result.

use std::ffi::OsString;
use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::error::{ConfigError, flag_of, reason};
use super::file::ConfigFile;

/// The keys of one section, and the prefix of their flags.
#[derive(Debug)]
pub(crate) struct Section {
    /// Name of the table in the file; empty for the keys at the top.
    name: &'static str,
    /// Prefix of the flags.
    prefix: String,
    /// The keys, as their struct declares them.
    keys: Vec<Arg>,
}

/// The source of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Layer {
    /// A flag or an environment variable.
    Given,
    File,
    Default,
}

impl Section {
    /// The keys that `T` declares.
    pub(crate) fn of<T: Args>(name: &'static str, prefix: &str) -> Self {
        let keys = T::augment_args(Command::new(name)).get_arguments().cloned().collect();
        Self { name, prefix: prefix.into(), keys }
    }

    /// The command line flags of the keys, with their prefix and their environment variables.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = Arg> {
        self.keys.iter().map(|key| {
            let long = long(key);
            let heading = match (self.name, self.prefix.as_str()) {
                ("", _) => Some("Process"),
                (_, "") => None,
                (name, _) => Some(name),
            };
            let flag = key.clone().id(self.id(key)).long(format!("{}{long}", self.prefix));
            flag.env(self.variable(key)).hide_env_values(true).help_heading(heading)
        })
    }

    /// Fills the struct from all sources.
    ///
    /// # Errors
    /// A value in the file is invalid; those of other sources have been checked before.
    pub(crate) fn resolve<T: Args>(
        &self,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<T, ConfigError> {
        Ok(T::from_arg_matches(&self.matches::<T>(given, file)?)?)
    }

    /// Appends the section as TOML, with a comment for each key; keys with default values are commented
    /// out.
    pub(crate) fn print<T: Args>(
        &self,
        text: &mut String,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<(), ConfigError> {
        let matches = self.matches::<T>(given, file)?;
        // Writing to a string cannot fail, here and below.
        if !self.name.is_empty() {
            let enabled = file.enables(self.name, given)?;
            let chosen = given.value_source(self.name) != Some(ValueSource::DefaultValue)
                || file.values(self.name, "enabled").is_some();
            let mark = if chosen { "" } else { "#" };
            let about = "# Whether `run` starts this service";
            let _ = write!(text, "\n[{}]\n{about}\n{mark}enabled = {enabled}\n", self.name);
        }
        for key in &self.keys {
            let help = key.get_help().map(ToString::to_string).unwrap_or_default();
            let default = self.layer(key, given, file) == Layer::Default;
            let mark = if default { "#" } else { "" };
            let values: Vec<String> = match matches.get_raw(key.get_id().as_str()) {
                Some(values) => values.map(|value| literal(&value.to_string_lossy())).collect(),
                None if default => vec![literal(&value_name(key))],
                // An empty list.
                None => Vec::new(),
            };
            let is_list = matches!(key.get_action(), ArgAction::Append);
            let value = if is_list { format!("[{}]", values.join(", ")) } else { values.concat() };
            let _ = writeln!(text, "\n# {help}\n{mark}{} = {value}", long(key));
        }
        Ok(())
    }

    /// An error about the value of `name`, which names the option, the variable or the line that the user wrote.
    pub(super) fn refuse(
        &self,
        given: &ArgMatches,
        file: &ConfigFile,
        name: &str,
        problem: &str,
    ) -> ConfigError {
        let key = self.keys.iter().find(|key| long(key) == name);
        match key.and_then(|key| Some((key, given.value_source(&self.id(key))?))) {
            Some((_, ValueSource::CommandLine)) => {
                ConfigError::Text(format!("--{}{name}: {problem}", self.prefix))
            }
            Some((key, ValueSource::EnvVariable)) => {
                ConfigError::Text(format!("environment variable {}: {problem}", self.variable(key)))
            }
            _ => file.refuse(self.name, name, problem),
        }
    }

    /// The environment variable for a key.
    fn variable(&self, key: &Arg) -> String {
        let names = [self.name, long(key)].into_iter().filter(|name| !name.is_empty());
        names.fold("WORMHOLE_SERVER".to_owned(), |variable, name| {
            format!("{variable}_{}", variable_name(name))
        })
    }

    fn layer(&self, key: &Arg, given: &ArgMatches, file: &ConfigFile) -> Layer {
        match given.value_source(&self.id(key)) {
            Some(ValueSource::CommandLine | ValueSource::EnvVariable) => Layer::Given,
            _ if file.values(self.name, long(key)).is_some() => Layer::File,
            _ => Layer::Default,
        }
    }

    /// Converts the values of all sources to flags, and lets `T` parse them.
    fn matches<T: Args>(
        &self,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<ArgMatches, ConfigError> {
        let names: Vec<&str> = self.keys.iter().map(long).collect();
        file.check(self.name, &names)?;
        let mut flags = Vec::new();
        for key in &self.keys {
            flags.extend(self.flags(key, given, file)?);
        }
        let command = Command::new("wormhole-server").no_binary_name(true);
        T::augment_args(command)
            .try_get_matches_from(flags)
            .map_err(|error| self.name_key(error, given, file))
    }

    /// The values of a key as typed on the command line.
    fn flags(
        &self,
        key: &Arg,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<Vec<OsString>, ConfigError> {
        let layer = self.layer(key, given, file);
        if matches!(key.get_action(), ArgAction::SetTrue) {
            let on = match layer {
                Layer::Given => given.get_flag(&self.id(key)),
                Layer::File => file.switch(self.name, long(key))?.unwrap_or_default(),
                Layer::Default => false,
            };
            return Ok(on.then(|| format!("--{}", long(key)).into()).into_iter().collect());
        }
        let values: Vec<OsString> = match layer {
            Layer::Given => {
                given.get_raw(&self.id(key)).into_iter().flatten().map(Into::into).collect()
            }
            Layer::File => {
                let values = file.values(self.name, long(key)).unwrap_or_default();
                values.iter().map(Into::into).collect()
            }
            Layer::Default => Vec::new(),
        };
        let flag = |value: OsString| {
            let mut flag = OsString::from(format!("--{}=", long(key)));
            flag.push(value);
            flag
        };
        Ok(values.into_iter().map(flag).collect())
    }

    /// Adds the key of the file to an error of the parser.
    fn name_key(&self, error: clap::Error, given: &ArgMatches, file: &ConfigFile) -> ConfigError {
        let flag = flag_of(&error);
        match self.keys.iter().find(|key| Some(long(key)) == flag) {
            Some(key) if self.layer(key, given, file) == Layer::File => {
                file.refuse(self.name, long(key), &reason(&error, &value_name(key)))
            }
            _ => error.into(),
        }
    }

    /// The id of the flag in the command.
    fn id(&self, key: &Arg) -> String {
        format!("{}{}", self.prefix, key.get_id())
    }
}

fn long(key: &Arg) -> &str {
    key.get_long().unwrap_or_default()
}

/// The placeholder for the value in help.
pub(super) fn value_name(key: &Arg) -> String {
    key.get_value_names().into_iter().flatten().map(ToString::to_string).collect()
}

/// The part of an environment variable's name for a section or a key: upper case, with underscores.
pub(super) fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// A value as TOML: numbers and booleans without quotes, everything else quoted.
fn literal(value: &str) -> String {
    let is_number = value.parse::<i64>().is_ok()
        || value.contains('.')
            && value.chars().all(|c| c.is_ascii_digit() || c == '.')
            && value.parse::<f64>().is_ok();
    if is_number || value.parse::<bool>().is_ok() {
        return value.into();
    }
    // A JSON string is a TOML string too.
    serde_json::to_string(value).unwrap_or_default()
}
