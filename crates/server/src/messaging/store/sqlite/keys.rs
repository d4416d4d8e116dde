//! The rows of published keys.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::messaging::store::tables::{PublishedKeys, WantedKeys};
use crate::messaging::store::{DeviceKey, KeyKind, KeySet, LastResortKey, OneTimeKey, SignedKey};

/// Replaces the parts that are not `None`. Nothing happens if there is no such device.
pub(super) fn put(database: &Connection, device: DeviceKey, keys: &KeySet) -> Result<()> {
    debug_assert!(have_valid_lengths(keys), "the API rejects keys with other lengths");
    let exists = "SELECT 1 FROM devices WHERE key = ?";
    let exists = database.prepare_cached(exists)?.exists([device.0])?;
    if !exists {
        return Ok(());
    }
    put_device_keys(database, device, keys)?;
    for (kind, keys) in [(KeyKind::Curve, &keys.curve), (KeyKind::Kyber, &keys.kyber)] {
        if let Some(keys) = keys {
            replace_one_time_keys(database, device, kind, keys)?;
        }
    }
    Ok(())
}

fn put_device_keys(database: &Connection, device: DeviceKey, keys: &KeySet) -> Result<()> {
    let sql = "INSERT INTO device_keys (device, signed_id, signed_key, signed_signature,
            last_resort_id, last_resort_key, kyber_id, kyber_key, kyber_signature)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (device) DO UPDATE SET
            signed_id = coalesce(excluded.signed_id, signed_id),
            signed_key = coalesce(excluded.signed_key, signed_key),
            signed_signature = coalesce(excluded.signed_signature, signed_signature),
            last_resort_id = coalesce(excluded.last_resort_id, last_resort_id),
            last_resort_key = coalesce(excluded.last_resort_key, last_resort_key),
            kyber_id = coalesce(excluded.kyber_id, kyber_id),
            kyber_key = coalesce(excluded.kyber_key, kyber_key),
            kyber_signature = coalesce(excluded.kyber_signature, kyber_signature)
        RETURNING signed_id IS NOT NULL OR last_resort_id IS NOT NULL";
    let (signed, kyber) = (keys.signed.as_ref(), keys.kyber_last_resort.as_ref());
    let last_resort = keys.last_resort.as_ref();
    let row = params![
        device.0,
        signed.map(|key| key.id),
        signed.map(|key| &key.key),
        signed.map(|key| &key.signature),
        last_resort.map(|key| key.id),
        last_resort.map(|key| &key.key),
        kyber.map(|key| key.id),
        kyber.map(|key| &key.key),
        kyber.map(|key| &key.signature),
    ];
    let has_keys: bool = database.prepare_cached(sql)?.query_row(row, |row| row.get(0))?;
    let sql = "UPDATE devices SET has_keys = ? WHERE key = ?";
    database.prepare_cached(sql)?.execute(params![has_keys, device.0]).map(drop)
}

fn replace_one_time_keys(
    database: &Connection,
    device: DeviceKey,
    kind: KeyKind,
    keys: &[OneTimeKey],
) -> Result<()> {
    let sql = "DELETE FROM one_time_keys WHERE device = ? AND kind = ?";
    database.prepare_cached(sql)?.execute(params![device.0, kind.number()])?;
    // A client may send an id twice. The last key counts.
    let sql = "REPLACE INTO one_time_keys (device, kind, id, public_key, signature)
        VALUES (?, ?, ?, ?, ?)";
    let mut insert = database.prepare_cached(sql)?;
    for key in keys {
        insert.execute(params![device.0, kind.number(), key.id, key.key, key.signature])?;
    }
    Ok(())
}

pub(super) fn published(database: &Connection, device: DeviceKey) -> Result<PublishedKeys> {
    let sql = "SELECT signed_id, signed_key, signed_signature, last_resort_id, last_resort_key,
            kyber_id, kyber_key, kyber_signature
        FROM device_keys WHERE device = ?";
    let read = |row: &Row<'_>| {
        let last_resort: Option<u32> = row.get(3)?;
        let last_resort =
            last_resort.map(|id| row.get(4).map(|key| LastResortKey { id, key })).transpose()?;
        Ok(PublishedKeys {
            signed: read_signed(row, 0)?,
            last_resort,
            kyber_last_resort: read_signed(row, 5)?,
        })
    };
    Ok(database.prepare_cached(sql)?.query_row([device.0], read).optional()?.unwrap_or_default())
}

/// Removes and returns the keys with the lowest ids, in the order of their ids.
pub(super) fn take(database: &Connection, wanted: &WantedKeys) -> Result<Vec<OneTimeKey>> {
    let sql = "DELETE FROM one_time_keys WHERE device = ?1 AND kind = ?2 AND id IN (
            SELECT id FROM one_time_keys WHERE device = ?1 AND kind = ?2 ORDER BY id LIMIT ?3)
        RETURNING id, public_key, signature";
    let kind = wanted.kind;
    let read = |row: &Row<'_>| {
        Ok(OneTimeKey { kind, id: row.get(0)?, key: row.get(1)?, signature: row.get(2)? })
    };
    let row = params![wanted.device.0, kind.number(), wanted.count];
    let mut statement = database.prepare_cached(sql)?;
    let mut keys = statement.query_map(row, read)?.collect::<Result<Vec<OneTimeKey>>>()?;
    keys.sort_unstable_by_key(|key| key.id);
    Ok(keys)
}

/// The number of one-time keys of each kind.
pub(super) fn count(database: &Connection, device: DeviceKey) -> Result<[u64; 2]> {
    let sql = "SELECT count(*) FROM one_time_keys WHERE device = ? AND kind = ?";
    let mut statement = database.prepare_cached(sql)?;
    let mut count =
        |kind: KeyKind| statement.query_row(params![device.0, kind.number()], |row| row.get(0));
    Ok([count(KeyKind::Curve)?, count(KeyKind::Kyber)?])
}

/// Removes all keys of a device, which stays.
pub(super) fn withdraw(database: &Connection, device: DeviceKey) -> Result<()> {
    delete(database, device)?;
    let sql = "UPDATE devices SET has_keys = 0 WHERE key = ?";
    database.prepare_cached(sql)?.execute([device.0]).map(drop)
}

/// Removes all keys of a device.
pub(super) fn delete(database: &Connection, device: DeviceKey) -> Result<()> {
    for sql in
        ["DELETE FROM device_keys WHERE device = ?", "DELETE FROM one_time_keys WHERE device = ?"]
    {
        database.prepare_cached(sql)?.execute([device.0])?;
    }
    Ok(())
}

/// Reads a signed key, whose first column is `first`.
fn read_signed(row: &Row<'_>, first: usize) -> Result<Option<SignedKey>> {
    let id: Option<u32> = row.get(first)?;
    let key = |id| Ok(SignedKey { id, key: row.get(first + 1)?, signature: row.get(first + 2)? });
    id.map(key).transpose()
}

/// Whether keys have the lengths of their kinds, so that each client can use what others have published.
fn have_valid_lengths(keys: &KeySet) -> bool {
    let curve = keys.curve.iter().flatten().map(|key| &key.key);
    let curve = curve.chain(keys.signed.iter().map(|key| &key.key));
    let mut curve = curve.chain(keys.last_resort.iter().map(|key| &key.key));
    let kyber = keys.kyber.iter().flatten().map(|key| &key.key);
    let mut kyber = kyber.chain(keys.kyber_last_resort.iter().map(|key| &key.key));
    curve.all(|key| key.len() == CURVE_KEY) && kyber.all(|key| key.len() == KYBER_KEY)
}

/// Length of an X25519 key with its type byte.
const CURVE_KEY: usize = 33;

/// Length of a Kyber-1024 key with its type byte.
const KYBER_KEY: usize = 1569;
