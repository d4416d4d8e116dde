//! The changes of a group, and who may make them.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;
use zeroize::Zeroizing;

use super::proto::ChangeProto;
use super::{EntryError, GroupState, Invitation, LinkPassword, Member, Role};
use crate::address::AccountId;
use crate::key::PublicKey;
use crate::service::AppName;

/// A change of a group. `Debug` prints neither texts nor passwords.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum GroupChange {
    /// The author, who was invited, becomes a member.
    Accept {
        /// The author's app.
        app: Option<AppName>,
    },
    /// The first entry: the author is the only member, and administrator.
    Create {
        /// The title.
        title: String,
        /// The author's app.
        app: Option<AppName>,
    },
    /// The author, who was invited, does not want to become a member.
    Decline,
    /// Other title and description.
    Describe {
        /// The title.
        title: String,
        /// The description.
        description: Option<String>,
    },
    /// Invites people, with the identity keys that they must have, if known.
    Invite(BTreeMap<AccountId, Option<PublicKey>>),
    /// The author becomes a member with the link.
    Join {
        /// The password of the link.
        password: LinkPassword,
        /// The author's app.
        app: Option<AppName>,
    },
    /// The author leaves the group.
    Leave {
        /// The member who becomes administrator instead. Only an administrator may name one.
        successor: Option<AccountId>,
    },
    /// Only a new secret, because somebody who has the old one has left.
    NewEpoch {
        /// The new password of the link, if it is enabled.
        password: Option<LinkPassword>,
    },
    /// Removes a member or an invitation, and starts a new epoch.
    Remove {
        /// The member or the invited person.
        account: AccountId,
        /// The new password of the link, if it is enabled.
        password: Option<LinkPassword>,
    },
    /// A member has another identity key.
    ReplaceIdentity {
        /// The member.
        account: AccountId,
        /// The new key.
        identity: PublicKey,
    },
    /// Enables the link, replaces its password, or disables it. If there was a link, this starts a new epoch.
    SetLink(Option<LinkPassword>),
    /// Changes the role of a member.
    SetRole {
        /// The member.
        account: AccountId,
        /// The new role.
        role: Role,
    },
    /// Seconds after reading until messages are deleted; 0 means never.
    SetTimer(u32),
}

impl GroupChange {
    /// The name of the change, as the documentation calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "accept",
            Self::Create { .. } => "create",
            Self::Decline => "decline",
            Self::Describe { .. } => "describe",
            Self::Invite(_) => "invite",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::NewEpoch { .. } => "new epoch",
            Self::Remove { .. } => "remove",
            Self::ReplaceIdentity { .. } => "replace identity",
            Self::SetLink(_) => "set link",
            Self::SetRole { .. } => "set role",
            Self::SetTimer(_) => "set timer",
        }
    }

    /// Encodes the change. The bytes may have the password of a link.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(ChangeProto::from(self).encode_to_vec())
    }

    /// Decodes a change.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let proto = ChangeProto::decode(bytes).map_err(|_| EntryError::Malformed)?;
        Ok(proto.try_into()?)
    }

    /// Whether the change starts a new epoch, and so needs new keys.
    pub const fn starts_epoch(&self, before: &GroupState) -> bool {
        match self {
            Self::NewEpoch { .. } | Self::Remove { .. } => true,
            Self::SetLink(_) => before.link.is_some(),
            // A former administrator knows the key of administrators.
            Self::SetRole { role, .. } => matches!(role, Role::Member),
            Self::Accept { .. }
            | Self::Create { .. }
            | Self::Decline
            | Self::Describe { .. }
            | Self::Invite(_)
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::ReplaceIdentity { .. }
            | Self::SetTimer(_) => false,
        }
    }

    /// Whether the server must require other keys after the change. Only the key of administrators permits that.
    pub const fn replaces_keys(&self, before: &GroupState) -> bool {
        self.starts_epoch(before) || matches!(self, Self::SetLink(_))
    }

    /// Whether only an administrator may make the change.
    const fn needs_admin(&self) -> bool {
        match self {
            Self::Describe { .. }
            | Self::Invite(_)
            | Self::NewEpoch { .. }
            | Self::Remove { .. }
            | Self::ReplaceIdentity { .. }
            | Self::SetLink(_)
            | Self::SetRole { .. }
            | Self::SetTimer(_) => true,
            Self::Accept { .. }
            | Self::Create { .. }
            | Self::Decline
            | Self::Join { .. }
            | Self::Leave { .. } => false,
        }
    }
}

impl fmt::Debug for GroupChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupChange({})", self.name())
    }
}

/// The author of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Author {
    /// The account.
    pub account: AccountId,
    /// Its identity key, which signs the entry.
    pub identity: PublicKey,
}

/// Why a change is not permitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The person is a member or invited already.
    #[error("the person is already a member or invited")]
    AlreadyMember,
    /// The description is too long.
    #[error("the description of a group has at most 1024 bytes")]
    BadDescription,
    /// The link is disabled, or has another password now.
    #[error("the link of the group is not valid any more")]
    BadLink,
    /// The title is empty, too long, or has control characters.
    #[error("the title of a group has 1 to 128 bytes without control characters")]
    BadTitle,
    /// There are too many members and invited people.
    #[error("a group has at most {max} members", max = super::MAX_MEMBERS)]
    Full,
    /// Without this person, nobody could change the group.
    #[error("the last administrator must name another one first")]
    LastAdmin,
    /// Only an administrator may make the change.
    #[error("only an administrator of the group may do this")]
    NotAdmin,
    /// The author was not invited.
    #[error("there is no invitation to this group any more")]
    NotInvited,
    /// The author, or the person to change, is not a member.
    #[error("this person is not a member of the group")]
    NotMember,
    /// The group is already as the change wants it.
    #[error("the group is already like this")]
    Nothing,
    /// The author does not have the identity key that the group knows.
    #[error("the author has another identity key in this group")]
    OtherIdentity,
    /// There are no more revisions or epochs.
    #[error("the group cannot be changed any more")]
    Used,
}

/// The parts of the state that a pending change was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Basis {
    /// The epoch.
    pub epoch: u32,
    /// Whether the link is enabled.
    pub has_link: bool,
}

/// The result of rebasing a pending change after another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rebased {
    /// Make this change instead.
    Again(GroupChange),
    /// Nothing is left to do: the group is as the change wanted it.
    Done,
    /// It is not possible any more.
    Impossible(ChangeError),
}

impl GroupState {
    /// The state after a change, as the entry with this revision. Nothing else is permitted, except that `admin_access` must be another
    /// one if the change starts an epoch.
    ///
    /// # Errors
    /// The author may not make the change, or it makes no sense.
    pub fn apply(
        &self,
        author: Author,
        change: &GroupChange,
        revision: u64,
    ) -> Result<Self, ChangeError> {
        if revision <= self.revision {
            return Err(ChangeError::Used);
        }
        self.check_author(author, change)?;
        let mut after = self.clone();
        after.revision = revision;
        if change.starts_epoch(self) {
            after.epoch = self.epoch.checked_add(1).ok_or(ChangeError::Used)?;
        }
        after.make(author, change)?;
        after.check()?;
        Ok(after)
    }

    /// The state of a new group.
    ///
    /// # Errors
    /// The title is invalid; or the change does not create a group.
    pub fn create(
        author: Author,
        change: &GroupChange,
        admin_access: [u8; 32],
    ) -> Result<Self, ChangeError> {
        let GroupChange::Create { title, app } = change else {
            return Err(ChangeError::NotMember);
        };
        let mut state = Self::empty(title.clone(), admin_access);
        state.add(author, Role::Admin, app.as_ref());
        state.check()?;
        Ok(state)
    }

    /// Whether the author may make a change of this kind.
    fn check_author(&self, author: Author, change: &GroupChange) -> Result<(), ChangeError> {
        let Some(member) = self.members.get(&author.account) else {
            let is_guest = matches!(
                change,
                GroupChange::Accept { .. } | GroupChange::Decline | GroupChange::Join { .. }
            );
            return if is_guest { Ok(()) } else { Err(ChangeError::NotMember) };
        };
        if member.identity != author.identity {
            return Err(ChangeError::OtherIdentity);
        }
        // Otherwise a member could make anybody administrator by leaving.
        let names_admin = matches!(change, GroupChange::Leave { successor: Some(_) });
        if (change.needs_admin() || names_admin) && member.role != Role::Admin {
            return Err(ChangeError::NotAdmin);
        }
        Ok(())
    }

    fn make(&mut self, author: Author, change: &GroupChange) -> Result<(), ChangeError> {
        match change {
            GroupChange::Accept { app } => {
                self.take_invitation(author)?;
                self.add(author, Role::Member, app.as_ref());
            }
            GroupChange::Create { .. } => return Err(ChangeError::AlreadyMember),
            GroupChange::Decline => self.take_invitation(author)?,
            GroupChange::Describe { title, description } => {
                let description = description.clone().filter(|text| !text.is_empty());
                is_new((&self.title, &self.description) != (title, &description))?;
                (self.title, self.description) = (title.clone(), description);
            }
            GroupChange::Invite(people) => self.invite(author, people)?,
            GroupChange::Join { password, app } => {
                if self.link.as_ref() != Some(password) {
                    return Err(ChangeError::BadLink);
                }
                if self.members.contains_key(&author.account) {
                    return Err(ChangeError::AlreadyMember);
                }
                self.invited.remove(&author.account);
                self.add(author, Role::Member, app.as_ref());
            }
            GroupChange::Leave { successor } => self.leave(author, *successor)?,
            GroupChange::NewEpoch { password } => self.new_password(password.as_ref())?,
            GroupChange::Remove { account, password } => {
                self.remove(author, *account)?;
                self.new_password(password.as_ref())?;
            }
            GroupChange::ReplaceIdentity { account, identity } => {
                let member = self.member(*account)?;
                is_new(member.identity != *identity)?;
                member.identity = *identity;
            }
            GroupChange::SetLink(password) => {
                is_new(self.link != *password)?;
                self.link.clone_from(password);
            }
            GroupChange::SetRole { account, role } => {
                let member = self.member(*account)?;
                is_new(member.role != *role)?;
                member.role = *role;
            }
            GroupChange::SetTimer(seconds) => {
                is_new(self.expire_timer != *seconds)?;
                self.expire_timer = *seconds;
            }
        }
        Ok(())
    }

    fn member(&mut self, account: AccountId) -> Result<&mut Member, ChangeError> {
        self.members.get_mut(&account).ok_or(ChangeError::NotMember)
    }

    fn add(&mut self, author: Author, role: Role, app: Option<&AppName>) {
        let (identity, app) = (author.identity, app.cloned());
        self.members.insert(author.account, Member { identity, role, app });
    }

    fn take_invitation(&mut self, author: Author) -> Result<(), ChangeError> {
        let invitation = self.invited.remove(&author.account).ok_or(ChangeError::NotInvited)?;
        match invitation.identity {
            Some(identity) if identity != author.identity => Err(ChangeError::OtherIdentity),
            Some(_) | None => Ok(()),
        }
    }

    fn invite(
        &mut self,
        author: Author,
        people: &BTreeMap<AccountId, Option<PublicKey>>,
    ) -> Result<(), ChangeError> {
        is_new(!people.is_empty())?;
        for (account, identity) in people {
            let invitation = Invitation { by: author.account, identity: *identity };
            let is_member = self.members.contains_key(account);
            if is_member || self.invited.insert(*account, invitation).is_some() {
                return Err(ChangeError::AlreadyMember);
            }
        }
        Ok(())
    }

    fn leave(&mut self, author: Author, successor: Option<AccountId>) -> Result<(), ChangeError> {
        if let Some(successor) = successor.filter(|account| *account != author.account) {
            self.member(successor)?.role = Role::Admin;
        }
        self.members.remove(&author.account);
        if self.members.is_empty() {
            self.invited.clear();
            self.link = None;
        }
        Ok(())
    }

    fn remove(&mut self, author: Author, account: AccountId) -> Result<(), ChangeError> {
        let is_other = account != author.account;
        let was_member = is_other && self.members.remove(&account).is_some();
        let was_invited = self.invited.remove(&account).is_some();
        if was_member || was_invited { Ok(()) } else { Err(ChangeError::NotMember) }
    }

    /// A new epoch needs a new password, if the link is enabled: people who must no longer join know the old one.
    fn new_password(&mut self, password: Option<&LinkPassword>) -> Result<(), ChangeError> {
        if self.link.is_some() != password.is_some()
            || self.link.is_some() && self.link.as_ref() == password
        {
            return Err(ChangeError::BadLink);
        }
        self.link = password.cloned();
        Ok(())
    }

    /// The data about a state that [`GroupState::rebase`] needs for changes that are made after it.
    pub const fn basis(&self) -> Basis {
        Basis { epoch: self.epoch, has_link: self.link.is_some() }
    }

    /// Rebases a change that its author has prepared for an earlier state.
    pub fn rebase(&self, before: Basis, author: Author, change: &GroupChange) -> Rebased {
        let mut change = change.clone();
        match &mut change {
            // People who were invited in the meantime need no second invitation.
            GroupChange::Invite(people) => {
                people.retain(|account, _| {
                    !self.members.contains_key(account) && !self.invited.contains_key(account)
                });
            }
            // A member who has left does not have the secret of a later epoch.
            GroupChange::NewEpoch { .. } if self.epoch != before.epoch => return Rebased::Done,
            // Somebody else has enabled the link.
            GroupChange::SetLink(Some(_)) if !before.has_link && self.link.is_some() => {
                return Rebased::Done;
            }
            // It was removed already, or has left. Leaving starts no epoch, so that remains to be done.
            GroupChange::Remove { account, password }
                if !self.members.contains_key(account) && !self.invited.contains_key(account) =>
            {
                if self.epoch != before.epoch {
                    return Rebased::Done;
                }
                change = GroupChange::NewEpoch { password: password.clone() };
            }
            GroupChange::Remove { .. }
            | GroupChange::Accept { .. }
            | GroupChange::Create { .. }
            | GroupChange::Decline
            | GroupChange::Describe { .. }
            | GroupChange::Join { .. }
            | GroupChange::Leave { .. }
            | GroupChange::NewEpoch { .. }
            | GroupChange::ReplaceIdentity { .. }
            | GroupChange::SetLink(_)
            | GroupChange::SetRole { .. }
            | GroupChange::SetTimer(_) => {}
        }
        change.match_link(self);
        match self.apply(author, &change, self.revision.saturating_add(1)) {
            Ok(_) => Rebased::Again(change),
            Err(ChangeError::Nothing) => Rebased::Done,
            Err(error) => Rebased::Impossible(error),
        }
    }
}

impl GroupChange {
    /// A new epoch has a new password exactly if the link is enabled, which another change may have done in the meantime.
    fn match_link(&mut self, state: &GroupState) {
        if let Self::NewEpoch { password } | Self::Remove { password, .. } = self
            && state.link.is_none()
        {
            *password = None;
        }
    }
}

fn is_new(is_new: bool) -> Result<(), ChangeError> {
    if is_new { Ok(()) } else { Err(ChangeError::Nothing) }
}
