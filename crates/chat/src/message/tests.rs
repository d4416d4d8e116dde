//! Recorded messages of libsignal.

use data_encoding::HEXLOWER;
use serde_json::Value;
use wormhole_kit::Secret;

use super::*;
use crate::kdf::{halves, hkdf};

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn array(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

/// The keys of a recorded message. Its sessions have a post-quantum ratchet, whose key is the salt.
fn keys(case: &Value) -> MessageKeys {
    let derived =
        hkdf::<80>(&array(&case["spqr_key"]), &array(&case["dr_seed"]), b"WhisperMessageKeys");
    let (secrets, iv) = derived.split_first_chunk::<64>().unwrap();
    let (cipher, mac) = halves(secrets);
    MessageKeys { cipher, mac, iv: iv.try_into().unwrap() }
}

#[test]
fn every_recorded_message_is_decoded_authenticated_and_decrypted() {
    let text = include_str!("../../../../vectors/chat/spqr_wire.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let [alice, bob] = ["identity_key_a", "identity_key_b"]
        .map(|name| PublicKey::decode(&hex(&file[name])).unwrap());
    let cases = file["messages"].as_array().unwrap();
    assert_eq!(cases.len(), 179);
    for case in cases {
        let bytes = hex(&case["hex"]);
        let is_first = case["type"] == 3;
        let message = if is_first {
            PreKeySignalMessage::decode(&bytes).unwrap().message
        } else {
            SignalMessage::decode(&bytes).unwrap()
        };
        let (from, to) = if case["dir"] == "A>B" { (&alice, &bob) } else { (&bob, &alice) };
        let keys = keys(case);
        assert!(message.is_authentic(&keys, from, to), "{case}");
        assert!(!message.is_authentic(&keys, to, from));
        let plaintext = cipher::decrypt(&keys.cipher, &keys.iv, &message.ciphertext).unwrap();
        let text = case["plaintext"].as_str().unwrap();
        assert_eq!(String::from_utf8_lossy(&plaintext), text);
        // Without the post-quantum ratchet, the same seed gives other keys.
        let classic = crate::ratchet::MessageSeed(Secret::new(array(&case["dr_seed"]))).keys(None);
        assert!(!message.is_authentic(&classic, from, to));
    }
}
