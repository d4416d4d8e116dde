//! Rows about who may write to whom, and reports.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params};
use wormhole_chat::AccountId;

use super::accounts::{account_id, read_account, stored, time};
use super::rows::SqliteTables;
use crate::messaging::random;
use crate::messaging::store::cache::AccountCache;
use crate::messaging::store::columns::{ACCOUNT_COLUMNS, account_columns};
use crate::messaging::store::rules::consent::{MAX_ACCEPTED, MAX_REQUESTS, MAX_REQUESTS_OF_SENDER};
use crate::messaging::store::{
    Account, AccountKey, Consent, ConsentRows, ConsentState, Pair, ReadConsentRows, Report,
    ReportKey, ReportedMessage, StoreError,
};

type Stored<T> = std::result::Result<T, StoreError>;

impl ReadConsentRows for SqliteTables<'_> {
    fn consent(&mut self, pair: Pair) -> Stored<Option<Consent>> {
        Ok(read(self.database, pair)?)
    }

    fn consents_of(
        &mut self,
        recipient: AccountKey,
        state: ConsentState,
        max: u32,
    ) -> Stored<Vec<(Account, Consent)>> {
        Ok(of_recipient(self.database, recipient, state, max)?)
    }

    fn count_consents(&mut self, recipient: AccountKey, state: ConsentState) -> Stored<u64> {
        let sql = "SELECT count(*) FROM consents WHERE recipient = ? AND state = ?";
        let row = params![recipient.0, state.number()];
        Ok(self.database.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
    }

    fn reports(&mut self, max: u32) -> Stored<Vec<Report>> {
        let sql = "SELECT reporter, reported, sender, guid, accepted, content FROM reports
            ORDER BY reported DESC, reporter, guid LIMIT ?";
        let mut statement = self.database.prepare_cached(sql)?;
        let reports = statement.query_map([max], read_report)?.collect::<Result<_>>();
        Ok(reports?)
    }
}

impl ConsentRows for SqliteTables<'_> {
    fn put_consent(&mut self, pair: Pair, consent: Option<Consent>) -> Stored<()> {
        self.cache.forget_accepted(pair);
        Ok(put(self.database, pair, consent)?)
    }

    fn report_key(&self) -> ReportKey {
        self.report_key.clone()
    }

    fn insert_report(&mut self, report: &Report) -> Stored<()> {
        let sql = "INSERT INTO reports (reporter, reported, sender, guid, accepted, content)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let Report { reporter, reported, message } = report;
        let ReportedMessage { sender, guid, accepted, content } = message;
        let (reporter, sender) = (reporter.as_bytes(), sender.as_bytes());
        let row = params![reporter, stored(*reported), sender, guid, stored(*accepted), content];
        Ok(self.database.prepare_cached(sql)?.execute(row).map(drop)?)
    }

    fn delete_reports(&mut self, reported: AccountId) -> Stored<u64> {
        let sql = "DELETE FROM reports WHERE sender = ?";
        let deleted = self.database.prepare_cached(sql)?.execute([reported.as_bytes()])?;
        Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
    }
}

/// Whether a recipient wants messages of a sender; from memory, if it does.
pub(super) fn cached(
    cache: &mut AccountCache,
    database: &Connection,
    pair: Pair,
) -> Result<Option<Consent>> {
    if let Some(accepted) = cache.accepted(pair) {
        return Ok(Some(accepted));
    }
    let consent = read(database, pair)?;
    cache.add_accepted(pair, consent);
    Ok(consent)
}

fn read(database: &Connection, pair: Pair) -> Result<Option<Consent>> {
    let sql = "SELECT state, since, messages FROM consents WHERE recipient = ? AND sender = ?";
    let key = [pair.recipient.0, pair.sender.0];
    database.prepare_cached(sql)?.query_row(key, |row| read_consent(row, 0)).optional()
}

/// How many recipients have not answered a sender, up to the limit.
pub(super) fn count_requests_of(database: &Connection, sender: AccountKey) -> Result<u64> {
    let sql = "SELECT count(*) FROM (
        SELECT 1 FROM consents WHERE sender = ? AND state = 0 LIMIT ?)";
    let max = i64::try_from(MAX_REQUESTS_OF_SENDER).unwrap_or(i64::MAX);
    database.prepare_cached(sql)?.query_row([sender.0, max], |row| row.get(0))
}

/// Writes what a turn has changed, and removes the oldest rows of a recipient that has too many. What the recipient has
/// decided stays.
pub(super) fn update(database: &Connection, changed: &[(Pair, Consent)]) -> Result<()> {
    let sql = "INSERT INTO consents (recipient, sender, state, since, messages)
        VALUES (?, ?, ?, ?, ?) ON CONFLICT (recipient, sender) DO UPDATE
        SET state = excluded.state, since = excluded.since, messages = excluded.messages
        WHERE state = 0";
    let mut update = database.prepare_cached(sql)?;
    for (pair, Consent { state, since, messages }) in changed {
        let (recipient, sender) = (pair.recipient.0, pair.sender.0);
        update.execute(params![recipient, sender, state.number(), stored(*since), messages])?;
        if *messages <= 1 {
            trim(database, pair.recipient, *state)?;
        }
    }
    Ok(())
}

fn trim(database: &Connection, recipient: AccountKey, state: ConsentState) -> Result<()> {
    let max = match state {
        ConsentState::Accepted => MAX_ACCEPTED,
        ConsentState::Pending => MAX_REQUESTS,
        // A recipient that has blocked too many is told so.
        ConsentState::Blocked => return Ok(()),
    };
    let sql = "DELETE FROM consents WHERE rowid IN (
        SELECT rowid FROM consents WHERE recipient = ? AND state = ?
        ORDER BY since DESC, sender DESC LIMIT -1 OFFSET ?)";
    let row = params![recipient.0, state.number(), max];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

fn put(database: &Connection, pair: Pair, consent: Option<Consent>) -> Result<()> {
    let (recipient, sender) = (pair.recipient.0, pair.sender.0);
    let Some(Consent { state, since, messages }) = consent else {
        let sql = "DELETE FROM consents WHERE recipient = ? AND sender = ?";
        return database.prepare_cached(sql)?.execute([recipient, sender]).map(drop);
    };
    let sql = "REPLACE INTO consents (recipient, sender, state, since, messages)
        VALUES (?, ?, ?, ?, ?)";
    let row = params![recipient, sender, state.number(), stored(since), messages];
    database.prepare_cached(sql)?.execute(row).map(drop)
}

fn of_recipient(
    database: &Connection,
    recipient: AccountKey,
    state: ConsentState,
    max: u32,
) -> Result<Vec<(Account, Consent)>> {
    let sql = concat!(
        "SELECT ",
        account_columns!(),
        ", c.state, c.since, c.messages
        FROM consents c JOIN accounts a ON a.key = c.sender JOIN apps p ON p.key = a.app
        WHERE c.recipient = ? AND c.state = ? ORDER BY c.since DESC, c.sender DESC LIMIT ?"
    );
    let read = |row: &Row<'_>| Ok((read_account(row, 0)?, read_consent(row, ACCOUNT_COLUMNS)?));
    let mut statement = database.prepare_cached(sql)?;
    statement.query_map(params![recipient.0, state.number(), max], read)?.collect()
}

/// Removes what belongs to an account, as a recipient or a sender.
pub(super) fn delete_account(database: &Connection, account: AccountKey) -> Result<()> {
    for sql in ["DELETE FROM consents WHERE recipient = ?", "DELETE FROM consents WHERE sender = ?"]
    {
        database.prepare_cached(sql)?.execute([account.0])?;
    }
    Ok(())
}

/// The key that marks messages. Creates it if it does not exist.
pub(super) fn report_key(database: &Connection) -> Result<ReportKey> {
    let sql = "SELECT secret FROM report_key";
    let read = || database.query_row(sql, [], |row| row.get(0)).optional();
    let secret = match read()? {
        Some(secret) => secret,
        None => {
            let insert = "INSERT INTO report_key VALUES (1, ?) ON CONFLICT DO NOTHING";
            database.execute(insert, [random::bytes::<32>()])?;
            read()?.ok_or(Error::QueryReturnedNoRows)?
        }
    };
    Ok(ReportKey::new(secret))
}

/// Reads a consent, whose first column is `first`.
fn read_consent(row: &Row<'_>, first: usize) -> Result<Consent> {
    let invalid = || Error::InvalidColumnType(first, "state".into(), Type::Integer);
    let state = ConsentState::of_number(row.get(first)?).ok_or_else(invalid)?;
    Ok(Consent { state, since: time(row, first + 1)?, messages: row.get(first + 2)? })
}

fn read_report(row: &Row<'_>) -> Result<Report> {
    let (reporter, reported) = (account_id(row, 0)?, time(row, 1)?);
    let (sender, guid) = (account_id(row, 2)?, row.get(3)?);
    let message = ReportedMessage { sender, guid, accepted: time(row, 4)?, content: row.get(5)? };
    Ok(Report { reporter, reported, message })
}
