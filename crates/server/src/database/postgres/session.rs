//! One connection to PostgreSQL, with the prepared statements of a service.

use std::future::Future;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row, Statement};

use super::connector::{ConnectError, Connector};
use super::tables::{self, Tables, TablesError};

/// The prepared statements of a service.
pub(crate) trait Statements: Sized {
    /// The tables that they use.
    const TABLES: Tables;

    /// Prepares all statements.
    async fn prepare(client: &Client) -> Result<Self, Error>;
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

/// The error of a statement. Without a connection, it is always that the connection is closed. All other errors that are
/// not from the database are ours: the client could not encode a parameter, or read a result.
impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        let Some(database) = error.as_db_error() else {
            let reason = cause(&error);
            return if error.is_closed() { Self::Lost(reason) } else { Self::Failed(reason) };
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
            ConnectError::Failed(error) if error.as_db_error().is_none() => {
                SessionError::Lost(cause(&error))
            }
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
    ) -> Result<Vec<Row>, Error> {
        self.client.query(statement, parameters).await
    }

    /// Commits the open transaction in one round trip with its last writes. Each of these sends its statement before it
    /// waits. If one cannot be sent, the commit is not sent either.
    ///
    /// # Errors
    /// A write has failed, or the commit. If the connection is lost, it is unknown whether the transaction is durable.
    pub(crate) async fn commit_after(
        &self,
        writes: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), SessionError> {
        // In this order. The first error ends it.
        tokio::try_join!(biased; writes, self.client.batch_execute("COMMIT"))?;
        Ok(())
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

/// The description of an error of the client, without the values of parameters.
fn cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
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

    async fn prepare(_: &Client) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use wormhole_testbed::{Durability, Postgres, installed_or_skip};

    use super::super::connection::Connection;
    use super::super::url::DatabaseUrl;
    use super::*;

    const INSERT: &str = "INSERT INTO written VALUES ($1)";

    /// Commits two writes, of which the client cannot encode the second: a text is not a number.
    async fn commit_half(
        session: &Session<NoStatements>,
        is_prepared: bool,
    ) -> Result<(), SessionError> {
        let insert = session.client.prepare(INSERT).await?;
        session.client.batch_execute("BEGIN").await?;
        let first = async { session.client.execute(&insert, &[&1_i64]).await };
        let second = async {
            match is_prepared {
                true => session.client.execute(&insert, &[&"text"]).await,
                // Waits for the database before it fails, so the commit is already sent.
                false => session.client.execute(INSERT, &[&"text"]).await,
            }
        };
        let writes = async { tokio::try_join!(biased; first, second).map(drop) };
        session.commit_after(writes).await
    }

    #[test]
    fn a_commit_that_lacks_a_write_is_not_sent_or_at_least_not_a_success() {
        let started = Postgres::start(Durability::Process, None);
        let Some(postgres) = installed_or_skip(started) else { return };
        postgres.execute("postgres", "CREATE TABLE written (number BIGINT)");
        let url = DatabaseUrl::from(postgres.url("postgres"));
        let mut connection = Connection::<NoStatements>::open(&url).unwrap();
        for is_prepared in [true, false] {
            let result = connection.run(async |session| commit_half(session, is_prepared).await);
            // Whether a transaction is durable is only asked after the connection was lost.
            assert!(matches!(result, Err(SessionError::Failed(_))), "{result:?}");
            connection.roll_back();
            if is_prepared {
                assert_eq!(postgres.execute("postgres", "SELECT count(*) FROM written"), "0");
            }
        }
    }
}
