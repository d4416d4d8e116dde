use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::{
    super::{Draft, Envelope, Requirements, Topic, packet::Packet, rate::Rate},
    *,
};

const NOW: u32 = 1_575_000_000;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

fn envelope(content: u32, size: usize) -> ValidEnvelope {
    let mut data = content.to_be_bytes().to_vec();
    data.resize(size, 0);
    let topic = Topic([1, 2, 3, 4]);
    let draft = Draft { expiry: NOW + 50, ttl: 50, topic, data };
    let wall = wormhole_kit::UnixTime::from_secs(NOW.into());
    let requirements = Requirements::new(Work::NONE).with_limits(1 << 21, 100);
    draft.finish(0).check(&requirements, start(), wall).unwrap()
}

fn open_peer() -> Peer {
    let mut peer = Peer::new(start(), false, &Limits::default());
    peer.open(Status::new(Work::NONE, Bloom::FULL, false), true);
    peer
}

fn bundle(peer: &mut Peer, pool: &Pool) -> Vec<Envelope> {
    bundle_at(peer, pool, start())
}

fn bundle_at(peer: &mut Peer, pool: &Pool, now: Instant) -> Vec<Envelope> {
    let body = peer.next_bundle(pool, now, NOW, LONGEST_FOR_ALL);
    let Some(body) = body else { return Vec::new() };
    peer.sent();
    let Ok(Packet::Messages(envelopes)) = Packet::decode(packet::MESSAGES, &body) else { panic!() };
    envelopes.collect()
}

/// Bundles until there are no more.
fn bundles(peer: &mut Peer, pool: &Pool) -> Vec<Vec<Envelope>> {
    peer.tick(true, &mut ChaCha12Rng::seed_from_u64(1));
    std::iter::repeat_with(|| bundle(peer, pool)).take_while(|one| !one.is_empty()).collect()
}

#[test]
fn a_new_peer_is_told_the_whole_pool_once() {
    let mut pool = Pool::new(1 << 20);
    (0..100).for_each(|content| {
        pool.insert(envelope(content, 100)).unwrap();
    });
    let mut peer = open_peer();
    assert_eq!(bundles(&mut peer, &pool).concat().len(), 100);
    assert!(bundles(&mut peer, &pool).is_empty());
}

#[test]
fn what_a_peer_has_is_not_told_to_it() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    let [one, two] = [1, 2].map(|content| pool.insert(envelope(content, 100)).unwrap());
    peer.offer(one, true);
    peer.offer(two, true);
    peer.learn(one);
    assert_eq!(bundles(&mut peer, &pool).concat(), [envelope(2, 100).into_envelope()]);
}

#[test]
fn a_slot_that_is_used_again_is_not_taken_for_the_envelope_before() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    let slot = pool.insert(envelope(1, 100)).unwrap();
    peer.pass_over(slot);
    pool.expire(wormhole_kit::UnixTime::from_secs((NOW + 60).into()), 10);
    assert_eq!(pool.insert(envelope(2, 100)), Ok(slot));
    peer.offer(slot, true);
    assert_eq!(bundles(&mut peer, &pool).concat(), [envelope(2, 100).into_envelope()]);
}

#[test]
fn bundles_stay_small_enough_for_the_reference() {
    let mut pool = Pool::new(1 << 24);
    let mut peer = open_peer();
    for content in 0..30 {
        let slot = pool.insert(envelope(content, 100_000)).unwrap();
        peer.offer(slot, true);
    }
    let bundles = bundles(&mut peer, &pool);
    assert_eq!(bundles.concat().len(), 30);
    assert!(bundles.iter().all(|bundle| bundle.len() == 5));
}

#[test]
fn one_bundle_is_on_its_way_at_a_time() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    let slot = pool.insert(envelope(1, 100)).unwrap();
    assert!(peer.next_bundle(&pool, start(), NOW, LONGEST_FOR_ALL).is_some());
    let other = pool.insert(envelope(2, 100)).unwrap();
    peer.offer(other, true);
    peer.tick(true, &mut ChaCha12Rng::seed_from_u64(1));
    assert_eq!(peer.next_bundle(&pool, start(), NOW, LONGEST_FOR_ALL), None);
    peer.sent();
    assert_eq!(bundle(&mut peer, &pool), [envelope(2, 100).into_envelope()]);
    assert!(peer.known.has(slot));
}

#[test]
fn what_is_not_wanted_is_told_once_it_is() {
    let mut pool = Pool::new(1 << 20);
    pool.insert(envelope(1, 100)).unwrap();
    let mut peer = Peer::new(start(), false, &Limits::default());
    let enough = Work::new(1e9).unwrap();
    peer.open(Status::new(enough, Bloom::EMPTY, false), true);
    assert!(bundles(&mut peer, &pool).is_empty());
    peer.set_min_work(Work::NONE, true);
    assert!(bundles(&mut peer, &pool).is_empty());
    peer.set_bloom(Bloom::of([Topic([1, 2, 3, 4])]), true);
    assert_eq!(bundles(&mut peer, &pool).concat().len(), 1);
}

#[test]
fn the_expired_is_never_told() {
    let mut pool = Pool::new(1 << 20);
    pool.insert(envelope(1, 100)).unwrap();
    let mut peer = open_peer();
    assert_eq!(peer.next_bundle(&pool, start(), NOW + 51, LONGEST_FOR_ALL), None);
}

#[test]
fn a_peer_that_cannot_keep_up_is_told_from_the_pool() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    assert!(bundles(&mut peer, &pool).is_empty());
    let slot = pool.insert(envelope(1, 100)).unwrap();
    for _ in 0..=MAX_FRESH {
        peer.offer(slot, true);
    }
    assert!(peer.fresh.is_empty());
    assert_eq!(bundles(&mut peer, &pool).concat().len(), 1);
}

#[test]
fn order_is_shuffled_and_nothing_is_lost() {
    let mut slots: Vec<_> = (0..50).map(Slot).collect();
    shuffle(&mut slots, &mut ChaCha12Rng::seed_from_u64(1));
    assert!(!slots.is_sorted());
    slots.sort_unstable();
    assert_eq!(slots, (0..50).map(Slot).collect::<Vec<_>>());
}

#[test]
fn a_peer_is_told_no_faster_than_it_would_take_it_and_misses_nothing() {
    let envelopes_per_peer = Rate { per_second: 10.0, burst: 50.0 };
    let limits = Limits { envelopes_per_peer, ..Limits::default() };
    let (mut now, mut pool) = (start(), Pool::new(1 << 20));
    let mut peer = Peer::new(now, false, &limits);
    peer.open(Status::new(Work::NONE, Bloom::FULL, false), false);
    for content in 0..100 {
        let slot = pool.insert(envelope(content, 100)).unwrap();
        peer.offer(slot, true);
    }
    let (mut told, mut rng) = (Vec::new(), ChaCha12Rng::seed_from_u64(1));
    for _ in 0..10 {
        peer.tick(true, &mut rng);
        let mut count = 0;
        while let Some(body) = peer.next_bundle(&pool, now, NOW, LONGEST_FOR_ALL) {
            let Ok(Packet::Messages(envelopes)) = Packet::decode(packet::MESSAGES, &body) else {
                panic!()
            };
            count += envelopes.count();
            peer.sent();
        }
        told.push(count);
        now += Duration::from_secs(1);
    }
    assert_eq!(told, [45, 9, 9, 9, 9, 9, 9, 1, 0, 0]);
}

#[test]
fn a_peer_is_told_no_more_bytes_than_it_would_take() {
    let bytes_per_peer = Rate { per_second: 100_000.0, burst: 100_000.0 };
    let limits = Limits { bytes_per_peer, ..Limits::default() };
    let (mut now, mut pool) = (start(), Pool::new(1 << 24));
    let mut peer = Peer::new(now, false, &limits);
    peer.open(Status::new(Work::NONE, Bloom::FULL, false), true);
    for content in 0..30 {
        pool.insert(envelope(content, 100_000)).unwrap();
    }
    let (mut bundles, mut rng) = (Vec::new(), ChaCha12Rng::seed_from_u64(1));
    for _ in 0..60 {
        peer.tick(true, &mut rng);
        if let Some(body) = peer.next_bundle(&pool, now, NOW, LONGEST_FOR_ALL) {
            bundles.push(body.len());
            peer.sent();
        }
        now += Duration::from_millis(500);
    }
    let bytes: usize = bundles.iter().sum();
    assert!((2_500_000..3_300_000).contains(&bytes), "{bundles:?}");
    assert!(bundles.len() <= 7);
}

#[test]
fn what_has_waited_for_long_makes_way_and_is_told_when_there_is_time() {
    let envelopes_per_peer = Rate { per_second: 10.0, burst: 10.0 };
    let limits = Limits { envelopes_per_peer, ..Limits::default() };
    let (mut now, mut pool) = (start(), Pool::new(1 << 20));
    let mut peer = Peer::new(now, false, &limits);
    peer.open(Status::new(Work::NONE, Bloom::FULL, false), false);
    let (mut rng, mut told) = (ChaCha12Rng::seed_from_u64(1), Vec::new());
    // For a minute twice as many come as may go, then none.
    for tick in 0..600 {
        if tick < 200 {
            for content in 6 * tick..6 * tick + 6 {
                peer.offer(pool.insert(envelope(content, 100)).unwrap(), true);
            }
        }
        peer.tick(true, &mut rng);
        for envelope in bundle_at(&mut peer, &pool, now) {
            let (content, _) = envelope.data().split_first_chunk().unwrap();
            told.push((tick, u32::from_be_bytes(*content) / 6));
        }
        now += Duration::from_millis(300);
    }
    let late = |(tick, came): &&(u32, u32)| *tick < 200 && tick - came > LONGEST_WAIT;
    assert_eq!(told.iter().find(late), None);
    assert!(told.iter().filter(|(tick, _)| *tick < 200).count() > 500);
    // The rest was not forgotten.
    assert_eq!(told.len(), 1200);
}

#[test]
fn what_is_longer_than_a_peer_takes_is_not_told() {
    let mut pool = Pool::new(1 << 22);
    let mut peer = open_peer();
    let fits = |size| envelope(1, size).envelope().encoded().len() <= LONGEST_FOR_ALL;
    let largest = (1_048_000..1_048_576).rev().find(|size| fits(*size)).unwrap();
    for (content, size) in [(1, largest), (2, largest + 1)] {
        peer.offer(pool.insert(envelope(content, size)).unwrap(), true);
    }
    peer.tick(true, &mut ChaCha12Rng::seed_from_u64(1));
    let body = peer.next_bundle(&pool, start(), NOW, LONGEST_FOR_ALL).unwrap();
    assert_eq!(body.len(), 1 << 20);
    peer.sent();
    assert_eq!(peer.next_bundle(&pool, start(), NOW, LONGEST_FOR_ALL), None);
}
