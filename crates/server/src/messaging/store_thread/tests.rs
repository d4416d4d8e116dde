//! Many clients and the threads of the store, with a real database.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wormhole_chat::service::Destination;
use wormhole_chat::{DeviceId, EnvelopeKind};

use super::*;
use crate::messaging::random;
use crate::messaging::store::{
    Account, App, Asker, DeviceColumns, IntraApp, KeyKind, KeySet, LoginName, MessageName,
    NewAccount, NewMessage, OneTimeKey, Requester, Sender, SignedKey, SqliteStore, TokenHash,
};

/// Running threads, in a folder that is removed at the end of the test.
struct Running {
    folder: PathBuf,
    storage: Storage,
    threads: Option<StoreThreads>,
    /// Gets the devices that have new messages.
    notified: mpsc::Receiver<DeviceKey>,
    /// Gets the devices that were removed.
    removed: mpsc::Receiver<DeviceKey>,
}

impl Running {
    fn start(name: &str, prepare: impl FnOnce(&mut SqliteStore)) -> Self {
        let name = format!("wormhole-storage-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("messaging.sqlite");
        let mut store = SqliteStore::open(&file).unwrap();
        let reader = Box::new(SqliteStore::open_reader(&file).unwrap());
        prepare(&mut store);
        let day = Duration::from_secs(24 * 3600);
        let (sender, notified) = mpsc::channel();
        let (removals, removed) = mpsc::channel();
        let notify = move |changes: &Changes| {
            let send = |sender: &mpsc::Sender<DeviceKey>, devices: &[DeviceKey]| {
                devices.iter().for_each(|device| sender.send(*device).unwrap_or_default());
            };
            send(&sender, &changes.new_messages);
            send(&removals, &changes.removed);
        };
        let writer = StoreWriter {
            store: Box::new(store),
            expiry: Expiry { messages: day, sent: day, codes: day },
            notify: Box::new(notify),
            gauges: Gauges::default(),
            limits: Arc::new(RateLimits::new(false)),
        };
        let (storage, threads) = Storage::start(writer, reader).unwrap();
        Self { folder, storage, threads: Some(threads), notified, removed }
    }

    /// Ends the threads, after all earlier requests. False if one has panicked.
    fn stop(&mut self) -> bool {
        self.storage.close();
        self.threads.take().unwrap().join()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.storage.close();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Creates an account with one device that has published keys.
fn register(rows: &mut dyn Rows, app: &App, number: &str) -> Result<Sender, StoreError> {
    let account: Account = rows.insert_account(&NewAccount {
        id: random::account_id(),
        app: app.key,
        number: number.parse().unwrap(),
        is_default: true,
        is_discoverable: true,
        shows_app: false,
        created: Timestamp(1),
    })?;
    let device_key = rows.insert_device(account.key, &new_device())?;
    let key = |id: u8| vec![id; 33];
    let one_time =
        |id: u8| OneTimeKey { kind: KeyKind::Curve, id: id.into(), key: key(id), signature: None };
    let keys = KeySet {
        signed: Some(SignedKey { id: 1, key: key(1), signature: vec![1; 64] }),
        curve: Some((1..=KEYS).map(one_time).collect()),
        ..KeySet::default()
    };
    rows.put_keys(device_key, &keys)?;
    Ok(Sender { account, device_key, device: DeviceId::PRIMARY, app: app.clone() })
}

fn new_device() -> DeviceColumns {
    DeviceColumns {
        number: DeviceId::PRIMARY,
        password: TokenHash([1; 32]),
        salt: [1; 16],
        registration_id: 1,
        signaling_key: None,
        name: None,
        fetches_messages: true,
        push: None,
        attributes: "{}".into(),
        created: Timestamp(1),
        last_seen: Timestamp(1),
    }
}

/// Creates two accounts in an app.
async fn two_people(storage: &Storage) -> [Sender; 2] {
    let work = |rows: &mut dyn Rows, _: Timestamp| {
        let (name, intra) = ("com.a".parse().unwrap(), IntraApp::Delivered);
        let key = rows.insert_app(&name, intra)?.unwrap();
        let app = App { key, name, intra, tokens: Vec::new() };
        Ok([register(rows, &app, "+14155550101")?, register(rows, &app, "+14155550102")?])
    };
    storage.execute(work).await.unwrap()
}

fn write(from: &Sender, to: &Sender, timestamp: u64) -> Submission {
    let message = NewMessage {
        kind: EnvelopeKind::Ciphertext,
        device: DeviceId::PRIMARY,
        registration_id: Some(1),
        body: None,
        content: Some(b"content".into()),
    };
    Submission {
        sender: from.clone(),
        destination: Destination::Account(to.account.id),
        timestamp: Timestamp(timestamp),
        messages: vec![message],
        is_ephemeral: false,
        is_partial: false,
        left_out: None,
        is_urgent: true,
        accepts_answers: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_one_time_key_goes_to_one_of_many_clients() {
    let running = Running::start("keys", |_| {});
    let [alice, _] = two_people(&running.storage).await;
    let app = alice.app.clone();
    let register = move |rows: &mut dyn Rows, _: Timestamp| -> Result<Vec<Sender>, StoreError> {
        (0..10).map(|number| register(rows, &app, &format!("+1415555020{number}"))).collect()
    };
    // One account may take only a few keys of a device.
    let askers = running.storage.execute(register).await.unwrap();
    let mut clients = JoinSet::new();
    for Sender { account, device_key, .. } in askers.iter().cycle().take(2 * usize::from(KEYS)) {
        let (storage, id) = (running.storage.clone(), alice.account.id);
        let asker = Asker::Device(Requester { account: account.key, device: *device_key });
        let request = BundleRequest { asker, destination: Destination::Account(id), device: None };
        clients.spawn(async move { storage.take_bundle(request).await });
    }
    let bundles = clients.join_all().await.into_iter();
    let mut devices = bundles.map(|taken| match taken.unwrap() {
        BundleReply::Bundle(mut bundle) => bundle.devices.remove(0),
        BundleReply::Limited(_)
        | BundleReply::NotFound
        | BundleReply::Unauthorized
        | BundleReply::UnknownRequester => panic!("no keys"),
    });
    let mut ids: Vec<u32> = devices.by_ref().filter_map(|it| it.one_time).map(|it| it.id).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=KEYS.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_many_clients_are_stored_and_their_device_is_notified() {
    let mut running = Running::start("messages", |_| {});
    let [alice, bob] = two_people(&running.storage).await;
    let mut clients = JoinSet::new();
    for timestamp in 0..MESSAGES {
        let (storage, submission) = (running.storage.clone(), write(&alice, &bob, timestamp));
        clients.spawn(async move { storage.send(submission).await });
    }
    let stored = Sent::Stored { needs_sync: false, devices: vec![bob.device_key] };
    assert!(clients.join_all().await.into_iter().all(|sent| sent.as_ref() == Ok(&stored)));
    let device = bob.device_key;
    let request = PageRequest { device, after: 0, max_messages: 1000, max_bytes: 1 << 20 };
    let page = running.storage.messages(request).await.unwrap().unwrap().page;
    assert_eq!(page.messages.len(), 60);
    for (position, _) in page.messages {
        let message = MessageName::Position(position);
        running.storage.acknowledge(Acknowledgement { device, message }).await.unwrap();
    }
    assert_eq!(running.storage.messages(request).await, Ok(Some(QueueDelivery::default())));
    assert!(running.stop());
    let notified: Vec<DeviceKey> = running.notified.try_iter().collect();
    let count = |device| notified.iter().filter(|it| **it == device).count();
    assert_eq!((count(bob.device_key), count(alice.device_key)), (60, 60));
}

#[tokio::test]
async fn the_removal_of_a_device_is_reported_even_if_its_client_has_gone() {
    let mut running = Running::start("gone", |_| {});
    let [alice, _] = two_people(&running.storage).await;
    let device = alice.device_key;
    let remove = move |rows: &mut dyn Rows, _: Timestamp| rows.delete_device(device);
    let mut request = Box::pin(running.storage.execute(remove));
    // The client sends its request and leaves before the answer.
    let first = std::future::poll_fn(|cx| std::task::Poll::Ready(request.as_mut().poll(cx))).await;
    drop(first);
    drop(request);
    assert!(running.stop());
    assert_eq!(running.removed.try_iter().collect::<Vec<_>>(), [device]);
}

#[tokio::test]
async fn a_sender_is_limited_however_it_spells_the_recipient() {
    let running = Running::start("spelling", |_| {});
    let [alice, bob] = two_people(&running.storage).await;
    let spellings =
        [bob.account.id.to_string(), "+14155550102".into(), "+14155550102@com.a".into()];
    let (begun, mut accepted) = (Instant::now(), 0);
    loop {
        let destination = spellings[usize::try_from(accepted % 3).unwrap()].parse().unwrap();
        let submission = Submission { destination, ..write(&alice, &bob, accepted) };
        let sent = running.storage.send(submission).await.unwrap();
        if matches!(sent, Sent::Limited(_)) {
            break;
        }
        assert!(matches!(sent, Sent::Stored { .. }), "{sent:?}");
        accepted += 1;
        // Another one is allowed for each second that has passed.
        assert!(accepted <= MESSAGES + begun.elapsed().as_secs() + 1, "{accepted}");
    }
    assert!(accepted >= MESSAGES, "{accepted}");
    let requester = Requester { account: alice.account.key, device: alice.device_key };
    let asker = Asker::Device(requester);
    for number in 0..=6 {
        let device = [None, Some(DeviceId::PRIMARY)][number % 2];
        let destination = spellings[number % 3].parse().unwrap();
        let request = BundleRequest { asker, destination, device };
        let taken = running.storage.take_bundle(request).await.unwrap();
        assert_eq!(matches!(taken, BundleReply::Limited(_)), number == 6, "{taken:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_stored_costs_its_recipient_nothing() {
    let running = Running::start("budget", |_| {});
    let [alice, bob] = two_people(&running.storage).await;
    let long = |timestamp, device: u32| {
        let mut submission = write(&alice, &bob, timestamp);
        submission.messages[0].content = Some(vec![1; 10 << 20]);
        submission.messages[0].device = DeviceId::new(device).unwrap();
        submission
    };
    for timestamp in 0..10 {
        let sent = running.storage.send(long(timestamp, 2)).await.unwrap();
        assert!(matches!(sent, Sent::Mismatched(_)));
    }
    // A sender gets 32 MiB, and then there is room for others.
    for timestamp in 10..14 {
        let sent = running.storage.send(long(timestamp, 1)).await.unwrap();
        assert_eq!(matches!(sent, Sent::Limited(_)), timestamp == 13, "{sent:?}");
    }
}

#[tokio::test]
async fn if_the_thread_panics_all_requests_are_refused() {
    let mut running = Running::start("panic", |_| {});
    let panics = |_: &mut dyn Rows, _: Timestamp| -> Result<(), StoreError> { panic!("a test") };
    assert!(running.storage.execute(panics).await.is_err());
    running.threads.as_mut().unwrap().failed().await;
    assert!(running.storage.execute(|rows, _| rows.apps()).await.is_err());
    assert!(!running.stop());
}

#[test]
fn pages_that_are_too_long_together_wait_for_the_next_transaction() {
    let job = |max_bytes| {
        let device = DeviceKey::default();
        let request = PageRequest { device, after: 0, max_messages: 1, max_bytes };
        Job { request, answer: None, reply: oneshot::channel().0 }
    };
    let mut waiting = Turn::default();
    waiting.pages.extend([6 << 20, 6 << 20, 6 << 20, usize::MAX, 1].map(job));
    let mut count = || waiting.take().pages.len();
    assert_eq!([count(), count(), count(), count(), count()], [2, 1, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_reads_does_not_wait_for_what_writes() {
    let running = Running::start("reads", |_| {});
    let [alice, bob] = two_people(&running.storage).await;
    running.storage.send(write(&alice, &bob, 1)).await.unwrap();
    let (begin, begun) = oneshot::channel();
    let (end, may_end) = mpsc::channel();
    let mut begin = Some(begin);
    let long = move |_: &mut dyn Rows, _: Timestamp| {
        begin.take().map(|begin| begin.send(()));
        may_end.recv().map_err(|error| StoreError::Database(error.to_string()))
    };
    let storage = running.storage.clone();
    let long = tokio::spawn(async move { storage.execute(long).await });
    begun.await.unwrap();
    let device = bob.device_key;
    let request = PageRequest { device, after: 0, max_messages: 10, max_bytes: 1 << 20 };
    let page = running.storage.messages(request).await.unwrap().unwrap().page;
    assert_eq!(page.messages.len(), 1);
    assert_eq!(running.storage.read(|rows| rows.apps()).await.unwrap().len(), 1);
    let (name, device) = (LoginName::Account(bob.account.id), DeviceId::PRIMARY);
    let login = Login { name, device, app: None };
    assert_eq!(running.storage.find(login).await.unwrap().len(), 1);
    end.send(()).unwrap();
    long.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failed_commit_is_an_error_and_the_next_one_succeeds() {
    let running = Running::start("failed", |store| store.fail_next_commit());
    let insert = |rows: &mut dyn Rows, _: Timestamp| {
        rows.insert_app(&"com.a".parse().unwrap(), IntraApp::Delivered)
    };
    assert!(running.storage.execute(insert).await.is_err());
    // The name is still free.
    assert!(running.storage.execute(insert).await.unwrap().is_some());
    assert_eq!(running.storage.execute(insert).await, Ok(None));
}

#[tokio::test]
async fn after_the_end_of_the_thread_requests_are_refused() {
    let mut running = Running::start("closed", |_| {});
    let [alice, bob] = two_people(&running.storage).await;
    assert!(running.storage.send(write(&alice, &bob, 1)).await.is_ok());
    assert!(running.stop());
    let late = running.storage.send(write(&alice, &bob, 2)).await;
    assert_eq!(late, Err(closed()));
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_stored_in_a_file_that_was_removed() {
    let mut running = Running::start("removed", |_| {});
    let [alice, bob] = two_people(&running.storage).await;
    std::fs::remove_file(running.folder.join("messaging.sqlite")).unwrap();
    for timestamp in [1, 2] {
        let sent = running.storage.send(write(&alice, &bob, timestamp)).await;
        assert_eq!(sent, Err(closed()));
    }
    let error = running.threads.as_mut().unwrap().failed().await;
    assert!(error.to_string().contains("removed or replaced"), "{error}");
}

/// Number of messages: as many as one account may send to another at once.
const MESSAGES: u64 = 60;

/// Number of one-time keys of each device.
const KEYS: u8 = 20;
