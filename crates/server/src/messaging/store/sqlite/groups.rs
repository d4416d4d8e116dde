//! The logs of groups.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::rows::SqliteTables;
use crate::messaging::store::{
    AccountKey, Group, GroupEntry, GroupId, GroupKeys, GroupRows, GroupShare, ReadGroupRows,
    StoreError, TokenHash,
};

type Stored<T> = std::result::Result<T, StoreError>;

impl ReadGroupRows for SqliteTables<'_> {
    fn group(&mut self, id: GroupId) -> Stored<Option<Group>> {
        Ok(group(self.database, id)?)
    }

    fn group_entry(&mut self, id: GroupId, revision: u32) -> Stored<Option<GroupEntry>> {
        Ok(entry(self.database, id, revision)?)
    }

    fn group_entries(
        &mut self,
        id: GroupId,
        from: u32,
        max_bytes: usize,
    ) -> Stored<Vec<(u32, Vec<u8>)>> {
        Ok(entries(self.database, id, from, max_bytes)?)
    }

    fn group_shares(&mut self, id: GroupId) -> Stored<Vec<GroupShare>> {
        let sql = "SELECT author, access, length(entry) FROM group_entries
            WHERE group_id = ? AND next_access IS NULL ORDER BY revision";
        let mut statement = self.database.prepare_cached(sql)?;
        let read = |row: &Row<'_>| {
            let (author, access) = (AccountKey(row.get(0)?), TokenHash(row.get(1)?));
            Ok(GroupShare { author, access, bytes: row.get(2)? })
        };
        Ok(statement.query_map([id.0], read)?.collect::<Result<_>>()?)
    }

    fn count_groups(&mut self, creator: AccountKey) -> Stored<u64> {
        let sql = "SELECT count(*) FROM group_logs WHERE creator = ?";
        Ok(self.database.prepare_cached(sql)?.query_row([creator.0], |row| row.get(0))?)
    }
}

impl GroupRows for SqliteTables<'_> {
    fn put_group(&mut self, id: GroupId, group: &Group) -> Stored<()> {
        let sql = "REPLACE INTO group_logs (id, creator, access, admin_access, link_access, latest)
            VALUES (?, ?, ?, ?, ?, ?)";
        let GroupKeys { member, admin, link } = group.keys;
        let link = link.map(|link| link.0);
        let row = params![id.0, group.creator.0, member.0, admin.0, link, group.latest];
        Ok(self.database.prepare_cached(sql)?.execute(row).map(drop)?)
    }

    fn insert_group_entry(&mut self, id: GroupId, entry: &GroupEntry) -> Stored<()> {
        Ok(insert_entry(self.database, id, entry)?)
    }

    fn trim_group(&mut self, id: GroupId, oldest: u32, max_bytes: u64) -> Stored<()> {
        Ok(trim(self.database, id, oldest, max_bytes)?)
    }
}

fn group(database: &Connection, id: GroupId) -> Result<Option<Group>> {
    let sql = "SELECT creator, access, admin_access, link_access, latest FROM group_logs
        WHERE id = ?";
    let read = |row: &Row<'_>| {
        let link: Option<[u8; 32]> = row.get(3)?;
        let (member, admin) = (TokenHash(row.get(1)?), TokenHash(row.get(2)?));
        let keys = GroupKeys { member, admin, link: link.map(TokenHash) };
        Ok(Group { creator: AccountKey(row.get(0)?), keys, latest: row.get(4)? })
    };
    database.prepare_cached(sql)?.query_row([id.0], read).optional()
}

fn entry(database: &Connection, id: GroupId, revision: u32) -> Result<Option<GroupEntry>> {
    let sql = "SELECT author, access, next_access, next_admin_access, next_link_access, entry
        FROM group_entries WHERE group_id = ? AND revision = ?";
    let read = |row: &Row<'_>| {
        let hash = |column| -> Result<Option<TokenHash>> {
            let bytes: Option<[u8; 32]> = row.get(column)?;
            Ok(bytes.map(TokenHash))
        };
        let (both, link) = (hash(2)?.zip(hash(3)?), hash(4)?);
        Ok(GroupEntry {
            revision,
            author: AccountKey(row.get(0)?),
            access: TokenHash(row.get(1)?),
            next: both.map(|(member, admin)| GroupKeys { member, admin, link }),
            entry: row.get(5)?,
        })
    };
    database.prepare_cached(sql)?.query_row(params![id.0, revision], read).optional()
}

fn entries(
    database: &Connection,
    id: GroupId,
    from: u32,
    max_bytes: usize,
) -> Result<Vec<(u32, Vec<u8>)>> {
    let sql = "SELECT revision, entry FROM group_entries WHERE group_id = ? AND revision >= ?
        ORDER BY revision";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query(params![id.0, from])?;
    let (mut entries, mut left) = (Vec::new(), max_bytes);
    while let Some(row) = rows.next()? {
        let length = row.get_ref(1)?.as_blob()?.len();
        if length > left && !entries.is_empty() {
            break;
        }
        left = left.saturating_sub(length);
        entries.push((row.get(0)?, row.get(1)?));
    }
    Ok(entries)
}

fn insert_entry(database: &Connection, id: GroupId, entry: &GroupEntry) -> Result<()> {
    let sql = "INSERT INTO group_entries (group_id, revision, author, access, next_access,
        next_admin_access, next_link_access, entry) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let GroupEntry { revision, author, access, next, entry } = entry;
    let member = next.map(|next| next.member.0);
    let admin = next.map(|next| next.admin.0);
    let link = next.and_then(|next| next.link).map(|link| link.0);
    let row = params![id.0, revision, author.0, access.0, member, admin, link, entry];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

/// Removes entries before this revision, and the oldest ones until at most so many bytes are left, except for the newest.
fn trim(database: &Connection, id: GroupId, oldest: u32, max_bytes: u64) -> Result<()> {
    let sql = "SELECT revision, length(entry) FROM group_entries WHERE group_id = ?
        ORDER BY revision DESC";
    let mut statement = database.prepare_cached(sql)?;
    let rows = statement.query_map([id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut kept, mut bytes): (Option<u32>, u64) = (None, 0);
    for row in rows {
        let (revision, length): (u32, u64) = row?;
        bytes = bytes.saturating_add(length);
        if kept.is_some() && (bytes > max_bytes || revision < oldest) {
            break;
        }
        kept = Some(revision);
    }
    let sql = "DELETE FROM group_entries WHERE group_id = ? AND revision < ?";
    database.prepare_cached(sql)?.execute(params![id.0, kept]).map(drop)
}
