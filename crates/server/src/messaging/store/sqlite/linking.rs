//! Codes and messages at addresses, with which another device is linked to an account.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wormhole_chat::Timestamp;

use super::accounts::{stored, time};
use crate::messaging::store::{AccountKey, LinkCode, ProvisioningAddress, TokenHash};

pub(super) fn code(database: &Connection, account: AccountKey) -> Result<Option<LinkCode>> {
    let sql = "SELECT hash, shown FROM device_codes WHERE account = ?";
    let read = |row: &Row<'_>| Ok(LinkCode { hash: TokenHash(row.get(0)?), shown: time(row, 1)? });
    database.prepare_cached(sql)?.query_row([account.0], read).optional()
}

pub(super) fn put_code(
    database: &Connection,
    account: AccountKey,
    code: Option<&LinkCode>,
) -> Result<()> {
    let Some(code) = code else {
        let sql = "DELETE FROM device_codes WHERE account = ?";
        return database.prepare_cached(sql)?.execute([account.0]).map(drop);
    };
    let sql = "REPLACE INTO device_codes (account, hash, shown) VALUES (?, ?, ?)";
    let row = params![account.0, code.hash.0, stored(code.shown)];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

pub(super) fn insert_address(
    database: &Connection,
    address: ProvisioningAddress,
    opened: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO provisioning (address, opened) VALUES (?, ?)";
    database.prepare_cached(sql)?.execute(params![address.0, stored(opened)]).map(drop)
}

pub(super) fn put_message(
    database: &Connection,
    address: ProvisioningAddress,
    oldest: Timestamp,
    message: &[u8],
) -> Result<bool> {
    let sql = "UPDATE provisioning SET message = ?
        WHERE address = ? AND opened >= ? AND message IS NULL";
    let row = params![message, address.0, stored(oldest)];
    Ok(database.prepare_cached(sql)?.execute(row)? > 0)
}

pub(super) fn take_message(
    database: &Connection,
    address: ProvisioningAddress,
) -> Result<Option<Vec<u8>>> {
    let sql =
        "DELETE FROM provisioning WHERE address = ? AND message IS NOT NULL RETURNING message";
    database.prepare_cached(sql)?.query_row([address.0], |row| row.get(0)).optional()
}

pub(super) fn delete_address(database: &Connection, address: ProvisioningAddress) -> Result<()> {
    let sql = "DELETE FROM provisioning WHERE address = ?";
    database.prepare_cached(sql)?.execute([address.0]).map(drop)
}
