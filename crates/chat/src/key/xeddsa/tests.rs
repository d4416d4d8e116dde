//! Compares signatures with another implementation, and rejects modified ones.

use data_encoding::HEXLOWER;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_core::{CryptoRng, RngCore};
use serde_json::Value;

use super::super::KeyPair;
use super::*;

/// A random number generator that returns fixed bytes.
struct Script(Vec<u8>);

impl RngCore for Script {
    fn next_u32(&mut self) -> u32 {
        unimplemented!("only bytes are drawn")
    }

    fn next_u64(&mut self) -> u64 {
        unimplemented!("only bytes are drawn")
    }

    fn fill_bytes(&mut self, room: &mut [u8]) {
        room.copy_from_slice(&self.0);
    }

    fn try_fill_bytes(&mut self, room: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(room);
        Ok(())
    }
}

impl CryptoRng for Script {}

fn cases() -> Vec<Value> {
    let text = include_str!("../../../../../vectors/chat/xeddsa.json");
    let mut file: Value = serde_json::from_str(text).unwrap();
    file["cases"].take().as_array().unwrap().clone()
}

fn bytes(case: &Value, name: &str) -> Vec<u8> {
    HEXLOWER.decode(case[name].as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(case: &Value, name: &str) -> [u8; N] {
    bytes(case, name).try_into().unwrap()
}

#[test]
fn our_signatures_are_those_of_the_specification() {
    for case in cases() {
        let mut rng = Script(bytes(&case, "nonce"));
        let signature = sign(&array(&case, "private"), &bytes(&case, "message"), &mut rng);
        assert_eq!(signature.0, array(&case, "spec"), "{case}");
    }
}

#[test]
fn both_kinds_of_signatures_hold() {
    let mut signs = [0, 0];
    for case in cases() {
        let (public, message) = (array(&case, "public"), bytes(&case, "message"));
        for kind in ["spec", "sign_in_top_bit"] {
            assert!(verify(&public, &message, &Signature(array(&case, kind))), "{kind} {case}");
        }
        signs[usize::try_from(case["sign"].as_u64().unwrap()).unwrap()] += 1;
    }
    assert!(signs.iter().all(|count| *count > 0), "both signs occur");
}

#[test]
fn a_signature_is_valid_only_for_its_message_and_key() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for _ in 0..64 {
        let (pair, other) = (KeyPair::random(&mut rng), KeyPair::random(&mut rng));
        let signature = pair.sign(b"message", &mut rng);
        assert!(pair.public().verify(b"message", &signature));
        assert!(!pair.public().verify(b"massage", &signature));
        assert!(!other.public().verify(b"message", &signature));
        assert_eq!(signature.0[63] >> 7, 0);
    }
}

#[test]
fn attack_21_every_flipped_bit_breaks_a_signature() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let pair = KeyPair::random(&mut rng);
    let signature = pair.sign(b"message", &mut rng);
    for bit in 0..512 {
        let mut bad = signature;
        bad.0[bit / 8] ^= 1 << (bit % 8);
        assert!(!pair.public().verify(b"message", &bad), "bit {bit}");
    }
}

#[test]
fn attack_21_a_signature_whose_scalar_was_raised_by_the_order_is_refused() {
    // The order of the base point in little-endian order.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = HEXLOWER.decode(order.as_bytes()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let pair = KeyPair::random(&mut rng);
    let mut signature = pair.sign(b"message", &mut rng);
    let mut carry = 0;
    for (byte, add) in signature.0[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert!(!pair.public().verify(b"message", &signature));
}
