//! The recorded messages of libsignal 0.103: both sides repeat them byte for byte.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::super::braid::{Encapsulator, KeyOwner, State};
use super::super::kem::KeySeed;
use super::*;
use crate::message::{PreKeySignalMessage, SignalMessage};

fn file() -> Value {
    serde_json::from_str(include_str!("../../../../../vectors/chat/spqr_wire.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn secret(value: &Value) -> Secret<32> {
    Secret::new(hex(value).try_into().unwrap())
}

/// The recorded random choices, by epoch.
#[derive(Default)]
struct Choices {
    private_keys: BTreeMap<u64, Vec<u8>>,
    secrets: BTreeMap<u64, Secret<32>>,
}

impl Choices {
    /// Replaces a random choice with the recorded one.
    fn apply(&self, side: &mut Spqr) {
        let epoch = side.braid.epoch;
        match &mut side.braid.state {
            State::KeyOwner(KeyOwner::KeysUnsampled { seed }) => {
                if let Some(key) = self.private_keys.get(&epoch) {
                    *seed = KeySeed::Recorded(Box::new(key.clone().try_into().unwrap()));
                }
            }
            State::Encapsulator(Encapsulator::HeaderReceived { encapsulation }) => {
                if let Some(secret) = self.secrets.get(&epoch) {
                    encapsulation.random = secret.clone();
                }
            }
            State::KeyOwner(_) | State::Encapsulator(_) => {}
        }
    }
}

fn state(side: &Spqr) -> &'static str {
    match &side.braid.state {
        State::KeyOwner(owner) => match owner {
            KeyOwner::KeysUnsampled { .. } => "KeysUnsampled",
            KeyOwner::KeysSampled { .. } => "KeysSampled",
            KeyOwner::HeaderSent { .. } => "HeaderSent",
            KeyOwner::Ct1Received { .. } => "Ct1Received",
            KeyOwner::EkSentCt1Received { .. } => "EkSentCt1Received",
        },
        State::Encapsulator(encapsulator) => match encapsulator {
            Encapsulator::NoHeaderReceived { .. } => "NoHeaderReceived",
            Encapsulator::HeaderReceived { .. } => "HeaderReceived",
            Encapsulator::Ct1Sampled { .. } => "Ct1Sampled",
            Encapsulator::EkReceivedCt1Sampled { .. } => "EkReceivedCt1Sampled",
            Encapsulator::Ct1Acknowledged { .. } => "Ct1Acknowledged",
            Encapsulator::Ct2Sampled { .. } => "Ct2Sampled",
        },
    }
}

#[test]
fn both_sides_repeat_the_recorded_conversation() {
    let file = file();
    let mut choices = Choices::default();
    for epoch in file["epochs"].as_array().unwrap() {
        let number = epoch["epoch"].as_u64().unwrap();
        choices.private_keys.insert(number, hex(&epoch["dk"]));
        if epoch["encaps_m"].is_string() {
            choices.secrets.insert(number, secret(&epoch["encaps_m"]));
        }
    }
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let auth_key = secret(&file["pqxdh"]["spqr_auth_key"]);
    let alice = Spqr::initiator(auth_key.clone(), true, &mut rng);
    let bob = Spqr::responder(auth_key);
    assert_eq!(alice.braid.authenticator.root, secret(&file["auth0"]["root"]));
    assert_eq!(alice.braid.authenticator.mac, secret(&file["auth0"]["mac"]));
    let mut sides = [alice, bob];
    choices.apply(&mut sides[0]);
    for case in file["messages"].as_array().unwrap() {
        let bytes = hex(&case["hex"]);
        let is_first = case["type"] == 3;
        let field = match is_first {
            true => PreKeySignalMessage::decode(&bytes).unwrap().message.spqr,
            false => SignalMessage::decode(&bytes).unwrap().spqr,
        };
        let (from, to) = if case["dir"] == "A>B" { (0, 1) } else { (1, 0) };
        let expected = secret(&case["spqr_key"]);
        let (written, key) = sides[from].send().unwrap();
        assert_eq!(HEXLOWER.encode(&written), HEXLOWER.encode(&field), "{case}");
        assert_eq!(key.as_ref(), Some(&expected));
        let incoming = IncomingField { field: &field, is_first, limit: LIMIT };
        let (step, key) = sides[to].receive(incoming, &mut rng).unwrap();
        assert_eq!(key, Some(expected));
        let SpqrStep::Received(changes) = step else { panic!("both have the ratchet") };
        sides[to].commit(*changes);
        choices.apply(&mut sides[to]);
        assert_eq!(state(&sides[from]), case["sender_state"], "{case}");
        assert_eq!(state(&sides[to]), case["receiver_state"], "{case}");
        check_epoch(&file, case, &sides[to]);
    }
    assert_eq!(sides[0].braid.epoch, 3);
}

/// After the last message of an epoch, the keys are the recorded ones.
fn check_epoch(file: &Value, case: &Value, side: &Spqr) {
    let number = match case["n"].as_u64().unwrap() {
        85 => 0,
        172 => 1,
        _ => return,
    };
    let epoch = &file["epochs"][number];
    assert_eq!(side.braid.authenticator.root, secret(&epoch["auth_root_after"]));
    assert_eq!(side.braid.authenticator.mac, secret(&epoch["auth_mac_after"]));
    let Keys::Agreed(chains) = &side.keys else { panic!("agreed") };
    assert_eq!(chains.root, secret(&epoch["chain_root_after"]));
    let newest = chains.epochs.last().unwrap();
    let (ours, theirs) = match side.role {
        Role::Initiator => ("ck_a2b", "ck_b2a"),
        Role::Responder => ("ck_b2a", "ck_a2b"),
    };
    assert_eq!(newest.send.as_ref().unwrap().key, secret(&epoch[ours]));
    assert_eq!(newest.receive.key, secret(&epoch[theirs]));
}

#[test]
fn both_sides_repeat_the_recorded_conversation_with_losses() {
    let file = file();
    let run = &file["lossy_run"];
    let mut choices = Choices::default();
    choices.private_keys.insert(1, hex(&run["dk1"]));
    choices.private_keys.insert(2, hex(&run["dk2"]));
    choices.secrets.insert(1, secret(&run["m1"]));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let auth_key = secret(&run["auth_key"]);
    let mut sides = [Spqr::initiator(auth_key.clone(), true, &mut rng), Spqr::responder(auth_key)];
    choices.apply(&mut sides[0]);
    let mut late: BTreeMap<u64, Vec<(usize, Vec<u8>)>> = BTreeMap::new();
    for case in run["messages"].as_array().unwrap() {
        let (number, field) = (case["n"].as_u64().unwrap(), hex(&case["pq"]));
        let (from, to) = if case["dir"] == "A>B" { (0, 1) } else { (1, 0) };
        let (written, _) = sides[from].send().unwrap();
        compare(&written, &field);
        let mut arriving = Vec::new();
        match case["result"].as_str().unwrap().split_once('@') {
            Some((_, after)) => late.entry(after.parse().unwrap()).or_default().push((to, field)),
            None if case["result"] == "ok" => arriving.push((to, field)),
            None => {}
        }
        arriving.extend(late.remove(&number).unwrap_or_default());
        for (to, field) in arriving {
            let sent = Sent { field, key: Some(Secret::new([0; 32])), epoch: 0 };
            receive(&mut sides[to], &sent, &mut rng).unwrap();
            choices.apply(&mut sides[to]);
        }
        assert_eq!(state(&sides[from]), case["sender_state"], "{number}");
    }
    assert_eq!(sides[0].braid.epoch, 2);
}

/// The secret of the second epoch was not recorded, so its ciphertext is another one.
fn compare(written: &[u8], recorded: &[u8]) {
    let [mut written, mut recorded] =
        [written, recorded].map(|field| SpqrMessage::decode(field).unwrap().unwrap());
    if recorded.epoch == 2 {
        for message in [&mut written, &mut recorded] {
            if let SpqrPayload::Ciphertext1(chunk) | SpqrPayload::Ciphertext2(chunk) =
                &mut message.payload
            {
                chunk.data = [0; 32];
            }
        }
    }
    assert_eq!(written, recorded);
}
