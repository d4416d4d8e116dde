//! Nameplates and mailboxes as both back ends store them. Each has at most two sides, which are part of the record.
//!
//! This module does not access a database.

use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{NewMessage, Refusal, StoredMessage};

use super::StoreLimits;
use crate::mailbox::usage::SideHistory;

/// One side of a nameplate or mailbox.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side {
    /// The name that the client has chosen for itself.
    pub(super) name: String,
    /// When it joined, in seconds since 1970.
    pub(super) added: f64,
    /// Whether it still claims the nameplate or has the mailbox open.
    pub(super) active: bool,
    /// The mood with which it closed the mailbox.
    pub(super) mood: Option<String>,
}

/// The two sides. A third side is always rejected, and its attempts do not affect the first two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sides(pub(super) [Option<Side>; 2]);

/// Whether a side has joined before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Joined {
    /// It had joined before.
    Before,
    /// It has joined just now.
    Now,
}

/// Two other sides have joined already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Crowded;

impl Sides {
    /// Finds a side by its name.
    pub(super) fn find(&self, name: &str) -> Option<&Side> {
        self.0.iter().flatten().find(|side| side.name == name)
    }

    /// Adds a side, unless it has joined already.
    pub(super) fn join(&mut self, name: &str, now: UnixTime) -> Result<Joined, Crowded> {
        if self.find(name).is_some() {
            return Ok(Joined::Before);
        }
        let free = self.0.iter_mut().find(|side| side.is_none()).ok_or(Crowded)?;
        *free =
            Some(Side { name: name.into(), added: now.as_secs_f64(), active: true, mood: None });
        Ok(Joined::Now)
    }

    /// Marks a side as inactive; returns false if it never joined.
    pub(super) fn leave(&mut self, name: &str, mood: Option<String>) -> bool {
        let Some(side) = self.0.iter_mut().flatten().find(|side| side.name == name) else {
            return false;
        };
        side.active = false;
        side.mood = mood;
        true
    }

    /// Whether any side is still active.
    pub(super) fn any_active(&self) -> bool {
        self.0.iter().flatten().any(|side| side.active)
    }

    /// The side that joined first.
    pub(super) const fn first(&self) -> Option<&Side> {
        let [first, _] = &self.0;
        first.as_ref()
    }

    /// The side that joined second.
    pub(super) const fn second(&self) -> Option<&Side> {
        let [_, second] = &self.0;
        second.as_ref()
    }

    fn history(&self, crowded: bool) -> SideHistory {
        let mut history = SideHistory { crowded, ..SideHistory::default() };
        for side in self.0.iter().flatten() {
            history.added.push(side.added);
            history.moods.extend(side.mood.clone());
        }
        history
    }
}

/// A nameplate in use. Its application and name are its key.
#[derive(Clone, Debug)]
pub(super) struct Nameplate {
    /// Id of its mailbox.
    pub(super) mailbox: String,
    /// The sides that claimed it.
    pub(super) sides: Sides,
    /// Whether a third side was refused. Only the statistics need this.
    pub(super) crowded: bool,
}

impl Nameplate {
    /// A nameplate without sides.
    pub(super) fn new(mailbox: &str) -> Self {
        Self { mailbox: mailbox.into(), sides: Sides::default(), crowded: false }
    }

    /// The data for the statistics.
    pub(super) fn history(&self) -> SideHistory {
        self.sides.history(self.crowded)
    }
}

/// A mailbox.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    /// Its number in the database; `None` if it has not been written yet.
    pub(super) key: Option<i64>,
    /// Its application.
    pub(super) app: String,
    /// Its name within the application.
    pub(super) id: String,
    /// The nameplate for which it was created.
    pub(super) nameplate: Option<String>,
    /// The sides that have opened it.
    pub(super) sides: Sides,
    /// Number of messages.
    pub(super) messages: i64,
    /// Bytes of all messages.
    pub(super) bytes: i64,
    /// When it was last used, in seconds of the back end's own clock.
    pub(super) updated: f64,
    /// Position of the last message, if the back end records it.
    pub(super) last_message: i64,
    /// Whether a third side was refused. Only the statistics need this.
    pub(super) crowded: bool,
}

impl Mailbox {
    /// An empty mailbox that has not been written yet.
    pub(super) fn new(app: &str, id: &str, nameplate: Option<&str>) -> Self {
        Self {
            key: None,
            app: app.into(),
            id: id.into(),
            nameplate: nameplate.map(Into::into),
            sides: Sides::default(),
            messages: 0,
            bytes: 0,
            updated: 0.0,
            last_message: 0,
            crowded: false,
        }
    }

    /// Approximate size in the database, in bytes, including its messages.
    pub(super) const fn size(&self) -> u64 {
        size_of_mailboxes(1, self.messages, self.bytes)
    }

    /// Counts one more message.
    ///
    /// # Errors
    /// The mailbox would exceed a limit.
    pub(super) fn count(
        &mut self,
        stored: &StoredMessage,
        limits: StoreLimits,
    ) -> Result<(), Refusal> {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(content_bytes(stored));
        let over = |count: i64, limit: u64| limit > 0 && count.unsigned_abs() > limit;
        if over(self.messages, limits.messages) || over(self.bytes, limits.bytes) {
            return Err(Refusal::MailboxFull);
        }
        Ok(())
    }

    /// Whether it is so large that its readers should share the memory of their replays.
    pub(super) const fn is_long(&self) -> bool {
        self.bytes >= LONG
    }

    /// The data for the statistics.
    pub(super) fn history(&self) -> SideHistory {
        self.sides.history(self.crowded)
    }
}

/// Size of a message's fields, in bytes.
fn content_bytes(stored: &StoredMessage) -> i64 {
    let NewMessage { phase, body, id, .. } = &stored.message;
    let bytes = stored.side.len() + phase.len() + body.len() + id.len();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Approximate size of a message in the database, in bytes.
pub(super) fn size_of_message(stored: &StoredMessage) -> u64 {
    MESSAGE_ROW + content_bytes(stored).unsigned_abs()
}

/// Approximate size in the database, in bytes, of this number of mailboxes with this number of messages. `bytes` is the
/// total size of the messages' fields.
pub(super) const fn size_of_mailboxes(mailboxes: i64, messages: i64, bytes: i64) -> u64 {
    let rows = mailboxes.unsigned_abs() * MAILBOX_ROW + messages.unsigned_abs() * MESSAGE_ROW;
    rows.saturating_add(bytes.unsigned_abs())
}

/// Size of an empty mailbox in bytes, including its nameplate and the indices.
pub(super) const MAILBOX_ROW: u64 = 1 << 10;

/// Size of a message in bytes, in addition to its fields.
const MESSAGE_ROW: u64 = 64;

/// Size in bytes at which a mailbox counts as long.
const LONG: i64 = 64 << 10;
