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

/// All bundles.
fn bundles(peer: &mut Peer, pool: &Pool) -> Vec<Vec<Envelope>> {
    peer.tick(true, &mut ChaCha12Rng::seed_from_u64(1));
    std::iter::repeat_with(|| bundle(peer, pool)).take_while(|one| !one.is_empty()).collect()
}

#[test]
fn a_new_peer_receives_the_whole_pool_once() {
    let mut pool = Pool::new(1 << 20);
    (0..100).for_each(|content| {
        pool.insert(envelope(content, 100)).unwrap();
    });
    let mut peer = open_peer();
    assert_eq!(bundles(&mut peer, &pool).concat().len(), 100);
    assert!(bundles(&mut peer, &pool).is_empty());
}

#[test]
fn envelopes_that_a_peer_has_are_not_sent_to_it() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    let [one, two] = [1, 2].map(|content| pool.insert(envelope(content, 100)).unwrap());
    peer.offer(one, true);
    peer.offer(two, true);
    peer.mark_known(one);
    assert_eq!(bundles(&mut peer, &pool).concat(), [envelope(2, 100).into_envelope()]);
}

#[test]
fn a_reused_slot_is_not_mistaken_for_the_previous_envelope() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    let slot = pool.insert(envelope(1, 100)).unwrap();
    peer.skip(slot);
    pool.expire(wormhole_kit::UnixTime::from_secs((NOW + 60).into()), 10);
    assert_eq!(pool.insert(envelope(2, 100)), Ok(slot));
    peer.offer(slot, true);
    assert_eq!(bundles(&mut peer, &pool).concat(), [envelope(2, 100).into_envelope()]);
}

#[test]
fn bundles_stay_below_go_ethereum_s_limit() {
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
fn envelopes_are_sent_when_a_peer_s_filter_begins_to_match() {
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
fn expired_envelopes_are_not_sent() {
    let mut pool = Pool::new(1 << 20);
    pool.insert(envelope(1, 100)).unwrap();
    let mut peer = open_peer();
    assert_eq!(peer.next_bundle(&pool, start(), NOW + 51, LONGEST_FOR_ALL), None);
}

#[test]
fn a_slow_peer_receives_missed_envelopes_from_the_pool() {
    let mut pool = Pool::new(1 << 20);
    let mut peer = open_peer();
    assert!(bundles(&mut peer, &pool).is_empty());
    let slot = pool.insert(envelope(1, 100)).unwrap();
    for _ in 0..=MAX_QUEUED {
        peer.offer(slot, true);
    }
    assert!(peer.queue.is_empty());
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
fn envelopes_are_sent_within_the_peer_s_rate_and_none_is_lost() {
    let envelopes_per_peer = Rate { per_second: 10.0, burst: 50.0 };
    let limits = Limits { envelopes_per_peer, ..Limits::default() };
    let (mut now, mut pool) = (start(), Pool::new(1 << 20));
    let mut peer = Peer::new(now, false, &limits);
    peer.open(Status::new(Work::NONE, Bloom::FULL, false), false);
    for content in 0..100 {
        let slot = pool.insert(envelope(content, 100)).unwrap();
        peer.offer(slot, true);
    }
    let (mut sent, mut rng) = (Vec::new(), ChaCha12Rng::seed_from_u64(1));
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
        sent.push(count);
        now += Duration::from_secs(1);
    }
    assert_eq!(sent, [45, 9, 9, 9, 9, 9, 9, 1, 0, 0]);
}

#[test]
fn bytes_are_sent_within_the_peer_s_rate() {
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
fn old_envelopes_give_way_to_new_ones_and_are_sent_later() {
    let envelopes_per_peer = Rate { per_second: 10.0, burst: 10.0 };
    let limits = Limits { envelopes_per_peer, ..Limits::default() };
    let (mut now, mut pool) = (start(), Pool::new(1 << 20));
    let mut peer = Peer::new(now, false, &limits);
    peer.open(Status::new(Work::NONE, Bloom::FULL, false), false);
    let (mut rng, mut sent) = (ChaCha12Rng::seed_from_u64(1), Vec::new());
    // For a minute, twice as many arrive as may be sent, then no more.
    for tick in 0..600 {
        if tick < 200 {
            for content in 6 * tick..6 * tick + 6 {
                peer.offer(pool.insert(envelope(content, 100)).unwrap(), true);
            }
        }
        peer.tick(true, &mut rng);
        for envelope in bundle_at(&mut peer, &pool, now) {
            let (content, _) = envelope.data().split_first_chunk().unwrap();
            sent.push((tick, u32::from_be_bytes(*content) / 6));
        }
        now += Duration::from_millis(300);
    }
    let late = |(tick, came): &&(u32, u32)| *tick < 200 && tick - came > LONGEST_WAIT;
    assert_eq!(sent.iter().find(late), None);
    assert!(sent.iter().filter(|(tick, _)| *tick < 200).count() > 500);
    // The others are sent later.
    assert_eq!(sent.len(), 1200);
}

#[test]
fn envelopes_beyond_a_peer_s_limit_are_not_sent() {
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
