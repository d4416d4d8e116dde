//! A peer in its own process: npm's `@signalapp/libsignal-client`.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use data_encoding::BASE64;
use serde_json::{Value, json};
use wormhole_chat::{
    Address, Ciphertext, CiphertextKind, DeviceId, KemPublicKey, PreKeyBundle, PublicKey, Signature,
};

use crate::person::{Person, With, address};

/// The last version without post-quantum keys.
pub(crate) const X3DH_ONLY: &str = "0.22.0";

/// The last version that supports sessions of both kinds.
pub(crate) const BOTH: &str = "0.72.1";

/// A version that demands the post-quantum ratchet.
pub(crate) const RATCHET: &str = "0.103.0";

/// Our address of the peer.
pub(crate) const THEM: u8 = 2;

/// A running peer.
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer, if its package is installed.
    pub(crate) fn start(version: &str) -> Option<Self> {
        Self::start_as(version, THEM)
    }

    /// Starts a peer with this address.
    pub(crate) fn start_as(version: &str, number: u8) -> Option<Self> {
        let modules = modules(version)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/libsignal-peer.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(modules).arg(address(number).account.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, requests, answers })
    }

    /// Sends a request; `Err` is the package's error.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.requests, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["error"].as_str() {
            None => Ok(answer),
            Some(error) => Err(error.to_owned()),
        }
    }

    pub(crate) fn bundle(&mut self, with: With) -> PreKeyBundle {
        let request =
            json!({"operation": "bundle", "withOneTime": with.one_time, "withKem": with.kem});
        let bundle = self.ask(&request).unwrap();
        let (signed, one_time, kem) = (&bundle["signed"], &bundle["oneTime"], &bundle["kem"]);
        PreKeyBundle {
            device: DeviceId::PRIMARY,
            registration_id: number(&bundle["registrationId"]),
            identity: key(&bundle["identity"]),
            signed: (number(&signed["id"]), key(&signed["key"]), signature(&signed["signature"])),
            one_time: with.one_time.then(|| (number(&one_time["id"]), key(&one_time["key"]))),
            kem: with.kem.then(|| {
                let key = KemPublicKey::decode(&bytes(&kem["key"])).unwrap();
                (number(&kem["id"]), key, signature(&kem["signature"]))
            }),
        }
    }

    /// Passes our bundle to the peer.
    pub(crate) fn begin(&mut self, us: Address, bundle: &PreKeyBundle) {
        let (id, key, signature) = &bundle.signed;
        let mut json = json!({
            "registrationId": bundle.registration_id,
            "identity": BASE64.encode(&bundle.identity.encode()),
            "signed": {
                "id": id, "key": BASE64.encode(&key.encode()), "signature": BASE64.encode(&signature.0)
            },
        });
        if let Some((id, key)) = &bundle.one_time {
            json["oneTime"] = json!({"id": id, "key": BASE64.encode(&key.encode())});
        }
        if let Some((id, key, signature)) = &bundle.kem {
            let (key, signature) = (BASE64.encode(&key.encode()), BASE64.encode(&signature.0));
            json["kem"] = json!({"id": id, "key": key, "signature": signature});
        }
        let peer = us.account.to_string();
        self.ask(&json!({"operation": "begin", "peer": peer, "bundle": json})).unwrap();
    }

    pub(crate) fn write(&mut self, us: Address, text: &[u8]) -> Ciphertext {
        let peer = us.account.to_string();
        let request =
            json!({"operation": "encrypt", "peer": peer, "plaintext": BASE64.encode(text)});
        let answer = self.ask(&request).unwrap();
        let first = answer["first"].as_bool().unwrap();
        let kind = if first { CiphertextKind::PreKey } else { CiphertextKind::Signal };
        Ciphertext { kind, bytes: bytes(&answer["message"]) }
    }

    pub(crate) fn read(&mut self, us: Address, sent: &Ciphertext) -> Result<Vec<u8>, String> {
        let first = sent.kind == CiphertextKind::PreKey;
        let (peer, message) = (us.account.to_string(), BASE64.encode(&sent.bytes));
        let request =
            json!({"operation": "decrypt", "peer": peer, "first": first, "message": message});
        self.ask(&request).map(|answer| bytes(&answer["plaintext"]))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn modules(version: &str) -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
        eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
        return None;
    };
    Some(PathBuf::from(peers).join(format!("libsignal-{version}/node_modules")))
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

pub(crate) fn key(value: &Value) -> PublicKey {
    PublicKey::decode(&bytes(value)).unwrap()
}

pub(crate) fn signature(value: &Value) -> Signature {
    Signature::from_slice(&bytes(value)).unwrap()
}

pub(crate) fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

/// Our device and a peer, with a session that one of them has started.
pub(crate) fn met(version: &str, with: With, we_begin: bool) -> Option<(Person, Peer)> {
    let (mut us, mut peer) = (Person::new(1), Peer::start(version)?);
    if we_begin {
        let bundle = peer.bundle(with).verify().unwrap();
        let record = us.sessions.entry(address(THEM)).or_default();
        record.initiate(&us.identity, &bundle, us.now, &mut us.rng).unwrap();
    } else {
        peer.begin(us.address, &us.bundle(with));
    }
    Some((us, peer))
}
