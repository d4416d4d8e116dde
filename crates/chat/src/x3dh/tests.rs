//! Compares key agreements with two other implementations.

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::*;
use crate::kem::KemKeyPair;
use crate::key::{PrivateKey, Signature};
use crate::message::PreKeySignalMessage;
use crate::ratchet::Ratchet;
use crate::time::Timestamp;

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn array(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

fn pair(value: &Value) -> KeyPair {
    PrivateKey::from_secret(&Secret::new(array(value))).into()
}

fn signed(pair: KeyPair) -> SignedPreKey {
    SignedPreKey { id: 22, pair, signature: Signature([0; 64]), created: Timestamp(0) }
}

#[test]
fn x3dh_agrees_with_another_implementation() {
    let text = include_str!("../../../../vectors/chat/x3dh_oracle.json");
    let file: Value = serde_json::from_str(text).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let signed = signed(pair(&case["signed_private"]));
        let one_time = case["one_time_private"].is_string();
        let one_time =
            one_time.then(|| OneTimePreKey { id: 1, pair: pair(&case["one_time_private"]) });
        let chosen = ChosenPreKeys { signed: &signed, one_time: one_time.as_ref(), kem: None };
        let [theirs, base] = ["initiator_identity", "base_key"]
            .map(|name| PublicKey::from_u(array(&case[name])).unwrap());
        let agreed = respond(&pair(&case["identity_private"]), chosen, &theirs, &base).unwrap();
        assert_eq!(agreed.root.0.expose(), &array(&case["secret"]), "{case}");
        assert_eq!(agreed.version, Version::X3dh);

        let identity = PublicKey::from_u(array(&case["identity_public"])).unwrap();
        let signature = Signature::from_slice(&hex(&case["signature"])).unwrap();
        assert!(identity.verify(&signed.pair.public().encode(), &signature));
    }
}

#[test]
fn pqxdh_agrees_with_libsignal() {
    let text = include_str!("../../../../vectors/chat/pqxdh.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let responder = &file["responder"];
    let message = PreKeySignalMessage::decode(&hex(&file["first_message"])).unwrap();
    let (kem_id, ciphertext) = message.kem.as_ref().unwrap();
    let secret = hex(&responder["kyber1024_secret"]);
    let kem = KemPreKey {
        id: *kem_id,
        pair: KemKeyPair::from_private_bytes(&secret[1..]).unwrap(),
        signature: Signature([0; 64]),
        last_resort: false,
        created: Timestamp(0),
    };
    let shared = kem.pair.decapsulate(ciphertext);
    assert_eq!(shared.expose(), &array(&file["kyber_shared_secret"]));

    let signed = signed(pair(&responder["signed_prekey_priv"]));
    let one_time = OneTimePreKey { id: 1, pair: pair(&responder["one_time_prekey_priv"]) };
    let chosen =
        ChosenPreKeys { signed: &signed, one_time: Some(&one_time), kem: Some((&kem, ciphertext)) };
    let identity = pair(&responder["identity_priv"]);
    let agreed = respond(&identity, chosen, &message.identity, &message.base_key).unwrap();
    assert_eq!(agreed.version, Version::Pqxdh);
    assert_eq!(agreed.root.0.expose(), &array(&file["root"]));
    assert_eq!(agreed.chain.key.expose(), &array(&file["chain"]));

    let text = include_str!("../../../../vectors/chat/spqr_wire.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let first = &message.message;
    let ratchet = Ratchet::responder(agreed.root, signed.pair, agreed.chain);
    let (_, seed) = ratchet.find(&first.ratchet_key, first.counter, 0).unwrap();
    assert_eq!(seed.0.expose(), &array(&file["messages"][0]["dr_seed"]));
}
