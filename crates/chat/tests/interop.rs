//! Interoperability with npm's `@signalapp/libsignal-client`, which runs in its own process: 0.22.0
//! supports only X3DH, 0.72.1 also PQXDH, and 0.103.0 only PQXDH with the post-quantum ratchet. `scripts/peers` installs them;
//! without `WORMHOLE_PEERS` these tests are skipped, except under `CI`.

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
use person::{NO_ONE_TIME, PQXDH, Person, With, X3DH, address};
use rand_core::RngCore;
use serde_json::{Value, json};
use wormhole_chat::{
    Address, Ciphertext, CiphertextKind, DecryptError, DeviceId, KemPublicKey, PreKeyBundle,
    PublicKey, Signature,
};

/// The last version without post-quantum keys.
const X3DH_ONLY: &str = "0.22.0";

/// The last version that supports sessions of both kinds.
const BOTH: &str = "0.72.1";

/// A version that demands the post-quantum ratchet.
const RATCHET: &str = "0.103.0";

/// Our address of the peer.
const THEM: u8 = 2;

/// A running peer.
struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer, if its package is installed.
    fn start(version: &str) -> Option<Self> {
        let modules = modules(version)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/libsignal-peer.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(modules).arg(address(THEM).account.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, requests, answers })
    }

    /// Sends a request; `Err` is the package's error.
    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.requests, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["error"].as_str() {
            None => Ok(answer),
            Some(error) => Err(error.to_owned()),
        }
    }

    fn bundle(&mut self, with: With) -> PreKeyBundle {
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
    fn begin(&mut self, us: Address, bundle: &PreKeyBundle) {
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

    fn write(&mut self, us: Address, text: &[u8]) -> Ciphertext {
        let peer = us.account.to_string();
        let request =
            json!({"operation": "encrypt", "peer": peer, "plaintext": BASE64.encode(text)});
        let answer = self.ask(&request).unwrap();
        let first = answer["first"].as_bool().unwrap();
        let kind = if first { CiphertextKind::PreKey } else { CiphertextKind::Signal };
        Ciphertext { kind, bytes: bytes(&answer["message"]) }
    }

    fn read(&mut self, us: Address, sent: &Ciphertext) -> Result<Vec<u8>, String> {
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

fn modules(version: &str) -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("WORMHOLE_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "WORMHOLE_PEERS is not set: run scripts/peers");
        eprintln!("skipped: WORMHOLE_PEERS is not set (scripts/peers installs the peers)");
        return None;
    };
    Some(PathBuf::from(peers).join(format!("libsignal-{version}/node_modules")))
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn key(value: &Value) -> PublicKey {
    PublicKey::decode(&bytes(value)).unwrap()
}

fn signature(value: &Value) -> Signature {
    Signature::from_slice(&bytes(value)).unwrap()
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

/// Our device and a peer, with a session that one of them has started.
fn met(version: &str, with: With, we_begin: bool) -> Option<(Person, Peer)> {
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

const KINDS: [(&str, With); 8] = [
    (X3DH_ONLY, X3DH),
    (X3DH_ONLY, NO_ONE_TIME),
    (BOTH, X3DH),
    (BOTH, NO_ONE_TIME),
    (BOTH, PQXDH),
    (BOTH, With { one_time: false, kem: true }),
    (RATCHET, PQXDH),
    (RATCHET, With { one_time: false, kem: true }),
];

#[test]
fn a_session_that_we_begin_is_understood() {
    for (version, with) in KINDS {
        let Some((mut us, mut peer)) = met(version, with, true) else { return };
        // Two first messages, because the peer has not replied.
        for text in [&b"first"[..], b""] {
            let sent = us.write(address(THEM), text);
            assert_eq!(sent.kind, CiphertextKind::PreKey);
            assert_eq!(peer.read(us.address, &sent).unwrap(), text, "{version} {with:?}");
        }
        let answer = peer.write(us.address, b"answer");
        assert_eq!(us.read(address(THEM), &answer).unwrap(), b"answer");
        let sent = us.write(address(THEM), &[7; 10_000]);
        assert_eq!(sent.kind, CiphertextKind::Signal);
        assert_eq!(peer.read(us.address, &sent).unwrap(), [7; 10_000]);
    }
}

#[test]
fn a_session_that_the_peer_begins_is_understood() {
    for (version, with) in KINDS {
        let Some((mut us, mut peer)) = met(version, with, false) else { return };
        for text in [&b"first"[..], b"second"] {
            let sent = peer.write(us.address, text);
            assert_eq!(sent.kind, CiphertextKind::PreKey);
            assert_eq!(us.read(address(THEM), &sent).unwrap(), text, "{version} {with:?}");
        }
        let answer = us.write(address(THEM), b"answer");
        assert_eq!(answer.kind, CiphertextKind::Signal);
        assert_eq!(peer.read(us.address, &answer).unwrap(), b"answer");
        let sent = peer.write(us.address, b"third");
        assert_eq!(sent.kind, CiphertextKind::Signal);
        assert_eq!(us.read(address(THEM), &sent).unwrap(), b"third");
    }
}

#[test]
fn sessions_begun_at_the_same_moment_become_one() {
    for (version, with) in [(X3DH_ONLY, X3DH), (BOTH, PQXDH), (RATCHET, PQXDH)] {
        let Some((mut us, mut peer)) = met(version, with, true) else { return };
        peer.begin(us.address, &us.bundle(with));
        let (ours, theirs) = (us.write(address(THEM), b"ours"), peer.write(us.address, b"theirs"));
        assert_eq!(peer.read(us.address, &ours).unwrap(), b"ours");
        assert_eq!(us.read(address(THEM), &theirs).unwrap(), b"theirs");
        for _ in 0..3 {
            let sent = us.write(address(THEM), b"a");
            assert_eq!(peer.read(us.address, &sent).unwrap(), b"a");
            let sent = peer.write(us.address, b"b");
            assert_eq!(us.read(address(THEM), &sent).unwrap(), b"b");
        }
    }
}

#[test]
fn five_hundred_messages_in_random_order_arrive_once_each() {
    for (version, with, we_begin) in [
        (X3DH_ONLY, X3DH, true),
        (X3DH_ONLY, X3DH, false),
        (BOTH, PQXDH, true),
        (BOTH, PQXDH, false),
        (RATCHET, PQXDH, true),
        (RATCHET, PQXDH, false),
    ] {
        let Some((mut us, mut peer)) = met(version, with, we_begin) else { return };
        let (mut late, mut arrived) = (Vec::new(), Vec::new());
        for round in 0..25_u32 {
            // Twenty messages are written, of which ten arrive only in the next round: each side
            // keeps five chains of the other, so later messages would be lost.
            let mut sent: Vec<_> = (0..20_u32)
                .map(|number| {
                    let text = (round * 20 + number).to_be_bytes().to_vec();
                    // The side that did not begin can only write after it has read a message.
                    let coin = us.rng.next_u32().is_multiple_of(2);
                    let ours = if round == 0 { we_begin } else { coin };
                    let sent = match ours {
                        true => us.write(address(THEM), &text),
                        false => peer.write(us.address, &text),
                    };
                    (ours, text, sent)
                })
                .collect();
            shuffle(&mut sent, &mut us.rng);
            let mut arriving: Vec<_> = sent.split_off(if round == 24 { 0 } else { 10 });
            arriving.append(&mut late);
            shuffle(&mut arriving, &mut us.rng);
            arriving.iter().for_each(|message| deliver(&mut us, &mut peer, message));
            arrived.append(&mut arriving);
            late = sent;
        }
        assert_eq!(arrived.len(), 500);
        let has_ratchet = us.sessions[&address(THEM)].has_post_quantum_ratchet();
        assert_eq!(has_ratchet, version == RATCHET);
        for (ours, _, sent) in arrived.iter().rev().take(50) {
            refuse(&mut us, &mut peer, *ours, sent);
        }
    }
}

/// 600 messages exchange six keys.
#[test]
fn a_long_conversation_renews_the_post_quantum_keys() {
    for we_begin in [true, false] {
        let Some((mut us, mut peer)) = met(RATCHET, PQXDH, we_begin) else { return };
        for number in 0..300_u32 {
            let text = number.to_be_bytes();
            for ours in [we_begin, !we_begin] {
                if ours {
                    let sent = us.write(address(THEM), &text);
                    assert_eq!(peer.read(us.address, &sent).unwrap(), text);
                } else {
                    let sent = peer.write(us.address, &text);
                    assert_eq!(us.read(address(THEM), &sent).unwrap(), text);
                }
            }
            us.restart();
        }
        assert!(us.sessions[&address(THEM)].has_post_quantum_ratchet());
    }
}

/// Once such a peer has used the ratchet, later sessions are protected by it from the first message.
#[test]
fn a_later_session_demands_the_ratchet() {
    let Some((mut us, mut peer)) = met(RATCHET, PQXDH, true) else { return };
    for _ in 0..2 {
        let sent = us.write(address(THEM), b"ours");
        assert_eq!(peer.read(us.address, &sent).unwrap(), b"ours");
        let sent = peer.write(us.address, b"theirs");
        assert_eq!(us.read(address(THEM), &sent).unwrap(), b"theirs");
        let bundle = peer.bundle(PQXDH).verify().unwrap();
        let record = us.sessions.get_mut(&address(THEM)).unwrap();
        record.initiate(&us.identity, &bundle, us.now, &mut us.rng).unwrap();
        assert!(record.has_post_quantum_ratchet());
    }
}

fn shuffle<T>(list: &mut [T], rng: &mut impl RngCore) {
    for index in (1..list.len()).rev() {
        let other = rng.next_u64() % (u64::try_from(index).unwrap() + 1);
        list.swap(index, other.try_into().unwrap());
    }
}

fn deliver(us: &mut Person, peer: &mut Peer, (ours, text, sent): &(bool, Vec<u8>, Ciphertext)) {
    let mut bad = sent.clone();
    // Inside the inner message: the other fields of a first message have no MAC, and no effect once
    // the session is known.
    let at = if sent.kind == CiphertextKind::PreKey { 130 } else { bad.bytes.len() - 12 };
    bad.bytes[at] ^= 1;
    refuse(us, peer, *ours, &bad);
    if *ours {
        assert_eq!(peer.read(us.address, sent).as_ref(), Ok(text));
    } else {
        assert_eq!(us.read(address(THEM), sent).as_ref(), Ok(text));
    }
}

/// A modified message or a replay.
fn refuse(us: &mut Person, peer: &mut Peer, ours: bool, sent: &Ciphertext) {
    if ours {
        peer.read(us.address, sent).unwrap_err();
    } else {
        let before = us.stored(address(THEM));
        let error = us.read(address(THEM), sent).unwrap_err();
        assert!(matches!(error, DecryptError::BadMac | DecryptError::Duplicate), "{error:?}");
        assert_eq!(us.stored(address(THEM)), before);
    }
}

#[test]
fn our_signatures_hold_there_and_theirs_here() {
    for version in [X3DH_ONLY, BOTH, RATCHET] {
        let Some(mut peer) = Peer::start(version) else { return };
        for number in 0..32 {
            let us = Person::new(number);
            let request = json!({
                "operation": "verify",
                "key": BASE64.encode(&us.identity.pair.public().encode()),
                "message": BASE64.encode(&us.signed.pair.public().encode()),
                "signature": BASE64.encode(&us.signed.signature.0),
            });
            assert_eq!(peer.ask(&request).unwrap()["holds"], true);
            assert!(peer.bundle(NO_ONE_TIME).verify().is_ok());
        }
    }
}
