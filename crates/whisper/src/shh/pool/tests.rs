use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use proptest::prelude::*;

use super::{
    super::{Draft, Requirements, Topic},
    *,
};

const NOW: u32 = 1_575_000_000;

fn wall(seconds: u32) -> UnixTime {
    UnixTime::from_secs((NOW + seconds).into())
}

/// An envelope with unique content and this TTL.
fn envelope(content: u32, ttl: u32) -> ValidEnvelope {
    let data = content.to_be_bytes().to_vec();
    let draft = Draft { expiry: NOW + ttl, ttl, topic: Topic([1, 2, 3, 4]), data };
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = wormhole_kit::Instant::now();
    draft.finish(0).check(&Requirements::new(Work::NONE), now, wall(0)).unwrap()
}

/// An envelope of this size with work within `range`.
fn worked(content: u8, bytes: usize, range: Range<f64>) -> ValidEnvelope {
    let (topic, data) = (Topic([1, 2, 3, 4]), vec![content; bytes]);
    let draft = Draft { expiry: NOW + 50, ttl: 50, topic, data };
    let fits = |envelope: &Envelope| range.contains(&envelope.work().as_f64());
    let envelope = (0..).map(|nonce| draft.finish(nonce)).find(fits).unwrap();
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = wormhole_kit::Instant::now();
    envelope.check(&Requirements::new(Work::NONE), now, wall(0)).unwrap()
}

fn hash(envelope: &ValidEnvelope) -> EnvelopeHash {
    envelope.envelope().hash()
}

#[test]
fn an_envelope_enters_once() {
    let mut pool = Pool::new(1 << 20);
    let slot = pool.insert(envelope(1, 50)).unwrap();
    assert_eq!(pool.insert(envelope(1, 50)), Err(PoolError::Known(Some(slot))));
    assert_eq!((pool.len(), pool.find(&hash(&envelope(1, 50)))), (1, Some(slot)));
}

#[test]
fn an_envelope_leaves_after_its_last_second_and_is_remembered_for_a_while() {
    let mut pool = Pool::new(1 << 20);
    let envelope = envelope(1, 50);
    let slot = pool.insert(envelope.clone()).unwrap();
    assert!(!pool.expire(wall(50), 10));
    assert_eq!(pool.at(slot), Some(&envelope));
    assert!(!pool.expire(wall(51), 10));
    assert_eq!((pool.len(), pool.bytes(), pool.at(slot)), (0, 0, None));
    assert_eq!(pool.insert(envelope.clone()), Err(PoolError::Known(None)));
    assert!(!pool.expire(wall(70), 10));
    assert!(pool.has_seen(&hash(&envelope)));
    assert!(!pool.expire(wall(71), 10));
    assert!(!pool.has_seen(&hash(&envelope)));
}

#[test]
fn many_expire_a_few_at_a_time() {
    let mut pool = Pool::new(1 << 20);
    for content in 0..25 {
        pool.insert(envelope(content, 50)).unwrap();
    }
    assert!(pool.expire(wall(60), 10));
    assert!(pool.expire(wall(60), 10));
    assert!(!pool.expire(wall(60), 10));
    assert!(pool.is_empty());
}

#[test]
fn a_full_pool_keeps_the_envelopes_with_the_most_work() {
    let all: Vec<_> = (0..200).map(|content| envelope(content, 50)).collect();
    let mut pool = Pool::new(20 * cost(all[0].envelope()));
    for envelope in all.clone() {
        let _ = pool.insert(envelope);
        assert!(pool.bytes() <= pool.capacity);
    }
    assert_eq!(pool.len(), 20);
    let kept = |envelope: &&ValidEnvelope| pool.find(&hash(envelope)).is_some();
    let least_kept = all.iter().filter(kept).map(|envelope| class(envelope.work())).min();
    let most_lost = all.iter().filter(|envelope| !kept(envelope));
    let most_lost = most_lost.map(|envelope| class(envelope.work())).max();
    assert!(least_kept >= most_lost);
}

#[test]
fn an_envelope_that_cannot_fit_evicts_nothing() {
    let little = (0..5).map(|content| worked(content, 4, 0.0..0.01));
    let all: Vec<_> = little.chain((5..25).map(|content| worked(content, 4, 0.1..1.0))).collect();
    let mut pool = Pool::new(all.iter().map(|envelope| cost(envelope.envelope())).sum());
    for envelope in all {
        pool.insert(envelope).unwrap();
    }
    // Removing all envelopes with less work would not be enough.
    assert_eq!(pool.insert(worked(99, 3000, 0.02..0.1)), Err(PoolError::PoolFull));
    assert_eq!(pool.len(), 25);
    assert!(pool.insert(worked(99, 1000, 0.02..0.1)).is_ok());
    assert_eq!((pool.len(), pool.bytes_by_work.values().sum()), (22, pool.bytes()));
}

#[test]
fn an_evicted_envelope_is_not_accepted_again() {
    let all: Vec<_> = (0..200).map(|content| envelope(content, 50)).collect();
    let mut pool = Pool::new(cost(all[0].envelope()));
    let best = all.iter().max_by_key(|envelope| class(envelope.work())).unwrap();
    let worst = all.iter().min_by_key(|envelope| class(envelope.work())).unwrap();
    pool.insert(worst.clone()).unwrap();
    pool.insert(best.clone()).unwrap();
    assert_eq!(pool.insert(worst.clone()), Err(PoolError::Known(None)));
    assert_eq!(pool.len(), 1);
}

#[test]
fn a_pool_without_room_rejects() {
    assert_eq!(Pool::new(100).insert(envelope(1, 50)), Err(PoolError::PoolFull));
}

#[test]
fn a_restart_forgets_nothing() {
    let mut pool = Pool::new(1 << 20);
    pool.insert(envelope(1, 10)).unwrap();
    pool.insert(envelope(2, 50)).unwrap();
    pool.expire(wall(20), 10);
    let records: Vec<_> = pool.records().collect();
    let seen = Record::Seen { hash: hash(&envelope(1, 10)), expiry: NOW + 10 };
    assert_eq!(records, [Record::Kept(envelope(2, 50).into_envelope()), seen]);

    let mut restored = Pool::new(1 << 20);
    restored.restore(hash(&envelope(1, 10)), NOW + 10);
    assert_eq!(restored.insert(envelope(1, 10)), Err(PoolError::Known(None)));
    restored.expire(wall(31), 10);
    assert!(!restored.has_seen(&hash(&envelope(1, 10))));
}

proptest! {
    #[test]
    fn a_pool_behaves_like_a_plain_list(
        steps in proptest::collection::vec((0_u32..40, 1_u32..30, 0_u32..3), 1..150),
    ) {
        let mut pool = Pool::new(1 << 20);
        let (mut kept, mut seen) = (BTreeMap::new(), BTreeSet::new());
        let mut second = 0;
        for (content, ttl, pass) in steps {
            let envelope = envelope(content, ttl);
            let inserted = pool.insert(envelope.clone()).is_ok();
            prop_assert_eq!(inserted, seen.insert(hash(&envelope)));
            if inserted {
                kept.insert(hash(&envelope), NOW + ttl);
            }
            second = (second + pass).min(20);
            pool.expire(wall(second), usize::MAX);
            kept.retain(|_, expiry| *expiry >= NOW + second);
            prop_assert_eq!(pool.len(), kept.len());
            for hash in kept.keys() {
                let slot = pool.find(hash).unwrap();
                prop_assert_eq!(pool.at(slot).unwrap().envelope().hash(), *hash);
            }
        }
        pool.expire(wall(1000), usize::MAX);
        prop_assert_eq!((pool.len(), pool.bytes(), pool.records().count()), (0, 0, 0));
    }
}
