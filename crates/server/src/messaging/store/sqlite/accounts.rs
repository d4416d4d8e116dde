//! The rows of apps, verification codes and accounts.

use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Params, Result, Row, params};
use wormhole_chat::service::{AppName, Destination, PhoneNumber, Username};
use wormhole_chat::{AccountId, Timestamp, directory_token};

use crate::messaging::store::columns::{account_columns, app_columns};
use crate::messaging::store::{
    Access, AccessKey, Account, AccountKey, App, AppKey, Askers, IntraApp, NewAccount, PendingCode,
    StoredDeviceList, TokenHash, VerificationCode,
};

/// A statement that reads accounts with their apps.
macro_rules! select_accounts {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            " FROM accounts a JOIN apps p ON p.key = a.app ",
            $condition
        )
    };
}

/// A statement that reads apps.
macro_rules! select_apps {
    ($condition:literal) => {
        concat!("SELECT ", app_columns!(), " FROM apps p ", $condition)
    };
}

pub(super) fn app(database: &Connection, name: &AppName) -> Result<Option<App>> {
    let mut statement = database.prepare_cached(select_apps!("WHERE p.name = ?"))?;
    statement.query_row([name.as_str()], |row| read_app(row, 0)).optional()
}

pub(super) fn apps(database: &Connection) -> Result<Vec<App>> {
    let mut statement = database.prepare_cached(select_apps!("ORDER BY p.name"))?;
    statement.query_map([], |row| read_app(row, 0))?.collect()
}

pub(super) fn insert_app(
    database: &Connection,
    name: &AppName,
    intra: IntraApp,
) -> Result<Option<AppKey>> {
    let sql = "INSERT INTO apps (name, refuses_intra) VALUES (?, ?)
        ON CONFLICT DO NOTHING RETURNING key";
    let row = params![name.as_str(), intra == IntraApp::Refused];
    database.prepare_cached(sql)?.query_row(row, |row| row.get(0).map(AppKey)).optional()
}

pub(super) fn update_app(database: &Connection, app: &App) -> Result<()> {
    let sql = "UPDATE apps SET refuses_intra = ?, token_1 = ?, token_2 = ? WHERE key = ?";
    let mut tokens = app.tokens.iter().map(|token| token.0);
    let row = params![app.intra == IntraApp::Refused, tokens.next(), tokens.next(), app.key.0];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

pub(super) fn pending_code(
    database: &Connection,
    number: &PhoneNumber,
) -> Result<Option<PendingCode>> {
    let sql = "SELECT code, sent, attempts, askers FROM pending_codes WHERE number = ?";
    database.prepare_cached(sql)?.query_row([number.as_str()], read_code).optional()
}

/// Reads a code from the first columns.
fn read_code(row: &Row<'_>) -> Result<PendingCode> {
    Ok(PendingCode {
        code: VerificationCode(row.get(0)?),
        sent: time(row, 1)?,
        attempts: row.get(2)?,
        askers: Askers::from_bytes(&row.get::<_, Vec<u8>>(3)?),
    })
}

pub(super) fn put_pending_code(
    database: &Connection,
    number: &PhoneNumber,
    code: Option<&PendingCode>,
) -> Result<()> {
    let Some(code) = code else {
        let sql = "DELETE FROM pending_codes WHERE number = ?";
        return database.prepare_cached(sql)?.execute([number.as_str()]).map(drop);
    };
    let sql = "REPLACE INTO pending_codes (number, code, sent, attempts, askers)
        VALUES (?, ?, ?, ?, ?)";
    let (number, askers) = (number.as_str(), code.askers.to_bytes());
    let row = params![number, code.code.0, stored(code.sent), code.attempts, askers];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

pub(super) fn account(database: &Connection, id: AccountId) -> Result<Option<Account>> {
    one(database, select_accounts!("WHERE a.id = ?"), [id.as_bytes()])
}

pub(super) fn accounts_of(database: &Connection, number: &PhoneNumber) -> Result<Vec<Account>> {
    let sql = select_accounts!("WHERE a.number = ? ORDER BY a.key");
    database
        .prepare_cached(sql)?
        .query_map([number.as_str()], |row| read_account(row, 0))?
        .collect()
}

pub(super) fn resolve(database: &Connection, destination: &Destination) -> Result<Option<Account>> {
    match destination {
        Destination::Account(id) => account(database, *id),
        Destination::Number(number) => {
            let sql = select_accounts!("WHERE a.number = ? AND a.is_default");
            one(database, sql, [number.as_str()])
        }
        Destination::NumberInApp(number, app) => {
            let sql = select_accounts!("WHERE a.number = ? AND p.name = ?");
            one(database, sql, [number.as_str(), app.as_str()])
        }
        Destination::Username(name) => {
            let sql = select_accounts!("JOIN usernames u ON u.account = a.key WHERE u.name = ?");
            one(database, sql, [name.as_str()])
        }
    }
}

pub(super) fn account_at(database: &Connection, key: AccountKey) -> Result<Option<Account>> {
    one(database, select_accounts!("WHERE a.key = ?"), [key.0])
}

pub(super) fn accounts_with_token(database: &Connection, token: &[u8; 10]) -> Result<Vec<Account>> {
    let sql = select_accounts!("WHERE a.token = ? AND a.is_discoverable ORDER BY a.key");
    database.prepare_cached(sql)?.query_map([token], |row| read_account(row, 0))?.collect()
}

pub(super) fn insert_account(database: &Connection, new: &NewAccount) -> Result<AccountKey> {
    if new.is_default {
        clear_default(database, &new.number)?;
    }
    let sql = "INSERT INTO accounts (id, app, number, token, is_default, is_discoverable,
            shows_app, created, verified)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)";
    let row = params![
        new.id.as_bytes(),
        new.app.0,
        new.number.as_str(),
        directory_token(new.number.as_str()),
        new.is_default,
        new.is_discoverable,
        new.shows_app,
        stored(new.created),
    ];
    database.prepare_cached(sql)?.insert(row).map(AccountKey)
}

pub(super) fn update_account(database: &Connection, account: &Account) -> Result<()> {
    if account.is_default {
        clear_default(database, &account.number)?;
    }
    let sql = "UPDATE accounts SET is_default = ?, is_discoverable = ?, shows_app = ?,
            verified = ?, identity = ?, access_key = ?, is_unrestricted = ?,
            device_list_revision = ?, device_list = ?
        WHERE key = ?";
    let row = params![
        account.is_default,
        account.is_discoverable,
        account.shows_app,
        stored(account.verified),
        account.identity,
        account.access.key.map(|key| key.0),
        account.access.is_unrestricted,
        account.device_list.as_ref().map(|list| list.revision),
        account.device_list.as_ref().map(|list| &*list.list),
        account.key.0,
    ];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

/// The name of an account.
pub(super) fn username(database: &Connection, account: AccountKey) -> Result<Option<Username>> {
    let sql = "SELECT name FROM usernames WHERE account = ?";
    database.prepare_cached(sql)?.query_row([account.0], |row| parse(row, 0)).optional()
}

/// Replaces the name of an account.
pub(super) fn put_username(
    database: &Connection,
    account: AccountKey,
    name: Option<&Username>,
) -> Result<()> {
    let sql = "DELETE FROM usernames WHERE account = ?";
    database.prepare_cached(sql)?.execute([account.0])?;
    let Some(name) = name else { return Ok(()) };
    let sql = "INSERT INTO usernames (name, account) VALUES (?, ?)";
    database.prepare_cached(sql)?.execute(params![name.as_str(), account.0]).map(drop)
}

fn clear_default(database: &Connection, number: &PhoneNumber) -> Result<()> {
    let sql = "UPDATE accounts SET is_default = 0 WHERE number = ? AND is_default";
    database.prepare_cached(sql)?.execute([number.as_str()]).map(drop)
}

/// Removes the row of an account.
pub(super) fn delete_account(database: &Connection, key: AccountKey) -> Result<()> {
    database.prepare_cached("DELETE FROM accounts WHERE key = ?")?.execute([key.0]).map(drop)
}

fn one(database: &Connection, sql: &str, params: impl Params) -> Result<Option<Account>> {
    database.prepare_cached(sql)?.query_row(params, |row| read_account(row, 0)).optional()
}

/// Reads an account, whose first column is `first`.
pub(super) fn read_account(row: &Row<'_>, first: usize) -> Result<Account> {
    Ok(Account {
        key: AccountKey(row.get(first)?),
        id: account_id(row, first + 1)?,
        app: AppKey(row.get(first + 2)?),
        app_name: parse(row, first + 3)?,
        number: parse(row, first + 4)?,
        is_default: row.get(first + 5)?,
        is_discoverable: row.get(first + 6)?,
        shows_app: row.get(first + 7)?,
        verified: time(row, first + 8)?,
        identity: row.get(first + 9)?,
        access: Access {
            key: row.get::<_, Option<[u8; 16]>>(first + 10)?.map(AccessKey),
            is_unrestricted: row.get(first + 11)?,
        },
        device_list: StoredDeviceList::of_columns(row.get(first + 12)?, row.get(first + 13)?),
    })
}

/// Reads an app, whose first column is `first`.
pub(super) fn read_app(row: &Row<'_>, first: usize) -> Result<App> {
    let refuses: bool = row.get(first + 2)?;
    let tokens: [Option<[u8; 32]>; 2] = [row.get(first + 3)?, row.get(first + 4)?];
    Ok(App {
        key: AppKey(row.get(first)?),
        name: parse(row, first + 1)?,
        intra: IntraApp::of_column(refuses),
        tokens: tokens.into_iter().flatten().map(TokenHash).collect(),
    })
}

pub(super) fn account_id(row: &Row<'_>, column: usize) -> Result<AccountId> {
    row.get(column).map(AccountId::from_bytes)
}

/// Reads a name or a number. Only valid ones are stored.
fn parse<T: FromStr>(row: &Row<'_>, column: usize) -> Result<T> {
    let invalid = |_| Error::InvalidColumnType(column, "name or number".into(), Type::Text);
    row.get_ref(column)?.as_str()?.parse().map_err(invalid)
}

/// A time as it is stored. Clients may choose any 64 bits.
pub(super) const fn stored(time: Timestamp) -> i64 {
    time.0.cast_signed()
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(|time: i64| Timestamp(time.cast_unsigned()))
}
