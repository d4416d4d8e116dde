//! Interoperability with Python's packages X3DH and XEdDSA, which run in their own process. `scripts/peers` installs them; without
//! `WORMHOLE_PEERS` these tests are skipped, except under `CI`.

#![cfg(not(target_family = "wasm"))] // starts programs
#![expect(
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic, and says why it did nothing"
)]

#[path = "support/person.rs"]
mod person;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use data_encoding::BASE64;
use person::{Person, address};
use serde_json::{Value, json};
use wormhole_chat::{DeviceId, PreKeyBundle, PublicKey, Signature};

/// The running peer.
struct Oracle {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts it, if the packages are installed.
    fn start() -> Option<Self> {
        let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "WORMHOLE_PEERS is not set: run scripts/peers"
            );
            eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
            return None;
        };
        let mut command = Command::new(PathBuf::from(peers).join("venv-chat/bin/python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/oracles.py"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, requests, answers })
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        answer
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn key(value: &Value) -> PublicKey {
    PublicKey::decode(&bytes(value)).unwrap()
}

#[test]
fn signatures_hold_on_both_sides() {
    let Some(mut oracle) = Oracle::start() else { return };
    for number in 0..32 {
        let us = Person::new(number);
        let message = us.signed.pair.public().encode();
        let mut request = json!({
            "operation": "verify",
            "key": BASE64.encode(&us.identity.pair.public().encode()),
            "message": BASE64.encode(&message),
            "signature": BASE64.encode(&us.signed.signature.0),
        });
        assert_eq!(oracle.ask(&request)["holds"], true);
        request["message"] = BASE64.encode(b"another message").into();
        assert_eq!(oracle.ask(&request)["holds"], false);

        let private = us.identity.pair.private().as_secret().expose();
        let request = json!({
            "operation": "sign",
            "private": BASE64.encode(private),
            "message": BASE64.encode(&message),
        });
        let signature = Signature::from_slice(&bytes(&oracle.ask(&request)["signature"])).unwrap();
        assert!(us.identity.pair.public().verify(&message, &signature));
        assert!(!us.identity.pair.public().verify(b"another message", &signature));
    }
}

#[test]
fn a_first_message_is_decrypted_by_an_independent_implementation() {
    for with_one_time in [false, true] {
        let Some(mut oracle) = Oracle::start() else { return };
        let keys = oracle.ask(&json!({ "operation": "bundle", "withOneTime": with_one_time }));
        let bundle = PreKeyBundle {
            device: DeviceId::PRIMARY,
            registration_id: 1,
            identity: key(&keys["identity"]),
            signed: (
                1,
                key(&keys["signed"]),
                Signature::from_slice(&bytes(&keys["signature"])).unwrap(),
            ),
            one_time: with_one_time.then(|| (1, key(&keys["oneTime"]))),
            kem: None,
        };
        let (mut us, them) = (Person::new(1), address(2));
        let record = us.sessions.entry(them).or_default();
        record.initiate(&us.identity, &bundle.verify().unwrap(), us.now, &mut us.rng).unwrap();
        // The package deletes its one-time key when it has decrypted the first message that it gets.
        let _skipped = us.write(them, b"skipped");
        let sent = us.write(them, b"hello");
        let request = json!({ "operation": "receive", "message": BASE64.encode(&sent.bytes) });
        assert_eq!(bytes(&oracle.ask(&request)["plaintext"]), b"hello", "{with_one_time}");
    }
}
