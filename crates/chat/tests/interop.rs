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

#[path = "support/peer.rs"]
mod peer;
#[path = "support/person.rs"]
mod person;

use data_encoding::BASE64;
use peer::{BOTH, Peer, RATCHET, THEM, X3DH_ONLY, met};
use person::{NO_ONE_TIME, PQXDH, Person, With, X3DH, address};
use rand_core::RngCore;
use serde_json::json;
use wormhole_chat::{
    Ciphertext, CiphertextKind, DecryptError, DecryptionErrorMessage, DeviceId, Timestamp,
};

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
fn requests_to_send_a_message_again_are_understood_in_both_directions() {
    let device = DeviceId::new(3).unwrap();
    let time = 1_600_000_000_000_u64;
    for (version, with) in [(BOTH, PQXDH), (RATCHET, PQXDH)] {
        let Some((mut us, mut peer)) = met(version, with, true) else { return };
        for _ in 0..2 {
            // The first one may start a session, the second one belongs to it.
            let sent = us.write(address(THEM), b"lost");
            let first = sent.kind == CiphertextKind::PreKey;
            let message = BASE64.encode(&sent.bytes);
            let request = json!({"operation": "askAgain", "message": message, "first": first, "timestamp": time, "device": 3});
            let theirs = peer::bytes(&peer.ask(&request).unwrap()["content"]);
            let ours =
                DecryptionErrorMessage::new(&sent.bytes, first, Timestamp(time), device).unwrap();
            assert_eq!(DecryptionErrorMessage::from_plaintext(&theirs), Some(ours), "{version}");
            assert_eq!(ours.to_plaintext(), theirs);
            peer.read(us.address, &sent).unwrap();
            let answer = peer.write(us.address, b"lost, too");
            let first = answer.kind == CiphertextKind::PreKey;
            let ours =
                DecryptionErrorMessage::new(&answer.bytes, first, Timestamp(time), device).unwrap();
            let content = BASE64.encode(&ours.to_plaintext());
            let us_name = us.address.account.to_string();
            let request = json!({"operation": "readRequest", "peer": us_name, "content": content});
            let read = peer.ask(&request).unwrap();
            let expected = json!({"timestamp": time, "device": 3, "isCurrent": true});
            assert_eq!(read, expected, "{version}");
            us.read(address(THEM), &answer).unwrap();
        }
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
