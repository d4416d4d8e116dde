//! The store in a PostgreSQL database, which several nodes can share.
//!
//! A turn is one transaction (read committed), and each statement executes a whole list. Turns of several nodes run at the same time:
//!
//! - A turn that may change accounts, devices or published keys ([`Turn::work`]) is rare and runs alone: it locks the table
//!   `messaging_server` exclusively. All other turns, also those that read accounts ([`Turn::reads`]), lock it in a mode that only
//!   excludes such turns. So accounts, devices and published keys never change during such a turn, and what a node remembers of
//!   them is right if their version has not changed since.
//! - One-time keys are removed with `SKIP LOCKED`: two turns never wait for, or get, the same key.
//! - The other rows that a turn decides on are messages and the queues that they are in. A turn first removes the messages that
//!   were acknowledged, then locks all queues that it changes, in the order of their devices, and then reads which submissions were
//!   stored before. All nodes lock in this order, so no two of them wait for each other, and of two nodes that get the
//!   same submission, the second finds what the first has stored.
//! - A queue has its own counter of positions. Its lock is held until the commit, so messages become visible in the order of their
//!   positions, and a reader of a position never misses an earlier one.
//!
//! A lost connection is replaced, and the turn is repeated. If it is lost during a commit, the database is asked whether the
//! transaction is durable.

mod acknowledgements;
mod cache;
mod columns;
mod consent;
mod delivery;
mod entries;
mod groups;
mod linking;
mod pending_writes;
mod profiles;
mod prune;
mod queues;
mod rows;
mod schema;
mod statements;
mod templates;
mod transaction;
mod turn;

use tokio_util::sync::CancellationToken;
use wormhole_chat::Timestamp;

use super::{Counts, Expiry, ReportKey, Rows, Store, StoreError, Turn, rules};
use crate::ServerError;
use crate::database::postgres::{Connection, DatabaseUrl, SessionError, retry_while_lost};
use crate::messaging::random;
use cache::Cache;
use columns::Columns;
#[cfg(test)]
pub(super) use schema::STEPS;
use statements::Statements;
use transaction::{Access, Foreseen, PostgresTables, Session};

/// A node's access to the shared database.
#[derive(Debug)]
pub(in crate::messaging) struct PostgresStore {
    connection: Connection<Statements>,
    cache: Cache,
    report_key: ReportKey,
    #[cfg(test)]
    fail_next_commit: bool,
}

impl PostgresStore {
    /// Connects, and creates or upgrades the tables if needed.
    ///
    /// # Errors
    /// The database cannot be used.
    pub(in crate::messaging) fn open(url: &DatabaseUrl) -> Result<Self, ServerError> {
        let mut store = Self {
            connection: Connection::open(url)?,
            cache: Cache::new(),
            report_key: ReportKey::new([0; 32]),
            #[cfg(test)]
            fail_next_commit: false,
        };
        let (path, new) = ("of PostgreSQL".to_owned(), random::bytes());
        let key = store.retry_while_lost(|store| store.connection.run(report_key(new)));
        store.report_key =
            key.map_err(|error| ServerError::Database { path, reason: error.reason() })?;
        Ok(store)
    }

    /// Reads and writes rows in one transaction, while no other one runs.
    ///
    /// # Errors
    /// Nothing has changed, as far as can be known.
    pub(in crate::messaging) fn edit<T>(
        &mut self,
        mut work: impl FnMut(&mut dyn Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.retry_while_lost(|store| {
            store.transact(Access::Exclusive, Foreseen::default(), |tables| work(tables))
        })
    }

    /// Runs `work` in a transaction: all of it is durable afterwards, or nothing has changed.
    fn transact<T>(
        &mut self,
        access: Access,
        foreseen: Foreseen,
        work: impl FnOnce(&mut PostgresTables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, SessionError> {
        let key = self.report_key.clone();
        let mut tables =
            PostgresTables::begin(&mut self.connection, &mut self.cache, access, foreseen, key)?;
        let result = work(&mut tables);
        #[cfg(test)]
        let result = match std::mem::take(&mut self.fail_next_commit) {
            true => Err(StoreError::Database("a test made this commit fail".into())),
            false => result,
        };
        tables.finish(result)
    }

    /// Repeats `attempt` on a new connection while the connection is lost, until the time limit for clients.
    fn retry_while_lost<T>(
        &mut self,
        attempt: impl FnMut(&mut Self) -> Result<T, SessionError>,
    ) -> Result<T, StoreError> {
        retry_while_lost(self, |store| &mut store.connection, attempt).map_err(StoreError::Database)
    }
}

/// Reads the key that marks messages. If it does not exist, stores this new one, unless another node is faster.
fn report_key(new: [u8; 32]) -> impl AsyncFnOnce(&Session) -> Result<ReportKey, SessionError> {
    async move |session: &Session| {
        let statements = &session.statements;
        session.client.execute(&statements.insert_report_key, &[&new.as_slice()]).await?;
        let row = session.client.query_one(&statements.report_key, &[]).await?;
        Ok(ReportKey::new(Columns::new(&row).array()?))
    }
}

impl Store for PostgresStore {
    fn apply(&mut self, turn: &mut Turn, now: Timestamp) -> Result<(), StoreError> {
        let access = if turn.work.is_empty() { Access::Shared } else { Access::Exclusive };
        self.retry_while_lost(|store| {
            let foreseen = Foreseen::from_turn(turn);
            store.transact(access, foreseen, |tables| rules::execute(tables, turn, now))
        })
    }

    fn prune(&mut self, expiry: Expiry, now: Timestamp) -> Result<bool, StoreError> {
        self.retry_while_lost(|store| {
            store.transact(Access::Shared, Foreseen::default(), |tables| tables.prune(expiry, now))
        })
    }

    fn count(&mut self) -> Result<Counts, StoreError> {
        self.retry_while_lost(|store| {
            store.connection.run(async |session| {
                let row = session.client.query_one(&session.statements.count, &[]).await?;
                let mut columns = Columns::new(&row);
                let (accounts, devices) = (columns.number()?, columns.number()?);
                Ok(Counts { accounts, devices, messages: columns.number()? })
            })
        })
    }

    /// Never fails, because the store reconnects to a lost database.
    fn check(&mut self) -> Result<(), ServerError> {
        Ok(())
    }

    fn stop_signal(&self) -> CancellationToken {
        self.connection.stop_signal().clone()
    }

    #[cfg(test)]
    fn fail_next_commit(&mut self) {
        self.fail_next_commit = true;
    }
}
