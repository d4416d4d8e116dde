//! Each message is stored once, and no sender takes the place of others.

use wormhole_chat::{ReadError, Unreadable};

use super::*;

#[test]
fn a_message_that_has_arrived_before_is_dropped() {
    let folder = Folder::new();
    let mut store = folder.create();
    let twice = received(vec![message(1, "pay"), message(1, "pay"), message(2, "other")]);
    assert_eq!(store.commit(&twice), Ok(vec![ReceivedId(1), ReceivedId(2)]));
    let taken = Commit { taken: vec![ReceivedId(1)], ..Commit::default() };
    store.commit(&taken).unwrap();
    for _ in 0..2 {
        assert_eq!(store.commit(&received(vec![message(1, "pay")])), Ok(vec![]));
        assert_eq!(store.received_count(), 1);
        drop(store);
        store = folder.open().unwrap();
    }
}

#[test]
fn another_message_with_the_same_timestamp_is_kept() {
    let folder = Folder::new();
    let mut store = folder.create();
    let forged = Received { identity_changed: true, ..message(1, "pay") };
    let all = [forged, message(1, "pay"), message(1, "do not pay")];
    for _ in 0..2 {
        store.commit(&received(all.to_vec())).unwrap();
        assert_eq!(store.received_count(), 3);
        drop(store);
        store = folder.open().unwrap();
    }
    let mut last = None;
    for message in all {
        let (id, stored) = store.received_after(last).unwrap().unwrap();
        assert_eq!(stored, StoredMessage::Read(message));
        last = Some(id);
    }
}

fn unreadable(from: Option<Address>, number: u64) -> Unreadable {
    Unreadable { from, timestamp: Timestamp(number), why: ReadError::Unsupported }
}

#[test]
fn an_envelope_that_cannot_be_read_and_arrives_again_is_dropped() {
    let folder = Folder::new();
    let mut store = folder.create();
    for from in [Some(address(1)), None] {
        let mut ids = Vec::new();
        for envelope in [[1; 32], [1; 32], [2; 32]] {
            let mut commit = Commit::default();
            let unreadable = vec![unreadable(from, 7)];
            commit.add_from(Changes { unreadable, ..Changes::default() }, Some(envelope));
            ids.push(store.commit(&commit).unwrap().len());
            drop(store);
            store = folder.open().unwrap();
        }
        assert_eq!(ids, [1, 0, 1]);
    }
}

#[test]
fn messages_that_cannot_be_read_do_not_fill_the_store() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&received(vec![message(1, "one")])).unwrap();
    let of = |number: u64| unreadable(Some(address(u8::try_from(number % 100).unwrap())), number);
    let changes = Changes { unreadable: (0..600).map(of).collect(), ..Changes::default() };
    for _ in 0..2 {
        store.commit(&commit_of(changes.clone())).unwrap();
        drop(store);
        store = folder.open().unwrap();
    }
    assert_eq!((store.received_count(), store.readable_count()), (1001, 1));
    let (first, _) = store.received_after(None).unwrap().unwrap();
    let (second, _) = store.received_after(Some(first)).unwrap().unwrap();
    assert_eq!((first, second), (ReceivedId(1), ReceivedId(202)));
    store.commit(&Commit { taken: vec![first, second], ..Commit::default() }).unwrap();
    assert_eq!((store.received_count(), store.readable_count()), (999, 0));
}

#[test]
fn of_many_messages_of_one_account_that_cannot_be_read_only_the_number_is_kept() {
    let folder = Folder::new();
    let mut store = folder.create();
    for first in [0, 100, 101] {
        let count = if first == 0 { 100 } else { 1 };
        let unreadable =
            (first..first + count).map(|it| unreadable(Some(address(1)), it)).collect();
        store.commit(&commit_of(Changes { unreadable, ..Changes::default() })).unwrap();
        drop(store);
        store = folder.open().unwrap();
    }
    assert_eq!(store.received_count(), 100);
    let (id, last) = store.received_after(Some(ReceivedId(99))).unwrap().unwrap();
    let StoredMessage::Unreadable { timestamp, more, .. } = last else { panic!("{last:?}") };
    assert_eq!((id, timestamp, more), (ReceivedId(100), Some(Timestamp(99)), 2));
    // Others have their own share, and so has this account when the application has taken them.
    let others = vec![unreadable(Some(address(2)), 1), unreadable(None, 1)];
    let taken = (1..=100).map(ReceivedId).collect();
    store.commit(&commit_of(Changes { unreadable: others, ..Changes::default() })).unwrap();
    assert_eq!(store.received_count(), 102);
    store.commit(&Commit { taken, ..Commit::default() }).unwrap();
    let again = vec![unreadable(Some(address(1)), 300)];
    store.commit(&commit_of(Changes { unreadable: again, ..Changes::default() })).unwrap();
    assert_eq!(store.received_count(), 3);
}

#[test]
fn a_stranger_does_not_fill_the_store() {
    let folder = Folder::new();
    let mut store = folder.create();
    let many = |sender: u8| {
        let of =
            |number: u32| Received { from: address(sender), ..message(1, &number.to_string()) };
        received((0..1010).map(of).collect())
    };
    let written_to = std::iter::once(account(3)).collect();
    store.commit(&Commit { written_to, ..Commit::default() }).unwrap();
    let mut named = Commit::default();
    named.add_contact(contact(4));
    store.commit(&named).unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    store.commit(&many(2)).unwrap();
    assert_eq!((store.readable_count(), store.received_count()), (1000, 1010));
    let (_, surplus) = store.received_after(Some(ReceivedId(1000))).unwrap().unwrap();
    let StoredMessage::Unreadable { from, why, .. } = surplus else { panic!("{surplus:?}") };
    assert_eq!((from, why), (Some(address(2)), crate::chat::ReadError::TooMany));
    store.commit(&many(3)).unwrap();
    store.commit(&many(4)).unwrap();
    assert_eq!(store.readable_count(), 3020);
}

#[test]
fn a_note_belongs_to_a_message_in_the_store() {
    let folder = Folder::new();
    let mut store = folder.create();
    let (first, second) = (ReceivedId(1), ReceivedId(2));
    store.commit(&received(vec![message(1, "one"), message(2, "two")])).unwrap();
    let note = |id| (id, Zeroizing::new(b"saved".to_vec()));
    let notes = [first, second, ReceivedId(3)].map(note).into_iter().collect();
    store.commit(&Commit { notes, ..Commit::default() }).unwrap();
    store.commit(&setting("received.2", b"of the application")).unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(store.note(first).unwrap().as_deref(), Some(&b"saved".to_vec()));
    assert_eq!(store.note(ReceivedId(3)), Ok(None));
    // The message is taken, and the note comes too late.
    let notes = std::iter::once(note(first)).collect();
    store.commit(&Commit { taken: vec![first, second], notes, ..Commit::default() }).unwrap();
    assert_eq!((store.note(first), store.note(second)), (Ok(None), Ok(None)));
    assert!(store.setting("received.2").unwrap().is_some());
}

#[test]
fn a_damaged_row_hides_nothing_else() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&received(vec![message(1, "one")])).unwrap();
    let failed = |number| wormhole_chat::Failed {
        timestamp: Timestamp(number),
        to: account(1),
        content: Zeroizing::default(),
        why: wormhole_chat::SendFailure::NoDevice,
    };
    let changes = Changes { failed: vec![failed(1), failed(2)], ..Changes::default() };
    store.commit(&commit_of(changes)).unwrap();
    let mut transaction = store.database.begin(&store.keys).unwrap();
    transaction.put(Table::Failed, &1_u64.to_be_bytes(), &[99]).unwrap();
    transaction.put(Table::Contact, account(1).as_bytes(), &[99]).unwrap();
    transaction.commit().unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(store.contact(account(1)), Ok(None));
    let failed = store.failed().unwrap();
    assert_eq!((failed.len(), failed[0].timestamp), (2, Timestamp(1)));
    assert_eq!(failed[0].why, None);
    assert_eq!(
        (failed[1].to, failed[1].why),
        (account(1).into(), Some(crate::chat::SendFailure::NoDevice))
    );
    store.commit(&Commit { forgotten: vec![Timestamp(1)], ..Commit::default() }).unwrap();
    assert_eq!(store.failed_count(), 1);
}
