//! The task of one client: it owns the state machine of `wormhole-chat`, and carries its requests to the server, its
//! changes to the store, and the server's messages to it.
//!
//! Like `drive.rs`, it processes outputs, waits for an input, and passes it in. It has a loop of its own, because the
//! inputs of this state machine are responses and commits, not bytes of links.

mod commits;
mod contacts;
mod decisions;
mod direct;
mod ending;
mod envelopes;
mod group_changes;
mod groups;
mod history;
mod names;
mod outbox;
mod parts;
mod people;
mod profiles;
mod receipts;
mod reports;
mod requests;
mod sealing;
mod shared;
mod socket;
mod tasks;
mod timers;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_core::OsRng;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wormhole_chat::{
    AccountId, Client as Core, ClientInput, ClientOutput, Delivery, DirectAnswer, Envelope,
    Request, Timestamp,
};

use super::RequestError;
use super::account::{Account, ClientStore, SharedStore, now};
use super::error::Ended;
use super::message::{Connection, Event, KeyState, Progress};
use super::profile::OwnProfile;
use super::store::{Contact, EnvelopeHash, Evidence, StoreError};
pub(super) use commits::Counts;
use commits::{Commits, Durable};
use contacts::Contacts;
use decisions::{Decisions, Update};
use direct::DirectOffers;
use ending::Ending;
pub(super) use group_changes::ChangeOutcome;
use group_changes::GroupChanges;
use history::HistoryUpkeep;
pub(super) use names::{NAMES, NameTimes};
use outbox::Outbox;
pub(super) use parts::{DriverParts, OwnRows, People, Settings};
pub(super) use people::{CAPABILITY, Choice, MAX_BLOCKED};
use profiles::{ProfileAnswer, Profiles};
use receipts::Receipts;
use requests::{Finished, Requests};
use sealing::Sealing;
pub(super) use shared::{CONFIGURATION, PEOPLE, Shared};
use socket::{RequestOrigin, Socket, SocketEvent};
pub(super) use tasks::IdentityDecision;
pub(super) use timers::{GROUP_TIMERS, TIMERS, Timers, TooManyTimers};
use upkeep::{PublishedKeys, Upkeep};

/// Something that a handle of the client wants to be done.
pub(super) type Task = Box<dyn FnOnce(&mut Driver) + Send>;

/// A message in the outbox, as its sender watches it.
pub(super) type Sending = (Timestamp, watch::Receiver<Progress>);

/// The signals that handles of the client can watch.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) events: broadcast::Sender<Event>,
    /// Changes when messages have arrived.
    pub(super) news: watch::Sender<()>,
    /// Whether the client is connected.
    pub(super) connection: watch::Sender<Connection>,
    /// Whether the server has our prekeys.
    pub(super) keys: watch::Sender<KeyState>,
    /// Number of messages that wait for our other devices or for groups, and of accounts for which receipts wait.
    pub(super) syncs: watch::Sender<usize>,
    /// Number of decisions about people that the server does not know yet.
    pub(super) decisions: watch::Sender<usize>,
    /// Why the client has ended.
    pub(super) ended: watch::Sender<Option<Ended>>,
}

/// The task of one client.
pub(super) struct Driver {
    core: Core,
    store: SharedStore,
    tasks: mpsc::Receiver<Task>,
    signals: Arc<Signals>,
    commits: Commits,
    requests: Requests,
    sealing: Arc<Sealing>,
    socket: Socket,
    upkeep: Upkeep,
    history: HistoryUpkeep,
    contacts: Contacts,
    decisions: Decisions,
    direct: DirectOffers,
    blocked: BTreeSet<AccountId>,
    /// Accounts whose messages the user wants: the user has written to them, or named them.
    accepted: BTreeSet<AccountId>,
    /// Members of groups of whom the server has learned, or will learn, that they may write to us.
    members: BTreeSet<AccountId>,
    /// Whether messages of people that the user does not know wait for a decision.
    holds_requests: bool,
    /// Our account.
    own: AccountId,
    profiles: Profiles,
    /// Our own profile, if this device knows its key.
    own_profile: Option<OwnProfile>,
    /// Messages that wait to be accepted by the client, oldest first.
    accepting: VecDeque<oneshot::Sender<Sending>>,
    /// Messages to groups that wait to be accepted by the client.
    accepting_groups: BTreeMap<Timestamp, oneshot::Sender<Sending>>,
    group_changes: GroupChanges,
    outbox: Outbox,
    receipts: Receipts,
    shared: Shared,
    names: NameTimes,
    timers: Timers,
    /// The server's requests whose envelopes are not acknowledged yet.
    deliveries: BTreeMap<u64, RequestOrigin>,
    /// The hashes of their envelopes.
    hashes: BTreeMap<u64, EnvelopeHash>,
    /// Envelopes that the client wants to read again.
    again: VecDeque<(Delivery, Box<Envelope>)>,
    last_delivery: u64,
    /// The sender of the envelope that is being handled, as the server describes it.
    source: Option<Contact>,
    /// The hash of that envelope.
    envelope: Option<EnvelopeHash>,
    /// Proof for the server that it has delivered that envelope.
    evidence: Option<Evidence>,
    /// Number and size of the messages that wait for the application.
    counts: Counts,
    max_unread: usize,
    /// Whether the server has delivered everything that had waited, but not all of it may be in the store.
    is_up_to_date: bool,
    /// Receives the account when the client has ended.
    closing: Option<oneshot::Sender<Account>>,
}

enum Woken {
    Closed,
    Committed(Result<Durable, StoreError>),
    /// Messages of the history were deleted; says what is due next.
    Purged(Result<Option<Timestamp>, StoreError>),
    Counted(Result<PublishedKeys, RequestError>),
    /// Our answer to the offer of a file.
    Direct((AccountId, DirectAnswer)),
    Profile(ProfileAnswer),
    Uploaded(Update),
    Requested(Option<Finished>),
    Socket(SocketEvent),
    Task(Task),
    /// The client waits for this moment.
    TimedOut,
}

impl Driver {
    /// Runs until it is closed, all handles are dropped, or the store fails.
    pub(super) async fn run(mut self, account: Account, handles: ClientStore) {
        let signals = Arc::clone(&self.signals);
        let account = Some(account);
        let mut ending = Ending { signals, handles, account, why: Ended::Failed };
        self.input(ClientInput::Connected);
        self.core.ask_for_groups(now(), &mut OsRng);
        self.share_configuration();
        self.accept_all_members();
        let closing = match self.serve().await {
            Ok(closing) => {
                ending.why = Ended::Closed;
                closing
            }
            Err(error) => {
                ending.why = Ended::Store(error);
                None
            }
        };
        // Here, because the store blocks while SQLite writes its log into the database.
        let _ended = tokio::task::spawn_blocking(move || ending.end(closing)).await;
    }

    /// Returns who wants the account.
    async fn serve(mut self) -> Result<Option<oneshot::Sender<Account>>, StoreError> {
        loop {
            self.process_outputs();
            self.read_again();
            let woken = self.wait().await;
            if matches!(woken, Woken::Closed) {
                break;
            }
            self.handle(woken)?;
        }
        // Everything that was acknowledged is durable already. The rest need not be lost, either.
        while !self.commits.is_idle() {
            let committed = self.commits.next().await?;
            self.committed(committed);
            self.process_outputs();
        }
        self.socket.close().await;
        Ok(self.closing)
    }

    async fn wait(&mut self) -> Woken {
        let reads = self.has_capacity();
        let counts = !self.core.is_publishing();
        let deadline = self.core.deadline().map(|at| Duration::from_millis(at.since(now())));
        let deadline = deadline.map(|wait| wait.clamp(MIN_WAIT, MAX_WAIT));
        tokio::select! {
            task = self.tasks.recv() => task.map_or(Woken::Closed, Woken::Task),
            committed = self.commits.next() => Woken::Committed(committed),
            finished = self.requests.next() => Woken::Requested(finished),
            event = self.socket.next(reads) => Woken::Socket(event),
            count = self.upkeep.next(counts) => Woken::Counted(count),
            answer = self.direct.next() => Woken::Direct(answer),
            update = self.decisions.next() => Woken::Uploaded(update),
            due = self.history.next(&self.store) => Woken::Purged(due),
            answer = self.profiles.next(self.own_profile.as_ref()) => Woken::Profile(answer),
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => Woken::TimedOut,
        }
    }

    /// Whether more messages can be read. The server keeps the others.
    fn has_capacity(&self) -> bool {
        let unread = self.counts.unread.saturating_add(self.commits.messages());
        let is_behind =
            self.commits.bytes() >= MAX_WAITING || self.deliveries.len() >= MAX_DELIVERIES;
        !is_behind && unread < self.max_unread && self.counts.unread_bytes < MAX_UNREAD_BYTES
    }

    fn handle(&mut self, woken: Woken) -> Result<(), StoreError> {
        match woken {
            Woken::Direct((to, answer)) => self.answer_file(to, answer),
            Woken::Task(task) => task(self),
            Woken::Committed(committed) => self.committed(committed?),
            Woken::Purged(due) => self.history.set_due(due?),
            Woken::Requested(Some(finished)) => self.finish(finished),
            Woken::Socket(SocketEvent::Opened) => {
                self.outbox.set_refusal(None);
                self.signals.connection.send_replace(Connection::Connected);
                self.emit(Event::Connected);
                self.requests.connected();
            }
            Woken::Socket(SocketEvent::Lost(error)) => self.handle_lost(error),
            Woken::Socket(SocketEvent::Request(incoming)) => self.receive(incoming),
            Woken::Counted(Ok(PublishedKeys { count, signed })) => {
                if let Some((id, key)) = signed {
                    self.core.check_published(now(), id, &key, &mut OsRng);
                }
                self.core.keys_left(now(), count, &mut OsRng);
            }
            Woken::Uploaded(update) => self.handle_uploaded(&update),
            Woken::TimedOut => self.input(ClientInput::Timeout),
            Woken::Profile(answer) => self.profile_answered(answer),
            Woken::Counted(Err(_)) | Woken::Closed | Woken::Requested(None) => {}
        }
        if self.requests.take_retry() {
            self.input(ClientInput::Connected);
        }
        Ok(())
    }

    fn input(&mut self, input: ClientInput) {
        self.core.handle(now(), input, &mut OsRng);
    }

    fn process_outputs(&mut self) {
        self.send_receipts();
        while let Some(output) = self.core.poll() {
            match output {
                ClientOutput::Commit(id, changes) => {
                    let changes = self.without_invisible(changes);
                    let recipients = self.recipients_of(&changes);
                    self.commits.add_changes(id, changes, self.envelope);
                    recipients.into_iter().for_each(|change| self.commits.add_history(change));
                }
                ClientOutput::Request(id, request) => {
                    if let Request::Bundles(account) = request
                        && self.core.awaits_list(account)
                    {
                        self.requests.forget_fetched_of(account);
                    }
                    match self.sealed_target(&request) {
                        Some(target) => self.requests.push_sealed(id, request, target),
                        None => self.requests.push(id, request),
                    }
                }
                ClientOutput::ReadAgain(delivery, envelope) => {
                    self.again.push_back((delivery, envelope));
                }
                ClientOutput::Acknowledge(Delivery(id)) => {
                    self.hashes.remove(&id);
                    if let Some(origin) = self.deliveries.remove(&id) {
                        self.socket.respond(origin, 200);
                    }
                }
                ClientOutput::Event(event) => self.report(event),
            }
        }
        self.update_key_state();
        let receipts = if self.is_connected() { self.receipts.len() } else { 0 };
        let groups = self.core.waiting_group_messages();
        let syncs = self.core.waiting_syncs() + groups + receipts;
        self.signals.syncs.send_if_modified(|waiting| std::mem::replace(waiting, syncs) != syncs);
        self.requests.start();
        self.commits.start(&self.store);
        if self.is_up_to_date && self.commits.is_idle() {
            self.is_up_to_date = false;
            self.signals.connection.send_replace(Connection::UpToDate);
            self.emit(Event::UpToDate);
        }
    }

    fn committed(&mut self, durable: Durable) {
        let Durable { then, has_messages, requests, counts } = durable;
        self.counts = counts;
        self.history.set_due(counts.history_due);
        if let Some(last) = then.last {
            self.input(ClientInput::Committed(last));
        }
        for origin in then.acknowledged {
            self.socket.respond(origin, 200);
        }
        self.confirm_delivered(then.arrived);
        if has_messages {
            self.signals.news.send_replace(());
        }
        for account in requests {
            self.emit(Event::Request { account });
        }
        for reply in then.replies {
            // The one who asked may be gone.
            let _gone = reply.send(());
        }
    }

    fn finish(&mut self, finished: Finished) {
        self.report_certificates();
        let (account, is_cached) = (finished.account(), finished.is_cached());
        let is_publication = finished.is_publication();
        let (message, group) = (finished.message(), finished.group());
        if let Some(message) = message.filter(|_| finished.may_have_arrived()) {
            self.outbox.may_have_arrived(message);
        }
        let (id, response, error) = self.requests.finish(finished);
        if is_publication && let Some(error) = error.as_ref().filter(|error| error.refuses_keys()) {
            self.set_key_state(KeyState::Refused(error.clone()));
        }
        // A cached response says nothing about the server.
        if !is_cached {
            self.outbox.record_result(account, error);
        }
        self.input(ClientInput::Response(id, response));
        if let Some(group) = group {
            self.accept_members(group);
        }
        if let Some(message) = message.filter(|message| self.outbox.is_cancelling(*message)) {
            self.cancel_unless_sending(message);
        }
    }
}

/// Shortest time to wait for a moment of the client, so that a wrong clock does not keep the processor busy.
const MIN_WAIT: Duration = Duration::from_millis(100);

/// Longest time to wait for it. The clock may be corrected meanwhile.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Bytes that may wait for the store before we stop reading messages.
const MAX_WAITING: usize = 8 << 20;

/// Messages that may wait for their acknowledgement before we stop reading messages. Our server sends at most 256.
const MAX_DELIVERIES: usize = 1024;

/// Bytes of received messages that may wait for the application before we stop reading messages.
const MAX_UNREAD_BYTES: usize = 64 << 20;
