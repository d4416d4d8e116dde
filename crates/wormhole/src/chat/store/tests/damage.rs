//! A store that was changed by something else is refused.

use super::*;

/// A closed store with four rows: two settings, and two rows of the client.
fn closed() -> Folder {
    let folder = Folder::new();
    let mut store = folder.create();
    for key in [1, 2] {
        store.commit(&row(StoreKey::OneTimePreKey(key), Some(b"same length"))).unwrap();
        store.commit(&setting(&format!("name {key}"), b"same length")).unwrap();
    }
    folder
}

/// Asserts that a statement makes the store unusable.
fn refused(sql: &str) {
    let folder = closed();
    drop(folder.open().unwrap());
    assert!(folder.execute(sql) > 0, "{sql}");
    assert_eq!(folder.open().unwrap_err(), StoreError::Damaged, "{sql}");
}

#[test]
fn rows_that_were_changed_added_removed_or_swapped_are_noticed() {
    refused("UPDATE rows SET sealed = sealed || x'00' WHERE kind = 1");
    refused("UPDATE rows SET sealed = substr(sealed, 1, 20)");
    refused("UPDATE rows SET sealed = x''");
    refused("UPDATE rows SET kind = 6 WHERE kind = 1");
    refused("UPDATE rows SET id = randomblob(32) WHERE rowid = 1");
    refused("DELETE FROM rows WHERE rowid = 1");
    refused("INSERT INTO rows SELECT randomblob(32), kind, sealed FROM rows WHERE rowid = 1");
    refused(
        "UPDATE rows SET sealed = (SELECT sealed FROM rows AS other WHERE other.kind = rows.kind \
         AND other.id <> rows.id) WHERE kind = 1",
    );
    refused("UPDATE header SET digest = substr(digest, 1, 50)");
    refused("UPDATE header SET digest = (SELECT sealed FROM rows LIMIT 1)");
    refused("UPDATE header SET wrapped_key = substr(wrapped_key, 1, 50)");
}

#[test]
fn an_older_version_of_one_row_is_noticed() {
    let folder = closed();
    folder.execute("CREATE TABLE old AS SELECT * FROM rows");
    let mut store = folder.open().unwrap();
    store.commit(&row(StoreKey::OneTimePreKey(1), Some(b"newer value"))).unwrap();
    drop(store);
    let restored = folder.execute(
        "UPDATE rows SET sealed = (SELECT sealed FROM old WHERE old.id = rows.id) WHERE kind = 1",
    );
    assert_eq!(restored, 2);
    assert_eq!(folder.open().unwrap_err(), StoreError::Damaged);
}

#[test]
fn a_row_of_another_place_does_not_open() {
    let keys = RowKeys::derive(&MasterKey::random(&mut OsRng));
    let (id, sealed) = keys.seal(Table::Setting, b"a", b"value").unwrap();
    let (other, _) = keys.seal(Table::Setting, b"b", b"value").unwrap();
    let (key, value) = keys.open(Table::Setting, &id, &sealed).unwrap();
    assert_eq!((key.as_slice(), value.as_slice()), (&b"a"[..], &b"value"[..]));
    assert_eq!(keys.open(Table::Setting, &other, &sealed), Err(StoreError::Damaged));
    assert_eq!(keys.open(Table::Contact, &id, &sealed), Err(StoreError::Damaged));
    let theirs = RowKeys::derive(&MasterKey::random(&mut OsRng));
    assert_eq!(theirs.open(Table::Setting, &id, &sealed), Err(StoreError::Damaged));
    for index in 1..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 0x80;
        assert_eq!(keys.open(Table::Setting, &id, &changed), Err(StoreError::Damaged));
        assert!(keys.open(Table::Setting, &id, &sealed[..index]).is_err());
    }
    let mut newer = sealed;
    newer[0] = 2;
    assert_eq!(keys.open(Table::Setting, &id, &newer), Err(StoreError::UnknownFormat));
}

#[test]
fn the_same_value_is_sealed_differently_each_time() {
    let keys = RowKeys::derive(&MasterKey::random(&mut OsRng));
    let (id, first) = keys.seal(Table::Setting, b"a", b"value").unwrap();
    let (same_id, second) = keys.seal(Table::Setting, b"a", b"value").unwrap();
    assert_eq!(id, same_id);
    assert_ne!(first, second);
}

#[test]
fn a_file_that_is_not_a_store_is_refused() {
    let folder = closed();
    std::fs::write(database_file(&folder.0), "not a database, but long enough to look like one")
        .unwrap();
    assert_eq!(folder.open().unwrap_err(), StoreError::Damaged);
    let folder = closed();
    folder.execute("PRAGMA user_version = 1000");
    assert_eq!(folder.open().unwrap_err(), StoreError::UnknownFormat);
}
