//! Changes and receipts that arrive before their message.

use super::changes::{change, delete, edit, react};
use super::*;

fn receipt(from: u8, kind: ReceiptKind, timestamp: u64) -> Commit {
    let receipt = Receipt { kind, timestamps: vec![Timestamp(timestamp)] };
    let history = vec![HistoryChange::Receipt(account(from), receipt)];
    Commit { history, ..Commit::default() }
}

fn arrive(store: &mut Store, messages: Vec<Received>) {
    store.commit(&received(messages)).unwrap();
}

#[test]
fn changes_that_arrive_before_their_message_are_applied_when_it_arrives() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&change(1, 3000, edit(1000, "third"))).unwrap();
    store.commit(&change(1, 2000, edit(1000, "second"))).unwrap();
    store.commit(&change(2, 2000, edit(1000, "forged"))).unwrap();
    store.commit(&change(1, 2500, react((1, 1000), Some("👍")))).unwrap();
    store.commit(&change(1, 4000, delete(1001))).unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    arrive(&mut store, vec![message_at(1, 1000, "first"), message_at(1, 1001, "regretted")]);
    let messages = all(&mut store, with(1));
    assert!(messages[0].is_deleted && messages[0].text.is_none());
    let first = &messages[1];
    assert_eq!((first.text.as_deref(), first.edits.len()), (Some("third"), 2));
    assert_eq!(first.reactions.len(), 1);
    for word in ["first", "second", "forged", "regretted"] {
        assert_eq!(search(&mut store, word), Vec::<String>::new(), "{word}");
    }
    // An applied change is not kept.
    assert_eq!(store.history_early_for_tests(), 1);
}

#[test]
fn a_receipt_that_arrives_before_the_copy_of_the_message_counts_and_the_later_state_stays() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&receipt(1, ReceiptKind::Read, 77)).unwrap();
    store.commit(&receipt(1, ReceiptKind::Delivery, 77)).unwrap();
    store.commit(&receipt(2, ReceiptKind::Read, 78)).unwrap();
    for timestamp in [77, 78] {
        let transcript = SentTranscript {
            to: account(1),
            number: None,
            app: None,
            timestamp: Timestamp(timestamp),
            message: data("from the laptop", None),
            edits: None,
        };
        let content = Content::Sync(SyncMessage::Sent(Box::new(transcript)).encode().to_vec());
        let (from, timestamp) = (address(9), Timestamp(timestamp + 100));
        arrive(&mut store, vec![Received { from, timestamp, content, identity_changed: false }]);
    }
    let states: Vec<_> = all(&mut store, with(1)).iter().map(|it| it.state).collect();
    // Only a recipient of a message can confirm it.
    assert_eq!(states, [HistoryState::OnServer, HistoryState::Read]);
}

#[test]
fn attack_31_nobody_can_make_us_keep_more_than_a_share_of_what_arrives_early() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&change(1, 5000, react((1, 1000), Some("👍")))).unwrap();
    for number in 0..200 {
        store.commit(&change(2, 6000 + number, react((2, 9000 + number), Some("👎")))).unwrap();
    }
    assert_eq!(store.history_early_for_tests(), 65);
    // 9 is our own account.
    for from in (3..250).filter(|from| *from != 9) {
        store.commit(&change(from, 7000, react((from, 1), Some("👎")))).unwrap();
        store.commit(&change(from, 7000, delete(2))).unwrap();
    }
    assert!(store.history_early_for_tests() <= 200);
    let long = "long ".repeat(20_000);
    for number in 0..20 {
        store.commit(&change(2, 6000 + number, edit(50 + number, &long))).unwrap();
    }
    arrive(&mut store, vec![message_at(2, 69, "short"), message_at(2, 50, "short")]);
    let texts = texts(&all(&mut store, with(2)));
    assert_eq!((texts[0].as_str(), texts[1].len()), ("short", long.len()));
}

#[test]
fn a_conversation_that_is_forgotten_keeps_nothing_that_has_arrived_early() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&change(1, 2000, edit(1000, "secret"))).unwrap();
    store.commit(&change(2, 2000, edit(1000, "other"))).unwrap();
    store.forget_conversation(Conversation::Account(account(1))).unwrap();
    assert_eq!(store.history_early_for_tests(), 1);
    store.set_history_mode(HistoryMode::Off).unwrap();
    assert_eq!(store.history_early_for_tests(), 0);
}
