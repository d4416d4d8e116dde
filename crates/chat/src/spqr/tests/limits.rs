//! How many messages may be skipped, and how late one may be.

use super::*;

/// The initiator's messages while the responder reads none.
fn many(count: usize, rng: &mut ChaCha20Rng) -> (Vec<Sent>, Spqr) {
    let [mut alice, bob] = pair(true, rng);
    ((0..count).map(|_| send(&mut alice)).collect(), bob)
}

#[test]
fn attack_4_a_jump_of_25_000_is_accepted_and_a_longer_one_is_refused_at_once() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (sent, bob) = many(25_002, &mut rng);
    assert_eq!(refuse(&mut bob.clone(), &sent[25_001], &mut rng), SpqrError::KeyJump(25_001));
    let mut accepting = bob.clone();
    deliver(&mut accepting, &sent[25_000], &mut rng);
    assert_eq!(accepting.skipped_len(), 2000);
    let field = SpqrMessage { epoch: 1, index: u32::MAX, payload: SpqrPayload::None }.encode();
    let furthest = Sent { field, key: Some(auth_key()), epoch: 1 };
    assert_eq!(refuse(&mut bob.clone(), &furthest, &mut rng), SpqrError::KeyJump(u32::MAX - 1));
    assert_eq!(bob.jump(&furthest.field), u32::MAX);
}

#[test]
fn attack_4_the_latest_2000_skipped_messages_can_be_read() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (sent, mut bob) = many(2100, &mut rng);
    deliver(&mut bob, &sent[2099], &mut rng);
    assert_eq!(refuse(&mut bob, &sent[98], &mut rng), SpqrError::KeyTrimmed);
    deliver(&mut bob, &sent[99], &mut rng);
    assert_eq!(refuse(&mut bob, &sent[99], &mut rng), SpqrError::KeyReused);
    deliver(&mut bob, &sent[2098], &mut rng);
    assert_eq!(refuse(&mut bob, &sent[2099], &mut rng), SpqrError::KeyReused);
    assert_eq!(bob.skipped_len(), 1998);
    bob.limit_skipped(10);
    assert_eq!(bob.skipped_len(), 10);
    assert_eq!(refuse(&mut bob, &sent[100], &mut rng), SpqrError::KeyTrimmed);
    deliver(&mut bob, &sent[2097], &mut rng);
}

#[test]
fn a_message_may_be_late_by_one_epoch_but_not_by_two() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(true, &mut rng);
    exchange(&mut pair, &mut rng);
    let (first, second) = (send(&mut pair[0]), send(&mut pair[0]));
    while pair[1].braid.epoch < 2 {
        exchange(&mut pair, &mut rng);
    }
    deliver(&mut pair[1], &first, &mut rng);
    while pair[1].braid.epoch < 3 {
        exchange(&mut pair, &mut rng);
    }
    exchange(&mut pair, &mut rng);
    assert_eq!(refuse(&mut pair[1], &second, &mut rng), SpqrError::EpochTooOld);
}

#[test]
fn late_messages_of_two_epochs_can_be_read_in_any_order() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(true, &mut rng);
    let mut late = Vec::new();
    while pair[1].braid.epoch < 2 {
        exchange(&mut pair, &mut rng);
        late.push(send(&mut pair[0]));
    }
    for _ in 0..10 {
        late.push(send(&mut pair[0]));
        exchange(&mut pair, &mut rng);
    }
    // The older ones go between the newer ones.
    for sent in late.iter().rev().step_by(3).chain(late.iter().rev().skip(1).step_by(3)) {
        deliver(&mut pair[1], sent, &mut rng);
    }
    for sent in late.iter().rev().step_by(3) {
        assert_eq!(refuse(&mut pair[1], sent, &mut rng), SpqrError::KeyReused);
    }
    assert!(late.first().unwrap().epoch == 1 && late.last().unwrap().epoch == 2);
}

#[test]
fn a_message_of_an_epoch_that_has_not_begun_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(true, &mut rng);
    exchange(&mut pair, &mut rng);
    for epoch in [2, 3, u64::MAX] {
        let field = SpqrMessage { epoch, index: 9, payload: SpqrPayload::None }.encode();
        let sent = Sent { field, key: Some(auth_key()), epoch };
        for side in &mut pair {
            assert_eq!(refuse(side, &sent, &mut rng), SpqrError::EpochTooNew);
        }
    }
}

#[test]
fn a_chain_ends_before_its_index_would_repeat() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, _] = pair(true, &mut rng);
    let Keys::Agreed(chains) = &mut alice.keys else { panic!("required") };
    chains.epochs[0].send.as_mut().unwrap().index = u32::MAX - 1;
    send(&mut alice);
    let before = stored(&alice);
    assert_eq!(alice.send(), Err(SpqrError::ChainEnded));
    assert_eq!(stored(&alice), before);
}

#[test]
fn a_peer_that_sends_wrong_chunks_makes_its_later_header_messages_unreadable() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, mut bob] = pair(true, &mut rng);
    // A header with a wrong MAC: every message that would complete it is refused.
    for (index, chunk) in [(1, 0), (2, 1)] {
        let chunk = SpqrChunk { index: chunk, data: [9; 32] };
        let payload = SpqrPayload::Header(chunk);
        let field = SpqrMessage { epoch: 1, index, payload }.encode();
        let sent = send(&mut alice);
        deliver(&mut bob, &Sent { field, ..sent }, &mut rng);
    }
    let (third, fourth) = (send(&mut alice), send(&mut alice));
    for sent in [third, fourth] {
        assert_eq!(refuse(&mut bob, &sent, &mut rng), SpqrError::HeaderMac);
    }
}

#[test]
fn failures_are_stored_and_a_message_that_is_right_ends_their_count() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, mut bob] = pair(true, &mut rng);
    for _ in 0..2 {
        let sent = send(&mut alice);
        deliver(&mut bob, &sent, &mut rng);
    }
    let third = send(&mut alice);
    let payload = SpqrPayload::Header(SpqrChunk { index: 9, data: [9; 32] });
    let field = SpqrMessage { epoch: 1, index: 4, payload }.encode();
    let wrong = Sent { field, ..send(&mut alice) };
    assert_eq!(refuse(&mut bob, &wrong, &mut rng), SpqrError::HeaderMac);
    for number in [1, 2, 2] {
        bob.count_failure([number; 8]);
        assert_eq!(restored(&stored(&bob)), bob);
    }
    assert_eq!((bob.failures(), bob.has_failed()), (2, false));
    let mut failed = bob.clone();
    deliver(&mut bob, &third, &mut rng);
    assert_eq!((bob.failures(), bob.has_failed()), (0, false));
    // After three it does not help any more.
    failed.count_failure([3; 8]);
    assert_eq!(restored(&stored(&failed)), failed);
    deliver(&mut failed, &third, &mut rng);
    assert!(failed.has_failed());
    // Neither too many nor equal ones are valid.
    let mut bytes = stored(&failed);
    let at = bytes.len() - 8;
    bytes[at..].fill(2);
    assert!(Spqr::read(&mut Reader::new(&bytes)).is_err());
    bytes[at - 17] = 4;
    assert!(Spqr::read(&mut Reader::new(&bytes)).is_err());
}
