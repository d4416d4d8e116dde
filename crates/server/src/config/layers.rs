//! Lays flags, environment, file and defaults over one another, key by key.
//!
//! Nothing here knows a key: they come from a `clap::Args` struct, which also checks the result.

use std::ffi::OsString;
use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::file::ConfigFile;

/// The keys of one service, and what their flags are called.
#[derive(Debug)]
pub(super) struct Section {
    /// Table in the file; empty for the top.
    name: &'static str,
    /// What the flags start with.
    prefix: String,
    /// The keys, as their struct declares them.
    keys: Vec<Arg>,
}

impl Section {
    /// The keys that `T` declares.
    pub(super) fn of<T: Args>(name: &'static str, prefix: &str) -> Self {
        let keys = T::augment_args(Command::new(name)).get_arguments().cloned().collect();
        Self { name, prefix: prefix.into(), keys }
    }

    /// The flags, with their prefix and their environment variables.
    pub(super) fn arguments(&self) -> impl Iterator<Item = Arg> {
        self.keys.iter().map(|key| {
            let long = long(key);
            let variable = if self.name.is_empty() {
                format!("WORMHOLE_SERVER_{}", shout(long))
            } else {
                format!("WORMHOLE_SERVER_{}_{}", shout(self.name), shout(long))
            };
            let heading = match (self.name, self.prefix.as_str()) {
                ("", _) => Some("Process"),
                (_, "") => None,
                (name, _) => Some(name),
            };
            let flag = key.clone().id(self.id(key)).long(format!("{}{long}", self.prefix));
            flag.env(variable).hide_env_values(true).help_heading(heading)
        })
    }

    /// The struct, filled from all layers.
    ///
    /// # Errors
    /// A value in the file is unusable; those of the other layers have been checked before.
    pub(super) fn resolve<T: Args>(
        &self,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<T, clap::Error> {
        T::from_arg_matches(&self.matches::<T>(given, file)?)
    }

    /// Appends the section as TOML, every key with its meaning.
    pub(super) fn print<T: Args>(
        &self,
        text: &mut String,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<(), clap::Error> {
        let matches = self.matches::<T>(given, file)?;
        if !self.name.is_empty() {
            let enabled = file.enables(self.name, given);
            let about = "# Whether `run` serves it";
            // Writing to a string cannot fail, here and below.
            let _ = write!(text, "\n[{}]\n{about}\nenabled = {enabled}\n", self.name);
        }
        for key in &self.keys {
            let help = key.get_help().map(ToString::to_string).unwrap_or_default();
            let values: Vec<String> = matches
                .get_raw(key.get_id().as_str())
                .map(|values| values.map(|value| literal(&value.to_string_lossy())).collect())
                .unwrap_or_default();
            let _ = writeln!(text, "\n# {help}");
            let _ = match (values.as_slice(), key.get_action()) {
                ([], _) => writeln!(text, "# {} =", long(key)),
                (all, ArgAction::Append) => writeln!(text, "{} = [{}]", long(key), all.join(", ")),
                (all, _) => writeln!(text, "{} = {}", long(key), all.concat()),
            };
        }
        Ok(())
    }

    /// Says everything that was said in any layer as flags, and lets `T` read them.
    fn matches<T: Args>(
        &self,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<ArgMatches, clap::Error> {
        let names: Vec<&str> = self.keys.iter().map(long).collect();
        file.check(self.name, &names)?;
        let mut flags = Vec::new();
        for key in &self.keys {
            let values = match given.value_source(&self.id(key)) {
                Some(ValueSource::CommandLine | ValueSource::EnvVariable) => {
                    given.get_raw(&self.id(key)).into_iter().flatten().map(Into::into).collect()
                }
                _ => file.values(self.name, long(key))?.into_iter().map(OsString::from).collect(),
            };
            flags.extend(as_flags(key, values));
        }
        let command = Command::new("wormhole-server").no_binary_name(true);
        T::augment_args(command).try_get_matches_from(flags)
    }

    /// How the flag is known inside the command.
    fn id(&self, key: &Arg) -> String {
        format!("{}{}", self.prefix, key.get_id())
    }
}

/// The values of one key as it would be typed.
fn as_flags(key: &Arg, values: Vec<OsString>) -> Vec<OsString> {
    let name = format!("--{}", long(key));
    if matches!(key.get_action(), ArgAction::SetTrue) {
        let on = values.iter().any(|value| value.eq_ignore_ascii_case("true") || value == "1");
        return if on { vec![name.into()] } else { Vec::new() };
    }
    let flag = |value: OsString| {
        let mut flag = OsString::from(&name);
        flag.push("=");
        flag.push(value);
        flag
    };
    values.into_iter().map(flag).collect()
}

fn long(key: &Arg) -> &str {
    key.get_long().unwrap_or_default()
}

/// A flag's name as environment variables are written.
pub(super) fn shout(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// A value as TOML: numbers and truth values bare, everything else quoted.
fn literal(value: &str) -> String {
    if value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok() {
        return value.into();
    }
    // A JSON string is a TOML string too.
    serde_json::to_string(value).unwrap_or_default()
}
