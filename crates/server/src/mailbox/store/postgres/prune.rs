//! Removing what nobody uses any more. Any number of nodes may do it: their transactions run one after the other.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::Row;

use super::PostgresStore;
use super::load::{self, Wanted};
use super::session::SessionError;
use crate::mailbox::store::rules::Tables;
use crate::mailbox::store::{MailboxName, Now, Pruned, StoreError};
use crate::mailbox::usage::Usage;

impl PostgresStore {
    /// Removes the mailboxes that nobody has used for `expiry`. Those that are `listened` to count as used now.
    pub(super) fn prune_unused(
        &mut self,
        now: Now,
        expiry: Duration,
        listened: &[MailboxName],
    ) -> Result<Pruned, StoreError> {
        self.touch(now, listened)?;
        let (mut mailboxes, mut removed) = (0, Vec::new());
        loop {
            let (pruned, usage) = self.prune_some(now, expiry)?;
            removed.extend(usage);
            mailboxes += pruned;
            if pruned == 0 {
                break;
            }
        }
        self.forget_removed(now)?;
        Ok(Pruned { mailboxes, removed })
    }

    /// Removes some unused mailboxes; returns how many.
    fn prune_some(
        &mut self,
        now: Now,
        expiry: Duration,
    ) -> Result<(usize, Vec<Usage>), StoreError> {
        let (_, names) = self.persist(|store| store.unused_mailboxes(now, expiry))?;
        if names.is_empty() {
            return Ok((0, Vec::new()));
        }
        self.persist(|store| {
            let mut wanted = Wanted::default();
            names.iter().for_each(|name| wanted.mailbox(&name.app, &name.mailbox));
            let seconds = expiry.as_secs_f64();
            store.transact(
                &wanted,
                now,
                async |_, _, _| Ok(0),
                |rules, _| {
                    let uptime = rules.tables.uptime;
                    let mut pruned = 0;
                    for name in &names {
                        let mailbox = rules.tables.mailbox(&name.app, &name.mailbox)?;
                        // Another node may have used or removed it since it was selected.
                        if let Some(mailbox) = mailbox.filter(|row| uptime - row.updated >= seconds)
                        {
                            rules.prune(&mailbox, now)?;
                            pruned += 1;
                        }
                    }
                    Ok(pruned)
                },
            )
        })
    }

    fn unused_mailboxes(
        &mut self,
        now: Now,
        expiry: Duration,
    ) -> Result<(f64, Vec<MailboxName>), SessionError> {
        let ((uptime, names), _) = self.transact(
            &Wanted::default(),
            now,
            async |session, snapshot, _| {
                let before = snapshot.uptime - expiry.as_secs_f64();
                let statement = &session.statements.unused_mailboxes;
                let rows = session.query(statement, &[&before, &PRUNED_AT_ONCE]).await?;
                Ok((snapshot.uptime, rows.iter().map(read_name).collect::<Result<Vec<_>, _>>()?))
            },
            |_, found| Ok(found),
        )?;
        Ok((uptime, names))
    }

    /// Writes that these mailboxes are used now, and returns those that do not exist.
    pub(super) fn touch(
        &mut self,
        now: Now,
        names: &[MailboxName],
    ) -> Result<Vec<MailboxName>, StoreError> {
        let mut gone = Vec::new();
        for names in names.chunks(TOUCHED_AT_ONCE) {
            let touched = self.persist(|store| store.touch_some(now, names))?;
            gone.extend(names.iter().filter(|name| !touched.contains(name)).cloned());
        }
        Ok(gone)
    }

    fn touch_some(
        &mut self,
        now: Now,
        names: &[MailboxName],
    ) -> Result<HashSet<MailboxName>, SessionError> {
        let apps: Vec<&[u8]> = names.iter().map(|name| name.app.as_bytes()).collect();
        let ids: Vec<&[u8]> = names.iter().map(|name| name.mailbox.as_bytes()).collect();
        let (touched, _) = self.transact(
            &Wanted::default(),
            now,
            async |session, snapshot, _| {
                let statement = &session.statements.touch;
                let rows = session.query(statement, &[&apps, &ids, &snapshot.uptime]).await?;
                rows.iter().map(read_name).collect()
            },
            |_, touched| Ok(touched),
        )?;
        Ok(touched)
    }

    /// Drops what this node knows about mailboxes that other nodes have removed, and nodes that are gone.
    fn forget_removed(&mut self, now: Now) -> Result<(), StoreError> {
        let keys = self.activity.keys();
        for keys in keys.chunks(TOUCHED_AT_ONCE) {
            let removed: Vec<i64> = self.persist(|store| {
                store.connection.run(async |session| {
                    let rows = session.query(&session.statements.removed_keys, &[&keys]).await?;
                    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
                })
            })?;
            removed.into_iter().for_each(|key| self.activity.discard(key));
        }
        self.persist(|store| {
            store.transact(
                &Wanted::default(),
                now,
                async |session, snapshot, _| {
                    let before = snapshot.uptime - NODE_EXPIRY;
                    session.query(&session.statements.forget_nodes, &[&before]).await?;
                    Ok(())
                },
                |_, ()| Ok(()),
            )
        })?;
        Ok(())
    }
}

fn read_name(row: &Row) -> Result<MailboxName, SessionError> {
    Ok(MailboxName { app: load::text(row, 0)?, mailbox: load::text(row, 1)? })
}

/// Mailboxes that one transaction removes because nobody uses them.
const PRUNED_AT_ONCE: i64 = 1000;

/// Mailboxes in one statement that keeps them in use.
const TOUCHED_AT_ONCE: usize = 1000;

/// Seconds of uptime after which the row of a node that is gone is removed.
const NODE_EXPIRY: f64 = 86_400.0;
