//! The thread that owns the store: takes all requests that are waiting, makes them durable with one
//! commit, then tells everyone concerned.
//!
//! While one batch is written to the disk the next one gathers, so the busier the server, the fewer
//! the writes per request. What a batch has to tell goes to the links' threads in one piece: waking
//! each link from here would cost more than storing its request. Who listens to which mailbox is
//! known here and dies with the process: clients that come back open their mailbox again.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{
    Answer, Identity, Refusal, Request, RequestId, StoredMessage,
};

use super::counters::Counters;
use super::inbox::{Event, Inbox};
use super::memory::Share;
use super::store::{Caller, Moment, Store, StoreError};
use super::usage::{ClientVersion, Usage, UsageLog};
use crate::ServerError;

/// How the links reach the store's thread.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    queue: Arc<Queue>,
    records_clients: bool,
}

/// What the thread is started with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) usage: Option<UsageLog>,
    pub(super) counters: Arc<Counters>,
    /// Whether `list` names anything.
    pub(super) lists: bool,
    /// How often unused mailboxes are looked for.
    pub(super) prune_period: Duration,
    /// How long a mailbox may be unused.
    pub(super) expiry: Duration,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    work: Vec<Work>,
    closed: bool,
}

#[derive(Debug)]
enum Work {
    /// The link is gone.
    Gone(u64),
    Request(Asked),
    /// There is memory to give back to the system.
    Trim,
}

#[derive(Debug)]
struct Asked {
    inbox: Arc<Inbox>,
    who: Arc<Identity>,
    id: RequestId,
    request: Request,
    #[expect(
        dead_code,
        reason = "memory that counts for the client's address until it is dropped"
    )]
    share: Share,
}

/// Something that is durable now, for whoever is to know of it.
#[derive(Debug)]
struct Mail {
    inbox: Arc<Inbox>,
    event: Event,
}

/// Gets the reason why the thread has ended early.
pub(super) type Failed = oneshot::Receiver<ServerError>;

impl Hub {
    /// Starts the thread. It ends after [`Hub::close`], once everything asked before is done, or when
    /// the database is lost: then the receiver gets the reason.
    ///
    /// What it has to tell is delivered by a task, so this must be called inside a tokio runtime.
    pub(super) fn start(parts: Parts) -> std::io::Result<(Self, JoinHandle<()>, Failed)> {
        let queue = Arc::new(Queue::default());
        let hub = Self { queue: Arc::clone(&queue), records_clients: parts.usage.is_some() };
        let (post, postbag) = mpsc::channel(BATCHES);
        let thread = std::thread::Builder::new().name("mailbox store".into());
        let (fail, failed) = oneshot::channel();
        let handle = thread.spawn(move || {
            if let Err(error) = Keeper::new(parts).run(&queue, &post) {
                tracing::error!(%error, "the mailbox stops: its database is lost");
                // Nobody is left to be told if the service has ended.
                let _ = fail.send(error);
            }
        })?;
        // Ends with the thread.
        tokio::spawn(deliver(postbag));
        Ok((hub, handle, failed))
    }

    /// Whether anyone wants to know who came.
    pub(super) const fn records_clients(&self) -> bool {
        self.records_clients
    }

    /// Asks the store for something; the answer goes to the inbox.
    pub(super) fn ask(
        &self,
        inbox: &Arc<Inbox>,
        who: &Arc<Identity>,
        id: RequestId,
        request: Request,
    ) {
        let share = inbox.share(request.bytes());
        let (inbox, who) = (Arc::clone(inbox), Arc::clone(who));
        self.queue.push(Work::Request(Asked { inbox, who, id, request, share }));
    }

    /// Stops telling a link anything.
    pub(super) fn forget(&self, number: u64) {
        self.queue.push(Work::Gone(number));
    }

    /// Has the store give back memory, its own and all that is free.
    pub(super) fn trim(&self) {
        self.queue.push(Work::Trim);
    }

    /// Lets the thread end.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, work: Work) {
        let mut waiting = self.lock();
        waiting.work.push(work);
        if waiting.work.len() == 1 {
            drop(waiting);
            self.changed.notify_one();
        }
    }

    /// Everything that waits, or nothing at `deadline`; none once closed.
    fn take(&self, deadline: Instant) -> Option<Vec<Work>> {
        let mut waiting = self.lock();
        loop {
            if !waiting.work.is_empty() {
                return Some(std::mem::take(&mut waiting.work));
            }
            if waiting.closed {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Vec::new());
            }
            let woken = self.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Puts what each batch has to tell into the inboxes. It runs among the links, so that one wake-up
/// of another thread serves them all.
async fn deliver(mut postbag: mpsc::Receiver<Vec<Mail>>) {
    while let Some(batch) = postbag.recv().await {
        batch.into_iter().for_each(Mail::deliver);
    }
}

impl Mail {
    fn deliver(self) {
        self.inbox.push(self.event);
    }
}

/// What the thread keeps.
#[derive(Debug)]
struct Keeper {
    parts: Parts,
    listeners: Listeners,
    started: UnixTime,
    next_prune: Instant,
    /// Whether the database may have space to give back.
    reclaiming: bool,
}

/// Who listens to which mailbox.
#[derive(Debug, Default)]
struct Listeners {
    mailboxes: HashMap<Arc<Place>, Vec<Arc<Inbox>>>,
    /// Where each listening link does so.
    places: HashMap<u64, Arc<Place>>,
}

/// A mailbox among those of all applications.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Place {
    app: String,
    mailbox: String,
}

/// What the store made of a request.
#[derive(Debug)]
enum Outcome {
    Answer(Answer),
    /// The message to show to all listeners.
    Added(Arc<StoredMessage>),
}

impl Outcome {
    /// What it takes in memory, in bytes, roughly.
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.bytes(),
            Self::Added(stored) => stored.bytes(),
        }
    }
}

impl Keeper {
    fn new(parts: Parts) -> Self {
        let next_prune = Instant::now() + parts.prune_period;
        let mut keeper = Self {
            parts,
            listeners: Listeners::default(),
            started: unix_now(),
            next_prune,
            reclaiming: false,
        };
        keeper.record_current();
        keeper
    }

    /// Serves until the queue is closed.
    ///
    /// # Errors
    /// The database is not where it was any more. What waits has been refused.
    fn run(mut self, queue: &Queue, post: &mpsc::Sender<Vec<Mail>>) -> Result<(), ServerError> {
        let mut last = 0;
        while let Some(mut work) = queue.take(self.wake_up()) {
            if is_gathering(work.len(), last) {
                std::thread::sleep(GATHERING);
                work.append(&mut queue.take(Instant::now()).unwrap_or_default());
            }
            last = work.len();
            if let Err(error) = self.parts.store.check_file() {
                let _ = post.blocking_send(self.refuse_all(work));
                return Err(error);
            }
            self.serve_all(work, post);
            self.look_after();
        }
        Ok(())
    }

    /// When there is something to do even if nobody asks for anything.
    fn wake_up(&self) -> Instant {
        if self.reclaiming { Instant::now() } else { self.next_prune }
    }

    /// Does everything, with as many commits as it takes.
    fn serve_all(&mut self, mut work: Vec<Work>, post: &mpsc::Sender<Vec<Mail>>) {
        while !work.is_empty() {
            let (mail, usage, rest) = self.serve(work);
            work = rest;
            // Nobody is left to tell once the links' threads are gone.
            let _ = post.blocking_send(mail);
            // Nobody waits for the records.
            self.record(&usage);
        }
    }

    /// Does what is due: removes what nobody uses, and gives its space back.
    fn look_after(&mut self) {
        if Instant::now() >= self.next_prune {
            self.next_prune = Instant::now() + self.parts.prune_period;
            self.prune();
            self.reclaiming = true;
        } else if self.reclaiming {
            self.reclaiming = self.parts.store.reclaim().unwrap_or_else(|error| {
                tracing::error!(%error, "could not return free database space to the file system");
                false
            });
            if !self.reclaiming {
                self.trim();
            }
        }
    }

    /// One batch: does it, makes it durable, and returns what to tell whom, what to record, and what
    /// is left to do because the answers are large already.
    fn serve(&mut self, mut work: Vec<Work>) -> (Vec<Mail>, Vec<Usage>, Vec<Work>) {
        let now = Moment::now();
        match self.transact(&mut work, now) {
            Ok((outcomes, usage)) => {
                let rest = work.split_off(outcomes.len());
                (self.tell(work, outcomes), usage, rest)
            }
            Err(error) => {
                tracing::error!(%error, "a batch of requests could not be stored");
                if let Err(error) = self.parts.store.roll_back() {
                    tracing::error!(%error, "nor could the database be rolled back");
                }
                (self.refuse_all(work), Vec::new(), Vec::new())
            }
        }
    }

    /// Tells everyone that nothing of it was done.
    fn refuse_all(&mut self, work: Vec<Work>) -> Vec<Mail> {
        let refused = || Outcome::Answer(Answer::Refused(Refusal::Unavailable));
        let outcomes = work.iter().map(|_| refused()).collect();
        self.tell(work, outcomes)
    }

    /// Runs requests in one transaction, until the answers are [`LARGE`]; returns one outcome for each
    /// item of work that it has done.
    fn transact(
        &mut self,
        work: &mut [Work],
        now: Moment,
    ) -> Result<(Vec<Outcome>, Vec<Usage>), StoreError> {
        let mut outcomes = Vec::with_capacity(work.len());
        let (mut comers, mut bytes) = (Vec::new(), 0);
        self.parts.store.begin()?;
        for item in work {
            let outcome = match item {
                Work::Gone(_) | Work::Trim => Outcome::Answer(Answer::Bound),
                Work::Request(asked) => match self.parts.perform(asked, now, &mut comers) {
                    Ok(outcome) => outcome,
                    Err(StoreError::Refused(refusal)) => Outcome::Answer(Answer::Refused(refusal)),
                    Err(broken @ StoreError::Broken(_)) => return Err(broken),
                },
            };
            bytes += outcome.bytes();
            outcomes.push(outcome);
            if bytes >= LARGE {
                break;
            }
        }
        let mut usage = self.parts.store.commit()?;
        usage.append(&mut comers);
        self.parts.counters.committed(outcomes.len());
        Ok((outcomes, usage))
    }

    /// What every link is to know of its requests, in their order.
    fn tell(&mut self, work: Vec<Work>, outcomes: Vec<Outcome>) -> Vec<Mail> {
        let mut mail = Vec::with_capacity(2 * work.len());
        for (item, outcome) in work.into_iter().zip(outcomes) {
            match item {
                Work::Gone(number) => self.listeners.remove(number),
                Work::Request(asked) => self.tell_one(asked, outcome, &mut mail),
                Work::Trim => self.trim(),
            }
        }
        mail
    }

    fn tell_one(&mut self, asked: Asked, outcome: Outcome, mail: &mut Vec<Mail>) {
        let app = &asked.who.app;
        let answer = match (outcome, asked.request) {
            (Outcome::Added(message), Request::Add { mailbox, .. }) => {
                self.listeners.show(app, mailbox, &message, asked.inbox.number(), mail);
                Answer::Added(message)
            }
            (Outcome::Added(message), _) => Answer::Added(message),
            (Outcome::Answer(answer), request) => {
                match (&answer, request) {
                    (Answer::Opened(_), Request::Open(mailbox)) => {
                        self.listeners.add(app, mailbox, &asked.inbox);
                    }
                    (Answer::Closed, _) => self.listeners.remove(asked.inbox.number()),
                    _ => {}
                }
                answer
            }
        };
        mail.push(Mail { inbox: asked.inbox, event: Event::Answer(asked.id, answer) });
    }

    fn trim(&self) {
        if let Err(error) = self.parts.store.shrink() {
            tracing::warn!(%error, "could not release the database's cache memory");
        }
        crate::heap::give_back();
    }

    fn prune(&mut self) {
        self.listeners.shrink();
        match self.parts.prune(Moment::now(), &self.listeners) {
            Ok((pruned, usage)) => {
                tracing::debug!(pruned, "pruned");
                self.record(&usage);
            }
            Err(error) => {
                tracing::error!(%error, "cannot prune");
                if let Err(error) = self.parts.store.roll_back() {
                    tracing::error!(%error, "nor could the database be rolled back");
                }
            }
        }
        self.record_current();
    }

    fn record(&mut self, usage: &[Usage]) {
        if let Some(log) = &mut self.parts.usage
            && !usage.is_empty()
            && let Err(error) = log.record(usage)
        {
            tracing::warn!(%error, "usage not recorded");
        }
    }

    fn record_current(&mut self) {
        if let Ok((nameplates, mailboxes)) = self.parts.store.count() {
            self.parts.counters.stored(nameplates, mailboxes);
        }
        let listeners = self.listeners.places.len();
        if let Some(log) = &mut self.parts.usage
            && let Err(error) = log
                .record_current(self.started, unix_now(), listeners)
                .and_then(|()| log.forget_oldest())
        {
            tracing::warn!(%error, "usage not recorded");
        }
    }
}

impl Parts {
    /// Does one request inside the open transaction.
    fn perform(
        &mut self,
        asked: &mut Asked,
        now: Moment,
        comers: &mut Vec<Usage>,
    ) -> Result<Outcome, StoreError> {
        let (who, store) = (&*asked.who, &mut self.store);
        let by = Caller { who, address: asked.inbox.address(), now };
        Ok(Outcome::Answer(match &mut asked.request {
            Request::Add { mailbox, message } => {
                let message = std::mem::take(message);
                return Ok(Outcome::Added(store.add(by, mailbox, message)?));
            }
            Request::Allocate => Answer::Allocated(store.allocate(by)?),
            Request::Bind(implementation, version) => {
                if self.usage.is_some() {
                    comers.push(Usage::Client(ClientVersion {
                        app: who.app.clone(),
                        side: who.side.clone(),
                        connected: now.wall,
                        implementation: implementation.take(),
                        version: version.take(),
                    }));
                }
                Answer::Bound
            }
            Request::Claim(nameplate) => Answer::Claimed(store.claim(by, nameplate)?),
            Request::Close { mailbox, mood } => {
                store.close(by, mailbox, mood.take())?;
                Answer::Closed
            }
            Request::List if self.lists => Answer::Nameplates(store.list(&who.app)?),
            Request::List => Answer::Nameplates(Vec::new()),
            Request::Open(mailbox) => Answer::Opened(store.open_mailbox(by, mailbox)?),
            Request::Release(nameplate) => {
                store.release(by, nameplate)?;
                Answer::Released
            }
        }))
    }

    fn prune(
        &mut self,
        now: Moment,
        listeners: &Listeners,
    ) -> Result<(usize, Vec<Usage>), StoreError> {
        let listened =
            listeners.mailboxes.keys().map(|place| (place.app.clone(), place.mailbox.clone()));
        self.store.begin()?;
        let pruned = self.store.prune(now, self.expiry, listened)?;
        Ok((pruned, self.store.commit()?))
    }
}

impl Listeners {
    /// A link listens to one mailbox at a time.
    fn add(&mut self, app: &str, mailbox: String, inbox: &Arc<Inbox>) {
        self.remove(inbox.number());
        let place = Place { app: app.into(), mailbox };
        let place = match self.mailboxes.get_key_value(&place) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(place),
        };
        let listeners = self.mailboxes.entry(Arc::clone(&place)).or_default();
        listeners.reserve_exact(1);
        listeners.push(Arc::clone(inbox));
        self.places.insert(inbox.number(), place);
    }

    /// Gives back the memory of those that are gone.
    fn shrink(&mut self) {
        self.mailboxes.shrink_to(2 * self.mailboxes.len());
        self.places.shrink_to(2 * self.places.len());
    }

    fn remove(&mut self, number: u64) {
        let Some(place) = self.places.remove(&number) else { return };
        let Some(listeners) = self.mailboxes.get_mut(&place) else { return };
        listeners.retain(|inbox| inbox.number() != number);
        if listeners.is_empty() {
            self.mailboxes.remove(&place);
        }
    }

    /// Shows a message to all but its author, whose answer it comes with.
    fn show(
        &self,
        app: &str,
        mailbox: String,
        message: &Arc<StoredMessage>,
        author: u64,
        mail: &mut Vec<Mail>,
    ) {
        let place = Place { app: app.into(), mailbox };
        for inbox in self.mailboxes.get(&place).into_iter().flatten() {
            if inbox.number() != author {
                let event = Event::Message(Arc::clone(message));
                mail.push(Mail { inbox: Arc::clone(inbox), event });
            }
        }
    }
}

/// Whether more requests must be on their way than are `here`: those whom the `last` batch has
/// answered are about to ask again. If only a straggler or two are here yet, a moment more saves a
/// write to the disk.
const fn is_gathering(here: usize, last: usize) -> bool {
    here < last / GATHERED
}

/// Share of the last batch below which the next one is still gathering.
const GATHERED: usize = 4;

/// How long a batch may gather. Less than a write to the disk takes, as often as not.
const GATHERING: Duration = Duration::from_micros(500);

/// Bytes of answers that end a batch: they are in memory until they are delivered.
const LARGE: usize = 4 << 20;

/// Batches that may wait to be delivered, before the thread waits for the links.
const BATCHES: usize = 2;

/// The time for records and frames.
pub(super) fn unix_now() -> UnixTime {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_few_after_a_large_batch_wait_for_the_others() {
        for (here, last) in [(1, 8), (1, 100), (24, 100)] {
            assert!(is_gathering(here, last), "{here} after {last}");
        }
        // One client alone never waits, nor does a batch that is about as large as the last.
        for (here, last) in [(1, 0), (1, 1), (1, 7), (2, 8), (25, 100), (100, 100), (200, 100)] {
            assert!(!is_gathering(here, last), "{here} after {last}");
        }
    }
}
