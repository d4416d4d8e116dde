//! One connection to PostgreSQL, with the prepared statements of a service.

use std::future::Future;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Statement};

use super::connector::{ConnectError, Connector};
use super::tables::{self, Tables, TablesError};

/// The prepared statements of a service.
pub(crate) trait Statements: Sized {
    /// The tables that they use.
    const TABLES: Tables;

    /// Prepares all statements.
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error>;
}

/// A connection that is ready for batches.
#[derive(Debug)]
pub(crate) struct Session<S> {
    pub(crate) client: Client,
    pub(crate) statements: S,
}

/// Why a database operation failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SessionError {
    /// The connection is lost or the server is not ready: try again on a new connection.
    #[error("{0}")]
    Lost(String),
    /// The operation failed, and repeating it would not help.
    #[error("{0}")]
    Failed(String),
}

impl From<tokio_postgres::Error> for SessionError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(database) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            return Self::Lost(cause.unwrap_or_else(|| error.to_string()));
        };
        let text = format!("{} ({})", database.message(), database.code().code());
        // The details of the error may contain values, so the text does not include them.
        match database.code() {
            code if RETRIED.contains(code) || code.code().starts_with("08") => Self::Lost(text),
            _ => Self::Failed(text),
        }
    }
}

impl<S: Statements> Session<S> {
    /// Connects, and creates or upgrades the tables if needed.
    pub(super) async fn connect(connector: &Connector) -> Result<Self, SessionError> {
        let (mut client, connection) = connector.connect().await.map_err(|error| match error {
            ConnectError::Silent => SessionError::Lost(SILENT.into()),
            ConnectError::Failed(error) => error.into(),
        })?;
        tokio::spawn(async move {
            // The client gets the same error.
            let _ = connection.await;
        });
        within(ROUND, async {
            client.batch_execute(DURABLE).await?;
            tables::upgrade(&mut client, &S::TABLES).await.map_err(tables_error)?;
            let statements = S::prepare(&client).await?;
            Ok(Self { client, statements })
        })
        .await
    }

    /// Runs a query with parameters.
    pub(crate) async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query(statement, parameters).await
    }

    /// Ends a transaction that failed, if the connection still works.
    pub(super) async fn roll_back(&self) -> Result<(), SessionError> {
        within(ROUND, async { Ok(self.client.batch_execute("ROLLBACK").await?) }).await
    }
}

/// Waits for the result of `work`, with a time limit.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let silent = || SessionError::Lost(SILENT.into());
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silent()))
}

fn tables_error(error: TablesError) -> SessionError {
    match error {
        TablesError::Database(error) => error.into(),
        TablesError::Newer(version) => SessionError::Failed(newer(version)),
    }
}

/// The error after another node has upgraded the tables.
pub(crate) fn newer(version: i32) -> String {
    format!("the tables were made by a newer version of this server (schema {version}): upgrade it")
}

/// Errors after which an operation is retried: the server is starting, stopping or busy, or another node has the lock.
const RETRIED: [SqlState; 8] = [
    SqlState::ADMIN_SHUTDOWN,
    SqlState::CANNOT_CONNECT_NOW,
    SqlState::CRASH_SHUTDOWN,
    SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    SqlState::LOCK_NOT_AVAILABLE,
    SqlState::READ_ONLY_SQL_TRANSACTION,
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::TOO_MANY_CONNECTIONS,
];

/// A commit returns when it is on disk, even if the database has another default.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'";

const SILENT: &str = "the database does not answer";

/// How long PostgreSQL may take to answer one round of statements; more than its own limit for a statement.
pub(super) const ROUND: Duration = Duration::from_secs(20);

/// No statements and no tables, for tests of connections.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct NoStatements;

#[cfg(test)]
impl Statements for NoStatements {
    const TABLES: Tables = Tables { main: "nothing", steps: &[] };

    async fn prepare(_: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self)
    }
}
