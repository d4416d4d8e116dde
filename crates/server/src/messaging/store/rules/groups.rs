//! The log of a group: it orders entries that the service cannot read. Which key somebody shows decides what they may do.
//! (docs/chat-service.md "Groups")
//!
//! | key | reads | appends | replaces the keys |
//! |---|---|---|---|
//! | of members | yes | yes | no |
//! | of administrators | yes | yes | yes |
//! | of the link | yes | one entry of each account | no |

use crate::messaging::store::{
    Account, Group, GroupEntry, GroupId, GroupKeys, GroupShare, ReadRows, Rows, StoreError,
    TokenHash, WorkError,
};

/// A request to append an entry.
#[derive(Clone, Debug)]
pub(in crate::messaging) struct Append {
    pub(in crate::messaging) group: GroupId,
    /// 0 creates the group.
    pub(in crate::messaging) revision: u32,
    /// SHA-256 of the key that the author shows; of a new group, of the key of members.
    pub(in crate::messaging) access: TokenHash,
    /// The keys after this entry, if it replaces them. A new group has some.
    pub(in crate::messaging) next: Option<GroupKeys>,
    pub(in crate::messaging) entry: Vec<u8>,
}

/// Why an entry is not appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum AppendRefusal {
    /// The account has appended an entry with the key of the link already.
    AlreadyJoined,
    /// Another entry was appended before; this is the newest revision.
    Conflict(u32),
    /// The key of the link was used too often: administrators must make another link.
    LinkUsed,
    /// Only the key of administrators permits to replace keys.
    NotAdmin,
    /// There is no such group, or the access key is wrong.
    NotFound,
    /// Too many bytes of the log are entries of the account already.
    TooMuch,
    /// The account has created as many groups as it may.
    TooManyGroups,
}

/// Entries of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct GroupPage {
    /// With their revisions, in order.
    pub(in crate::messaging) entries: Vec<(u32, Vec<u8>)>,
    /// The newest revision of the group.
    pub(in crate::messaging) latest: u32,
}

impl Append {
    /// Appends the entry. If the answer to the same request was lost before, it is in the log already.
    ///
    /// # Errors
    /// The log stays as it is.
    pub(in crate::messaging) fn append(
        &self,
        rows: &mut dyn Rows,
        author: &Account,
    ) -> Result<(), WorkError<AppendRefusal>> {
        let Some(group) = rows.group(self.group)? else { return self.create(rows, author) };
        if self.was_appended(rows, author)? {
            return Ok(());
        }
        let Some(right) = Right::from_key(&self.access, &group.keys) else {
            return Err(WorkError::Refused(AppendRefusal::NotFound));
        };
        if group.latest.checked_add(1) != Some(self.revision) {
            return Err(WorkError::Refused(AppendRefusal::Conflict(group.latest)));
        }
        self.check_right(rows, author, right)?;
        self.check_share(rows, author, right)?;
        let keys = self.next.unwrap_or(group.keys);
        self.write(rows, author, &Group { keys, latest: self.revision, ..group })?;
        let oldest = (self.revision + 1).saturating_sub(MAX_ENTRIES);
        Ok(rows.trim_group(self.group, oldest, MAX_LOG_BYTES)?)
    }

    /// Whether somebody with this right may append the entry.
    fn check_right(
        &self,
        rows: &mut dyn Rows,
        author: &Account,
        right: Right,
    ) -> Result<(), WorkError<AppendRefusal>> {
        if right != Right::Admin && self.next.is_some() {
            return Err(WorkError::Refused(AppendRefusal::NotAdmin));
        }
        if right != Right::Link {
            return Ok(());
        }
        let shares = rows.group_shares(self.group)?;
        let with_link = shares.iter().filter(|share| share.access == self.access);
        if with_link.clone().any(|share| share.author == author.key) {
            return Err(WorkError::Refused(AppendRefusal::AlreadyJoined));
        }
        if with_link.count() >= MAX_LINK_ENTRIES {
            return Err(WorkError::Refused(AppendRefusal::LinkUsed));
        }
        Ok(())
    }

    /// Whether the log has room for more of this author, or of those with the link, who together must not displace the entries of
    /// others. Administrators replace keys however long their entries are: they can remove everybody anyway.
    fn check_share(
        &self,
        rows: &mut dyn Rows,
        author: &Account,
        right: Right,
    ) -> Result<(), WorkError<AppendRefusal>> {
        let (is_counted, refusal): (&dyn Fn(&GroupShare) -> bool, _) = match right {
            Right::Admin => return Ok(()),
            // Small entries are limited by their number, so that everybody can always leave.
            Right::Member if self.entry.len() <= SMALL_ENTRY => return Ok(()),
            Right::Member => (&|share| share.author == author.key, AppendRefusal::TooMuch),
            Right::Link => (&|share| share.access == self.access, AppendRefusal::LinkUsed),
        };
        let shares = rows.group_shares(self.group)?;
        let bytes = shares.iter().filter(|share| is_counted(share)).map(|share| share.bytes);
        let bytes = bytes.sum::<u64>().saturating_add(bytes_of(&self.entry));
        if bytes > MAX_SHARE { Err(WorkError::Refused(refusal)) } else { Ok(()) }
    }

    fn create(
        &self,
        rows: &mut dyn Rows,
        author: &Account,
    ) -> Result<(), WorkError<AppendRefusal>> {
        let Some(keys) = self.next.filter(|_| self.revision == 0) else {
            return Err(WorkError::Refused(AppendRefusal::NotFound));
        };
        if rows.count_groups(author.key)? >= MAX_GROUPS {
            return Err(WorkError::Refused(AppendRefusal::TooManyGroups));
        }
        let group = Group { creator: author.key, keys, latest: 0 };
        Ok(self.write(rows, author, &group)?)
    }

    /// Whether the same account has appended the same entry at this revision, with the same access keys.
    fn was_appended(&self, rows: &mut dyn Rows, author: &Account) -> Result<bool, StoreError> {
        let stored = rows.group_entry(self.group, self.revision)?;
        Ok(stored.is_some_and(|stored| {
            stored.access.matches(&self.access) && stored == self.to_entry(author)
        }))
    }

    fn write(
        &self,
        rows: &mut dyn Rows,
        author: &Account,
        group: &Group,
    ) -> Result<(), StoreError> {
        rows.put_group(self.group, group)?;
        rows.insert_group_entry(self.group, &self.to_entry(author))
    }

    fn to_entry(&self, author: &Account) -> GroupEntry {
        GroupEntry {
            revision: self.revision,
            author: author.key,
            access: self.access,
            next: self.next,
            entry: self.entry.clone(),
        }
    }
}

/// The rights of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Right {
    Admin,
    Link,
    Member,
}

impl Right {
    /// Returns the rights of the key with this hash in a group.
    fn from_key(shown: &TokenHash, keys: &GroupKeys) -> Option<Self> {
        if keys.admin.matches(shown) {
            Some(Self::Admin)
        } else if keys.member.matches(shown) {
            Some(Self::Member)
        } else {
            keys.link.filter(|link| link.matches(shown)).map(|_| Self::Link)
        }
    }
}

/// Reads the entries of a group from this revision on. `None` if there is no such group, or if the key is wrong.
pub(in crate::messaging) fn read(
    rows: &mut dyn ReadRows,
    group: GroupId,
    access: &TokenHash,
    from: u32,
) -> Result<Option<GroupPage>, StoreError> {
    let found = rows.group(group)?.filter(|it| Right::from_key(access, &it.keys).is_some());
    let Some(Group { latest, .. }) = found else { return Ok(None) };
    let entries = rows.group_entries(group, from, MAX_PAGE_BYTES)?;
    Ok(Some(GroupPage { entries, latest }))
}

fn bytes_of(entry: &[u8]) -> u64 {
    u64::try_from(entry.len()).unwrap_or(u64::MAX)
}

/// Longest entry, in bytes.
pub(in crate::messaging) const MAX_ENTRY: usize = 256 << 10;

/// Maximum number of entries of a group that are kept.
pub(in crate::messaging) const MAX_ENTRIES: u32 = 256;

/// Maximum number of bytes of entries of a group that are kept.
pub(in crate::messaging) const MAX_LOG_BYTES: u64 = 8 << 20;

/// Maximum number of bytes of kept entries of one member, or of all that were appended with the key of one link, without those that
/// have replaced keys.
pub(in crate::messaging) const MAX_SHARE: u64 = MAX_LOG_BYTES / 8;

/// An entry of a member with at most so many bytes is appended however much the log has of it.
pub(in crate::messaging) const SMALL_ENTRY: usize = 4 << 10;

/// Maximum number of groups that an account creates.
pub(in crate::messaging) const MAX_GROUPS: u64 = 1000;

/// Maximum number of stored entries of a group that were appended with the key of one link, so that its holders cannot displace those of
/// members.
pub(in crate::messaging) const MAX_LINK_ENTRIES: usize = 200;

/// Maximum number of bytes of entries in one answer. As JSON, it must fit into a frame of a WebSocket.
const MAX_PAGE_BYTES: usize = 512 << 10;
