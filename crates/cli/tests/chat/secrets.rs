//! What the programs write down about messages: nothing that a thief of logs or files could read.

use std::path::Path;

use crate::service::{ALICE, BOB, Service, texts};

/// Calls this for each file in a folder and in those below it.
fn each_file(folder: &Path, visit: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => each_file(&path, visit),
            false => visit(&path, &std::fs::read(&path).unwrap()),
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn attack_24_neither_logs_nor_files_contain_texts_numbers_passwords_or_tokens() {
    let mut service = Service::start(&["--log-level", "trace"]);
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let mut texts_sent = Vec::new();
    for (from, to, with) in [(&alice, &bob, BOB), (&bob, &alice, ALICE)] {
        let text = format!("nobody else may read what is written to {with}");
        from.succeed(&["send", with, &text]);
        from.succeed(&["contacts", with, "--name", "Rumpelstiltskin"]);
        assert_eq!(texts(&to.messages()), [text.as_str()]);
        texts_sent.push(text);
    }
    alice.succeed(&["send", BOB, "nobody else may read what waits"]);
    let registered = [&alice, &bob].map(|person| person.store().registration().unwrap().unwrap());
    let tokens = registered.each_ref().map(|it| it.app.as_ref().unwrap().token.to_string());
    let passwords = registered.each_ref().map(|it| it.password.to_string());
    let digits = [ALICE, BOB].map(|number| number.trim_start_matches('+').to_owned());
    let secret = texts_sent.iter().chain(&tokens).chain(&passwords).map(String::as_str);
    let secret: Vec<&str> = secret.chain(["nobody else", "Rumpelstiltskin"]).collect();

    // This server "sends" codes by printing them, so these lines contain numbers.
    let log = service.printed();
    assert!(log.contains("messaging listening on ") && log.contains("stopped"), "{log}");
    let lines = log.lines().filter(|line| !line.contains("code for "));
    for line in lines {
        for secret in secret.iter().copied().chain(digits.iter().map(String::as_str)) {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
    }
    let mut files = 0;
    for (person, other) in [(&alice, &digits[1]), (&bob, &digits[0])] {
        each_file(&person.path("."), &mut |path, bytes| {
            files += 1;
            for secret in secret.iter().copied().chain([other.as_str()]) {
                assert!(!contains(bytes, secret), "{secret}: {}", path.display());
            }
        });
    }
    // The server has to know numbers. A message waits in its database.
    for name in ["messaging.sqlite", "messaging.sqlite-wal"] {
        if let Ok(bytes) = std::fs::read(service.path(name)) {
            files += 1;
            let passwords = passwords.iter().map(String::as_str);
            for secret in passwords.chain(["nobody else", "Rumpelstiltskin"]) {
                assert!(!contains(&bytes, secret), "{secret}: {name}");
            }
        }
    }
    assert!(files > 6, "{files}");
}
