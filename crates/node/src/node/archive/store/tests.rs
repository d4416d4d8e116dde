use wormhole_whisper::shh::{Bloom, Draft, SymmetricKey, Topic};

use super::*;

const TOPIC: Topic = Topic([1, 2, 3, 4]);

/// A database in memory.
fn store(max_bytes: u64) -> Database {
    let key = SymmetricKey::random(&mut rand_core::OsRng);
    let settings = ArchiveSettings { max_bytes, ..ArchiveSettings::new(key) };
    Database::open(Connection::open_in_memory().unwrap(), &settings, Arc::default()).unwrap()
}

fn now() -> u32 {
    u32::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn envelope(sent: u32, nonce: u64) -> Envelope {
    Draft { expiry: sent + 50, ttl: 50, topic: TOPIC, data: vec![7; 1000] }.finish(nonce)
}

fn everything() -> ArchiveRequest {
    ArchiveRequest { from: 0, until: u32::MAX, bloom: Bloom::FULL }
}

#[test]
fn a_reply_comes_complete_in_pages_oldest_first() {
    let (mut store, start) = (store(u64::MAX), now() - 5000);
    for number in 0..3000 {
        store.keep(&envelope(start + number, 0)).unwrap();
        store.keep(&envelope(start + number, 0)).unwrap();
    }
    assert_eq!(store.count.load(Ordering::Relaxed), 3000);
    let (mut after, mut answer, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.page(&everything(), after).unwrap();
        assert!(page.envelopes.len() <= MAX_ROWS);
        answer.extend(page.envelopes.iter().map(Envelope::sent));
        (after, pages) = (page.after, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(answer, (start..start + 3000).collect::<Vec<_>>());
}

#[test]
fn a_reply_contains_only_what_was_requested_both_ends_included() {
    let (mut store, start) = (store(u64::MAX), now() - 100);
    (0..10).for_each(|number| store.keep(&envelope(start + number, 0)).unwrap());
    let wanted = |from, until, bloom| {
        let page = store.page(&ArchiveRequest { from, until, bloom }, None).unwrap();
        page.envelopes.iter().map(|it| it.sent() - start).collect::<Vec<_>>()
    };
    assert_eq!(wanted(start + 3, start + 5, Bloom::FULL), [3, 4, 5]);
    assert_eq!(wanted(start + 3, start + 5, Bloom::of([TOPIC])), [3, 4, 5]);
    assert!(wanted(start, start + 9, Bloom::EMPTY).is_empty());
}

#[test]
fn the_oldest_are_deleted_when_there_are_too_many_or_they_are_too_old() {
    let (mut store, start) = (store(10_500), now() - 100);
    let keep = |number| Job::Keep(envelope(start + number, 0));
    store.batch((0..100).map(keep)).unwrap();
    assert!(store.bytes <= 10_500 && store.bytes > 9_000);
    let page = store.page(&everything(), None).unwrap();
    assert_eq!(page.envelopes.last().unwrap().sent(), start + 99);
    assert_eq!(page.envelopes.len(), usize::try_from(store.count.load(Ordering::Relaxed)).unwrap());
    store.max_age = Duration::ZERO;
    store.next_expiry = Instant::now();
    store.batch(std::iter::empty()).unwrap();
    assert_eq!((store.bytes, store.count.load(Ordering::Relaxed)), (0, 0));
}
