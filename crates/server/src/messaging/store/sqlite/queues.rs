//! The rows of messages, and of what was sent.

use rusqlite::{Connection, OptionalExtension, Params, Result, Row, params};
use wormhole_chat::{AccountId, EnvelopeKind, Timestamp};

use super::accounts::{account_id, stored, time};
use crate::messaging::store::tables::{StoredMessage, SubmissionKey, TakenMessage};
use crate::messaging::store::{Acknowledgement, DeviceKey, MessageName, Page, PageRequest};

/// A statement that removes one message of a device, and returns what [`take`] needs.
macro_rules! take_message {
    ($condition:literal) => {
        concat!(
            "DELETE FROM messages WHERE device = ?1 AND ",
            $condition,
            " RETURNING kind, source, timestamp, is_to_number, length(envelope)"
        )
    };
}

pub(super) fn insert(
    database: &Connection,
    position: i64,
    message: &StoredMessage<'_>,
) -> Result<()> {
    let sql = "INSERT INTO messages (device, position, server_timestamp, is_ephemeral,
            is_to_number, kind, guid, source, source_number, source_device, timestamp, envelope)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let row = params![
        message.device.0,
        position,
        stored(message.server_timestamp),
        message.is_ephemeral,
        message.is_to_number,
        message.kind.number(),
        message.guid,
        message.source.as_bytes(),
        message.source_number,
        message.source_device.number(),
        stored(message.timestamp),
        message.envelope,
    ];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

/// Removes a message; also returns the length of its envelope.
pub(super) fn take(
    database: &Connection,
    acknowledgement: &Acknowledgement,
) -> Result<Option<(TakenMessage, u64)>> {
    let device = acknowledgement.device.0;
    match &acknowledgement.message {
        MessageName::Position(position) => {
            take_one(database, take_message!("position = ?2"), params![device, position])
        }
        MessageName::Guid(guid) => take_one(database, TAKE_BY_GUID, params![device, guid]),
        MessageName::Sent(source, timestamp) => match source.parse::<AccountId>() {
            Ok(source) => {
                let row = params![device, source.as_bytes(), stored(*timestamp)];
                take_one(database, TAKE_BY_ACCOUNT, row)
            }
            Err(_) => {
                let row = params![device, source, stored(*timestamp)];
                take_one(database, TAKE_BY_NUMBER, row)
            }
        },
    }
}

// Without the names of the indexes, SQLite searches the whole queue, because it is in the order of positions already.
pub(super) const TAKE_BY_GUID: &str = take_message!(
    "position = (SELECT position FROM messages INDEXED BY messages_guid
    WHERE device = ?1 AND guid = ?2 ORDER BY position LIMIT 1)"
);

pub(super) const TAKE_BY_ACCOUNT: &str = take_message!(
    "position = (SELECT position FROM messages INDEXED BY messages_timestamp
    WHERE device = ?1 AND source = ?2 AND timestamp = ?3 ORDER BY position LIMIT 1)"
);

pub(super) const TAKE_BY_NUMBER: &str = take_message!(
    "position = (SELECT position FROM messages INDEXED BY messages_timestamp
    WHERE device = ?1 AND source_number = ?2 AND timestamp = ?3 ORDER BY position LIMIT 1)"
);

fn take_one(
    database: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Option<(TakenMessage, u64)>> {
    let read = |row: &Row<'_>| {
        let message = TakenMessage {
            kind: EnvelopeKind::from_number(row.get(0)?),
            source: account_id(row, 1)?,
            timestamp: time(row, 2)?,
            is_to_number: row.get(3)?,
        };
        Ok((message, row.get(4)?))
    };
    database.prepare_cached(sql)?.query_row(params, read).optional()
}

/// Reads messages of a queue, without ephemeral messages that were accepted before `oldest_ephemeral`.
pub(super) fn page(
    database: &Connection,
    request: &PageRequest,
    oldest_ephemeral: Timestamp,
) -> Result<Page> {
    let sql = "SELECT position, is_ephemeral AND server_timestamp < ?, envelope FROM messages
        WHERE device = ? AND position > ? ORDER BY position";
    let mut statement = database.prepare_cached(sql)?;
    let first = params![stored(oldest_ephemeral), request.device.0, request.after];
    let mut rows = statement.query(first)?;
    let (mut page, mut bytes) = (Page::default(), 0_usize);
    while let Some(row) = rows.next()? {
        if row.get(1)? {
            continue;
        }
        let (position, envelope) = (row.get(0)?, row.get_ref(2)?.as_blob()?);
        let messages = page.messages.len();
        bytes = bytes.saturating_add(envelope.len());
        let is_full = messages >= usize::try_from(request.max_messages).unwrap_or(usize::MAX);
        if is_full || (messages > 0 && bytes > request.max_bytes) {
            page.has_more = true;
            break;
        }
        page.messages.push((position, envelope.to_vec()));
    }
    Ok(page)
}

/// Removes a whole queue, and returns the number of its messages.
pub(super) fn delete(database: &Connection, device: DeviceKey) -> Result<u64> {
    let deleted =
        database.prepare_cached("DELETE FROM messages WHERE device = ?")?.execute([device.0])?;
    Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
}

pub(super) fn was_sent(database: &Connection, key: &SubmissionKey) -> Result<bool> {
    let sql = "SELECT 1 FROM sent WHERE device = ? AND account = ? AND timestamp = ?
        AND content = ?";
    let row = [key.sender.0, key.destination.0, stored(key.timestamp), key.content];
    database.prepare_cached(sql)?.exists(row)
}

pub(super) fn insert_sent(
    database: &Connection,
    key: &SubmissionKey,
    now: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO sent (device, account, timestamp, content, accepted)
        VALUES (?, ?, ?, ?, ?)";
    let row = [key.sender.0, key.destination.0, stored(key.timestamp), key.content, stored(now)];
    database.prepare_cached(sql)?.execute(row).map(drop)
}
