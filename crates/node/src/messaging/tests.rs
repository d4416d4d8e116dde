//! Two messengers at two nodes on this machine.

use std::time::SystemTime;

use tokio::time::timeout;
use wormhole_whisper::shh::{Topic, Work, filter::FilterKey};

use super::*;
use crate::{DirectError, MineError, Settings};

const TOPIC: Topic = Topic([1, 2, 3, 4]);

/// Longer than anything here takes, and shorter than a test may take.
const MINUTE: Duration = Duration::from_secs(60);

async fn pair() -> (Messenger, Messenger) {
    let alice = Node::start(Settings::loopback()).await.unwrap();
    let mut settings = Settings::loopback();
    settings.static_peers = vec![alice.enode()];
    let bob = Node::start(settings).await.unwrap();
    let settings = MessengerSettings::default();
    (Messenger::new(alice, &settings), Messenger::new(bob, &settings))
}

fn criteria(key: FilterKey) -> Criteria {
    Criteria { key, signer: None, topics: vec![TOPIC], min_work: Work::NONE, direct: false }
}

fn message(recipient: Recipient, payload: &[u8]) -> OutgoingMessage {
    OutgoingMessage::new(recipient, TOPIC, payload.to_vec())
}

#[tokio::test]
async fn a_signed_message_reaches_a_subscriber_with_its_signer() {
    let (alice, bob) = pair().await;
    let key = SymmetricKey::from_password("secret");
    let mut inbox = alice.subscribe(criteria(FilterKey::Symmetric(key.clone()))).await.unwrap();
    let mut message = message(Recipient::SymmetricKey(key), b"hello");
    let signer = bob.key_pair(&bob.new_key_pair().unwrap()).unwrap();
    message.signer = Some(signer.clone());
    let hash = bob.post(message).await.unwrap();
    let messages = inbox.next().await.unwrap();
    assert_eq!(messages[0].message.payload, b"hello");
    assert_eq!(messages[0].message.signer, Some(signer.public_key()));
    assert_eq!(messages[0].hash, hash);
}

#[tokio::test]
async fn a_message_to_a_public_key_waits_in_its_filter_until_it_is_polled() {
    let (alice, bob) = pair().await;
    let reader = alice.key_pair(&alice.new_key_pair().unwrap()).unwrap();
    let filter = alice.add_filter(criteria(FilterKey::Private(reader.clone()))).await.unwrap();
    let mut notifier = alice.subscribe(criteria(FilterKey::Private(reader.clone()))).await.unwrap();
    bob.post(message(Recipient::PublicKey(reader.public_key()), b"for you")).await.unwrap();
    notifier.next().await.unwrap();
    let messages = alice.poll(filter, usize::MAX).await.unwrap();
    assert_eq!(messages[0].message.payload, b"for you");
    assert!(alice.poll(filter, usize::MAX).await.unwrap().is_empty());
    assert!(alice.remove_filter(filter).await && alice.poll(filter, 0).await.is_none());
}

#[tokio::test]
async fn the_time_of_a_message_is_rounded() {
    let (alice, bob) = pair().await;
    let key = SymmetricKey::random(&mut OsRng);
    let wanted = criteria(FilterKey::Symmetric(key.clone()));
    let mut inbox = alice.subscribe(Criteria { direct: true, ..wanted }).await.unwrap();
    // Without a target, the TTL starts after the time for the work.
    for (work, work_time) in
        [(Some(Work::DEFAULT_MINIMUM), MINUTE), (None, Duration::from_millis(1500))]
    {
        let mut message = message(Recipient::SymmetricKey(key.clone()), b"hello");
        (message.ttl, message.work, message.work_time) = (100, work, work_time);
        if work.is_none() {
            message.direct_to = Some(alice.node().id());
            alice.node().trust(bob.node().id()).await.unwrap();
            bob.node().wait_connected(alice.node().id()).await.unwrap();
        }
        let begin = seconds();
        bob.post(message).await.unwrap();
        let message = &inbox.next().await.unwrap()[0];
        assert!(message.ttl == 100 && message.sent.is_multiple_of(10), "{}", message.sent);
        assert!(message.sent <= seconds() && message.sent + 10 > begin, "{}", message.sent);
    }
}

/// Seconds since 1970.
fn seconds() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_refused_with_a_reason() {
    let node = Node::start(Settings::loopback()).await.unwrap();
    let messenger = Messenger::new(node, &MessengerSettings::default());
    let reader = || Recipient::SymmetricKey(SymmetricKey::random(&mut OsRng));
    let mut hurried = message(reader(), b"x");
    hurried.work_time = Duration::ZERO;
    let late = MineError::TimeOver { tried: 0 };
    assert_eq!(messenger.post(hurried).await, Err(late.into()));
    let mut eternal = message(reader(), b"x");
    eternal.ttl = u32::MAX;
    assert!(
        messenger
            .post(eternal)
            .await
            .unwrap_err()
            .to_string()
            .starts_with("lifetime of 4294967295 s")
    );
    let large = messenger.post(message(reader(), &[0; 1 << 20])).await.unwrap_err().to_string();
    assert!(large.ends_with("more than 1048560"), "{large}");
}

#[tokio::test]
async fn a_message_that_the_node_would_refuse_is_refused_before_the_work() {
    let messenger = Messenger::new(
        Node::start(Settings::loopback()).await.unwrap(),
        &MessengerSettings::default(),
    );
    let long = |work, direct_to| {
        let mut message = message(Recipient::SymmetricKey(SymmetricKey::random(&mut OsRng)), b"x");
        (message.work, message.direct_to, message.work_time) = (work, direct_to, MINUTE);
        timeout(MINUTE / 2, messenger.post(message))
    };
    for work in [None, Some(Work::NONE), Work::new(0.1)] {
        assert_eq!(long(work, None).await, Ok(Err(SendError::TooLittleWork)));
    }
    let nobody = PrivateKey::random(&mut OsRng).public_key().node_id();
    for work in [None, Work::new(1e30)] {
        let refused = SendError::Direct(DirectError::NotConnected);
        assert_eq!(long(work, Some(nobody)).await, Ok(Err(refused)));
    }
}

/// Locks the filters of a messenger, as a thread does that tries keys, until the sender is dropped.
fn busy(messenger: &Messenger) -> std::sync::mpsc::Sender<()> {
    let inner = Arc::clone(&messenger.inner);
    let (locked, is_locked) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _filters = lock(&inner.filters);
        locked.send(()).unwrap();
        // Not for ever, so that code that waits for the lock fails.
        let _dropped: Result<(), _> = released.recv_timeout(MINUTE);
    });
    is_locked.recv().unwrap();
    release
}

#[tokio::test]
async fn a_subscriber_waits_for_no_lock_and_loses_nothing_when_it_gives_up() {
    let (alice, bob) = pair().await;
    let key = SymmetricKey::random(&mut OsRng);
    let mut inbox = alice.subscribe(criteria(FilterKey::Symmetric(key.clone()))).await.unwrap();
    bob.post(message(Recipient::SymmetricKey(key), b"hello")).await.unwrap();
    while alice.status().await.waiting == 0 {
        tokio::task::yield_now().await;
    }
    let trying = busy(&alice);
    assert!(timeout(Duration::from_millis(50), inbox.next()).await.is_err());
    drop(trying);
    assert_eq!(inbox.next().await.unwrap()[0].message.payload, b"hello");

    let trying = busy(&alice);
    let begun = Instant::now();
    drop(inbox);
    assert!(begun.elapsed() < MINUTE / 2);
    drop(trying);
    assert_eq!(alice.status().await.filters, 0);
}

#[tokio::test]
async fn the_limit_of_filters_is_ten_thousand() {
    let node = Node::start(Settings::loopback()).await.unwrap();
    let messenger = Messenger::new(node, &MessengerSettings::default());
    for _ in 0..filter::MAX_FILTERS {
        let key = FilterKey::Symmetric(SymmetricKey::random(&mut OsRng));
        messenger.add_filter(criteria(key)).await.unwrap();
    }
    let key = FilterKey::Symmetric(SymmetricKey::random(&mut OsRng));
    assert_eq!(messenger.add_filter(criteria(key)).await, Err(FilterError::TooMany.into()));
}

#[tokio::test]
async fn an_unpolled_filter_expires_and_a_quiet_subscription_does_not() {
    let node = Node::start(Settings::loopback()).await.unwrap();
    let filter_timeout = Duration::from_secs(3);
    let messenger =
        Messenger::new(node, &MessengerSettings { filter_timeout, ..MessengerSettings::default() });
    let key = || FilterKey::Symmetric(SymmetricKey::random(&mut OsRng));
    let mut inbox = messenger.subscribe(criteria(key())).await.unwrap();
    messenger.add_filter(criteria(key())).await.unwrap();
    let gone = async {
        while messenger.status().await.filters > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = inbox.next() => panic!("nothing was sent"),
        () = gone => {}
    }
    drop(inbox);
    assert_eq!(messenger.status().await.filters, 0);
}

#[tokio::test]
async fn filters_add_their_topics_to_a_bloom_filter_that_is_not_full() {
    let node = Node::start(Settings::loopback()).await.unwrap();
    let messenger = Messenger::new(node, &MessengerSettings::default());
    let key = || FilterKey::Symmetric(SymmetricKey::random(&mut OsRng));
    messenger.add_filter(criteria(key())).await.unwrap();
    assert_eq!(messenger.node().status().await.unwrap().bloom, Bloom::FULL);
    messenger.set_bloom_filter(Bloom::EMPTY).await.unwrap();
    messenger.add_filter(criteria(key())).await.unwrap();
    assert_eq!(messenger.node().status().await.unwrap().bloom, Bloom::of([TOPIC]));
}
