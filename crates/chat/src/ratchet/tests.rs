//! The ratchet's limits.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_kit::Secret;

use super::*;

const LIMIT: u32 = 25_000;

/// Both sides of a session.
fn pair(rng: &mut ChaCha20Rng) -> (Ratchet, Ratchet) {
    let root = RootKey(Secret::new([1; 32]));
    let chain = ChainKey { key: Secret::new([2; 32]), index: 0 };
    let prekey = KeyPair::random(rng);
    let alice = Ratchet::initiator(&root, prekey.public(), rng).unwrap();
    (alice, Ratchet::responder(root, prekey, chain))
}

/// Creates the next message: its ratchet key, counter and seed.
fn send(ratchet: &mut Ratchet) -> (PublicKey, u32, MessageSeed) {
    let (seed, chain) = ratchet.next().unwrap();
    let counter = ratchet.sender.index;
    ratchet.sender = chain;
    (*ratchet.ours.public(), counter, seed)
}

fn receive(
    ratchet: &mut Ratchet,
    message: &(PublicKey, u32, MessageSeed),
    rng: &mut ChaCha20Rng,
) -> Result<(), FindError> {
    let (key, counter, seed) = message;
    let (step, found) = ratchet.find(key, *counter, LIMIT)?;
    assert_eq!(found, *seed);
    Ok(ratchet.commit(step, rng)?)
}

#[test]
fn attack_4_after_a_jump_the_latest_2000_skipped_messages_can_be_read() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut alice, mut bob) = pair(&mut rng);
    let sent: Vec<_> = (0..2100).map(|_| send(&mut alice)).collect();
    receive(&mut bob, &sent[2099], &mut rng).unwrap();
    assert_eq!(bob.receivers[0].skipped.len(), 2000);
    assert_eq!(receive(&mut bob, &sent[98], &mut rng), Err(FindError::Deleted));
    receive(&mut bob, &sent[99], &mut rng).unwrap();
    assert_eq!(receive(&mut bob, &sent[99], &mut rng), Err(FindError::Duplicate));
    receive(&mut bob, &sent[2098], &mut rng).unwrap();
    assert_eq!(bob.receivers[0].skipped.len(), 1998);
}

#[test]
fn attack_4_later_skips_push_out_the_oldest() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut alice, mut bob) = pair(&mut rng);
    let sent: Vec<_> = (0..2011).map(|_| send(&mut alice)).collect();
    receive(&mut bob, &sent[1000], &mut rng).unwrap();
    receive(&mut bob, &sent[2010], &mut rng).unwrap();
    assert_eq!(bob.receivers[0].skipped.len(), 2000);
    assert_eq!(receive(&mut bob, &sent[8], &mut rng), Err(FindError::Deleted));
    receive(&mut bob, &sent[9 + 1], &mut rng).unwrap();
    assert_eq!(receive(&mut bob, &sent[9 + 1], &mut rng), Err(FindError::Duplicate));
}

#[test]
fn attack_4_the_latest_five_chains_can_be_read() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut alice, mut bob) = pair(&mut rng);
    let mut late = Vec::new();
    for _ in 0..7 {
        late.push(send(&mut alice));
        let message = send(&mut alice);
        receive(&mut bob, &message, &mut rng).unwrap();
        let answer = send(&mut bob);
        receive(&mut alice, &answer, &mut rng).unwrap();
    }
    assert_eq!(bob.receivers.len(), 5);
    for message in &late[2..] {
        receive(&mut bob, message, &mut rng).unwrap();
    }
    // The chain was dropped, so its key looks new and gives a wrong seed.
    let (key, counter, seed) = &late[1];
    assert_ne!(bob.find(key, *counter, LIMIT).unwrap().1, *seed);
}

#[test]
fn attack_4_a_counter_too_far_ahead_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut alice, mut bob) = pair(&mut rng);
    let first = send(&mut alice);
    receive(&mut bob, &first, &mut rng).unwrap();
    let other = *KeyPair::random(&mut rng).public();
    // Both in a known chain from which one message was read, and in a new one.
    for (key, counter) in [(first.0, LIMIT + 2), (first.0, u32::MAX), (other, LIMIT + 1)] {
        let error = bob.find(&key, counter, LIMIT).err();
        assert!(matches!(error, Some(FindError::TooFarAhead(ahead)) if ahead > LIMIT));
    }
    let (step, _) = bob.find(&first.0, LIMIT + 1, LIMIT).unwrap();
    bob.commit(step, &mut rng).unwrap();
    assert_eq!(bob.receivers[0].skipped.len(), 2000);
}

#[test]
fn finding_changes_nothing() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut alice, bob) = pair(&mut rng);
    let (key, counter, _) = send(&mut alice);
    let before = bob.clone();
    bob.find(&key, counter, LIMIT).unwrap();
    assert_eq!(bob, before);
}
