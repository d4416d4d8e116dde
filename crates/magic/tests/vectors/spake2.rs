//! The key exchange: its constants, each of its steps, and the whole of it.

use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha256};
use spake2::{Ed25519Group, Group, Identity, Password, Spake2 as Arithmetic};
use wormhole_magic::{AppId, code::Code, key::Key, spake2::Spake2};

use crate::{Fixed, bytes, cases, secret, text, vectors};

#[test]
fn the_constants_are_those_of_the_reference() {
    let part = vectors("spake2_params_ed25519");
    let (m, n, s) = (Ed25519Group::const_m(), Ed25519Group::const_n(), Ed25519Group::const_s());
    for (field, element) in [("M", m), ("N", n), ("S", s)] {
        assert_eq!(Ed25519Group::element_to_bytes(&element), bytes(&part, field), "{field}");
    }
    // Its value modulo the group's order is 0, and the next multiple has a digit more.
    let order = text(&part, "group_order_L");
    assert_eq!((decimal(order), order.len()), (Scalar::ZERO, 76));
}

#[test]
fn the_exchange_gives_the_messages_and_keys_of_the_reference() {
    for case in cases(&vectors("spake2_symmetric")) {
        let code = Code::parse(text(case, "code")).unwrap();
        let app_id = AppId::new(text(case, "appid"));
        let start = |field| Spake2::start(&code, &app_id, &mut Fixed(bytes(case, field)));
        let (a, from_a) = start("scalar_a_le32");
        let (b, from_b) = start("scalar_b_le32");
        assert_eq!(from_a.as_slice(), bytes(case, "msg_a"));
        assert_eq!(from_b.as_slice(), bytes(case, "msg_b"));
        let key = Key::new(secret(case, "shared_key"));
        assert_eq!(a.finish(&from_b), Ok(key.clone()));
        assert_eq!(b.finish(&from_a), Ok(key));
    }
}

#[test]
fn each_step_of_the_exchange_gives_what_the_reference_has() {
    for case in cases(&vectors("spake2_symmetric")) {
        let code = bytes(case, "code_utf8_nfc_hex");
        let password = Ed25519Group::hash_to_scalar(&code);
        assert_eq!(password.as_bytes().as_slice(), bytes(case, "pw_scalar_le32"));
        assert_eq!(password, decimal(text(case, "pw_scalar_dec")));

        let (a, b) = (bytes(case, "msg_a"), bytes(case, "msg_b"));
        let blinded = Ed25519Group::bytes_to_element(&b[1..]).unwrap();
        let element =
            (blinded - Ed25519Group::const_s() * password) * scalar(&bytes(case, "scalar_a_le32"));
        let shared = Ed25519Group::element_to_bytes(&element);
        assert_eq!(shared, bytes(case, "K_bytes_dh"));
        let app_id = text(case, "appid").as_bytes();
        let key = finalize(&code, app_id, &a[1..], &b[1..], &shared);
        assert_eq!(key, bytes(case, "shared_key"));
    }
}

#[test]
fn the_numbers_of_the_reference_s_own_tests_come_out() {
    let part = vectors("spake2_upstream_compat");
    let start = |field| {
        let password = Password::new(text(&part, "pw"));
        let rng = Fixed(bytes(&part, field));
        Arithmetic::<Ed25519Group>::start_symmetric_with_rng(&password, &Identity::new(b""), rng)
    };
    let (one, from_one) = start("scalar1_le32");
    let (two, from_two) = start("scalar2_le32");
    assert_eq!((&from_one, &from_two), (&bytes(&part, "msg1"), &bytes(&part, "msg2")));
    assert_eq!(one.finish(&from_two), Ok(bytes(&part, "key")));
    assert_eq!(two.finish(&from_one), Ok(bytes(&part, "key")));

    let passwords = part["password_to_scalar"].as_array().unwrap();
    assert_eq!(passwords.len(), 3);
    for case in passwords {
        let scalar = Ed25519Group::hash_to_scalar(&bytes(case, "pw_hex"));
        assert_eq!(scalar.as_bytes().as_slice(), bytes(case, "scalar_le32"));
    }

    let case = &part["finalize_symmetric"];
    let [password, identity, one, two, shared] =
        ["pw", "idSymmetric", "msg1", "msg2", "K"].map(|field| text(case, field).as_bytes());
    assert_eq!(finalize(password, identity, one, two, shared), bytes(case, "key"));
    assert_eq!(finalize(password, identity, two, one, shared), bytes(case, "key"));
}

/// The last step, which the `spake2` crate keeps to itself and takes for whole messages alone.
/// What ties this one to it: both make the same keys of [`each_step_of_the_exchange_gives_what_the_reference_has`].
fn finalize(password: &[u8], identity: &[u8], one: &[u8], two: &[u8], shared: &[u8]) -> Vec<u8> {
    Sha256::new()
        .chain_update(Sha256::digest(password))
        .chain_update(Sha256::digest(identity))
        .chain_update(one.min(two))
        .chain_update(one.max(two))
        .chain_update(shared)
        .finalize()
        .to_vec()
}

fn scalar(little_endian: &[u8]) -> Scalar {
    Scalar::from_canonical_bytes(little_endian.try_into().unwrap()).unwrap()
}

/// A decimal number modulo the order of the group.
fn decimal(digits: &str) -> Scalar {
    let ten = Scalar::from(10_u8);
    digits.bytes().fold(Scalar::ZERO, |sum, digit| sum * ten + Scalar::from(digit - b'0'))
}
