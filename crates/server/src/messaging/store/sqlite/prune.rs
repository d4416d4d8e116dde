//! Removes what has expired, in steps that are short enough for those who wait.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wormhole_chat::Timestamp;

use super::accounts::stored;
use super::rows::SqliteTables;
use crate::messaging::store::rules::before;
use crate::messaging::store::{DeviceKey, EPHEMERAL_LIFE, Expiry, REPORT_LIFE, StoreError};

impl SqliteTables<'_> {
    /// Removes some of what has expired. Searches the queues of some devices `after` this one; returns the last device
    /// that it searched, `None` at the end of the table, and whether there may be more to remove.
    pub(super) fn prune(
        &mut self,
        expiry: Expiry,
        now: Timestamp,
        after: Option<DeviceKey>,
    ) -> std::result::Result<(Option<DeviceKey>, bool), StoreError> {
        let old = before(now, expiry.codes);
        let codes = CODES.iter().map(|sql| delete_old(self.database, sql, old));
        let mut removed = codes.collect::<Result<Vec<_>>>()?;
        removed.push(delete_old(self.database, REPORTS, before(now, REPORT_LIFE))?);
        removed.push(delete_sent(self.database, before(now, expiry.sent))?);
        removed.push(self.prune_ephemeral(before(now, EPHEMERAL_LIFE))?);
        let next = self.prune_queues(before(now, expiry.messages), after)?;
        Ok((next, next.is_some() || removed.contains(&MAX_ROWS)))
    }

    /// Removes ephemeral messages that nobody has read in time.
    fn prune_ephemeral(&mut self, oldest: Timestamp) -> Result<usize> {
        let mut statement = self.database.prepare_cached(FIND_EPHEMERAL)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows = statement.query_map(params![stored(oldest), MAX_ROWS], read)?;
        let rows: Vec<(i64, i64)> = rows.collect::<Result<_>>()?;
        let sql = "DELETE FROM messages WHERE device = ? AND position = ?";
        let mut delete = self.database.prepare_cached(sql)?;
        for (device, position) in &rows {
            delete.execute([device, position])?;
            self.counters.remove_messages(1);
            self.queues.forget(DeviceKey(*device));
        }
        Ok(rows.len())
    }

    fn prune_queues(
        &mut self,
        oldest: Timestamp,
        after: Option<DeviceKey>,
    ) -> Result<Option<DeviceKey>> {
        let (mut device, mut left) = (after, MAX_ROWS);
        for _ in 0..MAX_DEVICES {
            let Some((next, first)) = next_queue(self.database, device)? else {
                return Ok(None);
            };
            if first < stored(oldest) {
                let deleted = delete_messages(self.database, next, oldest, left)?;
                self.counters.remove_messages(u64::try_from(deleted).unwrap_or(u64::MAX));
                self.queues.forget(next);
                left -= deleted;
            }
            if left == 0 {
                // This device may have more.
                return Ok(device.or(Some(DeviceKey(0))));
            }
            device = Some(next);
        }
        Ok(device)
    }
}

/// The next device whose queue is not empty, and when its first message was accepted.
fn next_queue(database: &Connection, after: Option<DeviceKey>) -> Result<Option<(DeviceKey, i64)>> {
    let sql = "SELECT device, server_timestamp FROM messages WHERE device > ?
        ORDER BY device, position LIMIT 1";
    let after = after.map_or(0, |device| device.0);
    let read = |row: &rusqlite::Row<'_>| Ok((DeviceKey(row.get(0)?), row.get(1)?));
    database.prepare_cached(sql)?.query_row([after], read).optional()
}

/// Removes the oldest messages of a queue, at most so many. The clock of the server may have been changed, so messages
/// before others need not be older: removal ends at the first that has not expired.
fn delete_messages(
    database: &Connection,
    device: DeviceKey,
    oldest: Timestamp,
    most: usize,
) -> Result<usize> {
    let sql = "SELECT position, server_timestamp FROM messages WHERE device = ?
        ORDER BY position LIMIT ?";
    let mut statement = database.prepare_cached(sql)?;
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map([device.0, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut last = None;
    for row in rows {
        let (position, accepted): (i64, i64) = row?;
        if accepted >= stored(oldest) {
            break;
        }
        last = Some(position);
    }
    let sql = "DELETE FROM messages WHERE device = ? AND position <= ?";
    database.prepare_cached(sql)?.execute(params![device.0, last])
}

fn delete_old(database: &Connection, sql: &str, oldest: Timestamp) -> Result<usize> {
    database.prepare_cached(sql)?.execute(params![stored(oldest), MAX_ROWS])
}

/// Forgets what was sent, in the order of acceptance, up to the first that has not expired.
fn delete_sent(database: &Connection, oldest: Timestamp) -> Result<usize> {
    let sql = "SELECT key, accepted FROM sent ORDER BY key LIMIT ?";
    let mut statement = database.prepare_cached(sql)?;
    let rows = statement.query_map([MAX_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut last = None;
    for row in rows {
        let (key, accepted): (i64, i64) = row?;
        if accepted >= stored(oldest) {
            break;
        }
        last = Some(key);
    }
    database.prepare_cached("DELETE FROM sent WHERE key <= ?")?.execute([last])
}

/// Remove what is only valid for some minutes.
const CODES: [&str; 3] = [
    "DELETE FROM pending_codes WHERE number IN (
        SELECT number FROM pending_codes WHERE sent < ? ORDER BY sent LIMIT ?)",
    "DELETE FROM device_codes WHERE account IN (
        SELECT account FROM device_codes WHERE shown < ? ORDER BY shown LIMIT ?)",
    "DELETE FROM provisioning WHERE address IN (
        SELECT address FROM provisioning WHERE opened < ? ORDER BY opened LIMIT ?)",
];

/// Removes old reports.
const REPORTS: &str = "DELETE FROM reports WHERE rowid IN (
    SELECT rowid FROM reports WHERE reported < ? ORDER BY reported LIMIT ?)";

/// Finds old ephemeral messages.
pub(super) const FIND_EPHEMERAL: &str = "SELECT device, position FROM messages
    WHERE is_ephemeral AND server_timestamp < ? ORDER BY server_timestamp LIMIT ?";

/// Maximum number of rows of one table that a step removes.
const MAX_ROWS: usize = 1000;

/// Maximum number of queues that a step searches.
const MAX_DEVICES: usize = 1000;
