//! Changes of a group that a member has announced, and that the log does not show: the server withholds them, other entries have
//! displaced them, or the announcement is wrong.
//!
//! Without such a change we may still write to people who were removed. So messages wait until the log was read again. If it still
//! does not show the change, the user is notified, and the log is read some more times. How long messages continue to wait depends on
//! the member who has announced the change:
//!
//! | member | messages wait |
//! |---|---|
//! | an administrator | until the log shows the change |
//! | another device of ours | until the log was read [`MAX_TRIES`] more times: the device may have been removed, and invent changes |
//! | another member | until the log was read once more: otherwise any member could stop all messages |

use super::super::store::Changes;
use super::waiting::later;
use super::{Client, Group, GroupEvent};
use crate::address::AccountId;
use crate::group::{GroupId, GroupState};
use crate::time::Timestamp;

/// A change that the log has not shown yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct MissingChange {
    /// The account that has named it.
    pub(super) by: AccountId,
    /// The place of the change in the log, at least.
    pub(super) revision: u64,
    /// Whether the user was notified since this program was started.
    is_reported: bool,
    /// How often the log was read again, since this program was started.
    tries: u32,
    /// When to read it again. `None`: not before the next connection.
    due: Option<Timestamp>,
}

impl MissingChange {
    pub(super) const fn new(by: AccountId, revision: u64) -> Self {
        Self { by, revision, is_reported: false, tries: 0, due: None }
    }

    /// When to read the log again.
    pub(super) const fn due(self) -> Option<Timestamp> {
        self.due
    }
}

/// Whether messages wait for what an account says about the log.
fn is_trusted(state: &GroupState, account: AccountId, us: AccountId) -> bool {
    account == us || state.is_admin(account)
}

/// Whether a claim about the end of a log is believed: a few changes may be missing.
pub(super) const fn is_possible(state: &GroupState, revision: u64) -> bool {
    revision <= state.revision.saturating_add(MAX_AHEAD)
}

impl Group {
    /// Adds a change that a member has announced. Returns false if it is known or read already.
    pub(super) fn add_missing(&mut self, by: AccountId, revision: u64, us: AccountId) -> bool {
        let Some(state) = self.state().filter(|state| state.members.contains_key(&by)) else {
            return false;
        };
        let trust = |account: AccountId| is_trusted(state, account, us);
        let is_covered = self.missing.is_some_and(|known| match (trust(known.by), trust(by)) {
            (true, false) => true,
            (false, true) => false,
            (true, true) | (false, false) => known.revision >= revision,
        });
        if revision <= state.revision || !is_possible(state, revision) || is_covered {
            return false;
        }
        self.missing = Some(MissingChange::new(by, revision));
        true
    }

    /// Whether the log does not show an announced change, so that messages to the group must wait.
    pub(super) fn is_behind(&self, us: AccountId) -> bool {
        let Some((missing, state)) = self.missing.zip(self.state()) else { return false };
        self.reading.is_needed() || is_trusted(state, missing.by, us)
    }

    /// The log was read to its end, or the server knows none of our keys. Returns the account whose change is missing, if the user does
    /// not know that yet, and whether messages wait.
    fn check_missing(&mut self, now: Timestamp, us: AccountId) -> Option<(AccountId, bool)> {
        let (mut missing, state) = self.missing.zip(self.state())?;
        // A former or unsigned device of our account may have invented it.
        let is_given_up = missing.by == us && missing.tries >= MAX_TRIES;
        let is_possible = is_possible(state, missing.revision);
        let is_member = state.members.contains_key(&missing.by);
        if state.revision >= missing.revision || is_given_up || !is_possible || !is_member {
            self.missing = None;
            return None;
        }
        let waits = is_trusted(state, missing.by, us);
        let pause = Client::pause(missing.tries.saturating_add(FIRST_PAUSE));
        missing.due = (missing.tries < MAX_TRIES).then(|| later(now, pause));
        // The message with the next keys may be on its way.
        let is_early = self.reading.is_locked_out() && missing.tries < MIN_TRIES;
        let is_new = !is_early && !missing.is_reported;
        missing.is_reported |= is_new;
        self.missing = Some(missing);
        is_new.then_some((missing.by, waits))
    }
}

impl Client {
    /// Whether messages to a group wait, because the server does not show a change that an administrator has made.
    pub fn is_group_behind(&self, id: GroupId) -> bool {
        self.groups.groups.get(&id).is_some_and(|group| group.is_behind(self.us.account))
    }

    /// When the log of some group must be read again.
    pub(in super::super) fn missing_deadline(&self) -> Option<Timestamp> {
        self.groups.groups.values().filter_map(Group::read_deadline).min()
    }

    /// The time to read some logs again may have come.
    pub(in super::super) fn read_missing(&mut self, now: Timestamp) {
        // A time far in the future comes from a clock that was wrong.
        let is_due =
            |due: &mut Timestamp| *due <= now || *due > later(now, super::super::MAX_PAUSE);
        for (id, group) in &mut self.groups.groups {
            let mut must_read = group.outsiders.due.take_if(is_due).is_some();
            if let Some(missing) = &mut group.missing
                && missing.due.take_if(is_due).is_some()
            {
                missing.tries = missing.tries.saturating_add(1);
                must_read = true;
            }
            if must_read {
                group.reading.restart();
                self.groups.dirty.insert(*id);
            }
        }
    }

    /// The log was read to its end: says which change is still missing.
    pub(super) fn report_missing(&mut self, now: Timestamp, id: GroupId) {
        let us = self.us.account;
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let was_missing = group.missing.is_some();
        let report = group.check_missing(now, us);
        if was_missing && group.missing.is_none() {
            let mut changes = Changes::default();
            self.put_group(id, &mut changes);
            self.commit(changes, Vec::new());
        }
        if let Some((by, is_waiting)) = report {
            self.group_event(id, GroupEvent::ChangeMissing { by, is_waiting });
        }
    }
}

/// The first pause is that of so many attempts: 8 seconds.
const FIRST_PAUSE: u32 = 2;

/// How often the log is read again before the user learns that the server knows none of our keys.
const MIN_TRIES: u32 = 3;

/// Maximum number of changes that may be missing in a row. Claims of more are ignored.
const MAX_AHEAD: u64 = 1000;

/// How often the log is read again because of one missing change, apart from new connections.
const MAX_TRIES: u32 = 10;
