//! Groups that others announce to us: invitations, and groups of other devices of our account.
//!
//! Anybody who knows the id of a group can announce it, with invented keys. Only the log shows what is true. So the announcements of
//! several accounts are kept, and each is tried with its own keys until one leads to a state in which we are a member or invited.

use super::removal::Removal;
use super::{Client, Group, Known, Membership};
use crate::address::AccountId;
use crate::content::GroupContent;
use crate::group::{Announcement, Author, EpochKeys, GroupId};
use crate::key::PublicKey;

/// An account's announcement of a group.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) from: AccountId,
    pub(super) keys: EpochKeys,
    pub(super) announcement: Announcement,
}

impl Announced {
    /// The announcement in a message. `identity` is the identity key of its sender.
    pub(super) fn from_content(
        from: AccountId,
        identity: Option<PublicKey>,
        content: &GroupContent,
    ) -> Option<Self> {
        let (keys, head) = (content.keys()?, content.head?);
        let by = identity.map(|identity| Author { account: from, identity });
        let announcement = Announcement { by, revision: content.revision, head };
        Some(Self { from, keys, announcement })
    }
}

impl Group {
    /// Keeps another announcement, the newest of each account, until the log shows which is true. If there are too many, only
    /// accounts that are known displace one, of a stranger. Whether it was kept, and is news.
    pub(super) fn add_announcement(
        &mut self,
        new: Announced,
        is_known: impl Fn(AccountId) -> bool,
    ) -> bool {
        let is_same = |keys: &EpochKeys, announcement: &Announcement| {
            *keys == new.keys && *announcement == new.announcement
        };
        match &self.known {
            Known::Announced(keys, announcement) if !is_same(keys, announcement) => {}
            Known::Announced(..) | Known::Link(_) | Known::View(_) => return false,
        }
        let mut own = self.others.iter().filter(|it| it.from == new.from);
        if own.any(|it| is_same(&it.keys, &it.announcement)) {
            return false;
        }
        self.others.retain(|it| it.from != new.from);
        if self.others.len() >= MAX_OTHERS {
            let oldest = self.others.iter().position(|it| !is_known(it.from));
            let oldest = oldest.filter(|_| is_known(new.from));
            let Some(oldest) = oldest else { return false };
            self.others.remove(oldest);
        }
        self.others.push(new);
        true
    }

    /// Discards a wrong announcement, and begins with that of the next account. Whether there is
    /// something.
    pub(super) fn try_next_announcement(&mut self) -> bool {
        if self.others.is_empty() {
            return false;
        }
        let Announced { from, keys, announcement } = self.others.remove(0);
        self.known = Known::Announced(keys, announcement);
        self.announcer = Some(from);
        self.removal = Removal::Unknown;
        self.reading.restart();
        true
    }

    /// The log was read to its end, from what somebody has announced. Whether it shows that this was not meant for us, and something
    /// else is tried.
    pub(super) fn settle_announcements(&mut self, us: AccountId) -> bool {
        if self.membership(us) == Membership::Outside && self.try_next_announcement() {
            return true;
        }
        let others = std::mem::take(&mut self.others);
        let invited = self.state().and_then(|state| state.invited.get(&us));
        // The inviter in the log must also have announced the group.
        let inviter = invited.map(|it| it.by).filter(|by| others.iter().any(|it| it.from == *by));
        self.announcer = inviter.or(self.announcer);
        false
    }
}

impl Client {
    /// We hear of a group for the first time, or after we were removed. Whether it is an invitation.
    pub(super) fn add_invitation(
        &mut self,
        from: AccountId,
        identity: Option<PublicKey>,
        content: &GroupContent,
    ) -> bool {
        let Some(announced) = Announced::from_content(from, identity, content) else {
            return false;
        };
        if !self.may_announce(from, content.group) {
            return false;
        }
        let known = Known::Announced(announced.keys, announced.announcement);
        let group = Group { announcer: Some(from), ..Group::new(known) };
        let before = self.groups.groups.insert(content.group, group);
        let after = self.groups.groups.get_mut(&content.group);
        if let Some((mut before, after)) = before.zip(after) {
            after.wanted = before.take_removals();
            after.others = std::mem::take(&mut before.others);
            self.finish_all_changes(before);
        }
        true
    }

    /// Whether an account may announce one more group. Groups of which we are a member do not count; strangers have a limit of their
    /// own, so that they cannot keep out those of contacts.
    fn may_announce(&self, from: AccountId, id: GroupId) -> bool {
        let us = self.us.account;
        let groups = &self.groups.groups;
        let is_known = |who: &AccountId| *who == us || self.kept.contains(who);
        let is_open = |group: &&Group| group.membership(us) != Membership::Member;
        let others = groups.iter().filter(|(other, _)| **other != id).map(|(_, group)| group);
        let announcers = others.filter(is_open).filter_map(|group| group.announcer);
        let (mut own, mut similar) = (0, 0);
        for announcer in announcers {
            own += usize::from(announcer == from);
            similar += usize::from(is_known(&announcer) == is_known(&from));
        }
        let limits = if is_known(&from) { OF_CONTACTS } else { OF_STRANGERS };
        let has_room = groups.contains_key(&id) || groups.len() < MAX_GROUPS;
        has_room && similar < limits.all && (own < limits.one || from == us)
    }
}

/// How many groups of which we are no member others may announce.
struct Announceable {
    /// One account.
    one: usize,
    /// All such accounts together.
    all: usize,
}

const OF_CONTACTS: Announceable = Announceable { one: 50, all: 1000 };

const OF_STRANGERS: Announceable = Announceable { one: 10, all: 100 };

/// Maximum number of groups.
const MAX_GROUPS: usize = 2000;

/// Maximum number of announcements of one group that wait while another one is tried.
const MAX_OTHERS: usize = 8;

#[cfg(test)]
mod tests {
    use wormhole_kit::Secret;

    use super::*;
    use crate::group::{EntryHash, GroupSecret};

    #[test]
    fn attack_18_strangers_who_announce_a_group_do_not_displace_a_contact_and_are_bounded() {
        let account = |number: u8| AccountId::from_bytes([number; 16]);
        let announced = |from: u8| Announced {
            from: account(from),
            keys: EpochKeys {
                secret: GroupSecret::from_secret(Secret::new([from; 32])),
                admin: None,
            },
            announcement: Announcement { by: None, revision: 0, head: EntryHash([from; 32]) },
        };
        let contact = account(1);
        let first = announced(0);
        let mut group = Group::new(Known::Announced(first.keys, first.announcement));
        let is_known = |who: AccountId| who == contact;
        assert!(!group.add_announcement(announced(0), is_known), "known already");
        for number in 1..=200 {
            let is_kept = group.add_announcement(announced(number), is_known);
            assert_eq!(is_kept, number <= 8, "{number}");
            assert!(!group.add_announcement(announced(number), is_known));
        }
        assert_eq!(group.others.len(), MAX_OTHERS);
        assert!(group.others.iter().any(|it| it.from == contact));
        // A contact who comes late displaces a stranger.
        let is_late = |who: AccountId| who == contact || who == account(250);
        assert!(group.add_announcement(announced(250), is_late));
        assert!([1, 250].iter().all(|it| group.others.iter().any(|o| o.from == account(*it))));
        assert_eq!(group.others.len(), MAX_OTHERS);
    }
}
