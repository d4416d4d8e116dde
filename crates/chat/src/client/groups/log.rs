//! Reads the log of a group, and adds entries to it.
//!
//! | the log | next |
//! |---|---|
//! | was not read since the connection, or somebody names a later entry | `Request::GroupEntries` |
//! | entries arrive | each is checked; the valid ones are committed, with what follows from them |
//! | was read, and a change is wanted | `Commit` (the entry, and the new secret), then `Request::AppendGroupEntry` |
//! | the server has our entry | the same as if we had read it |
//! | another entry was faster | it is read, and the change is made again, if it still makes sense |
//! | the server knows no such access key | the next secret that we have, then nothing until somebody sends one |

use rand_core::CryptoRngCore;

use super::super::exchange::{Request, Response};
use super::super::pending::Purpose;
use super::super::store::{Changes, StoreKey};
use super::{Client, Group, GroupEvent, GroupFailure, Known, Membership};
use crate::group::{
    Author, EntryHash, GroupAccess, GroupChange, GroupId, GroupSecret, GroupView, Rebased,
};
use crate::time::Timestamp;

/// How far we have read the log since the connection.
#[derive(Debug)]
pub(super) struct Reading {
    /// Whether the log must be read.
    needed: bool,
    /// Which of the secrets is tried.
    secret: usize,
    /// The next entry, if entries were read that do not count.
    from: Option<u64>,
    /// The last entry of the log, valid or not.
    latest: u64,
    /// Whether the pending request adds an entry.
    appends: bool,
    /// Whether the server knows none of our secrets.
    is_locked_out: bool,
}

impl Reading {
    pub(super) const fn new() -> Self {
        Self {
            needed: true,
            secret: 0,
            from: None,
            latest: 0,
            appends: false,
            is_locked_out: false,
        }
    }

    /// Reads again, with every secret.
    pub(super) fn restart(&mut self) {
        *self = Self::new();
    }
}

impl Group {
    /// The secrets that may open the next entry, and which the server may require: the current one first.
    pub(super) fn secrets(&self) -> Vec<GroupSecret> {
        let current = match &self.known {
            Known::Secret(secret, ..) => secret,
            Known::View(view) => view.secret(),
        };
        let drafted = self.draft.iter().filter_map(|draft| draft.secret.as_ref());
        // The server requires the newest.
        let sent = self.candidates.iter().rev().map(|(_, secret)| secret);
        std::iter::once(current).chain(drafted).chain(sent).cloned().collect()
    }

    /// Whether the server may not have the first entry yet.
    fn is_being_created(&self) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.revision == 0)
    }

    /// The first entry that we have not read.
    fn next_revision(&self) -> u64 {
        let known = match &self.known {
            // A link says nothing about the log: the answer to this names its last entry.
            Known::Secret(_, None, _) => LAST,
            Known::Secret(_, Some(announced), _) => announced.revision,
            Known::View(view) => view.state().revision.saturating_add(1),
        };
        self.reading.from.unwrap_or(known)
    }
}

impl Client {
    /// Continues with the log of a group.
    pub(super) fn advance_group_log(&mut self, id: GroupId, rng: &mut impl CryptoRngCore) {
        if self.pending.has(Purpose::GroupLog(id)) {
            return;
        }
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        if group.reading.needed && !group.is_being_created() {
            let Some(secret) = group.secrets().into_iter().nth(group.reading.secret) else {
                return self.locked_out(id);
            };
            let (access, from) = (secret.access(id), group.next_revision());
            group.reading.appends = false;
            let request = Request::GroupEntries { group: id, access, from };
            let request = self.request(Purpose::GroupLog(id), request);
            return self.after_commits(vec![request]);
        }
        if !group.reading.is_locked_out {
            self.append(id, rng);
        }
    }

    /// Adds the next entry that we want to the log.
    fn append(&mut self, id: GroupId, rng: &mut impl CryptoRngCore) {
        let mut changes = Changes::default();
        if !self.make_draft(id, rng) {
            return;
        }
        self.put_group(id, &mut changes);
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let Some((draft, view)) = group.draft.clone().zip(group.view()) else {
            // The changes that were dropped.
            let events = self.take_group_events();
            self.commit(changes, events);
            return self.after_dropping(id);
        };
        let request = Request::AppendGroupEntry {
            group: id,
            revision: draft.revision,
            access: view.secret().access(id),
            next: next_access(id, view, &draft),
            entry: draft.entry.into(),
        };
        group.reading.appends = true;
        let request = self.request(Purpose::GroupLog(id), request);
        let mut then = self.take_group_events();
        then.push(request);
        self.commit(changes, then);
    }

    fn after_dropping(&mut self, id: GroupId) {
        let has_more = self.groups.groups.get(&id).is_some_and(|group| !group.wanted.is_empty());
        if has_more {
            self.groups.dirty.insert(id);
        }
    }

    /// Prepares the entry for the first change that is still possible. Whether anything has to be stored.
    fn make_draft(&mut self, id: GroupId, rng: &mut impl CryptoRngCore) -> bool {
        let author = (self.us.account, &self.identity.pair);
        let us = Author { account: author.0, identity: *author.1.public() };
        let mut failed = Vec::new();
        let Some(group) = self.groups.groups.get_mut(&id) else { return false };
        if group.draft.is_some() {
            return true;
        }
        let mut has_changed = false;
        let Known::View(view) = &group.known else { return false };
        while let Some((basis, change)) = group.wanted.front() {
            has_changed = true;
            let failure = match view.state().rebase(*basis, us, change) {
                Rebased::Again(change) => {
                    match view.draft(group.reading.latest, author, &change, rng) {
                        Ok(draft) => {
                            group.draft = Some(draft);
                            break;
                        }
                        Err(_) => Some(GroupFailure::Refused),
                    }
                }
                Rebased::Done => None,
                Rebased::Impossible(why) => Some(GroupFailure::NotPermitted(why)),
            };
            let dropped = group.wanted.pop_front();
            failed.extend(dropped.map(|(_, change)| change).zip(failure));
        }
        for (change, why) in failed {
            self.group_event(id, GroupEvent::ChangeFailed(change, why));
        }
        has_changed
    }

    /// The server knows none of our secrets: we were removed, or the message with the next secret has not arrived yet.
    fn locked_out(&mut self, id: GroupId) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        group.reading.needed = false;
        group.reading.is_locked_out = true;
        let us = self.us.account;
        let had_left = !group.is_removed && group.membership(us) == Membership::Outside;
        group.is_removed |= group.view().is_none();
        if matches!(group.known, Known::Secret(_, Some(_), _)) && group.wanted.is_empty() {
            // There is no such group: anybody can announce one.
            self.groups.groups.remove(&id);
            let mut changes = Changes::default();
            changes.delete(StoreKey::Group(id));
            return self.commit(changes, Vec::new());
        }
        let mut wanted = Vec::new();
        // Otherwise the message with the next secret has not arrived yet.
        if group.is_removed {
            wanted.extend(group.wanted.drain(..).map(|(_, change)| change));
            group.draft = None;
        }
        let mut changes = Changes::default();
        self.put_group(id, &mut changes);
        for change in wanted {
            let failed = GroupEvent::ChangeFailed(change, GroupFailure::Unknown);
            self.group_event(id, failed);
        }
        let was_removed = self.groups.groups.get(&id).is_some_and(|group| group.is_removed);
        if was_removed && !had_left {
            self.group_event(id, GroupEvent::Removed);
            self.delete_group_keys(id, &mut changes);
        }
        let events = self.take_group_events();
        self.commit(changes, events);
    }

    /// Handles the response to a request for the log of a group.
    pub(in super::super) fn handle_group_response(
        &mut self,
        now: Timestamp,
        id: GroupId,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        self.groups.dirty.insert(id);
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let appends = group.reading.appends;
        match response {
            Response::GroupEntries { entries, latest } => {
                self.read_entries(now, id, &entries, latest, rng);
            }
            Response::Done if appends => self.appended(now, id, rng),
            Response::GroupConflict { latest } if appends => {
                group.reading.latest = group.reading.latest.max(latest);
                group.reading.needed = true;
                if group.is_being_created() {
                    self.refuse_change(id);
                }
            }
            // Our entry may have replaced the access key already, or somebody else's has.
            Response::NotFound if appends && group.is_being_created() => self.refuse_change(id),
            Response::NotFound if appends => group.reading.restart(),
            Response::NotFound => group.reading.secret += 1,
            Response::Refused if appends => self.refuse_change(id),
            Response::Refused => self.locked_out(id),
            Response::Bundles(_)
            | Response::Certificate(_)
            | Response::Done
            | Response::GroupConflict { .. }
            | Response::GroupMismatched(_)
            | Response::GroupSent { .. }
            | Response::Mismatched { .. }
            | Response::IntraApp
            | Response::Sent { .. }
            | Response::Stale(_)
            | Response::Unavailable => {
                self.groups.dirty.remove(&id);
            }
        }
    }

    /// The server will never accept our entry.
    fn refuse_change(&mut self, id: GroupId) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let is_new = group.draft.take().is_some_and(|draft| draft.revision == 0);
        let failed = group.wanted.pop_front();
        group.is_removed |= is_new;
        let mut changes = Changes::default();
        self.put_group(id, &mut changes);
        if let Some((_, change)) = failed {
            self.group_event(id, GroupEvent::ChangeFailed(change, GroupFailure::Refused));
        }
        let events = self.take_group_events();
        self.commit(changes, events);
    }

    /// The server has our entry.
    fn appended(&mut self, now: Timestamp, id: GroupId, rng: &mut impl CryptoRngCore) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let Some(draft) = group.draft.clone() else { return };
        group.reading.latest = group.reading.latest.max(draft.revision);
        if draft.revision > 0 {
            let entry = (draft.revision, draft.entry);
            let latest = group.reading.latest;
            return self.read_entries(now, id, &[entry], latest, rng);
        }
        group.draft = None;
        let mut changes = Changes::default();
        if let Some((_, change)) = group.wanted.pop_front() {
            group.reading.needed = false;
            self.after_own_change(now, id, &change, None, &mut changes);
            self.group_event(id, GroupEvent::Changed(self.us.account, change));
        }
        self.put_group(id, &mut changes);
        let events = self.take_group_events();
        self.commit(changes, events);
    }

    /// Reads entries of the log.
    fn read_entries(
        &mut self,
        now: Timestamp,
        id: GroupId,
        entries: &[(u64, Vec<u8>)],
        latest: u64,
        rng: &mut impl CryptoRngCore,
    ) {
        let mut changes = Changes::default();
        for (revision, entry) in entries {
            self.read_entry(now, id, (*revision, entry), &mut changes, rng);
        }
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let reading = &mut group.reading;
        reading.latest = reading.latest.max(latest);
        let last = entries.last().map(|(revision, _)| *revision);
        reading.from = last.map(|last| last.saturating_add(1));
        if last.is_none() && group.next_revision() == LAST {
            // A link: the last entry is the first that we read.
            group.reading.from = Some(latest);
        } else if last.is_none_or(|last| last >= latest) {
            // Whoever has announced more did not tell the truth.
            group.announced = group.announced.min(latest);
            self.read_all(id, &mut changes);
        }
        self.put_group(id, &mut changes);
        let events = self.take_group_events();
        self.commit(changes, events);
    }

    fn read_entry(
        &mut self,
        now: Timestamp,
        id: GroupId,
        entry: (u64, &[u8]),
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) {
        let (revision, bytes) = entry;
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let secrets = group.secrets();
        match &mut group.known {
            Known::Secret(secret, announced, _) => {
                let begun =
                    GroupView::begin(id, secret.clone(), announced.as_ref(), revision, bytes);
                // An entry that is not valid does not count.
                let Ok(view) = begun else { return };
                let password = match &mut group.known {
                    Known::Secret(_, _, password) => password.take(),
                    Known::View(_) => None,
                };
                let basis = view.state().basis();
                group.known = Known::View(Box::new(view));
                if let Some(password) = password {
                    let join = GroupChange::Join { password, app: None, access_key: None };
                    group.wanted.push_back((basis, join));
                }
            }
            Known::View(view) => {
                let before = view.state().clone();
                let Ok(applied) = view.read(revision, bytes, &secrets) else { return };
                let is_ours = group
                    .draft
                    .as_ref()
                    .is_some_and(|draft| EntryHash::of(&draft.entry) == EntryHash::of(bytes));
                if is_ours {
                    group.draft = None;
                    group.wanted.pop_front();
                }
                group.is_removed = false;
                self.after_change(now, id, &before, &applied, is_ours, changes, rng);
            }
        }
    }

    /// The log was read to its end.
    fn read_all(&mut self, id: GroupId, changes: &mut Changes) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let reading = &mut group.reading;
        (reading.needed, reading.from, reading.secret) = (false, None, 0);
        reading.is_locked_out = false;
        let latest = reading.latest;
        // Another entry has the place of ours.
        if group.draft.as_ref().is_some_and(|draft| draft.revision <= latest) {
            group.draft = None;
        }
        group.is_removed = group.view().is_none();
        if group.is_removed {
            // Nothing in the log is what was announced.
            self.group_event(id, GroupEvent::Removed);
            return;
        }
        self.answer_invitation(id);
        self.retry_early(id, changes);
    }
}

/// What the server needs to replace the access key of a group.
fn next_access(id: GroupId, view: &GroupView, draft: &crate::group::Draft) -> Option<[u8; 32]> {
    let first = (draft.revision == 0).then(|| view.secret());
    draft.secret.as_ref().or(first).map(|secret| secret.access(id)).as_ref().map(GroupAccess::hash)
}

/// A revision that no log reaches.
const LAST: u64 = 0xffff_ffff;
