//! The rows that one batch needs, read at its start, and the changes of the batch.
//!
//! Reading everything first and writing everything last costs a few round trips for any number of
//! requests. The rules see these rows as tables.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rand_core::OsRng;
use wormhole_magic::mailbox::server::{Refusal, StoredMessage};

use crate::mailbox::store::records::{Mailbox, Nameplate};
use crate::mailbox::store::rules::Tables;
use crate::mailbox::store::short_nameplates::ShortNameplates;
use crate::mailbox::store::{MAX_LISTED, MailboxName, Now, StoreError};

/// The row that every transaction locks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ServerRow {
    /// The shared clock in seconds (`uptime`), as of this transaction.
    pub(super) uptime: f64,
    pub(super) stored_bytes: i64,
    pub(super) next_mailbox: i64,
    pub(super) last_message: i64,
}

/// A nameplate's application and name.
pub(super) type NameplateKey = (String, String);

/// A row with its history in this transaction.
#[derive(Debug)]
pub(super) struct Cell<T> {
    /// The current row; `None` if it was removed.
    pub(super) row: Option<T>,
    /// Whether the database has a row for it.
    pub(super) is_stored: bool,
    pub(super) is_changed: bool,
}

impl<T> Cell<T> {
    /// A row as it is in the database.
    pub(super) const fn stored(row: T) -> Self {
        Self { row: Some(row), is_stored: true, is_changed: false }
    }

    const fn absent() -> Self {
        Self { row: None, is_stored: false, is_changed: false }
    }

    fn set(&mut self, row: Option<T>) {
        self.row = row;
        self.is_changed = true;
    }
}

/// A message to insert.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) mailbox: i64,
    pub(super) position: i64,
    pub(super) message: Arc<StoredMessage>,
}

/// Everything that was read, with the changes.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The row as it was read.
    pub(super) read_server: ServerRow,
    pub(super) server: ServerRow,
    /// Seconds of `uptime` now, more exact than the row.
    pub(super) uptime: f64,
    pub(super) nameplates: HashMap<NameplateKey, Cell<Nameplate>>,
    pub(super) mailboxes: HashMap<MailboxName, Cell<Mailbox>>,
    /// The first nameplates of the applications that are listed.
    pub(super) lists: HashMap<String, BTreeSet<String>>,
    /// The short nameplates of the applications that allocate.
    pub(super) short_nameplates: ShortNameplates,
    /// Random long nameplates that were looked up, by application, for those that may run out of short ones.
    pub(super) long_nameplates: HashMap<String, Vec<String>>,
    /// The messages of opened mailboxes, by the mailbox's key.
    pub(super) replays: HashMap<i64, Vec<Arc<StoredMessage>>>,
    pub(super) deleted_mailboxes: Vec<i64>,
    pub(super) new_messages: Vec<NewRow>,
}

impl Snapshot {
    /// An empty snapshot.
    pub(super) fn new(server: ServerRow, uptime: f64) -> Self {
        Self {
            read_server: server,
            server,
            uptime,
            nameplates: HashMap::new(),
            mailboxes: HashMap::new(),
            lists: HashMap::new(),
            short_nameplates: ShortNameplates::default(),
            long_nameplates: HashMap::new(),
            replays: HashMap::new(),
            deleted_mailboxes: Vec::new(),
            new_messages: Vec::new(),
        }
    }

    fn nameplate_cell(&mut self, app: &str, name: &str) -> &mut Cell<Nameplate> {
        let key = (app.to_owned(), name.to_owned());
        self.nameplates.entry(key).or_insert_with(Cell::absent)
    }

    fn mailbox_cell(&mut self, app: &str, id: &str) -> &mut Cell<Mailbox> {
        let name = MailboxName { app: app.into(), mailbox: id.into() };
        self.mailboxes.entry(name).or_insert_with(Cell::absent)
    }
}

impl Tables for Snapshot {
    fn nameplate(&mut self, app: &str, name: &str) -> Result<Option<Nameplate>, StoreError> {
        Ok(self.nameplate_cell(app, name).row.clone())
    }

    fn save_nameplate(&mut self, app: &str, name: &str, row: &Nameplate) -> Result<(), StoreError> {
        self.nameplate_cell(app, name).set(Some(row.clone()));
        self.short_nameplates.mark_taken(app, name);
        if let Some(list) = self.lists.get_mut(app) {
            list.insert(name.into());
        }
        Ok(())
    }

    fn delete_nameplate(&mut self, app: &str, name: &str, mailbox: &str) -> Result<(), StoreError> {
        let cell = self.nameplate_cell(app, name);
        if cell.row.as_ref().is_some_and(|row| row.mailbox == mailbox) {
            cell.set(None);
            self.short_nameplates.mark_free(app, name);
            if let Some(list) = self.lists.get_mut(app) {
                list.remove(name);
            }
        }
        Ok(())
    }

    fn pick_nameplate(&mut self, app: &str) -> Result<String, StoreError> {
        if let Some(short) = self.short_nameplates.pick(app, &mut OsRng) {
            return Ok(short);
        }
        while let Some(name) = self.long_nameplates.get_mut(app).and_then(Vec::pop) {
            if self.nameplate_cell(app, &name).row.is_none() {
                return Ok(name);
            }
        }
        Err(Refusal::NoFreeNameplate.into())
    }

    fn list(&mut self, app: &str) -> Result<Vec<String>, StoreError> {
        let most = usize::try_from(MAX_LISTED).unwrap_or_default();
        Ok(self.lists.get(app).into_iter().flatten().take(most).cloned().collect())
    }

    fn mailbox(&mut self, app: &str, id: &str) -> Result<Option<Mailbox>, StoreError> {
        Ok(self.mailbox_cell(app, id).row.clone())
    }

    fn save_mailbox(&mut self, row: &mut Mailbox) -> Result<(), StoreError> {
        if row.key.is_none() {
            row.key = Some(self.server.next_mailbox);
            self.server.next_mailbox += 1;
        }
        let row = row.clone();
        self.mailbox_cell(&row.app.clone(), &row.id.clone()).set(Some(row));
        Ok(())
    }

    fn use_time(&self, _: Now) -> f64 {
        self.uptime
    }

    fn needs_touch(&self, row: &Mailbox, _: Now) -> bool {
        self.uptime - row.updated >= TOUCH_AFTER
    }

    fn mark_mailbox_crowded(&mut self, row: &Mailbox) -> Result<(), StoreError> {
        let cell = self.mailbox_cell(&row.app, &row.id);
        if let Some(stored) = cell.row.as_mut().filter(|stored| !stored.crowded) {
            stored.crowded = true;
            cell.is_changed = true;
        }
        Ok(())
    }

    fn mark_nameplate_crowded(
        &mut self,
        app: &str,
        name: &str,
        _: &Nameplate,
    ) -> Result<(), StoreError> {
        let cell = self.nameplate_cell(app, name);
        if let Some(stored) = cell.row.as_mut().filter(|stored| !stored.crowded) {
            stored.crowded = true;
            cell.is_changed = true;
        }
        Ok(())
    }

    fn delete_mailbox(&mut self, row: &Mailbox) -> Result<(), StoreError> {
        let Some(key) = row.key else { return Ok(()) };
        self.mailbox_cell(&row.app, &row.id).set(None);
        self.replays.remove(&key);
        self.new_messages.retain(|message| message.mailbox != key);
        self.deleted_mailboxes.push(key);
        Ok(())
    }

    fn append(&mut self, row: &Mailbox, message: &Arc<StoredMessage>) -> Result<i64, StoreError> {
        let Some(mailbox) = row.key else { return Err(Refusal::NotOpen.into()) };
        self.server.last_message += 1;
        let position = self.server.last_message;
        let row = Mailbox { last_message: position, ..row.clone() };
        if row.messages == 1 || self.replays.contains_key(&mailbox) {
            self.replays.entry(mailbox).or_default().push(Arc::clone(message));
        }
        self.mailbox_cell(&row.app.clone(), &row.id.clone()).set(Some(row));
        self.new_messages.push(NewRow { mailbox, position, message: Arc::clone(message) });
        Ok(position)
    }

    fn replay(&mut self, row: &Mailbox) -> Result<Vec<Arc<StoredMessage>>, StoreError> {
        Ok(row.key.and_then(|key| self.replays.get(&key)).cloned().unwrap_or_default())
    }

    fn last_position(&self) -> i64 {
        self.server.last_message
    }
}

/// Seconds after which the time of last use is updated when a side joins again. Much less than the expiry of a mailbox.
const TOUCH_AFTER: f64 = 30.0;
