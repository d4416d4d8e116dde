//! The rows of the logs of groups: who may read, append and replace keys, and entries that the service cannot read.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::rows::AccountKey;
use super::{StoreError, TokenHash};

/// Reading the logs of groups, inside the transaction of a turn.
pub(in crate::messaging) trait ReadGroupRows {
    /// The group with this id.
    fn group(&mut self, id: GroupId) -> Result<Option<Group>, StoreError>;

    /// An entry of a group that is still stored.
    fn group_entry(&mut self, id: GroupId, revision: u32)
    -> Result<Option<GroupEntry>, StoreError>;

    /// The entries of a group from this revision on, in order, with their revisions: at most so many bytes of them, but at
    /// least one if there is any.
    fn group_entries(
        &mut self,
        id: GroupId,
        from: u32,
        max_bytes: usize,
    ) -> Result<Vec<(u32, Vec<u8>)>, StoreError>;

    /// The authors of the stored entries, in order, without entries that have replaced keys.
    fn group_shares(&mut self, id: GroupId) -> Result<Vec<GroupShare>, StoreError>;

    /// How many groups an account has created.
    fn count_groups(&mut self, creator: AccountKey) -> Result<u64, StoreError>;
}

/// Writing the logs of groups, inside the transaction of a turn that runs alone.
pub(in crate::messaging) trait GroupRows: ReadGroupRows {
    /// Creates or replaces the row of a group.
    fn put_group(&mut self, id: GroupId, group: &Group) -> Result<(), StoreError>;

    /// Adds an entry. Its revision is new in the group.
    fn insert_group_entry(&mut self, id: GroupId, entry: &GroupEntry) -> Result<(), StoreError>;

    /// Removes entries before this revision, and the oldest ones until at most so many bytes are left. The newest entry
    /// always stays.
    fn trim_group(&mut self, id: GroupId, oldest: u32, max_bytes: u64) -> Result<(), StoreError>;
}

/// The id of a group, which its creator has chosen at random.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::messaging) struct GroupId(pub(in crate::messaging) [u8; 16]);

impl GroupId {
    /// Parses 32 hexadecimal digits.
    pub(in crate::messaging) fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupId(…)")
    }
}

/// SHA-256 of each key of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct GroupKeys {
    /// Members show it: they read and append.
    pub(in crate::messaging) member: TokenHash,
    /// Administrators show it: they replace all keys.
    pub(in crate::messaging) admin: TokenHash,
    /// People with the link show it, if it is enabled: they read, and each account appends one entry.
    pub(in crate::messaging) link: Option<TokenHash>,
}

/// The row of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Group {
    /// The account that has created it, which may not exist any more.
    pub(in crate::messaging) creator: AccountKey,
    /// The keys that clients must show.
    pub(in crate::messaging) keys: GroupKeys,
    /// The revision of the newest entry.
    pub(in crate::messaging) latest: u32,
}

/// An entry of a group's log.
#[derive(Clone, Eq, PartialEq)]
pub(in crate::messaging) struct GroupEntry {
    pub(in crate::messaging) revision: u32,
    pub(in crate::messaging) author: AccountKey,
    /// SHA-256 of the key that the author has shown; in the first entry, of the key of members.
    pub(in crate::messaging) access: TokenHash,
    /// The keys after this entry, if it has replaced them.
    pub(in crate::messaging) next: Option<GroupKeys>,
    pub(in crate::messaging) entry: Vec<u8>,
}

/// The share of an entry in a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct GroupShare {
    pub(in crate::messaging) author: AccountKey,
    /// SHA-256 of the key that the author has shown.
    pub(in crate::messaging) access: TokenHash,
    /// The length of the entry.
    pub(in crate::messaging) bytes: u64,
}

impl fmt::Debug for GroupEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, author, entry, .. } = self;
        let mut shown = f.debug_struct("GroupEntry");
        shown.field("revision", revision).field("author", author);
        shown.field("bytes", &entry.len()).finish_non_exhaustive()
    }
}
