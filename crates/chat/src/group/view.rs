//! A group as one member sees it: the state after the last entry that was read.

use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret, TooShort};
use zeroize::Zeroizing;

use super::{
    Author, ChangeError, EntryError, EntryHash, GroupChange, GroupEntry, GroupId, GroupLink,
    GroupSecret, GroupState,
};
use crate::address::AccountId;
use crate::key::KeyPair;

/// The state of a group after the last entry that we have read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupView {
    group: GroupId,
    secret: GroupSecret,
    state: GroupState,
    /// The last entry.
    head: EntryHash,
}

/// Where somebody who is new begins to read the log: what the inviter has said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// Who has invited us. That may be another device of our own account.
    pub by: AccountId,
    /// The last entry that the inviter knew.
    pub revision: u64,
    /// Its hash.
    pub head: EntryHash,
}

/// An entry that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Who has written it.
    pub author: Author,
    /// What has changed.
    pub change: GroupChange,
    /// Whether entries before it are missing: the server does not keep them for ever.
    pub after_gap: bool,
}

/// An entry that we want to add to the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Its place in the log. Only one entry can have it.
    pub revision: u64,
    /// The entry, as the server gets it.
    pub entry: Vec<u8>,
    /// The secret after it, if it starts a new epoch.
    pub secret: Option<GroupSecret>,
}

impl GroupView {
    /// Creates a group: what we see of it, and its first entry.
    ///
    /// # Errors
    /// The title is invalid, or the change does not create a group.
    pub fn create(
        group: GroupId,
        author: (AccountId, &KeyPair),
        change: GroupChange,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Self, Draft), EntryError> {
        let secret = GroupSecret::random(rng);
        let (account, pair) = author;
        let author = Author { account, identity: *pair.public() };
        let state = GroupState::create(author, &change)?;
        let (revision, previous) = (0, None);
        let entry = GroupEntry { group, revision, previous, author, change, state };
        let sealed = entry.seal(&secret, pair, rng)?;
        let head = EntryHash::of(&sealed);
        let view = Self { group, secret, state: entry.state, head };
        Ok((view, Draft { revision, entry: sealed, secret: None }))
    }

    /// Begins to read the log of a group that we do not know yet, with any of its entries. `announced` says what the inviter knows;
    /// without it, whoever gave us the secret is trusted, as with a link.
    ///
    /// # Errors
    /// The entry is not valid, or is not the one that was announced.
    pub fn begin(
        group: GroupId,
        secret: GroupSecret,
        announced: Option<&Announcement>,
        revision: u64,
        bytes: &[u8],
    ) -> Result<Self, EntryError> {
        let entry = GroupEntry::open(bytes, group, revision, &secret)?;
        let head = EntryHash::of(bytes);
        entry.check_alone()?;
        if let Some(announced) = announced {
            match revision.cmp(&announced.revision) {
                std::cmp::Ordering::Less => return Err(EntryError::Replayed),
                std::cmp::Ordering::Equal if head != announced.head => {
                    return Err(EntryError::Forked);
                }
                std::cmp::Ordering::Equal => {}
                // The server has deleted the entry since.
                std::cmp::Ordering::Greater if !entry.state.is_admin(announced.by) => {
                    return Err(EntryError::Forked);
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        Ok(Self { group, secret, state: entry.state, head })
    }

    /// Reads the next entry. `secrets` are those that may be the next one, if this entry starts an epoch. After an error, the
    /// entry does not count: nothing has changed.
    ///
    /// # Errors
    /// The entry is not valid: it was replayed, reordered, forged, or its author may not make the change.
    pub fn read(
        &mut self,
        revision: u64,
        bytes: &[u8],
        secrets: &[GroupSecret],
    ) -> Result<Applied, EntryError> {
        if revision <= self.state.revision {
            let is_known = revision == self.state.revision && EntryHash::of(bytes) == self.head;
            return Err(if is_known || revision < self.state.revision {
                EntryError::Replayed
            } else {
                EntryError::Forked
            });
        }
        let (entry, secret) = self.open(revision, bytes, secrets)?;
        let author = entry.author;
        let after_gap = entry.previous != Some(self.head);
        if after_gap {
            self.check_jump(&entry)?;
        } else {
            let after = self.state.apply(author, &entry.change, revision)?;
            if after != entry.state {
                return Err(EntryError::WrongState);
            }
        }
        if (secret == self.secret) != (entry.state.epoch == self.state.epoch) {
            return Err(EntryError::WrongState);
        }
        self.secret = secret;
        self.state = entry.state;
        self.head = EntryHash::of(bytes);
        Ok(Applied { author, change: entry.change, after_gap })
    }

    /// Decrypts an entry with our secret, or with one of those that may be the next one.
    fn open(
        &self,
        revision: u64,
        bytes: &[u8],
        secrets: &[GroupSecret],
    ) -> Result<(GroupEntry, GroupSecret), EntryError> {
        let mut all = std::iter::once(&self.secret).chain(secrets);
        let opened =
            all.find_map(|secret| match GroupEntry::open(bytes, self.group, revision, secret) {
                Err(EntryError::NotAuthentic) => None,
                result => Some(result.map(|entry| (entry, secret.clone()))),
            });
        opened.unwrap_or(Err(EntryError::NotAuthentic))
    }

    /// Entries between the last one that we know and this one are missing. If the server has deleted them, the author must be
    /// an administrator whom we know; otherwise anybody could lead us to a state of their own.
    fn check_jump(&self, entry: &GroupEntry) -> Result<(), EntryError> {
        let author = entry.author;
        let known = self.state.members.get(&author.account);
        let is_known = known.is_some_and(|member| member.identity == author.identity);
        // Less than the server keeps was not deleted but hidden.
        let is_old = entry.revision.saturating_sub(self.state.revision) > MIN_GAP;
        if !is_known || !self.state.is_admin(author.account) || !is_old {
            return Err(EntryError::Forked);
        }
        if entry.state.epoch < self.state.epoch {
            return Err(EntryError::Replayed);
        }
        entry.check_alone()
    }

    /// Prepares an entry with a change. It counts once the server has it and [`GroupView::read`] has read it.
    ///
    /// # Errors
    /// The author may not make the change.
    pub fn draft(
        &self,
        latest: u64,
        author: (AccountId, &KeyPair),
        change: &GroupChange,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Draft, EntryError> {
        let (account, pair) = author;
        let author = Author { account, identity: *pair.public() };
        let last = latest.max(self.state.revision);
        let revision = last.checked_add(1).ok_or(ChangeError::Used)?;
        let state = self.state.apply(author, change, revision)?;
        let secret = change.starts_epoch(&self.state).then(|| GroupSecret::random(rng));
        let (group, previous) = (self.group, Some(self.head));
        let entry = GroupEntry { group, revision, previous, author, change: change.clone(), state };
        let entry = entry.seal(secret.as_ref().unwrap_or(&self.secret), pair, rng)?;
        Ok(Draft { revision, entry, secret })
    }

    /// The group.
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// The state after the last entry.
    pub const fn state(&self) -> &GroupState {
        &self.state
    }

    /// The secret of the current epoch.
    pub const fn secret(&self) -> &GroupSecret {
        &self.secret
    }

    /// The hash of the last entry.
    pub const fn head(&self) -> EntryHash {
        self.head
    }

    /// The link with which people join; `None` if it is disabled.
    pub fn link(&self) -> Option<GroupLink> {
        let password = self.state.link.clone()?;
        Some(GroupLink { group: self.group, secret: self.secret.clone(), password })
    }

    /// Encodes the view for storage. The bytes are secret.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let state = self.state.encode();
        let parts = [
            &[FORMAT][..],
            self.group.as_bytes(),
            self.secret.as_secret().expose(),
            &self.head.0,
            &state,
        ];
        Zeroizing::new(parts.concat())
    }

    /// Decodes stored bytes.
    ///
    /// # Errors
    /// They are damaged, or were written by a newer version of this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORMAT => {}
            other => return Err(EntryError::UnknownVersion(other)),
        }
        let group = GroupId::from_bytes(reader.array()?);
        let secret = Secret::new(*Zeroizing::new(reader.array()?));
        let head = EntryHash(reader.array()?);
        let state = GroupState::decode(reader.rest())?;
        Ok(Self { group, secret: GroupSecret::from_secret(secret), state, head })
    }
}

impl GroupEntry {
    /// Checks an entry without knowing the one before it: what its own state says about the author.
    fn check_alone(&self) -> Result<(), EntryError> {
        let author = self.author;
        match self.state.members.get(&author.account) {
            Some(member) if member.identity == author.identity => Ok(()),
            Some(_) => Err(EntryError::NotPermitted(ChangeError::OtherIdentity)),
            // Whoever has left is not in the state any more.
            None => match self.change {
                GroupChange::Leave { .. } | GroupChange::Decline => Ok(()),
                GroupChange::Accept { .. }
                | GroupChange::Create { .. }
                | GroupChange::Describe { .. }
                | GroupChange::Invite(_)
                | GroupChange::Join { .. }
                | GroupChange::NewEpoch { .. }
                | GroupChange::Remove { .. }
                | GroupChange::ReplaceIdentity { .. }
                | GroupChange::SetAccessKey(_)
                | GroupChange::SetLink(_)
                | GroupChange::SetRole { .. }
                | GroupChange::SetTimer(_) => Err(EntryError::NotPermitted(ChangeError::NotMember)),
            },
        }
    }
}

impl From<TooShort> for EntryError {
    fn from(_: TooShort) -> Self {
        Self::Malformed
    }
}

/// The format that we write.
const FORMAT: u8 = 1;

/// With more revisions than this since the last entry that we know, the server may have deleted those in between: it keeps 8 MiB,
/// and an entry has at most 256 KiB.
const MIN_GAP: u64 = 32;
