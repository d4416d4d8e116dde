//! The message history: what is in it, how it is found, and that what is deleted is gone.

mod changes;
mod deletion;
mod early;
mod groups;
mod integrity;

use wormhole_chat::{
    Failed, MessageRef, OutboxChange, Receipt, ReceiptKind, SendFailure, SentTranscript,
    SyncMessage,
};

use super::*;
use crate::chat::history::{
    Conversation, HistoryId, HistoryLimits, HistoryMessage, HistoryMode, HistoryState,
};
use crate::chat::store::history::StoredReaction;

/// A store that keeps a history, with our account.
fn keeping(folder: &Folder) -> Store {
    let mut store = folder.create();
    let commit = Commit { registration: Some(registration()), ..Commit::default() };
    store.commit(&commit).unwrap();
    store.set_history_mode(HistoryMode::ALL).unwrap();
    store
}

/// A message of this person with this timestamp.
fn message_at(number: u8, timestamp: u64, text: &str) -> Received {
    let timestamp = Timestamp(timestamp);
    let mut received = Received { timestamp, ..message(number, text) };
    if let Content::Data(data) = &mut received.content {
        data.timestamp = Some(timestamp);
    }
    received
}

fn data(text: &str, expire: Option<u32>) -> DataMessage {
    DataMessage { body: Some(text.to_owned()), expire_timer: expire, ..DataMessage::default() }
}

/// A message of ours to this person.
fn ours(number: u8, timestamp: u64, data: DataMessage) -> OutboxChange {
    let content = Box::new(Content::Data(Box::new(data)));
    OutboxChange::Added { timestamp: Timestamp(timestamp), to: account(number), content }
}

fn outbox(changes: Vec<OutboxChange>) -> Commit {
    commit_of(Changes { outbox: changes, ..Changes::default() })
}

fn with(number: u8) -> Option<Conversation> {
    Some(Conversation::Account(account(number)))
}

/// All messages of a conversation, the newest first, read in pages.
fn all(store: &mut Store, conversation: Option<Conversation>) -> Vec<HistoryMessage> {
    found(store, &HistoryQuery::all(conversation))
}

fn search(store: &mut Store, text: &str) -> Vec<String> {
    texts(&found(store, &HistoryQuery::search(text, None)))
}

fn found(store: &mut Store, query: &HistoryQuery) -> Vec<HistoryMessage> {
    let mut messages = Vec::new();
    let mut before = None;
    loop {
        let found = store.find_history(query, before, 7).unwrap();
        messages.extend(found.messages);
        before = found.next;
        if before.is_none() {
            return messages;
        }
    }
}

fn texts(messages: &[HistoryMessage]) -> Vec<String> {
    messages.iter().map(|message| message.text.clone().unwrap_or_default()).collect()
}

/// Adds numbered messages of several people, enough for some full segments.
fn fill(store: &mut Store, count: u64) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let message = |number: &u64| {
            let from = u8::try_from(1 + number % 3).unwrap();
            message_at(from, 1000 + number, &format!("number{number} all w{}", number % 700))
        };
        store.commit(&received(chunk.iter().map(message).collect())).unwrap();
        let ids = (chunk[0] + 1..=chunk[chunk.len() - 1] + 1).map(ReceivedId).collect();
        store.commit(&Commit { taken: ids, ..Commit::default() }).unwrap();
    }
}

#[test]
fn a_message_is_in_the_history_when_it_is_durable_and_stays_after_the_application_is_done() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 5, "hello"), message_at(2, 6, "other")])).unwrap();
    store.commit(&outbox(vec![ours(1, 7, data("answer", None))])).unwrap();
    let messages = all(&mut store, with(1));
    assert_eq!(texts(&messages), ["answer", "hello"]);
    let (answer, hello) = (&messages[0], &messages[1]);
    assert!(answer.is_ours && answer.author == account(9) && answer.id > hello.id);
    assert_eq!((answer.state, hello.state), (HistoryState::Waiting, HistoryState::Unread));
    let commit = Commit { taken: vec![ReceivedId(1)], ..Commit::default() };
    store.commit(&commit).unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(texts(&all(&mut store, None)), ["answer", "other", "hello"]);
    assert_eq!(all(&mut store, with(1))[1].state, HistoryState::Read);
    let summaries = store.conversations();
    let counts: Vec<_> = summaries.iter().map(|it| it.messages).collect();
    assert!(counts.contains(&2) && counts.contains(&1) && counts.len() == 2);
}

#[test]
fn without_a_history_nothing_is_kept_and_switching_it_off_deletes_it() {
    let folder = Folder::new();
    let mut store = folder.create();
    assert_eq!(store.history_mode(), HistoryMode::Off);
    store.commit(&received(vec![message_at(1, 5, "before")])).unwrap();
    store.set_history_mode(HistoryMode::ALL).unwrap();
    store.commit(&received(vec![message_at(1, 6, "during")])).unwrap();
    assert_eq!(texts(&all(&mut store, None)), ["during"]);
    store.set_history_mode(HistoryMode::Off).unwrap();
    store.commit(&received(vec![message_at(1, 7, "after")])).unwrap();
    assert_eq!((all(&mut store, None).len(), store.conversations().len()), (0, 0));
    drop(store);
    let mut store = folder.open().unwrap();
    store.set_history_mode(HistoryMode::ALL).unwrap();
    assert_eq!(all(&mut store, None), []);
    assert_eq!(store.received_count(), 3);
}

#[test]
fn a_message_of_ours_says_what_has_become_of_it() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    let add = |timestamp| ours(1, timestamp, data("text", None));
    store.commit(&outbox((1..=5).map(add).collect())).unwrap();
    let sent = |timestamp| OutboxChange::Sent(Timestamp(timestamp));
    let cancel = |timestamp, is_encrypted| OutboxChange::Cancelled {
        timestamp: Timestamp(timestamp),
        is_encrypted,
    };
    store.commit(&outbox(vec![sent(1), sent(2), cancel(3, false), cancel(4, true)])).unwrap();
    let failed = Failed {
        timestamp: Timestamp(5),
        to: account(1),
        content: Zeroizing::default(),
        why: SendFailure::TooLong,
    };
    let mut commit = commit_of(Changes { failed: vec![failed], ..Changes::default() });
    let receipt = |kind| Receipt { kind, timestamps: vec![Timestamp(2)] };
    // The second one comes from somebody else.
    commit.history.push(HistoryChange::Receipt(account(1), receipt(ReceiptKind::Delivery)));
    commit.history.push(HistoryChange::Receipt(account(2), receipt(ReceiptKind::Read)));
    store.commit(&commit).unwrap();
    let states: Vec<_> =
        all(&mut store, None).iter().map(|it| (it.timestamp.0, it.state)).collect();
    let expected = [
        (5, HistoryState::Failed),
        (4, HistoryState::MaybeSent),
        (2, HistoryState::Delivered),
        (1, HistoryState::OnServer),
    ];
    assert_eq!(states, expected);
}

#[test]
fn what_our_other_devices_send_is_in_the_conversation_once() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    let transcript = SentTranscript {
        to: account(1),
        number: None,
        app: None,
        timestamp: Timestamp(77),
        message: data("from the laptop", None),
        edits: None,
    };
    let content = Content::Sync(SyncMessage::Sent(Box::new(transcript)).encode().to_vec());
    for timestamp in [78, 79] {
        let (from, timestamp) = (address(9), Timestamp(timestamp));
        let copy = Received { from, timestamp, content: content.clone(), identity_changed: false };
        store.commit(&received(vec![copy])).unwrap();
    }
    let messages = all(&mut store, with(1));
    assert_eq!(texts(&messages), ["from the laptop"]);
    assert!(messages[0].is_ours && messages[0].state == HistoryState::OnServer);
}

#[test]
fn each_message_is_found_by_its_words_in_full_segments_and_in_the_last_one() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    fill(&mut store, 4500);
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = folder.open().unwrap();
        }
        for number in [0, 1023, 1024, 4095, 4096, 4499] {
            let text = format!("number{number} all w{}", number % 700);
            assert_eq!(search(&mut store, &format!("NUMBER{number} all")), [text]);
        }
        // Words begin like the query.
        assert_eq!(search(&mut store, "number449").len(), 11);
        assert_eq!(search(&mut store, "w699 all").len(), 6);
        assert_eq!(search(&mut store, "w699 number700"), Vec::<String>::new());
        assert_eq!(search(&mut store, "umber7"), Vec::<String>::new());
        let query = HistoryQuery::search("number449", with(1));
        let texts = texts(&found(&mut store, &query));
        assert!(texts.len() == 3 && texts[0].starts_with("number4497"), "{texts:?}");
        let all = all(&mut store, with(2));
        assert!(all.len() == 1500 && all.is_sorted_by(|a, b| a.id > b.id));
    }
}

#[test]
fn older_messages_of_another_device_come_before_all_others_and_only_once() {
    let folder = Folder::new();
    let other = Folder::new();
    let mut theirs = keeping(&other);
    fill(&mut theirs, 5000);
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 9_000_000, "live")])).unwrap();
    let mut before = None;
    let mut added = 0;
    for round in 0..2 {
        loop {
            let (rows, next) = theirs.export_history(before, 2000).unwrap();
            added += store.import_history(&rows).unwrap();
            before = next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(added, 5000, "{round}");
    }
    drop(store);
    let mut store = folder.open().unwrap();
    let messages = all(&mut store, None);
    assert_eq!((messages.len(), messages[0].text.as_deref()), (5001, Some("live")));
    let timestamps: Vec<_> = messages.iter().skip(1).map(|it| it.timestamp.0).collect();
    assert!(timestamps.is_sorted_by(|a, b| a > b));
    assert_eq!(search(&mut store, "number4999 w99"), ["number4999 all w99"]);
}
