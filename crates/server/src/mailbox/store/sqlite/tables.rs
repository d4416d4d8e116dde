//! The rows of nameplates, mailboxes and messages in SQLite.

use std::sync::Arc;

use rand_core::OsRng;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{NewMessage, Refusal, StoredMessage};

use crate::mailbox::store::records::{Mailbox, Nameplate, Side, Sides, size_of_mailboxes};
use crate::mailbox::store::replay_cache::ReplayCache;
use crate::mailbox::store::rules::Tables;
use crate::mailbox::store::short_nameplates::ShortNameplates;
use crate::mailbox::store::{LONG_TRIES, MAX_LISTED, Now, StoreError};

type Stored<T> = std::result::Result<T, StoreError>;

/// The tables inside an open transaction.
#[derive(Debug)]
pub(super) struct SqliteTables<'a> {
    pub(super) database: &'a Connection,
    pub(super) short_nameplates: &'a mut ShortNameplates,
    pub(super) replays: &'a mut ReplayCache,
    /// Counts the messages that this process has added, in all mailboxes.
    pub(super) position: &'a mut i64,
}

impl Tables for SqliteTables<'_> {
    fn nameplate(&mut self, app: &str, name: &str) -> Stored<Option<Nameplate>> {
        let sql = "SELECT mailbox, crowded, side_1, added_1, claimed_1, side_2, added_2, claimed_2
            FROM nameplates WHERE app = ? AND name = ?";
        let read = |row: &Row<'_>| {
            let sides = read_sides(row, 2)?;
            Ok(Nameplate { mailbox: row.get(0)?, crowded: row.get(1)?, sides })
        };
        Ok(self.database.prepare_cached(sql)?.query_row([app, name], read).optional()?)
    }

    fn save_nameplate(&mut self, app: &str, name: &str, row: &Nameplate) -> Stored<()> {
        let sql = "REPLACE INTO nameplates (app, name, mailbox, crowded,
            side_1, added_1, claimed_1, side_2, added_2, claimed_2)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let (one, two) = (row.sides.first(), row.sides.second());
        self.database.prepare_cached(sql)?.execute(params![
            app,
            name,
            row.mailbox,
            row.crowded,
            one.map(|side| &side.name),
            one.map(|side| side.added),
            one.map(|side| side.active),
            two.map(|side| &side.name),
            two.map(|side| side.added),
            two.map(|side| side.active),
        ])?;
        self.short_nameplates.mark_taken(app, name);
        Ok(())
    }

    fn delete_nameplate(&mut self, app: &str, name: &str, mailbox: &str) -> Stored<()> {
        let sql = "DELETE FROM nameplates WHERE app = ? AND name = ? AND mailbox = ?";
        if self.database.prepare_cached(sql)?.execute([app, name, mailbox])? > 0 {
            self.short_nameplates.mark_free(app, name);
        }
        Ok(())
    }

    fn pick_nameplate(&mut self, app: &str) -> Stored<String> {
        if let Some(short) = self.short_nameplates.pick(app, &mut OsRng) {
            return Ok(short);
        }
        let sql = "SELECT 1 FROM nameplates WHERE app = ? AND name = ?";
        let mut taken = self.database.prepare_cached(sql)?;
        for _ in 0..LONG_TRIES {
            let name = ShortNameplates::pick_long(&mut OsRng);
            if taken.query_row([app, &name], |_| Ok(())).optional()?.is_none() {
                return Ok(name);
            }
        }
        Err(Refusal::NoFreeNameplate.into())
    }

    fn list(&mut self, app: &str) -> Stored<Vec<String>> {
        let sql = "SELECT name FROM nameplates WHERE app = ? ORDER BY name LIMIT ?";
        let mut statement = self.database.prepare_cached(sql)?;
        let names = statement.query_map(params![app, MAX_LISTED], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    fn mailbox(&mut self, app: &str, id: &str) -> Stored<Option<Mailbox>> {
        let sql = "SELECT key, app, id, nameplate, messages, bytes, updated, crowded,
            side_1, added_1, opened_1, side_2, added_2, opened_2, mood_1, mood_2
            FROM mailboxes WHERE app = ? AND id = ?";
        Ok(self.database.prepare_cached(sql)?.query_row([app, id], read_mailbox).optional()?)
    }

    fn save_mailbox(&mut self, row: &mut Mailbox) -> Stored<()> {
        let Some(key) = row.key else { return Ok(insert_mailbox(self.database, row)?) };
        let sql = "UPDATE mailboxes SET updated = ?, side_1 = ?, added_1 = ?, opened_1 = ?,
            mood_1 = ?, side_2 = ?, added_2 = ?, opened_2 = ?, mood_2 = ? WHERE key = ?";
        let (one, two) = (row.sides.first(), row.sides.second());
        self.database.prepare_cached(sql)?.execute(params![
            row.updated,
            one.map(|side| &side.name),
            one.map(|side| side.added),
            one.map(|side| side.active),
            one.map(|side| &side.mood),
            two.map(|side| &side.name),
            two.map(|side| side.added),
            two.map(|side| side.active),
            two.map(|side| &side.mood),
            key,
        ])?;
        Ok(())
    }

    fn use_time(&self, now: Now) -> f64 {
        now.wall.as_secs_f64()
    }

    fn needs_touch(&self, row: &Mailbox, now: Now) -> bool {
        !(0.0..TOUCH_AFTER).contains(&(now.wall.as_secs_f64() - row.updated))
    }

    fn mark_mailbox_crowded(&mut self, row: &Mailbox) -> Stored<()> {
        if !row.crowded {
            let sql = "UPDATE mailboxes SET crowded = 1 WHERE key = ?";
            self.database.prepare_cached(sql)?.execute([row.key])?;
        }
        Ok(())
    }

    fn mark_nameplate_crowded(&mut self, app: &str, name: &str, row: &Nameplate) -> Stored<()> {
        if !row.crowded {
            let sql = "UPDATE nameplates SET crowded = 1 WHERE app = ? AND name = ?";
            self.database.prepare_cached(sql)?.execute([app, name])?;
        }
        Ok(())
    }

    fn delete_mailbox(&mut self, row: &Mailbox) -> Stored<()> {
        let Some(key) = row.key else { return Ok(()) };
        if row.messages > 0 {
            let sql = "DELETE FROM messages WHERE mailbox = ?";
            self.database.prepare_cached(sql)?.execute([key])?;
        }
        self.replays.remove(key);
        self.database.prepare_cached("DELETE FROM mailboxes WHERE key = ?")?.execute([key])?;
        Ok(())
    }

    fn append(&mut self, row: &Mailbox, message: &Arc<StoredMessage>) -> Stored<i64> {
        let sql = "INSERT INTO messages (mailbox, number, side, phase, body, server_rx, id)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        let NewMessage { phase, body, id, .. } = &message.message;
        let rx = message.server_rx.as_secs_f64();
        self.database.prepare_cached(sql)?.execute(params![
            row.key,
            row.messages,
            message.side,
            phase,
            body,
            rx,
            id
        ])?;
        let sql = "UPDATE mailboxes SET messages = ?, bytes = ?, updated = ? WHERE key = ?";
        let counts = params![row.messages, row.bytes, row.updated, row.key];
        self.database.prepare_cached(sql)?.execute(counts)?;
        *self.position += 1;
        Ok(*self.position)
    }

    fn replay(&mut self, row: &Mailbox) -> Stored<Vec<Arc<StoredMessage>>> {
        let long = row.key.filter(|_| row.is_long());
        let in_memory = long.map(|key| self.replays.take(key)).unwrap_or_default();
        let mut in_memory = in_memory.into_iter();
        let sql = "SELECT side, phase, body, id, server_rx FROM messages
            WHERE mailbox = ? ORDER BY number";
        let mut statement = self.database.prepare_cached(sql)?;
        let messages = statement.query_map([row.key], |row| {
            // Single messages are never removed, so each position always has the same message.
            if let Some(stored) = in_memory.next().and_then(|message| message.upgrade()) {
                return Ok(stored);
            }
            let message = NewMessage::new(row.get(1)?, row.get(2)?, row.get(3)?);
            let server_rx = UnixTime::from_secs_f64(row.get(4)?);
            Ok(Arc::new(StoredMessage::new(row.get(0)?, message, server_rx)))
        })?;
        let messages: Vec<_> = messages.collect::<Result<_>>()?;
        if let Some(key) = long {
            self.replays.put(key, &messages);
        }
        Ok(messages)
    }

    fn last_position(&self) -> i64 {
        *self.position
    }
}

/// Reads the mailbox with this key.
pub(super) fn mailbox_at(database: &Connection, key: i64) -> Result<Mailbox> {
    let sql = "SELECT key, app, id, nameplate, messages, bytes, updated, crowded,
        side_1, added_1, opened_1, side_2, added_2, opened_2, mood_1, mood_2
        FROM mailboxes WHERE key = ?";
    database.prepare_cached(sql)?.query_row([key], read_mailbox)
}

/// The keys of all mailboxes whose key and time of last use, in seconds since 1970, are `wanted`.
pub(super) fn select_mailboxes(
    database: &Connection,
    wanted: impl Fn(i64, f64) -> bool,
) -> Result<Vec<i64>> {
    let mut statement = database.prepare_cached("SELECT key, updated FROM mailboxes")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let chosen = rows.filter_map(|row| match row {
        Ok((key, updated)) => wanted(key, updated).then_some(Ok(key)),
        Err(error) => Some(Err(error)),
    });
    chosen.collect()
}

/// Approximate size of all mailboxes, in bytes.
pub(super) fn stored_bytes(database: &Connection) -> Result<u64> {
    let sql = "SELECT count(*), total(messages), total(bytes) FROM mailboxes";
    // SQLite's totals are floating point.
    let sums = database.query_row(sql, [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?, row.get::<_, f64>(2)?))
    });
    sums.map(|(count, messages, bytes)| size_of_mailboxes(count, to_i64(messages), to_i64(bytes)))
}

/// Reads both sides, the first from column `at`, without moods.
fn read_sides(row: &Row<'_>, at: usize) -> Result<Sides> {
    let side = |at: usize| -> Result<Option<Side>> {
        let Some(name) = row.get(at)? else { return Ok(None) };
        Ok(Some(Side { name, added: row.get(at + 1)?, active: row.get(at + 2)?, mood: None }))
    };
    Ok(Sides([side(at)?, side(at + 3)?]))
}

fn read_mailbox(row: &Row<'_>) -> Result<Mailbox> {
    let mut sides = read_sides(row, 8)?;
    for (side, at) in sides.0.iter_mut().zip([14, 15]) {
        if let Some(side) = side {
            side.mood = row.get(at)?;
        }
    }
    Ok(Mailbox {
        key: row.get(0)?,
        app: row.get(1)?,
        id: row.get(2)?,
        nameplate: row.get(3)?,
        messages: row.get(4)?,
        bytes: row.get(5)?,
        updated: row.get(6)?,
        last_message: 0,
        crowded: row.get(7)?,
        sides,
    })
}

/// Inserts a new mailbox, which has at most one side.
fn insert_mailbox(database: &Connection, row: &mut Mailbox) -> Result<()> {
    let sql = "INSERT INTO mailboxes
        (app, id, nameplate, updated, side_1, added_1, opened_1) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let one = row.sides.first();
    let key = database.prepare_cached(sql)?.insert(params![
        row.app,
        row.id,
        row.nameplate,
        row.updated,
        one.map(|side| &side.name),
        one.map(|side| side.added),
        one.map(|side| side.active),
    ])?;
    row.key = Some(key);
    Ok(())
}

#[expect(clippy::as_conversions, reason = "casts from floating point saturate")]
const fn to_i64(number: f64) -> i64 {
    number as i64
}

/// Seconds after which the time of last use is updated when a side joins again. Much less than the expiry of a mailbox.
const TOUCH_AFTER: f64 = 30.0;
