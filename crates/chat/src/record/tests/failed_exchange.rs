//! A peer whose part of the post-quantum exchange is wrong.

use super::post_quantum::{NOW, Side, exchange};
use super::*;

/// Bob has read two messages of Alice, whose later ones do not fit together.
fn broken() -> (Side, Side) {
    let (mut alice, mut bob) = (Side::new(1, false), Side::new(2, false));
    alice.initiate(&bob);
    let session = alice.record.current.as_mut().unwrap();
    session.spqr.as_mut().unwrap().break_exchange();
    for _ in 0..2 {
        exchange(&mut alice, &mut bob);
    }
    (alice, bob)
}

#[test]
fn an_exchange_that_fails_three_times_needs_another_session() {
    let (mut alice, mut bob) = broken();
    for failures in 1..=3 {
        assert!(bob.record.can_encrypt(NOW));
        let sent = alice.write();
        // Delivered twice, it counts once.
        for _ in 0..2 {
            assert_eq!(bob.read(&sent), Err(DecryptError::BadMac));
            assert_eq!(bob.record.failed_exchanges(), failures);
            bob.record = SessionRecord::decode(&bob.record.encode()).unwrap();
        }
    }
    assert!(!bob.record.can_encrypt(NOW));
    bob.initiate(&alice);
    for _ in 0..3 {
        exchange(&mut bob, &mut alice);
    }
    assert!(bob.record.has_post_quantum_ratchet());
}

#[test]
fn a_forged_message_does_not_count() {
    let (mut alice, mut bob) = broken();
    for _ in 0..5 {
        let mut sent = alice.write();
        *sent.bytes.last_mut().unwrap() ^= 1;
        assert_eq!(bob.refuse(&sent), DecryptError::BadMac);
    }
    assert_eq!(bob.record.failed_exchanges(), 0);
}

#[test]
fn a_failed_session_does_not_become_the_current_one_again() {
    let (mut alice, mut bob) = broken();
    let late = alice.record.clone();
    for _ in 0..3 {
        bob.read(&alice.write()).unwrap_err();
    }
    bob.initiate(&alice);
    let current = bob.record.current.as_ref().unwrap().base_key;
    // A message of the old session that contributes nothing.
    alice.record = late;
    let spqr = alice.record.current.as_mut().unwrap().spqr.as_mut().unwrap();
    spqr.contribute_nothing();
    bob.read(&alice.write()).unwrap();
    assert_eq!(bob.record.current.as_ref().unwrap().base_key, current);
}

#[test]
fn attack_6_a_message_of_an_archived_session_is_not_taken_for_one_of_the_current_key() {
    // A server pretends to be Alice, with a key of its own, and lets the exchange fail.
    let (mut mallory, mut bob) = broken();
    let late = mallory.record.clone();
    for _ in 0..3 {
        bob.read(&mallory.write()).unwrap_err();
    }
    let alice = Side::with_keys(1, 11, false);
    bob.initiate(&alice);
    mallory.record = late;
    let spqr = mallory.record.current.as_mut().unwrap().spqr.as_mut().unwrap();
    spqr.contribute_nothing();
    bob.read(&mallory.write()).unwrap();
    assert_eq!(bob.record.their_identity(), Some(&alice.identity()));
    assert_eq!(bob.peer.unwrap().identity, mallory.identity());
}
