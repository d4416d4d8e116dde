//! What follows from an entry of the log: messages to members, and keys that are deleted.

use std::collections::BTreeSet;

use rand_core::CryptoRngCore;

use super::super::outbox::Lifetime;
use super::super::store::{Changes, StoreKey};
use super::{Client, Group, GroupEvent, Known, Membership};
use crate::address::AccountId;
use crate::content::{Content, GroupContent};
use crate::group::{
    Announcement, Applied, GroupChange, GroupId, GroupSecret, GroupState, LinkPassword,
};
use crate::time::Timestamp;

impl Group {
    /// Remembers a secret that may be the next one. Whether it is news.
    fn add_candidate(&mut self, from: AccountId, secret: &GroupSecret, us: AccountId) -> bool {
        if self.secrets().contains(secret) {
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
        // Nobody displaces the secrets of an administrator.
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
        self.candidates.push((from, secret.clone()));
        true
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
            let current = group.view().map(|view| view.secret().clone());
            group.candidates.retain(|(_, secret)| Some(secret) != current.as_ref());
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
        let has_left = matches!(change, GroupChange::Leave { .. } | GroupChange::Decline);
        self.group_event(id, GroupEvent::Changed(author, change));
        if was_in && !state.members.contains_key(&us) {
            self.delete_group_keys(id, changes);
            self.group_event(id, GroupEvent::Removed);
        } else if has_left && author != us && state.is_admin(us) {
            // Whoever has left still knows the secret.
            let password = Some(LinkPassword::random(rng));
            let basis = state.basis();
            if let Some(group) = self.groups.groups.get_mut(&id) {
                // One is enough for all who have left.
                let waits = |(_, change): &(_, _)| matches!(change, GroupChange::NewEpoch { .. });
                if !group.wanted.iter().any(waits) {
                    group.wanted.push_back((basis, GroupChange::NewEpoch { password }));
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
        let (Some(view), us) = (group.view(), self.us.account) else { return };
        let state = view.state();
        let Some(with_secret) = group.with_secret() else { return };
        let notice = GroupContent::notice(id, state.revision);
        let starts_epoch = before.is_some_and(|before| before.epoch != state.epoch);
        let everybody = || state.members.keys().chain(state.invited.keys()).copied();
        let mut messages: Vec<(AccountId, GroupContent)> = Vec::new();
        let others = |account: &AccountId| *account != us;
        if starts_epoch {
            messages.extend(everybody().filter(others).map(|to| (to, with_secret.clone())));
        }
        let mut tells_members = !starts_epoch && state.members.len() > 1;
        match change {
            GroupChange::Invite(people) => {
                messages.extend(people.keys().map(|to| (*to, with_secret.clone())));
            }
            GroupChange::Remove { account, .. } => {
                let removed = GroupContent { removed: true, ..notice };
                messages.push((*account, removed));
            }
            GroupChange::Leave { .. } | GroupChange::Decline => {
                // We cannot write to the group any more. The administrators start a new epoch, about which all learn.
                tells_members = false;
                messages.extend(state.admins().map(|to| (to, notice.clone())));
            }
            GroupChange::Accept { .. }
            | GroupChange::Create { .. }
            | GroupChange::Describe { .. }
            | GroupChange::Join { .. }
            | GroupChange::NewEpoch { .. }
            | GroupChange::ReplaceIdentity { .. }
            | GroupChange::SetAccessKey(_)
            | GroupChange::SetLink(_)
            | GroupChange::SetRole { .. }
            | GroupChange::SetTimer(_) => {}
        }
        if self.groups.other_devices != Some(false) {
            messages.push((us, with_secret));
        }
        for (to, content) in messages {
            self.put_group_control(now, to, content, changes);
        }
        if tells_members && !self.has_waiting_notice(id) {
            let timestamp = self.next_timestamp(now);
            self.put_group_message(timestamp, id, None, changes);
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
            let accept = GroupChange::Accept { app: None, access_key: None };
            group.wanted.push_back((basis, accept));
        } else {
            self.group_event(id, GroupEvent::Invited(by));
        }
    }

    /// Somebody has sent a secret of a group, or says that there is a new entry.
    pub(super) fn hear_of_group(
        &mut self,
        from: AccountId,
        content: &GroupContent,
        changes: &mut Changes,
    ) {
        let (id, us) = (content.group, self.us.account);
        let membership = self.group_membership(id);
        if matches!(membership, None | Some(Membership::Outside)) {
            if self.meet_group(from, content) {
                self.put_group(id, changes);
                self.groups.dirty.insert(id);
            }
            return;
        }
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        let mut is_news = false;
        if let Some(secret) = &content.secret {
            is_news |= group.add_candidate(from, secret, us);
        }
        if content.removed && group.state().is_some_and(|state| state.is_admin(from)) {
            is_news |= !group.is_removed;
            group.is_removed = true;
        }
        let known = group.state().map_or(0, |state| state.revision);
        if content.revision > known.max(group.announced) {
            group.announced = content.revision;
            is_news = true;
        }
        if is_news {
            group.reading.restart();
            self.put_group(id, changes);
            self.groups.dirty.insert(id);
        }
    }

    /// We hear of a group for the first time, or after we were removed. Whether it is an invitation.
    fn meet_group(&mut self, from: AccountId, content: &GroupContent) -> bool {
        let (Some(secret), Some(head)) = (&content.secret, content.head) else { return false };
        let groups = &mut self.groups.groups;
        let unread = groups.values().filter(|group| group.view().is_none()).count();
        let is_new = !groups.contains_key(&content.group);
        if unread >= MAX_UNREAD || is_new && groups.len() >= MAX_GROUPS {
            return false;
        }
        let announced = Announcement { by: from, revision: content.revision, head };
        let known = Known::Secret(secret.clone(), Some(announced), None);
        groups.insert(content.group, Group { announcer: Some(from), ..Group::new(known) });
        true
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
            self.drop_group_message(timestamp, super::SendFailure::Refused, changes);
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

/// Maximum number of groups whose log was not read yet: anybody can invite.
const MAX_UNREAD: usize = 200;

/// Maximum number of groups.
const MAX_GROUPS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use wormhole_kit::Secret;

    #[test]
    fn attack_18_invented_secrets_do_not_displace_the_one_of_somebody_trusted() {
        let [us, other] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
        let secret = |number: u8| GroupSecret::from_secret(Secret::new([number; 32]));
        let mut group = Group::new(Known::Secret(secret(0), None, None));
        assert!(group.add_candidate(us, &secret(1), us));
        for number in 2..=255 {
            assert!(group.add_candidate(other, &secret(number), us));
        }
        assert!(!group.add_candidate(other, &secret(1), us), "known already");
        assert!(group.candidates.contains(&(us, secret(1))));
        assert_eq!(group.candidates.len(), 1 + MAX_OF_OTHER);
        assert!(group.candidates.contains(&(other, secret(255))), "the newest is kept");
    }
}
