//! The requests' access to the store, which two threads own.
//!
//! A thread takes all requests that wait and executes them in one transaction, then it answers. While one
//! transaction is written to the disk the next one gathers, so a busier server needs fewer writes per request. What only
//! reads does not wait for the disk: the other thread executes it.

mod queue;
mod threads;
mod work;

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wormhole_chat::Timestamp;

use super::gauges::Gauges;
use super::rate_limits::RateLimits;
use super::store::{
    Acknowledged, Acknowledgement, BundleReply, BundleRequest, DeviceKey, Expiry, Found, Job,
    Login, PageRequest, QueueDelivery, ReadRows, Rows, SealedSent, SealedSubmission, Sent, Store,
    StoreError, Submission, Turn, Work, WorkError,
};
use queue::Queue;
pub(super) use threads::StoreThreads;
use work::TypedWork;

/// A handle to the threads that own the store.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    writes: Arc<Queue>,
    reads: Arc<Queue>,
    /// End waiting for a lost database.
    stops: [CancellationToken; 2],
}

/// Executes what writes, removes what has expired and counts what is stored, on a thread of its own.
pub(super) struct StoreWriter {
    pub(super) store: Box<dyn Store>,
    pub(super) expiry: Expiry,
    /// Is called after each transaction.
    pub(super) notify: Notify,
    pub(super) gauges: Gauges,
    pub(super) limits: Arc<RateLimits>,
}

/// The changes of a transaction that open sockets must know.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Devices that have new messages.
    pub(super) new_messages: Vec<DeviceKey>,
    /// Devices that do not exist any more.
    pub(super) removed: Vec<DeviceKey>,
}

/// Receives the changes.
pub(super) type Notify = Box<dyn Fn(&Changes) + Send>;

impl Storage {
    /// Starts the threads; `reader` is a second access to the same database. They end after [`Storage::close`], once all
    /// earlier requests are done, or when the database is lost.
    pub(super) fn start(
        writer: StoreWriter,
        reader: Box<dyn Store>,
    ) -> std::io::Result<(Self, StoreThreads)> {
        let (writes, reads) = (Arc::default(), Arc::default());
        let stops = [writer.store.stop_signal(), reader.stop_signal()];
        let threads = StoreThreads::start(writer, reader, [&writes, &reads])?;
        Ok((Self { writes, reads, stops }, threads))
    }

    /// Ends the threads, once all earlier requests are done. They then no longer wait for a lost database.
    pub(super) fn close(&self) {
        self.stops.iter().for_each(CancellationToken::cancel);
        self.writes.close();
        self.reads.close();
    }

    /// Finds the devices that a login may mean.
    pub(super) async fn find(&self, login: Login) -> Result<Vec<Found>, StoreError> {
        ask(&self.reads, login, |turn| &mut turn.logins).await
    }

    /// Takes keys of devices, with which sessions can be started.
    pub(super) async fn take_bundle(
        &self,
        request: BundleRequest,
    ) -> Result<BundleReply, StoreError> {
        ask(&self.writes, request, |turn| &mut turn.bundles).await
    }

    /// Stores a message for all devices of an account.
    pub(super) async fn send(&self, submission: Submission) -> Result<Sent, StoreError> {
        ask(&self.writes, submission, |turn| &mut turn.submissions).await
    }

    /// Stores a sealed message for all devices of some accounts.
    pub(super) async fn send_sealed(
        &self,
        submission: SealedSubmission,
    ) -> Result<SealedSent, StoreError> {
        ask(&self.writes, submission, |turn| &mut turn.sealed).await
    }

    /// Removes a received message.
    pub(super) async fn acknowledge(
        &self,
        acknowledgement: Acknowledgement,
    ) -> Result<Acknowledged, StoreError> {
        ask(&self.writes, acknowledgement, |turn| &mut turn.acknowledgements).await
    }

    /// Reads messages of a device's queue; `None` if there is no such device.
    pub(super) async fn messages(
        &self,
        page: PageRequest,
    ) -> Result<Option<QueueDelivery>, StoreError> {
        ask(&self.reads, page, |turn| &mut turn.pages).await
    }

    /// Executes rare work in a transaction that excludes those of other nodes. It may be called more than once, and only
    /// the last call counts.
    pub(super) async fn execute<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        execute(&self.writes, work, |turn| &mut turn.work).await
    }

    /// Executes work that the rules may refuse. Rows that it has written before are stored.
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
        execute(&self.reads, read, |turn| &mut turn.shared_work).await
    }

    /// Executes work that writes only single rows with random keys, in a transaction that other nodes need not wait for. It
    /// may be called more than once, and only the last call counts.
    pub(super) async fn execute_shared<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        execute(&self.writes, work, |turn| &mut turn.shared_work).await
    }
}

/// Executes work in a turn of this queue.
async fn execute<T: Send + 'static>(
    queue: &Queue,
    work: impl FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send + 'static,
    list: impl FnOnce(&mut Turn) -> &mut Vec<Box<dyn Work>>,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let work = Box::new(TypedWork::new(work, reply));
    queue.push(|turn| list(turn).push(work))?;
    answer.await.map_err(|_| closed())?
}

/// Executes a request of a list in a turn of this queue.
async fn ask<Q, A>(
    queue: &Queue,
    request: Q,
    list: impl FnOnce(&mut Turn) -> &mut Vec<Job<Q, A>>,
) -> Result<A, StoreError> {
    let (reply, answer) = oneshot::channel();
    queue.push(|turn| list(turn).push(Job { request, answer: None, reply }))?;
    answer.await.map_err(|_| closed())?
}

impl Changes {
    /// Collects the devices for which a turn has stored messages, and those that it has removed.
    fn from_turn(turn: &Turn) -> Self {
        let sent = turn.submissions.iter().filter_map(|job| match &job.answer {
            Some(Sent::Stored { devices, .. }) => Some(devices),
            _ => None,
        });
        let sealed = turn.sealed.iter().filter_map(|job| match &job.answer {
            Some(SealedSent::Stored { devices, .. }) => Some(devices),
            _ => None,
        });
        let receipts = turn.acknowledgements.iter().filter_map(|job| job.answer.as_ref());
        let devices = sent.chain(sealed).chain(receipts.map(|acknowledged| &acknowledged.receipts));
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
    StoreError::ShuttingDown
}

#[cfg(test)]
mod tests;
