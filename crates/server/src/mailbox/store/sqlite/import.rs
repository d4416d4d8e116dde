//! Reads the database of the Python mailbox server, magic-wormhole-mailbox-server (schema version 1).
//!
//! The import is one transaction: it imports the complete database, or nothing. It only reads the source. Imported
//! mailboxes count as used at the time of the import, so that clients have the usual time to reconnect.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use wormhole_kit::UnixTime;

use super::migrations;
use crate::ServerError;
use crate::database::{Lock, SqlPath, database_error};

/// The numbers of imported rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Imported {
    pub(crate) nameplates: usize,
    pub(crate) mailboxes: usize,
    pub(crate) messages: usize,
}

/// The program that created a database file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    /// The Python mailbox server, with this version of its tables.
    Python(i64),
    /// This server.
    Ours,
    /// One of the servers, for its statistics. This server and the Python servers use the same tables.
    Usage,
    /// Another program.
    Unknown,
}

impl Owner {
    /// Detects the program from the tables in `schema` (`main` or an attached database).
    pub(super) fn of(database: &Connection, schema: &str) -> rusqlite::Result<Self> {
        let has = |table: &str| database.table_exists(Some(schema), table);
        if has("nameplate_sides")? && has("mailbox_sides")? && has("version")? {
            let sql = format!("SELECT version FROM {schema}.version");
            let version = database.query_row(&sql, [], |row| row.get(0)).optional()?;
            return Ok(Self::Python(version.unwrap_or_default()));
        }
        let sql = format!("PRAGMA {schema}.user_version");
        let version: i64 = database.query_row(&sql, [], |row| row.get(0))?;
        Ok(match version {
            1.. if has("mailboxes")? && has("nameplates")? => Self::Ours,
            _ if has("current")? && has("version")? => Self::Usage,
            _ => Self::Unknown,
        })
    }
}

/// Imports `source` into the database `target`, which must be empty. Creates `target` if it does not exist.
pub(in crate::mailbox) fn import(
    source: &Path,
    target: &Path,
    now: UnixTime,
) -> Result<Imported, ServerError> {
    if !source.is_file() {
        return Err(database_error(source, "there is no such file"));
    }
    let failed = |error: rusqlite::Error| database_error(source, &error.to_string());
    // This is checked before the target is created.
    let owner = owner_of(source).map_err(failed)?;
    if !matches!(owner, Owner::Python(1)) {
        return Err(database_error(source, &owner.why_not()));
    }
    let _lock = Lock::take(target)?;
    let is_new = !target.exists();
    let mut database = migrations::open(target)?;
    if !is_empty(&database).map_err(|error| database_error(target, &error.to_string()))? {
        let reason = "it holds mailboxes already; name a new file with --mailbox-db";
        return Err(database_error(target, reason));
    }
    let attached = database.execute("ATTACH ? AS source", [SqlPath(source)]);
    let imported = attached.and_then(|_| copy(&mut database, now)).map_err(failed);
    drop(database);
    if imported.is_err() && is_new {
        // The error matters, not whether the empty database could be removed.
        let _left_behind = std::fs::remove_file(target);
    }
    imported
}

/// Detects the program that created a database file.
fn owner_of(path: &Path) -> rusqlite::Result<Owner> {
    // Not read-only: if a killed server has left a log, reading it writes to its index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Owner::of(&Connection::open_with_flags(path, flags)?, "main")
}

impl Owner {
    /// Why a database of this owner is not imported.
    fn why_not(self) -> String {
        match self {
            Self::Python(version) => format!(
                "its tables have version {version}; version 1 can be imported \
                 (magic-wormhole-mailbox-server 0.4 to 0.8)"
            ),
            Self::Ours => {
                "it is a database of this server already and needs no import: use it with --mailbox-db"
                    .into()
            }
            Self::Usage => "it is a usage database, which needs no import: use it with \
                            --mailbox-usage-db or --transit-relay-usage-db"
                .into(),
            Self::Unknown => "not a database of the Python mailbox server".into(),
        }
    }
}

fn is_empty(database: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM main.mailboxes)
        AND NOT EXISTS (SELECT 1 FROM main.nameplates)";
    database.query_row(sql, [], |row| row.get(0))
}

fn copy(database: &mut Connection, now: UnixTime) -> rusqlite::Result<Imported> {
    let transaction = database.transaction()?;
    let imported = Imported {
        mailboxes: transaction.execute(MAILBOXES, [now.as_secs_f64()])?,
        nameplates: transaction.execute(NAMEPLATES, [])?,
        messages: transaction.execute(MESSAGES, [])?,
    };
    transaction.commit()?;
    Ok(imported)
}

/// The Python server stores rejected third sides as rows; here, the column `crowded` records them. If the nameplate of a
/// mailbox was released, the column `nameplate` is an empty text.
const MAILBOXES: &str = "
    WITH sides AS (
        SELECT *, row_number() OVER (PARTITION BY mailbox_id ORDER BY added, rowid) AS side_number
        FROM source.mailbox_sides
    )
    INSERT INTO main.mailboxes (
        app, id, nameplate, messages, bytes, updated, crowded,
        side_1, added_1, opened_1, mood_1, side_2, added_2, opened_2, mood_2
    )
    SELECT
        box.app_id, box.id,
        CASE WHEN box.for_nameplate THEN coalesce((
            SELECT name FROM source.nameplates AS plate
            WHERE plate.app_id = box.app_id AND plate.mailbox_id = box.id
        ), '') END,
        (SELECT count(*) FROM source.messages AS m WHERE m.app_id = box.app_id AND m.mailbox_id = box.id),
        (
            SELECT coalesce(sum(
                octet_length(coalesce(phase, '')) + octet_length(coalesce(body, ''))
                + octet_length(json_quote(msg_id))
            ), 0)
            FROM source.messages AS m WHERE m.app_id = box.app_id AND m.mailbox_id = box.id
        ),
        ?,
        EXISTS (SELECT 1 FROM sides WHERE mailbox_id = box.id AND side_number > 2),
        one.side, one.added, one.opened, one.mood, two.side, two.added, two.opened, two.mood
    FROM source.mailboxes AS box
    LEFT JOIN sides AS one ON one.mailbox_id = box.id AND one.side_number = 1
    LEFT JOIN sides AS two ON two.mailbox_id = box.id AND two.side_number = 2
    WHERE box.app_id IS NOT NULL AND box.id IS NOT NULL";

const NAMEPLATES: &str = "
    WITH sides AS (
        SELECT *, row_number() OVER (PARTITION BY nameplates_id ORDER BY added, rowid) AS side_number
        FROM source.nameplate_sides
    )
    INSERT INTO main.nameplates (
        app, name, mailbox, crowded, side_1, added_1, claimed_1, side_2, added_2, claimed_2
    )
    SELECT
        plate.app_id, plate.name, plate.mailbox_id,
        EXISTS (SELECT 1 FROM sides WHERE nameplates_id = plate.id AND side_number > 2),
        one.side, one.added, one.claimed, two.side, two.added, two.claimed
    FROM source.nameplates AS plate
    JOIN main.mailboxes AS box ON box.app = plate.app_id AND box.id = plate.mailbox_id
    LEFT JOIN sides AS one ON one.nameplates_id = plate.id AND one.side_number = 1
    LEFT JOIN sides AS two ON two.nameplates_id = plate.id AND two.side_number = 2
    WHERE plate.name IS NOT NULL";

/// The Python database stores the id of a message without its JSON type: as text, or as NULL.
const MESSAGES: &str = "
    INSERT INTO main.messages (mailbox, number, side, phase, body, server_rx, id)
    SELECT
        box.key,
        row_number() OVER (PARTITION BY box.key ORDER BY m.server_rx, m.rowid),
        coalesce(m.side, ''), coalesce(m.phase, ''), coalesce(m.body, ''),
        coalesce(m.server_rx, 0), json_quote(m.msg_id)
    FROM source.messages AS m
    JOIN main.mailboxes AS box ON box.app = m.app_id AND box.id = m.mailbox_id";

#[cfg(test)]
mod tests;
