//! npm's @throneless/libsignal-service, a whole client that nobody here wrote, at the other end. `scripts/peers`
//! installs it. Without `WORMHOLE_PEERS` this test passes without having looked, except under `CI`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::service::{ALICE, BOB, Person, Service, texts};

/// A process with the npm client.
struct NpmClient {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl NpmClient {
    /// Starts a client and registers a number.
    fn register(modules: &Path, service: &Service, url: &str, number: &str) -> Self {
        let mut process = Command::new("node")
            .args([DRIVER, &modules.display().to_string(), url, CA])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut client = Self { process, requests, answers };
        client.ask(&json!({"operation": "request", "number": number}));
        let code = service.code(number).replace('-', "");
        client.ask(&json!({"operation": "register", "code": code}));
        client
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").unwrap();
        let line = self.answers.next().expect("the client has ended").unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["error"], Value::Null, "{request}: {}", answer["error"]);
        answer
    }
}

impl Drop for NpmClient {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server with Alice, who uses the npm client, and Bob, who uses `wormhole chat`.
fn people(modules: &Path) -> (Service, NpmClient, Person) {
    let mut service = Service::start(&["--tls-certificate", CERTIFICATE, "--tls-key", KEY]);
    // The certificate is for this name.
    service.url = service.url.replace("127.0.0.1", "localhost");
    let bob = service.person("bob").with_variable("SSL_CERT_FILE", CA);
    bob.register(&service, BOB, "com.example.two");
    let alice = NpmClient::register(modules, &service, &service.url, ALICE);
    (service, alice, bob)
}

#[test]
fn the_npm_client_and_wormhole_chat_exchange_files() {
    let Some(modules) = modules() else { return };
    let (service, mut alice, bob) = people(&modules);
    let content: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    let file = service.path("from-alice.bin");
    std::fs::write(&file, &content).unwrap();
    alice.ask(&json!({"operation": "send", "to": BOB, "text": "a file", "file": file}));
    let messages = bob.messages();
    assert_eq!(texts(&messages), ["a file"], "{messages:?}");
    assert!(std::fs::read(bob.path("from-alice.bin")).unwrap() == content, "another file");

    let content: Vec<u8> = content.into_iter().rev().collect();
    std::fs::write(bob.path("from-bob.bin"), &content).unwrap();
    alice.ask(&json!({"operation": "connect"}));
    bob.succeed(&["send", ALICE, "--file", "from-bob.bin", "a file for you"]);
    let received = alice.ask(&json!({"operation": "receive"}));
    assert_eq!(received["text"], "a file for you");
    let arrived = received["files"][0]["content"].as_str().unwrap();
    assert!(BASE64.decode(arrived.as_bytes()).unwrap() == content, "another file");
}

#[test]
fn the_npm_client_and_wormhole_chat_exchange_texts() {
    let Some(modules) = modules() else { return };
    let (_service, mut alice, bob) = people(&modules);
    alice.ask(&json!({"operation": "send", "to": BOB, "text": "hello"}));
    let messages = bob.messages();
    assert_eq!(texts(&messages), ["hello"]);
    assert_eq!(messages[0]["from"]["claimed_number"], ALICE);
    alice.ask(&json!({"operation": "connect"}));
    bob.succeed(&["send", ALICE, "hello yourself"]);
    let first = alice.ask(&json!({"operation": "receive"}));
    assert_eq!((&first["source"], &first["text"]), (&json!(BOB), &json!("hello yourself")));
    for number in 0..10 {
        alice.ask(&json!({"operation": "send", "to": BOB, "text": format!("{number}")}));
    }
    let numbers: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(texts(&bob.messages()), numbers);
}

fn modules() -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
        eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
        return None;
    };
    Some(PathBuf::from(peers).join("libsignal-service/node_modules"))
}

/// Length of the files, in bytes.
const SIZE: usize = (3 << 20) + 7;

const DRIVER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/messaging/peers/throneless.cjs");
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transfers/tls/server.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transfers/tls/server.key");
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transfers/tls/ca.pem");
