//! Removes unused mailboxes. Several nodes may do this at the same time: their transactions run one after the other.
//!
//! The tables may be large, so each call checks one page of mailboxes, in the order of their keys.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::PostgresStore;
use super::SessionError;
use super::load::{self, Wanted};
use super::snapshot::Snapshot;
use crate::mailbox::store::rules::{Rules, Tables};
use crate::mailbox::store::{MailboxName, Now, Pruned, StoreError};

/// The progress of the removal of unused mailboxes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PruneProgress {
    /// Mailboxes that were last used at this uptime or before are removed.
    unused_since: f64,
    /// Key of the last mailbox that was checked.
    after: i64,
}

/// Some mailboxes with consecutive keys.
#[derive(Debug)]
struct Page {
    /// All keys in the page.
    keys: HashSet<i64>,
    /// The last key; `None` if no mailboxes follow.
    last: Option<i64>,
    unused: Vec<MailboxName>,
}

impl PostgresStore {
    /// Reads the next page, and removes those of its mailboxes that have been unused for `expiry`.
    pub(super) fn prune_page(&mut self, now: Now, expiry: Duration) -> Result<Pruned, StoreError> {
        let progress = match self.pruning.take() {
            Some(progress) => progress,
            None => self.begin_pruning(now, expiry)?,
        };
        let page = self.retry_while_lost(|store| store.read_page(progress))?;
        let (mailboxes, removed) = if page.unused.is_empty() {
            (0, Vec::new())
        } else {
            self.retry_while_lost(|store| store.remove_unused(now, expiry, &page.unused))?
        };
        // Remove the charges of this node for mailboxes that other nodes have removed.
        let end = page.last.unwrap_or(i64::MAX);
        self.activity.discard_others(progress.after, end, &page.keys);
        self.pruning = page.last.map(|after| PruneProgress { after, ..progress });
        Ok(Pruned { mailboxes, removed, is_complete: self.pruning.is_none() })
    }

    /// Reads the shared clock, and removes the rows of nodes that have stopped.
    fn begin_pruning(&mut self, now: Now, expiry: Duration) -> Result<PruneProgress, StoreError> {
        let uptime = self.retry_while_lost(|store| {
            store.transact_rows(now, async |session, snapshot| {
                let before = snapshot.uptime - NODE_EXPIRY;
                session.query(&session.statements.forget_nodes, &[&before]).await?;
                Ok(snapshot.uptime)
            })
        })?;
        Ok(PruneProgress { unused_since: uptime - expiry.as_secs_f64(), after: 0 })
    }

    fn read_page(&mut self, progress: PruneProgress) -> Result<Page, SessionError> {
        let PruneProgress { unused_since, after } = progress;
        self.connection.run(async |session| {
            let statement = &session.statements.mailbox_page;
            let rows = session.query(statement, &[&after, &unused_since, &PAGE]).await?;
            read_page(&rows)
        })
    }

    /// Removes those of these mailboxes that are still unused. Returns their number, and the records for the statistics.
    fn remove_unused(
        &mut self,
        now: Now,
        expiry: Duration,
        names: &[MailboxName],
    ) -> Result<(usize, Vec<crate::mailbox::usage::Usage>), SessionError> {
        let mut wanted = Wanted::default();
        names.iter().for_each(|name| wanted.mailbox(&name.app, &name.mailbox));
        let remove = |rules: &mut Rules<'_, Snapshot>, ()| {
            let mut removed = 0;
            for name in names {
                let mailbox = rules.tables.mailbox(&name.app, &name.mailbox)?;
                let uptime = rules.tables.uptime;
                // Another node may have used or removed the mailbox since it was read.
                if let Some(mailbox) =
                    mailbox.filter(|row| uptime - row.updated >= expiry.as_secs_f64())
                {
                    rules.prune(&mailbox, now)?;
                    removed += 1;
                }
            }
            Ok(removed)
        };
        self.transact(&wanted, now, async |_, _, _| Ok(()), remove)
    }

    /// Marks these mailboxes as used now. Returns those that do not exist.
    pub(super) fn touch(
        &mut self,
        now: Now,
        names: &[Arc<MailboxName>],
    ) -> Result<Vec<Arc<MailboxName>>, StoreError> {
        let apps: Vec<&[u8]> = names.iter().map(|name| name.app.as_bytes()).collect();
        let ids: Vec<&[u8]> = names.iter().map(|name| name.mailbox.as_bytes()).collect();
        let touched: HashSet<MailboxName> = self.retry_while_lost(|store| {
            store.transact_rows(now, async |session, snapshot| {
                let statement = &session.statements.touch;
                let rows = session.query(statement, &[&apps, &ids, &snapshot.uptime]).await?;
                rows.iter().map(|row| read_name(row, 0)).collect()
            })
        })?;
        Ok(names.iter().filter(|name| !touched.contains(&***name)).cloned().collect())
    }
}

/// Reads a page of rows. The page ends early if its unused mailboxes have too many messages for one transaction.
fn read_page(rows: &[Row]) -> Result<Page, SessionError> {
    let mut page = Page { keys: HashSet::new(), last: None, unused: Vec::new() };
    let mut messages = 0;
    for row in rows {
        let key = row.try_get(0)?;
        page.keys.insert(key);
        if row.try_get(1)? {
            messages += row.try_get::<_, i64>(2)?;
            page.unused.push(read_name(row, 3)?);
        }
        if messages >= MESSAGES_AT_ONCE {
            page.last = Some(key);
            return Ok(page);
        }
    }
    if i64::try_from(rows.len()).is_ok_and(|length| length >= PAGE) {
        page.last = rows.last().map(|row| row.try_get(0)).transpose()?;
    }
    Ok(page)
}

/// Reads a name from two columns; `column` is the first.
fn read_name(row: &Row, column: usize) -> Result<MailboxName, SessionError> {
    Ok(MailboxName { app: load::text(row, column)?, mailbox: load::text(row, column + 1)? })
}

/// Maximum number of mailboxes in a page.
pub(super) const PAGE: i64 = 1000;

/// Number of messages in unused mailboxes at which a page ends early.
const MESSAGES_AT_ONCE: i64 = 10_000;

/// Seconds of uptime after which the row of a stopped node is removed.
const NODE_EXPIRY: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wormhole_testbed::{Durability, Postgres, installed_or_skip};

    use super::*;
    use crate::database::notifications::NodeId;
    use crate::database::postgres::DatabaseUrl;
    use crate::mailbox::store::StoreLimits;

    #[test]
    fn unused_mailboxes_are_removed_a_page_at_a_time() {
        let started = Postgres::start(Durability::Process, None);
        let Some(postgres) = installed_or_skip(started) else { return };
        let url = DatabaseUrl::from(postgres.url("postgres"));
        let (limits, node) = (StoreLimits::default(), NodeId::random());
        let mut store = PostgresStore::open(&url, limits, node, true).unwrap();
        // Every second mailbox is unused. Some of them have very many messages.
        let fill = "UPDATE wormhole_server SET uptime = 1000, next_mailbox = 4000;
            INSERT INTO wormhole_mailboxes (key, app, id, messages, bytes, last_message, used, crowded)
            SELECT key, 'app', key::text::bytea, CASE WHEN key > 3000 THEN 5000 ELSE 0 END, 0, 0,
                CASE WHEN key % 2 = 0 THEN 100 ELSE 900 END, false
            FROM generate_series(1, 3010) AS key";
        postgres.execute("postgres", fill);
        let now = Now { monotonic: Instant::now(), ..Now::read() };
        let mut pages = Vec::new();
        loop {
            let pruned = store.prune_page(now, Duration::from_secs(660)).unwrap();
            pages.push(pruned.mailboxes);
            if pruned.is_complete {
                break;
            }
        }
        assert_eq!(pages, [500, 500, 500, 2, 2, 1]);
        let rest = "SELECT count(*), min(used) FROM wormhole_mailboxes";
        assert_eq!(postgres.execute("postgres", rest), "1505|900");
    }
}
