//! Tests how flags, environment, file and defaults are combined, with the real keys.

mod errors;
mod pages;

use super::*;
use crate::{mailbox, transit_relay};

fn arguments(arguments: &[&str]) -> Vec<OsString> {
    ["wormhole-server"].iter().chain(arguments).map(OsString::from).collect()
}

fn settings(given: &[&str]) -> Settings {
    match read(arguments(given)).map_err(|error| error.to_string()) {
        Ok(Action::Serve(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn printed(given: &[&str]) -> String {
    match read(arguments(given)).map_err(|error| error.to_string()) {
        Ok(Action::Print(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn refusal(given: &[&str]) -> String {
    read(arguments(given)).unwrap_err().to_string()
}

/// A temporary file, removed when dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wormhole-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_command_of_one_service_configures_only_this_service() {
    let one = settings(&["mailbox", "--listen", "127.0.0.1:4000", "--db", "mailbox.sqlite"]);
    assert_eq!(one.service::<mailbox::Config>().unwrap().listen.to_string(), "127.0.0.1:4000");
    assert!(one.service::<transit_relay::Config>().is_none());
    let one = settings(&["transit-relay", "--listen", "127.0.0.1:4001"]);
    assert!(one.service::<mailbox::Config>().is_none());
    assert!(one.service::<transit_relay::Config>().is_some());
}

#[test]
fn a_flag_overrides_the_file_and_the_file_overrides_the_default() {
    let file = TemporaryFile::new(
        "layers.toml",
        "drain-seconds = 3\n[mailbox]\nlisten = \"127.0.0.1:1\"\ndb = \"from-file\"\n",
    );
    let all = settings(&["mailbox", "--config", file.path(), "--db", "from-flag"]);
    let mailbox = all.service::<mailbox::Config>().unwrap();
    assert_eq!(mailbox.listen.port(), 1);
    assert_eq!(mailbox.db.file(), Some(Path::new("from-flag")));
    assert_eq!(all.common.drain_seconds, 3);
    assert_eq!(all.common.threads, 0);
}

#[test]
fn run_serves_what_the_file_enables_below_the_data_directory() {
    let file = TemporaryFile::new("run.toml", "[transit-relay]\nenabled = false\n");
    let data = std::env::temp_dir();
    let data = data.to_str().unwrap();
    let all = settings(&["run", "--data", data, "--config", file.path()]);
    assert!(all.service::<transit_relay::Config>().is_none());
    assert_eq!(
        all.service::<mailbox::Config>().unwrap().db.file(),
        Some(Path::new(data).join("mailbox.sqlite").as_path())
    );
    let switch = ["run", "--data", data, "--config", file.path(), "--transit-relay", "true"];
    assert!(settings(&switch).service::<transit_relay::Config>().is_some());
}

#[test]
fn reading_the_printed_configuration_prints_it_again() {
    let first = printed(&[
        "config",
        "--mailbox-listen",
        "127.0.0.1:7",
        "--transit-relay",
        "false",
        "--mailbox-disallow-list",
        "--whisper-rpc-host",
        "node.example",
    ]);
    for line in [
        "\nlisten = \"127.0.0.1:7\"\n",
        "\nenabled = false\n",
        "\ndisallow-list = true\n",
        "\nrpc-host = [\"node.example\"]\n",
    ] {
        assert!(first.contains(line), "{line} is not in {first}");
    }
    let file = TemporaryFile::new("printed.toml", &first);
    assert_eq!(printed(&["config", "--config", file.path()]), first);
}

#[test]
fn the_printed_configuration_has_defaults_commented_out() {
    let text = printed(&["config"]);
    let keys: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])).collect();
    assert!(keys.is_empty(), "{keys:?}");
    for line in [
        "\n#log-level = \"info\"\n",
        "\n#listen = \"[::]:4000\"\n",
        "\n#enabled = true\n",
        "\n#motd = \"TEXT\"\n",
        "\n#disallow-list = false\n",
        "\n#min-pow = 0.2\n",
        "\n#peer = [\"ENODE\"]\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn every_default_of_the_printed_configuration_can_be_read() {
    let text = printed(&["config"]);
    let has_default = |line: &&str| {
        let value = line.split_once(" = ").map(|(_, value)| value.trim_matches(['"', '[', ']']));
        // A key without a default has a placeholder in capitals.
        line.starts_with(|c: char| c.is_ascii_lowercase())
            && !value.is_some_and(|value| value.chars().all(|c| c.is_ascii_uppercase()))
            || line.starts_with('[')
    };
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| has_default(line))
        .collect();
    let file = TemporaryFile::new("defaults.toml", &lines.join("\n"));
    let read_back = printed(&["config", "--config", file.path()]);
    let plain = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim_start_matches('#').to_owned()).collect()
    };
    assert_eq!(plain(&read_back), plain(&text));
}
