//! The client's requests on their way to the server.
//!
//! Requests about one account are sent one after the other, so messages keep their order. A request that fails for a
//! reason that may pass is not repeated here: after a pause, the client is told that there is a new connection, and makes
//! all requests again that have no response. It knows which ciphertexts can still be used.

mod finished;
mod perform;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::ops::Bound::{Excluded, Unbounded};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand_core::{OsRng, RngCore};
use tokio::time::{Instant, sleep_until};
use wormhole_chat::{
    AccountId, Client as Core, PreKeyBundle, Request, RequestId, Response, Timestamp,
};

use super::sealing::{SealedTarget, Sealing};
use crate::chat::error::RequestError;
use crate::chat::service::{Resolved, Service};
pub(super) use finished::Finished;
use finished::Lane;
use perform::{Way, perform};

/// The requests of a client that have no response yet.
pub(super) struct Requests {
    service: Arc<Service>,
    sealing: Arc<Sealing>,
    /// The recipients for whom the requests in the queues can be sealed.
    targets: BTreeMap<RequestId, SealedTarget>,
    queues: BTreeMap<Lane, VecDeque<(RequestId, Request)>>,
    /// The lane whose request was started last. The search for the next one begins after it, so that each has its turn.
    last: Option<Lane>,
    /// Lanes with a running request.
    busy: BTreeSet<Lane>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>,
    /// The messages that are being sent.
    sending: BTreeSet<Timestamp>,
    /// Lanes in which a request has failed. Their later requests wait, to keep the order of messages.
    failed: BTreeSet<Lane>,
    /// Lanes that wait, because the server has asked for that or refuses our keys.
    held: BTreeMap<Lane, Instant>,
    /// When the client makes its requests again.
    retry: Option<Instant>,
    /// How often it did that without success.
    attempt: u32,
    /// Keys that came with the answer to which account a number belongs.
    fetched: BTreeMap<AccountId, (Instant, Fetched)>,
}

/// The keys of an account, and its list of devices.
type Fetched = (Vec<PreKeyBundle>, Option<Vec<u8>>);

impl Requests {
    pub(super) fn new(service: Arc<Service>, sealing: Arc<Sealing>) -> Self {
        Self {
            service,
            sealing,
            targets: BTreeMap::new(),
            queues: BTreeMap::new(),
            last: None,
            busy: BTreeSet::new(),
            running: FuturesUnordered::new(),
            sending: BTreeSet::new(),
            failed: BTreeSet::new(),
            held: BTreeMap::new(),
            retry: None,
            attempt: 0,
            fetched: BTreeMap::new(),
        }
    }

    /// Adds a request that can be sealed.
    pub(super) fn push_sealed(&mut self, id: RequestId, request: Request, to: SealedTarget) {
        self.targets.insert(id, to);
        self.push(id, request);
    }

    /// Adds a request.
    pub(super) fn push(&mut self, id: RequestId, request: Request) {
        let lane = match &request {
            Request::Bundles(account) | Request::Send { to: account, .. } => {
                Lane::Account(*account)
            }
            Request::SendToDevice { to, .. } => Lane::Account(to.account),
            Request::DeviceList | Request::Publish(_) | Request::PublishDeviceList(_) => {
                Lane::OwnKeys
            }
            Request::AppendGroupEntry { group, .. } | Request::GroupEntries { group, .. } => {
                Lane::GroupLog(*group)
            }
            Request::Certificate | Request::SendGroup { .. } => Lane::GroupMessages,
        };
        self.queues.entry(lane).or_default().push_back((id, request));
    }

    /// Whether a message is being sent, so that the server may have it.
    pub(super) fn is_sending(&self, message: Timestamp) -> bool {
        self.sending.contains(&message)
    }

    /// Does not send a message that waits here.
    pub(super) fn forget(&mut self, message: Timestamp) {
        for queue in self.queues.values_mut() {
            let targets = &mut self.targets;
            queue.retain(|(id, request)| {
                let stays = sent_by(request) != Some(message);
                if !stays {
                    targets.remove(id);
                }
                stays
            });
        }
        self.queues.retain(|_, queue| !queue.is_empty());
    }

    /// Remembers keys for the next request for them.
    pub(super) fn keep(&mut self, resolved: Resolved) {
        self.fetched.retain(|_, (since, _)| since.elapsed() < FETCHED_TIME);
        if self.fetched.len() < MAX_FETCHED {
            let fetched = (resolved.bundles, resolved.list);
            self.fetched.insert(resolved.account, (Instant::now(), fetched));
        }
    }

    /// Fetches keys again when they are needed: a device has written that may be new.
    pub(super) fn forget_fetched(&mut self) {
        self.fetched.clear();
    }

    /// Does not answer with the keys of an account that were looked up before.
    pub(super) fn forget_fetched_of(&mut self, account: AccountId) {
        self.fetched.remove(&account);
    }

    /// Sends the next request of each lane, if not too many are running.
    pub(super) fn start(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|at| at <= now) {
            return;
        }
        self.held.retain(|_, until| *until > now);
        while self.running.len() < MAX_RUNNING {
            let Some(lane) = self.next_lane() else { return };
            self.last = Some(lane);
            let Some(queue) = self.queues.get_mut(&lane) else { return };
            let next = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&lane);
            }
            if let Some((id, request)) = next {
                self.busy.insert(lane);
                self.execute(lane, id, request);
            }
        }
    }

    /// The next lane whose first request can be sent.
    fn next_lane(&self) -> Option<Lane> {
        let is_free = |lane: &Lane| {
            let waits = self.failed.contains(lane) || self.held.contains_key(lane);
            !waits && !self.busy.contains(lane)
        };
        let later = self.queues.range((self.last.map_or(Unbounded, Excluded), Unbounded));
        let mut lanes = later.chain(&self.queues).map(|(lane, _)| *lane);
        lanes.find(is_free)
    }

    fn execute(&mut self, lane: Lane, id: RequestId, request: Request) {
        if let Request::Bundles(account) = request
            && let Some((since, (bundles, list))) = self.fetched.remove(&account)
            && since.elapsed() < FETCHED_TIME
        {
            let result = Ok(Response::Bundles(bundles, list));
            let finished = Finished { is_cached: true, ..Finished::new(lane, id, result) };
            return self.running.push(Box::pin(async move { finished }));
        }
        self.sending.extend(sent_by(&request));
        let way = Way {
            service: Arc::clone(&self.service),
            sealing: Arc::clone(&self.sealing),
            target: self.targets.remove(&id),
        };
        self.running.push(Box::pin(perform(way, lane, id, request)));
    }

    /// Waits for the next result. `None`: something can be done that had to wait.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        let due = self.due();
        tokio::select! {
            Some(finished) = self.running.next() => Some(finished),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
            else => std::future::pending().await,
        }
    }

    /// Ends a request. Returns the response for the client, and the reason if the server has not answered.
    pub(super) fn finish(
        &mut self,
        finished: Finished,
    ) -> (RequestId, Response, Option<RequestError>) {
        let Finished { lane, id, result, is_cached, message, may_have_arrived: _ } = finished;
        self.busy.remove(&lane);
        if let Some(message) = message {
            self.sending.remove(&message);
        }
        let is_about_account = lane != Lane::OwnKeys;
        match result {
            Ok(response) => {
                if !is_cached {
                    self.attempt = 0;
                }
                if let (Lane::Account(account), Response::Mismatched { .. } | Response::Stale(_)) =
                    (lane, &response)
                {
                    // These keys are not those of the devices that the account has now.
                    self.fetched.remove(&account);
                }
                (id, response, None)
            }
            Err(RequestError::NotFound) if is_about_account => (id, Response::NotFound, None),
            Err(RequestError::IntraApp) if is_about_account => (id, Response::IntraApp, None),
            Err(RequestError::Invalid(_)) if is_about_account => (id, Response::Refused, None),
            Err(error) => {
                self.pause(lane, &error);
                let is_full = matches!(error, RequestError::TooMany(_)) && message.is_some();
                let is_to_one = matches!(lane, Lane::Account(_));
                let response =
                    if is_full && is_to_one { Response::NoRoom } else { Response::Unavailable };
                (id, response, Some(error))
            }
        }
    }

    fn pause(&mut self, lane: Lane, error: &RequestError) {
        let now = Instant::now();
        self.failed.insert(lane);
        let is_refused = lane == Lane::OwnKeys && error.refuses_keys();
        let held = error.retry_after().or_else(|| is_refused.then_some(REFUSED_KEYS_PAUSE));
        let at = if let Some(pause) = held {
            let until = now + pause;
            self.held.insert(lane, until);
            until
        } else {
            let at = now + pause(self.attempt, error);
            if self.retry.is_none() {
                self.attempt = self.attempt.saturating_add(1);
            }
            at
        };
        self.retry = Some(self.retry.map_or(at, |earlier| earlier.min(at)));
    }

    /// Tries failed requests again: the server can be reached.
    pub(super) fn connected(&mut self) {
        if self.retry.is_some() {
            self.retry = Some(Instant::now());
        }
    }

    /// When something can be done that has to wait.
    fn due(&self) -> Option<Instant> {
        if self.retry.is_some_and(|at| at <= Instant::now()) && !self.running.is_empty() {
            // Nothing is started before the running requests have ended.
            return None;
        }
        let retry = self.retry.filter(|_| self.running.is_empty());
        let waits = |lane: &Lane| self.queues.contains_key(lane) && !self.failed.contains(lane);
        let waiting = self.held.iter().filter(|(lane, _)| waits(lane));
        retry.into_iter().chain(waiting.map(|(_, until)| *until)).min()
    }

    /// Whether the client must make its requests again. Then all that have not been sent are dropped.
    pub(super) fn take_retry(&mut self) -> bool {
        let is_due = self.retry.is_some_and(|at| at <= Instant::now()) && self.running.is_empty();
        if is_due {
            self.retry = None;
            self.failed.clear();
            self.queues.clear();
            self.targets.clear();
        }
        is_due
    }
}

/// How long to wait before the next attempt. Random, so that clients do not return all at once.
pub(super) fn pause(attempt: u32, error: &RequestError) -> Duration {
    let pause = if error.is_refusal() { LONG_PAUSE } else { Core::pause(attempt) };
    let share = f64::from(OsRng.next_u32()) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

/// The message that a request sends.
const fn sent_by(request: &Request) -> Option<Timestamp> {
    match request {
        Request::Send { timestamp, .. }
        | Request::SendGroup { timestamp, is_online: false, .. } => Some(*timestamp),
        Request::SendGroup { is_online: true, .. }
        | Request::AppendGroupEntry { .. }
        | Request::Bundles(_)
        | Request::Certificate
        | Request::DeviceList
        | Request::GroupEntries { .. }
        | Request::Publish(_)
        | Request::PublishDeviceList(_)
        | Request::SendToDevice { .. } => None,
    }
}

/// Maximum number of requests that run at the same time.
const MAX_RUNNING: usize = 4;

/// How long fetched keys are kept for the client.
const FETCHED_TIME: Duration = Duration::from_secs(60);

/// Maximum number of accounts whose fetched keys are kept.
const MAX_FETCHED: usize = 64;

/// The pause after the server has refused our keys.
const REFUSED_KEYS_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The pause after an error that does not pass by itself.
const LONG_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
