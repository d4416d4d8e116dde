//! Behaviour of the layers, on the real keys.

use super::*;

fn settings(arguments: &[&str]) -> Settings {
    let all = ["wormhole-server"].iter().chain(arguments).map(OsString::from);
    match read(all).map_err(|error| error.to_string()) {
        Ok(Order::Serve(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn refusal(arguments: &[&str]) -> String {
    let all = ["wormhole-server"].iter().chain(arguments).map(OsString::from);
    read(all).unwrap_err().to_string()
}

/// A file that is gone at the end of the test.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wormhole-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_flags_of_the_issue_are_understood() {
    let one = settings(&["mailbox", "--listen", "127.0.0.1:4000", "--db", "mailbox.sqlite"]);
    assert_eq!(one.mailbox.unwrap().listen.to_string(), "127.0.0.1:4000");
    assert!(one.transit_relay.is_none());
    let one = settings(&["transit-relay", "--listen", "127.0.0.1:4001"]);
    assert!(one.mailbox.is_none());
    assert!(one.transit_relay.is_some());
}

#[test]
fn a_flag_overrides_the_file_and_the_file_overrides_the_default() {
    let file = Written::new(
        "layers.toml",
        "drain-seconds = 3\n[mailbox]\nlisten = \"127.0.0.1:1\"\ndb = \"from-file\"\n",
    );
    let all = settings(&["mailbox", "--config", file.path(), "--db", "from-flag"]);
    let mailbox = all.mailbox.unwrap();
    assert_eq!(mailbox.listen.port(), 1);
    assert_eq!(mailbox.db, PathBuf::from("from-flag"));
    assert_eq!(all.common.drain_seconds, 3);
    assert_eq!(all.common.threads, 0);
}

#[test]
fn run_serves_what_the_file_enables_below_the_data_directory() {
    let file = Written::new("run.toml", "[transit-relay]\nenabled = false\n");
    let data = std::env::temp_dir();
    let data = data.to_str().unwrap();
    let all = settings(&["run", "--data", data, "--config", file.path()]);
    assert!(all.transit_relay.is_none());
    assert_eq!(all.mailbox.unwrap().db, PathBuf::from(data).join("mailbox.sqlite"));
    let switch = ["run", "--data", data, "--config", file.path(), "--transit-relay", "true"];
    assert!(settings(&switch).transit_relay.is_some());
}

#[test]
fn unknown_keys_and_unusable_values_of_the_file_are_refused() {
    let file = Written::new("unknown.toml", "[mailbox]\nlistne = \"127.0.0.1:1\"\n");
    assert!(refusal(&["mailbox", "--config", file.path()]).contains("unknown key listne"));
    let file = Written::new("section.toml", "[mailboxes]\n");
    assert!(refusal(&["mailbox", "--config", file.path()]).contains("unknown key mailboxes"));
    let file = Written::new("value.toml", "[mailbox]\nlisten = \"nowhere\"\n");
    assert!(refusal(&["mailbox", "--config", file.path()]).contains("nowhere"));
    assert!(refusal(&["mailbox", "--config", "/nonexistent/x.toml"]).contains("x.toml"));
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    assert!(refusal(&["mailbox", "--tls-certificate", "c.pem"]).contains("go together"));
}

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let print = |arguments: &[&str]| {
        let all = ["wormhole-server", "config"].iter().chain(arguments).map(OsString::from);
        match read(all) {
            Ok(Order::Print(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    let first = print(&["--mailbox-listen", "127.0.0.1:7", "--transit-relay", "false"]);
    assert!(first.contains("listen = \"127.0.0.1:7\""), "{first}");
    assert!(first.contains("enabled = false"), "{first}");
    let file = Written::new("printed.toml", &first);
    assert_eq!(print(&["--config", file.path()]), first);
}
