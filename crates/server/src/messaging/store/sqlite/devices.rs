//! The rows of devices.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params};
use wormhole_chat::{DeviceId, Timestamp};

use super::accounts::{account_columns, app_columns, read_account, read_app, stored, time};
use crate::messaging::store::tables::{Owner, Reader, RecipientDevice};
use crate::messaging::store::{
    AccountKey, Device, DeviceKey, Found, Login, LoginName, NewDevice, PushId, TokenHash,
};

/// The columns of a device `d`.
macro_rules! device_columns {
    () => {
        "d.key, d.number, d.password, d.salt, d.registration_id, d.signaling_key, d.name,
        d.fetches_messages, d.apn, d.voip, d.gcm, d.attributes, d.created, d.last_seen, d.has_keys"
    };
}

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
    let found: Result<Vec<Found>> = match &login.name {
        LoginName::Account(id) => {
            let mut statement = database.prepare_cached(select_found!("a.id = ?"))?;
            statement.query_map(params![device, id.as_bytes()], read)?.collect()
        }
        LoginName::Number(number) => {
            let sql = select_found!("a.number = ? ORDER BY a.key");
            let mut statement = database.prepare_cached(sql)?;
            statement.query_map(params![device, number.as_str()], read)?.collect()
        }
    };
    let mut found = found?;
    found.retain(|found| login.app.as_ref().is_none_or(|app| *app == found.app.name));
    Ok(found)
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
            fetches_messages OR apn IS NOT NULL OR gcm IS NOT NULL, last_seen
        FROM devices WHERE account = ? ORDER BY number";
    let read = |row: &Row<'_>| {
        Ok(RecipientDevice {
            key: DeviceKey(row.get(0)?),
            number: device_id(row, 1)?,
            registration_id: row.get(2)?,
            has_keys: row.get(3)?,
            is_reachable: row.get(4)?,
            last_seen: time(row, 5)?,
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

pub(super) fn reader(database: &Connection, device: DeviceKey) -> Result<Option<Reader>> {
    let sql = "SELECT signaling_key FROM devices WHERE key = ?";
    let read = |row: &Row<'_>| Ok(Reader { signaling_key: row.get(0)? });
    database.prepare_cached(sql)?.query_row([device.0], read).optional()
}

pub(super) fn insert(
    database: &Connection,
    account: AccountKey,
    device: &NewDevice,
) -> Result<DeviceKey> {
    let sql = "INSERT INTO devices (password, salt, registration_id, signaling_key, name,
            fetches_messages, apn, voip, gcm, attributes, created, last_seen, account, number)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let (apn, voip, gcm) = push_columns(device);
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

pub(super) fn update(database: &Connection, key: DeviceKey, device: &NewDevice) -> Result<()> {
    let sql = "UPDATE devices SET password = ?, salt = ?, registration_id = ?, signaling_key = ?,
            name = ?, fetches_messages = ?, apn = ?, voip = ?, gcm = ?, attributes = ?,
            created = ?, last_seen = ?
        WHERE key = ?";
    let (apn, voip, gcm) = push_columns(device);
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

/// The columns `apn`, `voip` and `gcm`.
fn push_columns(device: &NewDevice) -> (Option<&str>, Option<&str>, Option<&str>) {
    match &device.push {
        None => (None, None, None),
        Some(PushId::Apn { id, voip }) => (Some(id), voip.as_deref(), None),
        Some(PushId::Gcm(id)) => (None, None, Some(id)),
    }
}

/// Reads a device, whose first column is `first`.
fn read_device(row: &Row<'_>, first: usize) -> Result<Device> {
    let (apn, gcm): (_, Option<String>) = (row.get(first + 8)?, row.get(first + 10)?);
    let push = match (apn, gcm) {
        (Some(id), _) => Some(PushId::Apn { id, voip: row.get(first + 9)? }),
        (None, gcm) => gcm.map(PushId::Gcm),
    };
    let device = NewDevice {
        number: device_id(row, first + 1)?,
        password: TokenHash(row.get(first + 2)?),
        salt: row.get(first + 3)?,
        registration_id: row.get(first + 4)?,
        signaling_key: row.get(first + 5)?,
        name: row.get(first + 6)?,
        fetches_messages: row.get(first + 7)?,
        push,
        attributes: row.get(first + 11)?,
        created: time(row, first + 12)?,
        last_seen: time(row, first + 13)?,
    };
    Ok(Device { key: DeviceKey(row.get(first)?), device, has_keys: row.get(first + 14)? })
}

fn device_id(row: &Row<'_>, column: usize) -> Result<DeviceId> {
    let invalid = || Error::InvalidColumnType(column, "device".into(), Type::Integer);
    DeviceId::new(row.get(column)?).ok_or_else(invalid)
}

/// Number of columns of an account.
const ACCOUNT_COLUMNS: usize = 10;

/// Number of columns of a device.
const DEVICE_COLUMNS: usize = 15;
