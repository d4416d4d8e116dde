//! How often people who are not members make us read the log of a group.
//!
//! Somebody who is not a member may have joined with an entry that we have not read, so its messages count. But everybody who knows
//! the id of a group can send such messages. So reads that show nothing new are limited; entries that are named beyond the limit are
//! read when the period is over.

use std::time::Duration;

use super::Group;
use super::waiting::later;
use crate::time::Timestamp;

/// The reads of the log of one group because of people who are not members, since this program was started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutsiderReads {
    /// When the period began, and the reads in it that have shown nothing new.
    spent: Option<(Timestamp, u8)>,
    /// When to read the log for what was named since.
    pub(super) due: Option<Timestamp>,
}

impl OutsiderReads {
    pub(super) const fn new() -> Self {
        Self { spent: None, due: None }
    }

    /// Whether the log may be read now. Otherwise it is read when the period is over.
    pub(super) fn may_read(&mut self, now: Timestamp) -> bool {
        let period = self.spent.filter(|(start, _)| is_current(*start, now));
        let (start, count) = period.unwrap_or((now, 0));
        let may_read = count < MAX_READS;
        self.spent = Some((start, if may_read { count + 1 } else { count }));
        if !may_read {
            self.due = Some(later(start, PERIOD));
        }
        may_read
    }

    /// The log had something new, so reading it was right.
    pub(super) const fn confirm(&mut self) {
        self.spent = None;
    }
}

impl Group {
    /// When the log must be read again.
    pub(super) fn read_deadline(&self) -> Option<Timestamp> {
        let missing = self.missing.and_then(|missing| missing.due());
        missing.into_iter().chain(self.outsiders.due).min()
    }
}

/// Whether a period that began then has not ended. A clock that was wrong does not make it longer.
fn is_current(start: Timestamp, now: Timestamp) -> bool {
    start <= now && now < later(start, PERIOD)
}

/// The time to which the limit applies.
const PERIOD: Duration = Duration::from_secs(60);

/// Maximum number of reads in that time that show nothing new.
const MAX_READS: u8 = 5;
