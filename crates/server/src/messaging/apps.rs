//! The command `wormhole-server app`: the apps whose users may use the service, and their tokens.
//!
//! It writes to the database directly, also while a server uses it. A server reads an app again for each request, so a
//! change has an effect at once.

use data_encoding::HEXLOWER;
use wormhole_chat::service::AppName;

use super::random;
use super::store::{App, IntraApp, PostgresStore, Rows, SqliteStore, StoreError, TokenHash};
use crate::ServerError;
use crate::database::Database;

/// A command about apps.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AppCommand {
    /// Database of the messaging service: a file, or the address of a PostgreSQL database
    #[arg(
        long,
        value_name = "FILE|URL",
        default_value = "messaging.sqlite",
        env = "WORMHOLE_SERVER_MESSAGING_DB"
    )]
    db: Database,

    #[command(subcommand)]
    action: AppAction,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum AppAction {
    /// Add an app; prints its name and its token, which is shown only once
    Add {
        name: AppName,
        /// Messages between users of this app
        #[arg(long, value_enum, default_value_t = Policy::All)]
        policy: Policy,
    },
    /// List the apps: name, policy and number of valid tokens
    List,
    /// Create another token; the previous one stays valid until the next `rotate`
    Rotate { name: AppName },
    /// Make a token of an app invalid, or all of them
    Revoke {
        name: AppName,
        /// The token; without it, all tokens of the app
        token: Option<String>,
    },
}

/// The policy for messages between users of the same app.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Policy {
    /// They are delivered
    All,
    /// They are refused: the app delivers them itself
    InterOnly,
}

/// Executes a command. Returns what it prints.
///
/// # Errors
/// The database cannot be used, or the command does not fit what is in it.
pub(crate) fn run(command: &AppCommand) -> Result<String, ServerError> {
    let path = match &command.db {
        Database::File(path) => path.display().to_string(),
        Database::Postgres(_) => "of PostgreSQL".to_owned(),
    };
    let failed = |reason: String| ServerError::Database { path: path.clone(), reason };
    command.db.check().map_err(|reason| failed(reason.to_owned()))?;
    if let Database::File(path) = &command.db
        && !matches!(command.action, AppAction::Add { .. })
        && !path.exists()
    {
        return Err(failed("there is no such file: `add` creates it".to_owned()));
    }
    let execute = |rows: &mut dyn Rows| command.action.execute(rows);
    let result = match &command.db {
        Database::File(path) => SqliteStore::open_shared(path)?.edit(execute),
        Database::Postgres(url) => PostgresStore::open(url)?.edit(execute),
    };
    result.map_err(|error| failed(error.reason()))?.map_err(failed)
}

impl AppAction {
    /// Returns what to print, or why it cannot be done.
    fn execute(&self, rows: &mut dyn Rows) -> Result<Result<String, String>, StoreError> {
        let missing = |name: &AppName| Err(format!("there is no app '{name}'"));
        match self {
            Self::Add { name, policy } => {
                let intra = match policy {
                    Policy::All => IntraApp::Delivered,
                    Policy::InterOnly => IntraApp::Refused,
                };
                let Some(key) = rows.insert_app(name, intra)? else {
                    return Ok(Err(format!("there is already an app '{name}'")));
                };
                add_token(rows, App { key, name: name.clone(), intra, tokens: Vec::new() })
            }
            Self::List => Ok(Ok(rows.apps()?.iter().map(line).collect())),
            Self::Rotate { name } => match rows.app(name)? {
                Some(app) => add_token(rows, app),
                None => Ok(missing(name)),
            },
            Self::Revoke { name, token } => match rows.app(name)? {
                Some(app) => revoke(rows, app, token.as_deref()),
                None => Ok(missing(name)),
            },
        }
    }
}

/// Gives an app a new token and returns the line with it. At most two tokens are valid.
fn add_token(rows: &mut dyn Rows, mut app: App) -> Result<Result<String, String>, StoreError> {
    let token = HEXLOWER.encode(&random::bytes::<TOKEN_BYTES>());
    app.tokens.insert(0, TokenHash::of(&[], token.as_bytes()));
    app.tokens.truncate(MAX_TOKENS);
    rows.update_app(&app)?;
    Ok(Ok(format!("{} {token}\n", app.name)))
}

/// Makes one token of an app invalid, or all of them.
fn revoke(
    rows: &mut dyn Rows,
    mut app: App,
    token: Option<&str>,
) -> Result<Result<String, String>, StoreError> {
    let before = app.tokens.len();
    match token.map(|token| TokenHash::of(&[], token.as_bytes())) {
        Some(hash) => app.tokens.retain(|valid| !valid.matches(&hash)),
        None => app.tokens.clear(),
    }
    let revoked = before - app.tokens.len();
    if token.is_some() && revoked == 0 {
        return Ok(Err("this is not a valid token of the app".to_owned()));
    }
    rows.update_app(&app)?;
    Ok(Ok(format!("{}: revoked {revoked}\n", app.name)))
}

fn line(app: &App) -> String {
    let policy = match app.intra {
        IntraApp::Delivered => "all",
        IntraApp::Refused => "inter-only",
    };
    format!("{} {policy} {}\n", app.name, app.tokens.len())
}

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Tokens of an app that are valid at the same time.
const MAX_TOKENS: usize = 2;
