//! The rows of devices.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params};
use wormhole_chat::{DeviceId, Timestamp};

use super::accounts::{read_account, read_app, stored, time};
use crate::messaging::store::columns::{
    ACCOUNT_COLUMNS, DEVICE_COLUMNS, account_columns, app_columns, device_columns, has_requests,
};
use crate::messaging::store::tables::{DeviceReader, Owner, RecipientDevice};
use crate::messaging::store::{
    AccountKey, Device, DeviceColumns, DeviceKey, Found, Login, LoginName, PushId, TokenHash,
};

/// A statement that reads devices with their accounts and apps.
macro_rules! select_found {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            ", ",
            device_columns!(),
            ", ",
            app_columns!(),
            " FROM accounts a JOIN apps p ON p.key = a.app JOIN devices d ON d.account = a.key
            WHERE d.number = ? AND ",
            $condition
        )
    };
}

pub(super) fn find(database: &Connection, login: &Login) -> Result<Vec<Found>> {
    let device = login.device.number();
    let read = |row: &Row<'_>| {
        Ok(Found {
            account: read_account(row, 0)?,
            device: read_device(row, ACCOUNT_COLUMNS)?,
            app: read_app(row, ACCOUNT_COLUMNS + DEVICE_COLUMNS)?,
        })
    };
    match &login.name {
        LoginName::Account(id) => {
            let mut statement = database.prepare_cached(select_found!("a.id = ?"))?;
            statement.query_map(params![device, id.as_bytes()], read)?.collect()
        }
        LoginName::Number(number) => {
            let sql = select_found!("a.number = ? ORDER BY a.key");
            let mut statement = database.prepare_cached(sql)?;
            statement.query_map(params![device, number.as_str()], read)?.collect()
        }
    }
}

pub(super) fn devices(database: &Connection, account: AccountKey) -> Result<Vec<Device>> {
    let sql = concat!(
        "SELECT ",
        device_columns!(),
        " FROM devices d WHERE d.account = ? ORDER BY d.number"
    );
    database.prepare_cached(sql)?.query_map([account.0], |row| read_device(row, 0))?.collect()
}

pub(super) fn recipients(
    database: &Connection,
    account: AccountKey,
) -> Result<Vec<RecipientDevice>> {
    let sql = "SELECT key, number, registration_id, has_keys,
            fetches_messages OR apn IS NOT NULL OR gcm IS NOT NULL, last_seen, attributes
        FROM devices WHERE account = ? ORDER BY number";
    let read = |row: &Row<'_>| {
        Ok(RecipientDevice {
            key: DeviceKey(row.get(0)?),
            number: device_id(row, 1)?,
            registration_id: row.get(2)?,
            has_keys: row.get(3)?,
            is_reachable: row.get(4)?,
            last_seen: time(row, 5)?,
            has_requests: has_requests(row.get_ref(6)?.as_bytes()?),
        })
    };
    database.prepare_cached(sql)?.query_map([account.0], read)?.collect()
}

pub(super) fn owner(database: &Connection, device: DeviceKey) -> Result<Option<Owner>> {
    let sql = concat!(
        "SELECT ",
        account_columns!(),
        ", d.number
        FROM devices d JOIN accounts a ON a.key = d.account JOIN apps p ON p.key = a.app
        WHERE d.key = ?"
    );
    let read = |row: &Row<'_>| {
        Ok(Owner { account: read_account(row, 0)?, device: device_id(row, ACCOUNT_COLUMNS)? })
    };
    database.prepare_cached(sql)?.query_row([device.0], read).optional()
}

pub(super) fn reader(database: &Connection, device: DeviceKey) -> Result<Option<DeviceReader>> {
    let sql = "SELECT signaling_key FROM devices WHERE key = ?";
    let read = |row: &Row<'_>| Ok(DeviceReader { signaling_key: row.get(0)? });
    database.prepare_cached(sql)?.query_row([device.0], read).optional()
}

pub(super) fn insert(
    database: &Connection,
    account: AccountKey,
    device: &DeviceColumns,
) -> Result<DeviceKey> {
    let sql = "INSERT INTO devices (password, salt, registration_id, signaling_key, name,
            fetches_messages, apn, voip, gcm, attributes, created, last_seen, account, number)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let (apn, voip, gcm) = device.push_columns();
    let row = params![
        device.password.0,
        device.salt,
        device.registration_id,
        device.signaling_key,
        device.name,
        device.fetches_messages,
        apn,
        voip,
        gcm,
        device.attributes,
        stored(device.created),
        stored(device.last_seen),
        account.0,
        device.number.number(),
    ];
    database.prepare_cached(sql)?.insert(row).map(DeviceKey)
}

pub(super) fn update(database: &Connection, key: DeviceKey, device: &DeviceColumns) -> Result<()> {
    let sql = "UPDATE devices SET password = ?, salt = ?, registration_id = ?, signaling_key = ?,
            name = ?, fetches_messages = ?, apn = ?, voip = ?, gcm = ?, attributes = ?,
            created = ?, last_seen = ?
        WHERE key = ?";
    let (apn, voip, gcm) = device.push_columns();
    let row = params![
        device.password.0,
        device.salt,
        device.registration_id,
        device.signaling_key,
        device.name,
        device.fetches_messages,
        apn,
        voip,
        gcm,
        device.attributes,
        stored(device.created),
        stored(device.last_seen),
        key.0,
    ];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

/// Records a later day.
pub(super) fn see(database: &Connection, key: DeviceKey, day: Timestamp) -> Result<()> {
    let sql = "UPDATE devices SET last_seen = ?1 WHERE key = ?2 AND last_seen < ?1";
    database.prepare_cached(sql)?.execute([stored(day), key.0]).map(drop)
}

/// Removes the row of a device.
pub(super) fn delete(database: &Connection, key: DeviceKey) -> Result<()> {
    database.prepare_cached("DELETE FROM devices WHERE key = ?")?.execute([key.0]).map(drop)
}

/// Reads a device, whose first column is `first`.
fn read_device(row: &Row<'_>, first: usize) -> Result<Device> {
    let push = PushId::of_columns(row.get(first + 9)?, row.get(first + 10)?, row.get(first + 11)?);
    let columns = DeviceColumns {
        number: device_id(row, first + 2)?,
        password: TokenHash(row.get(first + 3)?),
        salt: row.get(first + 4)?,
        registration_id: row.get(first + 5)?,
        signaling_key: row.get(first + 6)?,
        name: row.get(first + 7)?,
        fetches_messages: row.get(first + 8)?,
        push,
        attributes: row.get(first + 12)?,
        created: time(row, first + 13)?,
        last_seen: time(row, first + 14)?,
    };
    Ok(Device { key: DeviceKey(row.get(first)?), has_keys: row.get(first + 1)?, columns })
}

fn device_id(row: &Row<'_>, column: usize) -> Result<DeviceId> {
    let invalid = || Error::InvalidColumnType(column, "device".into(), Type::Integer);
    DeviceId::new(row.get(column)?).ok_or_else(invalid)
}
