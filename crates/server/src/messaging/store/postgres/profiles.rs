//! The rows of profiles.

use tokio_postgres::types::ToSql;

use super::columns::Columns;
use super::transaction::{PostgresTables, Stored};
use crate::messaging::store::{AccountKey, Avatar, Profile};

impl PostgresTables<'_> {
    pub(super) fn read_profile(&mut self, account: AccountKey) -> Stored<Option<Profile>> {
        let read = |columns: &mut Columns<'_>| {
            Ok(Profile {
                version: columns.value()?,
                name: columns.value()?,
                about: columns.value()?,
                emoji: columns.value()?,
                old_name: columns.value()?,
                avatar: columns.optional_array()?.map(Avatar),
            })
        };
        Ok(self.read(|it| &it.profile, &[&account.0], read)?.pop())
    }

    pub(super) fn write_profile(
        &mut self,
        account: AccountKey,
        profile: Option<&Profile>,
    ) -> Stored<()> {
        let Some(profile) = profile else {
            return self.query(|it| &it.delete_profile, &[&account.0]).map(drop);
        };
        let avatar = profile.avatar.map(|avatar| avatar.0.to_vec());
        let row: [&(dyn ToSql + Sync); 7] = [
            &account.0,
            &profile.version,
            &profile.name,
            &profile.about,
            &profile.emoji,
            &profile.old_name,
            &avatar,
        ];
        self.query(|it| &it.put_profile, &row).map(drop)
    }

    pub(super) fn find_avatar(&mut self, avatar: Avatar) -> Stored<bool> {
        let avatar = avatar.0.as_slice();
        Ok(!self.query(|it| &it.has_avatar, &[&avatar])?.is_empty())
    }
}
