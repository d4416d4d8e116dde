//! The rules of a turn, for all back ends: who gets which key, who gets which message, and the answers.
//!
//! Each kind of request is executed for all waiting clients at once, so that a back end needs few statements. Requests
//! of one kind see the effects of those before them.

pub(in crate::messaging) mod apps;
mod bundles;
pub(in crate::messaging) mod codes;
pub(in crate::messaging) mod consent;
pub(in crate::messaging) mod device_list;
mod envelope;
pub(in crate::messaging) mod groups;
pub(in crate::messaging) mod keys;
pub(in crate::messaging) mod linking;
mod lookup;
mod receipts;
pub(in crate::messaging) mod registration;
pub(in crate::messaging) mod sealed;
mod submissions;
pub(in crate::messaging) mod usernames;

use std::collections::HashMap;
use std::time::Duration;

use wormhole_chat::Timestamp;

use super::tables::{DeviceReader, Tables};
use super::turn::{Found, Job, Login, Page, PageRequest, QueueDelivery, Turn};
use super::{DeviceKey, EPHEMERAL_LIFE, StoreError};
use lookup::distinct;

/// Executes a turn and fills in the answers.
///
/// # Errors
/// The database failed: roll the transaction back.
pub(super) fn execute<T: Tables>(
    tables: &mut T,
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), StoreError> {
    for work in &mut turn.work {
        work.execute(tables, now)?;
    }
    turn.removed = tables.removed_devices();
    for work in &mut turn.shared_work {
        work.execute(tables, now)?;
    }
    find(tables, &mut turn.logins)?;
    bundles::take(tables, &mut turn.bundles, turn.budget.as_ref(), now)?;
    receipts::acknowledge(tables, &mut turn.acknowledgements, now)?;
    submissions::accept(tables, &mut turn.submissions, turn.budget.as_ref(), now)?;
    sealed::accept(tables, &mut turn.sealed, turn.budget.as_ref(), now)?;
    read(tables, &mut turn.pages, now)
}

fn find(tables: &mut dyn Tables, jobs: &mut [Job<Login, Vec<Found>>]) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let logins: Vec<&Login> = jobs.iter().map(|job| &job.request).collect();
    let mut found = tables.find(&logins)?;
    for (found, login) in found.iter_mut().zip(&logins) {
        found.retain(|found| login.app.as_ref().is_none_or(|app| *app == found.app.name));
    }
    answer(jobs, found);
    Ok(())
}

fn read(
    tables: &mut dyn Tables,
    jobs: &mut [Job<PageRequest, Option<QueueDelivery>>],
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let requests: Vec<PageRequest> = jobs.iter().map(|job| job.request).collect();
    let devices = distinct(requests.iter().map(|request| request.device));
    let readers = tables.readers(&devices)?;
    let readers: HashMap<DeviceKey, Option<DeviceReader>> =
        devices.into_iter().zip(readers).collect();
    let pages = tables.pages(&requests, before(now, EPHEMERAL_LIFE))?;
    let deliver = |(page, request): (Page, &PageRequest)| {
        let DeviceReader { signaling_key } = readers.get(&request.device).cloned().flatten()?;
        Some(QueueDelivery { page, signaling_key })
    };
    answer(jobs, pages.into_iter().zip(&requests).map(deliver));
    Ok(())
}

/// Fills in an answer for each job.
fn answer<Q, A>(jobs: &mut [Job<Q, A>], answers: impl IntoIterator<Item = A>) {
    jobs.iter_mut().zip(answers).for_each(|(job, answer)| job.answer = Some(answer));
}

/// Subtracts a duration from a time.
pub(super) fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_sub(milliseconds))
}

/// The day of a time: when a device was seen is recorded no more precisely.
pub(in crate::messaging) const fn day(time: Timestamp) -> Timestamp {
    Timestamp(time.0 - time.0 % DAY)
}

/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_visit_is_rounded_to_a_day() {
        assert_eq!(day(Timestamp(DAY * 3 + 5)), Timestamp(DAY * 3));
    }
}
