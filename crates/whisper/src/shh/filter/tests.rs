use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::{
    super::{
        Draft,
        message::{Padding, Sealing, compose},
    },
    *,
};

const TOPIC: Topic = Topic([1, 2, 3, 4]);
const OTHER: Topic = Topic([5, 6, 7, 8]);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

fn shared(seed: u64) -> SymmetricKey {
    SymmetricKey::random(&mut rng(seed))
}

fn private(seed: u64) -> PrivateKey {
    PrivateKey::random(&mut rng(seed))
}

/// Selects all messages with this key and these topics.
fn criteria(key: FilterKey, topics: &[Topic]) -> Criteria {
    Criteria { key, signer: None, topics: topics.to_vec(), min_work: Work::NONE, direct: false }
}

fn symmetric(seed: u64) -> Criteria {
    criteria(FilterKey::Symmetric(shared(seed)), &[TOPIC])
}

fn envelope(topic: Topic, data: Vec<u8>) -> Envelope {
    Draft { expiry: 1_575_000_050, ttl: 50, topic, data }.finish(0)
}

/// An envelope with this payload, encrypted with a shared key.
fn saying(payload: &[u8], seed: u64, signer: Option<&PrivateKey>) -> Envelope {
    let mut rng = rng(99);
    let sealing = Sealing::Symmetric;
    let plaintext = compose(payload, &Padding::Block, sealing, signer, &mut rng).unwrap();
    envelope(TOPIC, shared(seed).seal(&plaintext, &mut rng))
}

fn add(filters: &mut Filters, criteria: Criteria) -> FilterId {
    let count = u64::try_from(filters.len()).unwrap();
    filters.add(start(), criteria, &mut rng(1000 + count)).unwrap()
}

fn payloads(filters: &mut Filters, id: FilterId) -> Vec<Vec<u8>> {
    let messages = filters.poll(start(), &id).unwrap();
    messages.iter().map(|received| received.message.payload.clone()).collect()
}

#[test]
fn a_message_reaches_the_filters_that_have_its_key_and_topic() {
    let mut filters = Filters::new(1 << 20);
    let right = add(&mut filters, symmetric(1));
    let twin = add(&mut filters, symmetric(1));
    let any_topic = add(&mut filters, criteria(FilterKey::Symmetric(shared(1)), &[]));
    add(&mut filters, symmetric(2));
    add(&mut filters, criteria(FilterKey::Symmetric(shared(1)), &[OTHER]));
    let mut delivered = filters.deliver(&saying(b"hello", 1, None), false);
    delivered.sort_unstable();
    let mut expected = [right, twin, any_topic];
    expected.sort_unstable();
    assert_eq!(delivered, expected);
    assert_eq!(payloads(&mut filters, right), [b"hello"]);
    assert!(payloads(&mut filters, right).is_empty());
}

#[test]
fn an_asymmetric_message_names_its_recipient() {
    let mut filters = Filters::new(1 << 20);
    let id = add(&mut filters, criteria(FilterKey::Private(private(1)), &[]));
    let mut rng = rng(2);
    let sealing = Sealing::Asymmetric;
    let plaintext = compose(b"psst", &Padding::Uniform, sealing, None, &mut rng).unwrap();
    let data = seal::seal_for(&private(1).public_key(), &plaintext, &mut rng);
    assert_eq!(filters.deliver(&envelope(TOPIC, data), false), [id]);
    let received = filters.poll(start(), &id).unwrap();
    assert_eq!(received[0].recipient, Some(private(1).public_key()));
    assert_eq!((received[0].sent, received[0].topic), (1_575_000_000, TOPIC));
}

#[test]
fn signer_and_work_are_checked() {
    let mut filters = Filters::new(1 << 20);
    let signer = Some(private(7).public_key());
    let by_seven = add(&mut filters, Criteria { signer, ..symmetric(1) });
    let min_work = Work::new(1e9).unwrap();
    add(&mut filters, Criteria { min_work, ..symmetric(1) });
    assert_eq!(filters.deliver(&saying(b"one", 1, None), false), []);
    assert_eq!(filters.deliver(&saying(b"two", 1, Some(&private(8))), false), []);
    assert_eq!(filters.deliver(&saying(b"three", 1, Some(&private(7))), false), [by_seven]);
}

#[test]
fn direct_messages_need_a_filter_that_allows_them_but_no_work() {
    let mut filters = Filters::new(1 << 20);
    add(&mut filters, symmetric(1));
    let min_work = Work::new(1e9).unwrap();
    let open = add(&mut filters, Criteria { direct: true, min_work, ..symmetric(1) });
    let direct = saying(b"hello", 1, None);
    assert_eq!(filters.deliver(&direct, true), [open]);
    assert_eq!(filters.deliver(&direct, true), [], "the same one again");
}

#[test]
fn invalid_plaintexts_are_dropped() {
    let mut filters = Filters::new(1 << 20);
    add(&mut filters, symmetric(1));
    let sealed = shared(1).seal(&[3], &mut rng(2));
    assert_eq!(filters.deliver(&envelope(TOPIC, sealed), false), []);
}

#[test]
fn filters_share_their_memory_and_lose_the_oldest() {
    let mut filters = Filters::new(10_000);
    let id = add(&mut filters, symmetric(1));
    for number in 0..100 {
        filters.deliver(&saying(&[number], 1, None), false);
    }
    let kept = filters.waiting();
    assert!((10..20).contains(&kept));
    add(&mut filters, symmetric(2));
    assert_eq!(filters.waiting(), kept / 2);
    assert_eq!(payloads(&mut filters, id).last(), Some(&vec![99]));
}

#[test]
fn an_unpolled_filter_expires() {
    let mut filters = Filters::new(1 << 20);
    let id = add(&mut filters, symmetric(1));
    let idle = add(&mut filters, symmetric(1));
    let later = start() + Duration::from_secs(200);
    assert!(filters.poll(later, &id).is_some());
    filters.expire(later + Duration::from_secs(200));
    assert_eq!((filters.len(), filters.poll(later, &idle)), (1, None));
}

#[test]
fn a_removed_filter_gets_nothing() {
    let mut filters = Filters::new(1 << 20);
    let id = add(&mut filters, symmetric(1));
    assert!(filters.remove(&id) && !filters.remove(&id));
    assert_eq!(filters.deliver(&saying(b"hello", 1, None), false), []);
    assert!(filters.is_empty() && filters.keys.is_empty());
}

#[test]
fn more_filters_than_allowed_are_refused() {
    let mut filters = Filters::new(1 << 20);
    let mut rng = rng(1);
    let criteria = symmetric(1);
    // Adding scans all filters, so fill the map directly.
    let id = filters.add(start(), criteria.clone(), &mut rng).unwrap();
    let filter = || Filter {
        criteria: criteria.clone(),
        messages: VecDeque::new(),
        bytes: 0,
        polled: start(),
    };
    for number in 0..u32::try_from(MAX_FILTERS).unwrap() {
        let mut other = id;
        other.0[..4].copy_from_slice(&number.to_be_bytes());
        filters.filters.insert(other, filter());
    }
    assert_eq!(filters.add(start(), criteria.clone(), &mut rng), Err(FilterError::TooMany));
}

#[test]
fn all_filters_together_have_a_limited_number_of_topics() {
    let mut filters = Filters::new(1 << 20);
    let topics: Vec<_> = (0..200_000_u32).map(|topic| Topic(topic.to_be_bytes())).collect();
    let many = criteria(FilterKey::Symmetric(shared(1)), &topics);
    let id = add(&mut filters, many);
    let refused = filters.add(start(), symmetric(2), &mut rng(1));
    assert_eq!(refused, Err(FilterError::TooManyTopics));
    assert!(filters.remove(&id));
    add(&mut filters, symmetric(2));
}

#[test]
fn messages_can_be_taken_a_few_at_a_time_and_at_least_one() {
    let mut filters = Filters::new(1 << 20);
    let id = add(&mut filters, symmetric(1));
    for payload in [b"one", b"two", b"six"] {
        filters.deliver(&saying(payload, 1, None), false);
    }
    let mut take = |bytes| {
        let messages = filters.poll_up_to(start(), &id, bytes).unwrap();
        messages.iter().map(|received| received.message.payload.clone()).collect::<Vec<_>>()
    };
    assert_eq!(take(1), [b"one"]);
    assert_eq!(take(usize::MAX), [b"two", b"six"]);
    assert!(take(usize::MAX).is_empty());
}

#[test]
fn the_filter_timeout_can_be_shorter() {
    let mut filters = Filters::new(1 << 20).with_timeout(Duration::from_secs(1));
    add(&mut filters, symmetric(1));
    filters.expire(start() + Duration::from_secs(2));
    assert!(filters.is_empty());
}

#[test]
fn stored_envelopes_are_delivered_to_a_new_filter_once() {
    let mut filters = Filters::new(1 << 20);
    let earlier = add(&mut filters, symmetric(1));
    let late = add(&mut filters, symmetric(1));
    let mut foreign = symmetric(1);
    foreign.topics = vec![OTHER];
    let foreign = add(&mut filters, foreign);
    let held = saying(b"held", 1, None);
    for _ in 0..2 {
        filters.deliver_stored(&late, &held);
    }
    assert!(!filters.deliver_stored(&foreign, &held));
    assert!(!filters.deliver_stored(&late, &saying(b"other key", 2, None)));
    assert_eq!(payloads(&mut filters, late), [b"held"]);
    assert_eq!(payloads(&mut filters, earlier), Vec::<Vec<u8>>::new());
}
