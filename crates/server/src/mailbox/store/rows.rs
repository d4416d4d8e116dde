//! The rows of nameplates and mailboxes. Each has two seats, so its sides are in the row itself.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{NewMessage, Refusal, StoredMessage};

use super::Capacity;
use super::shelf::Shelf;
use crate::mailbox::usage::Visits;

/// One side of a nameplate or mailbox.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seat {
    /// Who sits here.
    pub(super) side: String,
    /// Since when.
    pub(super) added: f64,
    /// Whether it still claims the nameplate or has the mailbox open.
    pub(super) active: bool,
    /// How it said it went.
    pub(super) mood: Option<String>,
}

/// The two sides. A third one never gets in, and what it tries changes nothing for the two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seats([Option<Seat>; 2]);

/// How a side came by its seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// It had one.
    Before,
    /// It took a free one.
    Now,
}

/// Both seats belong to others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoSeat;

impl Seats {
    /// The seat of a side.
    pub(super) fn of(&self, side: &str) -> Option<&Seat> {
        self.0.iter().flatten().find(|seat| seat.side == side)
    }

    /// Seats a side, if it has no seat yet.
    pub(super) fn take(&mut self, side: &str, now: UnixTime) -> Result<Taken, NoSeat> {
        if self.of(side).is_some() {
            return Ok(Taken::Before);
        }
        let free = self.0.iter_mut().find(|seat| seat.is_none()).ok_or(NoSeat)?;
        *free = Some(Seat { side: side.into(), added: now.as_secs(), active: true, mood: None });
        Ok(Taken::Now)
    }

    /// Notes that a side has left; false if it was never there.
    pub(super) fn leave(&mut self, side: &str, mood: Option<String>) -> bool {
        let Some(seat) = self.0.iter_mut().flatten().find(|seat| seat.side == side) else {
            return false;
        };
        seat.active = false;
        seat.mood = mood;
        true
    }

    /// Whether somebody is still there.
    pub(super) fn any_active(&self) -> bool {
        self.0.iter().flatten().any(|seat| seat.active)
    }

    fn visits(&self, crowded: bool) -> Visits {
        let mut visits = Visits { crowded, ..Visits::default() };
        for seat in self.0.iter().flatten() {
            visits.added.push(seat.added);
            visits.moods.extend(seat.mood.clone());
        }
        visits
    }

    /// Reads both seats, the first from column `at`, without moods.
    fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        let seat = |at: usize| -> Result<Option<Seat>> {
            let Some(side) = row.get(at)? else { return Ok(None) };
            Ok(Some(Seat { side, added: row.get(at + 1)?, active: row.get(at + 2)?, mood: None }))
        };
        Ok(Self([seat(at)?, seat(at + 3)?]))
    }

    const fn first(&self) -> Option<&Seat> {
        let [first, _] = &self.0;
        first.as_ref()
    }

    const fn second(&self) -> Option<&Seat> {
        let [_, second] = &self.0;
        second.as_ref()
    }
}

/// A nameplate in use. Its application and name are its key.
#[derive(Debug)]
pub(super) struct Nameplate {
    /// What it stands for.
    pub(super) mailbox: String,
    /// Who claimed it.
    pub(super) seats: Seats,
    crowded: bool,
}

impl Nameplate {
    /// A nameplate that nobody has claimed yet.
    pub(super) fn new(mailbox: &str) -> Self {
        Self { mailbox: mailbox.into(), seats: Seats::default(), crowded: false }
    }

    /// The nameplate, if it is in use.
    pub(super) fn find(database: &Connection, app: &str, name: &str) -> Result<Option<Self>> {
        let sql = "SELECT mailbox, crowded, side_1, added_1, claimed_1, side_2, added_2, claimed_2
            FROM nameplates WHERE app = ? AND name = ?";
        let read = |row: &Row<'_>| {
            let seats = Seats::read(row, 2)?;
            Ok(Self { mailbox: row.get(0)?, crowded: row.get(1)?, seats })
        };
        database.prepare_cached(sql)?.query_row([app, name], read).optional()
    }

    /// Writes the whole row.
    pub(super) fn write(&self, database: &Connection, app: &str, name: &str) -> Result<()> {
        let sql = "REPLACE INTO nameplates (app, name, mailbox, crowded,
            side_1, added_1, claimed_1, side_2, added_2, claimed_2)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let (one, two) = (self.seats.first(), self.seats.second());
        database.prepare_cached(sql)?.execute(params![
            app,
            name,
            self.mailbox,
            self.crowded,
            one.map(|seat| &seat.side),
            one.map(|seat| seat.added),
            one.map(|seat| seat.active),
            two.map(|seat| &seat.side),
            two.map(|seat| seat.added),
            two.map(|seat| seat.active),
        ])?;
        Ok(())
    }

    /// Notes, for the statistics alone, that a third side was turned away.
    pub(super) fn mark_crowded(&self, database: &Connection, app: &str, name: &str) -> Result<()> {
        if self.crowded {
            return Ok(());
        }
        let sql = "UPDATE nameplates SET crowded = 1 WHERE app = ? AND name = ?";
        database.prepare_cached(sql)?.execute([app, name])?;
        Ok(())
    }

    /// What the statistics need to know.
    pub(super) fn visits(&self) -> Visits {
        self.seats.visits(self.crowded)
    }
}

/// A mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Number of the row, once it is written.
    key: Option<i64>,
    /// Whose it is.
    pub(super) app: String,
    /// Its name within the application.
    pub(super) id: String,
    /// The nameplate it was made for.
    pub(super) nameplate: Option<String>,
    /// Who has been in it.
    pub(super) seats: Seats,
    /// How many messages it holds.
    pub(super) messages: i64,
    bytes: i64,
    updated: f64,
    crowded: bool,
}

impl Mailbox {
    /// An empty mailbox, not written yet.
    pub(super) fn new(app: &str, id: &str, nameplate: Option<&str>, now: UnixTime) -> Self {
        Self {
            key: None,
            app: app.into(),
            id: id.into(),
            nameplate: nameplate.map(Into::into),
            seats: Seats::default(),
            messages: 0,
            bytes: 0,
            updated: now.as_secs(),
            crowded: false,
        }
    }

    /// The mailbox, if it exists.
    pub(super) fn find(database: &Connection, app: &str, id: &str) -> Result<Option<Self>> {
        let sql = "SELECT key, app, id, nameplate, messages, bytes, updated, crowded,
            side_1, added_1, opened_1, side_2, added_2, opened_2, mood_1, mood_2
            FROM mailboxes WHERE app = ? AND id = ?";
        database.prepare_cached(sql)?.query_row([app, id], Self::read_row).optional()
    }

    /// The mailbox of this row.
    pub(super) fn at(database: &Connection, key: i64) -> Result<Self> {
        let sql = "SELECT key, app, id, nameplate, messages, bytes, updated, crowded,
            side_1, added_1, opened_1, side_2, added_2, opened_2, mood_1, mood_2
            FROM mailboxes WHERE key = ?";
        database.prepare_cached(sql)?.query_row([key], Self::read_row)
    }

    /// The rows of all mailboxes whose key and time of last use, in seconds since 1970, are `wanted`.
    pub(super) fn select(
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

    /// Bytes of all mailboxes.
    pub(super) fn bytes_of_all(database: &Connection) -> Result<u64> {
        let sql = "SELECT count(*), total(messages), total(bytes) FROM mailboxes";
        // SQLite's totals are floating point.
        let sums = database.query_row(sql, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?, row.get::<_, f64>(2)?))
        });
        sums.map(|(count, messages, bytes)| size(count, whole(messages), whole(bytes)))
    }

    /// Number of the row, once it is written.
    pub(super) const fn key(&self) -> Option<i64> {
        self.key
    }

    /// What it takes in the database with all that belongs to it, in bytes, roughly.
    pub(super) const fn size(&self) -> u64 {
        size(1, self.messages, self.bytes)
    }

    fn read_row(row: &Row<'_>) -> Result<Self> {
        let mut seats = Seats::read(row, 8)?;
        for (seat, at) in seats.0.iter_mut().zip([14, 15]) {
            if let Some(seat) = seat {
                seat.mood = row.get(at)?;
            }
        }
        Ok(Self {
            key: row.get(0)?,
            app: row.get(1)?,
            id: row.get(2)?,
            nameplate: row.get(3)?,
            messages: row.get(4)?,
            bytes: row.get(5)?,
            updated: row.get(6)?,
            crowded: row.get(7)?,
            seats,
        })
    }

    /// Writes the row after a side has come in (`joined`) or come back.
    pub(super) fn visited(
        &mut self,
        database: &Connection,
        joined: Taken,
        now: UnixTime,
    ) -> Result<()> {
        // Coming back changes nothing but the time, which is not needed to the second.
        let age = now.as_secs() - self.updated;
        let fresh = (0.0..TOUCH_AFTER).contains(&age) && self.key.is_some();
        if joined == Taken::Before && fresh {
            return Ok(());
        }
        self.updated = now.as_secs();
        self.write(database)
    }

    /// Writes the row, except for what the messages change.
    pub(super) fn write(&mut self, database: &Connection) -> Result<()> {
        let Some(key) = self.key else { return self.insert(database) };
        let sql = "UPDATE mailboxes SET updated = ?, side_1 = ?, added_1 = ?, opened_1 = ?,
            mood_1 = ?, side_2 = ?, added_2 = ?, opened_2 = ?, mood_2 = ? WHERE key = ?";
        let (one, two) = (self.seats.first(), self.seats.second());
        database.prepare_cached(sql)?.execute(params![
            self.updated,
            one.map(|seat| &seat.side),
            one.map(|seat| seat.added),
            one.map(|seat| seat.active),
            one.map(|seat| &seat.mood),
            two.map(|seat| &seat.side),
            two.map(|seat| seat.added),
            two.map(|seat| seat.active),
            two.map(|seat| &seat.mood),
            key,
        ])?;
        Ok(())
    }

    /// Writes a row that has at most one side yet.
    fn insert(&mut self, database: &Connection) -> Result<()> {
        let sql = "INSERT INTO mailboxes
            (app, id, nameplate, updated, side_1, added_1, opened_1) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let one = self.seats.first();
        let key = database.prepare_cached(sql)?.insert(params![
            self.app,
            self.id,
            self.nameplate,
            self.updated,
            one.map(|seat| &seat.side),
            one.map(|seat| seat.added),
            one.map(|seat| seat.active),
        ])?;
        self.key = Some(key);
        Ok(())
    }

    /// Notes, for the statistics alone, that a third side was turned away.
    pub(super) fn mark_crowded(&self, database: &Connection) -> Result<()> {
        if self.crowded {
            return Ok(());
        }
        let sql = "UPDATE mailboxes SET crowded = 1 WHERE key = ?";
        database.prepare_cached(sql)?.execute([self.key])?;
        Ok(())
    }

    /// Makes room for a message, if the mailbox may hold one more.
    pub(super) fn count(
        &mut self,
        stored: &StoredMessage,
        capacity: Capacity,
    ) -> std::result::Result<(), Refusal> {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(content(stored));
        let over = |count: i64, limit: u64| limit > 0 && count.unsigned_abs() > limit;
        if over(self.messages, capacity.messages) || over(self.bytes, capacity.bytes) {
            return Err(Refusal::MailboxFull);
        }
        Ok(())
    }

    /// Appends the message that was counted last.
    pub(super) fn append(&self, database: &Connection, stored: &StoredMessage) -> Result<()> {
        let sql = "INSERT INTO messages (mailbox, number, side, phase, body, server_rx, id)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        let message = &stored.message;
        let rx = stored.server_rx.as_secs();
        let row = params![
            self.key,
            self.messages,
            stored.side,
            message.phase,
            message.body,
            rx,
            message.id
        ];
        database.prepare_cached(sql)?.execute(row)?;
        let sql = "UPDATE mailboxes SET messages = ?, bytes = ?, updated = ? WHERE key = ?";
        let row = params![self.messages, self.bytes, rx, self.key];
        database.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// All messages, oldest first. Those of a long mailbox are shared with whom they are being
    /// shown to already.
    pub(super) fn read(
        &self,
        database: &Connection,
        shelf: &mut Shelf,
    ) -> Result<Vec<Arc<StoredMessage>>> {
        let long = self.key.filter(|_| self.bytes >= LONG);
        let shown = long.map(|key| shelf.take(key)).unwrap_or_default();
        let mut shown = shown.into_iter();
        let sql = "SELECT side, phase, body, id, server_rx FROM messages
            WHERE mailbox = ? ORDER BY number";
        let mut statement = database.prepare_cached(sql)?;
        let messages = statement.query_map([self.key], |row| {
            // Single messages are never removed: the same place holds the same message.
            if let Some(stored) = shown.next().and_then(|shown| shown.upgrade()) {
                return Ok(stored);
            }
            let message = NewMessage::new(row.get(1)?, row.get(2)?, row.get(3)?);
            let server_rx = UnixTime::from_secs(row.get(4)?);
            Ok(Arc::new(StoredMessage::new(row.get(0)?, message, server_rx)))
        })?;
        let messages: Vec<_> = messages.collect::<Result<_>>()?;
        if let Some(key) = long {
            shelf.put(key, &messages);
        }
        Ok(messages)
    }

    /// Removes the row and its messages.
    pub(super) fn delete(&self, database: &Connection, shelf: &mut Shelf) -> Result<()> {
        if self.messages > 0 {
            database
                .prepare_cached("DELETE FROM messages WHERE mailbox = ?")?
                .execute([self.key])?;
        }
        if let Some(key) = self.key {
            shelf.forget(key);
            database.prepare_cached("DELETE FROM mailboxes WHERE key = ?")?.execute([self.key])?;
        }
        Ok(())
    }

    /// What the statistics need to know.
    pub(super) fn visits(&self) -> Visits {
        self.seats.visits(self.crowded)
    }
}

/// Bytes of a message's names and content.
fn content(stored: &StoredMessage) -> i64 {
    let NewMessage { phase, body, id, .. } = &stored.message;
    let bytes = stored.side.len() + phase.len() + body.len() + id.len();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What a message takes in the database, in bytes, roughly.
pub(super) fn size_of_message(stored: &StoredMessage) -> u64 {
    MESSAGE_ROW + content(stored).unsigned_abs()
}

/// What mailboxes take that hold so many messages of so many bytes.
const fn size(mailboxes: i64, messages: i64, bytes: i64) -> u64 {
    let rows = mailboxes.unsigned_abs() * MAILBOX_ROW + messages.unsigned_abs() * MESSAGE_ROW;
    rows.saturating_add(bytes.unsigned_abs())
}

#[expect(clippy::as_conversions, reason = "casts from floating point saturate")]
const fn whole(number: f64) -> i64 {
    number as i64
}

/// What a mailbox takes without messages, its nameplate and the indices included, in bytes.
pub(super) const MAILBOX_ROW: u64 = 1 << 10;

/// What a message takes besides its names and content, in bytes.
const MESSAGE_ROW: u64 = 64;

/// Bytes from which a mailbox is worth sharing between its readers.
const LONG: i64 = 64 << 10;

/// Seconds after which a returning side is worth writing down. Far below the expiry of a mailbox.
const TOUCH_AFTER: f64 = 30.0;
