//! Transit and its acknowledgement: the known answers of the reference. The recorded conversations of real
//! peers are replayed in `tests/transfer/recordings.rs`.

use serde_json::Value;
use wormhole_magic::transfer::Ack;
use wormhole_magic::transit::{Opener, RelaySide, Role, Sealer, TransitKey};

use crate::{bytes, secret, text, vectors};

fn key(vectors: &Value) -> TransitKey {
    TransitKey::new(secret(vectors, "transit_key"))
}

fn plaintext(case: &Value) -> Vec<u8> {
    text(case, "plaintext_utf8").as_bytes().to_vec()
}

#[test]
fn handshake_lines_are_those_of_the_reference() {
    let vectors = vectors("transit");
    let key = key(&vectors);
    assert_eq!(key.hello(Role::Sender), text(&vectors, "sender_handshake_ascii").as_bytes());
    assert_eq!(key.hello(Role::Receiver), text(&vectors, "receiver_handshake_ascii").as_bytes());
    let side = RelaySide(bytes(&vectors, "relay_side").try_into().unwrap());
    assert_eq!(key.relay_line(side), text(&vectors, "relay_handshake_ascii").as_bytes());
}

#[test]
fn records_are_those_of_the_reference_in_both_directions() {
    let vectors = vectors("transit");
    let key = key(&vectors);
    let mut sealer = Sealer::new(&key, Role::Sender);
    let mut opener = Opener::new(&key, Role::Sender);
    for case in vectors["sender_records"].as_array().unwrap() {
        let mut record = bytes(case, "record");
        let counter = u64::from_be_bytes(record[20..28].try_into().unwrap());
        while sealer.records() < counter {
            let mut skipped = sealer.seal_to_vec(b"x").unwrap();
            opener.open(&mut skipped).unwrap();
        }
        assert_eq!(sealer.seal_to_vec(&plaintext(case)).unwrap(), record);
        assert_eq!(opener.open(&mut record).unwrap(), plaintext(case));
    }
}

#[test]
fn the_acknowledgement_is_that_of_the_reference() {
    let vectors = vectors("transit");
    let (key, case) = (key(&vectors), &vectors["receiver_ack_record"]);
    let mut record = bytes(case, "record");
    let sealed = Sealer::new(&key, Role::Receiver).seal_to_vec(&plaintext(case)).unwrap();
    assert_eq!(sealed, record);
    let mut opener = Opener::new(&key, Role::Receiver);
    let opened = opener.open(&mut record).unwrap();
    assert_eq!(opened, plaintext(case));
    assert!(Ack::decode(opened).unwrap().sha256.is_some());
}

#[test]
fn the_keys_of_the_records_are_those_of_the_reference() {
    let vectors = vectors("transit");
    let key = key(&vectors);
    assert_eq!(key.record_key(Role::Sender), secret(&vectors, "sender_record_key"));
    assert_eq!(key.record_key(Role::Receiver), secret(&vectors, "receiver_record_key"));
}
