//! The configuration file (docs/config.md).
//!
//! It contains no secrets. Options override environment variables, which override this file.

use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer};
use wormhole::store::Profile;

use crate::args::OnExists;
use crate::failure::Failure;
use crate::printable;

/// The keys of the file. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Config {
    /// Application id, the same on both sides.
    pub(crate) appid: Option<String>,
    /// Mailbox server.
    pub(crate) relay_url: Option<String>,
    /// Transit relay, `tcp:HOST:PORT`.
    pub(crate) transit_helper: Option<String>,
    /// Number of words in a new code, from 1 to 32.
    #[serde(default, deserialize_with = "words")]
    pub(crate) code_length: Option<u8>,
    /// Whether to compare verification strings.
    pub(crate) verify: Option<bool>,
    /// Whether to show no progress bar.
    pub(crate) hide_progress: Option<bool>,
    /// Whether to show a QR code; unset: if there is enough space.
    pub(crate) qr: Option<bool>,
    /// Whether to accept files without asking.
    pub(crate) accept_file: Option<bool>,
    /// What to do if a name exists.
    pub(crate) on_exists: Option<OnExists>,
    /// Maximum number of files and directories in a received directory.
    pub(crate) max_entries: Option<u64>,
    /// Directory for received files without `--output-file`.
    pub(crate) download_dir: Option<PathBuf>,
    /// Whether to accept connections from the other side.
    pub(crate) listen: Option<bool>,
    /// Port for these connections.
    pub(crate) listen_port: Option<u16>,
    /// Whether to use Tor.
    pub(crate) tor: Option<bool>,
}

impl Config {
    /// Reads `explicit`, or else the default file if it exists.
    ///
    /// # Errors
    /// `explicit` is missing, or the file is invalid.
    pub(crate) fn load(explicit: Option<&Path>) -> Result<Self> {
        let usual = usual_path();
        let Some(path) = explicit.or(usual.as_deref()) else { return Ok(Self::default()) };
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && explicit.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Parses the text of the file at `path`.
    fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let (reason, hint) = explain(text, &error);
            let failure = Failure::new(format!("{}, line {line}: {reason}", path.display()));
            hint.into_iter().fold(failure, Failure::hint)
        })?;
        let home = etcetera::home_dir().ok();
        config.download_dir =
            match config.download_dir.take() {
                Some(folder) => Some(without_tilde(folder, home.as_deref()).map_err(|why| {
                    Failure::new(format!("{}: download-dir: {why}", path.display()))
                })?),
                None => None,
            };
        Ok(config)
    }
}

/// Parses the number of words of a code.
fn words<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u8>, D::Error> {
    let number = u8::deserialize(value)?;
    match number {
        1..=32 => Ok(Some(number)),
        _ => Err(serde::de::Error::custom("out of range")),
    }
}

/// Explains an error of the parser: names the key, the value and what is expected, without the type names of Rust. Also
/// returns a hint.
fn explain(text: &str, error: &toml::de::Error) -> (String, Option<&'static str>) {
    let reason = error.message().replace('\n', " ");
    if let Some(rest) = reason.strip_prefix("unknown field `") {
        let key = rest.split('`').next().unwrap_or_default();
        return (
            format!("unknown key '{}'", printable::line(key)),
            Some("`wormhole --help` lists the keys"),
        );
    }
    let span = error.span().unwrap_or_default();
    let key = key_before(text, span.start);
    let Some(expected) = expected(key).filter(|_| text.parse::<toml::Table>().is_ok()) else {
        // It is not TOML.
        return (reason, None);
    };
    let value = text.get(span).unwrap_or_default().lines().next().unwrap_or_default();
    (format!("{key} = {}: expected {expected}", printable::line(value)), None)
}

/// The values that a key may have; `None` for unknown keys.
fn expected(key: &str) -> Option<&'static str> {
    Some(match key {
        "appid" | "download-dir" | "relay-url" | "transit-helper" => "a text in quotes",
        "accept-file" | "hide-progress" | "listen" | "qr" | "tor" | "verify" => "true or false",
        "code-length" => "a whole number from 1 to 32",
        "listen-port" => "a whole number from 0 to 65535",
        "max-entries" => "a whole number",
        "on-exists" => "\"ask\", \"overwrite\", \"rename\" or \"refuse\"",
        _ => return None,
    })
}

/// The key in the line of the value at `offset`.
fn key_before(text: &str, offset: usize) -> &str {
    let before = text.get(..offset).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..).unwrap_or_default();
    line.split(['=', '\n'])
        .next()
        .unwrap_or_default()
        .trim_matches([' ', '\t', '\r', '"', '\'', '[', ']'])
}

/// Replaces `~` at the beginning of a path with the home directory.
fn without_tilde(path: PathBuf, home: Option<&Path>) -> Result<PathBuf, String> {
    let mut parts = path.components();
    match parts.next() {
        Some(Component::Normal(first)) if first == "~" => match home {
            Some(home) => Ok(home.join(parts.as_path())),
            None => Err("the home directory for '~' is not known: set HOME".to_owned()),
        },
        Some(Component::Normal(first)) if first.as_encoded_bytes().starts_with(b"~") => {
            let (first, shown) = (first.to_string_lossy(), path.display());
            Err(format!(
                "'{shown}': only ~/, your own home directory, is supported; use an absolute path, or './{shown}' if \
                 the directory is really called '{first}'"
            ))
        }
        _ => Ok(path),
    }
}

/// The path of the default file.
pub(crate) fn usual_path() -> Option<PathBuf> {
    Profile::of_user().map(|profile| profile.settings_file())
}

/// The line, counted from 1, that holds the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("config.toml"))
    }

    #[test]
    fn every_key_is_optional() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn keys_are_named_like_flags() {
        let config =
            parse("relay-url = \"ws://h/v1\"\non-exists = \"rename\"\nqr = false").unwrap();
        assert_eq!(config.relay_url.as_deref(), Some("ws://h/v1"));
        assert_eq!(config.on_exists, Some(OnExists::Rename));
        assert_eq!(config.qr, Some(false));
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let home = Some(Path::new("/home/me"));
        let expand = |path: &str| without_tilde(PathBuf::from(path), home);
        assert_eq!(expand("~/Downloads"), Ok(PathBuf::from("/home/me/Downloads")));
        assert_eq!(expand("~"), Ok(PathBuf::from("/home/me")));
        assert_eq!(expand("/a/~/b"), Ok(PathBuf::from("/a/~/b")));
        assert_eq!(expand("./~x"), Ok(PathBuf::from("./~x")));
        assert!(expand("~bob/x").unwrap_err().starts_with("'~bob/x': only ~/"));
        assert!(without_tilde(PathBuf::from("~/x"), None).is_err());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("qr = true\nrelay = 1").unwrap_err().to_string();
        assert_eq!(error, "config.toml, line 2: unknown key 'relay'");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_what_is_expected() {
        for (text, message) in [
            ("code-length = \"a\"", "code-length = \"a\": expected a whole number from 1 to 32"),
            ("code-length = 33", "code-length = 33: expected a whole number from 1 to 32"),
            ("code-length = 999", "code-length = 999: expected a whole number from 1 to 32"),
            ("listen-port = 99999", "listen-port = 99999: expected a whole number from 0 to 65535"),
            ("max-entries = -1", "max-entries = -1: expected a whole number"),
            ("tor = \"yes\"", "tor = \"yes\": expected true or false"),
            ("appid = 5", "appid = 5: expected a text in quotes"),
            (
                "on-exists = \"burn\"",
                "on-exists = \"burn\": expected \"ask\", \"overwrite\", \"rename\" or \"refuse\"",
            ),
        ] {
            let error =
                parse(&format!("qr = true\n{text}\nverify = true")).unwrap_err().to_string();
            assert_eq!(error, format!("config.toml, line 2: {message}"));
        }
    }

    #[test]
    fn a_file_that_is_not_toml_gets_the_error_of_the_parser() {
        let error = parse("qr = true\ncode-length 3").unwrap_err().to_string();
        assert!(error.starts_with("config.toml, line 2: "), "{error}");
        assert!(!error.contains("expected a whole number"), "{error}");
    }

    #[test]
    fn a_missing_usual_file_is_an_empty_one_but_a_named_one_is_an_error() {
        let error = Config::load(Some(Path::new("/nowhere/at/all.toml"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/at/all.toml");
    }
}
