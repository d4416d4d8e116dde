//! The effects of an entry of the log: messages to members, and deleted keys.

use std::collections::BTreeSet;

use rand_core::CryptoRngCore;

use super::super::outbox::Lifetime;
use super::super::store::{Changes, StoreKey};
use super::announcements::Announced;
use super::missing::is_possible;
use super::wanted::WantedChange;
use super::{Client, Group, GroupEvent, Known, Membership};
use crate::address::AccountId;
use crate::content::{Content, GroupContent};
use crate::group::{Applied, EpochKeys, GroupChange, GroupId, GroupState, LinkPassword, Role};
use crate::key::PublicKey;
use crate::time::Timestamp;

impl Group {
    /// Takes keys that somebody has sent. They may be those of the next epoch. Whether they are news.
    fn add_candidate(&mut self, from: AccountId, keys: &EpochKeys, us: AccountId) -> bool {
        match &mut self.known {
            // Of the current epoch.
            Known::View(view) if keys.secret.reading_key() == *view.key() => {
                return view.learn(keys);
            }
            Known::Announced(known, _) if known == keys => return false,
            Known::Announced(..) | Known::Link(_) | Known::View(_) => {}
        }
        if self.candidates.iter().any(|(_, known)| known == keys) {
            return false;
        }
        let state = self.state();
        let is_admin =
            |sender: &AccountId| *sender == us || state.is_some_and(|it| it.is_admin(*sender));
        let is_member = |sender: &AccountId| {
            *sender == us || state.is_some_and(|state| state.members.contains_key(sender))
        };
        let sent = &self.candidates;
        let quota = if is_admin(&from) { MAX_OF_ADMIN } else { MAX_OF_OTHER };
        let own = sent.iter().filter(|(sender, _)| *sender == from).count();
        // Somebody whom we do not know yet may be a new administrator.
        let strangers = sent.iter().filter(|(sender, _)| !is_member(sender)).count();
        // Other candidates never displace the secrets of an administrator.
        let displaced = if own >= quota {
            sent.iter().position(|(sender, _)| *sender == from)
        } else if !is_member(&from) && strangers >= MAX_UNKNOWN {
            sent.iter().position(|(sender, _)| !is_member(sender))
        } else if sent.len() >= MAX_CANDIDATES {
            match sent.iter().position(|(sender, _)| !is_admin(sender)) {
                None => return false,
                other => other,
            }
        } else {
            None
        };
        if let Some(displaced) = displaced {
            self.candidates.remove(displaced);
        }
        self.candidates.push((from, keys.clone()));
        true
    }
}

impl Group {
    /// A new epoch has begun, or we begin to read: takes the keys of this epoch from those that were sent.
    pub(super) fn settle_candidates(&mut self) {
        let Known::View(view) = &mut self.known else { return };
        self.candidates.retain(|(_, keys)| {
            view.learn(keys);
            keys.secret.reading_key() != *view.key()
        });
    }
}

impl Client {
    /// An entry was read.
    #[expect(clippy::too_many_arguments, reason = "an entry, and what is needed to act on it")]
    pub(super) fn after_change(
        &mut self,
        now: Timestamp,
        id: GroupId,
        before: &GroupState,
        applied: &Applied,
        is_ours: bool,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let Some(state) = group.state().cloned() else { return };
        let (author, change) = (applied.author.account, applied.change.clone());
        if state.epoch != before.epoch {
            group.settle_candidates();
        }
        if is_ours {
            self.after_own_change(now, id, &change, Some(before), changes);
        }
        let us = self.us.account;
        let left = before.members.keys().filter(|account| !state.members.contains_key(account));
        for account in left {
            self.delete_keys_of(id, *account, changes);
        }
        let was_in = before.members.contains_key(&us);
        // After giving up its own role, the account still knows keys that it must not have.
        let has_left = matches!(change, GroupChange::Leave { .. } | GroupChange::Decline)
            || matches!(&change, GroupChange::SetRole { account, role: Role::Member } if *account == author);
        self.advance_unsettled(author);
        if let GroupChange::ReplaceIdentity { account, .. } = &change {
            self.advance_unsettled(*account);
        }
        if matches!(change, GroupChange::Join { .. }) && !is_ours && state.is_admin(us) {
            self.welcome(now, id, author, changes);
        }
        if !was_in && state.members.contains_key(&us) {
            let invited_by = before.invited.get(&us).map(|invitation| invitation.by);
            self.group_event(id, GroupEvent::Joined { invited_by });
        }
        self.group_event(id, GroupEvent::Changed(author, change));
        if was_in && !state.members.contains_key(&us) {
            self.delete_group_keys(id, changes);
            self.group_event(id, GroupEvent::Removed);
        } else if has_left && author != us && state.is_admin(us) {
            let password = Some(LinkPassword::random(rng));
            let basis = state.basis();
            if let Some(group) = self.groups.groups.get_mut(&id) {
                // One is enough for all who have left.
                let waits = |it: &WantedChange| matches!(it.change, GroupChange::NewEpoch { .. });
                if !group.wanted.iter().any(waits) {
                    let change = GroupChange::NewEpoch { password };
                    group.wanted.push_back(WantedChange { id: None, basis, change });
                }
            }
        }
    }

    /// The server has an entry of ours: others must learn about it.
    pub(super) fn after_own_change(
        &mut self,
        now: Timestamp,
        id: GroupId,
        change: &GroupChange,
        before: Option<&GroupState>,
        changes: &mut Changes,
    ) {
        let Some(group) = self.groups.groups.get(&id) else { return };
        let (Some(state), us) = (group.state(), self.us.account) else { return };
        let notice = GroupContent::notice(id, state.revision);
        let starts_epoch = before.is_some_and(|before| before.epoch != state.epoch);
        let with_keys = |to: AccountId| Some((to, group.with_keys(state.is_admin(to))?));
        let everybody = || state.members.keys().chain(state.invited.keys()).copied();
        let mut messages: Vec<(AccountId, GroupContent)> = Vec::new();
        if starts_epoch {
            messages.extend(everybody().filter(|to| *to != us).filter_map(with_keys));
        }
        let mut tells_members = !starts_epoch && state.members.len() > 1;
        match change {
            GroupChange::Invite(people) => {
                messages.extend(people.keys().copied().filter_map(with_keys));
            }
            GroupChange::Remove { account, .. } => {
                let removed = GroupContent { removed: true, ..notice };
                messages.push((*account, removed));
            }
            GroupChange::Leave { .. } | GroupChange::Decline => {
                // We cannot write to the group any more. The administrators start a new epoch, about which all learn. One of them
                // may have become administrator just now.
                tells_members = false;
                let content = |to| with_keys(to).unwrap_or_else(|| (to, notice.clone()));
                messages.extend(state.admins().map(content));
            }
            GroupChange::SetRole { account, role: Role::Admin } => {
                messages.extend(with_keys(*account));
            }
            GroupChange::Accept { .. }
            | GroupChange::Create { .. }
            | GroupChange::Describe { .. }
            | GroupChange::Join { .. }
            | GroupChange::NewEpoch { .. }
            | GroupChange::ReplaceIdentity { .. }
            | GroupChange::SetLink(_)
            | GroupChange::SetRole { role: Role::Member, .. }
            | GroupChange::SetTimer(_) => {}
        }
        if self.groups.other_devices != Some(false) {
            messages.extend(with_keys(us));
        }
        for (to, content) in messages {
            self.put_group_control(now, to, content, changes);
        }
        if tells_members && !self.has_waiting_notice(id) {
            let timestamp = self.next_timestamp(now);
            self.put_group_message(timestamp, id, None, changes);
        }
    }

    /// Somebody has joined with a link, which does not have the secret: we send it.
    fn welcome(&mut self, now: Timestamp, id: GroupId, to: AccountId, changes: &mut Changes) {
        let content = self.groups.groups.get(&id).and_then(|group| group.with_keys(false));
        if let Some(content) = content {
            self.put_group_control(now, to, content, changes);
        }
    }

    /// Puts a message about a group into the outbox of a session.
    pub(super) fn put_group_control(
        &mut self,
        now: Timestamp,
        to: AccountId,
        content: GroupContent,
        changes: &mut Changes,
    ) -> Timestamp {
        let content = Content::Group(Box::new(content));
        let timestamp = self.put_new(now, to, &content, Lifetime::Durable, changes);
        self.groups.unsent.push(timestamp);
        self.groups.controls.insert(timestamp);
        timestamp
    }

    /// After the log was read: accepts an invitation of a contact. Others wait for the user.
    pub(super) fn answer_invitation(&mut self, id: GroupId) {
        let us = self.us.account;
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        if group.membership(us) != Membership::Invited || !group.wanted.is_empty() {
            return;
        }
        let Some(state) = group.state() else { return };
        let (basis, by) = (state.basis(), state.invited.get(&us).map(|invited| invited.by));
        let Some(by) = by.filter(|_| !group.was_asked) else { return };
        // The entry can name anybody: only the session shows who has really sent the invitation.
        let is_by_admin = group.announcer == Some(by) && state.is_admin(by);
        group.was_asked = true;
        if is_by_admin && self.kept.contains(&by) {
            let accept = GroupChange::Accept { app: None };
            // Nothing else waits.
            let _has_room = group.want(WantedChange { id: None, basis, change: accept });
        } else {
            self.group_event(id, GroupEvent::Invited(by));
        }
    }

    /// Somebody has sent a secret of a group, or says that there is a new entry. If `now` is `None`, the sender is known to be a
    /// member.
    pub(super) fn handle_group_notice(
        &mut self,
        now: Option<Timestamp>,
        from: AccountId,
        identity: Option<PublicKey>,
        content: &GroupContent,
        changes: &mut Changes,
    ) {
        let (id, us) = (content.group, self.us.account);
        let membership = self.group_membership(id);
        // An administrator may welcome us before we know that we have joined.
        let is_joining = self.groups.groups.get(&id).is_some_and(Group::is_joining);
        if matches!(membership, None | Some(Membership::Outside)) && !is_joining {
            if self.add_invitation(from, identity, content) {
                self.put_group(id, changes);
                self.groups.dirty.insert(id);
            }
            return;
        }
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let mut is_news = false;
        if let Some(keys) = content.keys() {
            let is_known = |who: AccountId| who == us || self.kept.contains(&who);
            let announced = Announced::from_content(from, identity, content);
            is_news |= announced.is_some_and(|it| group.add_announcement(it, is_known));
            is_news |= group.add_candidate(from, &keys, us);
        }
        if content.removed {
            is_news |= group.add_removal_claim(now, from);
        }
        let known = group.state().map_or(0, |state| state.revision);
        is_news |= group.add_missing(from, content.revision, us);
        let is_known =
            group.missing.is_some_and(|it| it.by == from && it.revision >= content.revision);
        let is_possible = group.state().is_none_or(|state| is_possible(state, content.revision));
        if !is_known && is_possible && content.revision > known.max(group.announced) {
            group.announced = content.revision;
            is_news = true;
        }
        let is_member =
            from == us || group.state().is_some_and(|state| state.members.contains_key(&from));
        if is_news && (is_member || now.is_none_or(|now| group.outsiders.may_read(now))) {
            group.reading.restart();
            self.groups.dirty.insert(id);
        }
        if is_news {
            self.put_group(id, changes);
        }
    }

    /// Deletes the keys with which a member has written.
    fn delete_keys_of(&mut self, id: GroupId, account: AccountId, changes: &mut Changes) {
        self.groups.keys.retain(|(from, distribution), key| {
            let is_theirs = key.group == id && from.account == account;
            if is_theirs {
                let (from, distribution) = (*from, *distribution);
                changes.delete(StoreKey::SenderKey { from, distribution });
            }
            !is_theirs
        });
    }

    /// Deletes everything with which messages of a group are read and written.
    pub(super) fn delete_group_keys(&mut self, id: GroupId, changes: &mut Changes) {
        if self.groups.own.remove(&id).is_some() {
            changes.delete(StoreKey::OwnSenderKey(id));
        }
        let writers = self.groups.keys.iter().filter(|(_, key)| key.group == id);
        let writers: BTreeSet<_> = writers.map(|((from, _), _)| from.account).collect();
        writers.into_iter().for_each(|account| self.delete_keys_of(id, account, changes));
        self.groups.early.retain(|number, early| {
            if early.group == Some(id) {
                changes.delete(StoreKey::EarlyGroupMessage(*number));
            }
            early.group != Some(id)
        });
        let messages = self.groups.outbox.iter().filter(|(_, message)| message.group == id);
        let messages: Vec<_> = messages.map(|(timestamp, _)| *timestamp).collect();
        for timestamp in messages {
            self.drop_group_message(timestamp, super::SendFailure::NotMember, changes);
        }
    }
}

/// Maximum number of secrets of a group that were sent and are not used yet: epochs that somebody may miss while away.
const MAX_CANDIDATES: usize = 64;

/// Secrets of one administrator, and of our own account.
const MAX_OF_ADMIN: usize = 16;

/// Secrets of anybody else.
const MAX_OF_OTHER: usize = 4;

/// Maximum number of those that come from people who are no members, as far as we know.
const MAX_UNKNOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{Announcement, EntryHash, GroupSecret};
    use wormhole_kit::Secret;

    #[test]
    fn attack_18_invented_secrets_do_not_displace_the_one_of_somebody_trusted() {
        let [us, other] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
        let keys = |number: u8| EpochKeys {
            secret: GroupSecret::from_secret(Secret::new([number; 32])),
            admin: None,
        };
        let head = EntryHash([0; 32]);
        let announced = Announcement { by: None, revision: 0, head };
        let mut group = Group::new(Known::Announced(keys(0), announced));
        assert!(group.add_candidate(us, &keys(1), us));
        for number in 2..=255 {
            assert!(group.add_candidate(other, &keys(number), us));
        }
        assert!(!group.add_candidate(other, &keys(1), us), "known already");
        assert!(group.candidates.contains(&(us, keys(1))));
        assert_eq!(group.candidates.len(), 1 + MAX_OF_OTHER);
        assert!(group.candidates.contains(&(other, keys(255))), "the newest is kept");
    }
}
