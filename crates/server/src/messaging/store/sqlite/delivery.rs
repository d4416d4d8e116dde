//! The keys with which senders are certified.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use zeroize::Zeroizing;

use crate::messaging::store::DeliveryKeys;

pub(super) fn keys(database: &Connection) -> Result<Option<DeliveryKeys>> {
    let sql = "SELECT root, server, certificate FROM delivery_keys";
    let read = |row: &Row<'_>| {
        let (root, server) = (Zeroizing::new(row.get(0)?), Zeroizing::new(row.get(1)?));
        Ok(DeliveryKeys { root, server, certificate: row.get(2)? })
    };
    database.prepare_cached(sql)?.query_row([], read).optional()
}

pub(super) fn insert_keys(database: &Connection, keys: &DeliveryKeys) -> Result<()> {
    let sql = "INSERT INTO delivery_keys (key, root, server, certificate) VALUES (1, ?, ?, ?)";
    let row = params![*keys.root, *keys.server, keys.certificate];
    database.prepare_cached(sql)?.execute(row).map(drop)
}
