//! Reads the log of a group, and adds entries to it.
//!
//! | the log | next |
//! |---|---|
//! | was not read since the connection, or somebody names a later entry | `Request::GroupEntries` |
//! | entries arrive | each is checked; the valid ones are committed, with what follows from them |
//! | was read, and a change is wanted | `Commit` (the entry, and the new secret), then `Request::AppendGroupEntry` |
//! | the server has our entry | the same as if we had read it |
//! | another entry was faster | it is read, and the change is made again, if it still makes sense |
//! | the server knows no such access key | the next one that we have, then nothing until somebody sends keys |
//! | a change needs keys that we do not have | nothing until somebody sends them |

use rand_core::CryptoRngCore;

use super::super::exchange::{Request, Response};
use super::super::pending::Purpose;
use super::super::store::{Changes, StoreKey};
use super::removal::Removal;
use super::wanted::WantedChange;
use super::{Client, Group, GroupEvent, GroupFailure, Known, Membership};
use crate::group::{
    Author, EntryHash, EpochKeys, GroupAccess, GroupChange, GroupId, GroupView, Rebased,
};
use crate::time::Timestamp;

/// How far we have read the log since the connection.
#[derive(Debug)]
pub(super) struct Reading {
    /// Whether the log must be read.
    needed: bool,
    /// The index of the tried key.
    access: usize,
    /// The next entry, if entries were read that do not count.
    from: Option<u64>,
    /// The last entry of the log, valid or not.
    latest: u64,
    /// Whether the pending request adds an entry.
    appends: bool,
    /// Whether the server knows none of our keys.
    is_locked_out: bool,
    /// How often the server has not accepted our entry because of its key, although we have read the whole log.
    rejected: u8,
}

impl Reading {
    pub(super) const fn new() -> Self {
        Self {
            needed: true,
            access: 0,
            from: None,
            latest: 0,
            appends: false,
            is_locked_out: false,
            rejected: 0,
        }
    }

    /// Whether the log was not read to its end yet.
    pub(super) const fn is_needed(&self) -> bool {
        self.needed
    }

    /// Whether the server knows none of our keys.
    pub(super) const fn is_locked_out(&self) -> bool {
        self.is_locked_out
    }

    /// Reads again, with every key. The answer to a pending request still counts.
    pub(super) fn restart(&mut self) {
        *self = Self { appends: self.appends, ..Self::new() };
    }

    /// Our entry was not accepted: the server may require other keys by now. If it does not, an administrator has not told the truth
    /// about them, and nothing helps but other keys.
    fn reject(&mut self) {
        let rejected = self.rejected.saturating_add(1);
        *self = Self { rejected, ..Self::new() };
    }
}

impl Group {
    /// The keys that may open the next entry, if it starts an epoch.
    fn candidates(&self) -> Vec<EpochKeys> {
        let drafted = self.draft.iter().filter_map(|draft| draft.keys.as_ref());
        // The server requires the newest.
        let sent = self.candidates.iter().rev().map(|(_, keys)| keys);
        drafted.chain(sent).cloned().collect()
    }

    /// The access keys with which the server may let us read the log, the current keys first.
    fn accesses(&self, id: GroupId) -> Vec<GroupAccess> {
        let current = match &self.known {
            Known::Announced(keys, _) => Some(keys.secret.access(id)),
            Known::Link(link) => Some(link.key.link_access(id, &link.password)),
            Known::View(view) => view.reading_access(),
        };
        let candidates = self.candidates();
        current.into_iter().chain(candidates.iter().map(|keys| keys.secret.access(id))).collect()
    }

    /// The access key with which the server accepts the draft. `None` if the keys have not arrived yet.
    fn append_access(&self) -> Option<GroupAccess> {
        let password = match self.wanted.front() {
            Some(WantedChange { change: GroupChange::Join { password, .. }, .. }) => Some(password),
            Some(_) | None => None,
        };
        self.view()?.access_for(self.draft.as_ref()?, password)
    }

    /// Whether the server may not have the first entry yet.
    fn is_being_created(&self) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.revision == 0)
    }

    /// The first entry that we have not read.
    fn next_revision(&self) -> u64 {
        let known = match &self.known {
            Known::Announced(_, announced) => announced.revision,
            Known::Link(link) => link.revision,
            Known::View(view) => view.state().revision.saturating_add(1),
        };
        self.reading.from.unwrap_or(known)
    }
}

impl Client {
    /// Continues with the log of a group.
    pub(super) fn advance_group_log(
        &mut self,
        now: Timestamp,
        id: GroupId,
        rng: &mut impl CryptoRngCore,
    ) {
        if self.pending.has(Purpose::GroupLog(id)) {
            return;
        }
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        if group.reading.needed && !group.is_being_created() {
            let Some(access) = group.accesses(id).into_iter().nth(group.reading.access) else {
                return self.locked_out(now, id);
            };
            let from = group.next_revision();
            group.reading.appends = false;
            let request = Request::GroupEntries { group: id, access, from };
            let request = self.request(Purpose::GroupLog(id), request);
            return self.after_commits(vec![request]);
        }
        if !group.reading.is_locked_out && group.reading.rejected < MAX_REJECTED {
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
        let Some((draft, access)) = group.draft.clone().zip(group.append_access()) else {
            // The changes that were dropped.
            let events = self.take_group_events();
            return self.commit(changes, events);
        };
        let request = Request::AppendGroupEntry {
            group: id,
            revision: draft.revision,
            access,
            next: draft.replaces,
            entry: draft.entry.into(),
        };
        group.reading.appends = true;
        let request = self.request(Purpose::GroupLog(id), request);
        let mut then = self.take_group_events();
        then.push(request);
        self.commit(changes, then);
    }

    /// Prepares the entry for the first change that is still possible, unless keys for it are missing. Whether anything has to be done.
    fn make_draft(&mut self, id: GroupId, rng: &mut impl CryptoRngCore) -> bool {
        let author = (self.us.account, &self.identity.pair);
        let us = Author { account: author.0, identity: *author.1.public() };
        let mut finished = Vec::new();
        let Some(group) = self.groups.groups.get_mut(&id) else { return false };
        if group.draft.is_some() {
            return true;
        }
        let mut has_changed = false;
        let Known::View(view) = &group.known else { return false };
        while let Some(WantedChange { basis, change, .. }) = group.wanted.front() {
            let rebased = view.state().rebase(*basis, us, change);
            if matches!(&rebased, Rebased::Again(change) if !view.has_keys_for(change)) {
                break;
            }
            has_changed = true;
            let failure = match rebased {
                Rebased::Again(change) => {
                    match view.draft(group.reading.latest, author, &change, rng) {
                        Ok(draft) => {
                            group.draft = Some(draft);
                            break;
                        }
                        Err(why) => Some(why.into()),
                    }
                }
                Rebased::Done => None,
                Rebased::Impossible(why) => Some(GroupFailure::NotPermitted(why)),
            };
            finished.extend(group.wanted.pop_front().map(|wanted| (wanted, failure)));
        }
        for (WantedChange { id: change_id, change, .. }, failure) in finished {
            self.finish_change(change_id, failure.map_or(Ok(()), Err));
            if let Some(why) = failure {
                self.group_event(id, GroupEvent::ChangeFailed(change, why));
            }
        }
        has_changed
    }

    /// Nothing is true of what was announced. Somebody else may have announced the truth.
    fn drop_announced(&mut self, id: GroupId, changes: &mut Changes) {
        if self.groups.groups.get_mut(&id).is_some_and(Group::try_next_announcement) {
            self.groups.dirty.insert(id);
            return self.put_group(id, changes);
        }
        if let Some(group) = self.groups.groups.remove(&id) {
            self.finish_all_changes(group);
        }
        changes.rows.retain(|(key, _)| *key != StoreKey::Group(id));
        changes.delete(StoreKey::Group(id));
    }

    /// The server knows none of our keys: we were removed, or the message with the next secret has not arrived yet.
    fn locked_out(&mut self, now: Timestamp, id: GroupId) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        group.reading.needed = false;
        group.reading.is_locked_out = true;
        let us = self.us.account;
        self.report_missing(now, id);
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let had_left = !group.is_removed() && group.membership(us) == Membership::Outside;
        let is_news = group.believe_removal(now);
        if matches!(group.known, Known::Announced(..)) {
            // There is no such group: anybody can announce one.
            let mut changes = Changes::default();
            self.drop_announced(id, &mut changes);
            let events = self.take_group_events();
            return self.commit(changes, events);
        }
        let mut wanted = Vec::new();
        // Otherwise the message with the next secret has not arrived yet.
        if group.is_removed() {
            // Somebody whom we want to remove could say so, to make us forget that.
            let removals = group.take_removals();
            wanted.extend(std::mem::replace(&mut group.wanted, removals));
            group.draft = None;
        }
        let mut changes = Changes::default();
        self.put_group(id, &mut changes);
        for WantedChange { id: change_id, change, .. } in wanted {
            self.finish_change(change_id, Err(GroupFailure::Unknown));
            let failed = GroupEvent::ChangeFailed(change, GroupFailure::Unknown);
            self.group_event(id, failed);
        }
        if is_news && !had_left {
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
            Response::Done if appends => {
                // Somebody has named a later entry in the meantime.
                let must_read = group.reading.needed && !group.is_being_created();
                self.appended(now, id, rng);
                let group = self.groups.groups.get_mut(&id).filter(|_| must_read);
                if let Some(group) = group {
                    group.reading.needed = true;
                }
            }
            Response::GroupConflict { latest } if appends => {
                group.reading.latest = group.reading.latest.max(latest);
                group.reading.needed = true;
                if group.is_being_created() {
                    self.refuse_change(id);
                }
            }
            // Our entry may have replaced the access key already, or somebody else's has.
            Response::NotFound if appends && group.is_being_created() => self.refuse_change(id),
            Response::NotFound if appends => group.reading.reject(),
            Response::NotFound => group.reading.access += 1,
            Response::Refused if appends => self.refuse_change(id),
            Response::Refused => self.locked_out(now, id),
            Response::Bundles(..)
            | Response::Certificate(_)
            | Response::DeviceList(_)
            | Response::DeviceListConflict
            | Response::Done
            | Response::GroupConflict { .. }
            | Response::GroupMismatched(_)
            | Response::GroupSent { .. }
            | Response::Mismatched { .. }
            | Response::IntraApp
            | Response::NoRoom
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
        if is_new {
            group.removal = Removal::Believed;
        }
        let mut changes = Changes::default();
        self.put_group(id, &mut changes);
        if let Some(WantedChange { id: change_id, change, .. }) = failed {
            self.finish_change(change_id, Err(GroupFailure::Refused));
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
        group.reading.rejected = 0;
        if draft.revision > 0 {
            let entry = (draft.revision, draft.entry);
            let latest = group.reading.latest;
            return self.read_entries(now, id, &[entry], latest, rng);
        }
        group.draft = None;
        let mut changes = Changes::default();
        if let Some(WantedChange { id: change_id, change, .. }) = group.wanted.pop_front() {
            group.reading.needed = false;
            self.finish_change(change_id, Ok(()));
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
        if last.is_none_or(|last| last >= latest) {
            // A member that has announced a later revision did not tell the truth.
            group.announced = group.announced.min(latest);
            self.read_all(now, id, &mut changes);
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
        let candidates = group.candidates();
        match &mut group.known {
            Known::Announced(keys, announced) => {
                let keys = keys.clone();
                let key = keys.secret.reading_key();
                // An entry that is not valid does not count.
                let Ok(mut view) = GroupView::begin(id, key, announced, revision, bytes) else {
                    return;
                };
                view.learn(&keys);
                group.known = Known::View(Box::new(view));
                group.settle_candidates();
            }
            Known::Link(link) => {
                let (key, start) = (link.key.clone(), link.announcement());
                let Ok(view) = GroupView::begin(id, key, &start, revision, bytes) else { return };
                let password = link.password.clone();
                let basis = view.state().basis();
                group.known = Known::View(Box::new(view));
                group.settle_candidates();
                let join = GroupChange::Join { password, app: None };
                let id = group.joining.take();
                // Nothing else waits.
                let _has_room = group.want(WantedChange { id, basis, change: join });
            }
            Known::View(view) => {
                let before = view.state().clone();
                let Ok(applied) = view.read(revision, bytes, &candidates) else { return };
                let is_ours = group
                    .draft
                    .as_ref()
                    .is_some_and(|draft| EntryHash::of(&draft.entry) == EntryHash::of(bytes));
                group.removal = Removal::Unknown;
                group.outsiders.confirm();
                if is_ours {
                    group.draft = None;
                    let wanted = group.wanted.pop_front();
                    self.finish_change(wanted.and_then(|wanted| wanted.id), Ok(()));
                }
                self.after_change(now, id, &before, &applied, is_ours, changes, rng);
            }
        }
    }

    /// The log was read to its end.
    fn read_all(&mut self, now: Timestamp, id: GroupId, changes: &mut Changes) {
        let us = self.us.account;
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let reading = &mut group.reading;
        (reading.needed, reading.from, reading.access) = (false, None, 0);
        reading.is_locked_out = false;
        let latest = reading.latest;
        // Another entry has the place of ours.
        if group.draft.as_ref().is_some_and(|draft| draft.revision <= latest) {
            group.draft = None;
        }
        let was_believed = group.removal == Removal::Believed;
        group.removal = if group.view().is_none() { Removal::Believed } else { Removal::Unknown };
        if matches!(group.known, Known::Announced(..)) {
            return self.drop_announced(id, changes);
        }
        if group.is_removed() {
            // The server does not have the entry of the link any more, or never had it.
            if !was_believed {
                self.group_event(id, GroupEvent::Removed);
            }
            return;
        }
        if group.settle_announcements(us) {
            self.groups.dirty.insert(id);
            return;
        }
        self.report_missing(now, id);
        self.answer_invitation(id);
        self.retry_early(id, changes);
    }
}

/// How often an entry is sent although the server has not accepted its key.
const MAX_REJECTED: u8 = 3;
