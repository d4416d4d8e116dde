//! What the mailbox server remembers, in SQLite: one function per request, in the protocol's words.
//!
//! Each function is a whole transaction in itself, and leaves no trace when it refuses, except that
//! a third side is counted in the statistics. To make many of them durable with one write to the
//! disk, they run between [`Store::begin`] and [`Store::commit`]; nobody may be told anything
//! before the commit has succeeded. Who listens to a mailbox is not known here.
//! (mailbox protocol, "Nameplates / crowding", "Pruning / usage")

mod allocation;
mod file;
mod import;
mod lock;
mod moment;
mod presence;
mod reclaim;
mod rows;
mod schema;
mod shelf;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use rusqlite::{Connection, OptionalExtension, params};
use wormhole_magic::mailbox::server::{Identity, NewMessage, Refusal, StoredMessage};

use super::usage::{Retired, Usage};
use crate::ServerError;
use crate::limits::Held;
use allocation::Allocation;
use file::DatabaseFile;
pub(crate) use import::Imported;
pub(super) use import::import;
use lock::Lock;
pub(super) use moment::Moment;
use presence::Presence;
pub(super) use presence::Quota;
use rows::{MAILBOX_ROW, Mailbox, Nameplate, Taken, size_of_message};
pub(super) use schema::{backed_up, set_pragmas};
use shelf::Shelf;

/// The open database.
#[derive(Debug)]
pub(super) struct Store {
    database: Connection,
    file: DatabaseFile,
    allocation: Allocation,
    capacity: Capacity,
    presence: Presence,
    usage: Vec<Usage>,
    shelf: Shelf,
    #[expect(dead_code, reason = "released when the database has been closed")]
    lock: Lock,
}

/// How much a mailbox and the whole database may hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capacity {
    /// Number of messages in a mailbox; 0 is any number.
    pub(super) messages: u64,
    /// Bytes of all names and contents in a mailbox; 0 is any number.
    pub(super) bytes: u64,
    /// Bytes of everything.
    pub(super) quota: Quota,
}

/// Who asks, from which address, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) who: &'a Identity,
    pub(super) address: &'a Arc<Held>,
    pub(super) now: Moment,
}

/// Why a request was not done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum StoreError {
    /// The protocol does not allow it. The transaction goes on without it.
    #[error("{0}")]
    Refused(Refusal),
    /// The database failed. The whole transaction has to be rolled back.
    #[error("database: {0}")]
    Broken(String),
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The text of SQLite's error names tables and files, never values.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Store {
    /// Opens the database, making or upgrading it as needed.
    pub(super) fn open(path: &Path, capacity: Capacity) -> Result<Self, ServerError> {
        let lock = Lock::take(path)?;
        let database = schema::open(path)?;
        let bad = |error: StoreError| schema::database_error(path, &error.to_string());
        let stored = Mailbox::bytes_of_all(&database).map_err(|error| bad(error.into()))?;
        let mut store = Self {
            database,
            file: DatabaseFile::new(path),
            allocation: Allocation::default(),
            capacity,
            presence: Presence::new(Moment::now().steady, stored),
            usage: Vec::new(),
            shelf: Shelf::default(),
            lock,
        };
        store.learn_nameplates().map_err(bad)?;
        Ok(store)
    }

    /// Whether the database is still where it was opened.
    ///
    /// # Errors
    /// It is not. Whatever is committed from now on, or was lately, is lost when the process ends.
    pub(super) fn check_file(&mut self) -> Result<(), ServerError> {
        let reason = "the file was removed or replaced while the server was using it";
        self.file.check().map_err(|path| schema::database_error(&path, reason))
    }

    /// Starts a transaction.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        Ok(self.database.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)?)
    }

    /// Makes everything since [`Store::begin`] durable, and hands out what it retired.
    ///
    /// # Errors
    /// Nothing of it has happened; call [`Store::roll_back`] and refuse all of it.
    pub(super) fn commit(&mut self) -> Result<Vec<Usage>, StoreError> {
        self.database.prepare_cached("COMMIT")?.execute([])?;
        self.presence.commit();
        Ok(std::mem::take(&mut self.usage))
    }

    /// Forgets everything since [`Store::begin`].
    pub(super) fn roll_back(&mut self) -> Result<(), StoreError> {
        self.usage.clear();
        self.shelf.clear();
        self.presence.roll_back();
        if !self.database.is_autocommit() {
            self.database.execute_batch("ROLLBACK")?;
        }
        self.learn_nameplates()
    }

    /// The nameplates in use, sorted; only the first [`MAX_LISTED`].
    pub(super) fn list(&self, app: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM nameplates WHERE app = ? ORDER BY name LIMIT ?";
        let mut statement = self.database.prepare_cached(sql)?;
        let names = statement.query_map(params![app, MAX_LISTED], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Picks a free nameplate, as short as possible, and claims it.
    pub(super) fn allocate(&mut self, by: Caller<'_>) -> Result<String, StoreError> {
        let name = match self.allocation.pick(&by.who.app, &mut OsRng) {
            Some(short) => short,
            None => self.pick_long(&by.who.app)?,
        };
        self.create_nameplate(by, &name)?;
        Ok(name)
    }

    /// Claims a nameplate and joins its mailbox, making both as needed; returns the mailbox.
    pub(super) fn claim(&mut self, by: Caller<'_>, name: &str) -> Result<String, StoreError> {
        let (who, now) = (by.who, by.now.wall);
        let Some(mut nameplate) = Nameplate::find(&self.database, &who.app, name)? else {
            return self.create_nameplate(by, name);
        };
        let mut mailbox = Mailbox::find(&self.database, &who.app, &nameplate.mailbox)?
            .unwrap_or_else(|| Mailbox::new(&who.app, &nameplate.mailbox, Some(name), now));
        if nameplate.seats.of(&who.side).is_some_and(|seat| !seat.active) {
            return Err(Refusal::Reclaimed.into());
        }
        let (Ok(seated), Ok(joined)) =
            (nameplate.seats.take(&who.side, now), mailbox.seats.take(&who.side, now))
        else {
            nameplate.mark_crowded(&self.database, &who.app, name)?;
            mailbox.mark_crowded(&self.database)?;
            return Err(Refusal::Crowded.into());
        };
        self.visited(&mut mailbox, joined, by)?;
        if seated == Taken::Now {
            nameplate.write(&self.database, &who.app, name)?;
        }
        Ok(nameplate.mailbox)
    }

    /// Gives a nameplate back; unknown ones are given back already.
    pub(super) fn release(&mut self, by: Caller<'_>, name: &str) -> Result<(), StoreError> {
        let (who, now) = (by.who, by.now);
        let Some(mut nameplate) = Nameplate::find(&self.database, &who.app, name)? else {
            return Ok(());
        };
        if !nameplate.seats.leave(&who.side, None) {
            return Ok(());
        }
        if nameplate.seats.any_active() {
            return Ok(nameplate.write(&self.database, &who.app, name)?);
        }
        self.retire_nameplate(&who.app, name, &nameplate, now, Retired::Closed)
    }

    /// Joins a mailbox, making it as needed, and returns what it holds.
    pub(super) fn open_mailbox(
        &mut self,
        by: Caller<'_>,
        id: &str,
    ) -> Result<Vec<Arc<StoredMessage>>, StoreError> {
        let (who, now) = (by.who, by.now.wall);
        let mut mailbox = Mailbox::find(&self.database, &who.app, id)?
            .unwrap_or_else(|| Mailbox::new(&who.app, id, None, now));
        let Ok(joined) = mailbox.seats.take(&who.side, now) else {
            mailbox.mark_crowded(&self.database)?;
            return Err(Refusal::Crowded.into());
        };
        self.visited(&mut mailbox, joined, by)?;
        if mailbox.messages == 0 {
            Ok(Vec::new())
        } else {
            Ok(mailbox.read(&self.database, &mut self.shelf)?)
        }
    }

    /// Puts a message into a mailbox that its side is in.
    pub(super) fn add(
        &mut self,
        by: Caller<'_>,
        id: &str,
        message: NewMessage,
    ) -> Result<Arc<StoredMessage>, StoreError> {
        let who = by.who;
        let mut mailbox = Mailbox::find(&self.database, &who.app, id)?.ok_or(Refusal::NotOpen)?;
        mailbox.seats.of(&who.side).ok_or(Refusal::NotOpen)?;
        let stored = StoredMessage::new(who.side.clone(), message, by.now.wall);
        self.presence.check(by.address, size_of_message(&stored), self.capacity.quota)?;
        let before = mailbox.size();
        mailbox.count(&stored, self.capacity)?;
        mailbox.append(&self.database, &stored)?;
        if let Some(key) = mailbox.key() {
            self.presence.used(key, before, by.address, by.now);
            self.presence.charge(key, mailbox.size() - before, by.address, by.now);
        }
        Ok(Arc::new(stored))
    }

    /// Leaves a mailbox. The last side to leave takes the mailbox and its nameplate with it.
    ///
    /// Who was never in it is taken to have just come. So a client that is not sure whether its
    /// `close` arrived may repeat it.
    pub(super) fn close(
        &mut self,
        by: Caller<'_>,
        id: &str,
        mood: Option<String>,
    ) -> Result<(), StoreError> {
        let (who, now) = (by.who, by.now.wall);
        let mut mailbox = Mailbox::find(&self.database, &who.app, id)?
            .unwrap_or_else(|| Mailbox::new(&who.app, id, None, now));
        if mailbox.seats.take(&who.side, now).is_err() {
            mailbox.mark_crowded(&self.database)?;
            return Err(Refusal::Crowded.into());
        }
        mailbox.seats.leave(&who.side, mood);
        if mailbox.seats.any_active() {
            return Ok(mailbox.write(&self.database)?);
        }
        if let Some(name) = mailbox.nameplate.clone() {
            // As in the reference, a nameplate that its claimants forgot is not in the statistics.
            self.delete_nameplate(&who.app, &name, &mailbox.id)?;
        }
        self.retire_mailbox(&mailbox, by.now, Retired::Closed)
    }

    /// Removes what nobody has used for `expiry`; what is `listened` to counts as used.
    pub(super) fn prune(
        &mut self,
        now: Moment,
        expiry: Duration,
        listened: impl Iterator<Item = (String, String)>,
    ) -> Result<usize, StoreError> {
        {
            let sql = "UPDATE mailboxes SET updated = ? WHERE app = ? AND id = ? RETURNING key";
            let mut touch = self.database.prepare_cached(sql)?;
            for (app, id) in listened {
                let row = params![now.wall.as_secs(), app, id];
                if let Some(key) = touch.query_row(row, |row| row.get(0)).optional()? {
                    self.presence.listened(key, now);
                }
            }
        }
        let unused = |key, updated| self.presence.is_unused(key, updated, now, expiry);
        let forgotten = Mailbox::select(&self.database, unused)?;
        for key in &forgotten {
            let mailbox = &Mailbox::at(&self.database, *key)?;
            if let Some(name) = &mailbox.nameplate
                && let Some(nameplate) = Nameplate::find(&self.database, &mailbox.app, name)?
                && nameplate.mailbox == mailbox.id
            {
                self.retire_nameplate(&mailbox.app, name, &nameplate, now, Retired::Pruned)?;
            }
            self.retire_mailbox(mailbox, now, Retired::Pruned)?;
        }
        Ok(forgotten.len())
    }

    /// How many nameplates and mailboxes there are.
    pub(super) fn count(&self) -> Result<(u64, u64), StoreError> {
        let count = |sql| self.database.query_row(sql, [], |row| row.get::<_, i64>(0));
        let nameplates = count("SELECT count(*) FROM nameplates")?;
        let mailboxes = count("SELECT count(*) FROM mailboxes")?;
        Ok((nameplates.unsigned_abs(), mailboxes.unsigned_abs()))
    }

    /// Notes that a side has come into a mailbox, or back.
    fn visited(
        &mut self,
        mailbox: &mut Mailbox,
        joined: Taken,
        by: Caller<'_>,
    ) -> Result<(), StoreError> {
        let known = mailbox.key();
        if known.is_none() {
            self.presence.check(by.address, MAILBOX_ROW, self.capacity.quota)?;
        }
        mailbox.visited(&self.database, joined, by.now.wall)?;
        match (known, mailbox.key()) {
            (Some(key), _) => self.presence.used(key, mailbox.size(), by.address, by.now),
            (None, Some(key)) => self.presence.charge(key, MAILBOX_ROW, by.address, by.now),
            (None, None) => {}
        }
        Ok(())
    }

    fn create_nameplate(&mut self, by: Caller<'_>, name: &str) -> Result<String, StoreError> {
        let (who, now) = (by.who, by.now.wall);
        let mut mailbox = Mailbox::new(&who.app, &random_mailbox_id(), Some(name), now);
        let mut nameplate = Nameplate::new(&mailbox.id);
        // Both are empty: there is a seat.
        let _ = (mailbox.seats.take(&who.side, now), nameplate.seats.take(&who.side, now));
        self.visited(&mut mailbox, Taken::Now, by)?;
        nameplate.write(&self.database, &who.app, name)?;
        self.allocation.taken(&who.app, name);
        Ok(nameplate.mailbox)
    }

    fn delete_nameplate(&mut self, app: &str, name: &str, id: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM nameplates WHERE app = ? AND name = ? AND mailbox = ?";
        if self.database.prepare_cached(sql)?.execute([app, name, id])? > 0 {
            self.allocation.freed(app, name);
        }
        Ok(())
    }

    fn retire_nameplate(
        &mut self,
        app: &str,
        name: &str,
        nameplate: &Nameplate,
        now: Moment,
        how: Retired,
    ) -> Result<(), StoreError> {
        self.delete_nameplate(app, name, &nameplate.mailbox)?;
        self.usage.push(Usage::nameplate(app, &nameplate.visits(), now.wall, how));
        Ok(())
    }

    fn retire_mailbox(
        &mut self,
        mailbox: &Mailbox,
        now: Moment,
        how: Retired,
    ) -> Result<(), StoreError> {
        mailbox.delete(&self.database, &mut self.shelf)?;
        if let Some(key) = mailbox.key() {
            self.presence.forget(key, mailbox.size());
        }
        let (app, for_nameplate) = (&mailbox.app, mailbox.nameplate.is_some());
        self.usage.push(Usage::mailbox(app, for_nameplate, &mailbox.visits(), now.wall, how));
        Ok(())
    }

    /// A nameplate of four to six digits, when all shorter ones are taken.
    fn pick_long(&self, app: &str) -> Result<String, StoreError> {
        let mut taken =
            self.database.prepare_cached("SELECT 1 FROM nameplates WHERE app = ? AND name = ?")?;
        for _ in 0..LONG_TRIES {
            let name = Allocation::long(&mut OsRng);
            if taken.query_row([app, &name], |_| Ok(())).optional()?.is_none() {
                return Ok(name);
            }
        }
        Err(Refusal::NoFreeNameplate.into())
    }

    fn learn_nameplates(&mut self) -> Result<(), StoreError> {
        let mut allocation = Allocation::default();
        let mut statement = self.database.prepare("SELECT app, name FROM nameplates")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (app, name): (String, String) = (row.get(0)?, row.get(1)?);
            allocation.taken(&app, &name);
        }
        self.allocation = allocation;
        Ok(())
    }
}

/// A name that nobody can guess: 13 letters and digits.
fn random_mailbox_id() -> String {
    let mut bytes = [0; 8];
    OsRng.fill_bytes(&mut bytes);
    let mut id = data_encoding::BASE32_NOPAD.encode(&bytes);
    id.make_ascii_lowercase();
    id
}

/// Nameplates that a list names at most: many times what a person looks at.
const MAX_LISTED: i64 = 1000;

/// Random tries for a long nameplate, as in the reference.
const LONG_TRIES: usize = 1000;

#[cfg(test)]
mod tests;
