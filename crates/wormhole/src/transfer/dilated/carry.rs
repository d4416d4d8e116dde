//! Carries frames between a stream and the thread that makes and handles them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::super::carrier::CarrierMonitor;
use super::super::thread::{self, Outcome};
use super::super::{Error, Event, Progress};
use crate::dilated::{PathObserver, Streams, Subchannel};

/// The thread's end of a stream.
pub(in super::super) struct Line {
    /// Bytes for the peer.
    pub(super) out: mpsc::Sender<Vec<u8>>,
    /// Bytes of the peer.
    pub(super) incoming: mpsc::Receiver<Vec<u8>>,
}

impl Line {
    /// Sends bytes; waits while the connection is slower.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn send(&self, bytes: Vec<u8>, progress: &Progress) -> Result<(), Error> {
        self.out.blocking_send(bytes).map_err(|_| interrupted(progress))
    }

    /// Waits for bytes of the peer.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn receive(&mut self, progress: &Progress) -> Result<Vec<u8>, Error> {
        self.incoming.blocking_recv().ok_or_else(|| interrupted(progress))
    }
}

/// The connection ended before everything was done.
pub(in super::super) fn interrupted(progress: &Progress) -> Error {
    Error::Interrupted { done: progress.done(), total: progress.total() }
}

/// Ends the connection for a thread.
pub(super) struct LineMonitor {
    aborted: Arc<Notify>,
    /// Whether both sides have everything. The peer leaves then, which is no loss of the connection.
    is_done: Arc<AtomicBool>,
    observer: Mutex<PathObserver>,
    /// Dropping it lets the connection end after a failure.
    _open: oneshot::Sender<()>,
}

impl CarrierMonitor for LineMonitor {
    fn outstanding(&self) -> Option<u64> {
        None
    }

    /// A dilated connection notices by itself that the peer is gone.
    fn unanswered(&self) -> Option<Duration> {
        None
    }

    fn abort(&self) {
        self.aborted.notify_one();
    }

    fn news(&self) -> Option<Event> {
        if self.is_done.load(Ordering::Relaxed) {
            return None;
        }
        let change = self.observer.lock().unwrap_or_else(PoisonError::into_inner).change()?;
        Some(change.map_or(Event::ConnectionLost, Event::Connected))
    }
}

/// Starts a thread with a line to the peer. When it has ended and the peer has everything that it sent, the connection is
/// closed; then the outcome is returned. After a failure, the connection stays open as long as the monitor.
pub(super) fn start<T: Send + 'static>(
    stream: Subchannel,
    streams: Streams,
    work: impl FnOnce(Line) -> Result<T, Error> + Send + 'static,
) -> (Outcome<T>, LineMonitor) {
    let (out, outgoing) = mpsc::channel(QUEUE);
    let (to_thread, incoming) = mpsc::channel(QUEUE);
    let ended = thread::start(move || work(Line { out, incoming }));
    let aborted = Arc::new(Notify::new());
    let observer = Mutex::new(streams.observe());
    let (open, closed) = oneshot::channel();
    let is_done = Arc::new(AtomicBool::new(false));
    let monitor = LineMonitor {
        aborted: Arc::clone(&aborted),
        is_done: Arc::clone(&is_done),
        observer,
        _open: open,
    };
    let (sender, outcome) = oneshot::channel();
    tokio::spawn(async move {
        let is_carried = tokio::select! {
            carried = carry(&stream, outgoing, to_thread) => {
                stream.finish();
                carried.is_ok()
            }
            () = aborted.notified() => false,
        };
        // The thread notices the end of its line.
        let outcome = ended.await.unwrap_or(Err(Error::NoThread));
        if is_carried && outcome.is_ok() {
            is_done.store(true, Ordering::Relaxed);
            drop(stream);
            streams.close().await;
            // Nobody may wait any more.
            let _unwanted = sender.send(outcome);
        } else {
            let _unwanted = sender.send(outcome);
            // The peer learns the reason first, and then that we leave.
            let _dropped = closed.await;
        }
    });
    (outcome, monitor)
}

/// Starts a thread with a line to the peer. Returns its outcome, and a future that carries its bytes until the thread or the
/// connection has ended. Dropping that future ends the line.
pub(in super::super) fn run<T: Send + 'static>(
    stream: &Subchannel,
    work: impl FnOnce(Line) -> Result<T, Error> + Send + 'static,
) -> (Outcome<T>, impl Future<Output = ()>) {
    let (out, outgoing) = mpsc::channel(QUEUE);
    let (to_thread, incoming) = mpsc::channel(QUEUE);
    let ended = thread::start(move || work(Line { out, incoming }));
    (ended, async move {
        // The thread notices the end of the connection.
        let _ended = carry(stream, outgoing, to_thread).await;
    })
}

/// Carries bytes in both directions until the thread has ended its own.
async fn carry(
    stream: &Subchannel,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
    incoming: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let writing = async {
        while let Some(bytes) = outgoing.recv().await {
            stream.write_chunk(bytes).await?;
        }
        Ok(())
    };
    let reading = async {
        while let Ok(Some(bytes)) = stream.read_chunk().await {
            if incoming.send(bytes).await.is_err() {
                break;
            }
        }
        drop(incoming);
        // The thread decides what the end means.
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        written = writing => written,
        read = reading => read,
    }
}

/// Number of pieces that wait for a thread, or for the connection. A piece is a record.
const QUEUE: usize = 8;
