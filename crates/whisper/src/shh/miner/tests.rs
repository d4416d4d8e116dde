use proptest::prelude::*;
use sha3::{Digest, Keccak256};

use super::{super::Topic, *};

const BACKENDS: [Backend; 3] = [Backend::Avx512, Backend::Avx2, Backend::Portable];

fn draft(data: usize) -> Draft {
    Draft { expiry: 1_575_000_050, ttl: 50, topic: Topic([1, 2, 3, 4]), data: vec![0x42; data] }
}

/// Leading zero bits, computed naively.
fn bits(before: &[u8], nonce: u64) -> u32 {
    let hash = Keccak256::new_with_prefix(before).chain_update(nonce.to_be_bytes()).finalize();
    super::super::work::leading_zero_bits(hash)
}

/// The first nonce from `start` on with `wanted` bits, computed naively.
fn first(before: &[u8], start: u64, wanted: u32) -> u64 {
    (start..).find(|nonce| bits(before, *nonce) >= wanted).unwrap()
}

#[test]
fn every_length_before_the_nonce_hashes_as_by_definition() {
    for length in 0..=3 * BLOCK {
        let before = vec![0xa5; length];
        let task = Task::new(&before);
        for nonce in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(task.leading_zero_bits(nonce), bits(&before, nonce), "{length}");
        }
        let expected = first(&before, 1000, 5);
        for backend in BACKENDS {
            let found = task.search(backend, 1000, 1000, mask(5));
            assert_eq!(found, Some(expected), "{backend:?} after {length} bytes");
        }
    }
}

/// Small enough for Miri: `RUSTFLAGS="-C target-feature=+avx2,+avx512f" cargo +nightly miri test
/// -p wormhole-whisper --lib a_few_batches`.
#[test]
fn a_few_batches_hash_as_by_definition() {
    let before = draft(20).hashed_before_nonce();
    let task = Task::new(&before);
    for backend in BACKENDS {
        assert_eq!(task.search(backend, 5, 16, mask(2)), Some(first(&before, 5, 2)), "{backend:?}");
    }
}

#[test]
fn any_division_into_steps_finds_the_same_nonce() {
    for backend in BACKENDS {
        for step in [1, 7, 8, 1000, 100_000] {
            let mut miner = Miner::new(&draft(284), 12).with_backend(backend);
            let found = std::iter::repeat_with(|| miner.step(step)).find_map(|found| found);
            assert_eq!(found, Some(6446), "{backend:?} by {step}");
        }
    }
}

#[test]
fn a_miner_goes_on_behind_the_nonce_it_found() {
    let mut miner = Miner::new(&draft(284), 8);
    let before = draft(284).hashed_before_nonce();
    let one = miner.step(u64::MAX).unwrap();
    let two = miner.step(u64::MAX).unwrap();
    assert_eq!((one, two), (first(&before, 0, 8), first(&before, one + 1, 8)));
}

#[test]
fn miners_may_share_the_work() {
    let mut upper = Miner::new(&draft(284), 10).starting_at(10_000);
    let before = draft(284).hashed_before_nonce();
    assert_eq!(upper.step(u64::MAX), Some(first(&before, 10_000, 10)));
}

#[test]
fn without_a_target_the_best_nonce_is_kept() {
    let before = draft(50).hashed_before_nonce();
    for backend in BACKENDS {
        let mut miner = Miner::for_best(&draft(50)).with_backend(backend);
        assert_eq!(miner.best(), None);
        assert_eq!(miner.step(5_000), None);
        let best = miner.best().unwrap();
        let most = (0..miner.tried()).map(|nonce| bits(&before, nonce)).max().unwrap();
        assert_eq!(best, Best { nonce: first(&before, 0, most), bits: most });
        assert!(miner.tried() >= 5_000 && miner.tried() < 5_000 + 8 * 16);
    }
}

#[test]
fn more_bits_than_a_hash_has_are_never_found() {
    let mut miner = Miner::new(&draft(50), 257);
    assert_eq!(miner.step(10_000), None);
    assert_eq!(miner.best(), None);
}

#[test]
fn nonces_wrap_around() {
    let before = draft(50).hashed_before_nonce();
    let expected = first(&before, 0, 10);
    for backend in BACKENDS {
        let mut miner = Miner::new(&draft(50), 10).with_backend(backend).starting_at(u64::MAX);
        assert_eq!(miner.step(u64::MAX), Some(expected));
    }
}

proptest! {
    #[test]
    fn all_back_ends_find_the_first_nonce(
        before in proptest::collection::vec(any::<u8>(), 0..700),
        start: u64,
        wanted in 0_u32..10,
    ) {
        let task = Task::new(&before);
        let expected = task.search(Backend::Portable, start, 1 << 14, mask(wanted));
        for backend in [Backend::Avx2, Backend::Avx512] {
            prop_assert_eq!(task.search(backend, start, 1 << 14, mask(wanted)), expected);
        }
        if let Some(nonce) = expected {
            prop_assert!(bits(&before, nonce) >= wanted);
        }
    }
}
