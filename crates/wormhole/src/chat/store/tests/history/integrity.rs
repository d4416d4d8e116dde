//! Upgrades, crashes, and files that something else has changed.

use super::*;

#[test]
fn a_store_of_the_version_before_the_history_is_upgraded() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&received(vec![message_at(1, 5, "waits")])).unwrap();
    drop(store);
    folder.execute("DROP TABLE history");
    folder.execute("DROP TABLE history_words");
    folder.execute("PRAGMA user_version = 1");
    let mut store = folder.open().unwrap();
    assert_eq!((store.received_count(), store.history_mode()), (1, HistoryMode::Off));
    store.set_history_mode(HistoryMode::ALL).unwrap();
    store.commit(&received(vec![message_at(1, 6, "new")])).unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(texts(&all(&mut store, None)), ["new"]);
}

#[test]
fn a_crash_leaves_a_message_in_the_history_and_for_the_application_or_in_neither() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 5, "old")])).unwrap();
    let before = folder.copy();
    store.commit(&received(vec![message_at(1, 6, "new")])).unwrap();
    for (copy, expected) in [(before, 1), (folder.copy(), 2)] {
        let mut store = copy.open().unwrap();
        assert_eq!(store.received_count(), expected);
        assert_eq!(all(&mut store, None).len(), expected);
        // It continues.
        store.commit(&received(vec![message_at(1, 7, "later")])).unwrap();
        assert_eq!(all(&mut store, None).len(), expected + 1);
    }
}

/// A closed store with a full segment and another one.
fn closed() -> Folder {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    fill(&mut store, 4200);
    folder
}

/// Asserts that a statement makes the history unreadable.
fn refused(closed: &Folder, sql: &str) {
    let folder = closed.copy();
    assert!(folder.execute(sql) > 0, "{sql}");
    let mut store = folder.open().unwrap();
    let query = HistoryQuery::search("number7 w7", None);
    let all = HistoryQuery::all(None);
    let read = [query, all].map(|query| {
        let mut before = None;
        loop {
            let found = store.find_history(&query, before, 1000)?;
            before = found.next;
            if before.is_none() {
                return Ok(());
            }
        }
    });
    assert!(read.contains(&Err(StoreError::Damaged)), "{sql}");
}

#[test]
fn rows_of_the_history_that_were_changed_removed_or_swapped_are_noticed() {
    let folder = closed();
    refused(&folder, "UPDATE history SET sealed = sealed || x'00' WHERE number = 9");
    refused(&folder, "DELETE FROM history WHERE number = 9");
    refused(&folder, "DELETE FROM history WHERE number > 4150");
    refused(&folder, "DELETE FROM history_words");
    refused(&folder, "UPDATE history_words SET sealed = substr(sealed, 1, 500)");
    refused(
        &folder,
        "UPDATE history SET sealed = (SELECT sealed FROM history AS other WHERE other.number = \
         history.number + 1) WHERE number = 9",
    );
}

#[test]
fn an_older_version_of_a_message_or_of_its_words_is_noticed() {
    let closed = closed();
    for (table, key, old, rows) in [
        ("history", "number", "old", "number = 0"),
        ("history_words", "page", "old_words", "page = 0"),
        ("history_words", "page", "old_words", "page BETWEEN 1 AND 65535"),
    ] {
        let folder = closed.copy();
        folder.execute("CREATE TABLE old AS SELECT * FROM history");
        folder.execute("CREATE TABLE old_words AS SELECT * FROM history_words");
        let mut store = folder.open().unwrap();
        // A new message of the same text, so that the old row would open.
        let number = all(&mut store, None).last().unwrap().id;
        store.touch_for_tests(number).unwrap();
        drop(store);
        let sql = format!(
            "UPDATE {table} SET sealed = (SELECT sealed FROM {old} WHERE {old}.{key} = \
             {table}.{key}) WHERE {rows}"
        );
        assert!(folder.execute(&sql) > 0);
        let mut store = folder.open().unwrap();
        let query = HistoryQuery::search("number0 w0", None);
        assert_eq!(store.find_history(&query, None, 10).unwrap_err(), StoreError::Damaged);
    }
}

#[test]
fn neither_texts_nor_partners_are_in_the_file() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    fill(&mut store, 4200);
    drop(store);
    let content = std::fs::read(database_file(&folder.0)).unwrap();
    for secret in [&b"number7"[..], b"w699", account(1).as_bytes(), account(9).as_bytes()] {
        assert!(!content.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn a_row_is_read_as_it_was_written_and_cut_ones_are_refused() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 5, "text")])).unwrap();
    let (rows, _) = store.export_history(None, 1).unwrap();
    let mut row = rows[0].clone();
    row.conversation = Conversation::Group(wormhole_chat::group::GroupId::from_bytes([3; 16]));
    row.expires = Some(Timestamp(77));
    row.edits = vec![crate::chat::EarlierText { timestamp: Timestamp(1), text: "tex".into() }];
    row.edited = Some(Timestamp(9));
    row.reactions = vec![StoredReaction {
        author: account(2),
        timestamp: Timestamp(2),
        emoji: Some("👍".parse().unwrap()),
    }];
    for row in [rows[0].clone(), row.clone(), HistoryRow { message: None, ..row }] {
        let encoded = row.encode();
        assert_eq!(encoded.len() % 64, 0);
        assert_eq!(HistoryRow::decode(&encoded).unwrap(), row);
        let end = encoded.iter().rposition(|byte| *byte != 0).unwrap();
        for length in 0..end {
            assert!(HistoryRow::decode(&encoded[..length]).is_err(), "{length}");
        }
        let printed = format!("{:?}", row.shown(HistoryId(1)));
        assert!(!printed.contains("tex") && !printed.contains('👍'), "{printed}");
    }
}
