//! The SQLite file: sealed rows, their digest, and the wrapped master key.

mod history;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use subtle::ConstantTimeEq as _;
use wormhole_disk::private;
use zeroize::Zeroizing;

use super::StoreError;
use super::master::WrappedKey;
use super::sealing::{OpenRow, RowId, RowKeys, Table};
pub(super) use history::HistoryTable;

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

/// Changes that are not committed yet. Dropping it discards them.
pub(super) struct Transaction<'a> {
    transaction: rusqlite::Transaction<'a>,
    keys: &'a RowKeys,
    /// XOR of the keyed hashes of all rows.
    digest: [u8; 32],
}

/// Reads the wrapped master key. `None` if the creation of the store was interrupted.
pub(super) fn read_wrapped(path: &Path) -> Result<Option<WrappedKey>, StoreError> {
    let connection = connect(path)?;
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => return Ok(None),
        1..=VERSION => {}
        _ => return Err(StoreError::UnknownFormat),
    }
    let bytes: Vec<u8> =
        connection.query_row("SELECT wrapped_key FROM header", [], |row| row.get(0))?;
    WrappedKey::decode(&bytes).map(Some)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::default() & !OpenFlags::SQLITE_OPEN_URI;
    private::create_if_missing(path)?;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Only macOS knows the difference between this and an ordinary flush.
    connection.pragma_update(None, "fullfsync", true)?;
    // Overwrites what is deleted, so that used keys do not stay in the file.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    Ok(connection)
}

impl Database {
    /// Creates the tables and the wrapped master key, in one transaction.
    pub(super) fn create(
        path: &Path,
        wrapped: &WrappedKey,
        keys: &RowKeys,
    ) -> Result<(), StoreError> {
        let mut connection = connect(path)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        STEPS.iter().try_for_each(|step| transaction.execute_batch(step))?;
        let (_, digest) = keys.seal(Table::Digest, &[], &[0; 32])?;
        transaction
            .execute("INSERT INTO header VALUES (1, ?, ?)", params![wrapped.encode(), digest])?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        Ok(transaction.commit()?)
    }

    /// Opens the database of an existing store.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: connect(path)?, path: path.to_owned() })
    }

    /// Adds what tables of earlier versions of this program do not have.
    pub(super) fn upgrade(&mut self) -> Result<(), StoreError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: u32 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let done = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
        STEPS.iter().skip(done).try_for_each(|step| transaction.execute_batch(step))?;
        if version < VERSION {
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        Ok(transaction.commit()?)
    }

    /// Checks that no row was changed, added, removed, or replaced with an older version of it.
    pub(super) fn check(&self, keys: &RowKeys) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare("SELECT id, kind, sealed FROM rows")?;
        let mut rows = statement.query([])?;
        let mut digest = [0; 32];
        while let Some(row) = rows.next()? {
            let (id, table): (RowId, u8) = (row.get(0)?, row.get(1)?);
            let sealed = row.get_ref(2)?.as_blob().map_err(|_| StoreError::Damaged)?;
            xor(&mut digest, &keys.digest(table, &id, sealed));
        }
        let stored = read_digest(&self.connection, keys)?;
        if stored.ct_eq(&digest).into() { Ok(()) } else { Err(StoreError::Damaged) }
    }

    /// Replaces the wrapped master key.
    pub(super) fn replace_wrapped(&self, wrapped: &WrappedKey) -> Result<(), StoreError> {
        self.connection.execute("UPDATE header SET wrapped_key = ?", [wrapped.encode()])?;
        // Removes the old one from the log, too. Nobody else has the database open, but a backup program may read it.
        let is_busy: bool =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if is_busy { Err(StoreError::Database(CHECKPOINT_BUSY.to_owned())) } else { Ok(()) }
    }

    /// The value of a row.
    pub(super) fn get(
        &self,
        keys: &RowKeys,
        table: Table,
        key: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        get(&self.connection, keys, table, key)
    }

    /// All rows of a table, in no particular order.
    pub(super) fn rows(&self, keys: &RowKeys, table: Table) -> Result<Vec<OpenRow>, StoreError> {
        let mut opened = Vec::new();
        self.for_each(keys, table, |key, value| {
            opened.push((Zeroizing::new(key.to_vec()), Zeroizing::new(value.to_vec())));
            Ok(())
        })?;
        Ok(opened)
    }

    /// Passes the key and the value of each row of a table to `handle`, in no particular order. Only one row is in memory
    /// at a time.
    pub(super) fn for_each(
        &self,
        keys: &RowKeys,
        table: Table,
        mut handle: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, sealed FROM rows WHERE kind = ?")?;
        let mut rows = statement.query([table.number()])?;
        while let Some(row) = rows.next()? {
            let id: RowId = row.get(0)?;
            let sealed = row.get_ref(1)?.as_blob().map_err(|_| StoreError::Damaged)?;
            let (key, value) = keys.open(table, &id, sealed)?;
            handle(&key, &value)?;
        }
        Ok(())
    }

    /// Makes the file smaller if most of it is unused. Without free space on the disk, it stays as it is.
    pub(super) fn shrink(&self) -> Result<(), StoreError> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get(0));
        let (unused, all): (u64, u64) = (pragma("freelist_count")?, pragma("page_count")?);
        if unused >= MIN_UNUSED && unused > all / 2 {
            let _unchanged = self.connection.execute_batch("VACUUM");
        }
        Ok(())
    }

    /// Begins a transaction.
    pub(super) fn begin<'a>(
        &'a mut self,
        keys: &'a RowKeys,
    ) -> Result<Transaction<'a>, StoreError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let digest = read_digest(&transaction, keys)?;
        Ok(Transaction { transaction, keys, digest })
    }
}

impl Transaction<'_> {
    /// The keys of the rows.
    pub(super) const fn keys(&self) -> &RowKeys {
        self.keys
    }

    /// The value of a row.
    pub(super) fn get(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        get(&self.transaction, self.keys, table, key)
    }

    /// Writes a row.
    pub(super) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.set(table, key, Some(value))
    }

    /// Writes a row, or deletes it.
    pub(super) fn set(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let id = self.keys.row_id(table, key);
        let old = sealed(&self.transaction, &id)?;
        if let Some(old) = &old {
            xor(&mut self.digest, &self.keys.digest(table.number(), &id, old));
        }
        let Some(value) = value else {
            if old.is_some() {
                let mut delete =
                    self.transaction.prepare_cached("DELETE FROM rows WHERE id = ?")?;
                delete.execute([id])?;
            }
            return Ok(());
        };
        let (id, sealed) = self.keys.seal(table, key, value)?;
        xor(&mut self.digest, &self.keys.digest(table.number(), &id, &sealed));
        let mut write = self.transaction.prepare_cached(PUT)?;
        write.execute(params![id, table.number(), sealed])?;
        Ok(())
    }

    /// Makes the changes durable.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        let (_, digest) = self.keys.seal(Table::Digest, &[], &self.digest)?;
        self.transaction.execute("UPDATE header SET digest = ?", [digest])?;
        Ok(self.transaction.commit()?)
    }
}

fn get(
    connection: &Connection,
    keys: &RowKeys,
    table: Table,
    key: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let id = keys.row_id(table, key);
    let Some(sealed) = sealed(connection, &id)? else { return Ok(None) };
    let (found, value) = keys.open(table, &id, &sealed)?;
    if *found == key { Ok(Some(value)) } else { Err(StoreError::Damaged) }
}

fn sealed(connection: &Connection, id: &RowId) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT sealed FROM rows WHERE id = ?")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?)
}

fn read_digest(connection: &Connection, keys: &RowKeys) -> Result<[u8; 32], StoreError> {
    let sealed: Vec<u8> =
        connection.query_row("SELECT digest FROM header", [], |row| row.get(0))?;
    let (_, digest) = keys.open(Table::Digest, &keys.row_id(Table::Digest, &[]), &sealed)?;
    digest.as_slice().try_into().map_err(|_| StoreError::Damaged)
}

fn xor(to: &mut [u8; 32], from: &[u8; 32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}

/// The old wrapped key may still be in the log.
const CHECKPOINT_BUSY: &str = "another program reads it: try again when that has ended";

/// Unused pages, of 4 KiB each, from which on the file is made smaller: 16 MiB.
const MIN_UNUSED: u64 = 4096;

/// The version of the tables: 1, and one for each step.
const VERSION: u32 = 3;

/// The statements with which each version extends the tables of the one before.
const STEPS: [&str; 2] = [history::TABLES, history::PAGES];

const TABLES: &str = "
    CREATE TABLE header (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        wrapped_key BLOB NOT NULL,
        digest BLOB NOT NULL
    );
    CREATE TABLE rows (id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, sealed BLOB NOT NULL);
    CREATE INDEX rows_of_a_kind ON rows (kind);";

const PUT: &str = "
    INSERT INTO rows (id, kind, sealed) VALUES (?1, ?2, ?3)
    ON CONFLICT (id) DO UPDATE SET kind = ?2, sealed = ?3";
