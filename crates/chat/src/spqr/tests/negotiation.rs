//! Whether the two sides use the ratchet.

use super::*;

fn try_field(
    side: &Spqr,
    field: &[u8],
    is_first: bool,
    rng: &mut ChaCha20Rng,
) -> Result<bool, SpqrError> {
    let incoming = IncomingField { field, is_first, limit: LIMIT };
    side.receive(incoming, rng).map(|(step, _)| matches!(step, SpqrStep::FellBack))
}

#[test]
fn a_peer_without_the_ratchet_gets_a_session_without_it() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, bob] = pair(false, &mut rng);
    assert_eq!(send(&mut alice).key, None);
    for side in [&alice, &bob] {
        for field in [&[][..], &[0]] {
            assert_eq!(try_field(side, field, false, &mut rng), Ok(true));
        }
    }
}

#[test]
fn a_required_ratchet_is_used_from_the_first_message_and_never_given_up() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, mut bob] = pair(true, &mut rng);
    let sent = send(&mut alice);
    assert!(sent.key.is_some());
    for field in [&[][..], &[0]] {
        assert_eq!(try_field(&alice, field, false, &mut rng), Err(SpqrError::Downgrade));
    }
    deliver(&mut bob, &sent, &mut rng);
}

#[test]
fn once_agreed_it_can_never_be_turned_off() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(false, &mut rng);
    for _ in 0..100 {
        exchange(&mut pair, &mut rng);
        for side in &pair {
            for (field, is_first) in [(&[][..], false), (&[], true), (&[0], false), (&[0], true)] {
                let result = try_field(side, field, is_first, &mut rng);
                assert_eq!(result, Err(SpqrError::Downgrade));
            }
        }
    }
}

#[test]
fn an_unknown_version_is_refused_even_in_the_first_message() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [alice, bob] = pair(false, &mut rng);
    for version in [2, 255] {
        for side in [&alice, &bob] {
            let error = SpqrError::Decode(SpqrDecodeError::UnknownVersion(version));
            assert_eq!(try_field(side, &[version, 1, 1, 0], true, &mut rng), Err(error));
        }
    }
}

#[test]
fn only_first_messages_of_the_initiator_may_have_no_key() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(false, &mut rng);
    let repeated = [send(&mut pair[0]), send(&mut pair[0])];
    assert!(repeated.iter().all(|sent| sent.key.is_none()));
    let [_, bob] = &pair;
    assert_eq!(try_field(bob, &repeated[0].field, false, &mut rng), Err(SpqrError::NoKey));
    exchange(&mut pair, &mut rng);
    // Late first messages are read, also after the initiator has learned that both have the ratchet.
    for sent in &repeated {
        deliver(&mut pair[1], sent, &mut rng);
    }
    exchange(&mut pair, &mut rng);
    assert!(send(&mut pair[0]).key.is_some());
    let (unprotected, later) = ([1, 1, 0, 0], [1, 2, 0, 0]);
    let [alice, bob] = &pair;
    assert_eq!(try_field(bob, &unprotected, false, &mut rng), Err(SpqrError::NoKey));
    assert_eq!(try_field(alice, &unprotected, true, &mut rng), Err(SpqrError::NoKey));
    assert_eq!(try_field(bob, &later, true, &mut rng), Err(SpqrError::EpochTooNew));
}

#[test]
fn attack_7_no_message_lacks_a_key_after_the_first_exchange() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(false, &mut rng);
    let first = send(&mut pair[0]);
    while pair[1].braid.epoch == 1 {
        exchange(&mut pair, &mut rng);
        let expected = if pair[1].braid.epoch == 1 { Ok(false) } else { Err(SpqrError::NoKey) };
        assert_eq!(try_field(&pair[1], &first.field, true, &mut rng), expected);
    }
}
