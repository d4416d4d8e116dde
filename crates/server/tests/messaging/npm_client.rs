//! npm's @throneless/libsignal-service, a whole client that nobody here wrote, with our server. `scripts/peers` installs
//! it; without `WORMHOLE_PEERS` this test passes without having looked, except under `CI`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// A process with the client of one person.
struct Person {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Person {
    /// Starts a client and registers a number.
    fn register(modules: &Path, server: &Server, number: &str) -> Self {
        let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/messaging/peers/throneless.cjs");
        let mut process = Command::new("node")
            .args([driver, &modules.display().to_string(), &server.https(), CERTIFICATE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut person = Self { process, requests, answers };
        person.ask(&json!({"operation": "request", "number": number}));
        let code = server.code(number).replace('-', "");
        let account = person.ask(&json!({"operation": "register", "code": code}));
        assert_eq!(account["number"], number);
        person
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").unwrap();
        let line = self.answers.next().expect("the client has ended").unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["error"], Value::Null, "{request}: {}", answer["error"]);
        answer
    }

    fn connect(&mut self) {
        self.ask(&json!({"operation": "connect"}));
    }

    fn send(&mut self, to: &str, text: &str, file: Option<&Path>) {
        let sent = self.ask(&json!({"operation": "send", "to": to, "text": text, "file": file}));
        assert_eq!(sent["to"], json!([to]));
    }

    /// The next message: its sender, its text and its files.
    fn receive(&mut self) -> (String, String, Vec<Vec<u8>>) {
        let message = self.ask(&json!({"operation": "receive"}));
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        let content = |file: &Value| BASE64.decode(file["content"].as_str().unwrap().as_bytes());
        let files = message["files"].as_array().unwrap().iter().map(content);
        (text("source"), text("text"), files.collect::<Result<_, _>>().unwrap())
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn two_npm_clients_exchange_text_and_files() {
    let Some(modules) = modules() else { return };
    let server = Server::start(&["--tls-certificate", CERTIFICATE, "--tls-key", KEY]);
    let (mut alice, mut bob) =
        (Person::register(&modules, &server, ALICE), Person::register(&modules, &server, BOB));
    // The first message waits for its recipient.
    alice.send(BOB, "hello", None);
    bob.connect();
    assert_eq!(bob.receive(), (ALICE.to_owned(), "hello".to_owned(), vec![]));
    alice.connect();
    bob.send(ALICE, "hello yourself", None);
    assert_eq!(alice.receive(), (BOB.to_owned(), "hello yourself".to_owned(), vec![]));
    let content: Vec<u8> = (0..=255).cycle().take(SIZE).collect();
    let path = server.folder().join("picture.bin");
    std::fs::write(&path, &content).unwrap();
    alice.send(BOB, "a file", Some(&path));
    let (from, text, files) = bob.receive();
    assert_eq!((from.as_str(), text.as_str()), (ALICE, "a file"));
    assert!(files == [content], "another file");
    for number in 0..20 {
        alice.send(BOB, &format!("message {number}"), None);
    }
    for number in 0..20 {
        assert_eq!(bob.receive().1, format!("message {number}"));
    }
    let shown = alice.ask(&json!({"operation": "devices"}));
    // The first message of the other side used one of 100 keys.
    assert_eq!(shown["keys"].as_u64(), Some(100));
    assert!(shown["devices"].as_str().unwrap().contains(r#""id":1"#), "{shown}");
}

fn modules() -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
        eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
        return None;
    };
    Some(PathBuf::from(peers).join("libsignal-service/node_modules"))
}

/// Length of the file, in bytes.
const SIZE: usize = (3 << 20) + 7;

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/tls/test-certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/tls/test-key.pem");
