//! The connection of a store, which is replaced when it is lost, and the time limits for this.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::connector::Connector;
use super::session::{ROUND, Session, SessionError, Statements, within};
use super::url::DatabaseUrl;
use crate::ServerError;

/// A connection, or none while PostgreSQL is not available.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    connector: Connector,
    /// Runs the connection while the store's thread waits for it.
    runtime: Runtime,
    session: Option<Session<S>>,
    /// When to try again; set if the last call failed because PostgreSQL was not available.
    down_until: Option<Instant>,
    /// Cancelled when the server stops: then nothing is worth waiting for.
    stop: CancellationToken,
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Time until which attempts are repeated.
    deadline: Instant,
    /// Whether an attempt of this call or of an earlier one has failed.
    is_lost: bool,
}

impl<S: Statements> Connection<S> {
    /// Connects, and creates or upgrades the tables if needed.
    pub(crate) fn open(url: &DatabaseUrl) -> Result<Self, ServerError> {
        let error = |path: &str, reason: &str| ServerError::Database {
            path: path.into(),
            reason: reason.into(),
        };
        let connector = url.connector().map_err(|reason| error("of PostgreSQL", &reason))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ServerError::System(error.to_string()))?;
        let session = runtime
            .block_on(Session::connect(&connector))
            .map_err(|lost| error(&connector.describe(), &lost.to_string()))?;
        let stop = CancellationToken::new();
        Ok(Self { connector, runtime, session: Some(session), down_until: None, stop })
    }

    /// Cancel it when the server stops.
    pub(crate) const fn stop_signal(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits for work to be done. When the server stops, not much longer.
    fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        self.runtime.block_on(async {
            tokio::select! {
                result = work => result,
                () = stopped(&self.stop) => Err(SessionError::Lost("the server stops".into())),
            }
        })
    }

    /// Waits before the next attempt to connect.
    fn pause(&self) {
        self.runtime.block_on(async {
            let _ = tokio::time::timeout(RETRY_PAUSE, self.stop.cancelled()).await;
        });
    }

    /// Runs an operation on the connection; connects first if needed.
    pub(crate) fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&Session<S>) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => self.block_on(Session::connect(&self.connector))?,
        };
        self.run_on(session, work)
    }

    /// Runs an operation in the open transaction. It never reconnects: on a new connection, each statement would be a
    /// separate transaction without the lock.
    pub(crate) fn continue_with<T>(
        &mut self,
        work: impl AsyncFnOnce(&Session<S>) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        match self.session.take() {
            Some(session) if !session.client.is_closed() => self.run_on(session, work),
            _ => Err(SessionError::Lost("the connection ended during a transaction".into())),
        }
    }

    fn run_on<T>(
        &mut self,
        session: Session<S>,
        work: impl AsyncFnOnce(&Session<S>) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let result = self.block_on(within(ROUND, work(&session)));
        if !matches!(result, Err(SessionError::Lost(_))) {
            self.session = Some(session);
        }
        result
    }

    /// Ends a transaction that failed.
    pub(crate) fn roll_back(&mut self) {
        let Some(session) = self.session.take() else { return };
        if self.block_on(session.roll_back()).is_ok() {
            self.session = Some(session);
        }
    }

    /// Begins a call. Its attempts may be repeated for [`CLIENT_WAIT`]. If the last call has failed, there is one attempt
    /// every [`DOWN_PAUSE`].
    ///
    /// # Errors
    /// The next attempt is not due.
    pub(crate) fn begin_attempts(&self) -> Result<Attempts, NotAvailable> {
        let now = Instant::now();
        match self.down_until {
            _ if self.stop.is_cancelled() && self.session.is_none() => Err(NotAvailable),
            Some(time) if now < time => Err(NotAvailable),
            Some(_) => Ok(Attempts { deadline: now, is_lost: true }),
            None => Ok(Attempts { deadline: now + CLIENT_WAIT, is_lost: false }),
        }
    }

    /// Ends a call that has succeeded.
    pub(crate) fn succeeded(&mut self, attempts: &Attempts) {
        self.down_until = None;
        if attempts.is_lost {
            tracing::info!("connected to PostgreSQL again");
        }
    }

    /// Ends a call that has failed. If there is no connection, the next attempt is delayed.
    pub(crate) fn failed(&mut self) {
        if self.session.is_none() {
            self.down_until = Some(Instant::now() + DOWN_PAUSE);
        }
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// There is no next attempt: the time limit for clients is over, or the server is stopping.
    pub(crate) fn wait(
        &mut self,
        attempts: &mut Attempts,
        reason: &str,
    ) -> Result<(), NotAvailable> {
        if !std::mem::replace(&mut attempts.is_lost, true) {
            tracing::warn!(reason, "lost the connection to PostgreSQL, connecting again");
        }
        if Instant::now() >= attempts.deadline || self.stop.is_cancelled() {
            self.down_until = Some(Instant::now() + DOWN_PAUSE);
            return Err(NotAvailable);
        }
        self.pause();
        Ok(())
    }

    /// Finds out with `was_committed` whether a transaction was committed after the answer to its commit was lost.
    ///
    /// # Errors
    /// It was not, for this `reason`, or nobody knows.
    pub(crate) fn check_commit(
        &mut self,
        reason: String,
        was_committed: impl AsyncFn(&Session<S>) -> Result<bool, SessionError>,
    ) -> Result<(), SessionError> {
        let deadline = Instant::now() + CLIENT_WAIT;
        loop {
            match self.run(&was_committed) {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(SessionError::Lost(reason)),
                Err(SessionError::Lost(_))
                    if Instant::now() < deadline && !self.stop.is_cancelled() =>
                {
                    self.pause();
                }
                Err(error) => {
                    let unknown = format!("a commit may or may not be durable: {}", error);
                    return Err(SessionError::Failed(unknown));
                }
            }
        }
    }
}

/// Calls `attempt` of a store again while its connection is lost, until the time limit for clients.
///
/// # Errors
/// Why it has failed.
pub(crate) fn retry_while_lost<C, S: Statements, T>(
    store: &mut C,
    connection: impl Fn(&mut C) -> &mut Connection<S>,
    mut attempt: impl FnMut(&mut C) -> Result<T, SessionError>,
) -> Result<T, String> {
    let not_available = |error: NotAvailable| error.to_string();
    let mut attempts = connection(store).begin_attempts().map_err(not_available)?;
    loop {
        match attempt(store) {
            Ok(value) => {
                connection(store).succeeded(&attempts);
                return Ok(value);
            }
            Err(SessionError::Lost(reason)) => {
                connection(store).wait(&mut attempts, &reason).map_err(not_available)?;
            }
            Err(SessionError::Failed(reason)) => {
                connection(store).failed();
                return Err(reason);
            }
        }
    }
}

/// Waits until the server stops, and a little longer.
async fn stopped(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP_PATIENCE).await;
}

/// How long PostgreSQL may take for its answer to the work in progress when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How long clients wait for a lost connection before their requests are refused.
pub(crate) const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// Pause between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Pause between two attempts to connect after the time limit for clients.
const DOWN_PAUSE: Duration = Duration::from_secs(1);

/// PostgreSQL does not answer, so requests cannot be executed now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("PostgreSQL is not available")]
pub(crate) struct NotAvailable;

#[cfg(test)]
mod tests {
    use wormhole_testbed::{Durability, Postgres, installed_or_skip};

    use super::super::session::NoStatements;
    use super::*;

    #[test]
    fn a_transaction_never_continues_on_another_connection() {
        let started = Postgres::start(Durability::Process, None);
        let Some(postgres) = installed_or_skip(started) else { return };
        let url = DatabaseUrl::from(postgres.url("postgres"));
        let mut connection = Connection::<NoStatements>::open(&url).unwrap();
        connection.run(async |session| Ok(session.client.batch_execute("BEGIN").await?)).unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'wormhole-server'";
        postgres.execute("postgres", end);
        // The first attempt finds the connection closed, the second one finds no connection.
        for _ in 0..2 {
            let create = "CREATE TABLE outside ()";
            let result = connection
                .continue_with(async |session| Ok(session.client.batch_execute(create).await?));
            assert!(matches!(result, Err(SessionError::Lost(_))), "{result:?}");
        }
        let is_absent = "SELECT to_regclass('outside') IS NULL";
        assert_eq!(postgres.execute("postgres", is_absent), "t");
    }
}
