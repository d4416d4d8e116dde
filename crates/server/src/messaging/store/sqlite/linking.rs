//! What links another device to an account: codes, and messages at addresses.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wormhole_chat::Timestamp;

use super::accounts::{read_code, stored};
use crate::messaging::store::{AccountKey, PendingCode, ProvisioningAddress};

pub(super) fn code(database: &Connection, account: AccountKey) -> Result<Option<PendingCode>> {
    let sql = "SELECT code, sent, attempts FROM device_codes WHERE account = ?";
    database.prepare_cached(sql)?.query_row([account.0], read_code).optional()
}

pub(super) fn put_code(
    database: &Connection,
    account: AccountKey,
    code: Option<&PendingCode>,
) -> Result<()> {
    let Some(code) = code else {
        let sql = "DELETE FROM device_codes WHERE account = ?";
        return database.prepare_cached(sql)?.execute([account.0]).map(drop);
    };
    let sql = "REPLACE INTO device_codes (account, code, sent, attempts) VALUES (?, ?, ?, ?)";
    let row = params![account.0, code.code.0, stored(code.sent), code.attempts];
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
