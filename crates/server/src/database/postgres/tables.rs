//! Creates and upgrades the tables of a service.

use tokio_postgres::{Client, Error};

/// The tables of a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    /// The table with one row, whose column `version` says which steps are done. The first step creates it.
    pub(crate) main: &'static str,
    /// The SQL statements that upgrade each version to the next one. The first creates version 1.
    pub(crate) steps: &'static [&'static str],
}

impl Tables {
    /// The version after the last step.
    pub(crate) fn version(&self) -> i32 {
        i32::try_from(self.steps.len()).unwrap_or(i32::MAX)
    }
}

/// Why the tables cannot be used.
#[derive(Debug)]
pub(super) enum TablesError {
    /// PostgreSQL returned an error.
    Database(Error),
    /// A newer server has upgraded the tables to this version.
    Newer(i32),
}

impl From<Error> for TablesError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Creates the tables, or upgrades them to the version after the last step. Several nodes may do this at the same time.
pub(super) async fn upgrade(client: &mut Client, tables: &Tables) -> Result<(), TablesError> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&UPGRADE_LOCK]).await?;
    let exists = "SELECT to_regclass($1) IS NOT NULL";
    let version: i32 = if transaction.query_one(exists, &[&tables.main]).await?.try_get(0)? {
        let version = format!("SELECT version FROM {}", tables.main);
        transaction.query_one(&version, &[]).await?.try_get(0)?
    } else {
        0
    };
    if version > tables.version() {
        return Err(TablesError::Newer(version));
    }
    if version == tables.version() {
        return Ok(());
    }
    for step in tables.steps.iter().skip(usize::try_from(version).unwrap_or_default()) {
        transaction.batch_execute(step).await?;
    }
    let update = format!("UPDATE {} SET version = $1", tables.main);
    transaction.execute(&update, &[&tables.version()]).await?;
    Ok(transaction.commit().await?)
}

/// Key of the advisory lock that one node holds while it creates or upgrades the tables.
const UPGRADE_LOCK: i64 = 0x776f_726d_686f_6c65;
