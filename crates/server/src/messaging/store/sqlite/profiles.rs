//! The rows of profiles.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::messaging::store::{AccountKey, Avatar, Profile};

pub(super) fn profile(database: &Connection, account: AccountKey) -> Result<Option<Profile>> {
    let sql =
        "SELECT version, name, about, emoji, old_name, avatar FROM profiles WHERE account = ?";
    let read = |row: &Row<'_>| {
        Ok(Profile {
            version: row.get(0)?,
            name: row.get(1)?,
            about: row.get(2)?,
            emoji: row.get(3)?,
            old_name: row.get(4)?,
            avatar: row.get::<_, Option<[u8; 16]>>(5)?.map(Avatar),
        })
    };
    database.prepare_cached(sql)?.query_row([account.0], read).optional()
}

pub(super) fn put(
    database: &Connection,
    account: AccountKey,
    profile: Option<&Profile>,
) -> Result<()> {
    let Some(profile) = profile else {
        let sql = "DELETE FROM profiles WHERE account = ?";
        return database.prepare_cached(sql)?.execute([account.0]).map(drop);
    };
    let sql = "REPLACE INTO profiles (account, version, name, about, emoji, old_name, avatar)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let row = params![
        account.0,
        profile.version,
        profile.name,
        profile.about,
        profile.emoji,
        profile.old_name,
        profile.avatar.map(|avatar| avatar.0),
    ];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

pub(super) fn has_avatar(database: &Connection, avatar: Avatar) -> Result<bool> {
    database.prepare_cached("SELECT 1 FROM profiles WHERE avatar = ?")?.exists([avatar.0])
}
