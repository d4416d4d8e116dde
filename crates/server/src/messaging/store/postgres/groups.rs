//! The logs of groups.

use tokio_postgres::types::ToSql;

use super::columns::{Columns, Read};
use super::transaction::{PostgresTables, Stored};
use crate::messaging::store::{
    AccountKey, Group, GroupEntry, GroupId, GroupKeys, GroupRows, GroupShare, ReadGroupRows,
    TokenHash,
};

impl ReadGroupRows for PostgresTables<'_> {
    fn group(&mut self, id: GroupId) -> Stored<Option<Group>> {
        let read = |columns: &mut Columns<'_>| {
            let (creator, member) = (AccountKey(columns.value()?), token(columns)?);
            let (admin, link) = (token(columns)?, optional_token(columns)?);
            let keys = GroupKeys { member, admin, link };
            Ok(Group { creator, keys, latest: columns.number()? })
        };
        Ok(self.read(|it| &it.group, &[&id.0.as_slice()], read)?.pop())
    }

    fn group_entry(&mut self, id: GroupId, revision: u32) -> Stored<Option<GroupEntry>> {
        let row: [&(dyn ToSql + Sync); 2] = [&id.0.as_slice(), &i64::from(revision)];
        let read = |columns: &mut Columns<'_>| {
            let (author, access) = (AccountKey(columns.value()?), token(columns)?);
            let (member, admin) = (optional_token(columns)?, optional_token(columns)?);
            let link = optional_token(columns)?;
            let next = member.zip(admin).map(|(member, admin)| GroupKeys { member, admin, link });
            Ok(GroupEntry { revision, author, access, next, entry: columns.value()? })
        };
        Ok(self.read(|it| &it.group_entry, &row, read)?.pop())
    }

    fn group_entries(
        &mut self,
        id: GroupId,
        from: u32,
        max_bytes: usize,
    ) -> Stored<Vec<(u32, Vec<u8>)>> {
        let max_bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let row: [&(dyn ToSql + Sync); 3] = [&id.0.as_slice(), &i64::from(from), &max_bytes];
        self.read(|it| &it.group_entries, &row, |it| Ok((it.number()?, it.value()?)))
    }

    fn group_shares(&mut self, id: GroupId) -> Stored<Vec<GroupShare>> {
        let read = |columns: &mut Columns<'_>| {
            let (author, access) = (AccountKey(columns.value()?), token(columns)?);
            Ok(GroupShare { author, access, bytes: columns.number()? })
        };
        self.read(|it| &it.group_shares, &[&id.0.as_slice()], read)
    }

    fn count_groups(&mut self, creator: AccountKey) -> Stored<u64> {
        let counted = self.read(|it| &it.count_groups, &[&creator.0], |it| it.number())?;
        Ok(counted.first().copied().unwrap_or_default())
    }
}

impl GroupRows for PostgresTables<'_> {
    fn put_group(&mut self, id: GroupId, group: &Group) -> Stored<()> {
        let GroupKeys { member, admin, link } = &group.keys;
        let link = link.as_ref().map(|link| link.0.as_slice());
        let row: [&(dyn ToSql + Sync); 6] = [
            &id.0.as_slice(),
            &group.creator.0,
            &member.0.as_slice(),
            &admin.0.as_slice(),
            &link,
            &i64::from(group.latest),
        ];
        self.query(|it| &it.put_group, &row).map(drop)
    }

    fn insert_group_entry(&mut self, id: GroupId, entry: &GroupEntry) -> Stored<()> {
        let next = entry.next.as_ref();
        let member = next.map(|next| next.member.0.as_slice());
        let admin = next.map(|next| next.admin.0.as_slice());
        let link = next.and_then(|next| next.link.as_ref()).map(|link| link.0.as_slice());
        let row: [&(dyn ToSql + Sync); 8] = [
            &id.0.as_slice(),
            &i64::from(entry.revision),
            &entry.author.0,
            &entry.access.0.as_slice(),
            &member,
            &admin,
            &link,
            &entry.entry,
        ];
        self.query(|it| &it.insert_group_entry, &row).map(drop)
    }

    fn trim_group(&mut self, id: GroupId, oldest: u32, max_bytes: u64) -> Stored<()> {
        let max_bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let row: [&(dyn ToSql + Sync); 3] = [&id.0.as_slice(), &i64::from(oldest), &max_bytes];
        self.query(|it| &it.trim_group, &row).map(drop)
    }
}

fn optional_token(columns: &mut Columns<'_>) -> Read<Option<TokenHash>> {
    Ok(columns.optional_array()?.map(TokenHash))
}

fn token(columns: &mut Columns<'_>) -> Read<TokenHash> {
    columns.array().map(TokenHash)
}
