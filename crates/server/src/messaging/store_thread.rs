//! The requests' access to the store, which one thread owns.
//!
//! The thread takes all requests that wait and executes them in one transaction, then it answers. While one
//! transaction is written to the disk the next one gathers, so a busier server needs fewer writes per request.

mod queue;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wormhole_chat::Timestamp;

use super::gauges::Gauges;
use super::rate_limits::{Budget, RateLimits};
use super::store::{
    Acknowledged, Acknowledgement, BundleReply, BundleRequest, DeviceKey, Expiry, Found, Job,
    Login, PageRequest, QueueDelivery, ReadRows, Reply, Rows, Sent, Store, StoreError, Submission,
    Turn, Work, WorkError,
};
use crate::ServerError;
use queue::{Queue, RefuseAll};

/// A handle to the thread that owns the store.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    queue: Arc<Queue>,
    /// Ends waiting for a lost database.
    stop: CancellationToken,
}

/// What the thread needs.
pub(super) struct StoreThread {
    pub(super) store: Box<dyn Store>,
    pub(super) expiry: Expiry,
    /// Is called after each transaction.
    pub(super) notify: Notify,
    pub(super) gauges: Gauges,
    pub(super) limits: Arc<RateLimits>,
}

/// What open sockets must know of a transaction.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Devices that have new messages.
    pub(super) new_messages: Vec<DeviceKey>,
    /// Devices that do not exist any more.
    pub(super) removed: Vec<DeviceKey>,
}

/// What is called with the changes.
pub(super) type Notify = Box<dyn Fn(&Changes) + Send>;

/// Gets the reason why the thread has ended early.
pub(super) type Failed = oneshot::Receiver<ServerError>;

impl Storage {
    /// Starts the thread. It ends after [`Storage::close`], once all earlier requests are done, or when the database is
    /// lost: then the receiver gets the reason.
    pub(super) fn start(parts: StoreThread) -> std::io::Result<(Self, JoinHandle<()>, Failed)> {
        let queue = Arc::new(Queue::default());
        let storage = Self { queue: Arc::clone(&queue), stop: parts.store.stop_signal() };
        let (fail, failed) = oneshot::channel();
        let thread = std::thread::Builder::new().name("messaging store".into());
        let handle = thread.spawn(move || {
            // If the thread panics, nobody must wait for it.
            let _end = RefuseAll(&queue);
            if let Err(error) = run(parts, &queue) {
                tracing::error!(%error, "the messaging service stops because its database is lost");
                queue.refuse_all();
                // If the service has ended already, nobody needs the reason.
                let _ended = fail.send(error);
            }
        })?;
        Ok((storage, handle, failed))
    }

    /// Ends the thread, once all earlier requests are done. It then no longer waits for a lost database.
    pub(super) fn close(&self) {
        self.stop.cancel();
        self.queue.close();
    }

    /// Finds the devices that a login may mean.
    pub(super) async fn find(&self, login: Login) -> Result<Vec<Found>, StoreError> {
        self.request(login, |turn| &mut turn.logins).await
    }

    /// Takes keys of devices, with which sessions can be started.
    pub(super) async fn take_bundle(
        &self,
        request: BundleRequest,
    ) -> Result<BundleReply, StoreError> {
        self.request(request, |turn| &mut turn.bundles).await
    }

    /// Stores a message for all devices of an account.
    pub(super) async fn send(&self, submission: Submission) -> Result<Sent, StoreError> {
        self.request(submission, |turn| &mut turn.submissions).await
    }

    /// Removes a received message.
    pub(super) async fn acknowledge(
        &self,
        acknowledgement: Acknowledgement,
    ) -> Result<Acknowledged, StoreError> {
        self.request(acknowledgement, |turn| &mut turn.acknowledgements).await
    }

    /// Reads messages of a device's queue; `None` if there is no such device.
    pub(super) async fn messages(
        &self,
        page: PageRequest,
    ) -> Result<Option<QueueDelivery>, StoreError> {
        self.request(page, |turn| &mut turn.pages).await
    }

    /// Executes rare work in a transaction that excludes those of other nodes. It may be called more than once, and only
    /// the last call counts.
    pub(super) async fn execute<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.execute_in(work, |turn| &mut turn.work).await
    }

    /// The same for work that the rules may refuse. What it has written before it is refused is stored.
    pub(super) async fn decide<T: Send + 'static, R: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, WorkError<R>> + Send + 'static,
    ) -> Result<T, WorkError<R>> {
        let work = move |rows: &mut dyn Rows, now: Timestamp| match work(rows, now) {
            Ok(value) => Ok(Ok(value)),
            Err(WorkError::Refused(refusal)) => Ok(Err(refusal)),
            Err(WorkError::Store(error)) => Err(error),
        };
        self.execute(work).await?.map_err(WorkError::Refused)
    }

    /// Reads rows in a transaction that other nodes need not wait for. It may be called more than once, and only the last
    /// call counts.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&mut dyn ReadRows) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = move |rows: &mut dyn Rows, _: Timestamp| read(rows);
        self.execute_shared(read).await
    }

    /// Executes work that writes only single rows with random keys, in a transaction that other nodes need not wait for. It
    /// may be called more than once, and only the last call counts.
    pub(super) async fn execute_shared<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.execute_in(work, |turn| &mut turn.shared_work).await
    }

    async fn execute_in<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send + 'static,
        list: impl FnOnce(&mut Turn) -> &mut Vec<Box<dyn Work>>,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(TypedWork { work, value: None, reply });
        self.queue.push(|turn| list(turn).push(work))?;
        answer.await.map_err(|_| closed())?
    }

    async fn request<Q, A>(
        &self,
        request: Q,
        list: impl FnOnce(&mut Turn) -> &mut Vec<Job<Q, A>>,
    ) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(|turn| list(turn).push(Job { request, answer: None, reply }))?;
        answer.await.map_err(|_| closed())?
    }
}

/// Work with a result of a certain type.
struct TypedWork<F, T> {
    work: F,
    value: Option<T>,
    reply: Reply<T>,
}

impl<F, T> fmt::Debug for TypedWork<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedWork").finish_non_exhaustive()
    }
}

impl<F, T> Work for TypedWork<F, T>
where
    F: FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn execute(&mut self, rows: &mut dyn Rows, now: Timestamp) -> Result<(), StoreError> {
        self.value = Some((self.work)(rows, now)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let missing = || StoreError("the request was not executed".into());
        // A client that has gone needs no answer.
        let _gone = reply.send(result.and_then(|()| value.ok_or_else(missing)));
    }
}

/// Executes turns until the queue is closed.
///
/// # Errors
/// The database is lost.
fn run(mut parts: StoreThread, queue: &Queue) -> Result<(), ServerError> {
    parts.count();
    let mut next_maintenance = Instant::now() + MAINTENANCE_PERIOD;
    while let Some(turn) = queue.take(next_maintenance) {
        if !turn.is_empty() {
            parts.execute(turn)?;
        }
        if Instant::now() >= next_maintenance {
            parts.store.check()?;
            let has_more = parts.prune();
            next_maintenance =
                Instant::now() + if has_more { Duration::ZERO } else { MAINTENANCE_PERIOD };
        }
    }
    Ok(())
}

impl StoreThread {
    /// Executes a turn and answers everybody.
    ///
    /// # Errors
    /// The database is lost, so nothing was executed.
    fn execute(&mut self, mut turn: Turn) -> Result<(), ServerError> {
        if let Err(error) = self.store.check() {
            turn.finish(&Err(closed()));
            return Err(error);
        }
        turn.budget = Some(Budget { limits: Arc::clone(&self.limits), now: Instant::now() });
        let result = self.store.apply(&mut turn, unix_now());
        if let Err(error) = &result {
            tracing::warn!(%error, "requests of the messaging service failed");
        }
        let changes = if result.is_ok() { Changes::of(&turn) } else { Changes::default() };
        turn.finish(&result);
        (self.notify)(&changes);
        Ok(())
    }

    /// Removes some of what has expired. Returns whether there may be more.
    fn prune(&mut self) -> bool {
        let has_more = self.store.prune(self.expiry, unix_now()).unwrap_or_else(|error| {
            tracing::warn!(%error, "could not remove expired messages");
            false
        });
        if !has_more {
            self.count();
        }
        has_more
    }

    /// Counts what is stored, for the page of metrics.
    fn count(&mut self) {
        match self.store.count() {
            Ok(counts) => self.gauges.set(counts),
            Err(error) => tracing::warn!(%error, "could not count what is stored"),
        }
    }
}

impl Changes {
    /// What a turn has stored and removed.
    fn of(turn: &Turn) -> Self {
        let sent = turn.submissions.iter().filter_map(|job| match &job.answer {
            Some(Sent::Stored { devices, .. }) => Some(devices),
            _ => None,
        });
        let receipts = turn.acknowledgements.iter().filter_map(|job| job.answer.as_ref());
        let devices = sent.chain(receipts.map(|acknowledged| &acknowledged.receipts));
        let new_messages = devices.flatten().copied().collect();
        Self { new_messages, removed: turn.removed.clone() }
    }
}

/// The time on the wall clock, for what is stored and sent.
pub(super) fn unix_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

fn closed() -> StoreError {
    StoreError("the service is shutting down".into())
}

/// Time between two checks of the database and removals of what has expired.
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
