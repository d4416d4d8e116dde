//! The statistics database: which nameplates and mailboxes existed, and how they ended.
//!
//! Its tables are those of magic-wormhole-mailbox-server 0.8.0 (version 2), so that monitoring
//! tools for that server continue to work. The server itself does not need these rows: they are flushed to disk from
//! time to time, and a row that cannot be written is lost. (mailbox protocol, "Pruning / usage")

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};
use wormhole_kit::UnixTime;

use crate::ServerError;
use crate::database::{back_up, create_file, is_over, set_pragmas};

/// The open database.
#[derive(Debug)]
pub(super) struct UsageLog {
    database: Connection,
    blur: Duration,
    /// Size in bytes at which the oldest rows are removed; 0 means unlimited.
    limit: u64,
}

/// One row of the statistics.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Usage {
    /// A client connected.
    Client(ClientVersion),
    /// A mailbox was removed.
    Mailbox { app: String, for_nameplate: bool, summary: Summary },
    /// A nameplate was removed.
    Nameplate { app: String, summary: Summary },
}

/// A client and its program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientVersion {
    pub(super) app: String,
    pub(super) side: String,
    pub(super) connected: UnixTime,
    pub(super) implementation: Option<String>,
    pub(super) version: Option<String>,
}

/// The lifetime of a nameplate or mailbox. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    started: f64,
    waiting_time: Option<f64>,
    total_time: f64,
    result: &'static str,
}

/// The sides that a nameplate or mailbox has had.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SideHistory {
    /// When each side joined, in seconds since 1970.
    pub(super) added: Vec<f64>,
    /// The moods with which sides closed the mailbox.
    pub(super) moods: Vec<String>,
    /// Whether a third side was refused.
    pub(super) crowded: bool,
}

/// Why a nameplate or mailbox was removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Removal {
    /// All its sides released or closed it.
    Closed,
    /// It was unused for a long time.
    Pruned,
}

impl Usage {
    /// The row for a removed nameplate.
    pub(super) fn nameplate(app: &str, history: &SideHistory, now: UnixTime, how: Removal) -> Self {
        let result = match history.added.len() {
            _ if history.crowded => "crowded",
            _ if how == Removal::Pruned => "pruney",
            2 => "happy",
            _ => "lonely",
        };
        Self::Nameplate { app: app.into(), summary: history.summary(now, result) }
    }

    /// The row for a removed mailbox.
    pub(super) fn mailbox(
        app: &str,
        for_nameplate: bool,
        history: &SideHistory,
        now: UnixTime,
        how: Removal,
    ) -> Self {
        let has_mood = |wanted: &str| history.moods.iter().any(|mood| mood == wanted);
        let result = match history.added.len() {
            _ if history.crowded => "crowded",
            _ if how == Removal::Pruned => "pruney",
            _ if has_mood("scary") => "scary",
            _ if has_mood("errory") => "errory",
            _ if has_mood("lonely") => "lonely",
            0 => "quiet",
            1 => "lonely",
            _ => "happy",
        };
        Self::Mailbox { app: app.into(), for_nameplate, summary: history.summary(now, result) }
    }
}

impl SideHistory {
    fn summary(&self, now: UnixTime, result: &'static str) -> Summary {
        let mut added = self.added.clone();
        added.sort_by(f64::total_cmp);
        let started = added.first().copied().unwrap_or_else(|| now.as_secs_f64());
        let waiting_time = added.get(1).map(|second| second - started);
        // The clock may have been set back in the meantime.
        let total_time = (now.as_secs_f64() - started).max(0.0);
        Summary { started, waiting_time, total_time, result }
    }
}

impl UsageLog {
    /// Opens the database; creates it, or upgrades one of the reference server, if needed.
    pub(super) fn open(path: &Path, blur: Duration, limit: u64) -> Result<Self, ServerError> {
        let fail = |error: rusqlite::Error| ServerError::Database {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        create_file(path).map_err(fail)?;
        let mut database = Connection::open(path).map_err(fail)?;
        set_pragmas(&database, "NORMAL").map_err(fail)?;
        upgrade(&mut database, path).map_err(fail)?;
        Ok(Self { database, blur, limit })
    }

    /// Writes all rows in one transaction.
    pub(super) fn record(&mut self, rows: &[Usage]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for row in rows {
            write_row(&transaction, row, self.blur)?;
        }
        transaction.commit()
    }

    /// Removes the oldest tenth of all rows if the file has reached its maximum size. New rows reuse the space.
    pub(super) fn remove_oldest(&mut self) -> rusqlite::Result<()> {
        if !is_over(&self.database, self.limit)? {
            return Ok(());
        }
        let transaction = self.database.transaction()?;
        for table in ["client_versions", "mailboxes", "nameplates"] {
            let oldest = "(SELECT min(rowid) + (max(rowid) - min(rowid)) / 10 FROM";
            let sql = format!("DELETE FROM {table} WHERE rowid <= {oldest} {table})");
            transaction.execute(&sql, [])?;
        }
        transaction.commit()
    }

    /// Rewrites the row that describes the running server.
    pub(super) fn record_current(
        &mut self,
        rebooted: UnixTime,
        now: UnixTime,
        listeners: usize,
    ) -> rusqlite::Result<()> {
        let blur = (!self.blur.is_zero()).then_some(self.blur.as_secs());
        let blur = blur.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        let listeners = i64::try_from(listeners).unwrap_or(i64::MAX);
        let transaction = self.database.transaction()?;
        transaction.execute("DELETE FROM current", [])?;
        let sql = "INSERT INTO current (rebooted, updated, blur_time, connections_websocket)
            VALUES (?, ?, ?, ?)";
        transaction
            .execute(sql, params![rebooted.as_secs_f64(), now.as_secs_f64(), blur, listeners])?;
        transaction.commit()
    }
}

fn write_row(database: &Connection, row: &Usage, blur: Duration) -> rusqlite::Result<()> {
    let blurred = |seconds: f64| UnixTime::from_secs_f64(seconds).rounded_down(blur).as_secs_f64();
    match row {
        Usage::Client(client) => {
            let sql = "INSERT INTO client_versions
                (app_id, side, connect_time, implementation, version) VALUES (?, ?, ?, ?, ?)";
            database.prepare_cached(sql)?.execute(params![
                client.app,
                client.side,
                blurred(client.connected.as_secs_f64()),
                client.implementation,
                client.version,
            ])
        }
        Usage::Mailbox { app, for_nameplate, summary } => {
            let sql = "INSERT INTO mailboxes
                (app_id, for_nameplate, started, total_time, waiting_time, result)
                VALUES (?, ?, ?, ?, ?, ?)";
            database.prepare_cached(sql)?.execute(params![
                app,
                for_nameplate,
                blurred(summary.started),
                summary.total_time,
                summary.waiting_time,
                summary.result,
            ])
        }
        Usage::Nameplate { app, summary } => {
            let sql = "INSERT INTO nameplates
                (app_id, started, total_time, waiting_time, result) VALUES (?, ?, ?, ?, ?)";
            database.prepare_cached(sql)?.execute(params![
                app,
                blurred(summary.started),
                summary.total_time,
                summary.waiting_time,
                summary.result,
            ])
        }
    }
    .map(drop)
}

/// Creates the tables of version 2, or upgrades an older file to them.
fn upgrade(database: &mut Connection, path: &Path) -> rusqlite::Result<()> {
    let has_version = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'version'";
    let exists: bool = database.query_row(has_version, [], |row| row.get(0))?;
    let version: usize = if exists {
        database.query_row("SELECT version FROM version", [], |row| row.get(0))?
    } else {
        0
    };
    if exists && !database.table_exists(None, "current")? {
        // Both databases of the reference server have a table `version`.
        let reason = "not a database of statistics".to_owned();
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
            Some(reason),
        ));
    }
    if version >= 2 {
        return Ok(());
    }
    if version == 1 {
        back_up(database, path, version)?;
    }
    let transaction = database.transaction()?;
    if version == 0 {
        transaction.execute_batch(VERSION_1)?;
    }
    transaction.execute_batch(VERSION_2)?;
    transaction.commit()
}

/// The statements that create version 1.
const VERSION_1: &str = "
    CREATE TABLE version (version INTEGER);
    INSERT INTO version VALUES (1);
    CREATE TABLE current (
        rebooted INTEGER, -- seconds since 1970, like all times
        updated INTEGER,
        blur_time INTEGER, -- seconds, or null
        connections_websocket INTEGER -- links that listen to a mailbox
    );
    CREATE TABLE nameplates (
        app_id VARCHAR,
        started INTEGER, -- blurred
        waiting_time INTEGER, -- seconds until the second side came, or null
        total_time INTEGER, -- seconds
        result VARCHAR
    );
    CREATE INDEX nameplates_idx ON nameplates (app_id, started);
    CREATE TABLE mailboxes (
        app_id VARCHAR,
        for_nameplate BOOLEAN,
        started INTEGER,
        total_time INTEGER,
        waiting_time INTEGER,
        result VARCHAR
    );
    CREATE INDEX mailboxes_idx ON mailboxes (app_id, started);
    CREATE INDEX mailboxes_result_idx ON mailboxes (result);
";

/// The statements that upgrade version 1 to version 2.
const VERSION_2: &str = "
    CREATE TABLE client_versions (
        app_id VARCHAR,
        side VARCHAR,
        connect_time INTEGER, -- blurred
        implementation VARCHAR,
        version VARCHAR
    );
    CREATE INDEX client_versions_time_idx ON client_versions (connect_time);
    CREATE INDEX client_versions_appid_time_idx ON client_versions (app_id, connect_time);
    UPDATE version SET version = 2;
";

#[cfg(test)]
mod tests {
    use super::*;

    fn history(added: &[f64], moods: &[&str], crowded: bool) -> SideHistory {
        let moods = moods.iter().map(|mood| (*mood).into()).collect();
        SideHistory { added: added.into(), moods, crowded }
    }

    fn mailbox_result(history: &SideHistory, how: Removal) -> &'static str {
        match Usage::mailbox("app", true, history, UnixTime::from_secs(9), how) {
            Usage::Mailbox { summary, .. } => summary.result,
            other @ (Usage::Client(_) | Usage::Nameplate { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_worst_mood_wins_in_the_order_of_the_reference() {
        let both = [1.0, 2.0];
        let closed =
            |moods: &[&str]| mailbox_result(&history(&both, moods, false), Removal::Closed);
        assert_eq!(closed(&["happy", "happy"]), "happy");
        assert_eq!(closed(&["happy", "curious"]), "happy");
        assert_eq!(closed(&["happy", "lonely"]), "lonely");
        assert_eq!(closed(&["lonely", "errory"]), "errory");
        assert_eq!(closed(&["errory", "scary"]), "scary");
        let scary = history(&both, &["scary"], false);
        assert_eq!(mailbox_result(&scary, Removal::Pruned), "pruney");
        assert_eq!(mailbox_result(&history(&both, &[], true), Removal::Pruned), "crowded");
    }

    #[test]
    fn without_moods_the_number_of_sides_decides() {
        assert_eq!(mailbox_result(&history(&[], &[], false), Removal::Closed), "quiet");
        assert_eq!(mailbox_result(&history(&[1.0], &[], false), Removal::Closed), "lonely");
        assert_eq!(mailbox_result(&history(&[1.0, 2.0], &[], false), Removal::Closed), "happy");
    }

    #[test]
    fn times_count_from_the_first_side_and_waiting_ends_with_the_second() {
        let now = UnixTime::from_secs(10);
        let usage = Usage::nameplate("a", &history(&[4.0, 1.0], &[], false), now, Removal::Closed);
        let summary =
            Summary { started: 1.0, waiting_time: Some(3.0), total_time: 9.0, result: "happy" };
        assert_eq!(usage, Usage::Nameplate { app: "a".into(), summary });
    }

    #[test]
    fn a_database_of_version_one_is_copied_and_upgraded() {
        let folder = std::env::temp_dir().join(format!("wormhole-{}-usage", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("usage.sqlite");
        Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
        let mut log = UsageLog::open(&path, Duration::from_secs(100), 0).unwrap();
        let client = ClientVersion {
            app: "a".into(),
            side: "s".into(),
            connected: UnixTime::from_secs(1234),
            implementation: Some("python".into()),
            version: None,
        };
        log.record(&[Usage::Client(client)]).unwrap();
        let time = log
            .database
            .query_row("SELECT connect_time FROM client_versions", [], |row| row.get::<_, f64>(0));
        assert_eq!(time, Ok(1200.0));
        assert!(folder.join("usage.sqlite-backup-v1").exists());
        drop(log);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_oldest_rows_are_removed_when_the_file_has_reached_its_limit() {
        let folder = std::env::temp_dir().join(format!("wormhole-{}-oldest", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut log =
            UsageLog::open(&folder.join("usage.sqlite"), Duration::ZERO, 1 << 20).unwrap();
        let client = |number: u32| {
            Usage::Client(ClientVersion {
                app: "a".repeat(500),
                side: number.to_string(),
                connected: UnixTime::from_secs(number.into()),
                implementation: None,
                version: None,
            })
        };
        for batch in 0..40 {
            let rows: Vec<Usage> = (0..100).map(|row| client(100 * batch + row)).collect();
            log.record(&rows).unwrap();
            log.remove_oldest().unwrap();
        }
        let (oldest, newest): (f64, f64) = log
            .database
            .query_row(
                "SELECT min(connect_time), max(connect_time) FROM client_versions",
                [],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .unwrap();
        assert!(oldest > 0.0 && newest == 3999.0, "{oldest} to {newest}");
        let pages: u64 = log.database.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
        assert!(pages * 4096 < 2 << 20, "{pages} pages");
        drop(log);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
