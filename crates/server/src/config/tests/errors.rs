//! Tests of configuration errors: they name the file, the line, the section and the key, or the option, and say what to
//! do.

use super::*;

/// The error for a file with this text, without the path.
fn error_for(name: &str, text: &str) -> String {
    let file = TemporaryFile::new(name, text);
    let error = refusal(&["config", "--config", file.path()]);
    error.strip_prefix(file.path()).unwrap_or(&error).trim_start().to_owned()
}

#[test]
fn the_error_for_an_invalid_value_names_line_section_and_key() {
    let cases = [
        (
            "threads = 1\n\n[mailbox]\nlisten = \"nowhere\"\n",
            "line 4: [mailbox] listen: 'nowhere' is not valid here: expected an address with a \
             port, such as 127.0.0.1:4000 or [::]:4000",
        ),
        (
            "threads = \"many\"\n",
            "line 1: threads: 'many' is not valid here: expected a whole number",
        ),
        (
            "[mailbox]\nmax-frame = \"4 MiB\"\n",
            "line 2: [mailbox] max-frame: '4 MiB' is not valid here: expected a whole number, at least 4096",
        ),
        (
            "[mailbox]\nmax-frame = 5\n",
            "line 2: [mailbox] max-frame: '5' is not valid here: expected a whole number, at least 4096",
        ),
        (
            "[mailbox]\nhashcash-bits = 400\n",
            "line 2: [mailbox] hashcash-bits: '400' is not valid here: expected a whole number from 0 to ",
        ),
        (
            "log-level = \"loud\"\n",
            "line 1: log-level: 'loud' is not valid here: 'loud' is not a log level: use off, error, warn, \
             info, debug or trace, or MODULE=LEVEL",
        ),
        (
            "[whisper]\nrpc-origin = [\"foo\"]\n",
            "line 2: [whisper] rpc-origin: 'foo' is not valid here: expected scheme and host, such as \
             https://app.example.org, or * for every page",
        ),
        (
            "[whisper]\nrpc-host = [\"http://foo\"]\n",
            "line 2: [whisper] rpc-host: 'http://foo' is not valid here: expected a host name",
        ),
        (
            "[mailbox]\nping-seconds = 0\n",
            "line 2: [mailbox] ping-seconds: '0' is not valid here: expected a whole number, at least 1",
        ),
        (
            "[mailbox]\ntrust-proxy = \"yes\"\n",
            "line 2: [mailbox] trust-proxy: 'yes' is not allowed here; use one of: off, x-forwarded-for, x-real-ip",
        ),
        (
            "[mailbox]\nlisten = [\"[::]:1\", \"[::]:2\"]\n",
            "line 2: [mailbox] listen: the key takes one value, not a list",
        ),
        (
            "[transit-relay]\nlimit-loopback = \"yes\"\n",
            "line 2: [transit-relay] limit-loopback: the value must be true or false, without quotes",
        ),
        (
            "[whisper]\n\n\nenabled = 1\n",
            "line 4: [whisper] enabled: the value must be true or false, without quotes",
        ),
        (
            "[mailbox]\nmotd = 2026-01-01\n",
            "line 2: [mailbox] motd: a value of type datetime is not allowed here; use a string, a \
             number, true, false or a list",
        ),
    ];
    for (number, (text, expected)) in cases.into_iter().enumerate() {
        let error = error_for(&format!("value-{number}.toml"), text);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_error_for_an_unknown_key_suggests_a_similar_key() {
    let cases = [
        (
            "[mailbox]\nlistne = \"[::]:1\"\n",
            "line 2: [mailbox] listne: unknown key; did you mean listen?",
        ),
        ("log_level = \"info\"\n", "line 1: log_level: unknown key; did you mean log-level?"),
        (
            "[mailbox]\ncolour = 1\n",
            "line 2: [mailbox] colour: unknown key; `wormhole-server config` prints all keys",
        ),
        ("mailbox = true\n", "line 1: mailbox: this is a section: write [mailbox]"),
        (
            "\n[mailboxes]\n",
            "line 2: [mailboxes]: unknown section; the sections are mailbox, transit-relay, whisper, \
             messaging",
        ),
    ];
    for (number, (text, expected)) in cases.into_iter().enumerate() {
        assert_eq!(error_for(&format!("key-{number}.toml"), text), expected);
    }
}

#[test]
fn the_error_for_invalid_toml_names_the_line() {
    let error = error_for("syntax.toml", "threads = 1\n[mailbox]\nlisten = [::]:4000\n");
    assert!(error.starts_with("line 3: "), "{error}");
    let error = error_for("twice.toml", "threads = 1\nthreads = 2\n");
    assert!(error.starts_with("line 2: "), "{error}");
    assert!(refusal(&["mailbox", "--config", "/nonexistent/x.toml"]).contains("x.toml: "));
}

#[test]
fn the_error_for_an_invalid_combination_names_a_key() {
    let file = TemporaryFile::new("tls.toml", "\ntls-key = \"k.pem\"\n");
    let error = refusal(&["mailbox", "--config", file.path()]);
    let expected = "line 2: tls-key: set both tls-certificate and tls-key, or neither";
    assert_eq!(error, format!("{} {expected}", file.path()));
    let error = refusal(&["mailbox", "--tls-certificate", "c.pem"]);
    assert_eq!(error, "--tls-certificate: set both tls-certificate and tls-key, or neither");
    let error = refusal(&["whisper", "--min-pow=-1"]);
    assert!(error.contains("min-pow"), "{error}");
    let file = TemporaryFile::new("rpc.toml", "[whisper]\nrpc = \"0.0.0.0:8545\"\n");
    let error = refusal(&["whisper", "--config", file.path()]);
    assert!(error.contains("line 2: [whisper] rpc: "), "{error}");
    let error = refusal(&["whisper", "--rpc", "0.0.0.0:8545"]);
    assert!(error.starts_with("--rpc: "), "{error}");
    let error = refusal(&["run", "--whisper", "true", "--whisper-rpc", "0.0.0.0:8545"]);
    assert!(error.starts_with("--whisper-rpc: "), "{error}");
}

#[test]
fn errors_name_an_invalid_flag_and_an_invalid_log_level() {
    assert!(refusal(&["mailbox", "--listen", "nowhere"]).contains("--listen"));
    assert!(refusal(&["mailbox", "--log-level", "[nonsense"]).contains("--log-level"));
    settings(&["mailbox", "--log-level", "warn,wormhole_server::mailbox=debug"]);
}

#[test]
fn disabling_all_services_is_an_error() {
    let error = refusal(&["run", "--mailbox", "false", "--transit-relay", "false"]);
    assert!(error.starts_with("nothing to serve: "), "{error}");
    let file = TemporaryFile::new(
        "none.toml",
        "[mailbox]\nenabled = false\n[transit-relay]\nenabled = false\n",
    );
    assert!(refusal(&["run", "--config", file.path()]).starts_with("nothing to serve: "));
}

#[test]
fn addresses_of_databases_are_checked_and_passwords_are_not_shown() {
    let postgres = "postgresql://u:secret@127.0.0.1/d";
    let cases: [(&[&str], &str); 7] = [
        (&["--db", postgres, "--expiry-seconds", "29"], "--expiry-seconds: must be at"),
        (&["--db", "mysql://u:secret@h/d"], "--db: the address of a database must start"),
        (&["--db", "postgres://u:secret@h:x/d"], "--db: the address is malformed"),
        (&["--db", "postgres://u:secret@h"], "--db: the address must name a user and a"),
        (&["--wake", "nats://u:secret@h"], "--wake: NATS connects servers that share a"),
        (&["--db", postgres, "--wake", "http://u:secret@h"], "--wake: the value must be"),
        (&["--db", postgres, "--wake", "secret"], "--wake: the value must be postgres, or"),
    ];
    for (flags, expected) in cases {
        let error = refusal(&[&["mailbox"], flags].concat());
        assert!(error.starts_with(expected) && !error.contains("secret"), "{error}");
    }
    let one = settings(&["mailbox", "--db", postgres, "--wake", "nats://u:secret@h"]);
    let mailbox = one.service::<mailbox::Config>().unwrap();
    assert!(mailbox.db.file().is_none() && !format!("{mailbox:?}").contains("secret"));
}
