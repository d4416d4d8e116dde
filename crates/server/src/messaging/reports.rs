//! The command `wormhole-server report`: what users have reported about others.
//!
//! It reads the database directly, also while a server uses it. A report proves that the service has delivered a message, not
//! what it says: only its sender and its recipient can read it.

use data_encoding::HEXLOWER;
use wormhole_chat::{AccountId, Timestamp};
use wormhole_kit::{UnixTime, Utc};

use super::store::{PostgresStore, Report, Rows, SqliteStore, StoreError};
use crate::ServerError;
use crate::database::Database;

/// A command about reports.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReportCommand {
    /// Database of the messaging service: a file, or the address of a PostgreSQL database
    #[arg(
        long,
        value_name = "FILE|URL",
        default_value = "messaging.sqlite",
        env = "WORMHOLE_SERVER_MESSAGING_DB"
    )]
    db: Database,

    #[command(subcommand)]
    action: ReportAction,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ReportAction {
    /// List reports, the newest first: when, about whom, by whom, and which message
    List {
        /// Maximum number of reports
        #[arg(long, value_name = "N", default_value_t = 100)]
        max: u32,
    },
    /// Remove the reports about an account; prints their number
    Remove {
        #[arg(value_parser = parse_account)]
        account: AccountId,
    },
}

fn parse_account(text: &str) -> Result<AccountId, String> {
    text.parse().map_err(|_| "expected an account id, as `report list` prints it".to_owned())
}

/// Executes a command. Returns what it prints.
///
/// # Errors
/// The database cannot be used.
pub(crate) fn run(command: &ReportCommand) -> Result<String, ServerError> {
    let path = match &command.db {
        Database::File(path) => path.display().to_string(),
        Database::Postgres(_) => "of PostgreSQL".to_owned(),
    };
    let failed = |reason: String| ServerError::Database { path: path.clone(), reason };
    command.db.check().map_err(|reason| failed(reason.to_owned()))?;
    let execute = |rows: &mut dyn Rows| command.action.execute(rows);
    let result = match &command.db {
        Database::File(path) => SqliteStore::open_shared(path)?.edit(execute),
        Database::Postgres(url) => PostgresStore::open(url)?.edit(execute),
    };
    result.map_err(|error| failed(error.reason()))
}

impl ReportAction {
    fn execute(&self, rows: &mut dyn Rows) -> Result<String, StoreError> {
        match self {
            Self::List { max } => {
                let reports = rows.reports(*max)?;
                reports.iter().map(|report| line(rows, report)).collect()
            }
            Self::Remove { account } => Ok(format!("{}\n", rows.delete_reports(*account)?)),
        }
    }
}

/// One line: the time, the reported account and the one that has reported it, each with its number and app, and the message.
fn line(
    rows: &mut dyn Rows,
    Report { reporter, reported, message }: &Report,
) -> Result<String, StoreError> {
    let time = time(*reported);
    let (about, by) = (describe(rows, message.sender)?, describe(rows, *reporter)?);
    let guid = HEXLOWER.encode(&message.guid);
    Ok(format!("{time} {about} reported-by {by} message {guid}\n"))
}

fn time(time: Timestamp) -> String {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    let Utc { year, month, day, hour, minute, second } = UnixTime::from_secs(seconds).utc();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn describe(rows: &mut dyn Rows, id: AccountId) -> Result<String, StoreError> {
    Ok(match rows.account(id)? {
        Some(account) => format!("{id} {}@{}", account.number, account.app_name),
        None => format!("{id} deleted"),
    })
}
