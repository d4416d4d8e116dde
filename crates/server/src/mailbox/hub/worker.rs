//! The thread that owns the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{Answer, Refusal, Request};

use super::listeners::{Delivery, Listeners};
use super::maintenance::Schedule;
use super::queue::{ClientRequest, Pending, Queue};
use super::unix_now;
use crate::ServerError;
use crate::database::notifications::Publisher;
use crate::mailbox::counters::Counters;
use crate::mailbox::inbox::Event;
use crate::mailbox::store::{
    Applied, Command, Cursor, MailboxName, NewMessages, Now, Outcome, Store, StoreError,
};
use crate::mailbox::usage::{ClientVersion, Usage, UsageLog};
use crate::mailbox::wake::{self, Changed};

/// Everything that the thread needs.
#[derive(Debug)]
pub(in crate::mailbox) struct Parts {
    pub(in crate::mailbox) store: Box<dyn Store>,
    pub(in crate::mailbox) usage: Option<UsageLog>,
    pub(in crate::mailbox) counters: Arc<Counters>,
    /// Notifies other nodes; `None` if the store does this with its commits, or if there are no other nodes.
    pub(in crate::mailbox) publisher: Option<Publisher>,
    /// Interval between two removals of unused mailboxes.
    pub(in crate::mailbox) prune_period: Duration,
    /// Time after which an unused mailbox is removed.
    pub(in crate::mailbox) expiry: Duration,
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct StoreWorker {
    pub(super) parts: Parts,
    pub(super) listeners: Listeners,
    pub(super) schedule: Schedule,
    pub(super) started: UnixTime,
    /// The time from which the next failure is logged.
    next_report: Instant,
}

impl StoreWorker {
    pub(super) fn new(parts: Parts) -> Self {
        let schedule = Schedule::new(&parts);
        let listeners = Listeners::new(parts.store.is_shared());
        let mut worker =
            Self { parts, listeners, schedule, started: unix_now(), next_report: Instant::now() };
        worker.record_current();
        worker
    }

    /// Serves until the queue is closed.
    ///
    /// # Errors
    /// The database is lost. All waiting requests were answered with [`Refusal::Unavailable`].
    pub(super) fn run(
        mut self,
        queue: &Queue,
        deliveries: &mpsc::Sender<Vec<Delivery>>,
    ) -> Result<(), ServerError> {
        let mut last = 0;
        while let Some(mut pending) = queue.take(self.schedule.next_task()) {
            if should_wait_for_more(pending.requests.len(), last) {
                std::thread::sleep(BATCH_DELAY);
                queue.take_more(&mut pending.requests);
            }
            last = pending.requests.len();
            if let Err(error) = self.parts.store.check() {
                let _ = deliveries.blocking_send(refuse_all(pending.requests));
                return Err(error);
            }
            self.handle(pending, deliveries);
            self.maintain(|batch| {
                let _ = deliveries.blocking_send(batch);
            });
        }
        Ok(())
    }

    fn handle(&mut self, pending: Pending, deliveries: &mpsc::Sender<Vec<Delivery>>) {
        let changed = self.schedule.admit(pending.changed, Instant::now());
        self.catch_up(&changed, |batch| {
            let _ = deliveries.blocking_send(batch);
        });
        let mut requests = pending.requests;
        while !requests.is_empty() {
            let (batch, usage) = self.serve(&mut requests);
            // If the links' threads have ended, nobody needs the answers.
            let _ = deliveries.blocking_send(batch);
            // Clients need not wait for the statistics.
            self.record(&usage);
        }
        // After the requests, because one of them may have added one of these links.
        for link in pending.disconnected {
            self.listeners.remove(link);
        }
        if pending.release_memory {
            self.release_memory();
        }
    }

    /// Stores one batch. Returns the events to deliver and the statistics to record. Requests that are not part of the
    /// batch stay in `requests`.
    pub(super) fn serve(
        &mut self,
        requests: &mut Vec<ClientRequest>,
    ) -> (Vec<Delivery>, Vec<Usage>) {
        let (now, cursors) = (Now::read(), self.cursors(requests));
        let mut commands: Vec<Command<'_>> = requests.iter_mut().map(command).collect();
        match self.parts.store.apply(&mut commands, &cursors, now) {
            Ok(Applied { outcomes, removed: mut usage, from_other_nodes }) => {
                self.parts.counters.committed(outcomes.len());
                let rest = requests.split_off(outcomes.len());
                let batch = std::mem::replace(requests, rest);
                if self.parts.usage.is_some() {
                    usage.extend(batch.iter().filter_map(|request| client_version(request, now)));
                }
                self.notify_others(&batch, &outcomes);
                let mut deliveries = Vec::with_capacity(2 * batch.len());
                self.deliver_new_messages(&from_other_nodes, &mut deliveries);
                for (request, outcome) in batch.into_iter().zip(outcomes) {
                    self.answer(request, outcome, &mut deliveries);
                }
                (deliveries, usage)
            }
            Err(error) => {
                self.report_failure(&error);
                (refuse_all(std::mem::take(requests)), Vec::new())
            }
        }
    }

    /// Logs that a batch failed, but at most once per [`REPORT_PAUSE`].
    fn report_failure(&mut self, error: &StoreError) {
        let now = Instant::now();
        if now >= self.next_report {
            self.next_report = now + REPORT_PAUSE;
            tracing::error!(%error, "could not store a batch of requests");
        }
    }

    /// Reads the messages that other nodes have added to these mailboxes, and delivers them in batches of limited size.
    pub(super) fn catch_up(&mut self, changed: &Changed, mut deliver: impl FnMut(Vec<Delivery>)) {
        for names in self.listeners.changed(changed).chunks(MAILBOXES_PER_QUERY) {
            loop {
                let cursors: Vec<Cursor> =
                    names.iter().filter_map(|name| self.listeners.cursor(name)).collect();
                let fetched = match self.parts.store.messages_after(&cursors) {
                    Ok(fetched) => fetched,
                    Err(error) => {
                        // The node tries again soon: after a notification, or after it has reconnected.
                        tracing::debug!(%error, "could not read messages of other nodes");
                        return;
                    }
                };
                let mut deliveries = Vec::new();
                self.deliver_new_messages(&fetched.mailboxes, &mut deliveries);
                deliver(deliveries);
                if fetched.is_complete {
                    break;
                }
            }
        }
    }

    fn deliver_new_messages(&mut self, mailboxes: &[NewMessages], deliveries: &mut Vec<Delivery>) {
        for NewMessages { name, messages } in mailboxes {
            for (position, message) in messages {
                self.listeners.send(name, *position, message, None, deliveries);
            }
        }
    }

    /// Notifies the other nodes which mailboxes have new messages.
    fn notify_others(&self, batch: &[ClientRequest], outcomes: &[Outcome]) {
        let Some(publisher) = &self.parts.publisher else { return };
        let added = batch.iter().zip(outcomes).filter_map(|(request, outcome)| {
            match (&request.request, outcome) {
                (Request::Add { mailbox, .. }, Outcome::Added { .. }) => {
                    Some(name_of(request, mailbox))
                }
                _ => None,
            }
        });
        let added: HashSet<MailboxName> = added.collect();
        wake::publish(publisher, added.iter());
    }

    /// The cursors of all mailboxes to which a batch adds messages, if other nodes may have added messages to them too.
    fn cursors(&self, requests: &[ClientRequest]) -> Vec<Cursor> {
        if !self.parts.store.is_shared() {
            return Vec::new();
        }
        let mut cursors = HashMap::new();
        for request in requests {
            if let Request::Add { mailbox, .. } = &request.request
                && let Some(cursor) = self.listeners.cursor(&name_of(request, mailbox))
            {
                cursors.insert(Arc::clone(&cursor.name), cursor);
            }
        }
        cursors.into_values().collect()
    }

    /// Sends the outcome of one request to all affected links.
    fn answer(&mut self, request: ClientRequest, outcome: Outcome, deliveries: &mut Vec<Delivery>) {
        let link = request.inbox.number();
        let answer = match (outcome, &request.request) {
            (Outcome::Added { position, message }, Request::Add { mailbox, .. }) => {
                let name = name_of(&request, mailbox);
                self.listeners.send(&name, position, &message, Some(link), deliveries);
                Answer::Added(message)
            }
            (Outcome::Added { message, .. }, _) => Answer::Added(message),
            (Outcome::Opened { position, messages }, Request::Open(mailbox)) => {
                self.listeners.add(name_of(&request, mailbox), &request.inbox, position);
                Answer::Opened(messages)
            }
            (Outcome::Opened { messages, .. }, _) => Answer::Opened(messages),
            (Outcome::Answer(answer), _) => {
                if answer == Answer::Closed {
                    self.listeners.remove(link);
                }
                answer
            }
        };
        deliveries
            .push(Delivery { inbox: request.inbox, event: Event::Answer(request.id, answer) });
    }

    pub(super) fn record(&mut self, usage: &[Usage]) {
        if let Some(log) = &mut self.parts.usage
            && !usage.is_empty()
            && let Err(error) = log.record(usage)
        {
            tracing::warn!(%error, "could not record statistics");
        }
    }
}

fn command(request: &mut ClientRequest) -> Command<'_> {
    let ClientRequest { client, inbox, request, .. } = request;
    Command { client, address: inbox.address(), request }
}

fn name_of(request: &ClientRequest, mailbox: &str) -> MailboxName {
    MailboxName { app: request.client.app.clone(), mailbox: mailbox.into() }
}

/// The statistics about a client that has sent `bind`.
fn client_version(request: &ClientRequest, now: Now) -> Option<Usage> {
    let Request::Bind(implementation, version) = &request.request else { return None };
    Some(Usage::Client(ClientVersion {
        app: request.client.app.clone(),
        side: request.client.side.clone(),
        connected: now.wall,
        implementation: implementation.clone(),
        version: version.clone(),
    }))
}

/// Answers each of these requests with [`Refusal::Unavailable`]: none was executed.
fn refuse_all(requests: Vec<ClientRequest>) -> Vec<Delivery> {
    let refuse = |request: ClientRequest| {
        let answer = Answer::Refused(Refusal::Unavailable);
        Delivery { inbox: request.inbox, event: Event::Answer(request.id, answer) }
    };
    requests.into_iter().map(refuse).collect()
}

/// Whether to wait for more requests before the next batch. The clients that got answers from the last batch will soon
/// send their next requests. If only a few of them are `waiting`, a short delay saves a write to disk.
const fn should_wait_for_more(waiting: usize, last_batch: usize) -> bool {
    waiting < last_batch / MIN_BATCH_DIVISOR
}

/// The next batch waits for more requests while it has fewer than the last batch divided by this number.
const MIN_BATCH_DIVISOR: usize = 4;

/// Time between two log lines about failed batches.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of mailboxes in one query for new messages.
const MAILBOXES_PER_QUERY: usize = 1000;

/// How long a batch waits for more requests: usually less than a write to disk takes.
const BATCH_DELAY: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_requests_after_a_large_batch_wait_for_more() {
        for (waiting, last) in [(1, 8), (1, 100), (24, 100)] {
            assert!(should_wait_for_more(waiting, last), "{waiting} after {last}");
        }
        // A single client never waits, and neither does a batch that is about as large as the last one.
        for (waiting, last) in [(1, 0), (1, 1), (1, 7), (2, 8), (25, 100), (100, 100), (200, 100)] {
            assert!(!should_wait_for_more(waiting, last), "{waiting} after {last}");
        }
    }
}
