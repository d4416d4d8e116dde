//! Removes what has expired, in steps that are short enough for those who wait. Nodes that do it at the same time skip
//! each other's rows.

use wormhole_chat::Timestamp;

use super::columns::{Columns, stored};
use super::transaction::{Chosen, PostgresTables, Stored};
use crate::messaging::store::rules::before;
use crate::messaging::store::{DeviceKey, EPHEMERAL_LIFE, Expiry, REPORT_LIFE};

impl PostgresTables<'_> {
    /// Removes some of what has expired. Returns whether there may be more.
    pub(super) fn prune(&mut self, expiry: Expiry, now: Timestamp) -> Stored<bool> {
        let (codes, sent) = (stored(before(now, expiry.codes)), stored(before(now, expiry.sent)));
        let mut has_more = self.expire(|it| &it.expire_codes, codes)?;
        has_more |= self.expire(|it| &it.expire_device_codes, codes)?;
        has_more |= self.expire(|it| &it.expire_provisioning, codes)?;
        has_more |= self.expire(|it| &it.expire_sent, sent)?;
        let old = stored(before(now, REPORT_LIFE));
        has_more |= self.expire(|it| &it.expire_reports, old)?;
        let old = stored(before(now, expiry.messages));
        has_more |= self.expire_messages(|it| &it.expire_messages, old)?;
        let old = stored(before(now, EPHEMERAL_LIFE));
        Ok(self.expire_messages(|it| &it.expire_ephemeral, old)? || has_more)
    }

    fn expire(&mut self, statement: Chosen, oldest: i64) -> Stored<bool> {
        Ok(self.execute(statement, &[&oldest, &MAX_ROWS])? >= MAX_ROWS.unsigned_abs())
    }

    fn expire_messages(&mut self, statement: Chosen, oldest: i64) -> Stored<bool> {
        let read = |columns: &mut Columns<'_>| Ok((DeviceKey(columns.value()?), columns.number()?));
        let removed = self.read(statement, &[&oldest, &MAX_ROWS], read)?;
        let is_full = i64::try_from(removed.len()).is_ok_and(|removed| removed >= MAX_ROWS);
        removed.into_iter().for_each(|(device, bytes)| self.queues.remove(device, bytes));
        Ok(is_full)
    }
}

/// Maximum number of rows of a table that one step removes.
const MAX_ROWS: i64 = 1000;
