//! The task of one client: it owns the state machine of `wormhole-chat`, and carries its requests to the server, its
//! changes to the store, and the server's messages to it.
//!
//! Like `drive.rs`, it processes outputs, waits for an input, and passes it in. It has a loop of its own, because the
//! inputs of this state machine are responses and commits, not bytes of links.

mod commits;
mod contacts;
mod requests;
mod socket;
mod tasks;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_core::OsRng;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wormhole_chat::{
    AccountId, Changes, Client as Core, ClientEvent, ClientInput, ClientOutput, Delivery, Envelope,
    EnvelopeKind, ReadError, Timestamp,
};

use super::account::{SharedStore, now};
use super::error::Ended;
use super::message::{Event, ReceivedMessage};
use super::service::{KeyCount, Service};
use super::store::{Contact, StoreError};
use super::{Progress, RequestError};
use commits::{Commits, Durable};
use contacts::Contacts;
use requests::{Finished, Requests};
use socket::{Incoming, RequestOrigin, Socket, SocketEvent};
use upkeep::Upkeep;

/// Something that a handle of the client wants to be done.
pub(super) type Task = Box<dyn FnOnce(&mut Driver) + Send>;

/// A message in the outbox, as its sender watches it.
pub(super) type Sending = (Timestamp, watch::Receiver<Progress>);

/// What handles of the client can watch.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) events: broadcast::Sender<Event>,
    /// Changes when messages have arrived.
    pub(super) news: watch::Sender<()>,
    /// Whether the server has delivered everything that had waited.
    pub(super) up_to_date: watch::Sender<bool>,
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
    socket: Socket,
    upkeep: Upkeep,
    contacts: Contacts,
    /// Messages that wait to be accepted by the client, oldest first.
    accepting: VecDeque<oneshot::Sender<Sending>>,
    /// Messages in the outbox that were written since the start.
    sending: BTreeMap<Timestamp, (AccountId, watch::Sender<Progress>)>,
    /// The server's requests whose envelopes are not acknowledged yet.
    deliveries: BTreeMap<u64, RequestOrigin>,
    last_delivery: u64,
    /// The sender of the envelope that is being handled, as the server describes it.
    source: Option<Contact>,
    /// Received messages that the application has not taken.
    unread: usize,
    /// Whether the server has delivered everything that had waited, but not all of it may be in the store.
    is_up_to_date: bool,
}

/// What a driver starts with.
pub(super) struct Start {
    pub(super) core: Core,
    pub(super) store: SharedStore,
    pub(super) service: Arc<Service>,
    pub(super) contacts: Vec<Contact>,
    pub(super) unread: usize,
    pub(super) signals: Arc<Signals>,
    pub(super) tasks: mpsc::Receiver<Task>,
}

enum Woken {
    Closed,
    Committed(Result<Durable, StoreError>),
    Counted(Result<KeyCount, RequestError>),
    Requested(Option<Finished>),
    Socket(SocketEvent),
    Task(Task),
}

impl Driver {
    pub(super) fn new(start: Start) -> Self {
        let Start { core, store, service, contacts, unread, signals, tasks } = start;
        Self {
            core,
            store,
            tasks,
            signals,
            commits: Commits::default(),
            requests: Requests::new(Arc::clone(&service)),
            socket: Socket::new(Arc::clone(&service)),
            upkeep: Upkeep::new(service),
            contacts: Contacts::new(contacts),
            accepting: VecDeque::new(),
            sending: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            last_delivery: 0,
            source: None,
            unread,
            is_up_to_date: false,
        }
    }

    /// Runs until all handles are dropped, or the store fails.
    pub(super) async fn run(mut self) {
        self.input(ClientInput::Connected);
        let signals = Arc::clone(&self.signals);
        let ended = match self.serve().await {
            Ok(()) => Ended::Closed,
            Err(error) => Ended::Store(error),
        };
        signals.ended.send_replace(Some(ended));
    }

    async fn serve(mut self) -> Result<(), StoreError> {
        loop {
            self.process_outputs();
            let woken = self.wait().await;
            if matches!(woken, Woken::Closed) {
                break;
            }
            self.handle(woken)?;
        }
        // What was acknowledged to the application or to the server is durable already. The rest need not be lost, either.
        while !self.commits.is_idle() {
            let committed = self.commits.next().await?;
            self.committed(committed);
            self.process_outputs();
        }
        self.socket.close().await;
        Ok(())
    }

    async fn wait(&mut self) -> Woken {
        let reads = self.commits.len() < MAX_COMMITS && self.unread < MAX_UNREAD;
        let counts = !self.core.is_publishing();
        tokio::select! {
            task = self.tasks.recv() => task.map_or(Woken::Closed, Woken::Task),
            committed = self.commits.next() => Woken::Committed(committed),
            finished = self.requests.next() => Woken::Requested(finished),
            event = self.socket.next(reads) => Woken::Socket(event),
            count = self.upkeep.next(counts) => Woken::Counted(count),
        }
    }

    fn handle(&mut self, woken: Woken) -> Result<(), StoreError> {
        match woken {
            Woken::Task(task) => task(self),
            Woken::Committed(committed) => self.committed(committed?),
            Woken::Requested(Some(finished)) => self.finish(finished),
            Woken::Socket(SocketEvent::Opened) => {
                self.emit(Event::Connected);
                self.requests.connected();
            }
            Woken::Socket(SocketEvent::Lost(error)) => self.lost(error),
            Woken::Socket(SocketEvent::Request(incoming)) => self.receive(incoming),
            Woken::Counted(Ok(KeyCount { count })) => {
                self.core.keys_left(now(), count, &mut OsRng);
            }
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
        while let Some(output) = self.core.poll() {
            match output {
                ClientOutput::Commit(id, changes) => {
                    let changes = self.without_invisible(changes);
                    self.commits.add_changes(id, changes);
                }
                ClientOutput::Request(id, request) => self.requests.push(id, request),
                ClientOutput::Acknowledge(Delivery(id)) => {
                    if let Some(origin) = self.deliveries.remove(&id) {
                        self.socket.respond(origin, 200);
                    }
                }
                ClientOutput::Event(event) => self.report(event),
            }
        }
        self.requests.start();
        self.commits.start(&self.store);
        if self.is_up_to_date && self.commits.is_idle() {
            self.is_up_to_date = false;
            self.signals.up_to_date.send_replace(true);
            self.emit(Event::UpToDate);
        }
    }

    /// Drops messages that have nothing for a person, and remembers what the server said about the senders of the others.
    fn without_invisible(&mut self, mut changes: Changes) -> Changes {
        changes.received.retain(ReceivedMessage::is_visible);
        let senders = changes.received.iter().map(|received| received.from.account);
        let source = self.source.take();
        if let Some(source) = source.filter(|it| senders.into_iter().any(|from| from == it.account))
            && let Some(contact) = self.contacts.with_hint(source)
        {
            self.put(contact);
        }
        changes
    }

    fn committed(&mut self, durable: Durable) {
        let Durable { last, received, taken, replies } = durable;
        if let Some(last) = last {
            self.input(ClientInput::Committed(last));
        }
        self.unread = self.unread.saturating_add(received.len()).saturating_sub(taken);
        if !received.is_empty() {
            self.signals.news.send_replace(());
        }
        for reply in replies {
            // The one who asked may be gone.
            let _gone = reply.send(());
        }
    }

    fn finish(&mut self, finished: Finished) {
        let (id, response, error) = self.requests.finish(finished);
        self.input(ClientInput::Response(id, response));
        if let Some(error) = error.filter(|error| !error.is_temporary()) {
            self.refused(&error);
        }
    }

    fn lost(&mut self, error: RequestError) {
        self.deliveries.clear();
        self.is_up_to_date = false;
        self.signals.up_to_date.send_replace(false);
        self.refused(&error);
        self.emit(Event::Disconnected(error));
    }

    /// Tells those who wait for messages to be sent that the server does not accept us.
    fn refused(&self, error: &RequestError) {
        if !error.is_temporary() {
            for (_, progress) in self.sending.values() {
                progress.send_replace(Progress::Refused(error.clone()));
            }
        }
    }

    fn receive(&mut self, Incoming { request, origin }: Incoming) {
        let path = request.path.split('?').next().unwrap_or_default();
        match (request.verb.as_str(), path) {
            ("PUT", "/api/v1/message") => {
                self.envelope(request.body.as_deref().unwrap_or_default(), origin);
            }
            ("PUT", "/api/v1/queue/empty") => {
                self.socket.respond(origin, 200);
                self.socket.works();
                self.is_up_to_date = true;
            }
            _ => self.socket.respond(origin, 404),
        }
    }

    fn envelope(&mut self, bytes: &[u8], origin: RequestOrigin) {
        let Ok(envelope) = Envelope::decode(bytes) else {
            // The server would deliver it again for ever.
            self.socket.respond(origin, 200);
            return self.emit(Event::NotRead { from: None, why: ReadError::Malformed });
        };
        if envelope.kind == EnvelopeKind::PreKeyBundle {
            self.upkeep.used();
        }
        self.source = source(&envelope);
        self.last_delivery += 1;
        self.deliveries.insert(self.last_delivery, origin);
        self.input(ClientInput::Envelope(Delivery(self.last_delivery), Box::new(envelope)));
        self.process_outputs();
        self.source = None;
    }

    fn report(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Accepted(timestamp, account) => self.accepted(timestamp, account),
            ClientEvent::IdentityChanged(account, key) => {
                self.set_progress(account, &Progress::Blocked(key));
                self.emit(Event::IdentityChanged { account, key });
            }
            ClientEvent::NotRead(from, why) => self.emit(Event::NotRead { from, why }),
            ClientEvent::NotSent(timestamp, error) => {
                if let Some((account, progress)) = self.sending.remove(&timestamp) {
                    progress.send_replace(Progress::Failed(error));
                    if error == wormhole_chat::SendError::NoDevice {
                        self.contacts.set_unreachable(account);
                    }
                }
                self.emit(Event::NotSent { timestamp, why: error });
            }
            // The application takes messages from the store.
            ClientEvent::Received(_) => {}
            ClientEvent::Sent(timestamp) => {
                if let Some((_, progress)) = self.sending.remove(&timestamp) {
                    progress.send_replace(Progress::OnServer);
                }
                self.emit(Event::Sent(timestamp));
            }
        }
    }

    /// A message is in the outbox.
    fn accepted(&mut self, timestamp: Timestamp, account: AccountId) {
        let changed = self.core.identity_of(account).and_then(|identity| identity.changed);
        let progress = changed.map_or(Progress::Waiting, Progress::Blocked);
        let (sender, receiver) = watch::channel(progress);
        self.sending.insert(timestamp, (account, sender));
        if let Some(reply) = self.accepting.pop_front() {
            // The one who asked may be gone. The message is sent anyway.
            let _gone = reply.send((timestamp, receiver));
        }
    }

    fn set_progress(&self, account: AccountId, state: &Progress) {
        for (_, progress) in self.sending.values().filter(|(to, _)| *to == account) {
            progress.send_replace(state.clone());
        }
    }

    fn emit(&self, event: Event) {
        // Nobody may be listening.
        let _unheard = self.signals.events.send(event);
    }
}

/// The sender of an envelope, as the server describes it.
fn source(envelope: &Envelope) -> Option<Contact> {
    let number = envelope.source.as_ref().and_then(|source| source.parse().ok());
    Some(Contact {
        number: number.map(|number: super::PhoneNumber| number.to_string()),
        app: envelope
            .source_app
            .as_ref()
            .and_then(|app| app.parse().ok().map(|app: super::AppName| app.to_string())),
        ..super::contact(envelope.source_account?)
    })
}

/// Changes that may wait for the store before we stop reading messages.
const MAX_COMMITS: usize = 256;

/// Received messages that may wait for the application before we stop reading messages. The server keeps the others.
const MAX_UNREAD: usize = 10_000;
