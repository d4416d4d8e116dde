//! The log of a group: it orders entries that the service cannot read. Whoever knows the group's access key may read it and
//! append to it. (docs/chat-service.md "Groups")

use crate::messaging::store::{
    Account, Group, GroupEntry, GroupId, ReadRows, Rows, StoreError, TokenHash, WorkError,
};

/// A request to append an entry.
#[derive(Clone, Debug)]
pub(in crate::messaging) struct Append {
    pub(in crate::messaging) group: GroupId,
    /// 0 creates the group.
    pub(in crate::messaging) revision: u32,
    /// SHA-256 of the group's access key; of a new group, the one that members must show from then on.
    pub(in crate::messaging) access: TokenHash,
    /// SHA-256 of the access key after this entry, if it is another one.
    pub(in crate::messaging) next_access: Option<TokenHash>,
    pub(in crate::messaging) entry: Vec<u8>,
}

/// Why an entry is not appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum AppendRefusal {
    /// Another entry was appended before; this is the newest revision.
    Conflict(u32),
    /// There is no such group, or the access key is wrong.
    NotFound,
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
        if !group.access.matches(&self.access) {
            return Err(WorkError::Refused(AppendRefusal::NotFound));
        }
        if group.latest.checked_add(1) != Some(self.revision) {
            return Err(WorkError::Refused(AppendRefusal::Conflict(group.latest)));
        }
        let access = self.next_access.unwrap_or(group.access);
        self.write(rows, author, &Group { access, latest: self.revision, ..group })?;
        let oldest = (self.revision + 1).saturating_sub(MAX_ENTRIES);
        Ok(rows.trim_group(self.group, oldest, MAX_LOG_BYTES)?)
    }

    fn create(
        &self,
        rows: &mut dyn Rows,
        author: &Account,
    ) -> Result<(), WorkError<AppendRefusal>> {
        if self.revision != 0 {
            return Err(WorkError::Refused(AppendRefusal::NotFound));
        }
        if rows.count_groups(author.key)? >= MAX_GROUPS {
            return Err(WorkError::Refused(AppendRefusal::TooManyGroups));
        }
        let group = Group { creator: author.key, access: self.access, latest: 0 };
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
            next_access: self.next_access,
            entry: self.entry.clone(),
        }
    }
}

/// Reads the entries of a group from this revision on. `None` if there is no such group, or if the access key is wrong.
pub(in crate::messaging) fn read(
    rows: &mut dyn ReadRows,
    group: GroupId,
    access: &TokenHash,
    from: u32,
) -> Result<Option<GroupPage>, StoreError> {
    let Some(Group { latest, .. }) = rows.group(group)?.filter(|it| it.access.matches(access))
    else {
        return Ok(None);
    };
    let entries = rows.group_entries(group, from, MAX_PAGE_BYTES)?;
    Ok(Some(GroupPage { entries, latest }))
}

/// Longest entry, in bytes.
pub(in crate::messaging) const MAX_ENTRY: usize = 256 << 10;

/// Most entries of a group that are kept.
pub(in crate::messaging) const MAX_ENTRIES: u32 = 256;

/// Most bytes of entries of a group that are kept.
pub(in crate::messaging) const MAX_LOG_BYTES: u64 = 8 << 20;

/// Most groups that an account creates.
pub(in crate::messaging) const MAX_GROUPS: u64 = 1000;

/// Most bytes of entries in one answer. As JSON, it must fit into a frame of a WebSocket.
const MAX_PAGE_BYTES: usize = 512 << 10;
