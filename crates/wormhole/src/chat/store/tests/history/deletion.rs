//! Expired, deleted and excess messages are gone, also from the files.

use super::*;

/// The sealed rows in the file, as they are at this moment.
fn sealed(folder: &Folder) -> Vec<Vec<u8>> {
    let copy = folder.copy();
    let connection = rusqlite::Connection::open(database_file(&copy.0)).unwrap();
    let mut statement =
        connection.prepare("SELECT sealed FROM history UNION ALL SELECT sealed FROM history_words");
    let rows = statement.as_mut().unwrap().query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Whether some bytes are in any file of the store.
fn contains(folder: &Folder, bytes: &[u8]) -> bool {
    folder.files().iter().any(|file| {
        let content = std::fs::read(file).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// Asserts that none of these rows is left in the files.
fn assert_gone(folder: &Folder, rows: &[Vec<u8>]) {
    assert!(!rows.is_empty());
    for row in rows {
        // Longer ones are on several pages.
        for piece in row.chunks(32).skip(1).step_by(7).take(8).filter(|piece| piece.len() == 32) {
            assert!(!contains(folder, piece));
        }
    }
}

fn expiring(timestamp: u64, seconds: u32) -> Received {
    let mut received = message_at(1, timestamp, "secret");
    if let Content::Data(message) = &mut received.content {
        message.expire_timer = Some(seconds);
    }
    received
}

/// Sets the time at which everything in the history expires to the past.
fn let_expire(store: &mut Store) {
    store.set_expiry_for_tests(Timestamp(1)).unwrap();
}

#[test]
fn the_timer_of_a_received_message_starts_when_it_is_read_and_of_ours_when_it_is_sent() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![expiring(5, 3600)])).unwrap();
    store.commit(&outbox(vec![ours(1, 6, data("mine", Some(60)))])).unwrap();
    assert!(all(&mut store, None).iter().all(|message| message.expires.is_none()));
    assert_eq!(store.history_due(), None);
    let before = crate::chat::account::now().0;
    let mut commit = outbox(vec![OutboxChange::Sent(Timestamp(6))]);
    commit.taken = vec![ReceivedId(1)];
    store.commit(&commit).unwrap();
    let messages = all(&mut store, None);
    let expires: Vec<_> = messages.iter().map(|it| it.expires.unwrap().0 - before).collect();
    assert!((60_000..120_000).contains(&expires[0]), "{expires:?}");
    assert!((3_600_000..3_660_000).contains(&expires[1]), "{expires:?}");
    assert_eq!(store.history_due(), messages[0].expires);
}

#[test]
fn an_expired_message_is_not_in_the_files_after_the_store_was_opened() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![expiring(5, 3600), message_at(1, 6, "stays")])).unwrap();
    let rows = sealed(&folder);
    store.commit(&Commit { taken: vec![ReceivedId(1)], ..Commit::default() }).unwrap();
    let_expire(&mut store);
    let expired = sealed(&folder);
    assert_eq!(texts(&all(&mut store, None)), ["stays"]);
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(texts(&all(&mut store, None)), ["stays"]);
    let left = sealed(&folder);
    assert_eq!(left.len(), 1);
    let gone: Vec<_> = rows.into_iter().chain(expired).filter(|row| !left.contains(row)).collect();
    assert_gone(&folder, &gone);
    assert_eq!(store.history_due(), None);
}

/// A commit in which another device of ours says that it has read these messages.
fn read_elsewhere(timestamps: &[u64]) -> Commit {
    let read =
        |timestamp: &u64| MessageRef { author: account(1), timestamp: Timestamp(*timestamp) };
    let read = timestamps.iter().map(read).collect();
    Commit { history: vec![HistoryChange::Read(read)], ..Commit::default() }
}

/// The timestamps of the received messages that the application would get.
fn waiting(store: &Store) -> Vec<u64> {
    let (mut waiting, mut last) = (Vec::new(), None);
    while let Some((id, message)) = store.received_after(last).unwrap() {
        if let StoredMessage::Read(received) = message {
            waiting.push(received.timestamp.0);
        }
        last = Some(id);
    }
    waiting
}

#[test]
fn a_message_that_was_read_on_another_device_disappears_before_the_application_takes_it() {
    for keeps_history in [false, true] {
        let folder = Folder::new();
        let mut store = keeping(&folder);
        if !keeps_history {
            store.set_history_mode(HistoryMode::Off).unwrap();
        }
        let messages = [(5, 1), (6, 3600), (7, 1), (8, 0)];
        let messages = messages.iter().map(|(timestamp, timer)| expiring(*timestamp, *timer));
        store.commit(&received(messages.collect())).unwrap();
        assert_eq!(store.history_due(), None);
        let before = crate::chat::account::now().0;
        store.commit(&read_elsewhere(&[5, 6, 8])).unwrap();
        let due = store.history_due().unwrap().0;
        assert!((before + 1000..before + 60_000).contains(&due), "{due}");
        assert_eq!(waiting(&store)[1..], [6, 7, 8], "only the first one can be over");
        drop(store);
        // The time passes while the store is closed.
        while crate::chat::account::now().0 < due {
            std::thread::yield_now();
        }
        let store = folder.open().unwrap();
        assert_eq!((waiting(&store), store.received_count()), (vec![6, 7, 8], 3));
        assert!(store.history_due().unwrap().0 > due + 1_800_000);
    }
}

#[test]
fn a_message_that_was_read_on_another_device_before_it_arrived_disappears_too() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&read_elsewhere(&[5])).unwrap();
    store.commit(&received(vec![expiring(5, 1), expiring(6, 1)])).unwrap();
    let due = store.history_due().unwrap().0;
    // The application is running.
    while crate::chat::account::now().0 < due {
        std::thread::yield_now();
    }
    assert_eq!((waiting(&store), store.received_count()), (vec![6], 2));
    store.purge_history().unwrap();
    assert_eq!((waiting(&store), store.received_count()), (vec![6], 1));
    assert_eq!(store.history_due(), None);
    // The application that has shown it before is done with it.
    let taken = vec![ReceivedId(1), ReceivedId(2)];
    store.commit(&Commit { taken, ..Commit::default() }).unwrap();
    assert_eq!(store.received_count(), 0);
}

#[test]
fn the_words_of_a_forgotten_message_are_gone_from_a_full_segment() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    fill(&mut store, 4100);
    let before = sealed(&folder);
    let found = found(&mut store, &HistoryQuery::search("number7", None));
    let seven = found.iter().find(|it| it.text.as_deref() == Some("number7 all w7")).unwrap();
    store.forget_message(seven.id).unwrap();
    let after = sealed(&folder);
    assert!(after.len() < before.len());
    let mut gone: Vec<_> = before.into_iter().filter(|row| !after.contains(row)).collect();
    // The message, and the words of its segment.
    assert!(gone.len() > 2);
    gone.truncate(4);
    assert_gone(&folder, &gone);
    assert!(!search(&mut store, "number7").contains(&"number7 all w7".to_owned()));
    assert_eq!(all(&mut store, None).len(), 4099);
}

#[test]
fn a_forgotten_conversation_leaves_the_others() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    fill(&mut store, 4200);
    store.forget_conversation(with(2).unwrap()).unwrap();
    assert_eq!((all(&mut store, with(2)).len(), store.conversations().len()), (0, 2));
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(all(&mut store, None).len(), 2800);
    assert_eq!(search(&mut store, "number4"), {
        let kept = (0..4200).rev().filter(|n| n % 3 != 1 && n.to_string().starts_with('4'));
        kept.map(|n| format!("number{n} all w{}", n % 700)).collect::<Vec<_>>()
    });
}

#[test]
fn switching_the_history_off_overwrites_it() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 5, "one"), message_at(1, 6, "two")])).unwrap();
    let rows = sealed(&folder);
    store.set_history_mode(HistoryMode::Off).unwrap();
    assert_gone(&folder, &rows);
}

#[test]
fn the_oldest_messages_beyond_the_limits_are_removed() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    fill(&mut store, 4500);
    let limits = HistoryLimits { max_messages: Some(100), ..HistoryLimits::default() };
    store.set_history_mode(HistoryMode::On(limits)).unwrap();
    let messages = all(&mut store, None);
    assert_eq!(messages.len(), 100);
    assert!(messages[99].text.as_deref().unwrap().starts_with("number4400 "));
    fill_more(&mut store, 300);
    assert_eq!(store.history_due(), Some(Timestamp(0)));
    store.purge_history().unwrap();
    assert_eq!(all(&mut store, None).len(), 100);
    let age = Some(std::time::Duration::from_millis(1));
    let limits = HistoryLimits { max_age: age, ..HistoryLimits::default() };
    while crate::chat::account::now() <= newest(&store) {
        std::thread::yield_now();
    }
    store.set_history_mode(HistoryMode::On(limits)).unwrap();
    assert_eq!((all(&mut store, None).len(), store.conversations().len()), (0, 0));
}

/// A millisecond after the latest message came in.
fn newest(store: &Store) -> Timestamp {
    let latest = store.conversations().iter().map(|it| it.latest.0).max();
    Timestamp(latest.unwrap_or_default() + 1)
}

fn fill_more(store: &mut Store, count: u64) {
    let more = (0..count).map(|number| message_at(1, 100_000 + number, "more"));
    store.commit(&received(more.collect())).unwrap();
}
