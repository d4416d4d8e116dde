//! `--dump-timing`: the times of events, in the JSON format of the Python command line.
//!
//! Each entry has `name`, `start` and `stop` (seconds since 1970) and `details`. Nothing in it is
//! secret.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The list, with `--dump-timing`.
#[derive(Debug)]
pub(crate) struct Timing {
    path: Option<PathBuf>,
    entries: Vec<Value>,
}

impl Timing {
    /// Collects nothing if there is no path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn new(path: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = &path {
            check_writable(path)
                .with_context(|| format!("--dump-timing: cannot write {}", path.display()))?;
        }
        Ok(Self { path, entries: Vec::new() })
    }

    /// Adds an event that happened now.
    pub(crate) fn add(&mut self, name: &str, details: Value) {
        if self.path.is_some() {
            let now = seconds_since_1970();
            self.entries.push(json!({"name": name, "start": now, "stop": now, "details": details}));
        }
    }

    /// Writes the file. Returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self) -> Result<Option<&Path>> {
        let Some(path) = &self.path else { return Ok(None) };
        let text = format!("{:#}\n", Value::Array(self.entries.clone()));
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(path))
    }
}

/// Opens the file for writing and changes nothing. Does not open pipes and devices.
fn check_writable(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => OpenOptions::new().write(true).open(path).map(drop),
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            drop(fs::File::create_new(path)?);
            fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_collected_without_a_path() {
        let mut timing = Timing::new(None).unwrap();
        timing.add("code", json!({}));
        assert!(timing.entries.is_empty());
        assert_eq!(timing.write().unwrap(), None);
    }

    #[test]
    fn the_file_is_a_list_of_named_times() {
        let path =
            std::env::temp_dir().join(format!("wormhole-timing-{}.json", std::process::id()));
        let mut timing = Timing::new(Some(path.clone())).unwrap();
        timing.add("transit connected", json!({"path": "direct"}));
        timing.write().unwrap();
        let list: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(list[0]["name"], "transit connected");
        assert_eq!(list[0]["details"]["path"], "direct");
        assert!(list[0]["start"].as_f64().unwrap() > 1.0e9);
    }
}
