//! The rules of each request: which requests are allowed, and what they change. Both back ends use them.
//!
//! A refused request changes nothing, except that the statistics record a third side. The rules do not know which links
//! listen to a mailbox. (mailbox protocol, "Nameplates / crowding", "Pruning / usage")

use std::sync::Arc;

use rand_core::{OsRng, RngCore};
use wormhole_magic::mailbox::server::{Answer, NewMessage, Refusal, Request, StoredMessage};

use super::activity::Activity;
use super::records::{Joined, MAILBOX_ROW, Mailbox, Nameplate, size_of_message};
use super::{Caller, MAX_ANSWER_BYTES, Now, Outcome, StoreError, StoreLimits};
use crate::mailbox::usage::{Removal, Usage};

/// The rows of an open transaction.
pub(super) trait Tables {
    /// Finds a nameplate that is in use.
    fn nameplate(&mut self, app: &str, name: &str) -> Result<Option<Nameplate>, StoreError>;
    /// Writes a new or changed nameplate.
    fn save_nameplate(&mut self, app: &str, name: &str, row: &Nameplate) -> Result<(), StoreError>;
    /// Removes a nameplate if it belongs to this mailbox.
    fn delete_nameplate(&mut self, app: &str, name: &str, mailbox: &str) -> Result<(), StoreError>;
    /// Picks a free nameplate, as short as possible.
    fn pick_nameplate(&mut self, app: &str) -> Result<String, StoreError>;
    /// The nameplates in use, sorted; at most [`super::MAX_LISTED`].
    fn list(&mut self, app: &str) -> Result<Vec<String>, StoreError>;
    /// Finds a mailbox.
    fn mailbox(&mut self, app: &str, id: &str) -> Result<Option<Mailbox>, StoreError>;
    /// Writes a new or changed mailbox, except for the counts of its messages, and sets its key.
    fn save_mailbox(&mut self, row: &mut Mailbox) -> Result<(), StoreError>;
    /// The value to store as the time of last use of a mailbox that is used now.
    fn use_time(&self, now: Now) -> f64;
    /// Whether the stored time of last use is so old that it must be updated.
    fn needs_touch(&self, row: &Mailbox, now: Now) -> bool;
    /// Records in the row that a third side was refused.
    fn mark_mailbox_crowded(&mut self, row: &Mailbox) -> Result<(), StoreError>;
    /// Records in the row that a third side was refused.
    fn mark_nameplate_crowded(
        &mut self,
        app: &str,
        name: &str,
        row: &Nameplate,
    ) -> Result<(), StoreError>;
    /// Removes a mailbox and its messages.
    fn delete_mailbox(&mut self, row: &Mailbox) -> Result<(), StoreError>;
    /// Appends a message, which `row` has already counted, and returns the message's position.
    fn append(&mut self, row: &Mailbox, message: &Arc<StoredMessage>) -> Result<i64, StoreError>;
    /// All messages of a mailbox, oldest first.
    fn replay(&mut self, row: &Mailbox) -> Result<Vec<Arc<StoredMessage>>, StoreError>;
    /// The position of the last message of all mailboxes.
    fn last_position(&self) -> i64;
}

/// The rules, applied to the tables of an open transaction.
#[derive(Debug)]
pub(super) struct Rules<'a, T> {
    pub(super) tables: T,
    pub(super) activity: &'a mut Activity,
    pub(super) limits: StoreLimits,
    /// Removed nameplates and mailboxes, for the statistics.
    pub(super) removed: &'a mut Vec<Usage>,
}

impl<T: Tables> Rules<'_, T> {
    /// Executes requests in order until the answers have [`MAX_ANSWER_BYTES`], and returns one outcome for each
    /// executed request. A refusal is an outcome, too.
    pub(super) fn execute_all<C>(
        &mut self,
        commands: impl Iterator<Item = C>,
        mut execute: impl FnMut(&mut Self, C) -> Result<Outcome, StoreError>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let (mut outcomes, mut bytes) = (Vec::new(), 0);
        for command in commands {
            let outcome = match execute(self, command) {
                Err(StoreError::Refused(refusal)) => Outcome::refused(refusal),
                result => result?,
            };
            bytes += outcome.bytes();
            outcomes.push(outcome);
            if bytes >= MAX_ANSWER_BYTES {
                break;
            }
        }
        Ok(outcomes)
    }

    /// Executes one request.
    pub(super) fn execute(
        &mut self,
        by: Caller<'_>,
        request: &mut Request,
    ) -> Result<Outcome, StoreError> {
        Ok(Outcome::Answer(match request {
            Request::Add { mailbox, message } => {
                return self.add(by, mailbox, std::mem::take(message));
            }
            Request::Allocate => Answer::Allocated(self.allocate(by)?),
            Request::Bind(..) => Answer::Bound,
            Request::Claim(nameplate) => Answer::Claimed(self.claim(by, nameplate)?),
            Request::Close { mailbox, mood } => {
                self.close(by, mailbox, mood.take())?;
                Answer::Closed
            }
            Request::List if self.limits.hide_nameplates => Answer::Nameplates(Vec::new()),
            Request::List => Answer::Nameplates(self.tables.list(&by.client.app)?),
            Request::Open(mailbox) => return self.open(by, mailbox),
            Request::Release(nameplate) => {
                self.release(by, nameplate)?;
                Answer::Released
            }
        }))
    }

    /// Picks a free nameplate, as short as possible, and claims it.
    fn allocate(&mut self, by: Caller<'_>) -> Result<String, StoreError> {
        let name = self.tables.pick_nameplate(&by.client.app)?;
        self.create_nameplate(by, &name)?;
        Ok(name)
    }

    /// Claims a nameplate and joins its mailbox; creates both if needed. Returns the mailbox's id.
    fn claim(&mut self, by: Caller<'_>, name: &str) -> Result<String, StoreError> {
        let (client, now) = (by.client, by.now.wall);
        let Some(mut nameplate) = self.tables.nameplate(&client.app, name)? else {
            return self.create_nameplate(by, name);
        };
        let mut mailbox = self
            .tables
            .mailbox(&client.app, &nameplate.mailbox)?
            .unwrap_or_else(|| Mailbox::new(&client.app, &nameplate.mailbox, Some(name)));
        if nameplate.sides.find(&client.side).is_some_and(|side| !side.active) {
            return Err(Refusal::Reclaimed.into());
        }
        let (Ok(claimed), Ok(joined)) =
            (nameplate.sides.join(&client.side, now), mailbox.sides.join(&client.side, now))
        else {
            self.tables.mark_nameplate_crowded(&client.app, name, &nameplate)?;
            self.tables.mark_mailbox_crowded(&mailbox)?;
            return Err(Refusal::Crowded.into());
        };
        self.enter(&mut mailbox, joined, by)?;
        if claimed == Joined::Now {
            self.tables.save_nameplate(&client.app, name, &nameplate)?;
        }
        Ok(nameplate.mailbox)
    }

    /// Releases a nameplate. An unknown nameplate counts as released.
    fn release(&mut self, by: Caller<'_>, name: &str) -> Result<(), StoreError> {
        let client = by.client;
        let Some(mut nameplate) = self.tables.nameplate(&client.app, name)? else {
            return Ok(());
        };
        if !nameplate.sides.leave(&client.side, None) {
            return Ok(());
        }
        if nameplate.sides.any_active() {
            return self.tables.save_nameplate(&client.app, name, &nameplate);
        }
        self.remove_nameplate(&client.app, name, &nameplate, by.now, Removal::Closed)
    }

    /// Joins a mailbox, creates it if needed, and returns its messages.
    fn open(&mut self, by: Caller<'_>, id: &str) -> Result<Outcome, StoreError> {
        let client = by.client;
        let mut mailbox = self
            .tables
            .mailbox(&client.app, id)?
            .unwrap_or_else(|| Mailbox::new(&client.app, id, None));
        let Ok(joined) = mailbox.sides.join(&client.side, by.now.wall) else {
            self.tables.mark_mailbox_crowded(&mailbox)?;
            return Err(Refusal::Crowded.into());
        };
        self.enter(&mut mailbox, joined, by)?;
        let messages =
            if mailbox.messages == 0 { Vec::new() } else { self.tables.replay(&mailbox)? };
        Ok(Outcome::Opened { position: self.tables.last_position(), messages })
    }

    /// Adds a message to a mailbox that its side has joined.
    fn add(
        &mut self,
        by: Caller<'_>,
        id: &str,
        message: NewMessage,
    ) -> Result<Outcome, StoreError> {
        let client = by.client;
        let mut mailbox = self.tables.mailbox(&client.app, id)?.ok_or(Refusal::NotOpen)?;
        mailbox.sides.find(&client.side).ok_or(Refusal::NotOpen)?;
        let stored = StoredMessage::new(client.side.clone(), message, by.now.wall);
        self.activity.check_quota(by.address, size_of_message(&stored), self.limits.quota)?;
        let before = mailbox.size();
        mailbox.count(&stored, self.limits)?;
        let message = Arc::new(stored);
        mailbox.updated = self.tables.use_time(by.now);
        let position = self.tables.append(&mailbox, &message)?;
        if let Some(key) = mailbox.key {
            self.activity.record_use(key, before, by.address, by.now);
            self.activity.charge(key, mailbox.size() - before, by.address, by.now);
        }
        Ok(Outcome::Added { position, message })
    }

    /// Leaves a mailbox. The last side to leave removes the mailbox and its nameplate.
    ///
    /// A side that never joined joins first. So a client that does not know whether its `close` has arrived can repeat
    /// it.
    fn close(&mut self, by: Caller<'_>, id: &str, mood: Option<String>) -> Result<(), StoreError> {
        let client = by.client;
        let mut mailbox = self
            .tables
            .mailbox(&client.app, id)?
            .unwrap_or_else(|| Mailbox::new(&client.app, id, None));
        if mailbox.sides.join(&client.side, by.now.wall).is_err() {
            self.tables.mark_mailbox_crowded(&mailbox)?;
            return Err(Refusal::Crowded.into());
        }
        mailbox.sides.leave(&client.side, mood);
        if mailbox.sides.any_active() {
            return self.tables.save_mailbox(&mut mailbox);
        }
        if let Some(name) = mailbox.nameplate.clone() {
            // As in the reference, a nameplate that its claimants never released is not in the statistics.
            self.tables.delete_nameplate(&client.app, &name, &mailbox.id)?;
        }
        self.remove_mailbox(&mailbox, by.now, Removal::Closed)
    }

    /// Removes a mailbox that nobody has used for a long time, and its nameplate.
    pub(super) fn prune(&mut self, mailbox: &Mailbox, now: Now) -> Result<(), StoreError> {
        if let Some(name) = &mailbox.nameplate
            && let Some(nameplate) = self.tables.nameplate(&mailbox.app, name)?
            && nameplate.mailbox == mailbox.id
        {
            self.remove_nameplate(&mailbox.app, name, &nameplate, now, Removal::Pruned)?;
        }
        self.remove_mailbox(mailbox, now, Removal::Pruned)
    }

    /// Writes that a side has joined a mailbox, or joined it again.
    fn enter(
        &mut self,
        mailbox: &mut Mailbox,
        joined: Joined,
        by: Caller<'_>,
    ) -> Result<(), StoreError> {
        let known = mailbox.key;
        if known.is_none() {
            self.activity.check_quota(by.address, MAILBOX_ROW, self.limits.quota)?;
        }
        // Joining again changes only the time of last use, which need not be exact.
        if joined == Joined::Now || known.is_none() || self.tables.needs_touch(mailbox, by.now) {
            mailbox.updated = self.tables.use_time(by.now);
            self.tables.save_mailbox(mailbox)?;
        }
        match (known, mailbox.key) {
            (Some(key), _) => self.activity.record_use(key, mailbox.size(), by.address, by.now),
            (None, Some(key)) => self.activity.charge(key, MAILBOX_ROW, by.address, by.now),
            (None, None) => {}
        }
        Ok(())
    }

    fn create_nameplate(&mut self, by: Caller<'_>, name: &str) -> Result<String, StoreError> {
        let (client, now) = (by.client, by.now.wall);
        let mut mailbox = Mailbox::new(&client.app, &random_mailbox_id(), Some(name));
        let mut nameplate = Nameplate::new(&mailbox.id);
        // Both are new, so another side can join.
        let _ = (mailbox.sides.join(&client.side, now), nameplate.sides.join(&client.side, now));
        self.enter(&mut mailbox, Joined::Now, by)?;
        self.tables.save_nameplate(&client.app, name, &nameplate)?;
        Ok(nameplate.mailbox)
    }

    fn remove_nameplate(
        &mut self,
        app: &str,
        name: &str,
        nameplate: &Nameplate,
        now: Now,
        how: Removal,
    ) -> Result<(), StoreError> {
        self.tables.delete_nameplate(app, name, &nameplate.mailbox)?;
        self.removed.push(Usage::nameplate(app, &nameplate.history(), now.wall, how));
        Ok(())
    }

    fn remove_mailbox(
        &mut self,
        mailbox: &Mailbox,
        now: Now,
        how: Removal,
    ) -> Result<(), StoreError> {
        self.tables.delete_mailbox(mailbox)?;
        if let Some(key) = mailbox.key {
            self.activity.remove(key, mailbox.size());
        }
        let (app, for_nameplate) = (&mailbox.app, mailbox.nameplate.is_some());
        self.removed.push(Usage::mailbox(app, for_nameplate, &mailbox.history(), now.wall, how));
        Ok(())
    }
}

/// A random id that cannot be guessed: 13 letters and digits.
fn random_mailbox_id() -> String {
    let mut bytes = [0; 8];
    OsRng.fill_bytes(&mut bytes);
    let mut id = data_encoding::BASE32_NOPAD.encode(&bytes);
    id.make_ascii_lowercase();
    id
}
