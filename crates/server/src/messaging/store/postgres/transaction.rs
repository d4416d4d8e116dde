//! An open transaction: how it begins, locks and commits, and what is known about its rows.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use wormhole_chat::service::Destination;

use super::cache::Cache;
use super::columns::{Columns, Read};
use super::pending_writes::{NewRows, PendingWrites};
use super::queues::Queues;
use super::statements::Statements;
use crate::database::postgres::{self, Connection, SessionError, Statements as _};
use crate::messaging::store::{DeviceKey, ReportKey, StoreError, Turn};

/// The result of an operation for the rules.
pub(super) type Stored<T> = Result<T, StoreError>;

/// A connection with the statements of the messaging service.
pub(super) type Session = postgres::Session<Statements>;

/// The parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Chooses a statement.
pub(super) type Chosen = fn(&Statements) -> &Statement;

/// The tables in an open transaction.
#[derive(Debug)]
pub(super) struct PostgresTables<'a> {
    connection: &'a mut Connection<Statements>,
    pub(super) cache: &'a mut Cache,
    /// Marks messages.
    pub(super) report_key: ReportKey,
    pub(super) queues: Queues,
    pub(super) new_rows: NewRows,
    foreseen: Foreseen,
    access: Access,
    /// Devices that were removed so far.
    pub(super) removed: Vec<DeviceKey>,
    /// Whether accounts or devices have changed.
    is_changed: bool,
    /// Whether a shared transaction has written rows, besides those of queues.
    has_written: bool,
    /// The id of the transaction, once it is known.
    id: Option<String>,
    /// Why an operation has failed.
    problem: Option<SessionError>,
}

/// The transactions of other nodes that have to wait for this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// All.
    Exclusive,
    /// Those that are exclusive, or use the same queues.
    Shared,
}

/// The queues that a turn will probably change. They are locked together with the first ones, in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    devices: Vec<DeviceKey>,
    recipients: Vec<Destination>,
}

impl Foreseen {
    /// Those of devices that acknowledge messages, and of accounts that get some.
    pub(super) fn from_turn(turn: &Turn) -> Self {
        let devices = turn.acknowledgements.iter().map(|job| job.request.device).collect();
        let sealed = turn.sealed.iter().flat_map(|job| &job.request.destinations);
        let recipients = turn.submissions.iter().map(|job| &job.request.destination).chain(sealed);
        Self { devices, recipients: recipients.cloned().collect() }
    }
}

impl<'a> PostgresTables<'a> {
    /// Begins a transaction; connects first if needed.
    pub(super) fn begin(
        connection: &'a mut Connection<Statements>,
        cache: &'a mut Cache,
        access: Access,
        foreseen: Foreseen,
        report_key: ReportKey,
    ) -> Result<Self, SessionError> {
        let version = connection.run(async |session| begin(session, access).await);
        let version = version.inspect_err(|_| connection.roll_back())?;
        cache.begin(version);
        Ok(Self {
            connection,
            cache,
            report_key,
            queues: Queues::default(),
            new_rows: NewRows::default(),
            foreseen,
            access,
            removed: Vec::new(),
            is_changed: false,
            has_written: false,
            id: None,
            problem: None,
        })
    }

    /// Accounts or devices change. Call it before the rows are written.
    pub(super) fn change_accounts(&mut self) {
        self.is_changed = true;
        self.cache.clear();
    }

    /// Rows are written, perhaps in a shared transaction.
    pub(super) const fn write(&mut self) {
        self.has_written = true;
    }

    /// Executes a statement for the rules, and returns its rows.
    pub(super) fn query(
        &mut self,
        statement: Chosen,
        parameters: Parameters<'_>,
    ) -> Stored<Vec<Row>> {
        self.run(async |session| {
            Ok(session.query(statement(&session.statements), parameters).await?)
        })
    }

    /// Executes a statement for the rules, and returns the number of rows that it has changed.
    pub(super) fn execute(&mut self, statement: Chosen, parameters: Parameters<'_>) -> Stored<u64> {
        self.run(async |session| {
            Ok(session.client.execute(statement(&session.statements), parameters).await?)
        })
    }

    /// Executes a statement for the rules, and reads its rows.
    pub(super) fn read<T>(
        &mut self,
        statement: Chosen,
        parameters: Parameters<'_>,
        read: impl FnMut(&mut Columns<'_>) -> Read<T>,
    ) -> Stored<Vec<T>> {
        let rows = self.query(statement, parameters)?;
        self.read_rows(&rows, read)
    }

    /// Reads rows.
    pub(super) fn read_rows<T>(
        &mut self,
        rows: &[Row],
        mut read: impl FnMut(&mut Columns<'_>) -> Read<T>,
    ) -> Stored<Vec<T>> {
        let values = rows.iter().map(|row| read(&mut Columns::new(row))).collect();
        self.keep_problem(values)
    }

    /// Reads accounts with their devices into the cache.
    pub(super) fn load(&mut self, statement: Chosen, parameters: Parameters<'_>) -> Stored<()> {
        let rows = self.query(statement, parameters)?;
        let added = self.cache.add(&rows);
        self.keep_problem(added)
    }

    /// Locks the queues of these devices. The first call also locks those that the turn will need later, so that no two
    /// transactions wait for each other.
    pub(super) fn lock_queues(&mut self, devices: &[DeviceKey]) -> Stored<()> {
        let Foreseen { devices: mut all, recipients } = std::mem::take(&mut self.foreseen);
        self.load_destinations(&recipients.iter().collect::<Vec<_>>())?;
        for account in
            recipients.iter().filter_map(|recipient| self.cache.accounts.resolve(recipient))
        {
            let devices = self.cache.accounts.devices(account.key).unwrap_or_default();
            all.extend(devices.iter().map(|device| device.key));
        }
        all.extend(devices);
        let unlocked = self.queues.unlocked(all);
        if unlocked.is_empty() {
            return Ok(());
        }
        let queues: Parameters<'_> = &[&unlocked];
        let (rows, id) = self.run(async |session| {
            let statements = &session.statements;
            let (rows, id) = tokio::join!(
                biased;
                session.query(&statements.lock_queues, queues),
                session.client.query_one(&statements.transaction, &[]),
            );
            Ok((rows?, Columns::new(&id?).value()?))
        })?;
        self.id = id;
        let added = self.queues.add_locked(&rows);
        self.keep_problem(added)
    }

    /// Executes statements for the rules.
    pub(super) fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&Session) -> Result<T, SessionError>,
    ) -> Stored<T> {
        let result = self.connection.continue_with(work);
        self.keep_problem(result)
    }

    /// Remembers why an operation has failed.
    fn keep_problem<T>(&mut self, result: Result<T, SessionError>) -> Stored<T> {
        result.map_err(|error| {
            let reason = StoreError::Database(error.to_string());
            self.problem.get_or_insert(error);
            reason
        })
    }

    /// Commits if the rules have succeeded; otherwise, rolls back.
    ///
    /// # Errors
    /// Nothing is durable, unless the result of the commit is unknown.
    pub(super) fn finish<T>(mut self, result: Stored<T>) -> Result<T, SessionError> {
        let result = result.and_then(|value| {
            // Messages may have been removed from queues that are not locked yet.
            self.lock_queues(&[]).map(|()| value)
        });
        let result = match result {
            Ok(value) => self.commit().map(|()| value),
            Err(error) => {
                Err(self.problem.take().unwrap_or_else(|| SessionError::Failed(error.reason())))
            }
        };
        match &result {
            Ok(_) if self.is_changed => self.cache.changed(),
            Ok(_) => {}
            Err(_) => {
                self.cache.clear();
                self.connection.roll_back();
            }
        }
        result
    }

    /// Writes what was kept in memory until now, and commits.
    fn commit(&mut self) -> Result<(), SessionError> {
        let mut pending = PendingWrites {
            rows: std::mem::take(&mut self.new_rows),
            queues: self.queues.take_changes(),
            changes_accounts: self.is_changed,
        };
        let only_reads = self.access == Access::Shared && pending.is_empty() && !self.has_written;
        if self.id.is_none() && !only_reads {
            // If the answer to the commit is lost, the id must be known.
            self.id = self.connection.continue_with(async |session| {
                let id = session.client.query_one(&session.statements.transaction, &[]);
                let ((), id) = tokio::try_join!(biased; pending.write(session), id)?;
                Columns::new(&id).value()
            })?;
            pending = PendingWrites::default();
        }
        let committed = self
            .connection
            .continue_with(async |session| session.commit_after(pending.write(session)).await);
        match (committed, self.id.take()) {
            (Err(SessionError::Lost(reason)), Some(id)) => {
                let check = async |session: &Session| was_committed(session, &id).await;
                self.connection.check_commit(reason, check)
            }
            (committed, _) => committed,
        }
    }
}

/// Begins a transaction, waits for those that must not run at the same time, and returns the version of accounts.
async fn begin(session: &Session, access: Access) -> Result<i64, SessionError> {
    let begin = match access {
        Access::Exclusive => "BEGIN; LOCK TABLE messaging_server IN EXCLUSIVE MODE",
        Access::Shared => "BEGIN; LOCK TABLE messaging_server IN ROW SHARE MODE",
    };
    // Both are sent before the first result arrives.
    let (begun, state) = tokio::join!(
        biased;
        session.client.batch_execute(begin),
        session.client.query_one(&session.statements.state, &[]),
    );
    begun?;
    let state = state?;
    let mut columns = Columns::new(&state);
    let version: i32 = columns.value()?;
    if version != Statements::TABLES.version() {
        return Err(SessionError::Failed(postgres::newer(version)));
    }
    columns.value()
}

/// Whether a transaction is durable whose answer was lost.
async fn was_committed(session: &Session, transaction: &str) -> Result<bool, SessionError> {
    let row = session.client.query_one(&session.statements.status, &[&transaction]).await?;
    let status: Option<String> = Columns::new(&row).value()?;
    match status.as_deref() {
        Some("committed") => Ok(true),
        Some("aborted") => Ok(false),
        Some("in progress") => Err(SessionError::Lost("a transaction has not ended".into())),
        _ => Err(SessionError::Failed("the database does not know the transaction".into())),
    }
}
