//! The client's requests on their way to the server.
//!
//! Requests about one account are sent one after the other, so messages keep their order. A request that fails for a
//! reason that may pass is not repeated here: after a pause, the client is told that there is a new connection, and makes
//! all requests again that have no response. It knows which ciphertexts can still be used.

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
use wormhole_chat::group::GroupId;
use wormhole_chat::service::Destination;
use wormhole_chat::{
    AccountId, Client as Core, PreKeyBundle, Request, RequestId, Response, Timestamp,
};

use super::sealing::{SealedTarget, Sealing};
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::{DeviceMessage, Resolved, Service, Unconfirmed};

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

/// Requests of one lane are sent one after the other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Lane {
    Account(AccountId),
    GroupLog(GroupId),
    /// Messages to all groups: each is one upload.
    GroupMessages,
    OwnKeys,
}

/// A request with its result.
pub(super) struct Finished {
    lane: Lane,
    id: RequestId,
    result: Result<Response, RequestError>,
    /// Whether the server was not asked, because its answer was known.
    is_cached: bool,
    /// The message that was sent.
    message: Option<Timestamp>,
    /// Whether the server may have the message, although it has not confirmed that.
    may_have_arrived: bool,
}

impl Finished {
    /// The answer of the server to a request that sends nothing.
    const fn new(lane: Lane, id: RequestId, result: Result<Response, RequestError>) -> Self {
        Self { lane, id, result, is_cached: false, message: None, may_have_arrived: false }
    }

    /// The account that the request was about.
    pub(super) const fn account(&self) -> Option<AccountId> {
        match self.lane {
            Lane::Account(account) => Some(account),
            Lane::GroupLog(_) | Lane::GroupMessages | Lane::OwnKeys => None,
        }
    }

    /// The group whose log the request was about.
    pub(super) const fn group(&self) -> Option<GroupId> {
        match self.lane {
            Lane::GroupLog(group) => Some(group),
            Lane::Account(_) | Lane::GroupMessages | Lane::OwnKeys => None,
        }
    }

    /// Whether the request was the publication of our keys.
    pub(super) const fn is_publication(&self) -> bool {
        matches!(self.lane, Lane::OwnKeys)
    }

    /// Whether the server was not asked, because its answer was known.
    pub(super) const fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// The message that was sent.
    pub(super) const fn message(&self) -> Option<Timestamp> {
        self.message
    }

    /// Whether the server may have the message, although it has not confirmed that.
    pub(super) const fn may_have_arrived(&self) -> bool {
        self.may_have_arrived
    }
}

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

/// How a request reaches the server.
struct Way {
    service: Arc<Service>,
    sealing: Arc<Sealing>,
    target: Option<SealedTarget>,
}

/// Makes a request.
async fn perform(way: Way, lane: Lane, id: RequestId, request: Request) -> Finished {
    let message = sent_by(&request);
    let answered = answer(&way, request).await;
    let may_have_arrived = answered.as_ref().is_err_and(|error| error.may_have_arrived);
    let result = answered.map_err(|error| error.why);
    Finished { message, may_have_arrived, ..Finished::new(lane, id, result) }
}

async fn answer(way: &Way, request: Request) -> Result<Response, Unconfirmed> {
    let Way { service, sealing, target } = way;
    let result = match request {
        Request::Send { to, timestamp, messages, left_out, is_online, wants_answers } => {
            let parts = (&*messages, left_out.as_ref());
            if let Some(target) = target
                && let Some(sent) =
                    sealing.send(service, to, timestamp, parts, is_online, target).await
            {
                return sent;
            }
            let (messages, left_out) = parts;
            return service.send(to, timestamp, messages, left_out, is_online, wants_answers).await;
        }
        Request::SendToDevice { to, registration_id, timestamp, kind, bytes } => {
            let message = DeviceMessage { device: to.device, registration_id, kind, bytes };
            return service.send_to_device(to.account, timestamp, &message).await;
        }
        Request::Bundles(account) => keys(service, account).await,
        Request::Publish(keys) => service.publish(&keys).await.map(|()| Response::Done),
        Request::DeviceList => unless_unknown(service.device_list().await),
        Request::PublishDeviceList(new) => unless_unknown(service.put_device_list(&new).await),
        Request::AppendGroupEntry { group, revision, access, next, entry } => {
            service.append_group_entry((group, revision), &access, next, &entry).await
        }
        Request::GroupEntries { group, access, from } => {
            service.group_entries(group, &access, from).await
        }
        Request::Certificate => {
            let certificate = sealing.certificate(service).await;
            certificate.map(|certificate| Response::Certificate(Box::new(certificate)))
        }
        Request::SendGroup { timestamp, message, left_out, is_online } => {
            let sent = service.send_to_many(timestamp, &message, &left_out, is_online).await;
            // Nothing depends on it, so it must not make messages wait.
            return if is_online { sent.or(Ok(Response::Done)) } else { sent };
        }
    };
    result.map_err(|why| Unconfirmed { why, may_have_arrived: false })
}

/// A server of another kind has no lists of devices, and may refuse a path that it does not know in any way.
fn unless_unknown(result: Result<Response, RequestError>) -> Result<Response, RequestError> {
    match result {
        Err(RequestError::NotFound) => Ok(Response::NotFound),
        Err(
            RequestError::Invalid(_) | RequestError::Refused(_) | RequestError::Unavailable(501),
        ) => Ok(Response::Refused),
        result => result,
    }
}

/// The keys of an account.
async fn keys(service: &Service, account: AccountId) -> Result<Response, RequestError> {
    let resolved = service.bundles(&Destination::Account(account)).await?;
    let is_right = resolved.account == account;
    let response = Response::Bundles(resolved.bundles, resolved.list);
    is_right.then_some(response).ok_or_else(|| ServerFault::OtherAccount.into())
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
mod tests {
    use wormhole_chat::{
        Address, ClientInput, ClientOutput, DeviceId, Identity, KemKeyPair, KeyPair, Publication,
        Signature, Timestamp,
    };

    use super::*;
    use crate::chat::{Network, Server};

    /// Requests to a server that does not exist. None of them is sent before the first `await`.
    fn requests() -> Requests {
        let server = Server::new("http://127.0.0.1:1".parse().unwrap());
        let service = Service::new(&server, &Network::default()).unwrap();
        let us = Address { account: account(99), device: DeviceId::PRIMARY };
        let identity = Identity { pair: KeyPair::random(&mut OsRng), registration_id: 1 };
        let core = Core::new(us, identity, Timestamp(0), &mut OsRng);
        Requests::new(Arc::new(service), Arc::new(Sealing::new(core.sealer(), None, None)))
    }

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 16])
    }

    /// An id of a request: only a client can make one.
    fn request_id() -> RequestId {
        let us = Address { account: account(99), device: DeviceId::PRIMARY };
        let identity = Identity { pair: KeyPair::random(&mut OsRng), registration_id: 1 };
        let mut client = Core::new(us, identity, Timestamp(0), &mut OsRng);
        loop {
            match client.poll().unwrap() {
                ClientOutput::Commit(id, _) => {
                    client.handle(Timestamp(0), ClientInput::Committed(id), &mut OsRng);
                }
                ClientOutput::Request(id, _) => return id,
                ClientOutput::Acknowledge(_)
                | ClientOutput::Event(_)
                | ClientOutput::ReadAgain(..) => {}
            }
        }
    }

    /// The request of a lane has this result.
    fn finish(requests: &mut Requests, lane: Lane, result: Result<Response, RequestError>) {
        requests.finish(Finished::new(lane, request_id(), result));
    }

    fn publication() -> Request {
        let pair = KeyPair::random(&mut OsRng);
        let signature = Signature([0; 64]);
        Request::Publish(Box::new(Publication {
            identity: *pair.public(),
            signed: (1, *pair.public(), signature),
            one_time: Vec::new(),
            kem: (1, KemKeyPair::random(&mut OsRng).public().clone(), signature),
        }))
    }

    #[test]
    fn attack_11_a_service_that_refuses_lists_of_devices_does_not_stop_messages() {
        for error in [
            RequestError::Invalid(400),
            RequestError::Invalid(422),
            RequestError::Refused(403),
            RequestError::Unavailable(501),
        ] {
            assert_eq!(unless_unknown(Err(error)).unwrap(), Response::Refused);
        }
        for error in [RequestError::Unavailable(503), RequestError::CredentialsRefused] {
            assert!(unless_unknown(Err(error)).is_err());
        }
    }

    #[tokio::test]
    async fn each_account_has_its_turn_and_so_have_our_own_keys() {
        let mut requests = requests();
        let id = request_id();
        for number in 1..=9 {
            requests.push(id, Request::Bundles(account(number)));
            requests.push(id, Request::Bundles(account(number)));
        }
        requests.push(id, publication());
        let mut started = Vec::new();
        requests.start();
        for _ in 0..9 {
            let lane = requests.busy.pop_first().unwrap();
            started.push(lane);
            finish(&mut requests, lane, Ok(Response::Done));
            requests.running = requests.running.into_iter().skip(1).collect();
            requests.start();
        }
        started.extend(requests.busy.iter().copied());
        assert!(started.contains(&Lane::OwnKeys), "{started:?}");
        let accounts: BTreeSet<_> = started.iter().collect();
        assert!(accounts.len() >= 9, "{started:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_keys_are_offered_again_after_an_hour() {
        let mut requests = requests();
        requests.push(request_id(), publication());
        requests.start();
        finish(&mut requests, Lane::OwnKeys, Err(RequestError::Invalid(422)));
        requests.running.clear();
        assert_eq!(requests.due(), Some(Instant::now() + REFUSED_KEYS_PAUSE));
        // Other requests are made again earlier. The client offers its keys with them.
        requests.push(request_id(), Request::Bundles(account(1)));
        requests.start();
        finish(&mut requests, Lane::Account(account(1)), Err(RequestError::Unavailable(503)));
        requests.running.clear();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(requests.take_retry());
        requests.push(request_id(), publication());
        requests.start();
        assert!(requests.running.is_empty() && requests.due().is_some());
        tokio::time::advance(REFUSED_KEYS_PAUSE).await;
        requests.start();
        assert!(requests.busy.contains(&Lane::OwnKeys));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_due_while_a_retry_waits_for_running_requests() {
        let mut requests = requests();
        let id = request_id();
        let limited = || Err(RequestError::TooMany(Duration::from_secs(5)));
        for number in 1..=3 {
            requests.push(id, Request::Bundles(account(number)));
        }
        requests.start();
        finish(&mut requests, Lane::Account(account(1)), limited());
        finish(&mut requests, Lane::Account(account(2)), Err(RequestError::Unavailable(500)));
        requests.push(id, Request::Bundles(account(1)));
        assert!(requests.due().is_none_or(|at| at > Instant::now()));
        tokio::time::advance(Duration::from_secs(60)).await;
        requests.start();
        assert_eq!(requests.due(), None);
        // When they have ended, the client makes its requests again.
        requests.running.clear();
        assert!(requests.due().is_some() && requests.take_retry());
    }

    #[tokio::test]
    async fn a_group_message_is_being_sent_or_is_forgotten() {
        let mut requests = requests();
        for timestamp in [Timestamp(1), Timestamp(2)] {
            let message = Request::SendGroup {
                timestamp,
                message: vec![7].into(),
                left_out: Vec::new(),
                is_online: false,
            };
            requests.push(request_id(), message);
        }
        requests.start();
        assert!(requests.is_sending(Timestamp(1)) && !requests.is_sending(Timestamp(2)));
        requests.forget(Timestamp(2));
        assert!(requests.queues.is_empty());
        // There is no server, so it certainly has not arrived.
        let finished = requests.next().await.unwrap();
        assert_eq!((finished.message(), finished.may_have_arrived()), (Some(Timestamp(1)), false));
        requests.finish(finished);
        assert!(!requests.is_sending(Timestamp(1)));
    }

    fn resolved(number: u8) -> Resolved {
        let identity = *KeyPair::random(&mut OsRng).public();
        Resolved { account: account(number), app: None, identity, bundles: Vec::new(), list: None }
    }

    #[tokio::test]
    async fn keys_that_were_known_say_nothing_about_the_server() {
        let mut requests = requests();
        requests.attempt = 3;
        requests.keep(resolved(1));
        requests.push(request_id(), Request::Bundles(account(1)));
        requests.start();
        let finished = requests.next().await.unwrap();
        assert!(finished.is_cached());
        requests.finish(finished);
        assert_eq!(requests.attempt, 3);
        finish(&mut requests, Lane::Account(account(2)), Ok(Response::Done));
        assert_eq!(requests.attempt, 0);
    }

    #[tokio::test]
    async fn keys_from_before_a_mismatch_are_not_used() {
        let mut requests = requests();
        for result in [
            Response::Stale(vec![DeviceId::PRIMARY]),
            Response::Mismatched { missing: vec![DeviceId::PRIMARY], extra: Vec::new() },
        ] {
            requests.keep(resolved(1));
            requests.keep(resolved(2));
            finish(&mut requests, Lane::Account(account(1)), Ok(result));
            assert_eq!(requests.fetched.keys().copied().collect::<Vec<_>>(), [account(2)]);
        }
    }
}
