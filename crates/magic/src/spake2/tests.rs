use curve25519_dalek::{constants, edwards::EdwardsPoint, traits::Identity as _};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;

fn start(code: &str, seed: u64) -> (Spake2, [u8; MESSAGE]) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    Spake2::start(&Code::parse(code).unwrap(), &AppId::default(), &mut rng)
}

fn message(point: [u8; 32]) -> Vec<u8> {
    [&[SYMMETRIC], point.as_slice()].concat()
}

fn refusal(message: &[u8]) -> PakeError {
    start("4-purple-sausages", 1).0.finish(message).unwrap_err()
}

#[test]
fn the_same_code_gives_the_same_key() {
    let (a, from_a) = start("4-purple-sausages", 1);
    let (b, from_b) = start("4-purple-sausages", 2);
    assert_eq!(a.finish(&from_b).unwrap(), b.finish(&from_a).unwrap());
}

#[test]
fn another_code_gives_another_key() {
    let (a, from_a) = start("4-purple-sausages", 1);
    let (b, from_b) = start("4-purple-sausage", 2);
    assert_ne!(a.finish(&from_b).unwrap(), b.finish(&from_a).unwrap());
}

#[test]
fn our_own_message_is_refused() {
    let (exchange, sent) = start("4-purple-sausages", 1);
    assert_eq!(exchange.finish(&sent).unwrap_err(), PakeError::Reflected);
}

#[test]
fn the_identity_and_low_order_points_are_refused() {
    for torsion in constants::EIGHT_TORSION {
        assert_eq!(refusal(&message(torsion.compress().0)), PakeError::WrongOrder);
    }
}

#[test]
fn a_point_of_mixed_order_is_refused() {
    let mixed = constants::ED25519_BASEPOINT_POINT + constants::EIGHT_TORSION[1];
    assert_eq!(refusal(&message(mixed.compress().0)), PakeError::WrongOrder);
}

#[test]
fn a_point_encoded_another_way_is_refused() {
    // The identity is y = 1; y = 1 + q means the same and fits into 255 bits.
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (0xee, 0x7f);
    assert_eq!(CompressedEdwardsY(bytes).decompress(), Some(EdwardsPoint::identity()));
    assert_eq!(refusal(&message(bytes)), PakeError::NotCanonical);
}

#[test]
fn bytes_that_are_not_a_point_are_rejected() {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert_eq!(refusal(&message(bytes)), PakeError::NotAPoint);
}

#[test]
fn another_length_or_side_is_refused() {
    assert_eq!(refusal(&[]), PakeError::WrongLength(0));
    assert_eq!(refusal(&[SYMMETRIC; 34]), PakeError::WrongLength(34));
    assert_eq!(refusal(&[b'A'; 33]), PakeError::WrongSide(b'A'));
}

#[test]
fn an_exchange_does_not_print_its_password() {
    assert_eq!(format!("{:?}", start("4-purple-sausages", 1).0), "Spake2(…)");
}
