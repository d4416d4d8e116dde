//! The two threads that own the store, each with its own access to the database: one executes what writes, the other one
//! what only reads. Reading does not wait until what was written is on the disk.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{Queue, RefuseAll};
use super::{Changes, StoreWriter, closed, unix_now};
use crate::ServerError;
use crate::messaging::rate_limits::Budget;
use crate::messaging::store::{Store, StoreError, Turn};

/// The running threads.
#[derive(Debug)]
pub(in crate::messaging) struct StoreThreads {
    writer: StoreThread,
    reader: StoreThread,
}

#[derive(Debug)]
struct StoreThread {
    handle: JoinHandle<()>,
    /// Gets the reason if the thread ends early.
    failed: oneshot::Receiver<ServerError>,
}

impl StoreThreads {
    pub(super) fn start(
        writer: StoreWriter,
        reader: Box<dyn Store>,
        [writes, reads]: [&Arc<Queue>; 2],
    ) -> std::io::Result<Self> {
        let stop = writer.store.stop_signal();
        let writer = StoreThread::start("messaging store", writes, |queue| write(writer, queue))?;
        match StoreThread::start("messaging reads", reads, |queue| read(reader, queue)) {
            Ok(reader) => Ok(Self { writer, reader }),
            Err(error) => {
                // The thread that writes would keep the database locked.
                stop.cancel();
                writes.close();
                let _panicked = writer.handle.join();
                Err(error)
            }
        }
    }

    /// Waits until a thread ends early, and returns the reason.
    pub(in crate::messaging) async fn failed(&mut self) -> ServerError {
        let failed = tokio::select! {
            failed = &mut self.writer.failed => failed,
            failed = &mut self.reader.failed => failed,
        };
        failed.unwrap_or_else(|_| ServerError::System("a thread of the database ended".into()))
    }

    /// Waits until both threads have ended. False if one has panicked.
    pub(in crate::messaging) fn join(self) -> bool {
        let ended = [self.writer, self.reader].map(|thread| thread.handle.join());
        ended.iter().all(Result::is_ok)
    }
}

impl StoreThread {
    fn start(
        name: &str,
        queue: &Arc<Queue>,
        run: impl FnOnce(&Queue) -> Result<(), ServerError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (fail, failed) = oneshot::channel();
        let queue = Arc::clone(queue);
        let handle = std::thread::Builder::new().name(name.into()).spawn(move || {
            // If the thread panics, nobody must wait for it.
            let _end = RefuseAll(&queue);
            if let Err(error) = run(&queue) {
                tracing::error!(%error, "the messaging service stops because its database is lost");
                queue.refuse_all();
                // If the service has ended already, nobody needs the reason.
                let _ended = fail.send(error);
            }
        })?;
        Ok(Self { handle, failed })
    }
}

/// Executes turns until the queue is closed.
///
/// # Errors
/// The database is lost.
fn write(mut writer: StoreWriter, queue: &Queue) -> Result<(), ServerError> {
    writer.count();
    let mut next_maintenance = Instant::now() + MAINTENANCE_PERIOD;
    while let Some(turn) = queue.take(next_maintenance) {
        if !turn.is_empty() {
            writer.execute(turn)?;
        }
        if Instant::now() >= next_maintenance {
            writer.store.check()?;
            let has_more = writer.prune();
            next_maintenance =
                Instant::now() + if has_more { Duration::ZERO } else { MAINTENANCE_PERIOD };
        }
    }
    Ok(())
}

/// Runs turns that only read.
fn read(mut store: Box<dyn Store>, queue: &Queue) -> Result<(), ServerError> {
    while let Some(turn) = queue.take(Instant::now() + MAINTENANCE_PERIOD) {
        if !turn.is_empty() {
            let (turn, result) = apply(&mut *store, turn)?;
            turn.finish(&result);
        }
    }
    Ok(())
}

/// The result of a turn.
type Applied = (Turn, Result<(), StoreError>);

/// Executes a turn.
///
/// # Errors
/// The database is lost, so nothing was executed, and everybody is answered.
fn apply(store: &mut dyn Store, mut turn: Turn) -> Result<Applied, ServerError> {
    if let Err(error) = store.check() {
        turn.finish(&Err(closed()));
        return Err(error);
    }
    let result = store.apply(&mut turn, unix_now());
    if let Err(error) = &result {
        tracing::warn!(%error, "requests of the messaging service failed");
    }
    Ok((turn, result))
}

impl StoreWriter {
    /// Executes a turn and answers everybody.
    ///
    /// # Errors
    /// The database is lost, so nothing was executed.
    fn execute(&mut self, mut turn: Turn) -> Result<(), ServerError> {
        turn.budget = Some(Budget { limits: Arc::clone(&self.limits), now: Instant::now() });
        let (turn, result) = apply(&mut *self.store, turn)?;
        let changes = if result.is_ok() { Changes::from_turn(&turn) } else { Changes::default() };
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

/// Time between two checks of the database and removals of what has expired.
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(60);
