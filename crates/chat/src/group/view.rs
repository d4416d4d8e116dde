//! A group as one member sees it: the state after the last entry that was read.

use std::cmp::Ordering;

use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret, TooShort};
use zeroize::Zeroizing;

use super::{
    AccessHashes, AdminKey, Author, ChangeError, EntryError, EntryHash, EpochKeys, GroupAccess,
    GroupChange, GroupEntry, GroupId, GroupLink, GroupSecret, GroupState, LinkPassword, ReadingKey,
};
use crate::address::AccountId;
use crate::key::KeyPair;

/// The state of a group after the last entry that we have read, and the keys of its epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupView {
    group: GroupId,
    key: ReadingKey,
    /// `None`: we have joined with a link, and no administrator has sent the secret yet.
    secret: Option<GroupSecret>,
    /// Only administrators have it.
    admin: Option<AdminKey>,
    state: GroupState,
    /// The last entry.
    head: EntryHash,
}

/// Where somebody who is new begins to read the log: what the inviter has said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The account that has invited us, and the identity key of its session. It may be our own account. `None` for a link.
    pub by: Option<Author>,
    /// The last entry that the inviter knew.
    pub revision: u64,
    /// Its hash.
    pub head: EntryHash,
}

/// An entry that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// The author.
    pub author: Author,
    /// The change.
    pub change: GroupChange,
    /// Whether entries before it are missing: the server does not keep all of them.
    pub after_gap: bool,
}

/// An entry that we want to add to the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Its place in the log. Only one entry can have it.
    pub revision: u64,
    /// The entry, as the server gets it.
    pub entry: Vec<u8>,
    /// The keys after it, if it starts a new epoch.
    pub keys: Option<EpochKeys>,
    /// The keys that the server must require after it, if they change. Only the key of administrators permits that.
    pub replaces: Option<AccessHashes>,
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
        let (account, pair) = author;
        let author = Author { account, identity: *pair.public() };
        let (secret, admin) = (GroupSecret::random(rng), AdminKey::random(rng));
        let state = GroupState::create(author, &change, admin.access().hash())?;
        let (revision, previous) = (0, None);
        let key = secret.reading_key();
        let entry = GroupEntry { group, revision, previous, author, change, state };
        let sealed = entry.seal(&key, pair, rng)?;
        let head = EntryHash::of(&sealed);
        let replaces = Some(required(group, &secret, &entry.state));
        let (secret, admin) = (Some(secret), Some(admin));
        let view = Self { group, key, secret, admin, state: entry.state, head };
        Ok((view, Draft { revision, entry: sealed, keys: None, replaces }))
    }

    /// Begins to read the log of a group that we do not know yet. Its first entry is the one that was announced.
    ///
    /// # Errors
    /// The entry is not valid, or is not the one that was announced.
    pub fn begin(
        group: GroupId,
        key: ReadingKey,
        announced: &Announcement,
        revision: u64,
        bytes: &[u8],
    ) -> Result<Self, EntryError> {
        let entry = GroupEntry::open(bytes, group, revision, &key)?;
        let head = EntryHash::of(bytes);
        entry.check_alone()?;
        let is_by_inviter = announced.by == Some(entry.author);
        match revision.cmp(&announced.revision) {
            Ordering::Less => return Err(EntryError::Replayed),
            Ordering::Equal if head != announced.head => return Err(EntryError::Forked),
            Ordering::Equal => {}
            // The server has deleted the entry since.
            Ordering::Greater if is_by_inviter && entry.state.is_admin(entry.author.account) => {}
            Ordering::Greater => return Err(EntryError::Forked),
        }
        Ok(Self { group, key, secret: None, admin: None, state: entry.state, head })
    }

    /// Takes keys of the current epoch, which somebody has sent. Whether they are right and were missing.
    pub fn learn(&mut self, keys: &EpochKeys) -> bool {
        if keys.secret.reading_key() != self.key {
            return false;
        }
        let is_news = self.secret.is_none();
        self.secret = Some(keys.secret.clone());
        let admin = keys.admin.as_ref().filter(|admin| self.is_admin_key(admin));
        if let Some(admin) = admin.filter(|_| self.admin.is_none()) {
            self.admin = Some(admin.clone());
            return true;
        }
        is_news
    }

    fn is_admin_key(&self, key: &AdminKey) -> bool {
        key.access().hash() == self.state.admin_access
    }

    /// Reads the next entry. `candidates` are keys that may be the next ones, if this entry starts an epoch. After an error, the
    /// entry does not count: nothing has changed.
    ///
    /// # Errors
    /// The entry is not valid: it was replayed, reordered, forged, or its author may not make the change.
    pub fn read(
        &mut self,
        revision: u64,
        bytes: &[u8],
        candidates: &[EpochKeys],
    ) -> Result<Applied, EntryError> {
        if revision <= self.state.revision {
            let is_known = revision == self.state.revision && EntryHash::of(bytes) == self.head;
            return Err(if is_known || revision < self.state.revision {
                EntryError::Replayed
            } else {
                EntryError::Forked
            });
        }
        let (entry, secret) = self.open(revision, bytes, candidates)?;
        let author = entry.author;
        let after_gap = entry.previous != Some(self.head);
        if after_gap {
            self.check_jump(&entry)?;
        } else {
            self.check_next(&entry)?;
        }
        let starts_epoch = entry.state.epoch != self.state.epoch;
        let has_other_admin_key = entry.state.admin_access != self.state.admin_access;
        if secret.is_some() != starts_epoch || has_other_admin_key != starts_epoch {
            return Err(EntryError::WrongState);
        }
        self.state = entry.state;
        self.head = EntryHash::of(bytes);
        if let Some(secret) = secret {
            self.key = secret.reading_key();
            let of_secret = candidates.iter().filter(|keys| keys.secret == secret);
            let mut admins = of_secret.filter_map(|keys| keys.admin.clone());
            self.admin = admins.find(|admin| self.is_admin_key(admin));
            self.secret = Some(secret);
        }
        Ok(Applied { author, change: entry.change, after_gap })
    }

    /// Decrypts an entry with our key, or with one of those that may be the next one, which is returned.
    fn open(
        &self,
        revision: u64,
        bytes: &[u8],
        candidates: &[EpochKeys],
    ) -> Result<(GroupEntry, Option<GroupSecret>), EntryError> {
        match GroupEntry::open(bytes, self.group, revision, &self.key) {
            Err(EntryError::NotAuthentic) => {}
            result => return Ok((result?, None)),
        }
        for EpochKeys { secret, .. } in candidates {
            match GroupEntry::open(bytes, self.group, revision, &secret.reading_key()) {
                Err(EntryError::NotAuthentic) => {}
                result => return Ok((result?, Some(secret.clone()))),
            }
        }
        Err(EntryError::NotAuthentic)
    }

    /// The state of an entry must be the one that its change leads to. The next key of administrators is random.
    fn check_next(&self, entry: &GroupEntry) -> Result<(), EntryError> {
        let mut after = self.state.apply(entry.author, &entry.change, entry.revision)?;
        if after.epoch != self.state.epoch {
            after.admin_access = entry.state.admin_access;
        }
        if after == entry.state { Ok(()) } else { Err(EntryError::WrongState) }
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
        let mut state = self.state.apply(author, change, revision)?;
        let keys = change.starts_epoch(&self.state).then(|| EpochKeys::random(rng));
        if let Some(admin) = keys.as_ref().and_then(|keys| keys.admin.as_ref()) {
            state.admin_access = admin.access().hash();
        }
        let next = keys.as_ref().map(|keys| &keys.secret);
        let secret = next.or(self.secret.as_ref()).filter(|_| change.replaces_keys(&self.state));
        let replaces = secret.map(|secret| required(self.group, secret, &state));
        let key = next.map(GroupSecret::reading_key);
        let (group, previous) = (self.group, Some(self.head));
        let entry = GroupEntry { group, revision, previous, author, change: change.clone(), state };
        let entry = entry.seal(key.as_ref().unwrap_or(&self.key), pair, rng)?;
        Ok(Draft { revision, entry, keys, replaces })
    }

    /// Whether we have the keys that a change needs: the server requires the key of administrators for other keys, and a person who
    /// becomes administrator must get it from us.
    pub fn has_keys_for(&self, change: &GroupChange) -> bool {
        let is_join = matches!(change, GroupChange::Join { .. });
        let is_role = matches!(change, GroupChange::SetRole { .. });
        let needs_admin_key = is_role || change.replaces_keys(&self.state);
        is_join || self.secret.is_some() && (self.admin.is_some() || !needs_admin_key)
    }

    /// The access key with which the server accepts a draft. `None` if the keys have not arrived yet.
    pub fn access_for(
        &self,
        draft: &Draft,
        password: Option<&LinkPassword>,
    ) -> Option<GroupAccess> {
        if draft.revision > 0 && draft.replaces.is_some() {
            return self.admin.as_ref().map(AdminKey::access);
        }
        let as_member = self.secret.as_ref().map(|secret| secret.access(self.group));
        as_member.or_else(|| Some(self.key.link_access(self.group, password?)))
    }

    /// The access key with which we may read the log.
    pub fn reading_access(&self) -> Option<GroupAccess> {
        let as_member = self.secret.as_ref().map(|secret| secret.access(self.group));
        as_member.or_else(|| Some(self.key.link_access(self.group, self.state.link.as_ref()?)))
    }

    /// The group.
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// The state after the last entry.
    pub const fn state(&self) -> &GroupState {
        &self.state
    }

    /// The secret of the current epoch; `None` if we have joined with a link, and no administrator has sent it yet.
    pub const fn secret(&self) -> Option<&GroupSecret> {
        self.secret.as_ref()
    }

    /// The key that encrypts the entries of the current epoch.
    pub const fn key(&self) -> &ReadingKey {
        &self.key
    }

    /// The key with which administrators replace keys at the server, if we have it.
    pub const fn admin_key(&self) -> Option<&AdminKey> {
        self.admin.as_ref()
    }

    /// The hash of the last entry.
    pub const fn head(&self) -> EntryHash {
        self.head
    }

    /// The link with which people join; `None` if it is disabled.
    pub fn link(&self) -> Option<GroupLink> {
        let password = self.state.link.clone()?;
        let (key, revision, head) = (self.key.clone(), self.state.revision, self.head);
        Some(GroupLink { group: self.group, key, password, revision, head })
    }

    /// Encodes the view for storage. The bytes are secret.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let state = self.state.encode();
        let secret = self.secret.as_ref().map(|secret| secret.as_secret().expose());
        let admin = self.admin.as_ref().map(|admin| admin.as_secret().expose());
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let mut value = Zeroizing::new(Vec::with_capacity(160 + state.len()));
        value.push(FORMAT);
        value.extend(self.group.as_bytes());
        value.extend(self.key.as_secret().expose());
        for key in [secret, admin] {
            value.push(key.is_some().into());
            value.extend(key.into_iter().flatten());
        }
        value.extend(self.head.0);
        value.extend(state.iter());
        value
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
        let key = ReadingKey::from_secret(secret(&mut reader)?);
        let member = optional(&mut reader)?.map(GroupSecret::from_secret);
        let admin = optional(&mut reader)?.map(AdminKey::from_secret);
        let head = EntryHash(reader.array()?);
        let state = GroupState::decode(reader.rest())?;
        Ok(Self { group, key, secret: member, admin, state, head })
    }
}

/// The keys that the server must require in a state.
fn required(group: GroupId, secret: &GroupSecret, state: &GroupState) -> AccessHashes {
    let key = secret.reading_key();
    let link = state.link.as_ref().map(|password| key.link_access(group, password).hash());
    AccessHashes { member: secret.access(group).hash(), admin: state.admin_access, link }
}

fn secret(reader: &mut Reader<'_>) -> Result<Secret<32>, EntryError> {
    Ok(Secret::new(*Zeroizing::new(reader.array()?)))
}

fn optional(reader: &mut Reader<'_>) -> Result<Option<Secret<32>>, EntryError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => secret(reader).map(Some),
        _ => Err(EntryError::Malformed),
    }
}

impl GroupEntry {
    /// Checks an entry without knowing the one before it: what its own state says about the author.
    fn check_alone(&self) -> Result<(), EntryError> {
        let author = self.author;
        match self.state.members.get(&author.account) {
            Some(member) if member.identity == author.identity => Ok(()),
            Some(_) => Err(EntryError::NotPermitted(ChangeError::OtherIdentity)),
            // The state after these changes does not contain their author any more.
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
