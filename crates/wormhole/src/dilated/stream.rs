//! A stream, and the state that it shares with the driver.
//!
//! Both sides change the state under its lock; a change for the driver is announced once with [`Request::Changed`].

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use wormhole_magic::dilation::{MAX_DATA, SubchannelId};

use super::Error;
use super::requests::Request;

/// A stream to the peer. `shutdown` ends our direction only, and the end of the peer's direction is the end of the file.
/// Dropping it ends both.
///
/// A write returns when the data is accepted. It is delivered even if the connection is lost and replaced.
pub struct Subchannel {
    state: Arc<StreamState>,
    requests: mpsc::WeakUnboundedSender<Request>,
}

/// The state that a stream shares with the driver.
pub(super) struct StreamState(Mutex<Shared>);

/// The contents of the state.
#[derive(Default)]
pub(super) struct Shared {
    /// Its id, once the driver knows it.
    pub(super) id: Option<SubchannelId>,
    /// Received data, of which the first `used` bytes have been read.
    pub(super) received: VecDeque<Vec<u8>>,
    used: usize,
    /// Bytes that have been read, which the driver does not know yet.
    pub(super) consumed: usize,
    /// The peer sends no more.
    pub(super) ended: bool,
    /// Data to send, in pieces that become records.
    pub(super) to_send: Vec<Vec<u8>>,
    /// The application sends no more.
    pub(super) finished: bool,
    /// Whether the driver knows that.
    pub(super) finish_seen: bool,
    /// The stream was dropped.
    pub(super) dropped: bool,
    /// Why nothing more can be sent or received.
    pub(super) failure: Option<Error>,
    /// Whether the driver knows that something has changed.
    announced: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A new stream, and its state for the driver.
pub(super) fn pair(requests: &mpsc::UnboundedSender<Request>) -> (Subchannel, Arc<StreamState>) {
    from_weak(requests.downgrade())
}

/// Like [`pair`], for a driver, which must not keep itself running.
pub(super) fn from_weak(
    requests: mpsc::WeakUnboundedSender<Request>,
) -> (Subchannel, Arc<StreamState>) {
    let state = Arc::new(StreamState(Mutex::default()));
    (Subchannel { state: Arc::clone(&state), requests }, state)
}

impl StreamState {
    /// The contents. No code panics while it holds the lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The driver handles all changes now.
    pub(super) const fn begin(&mut self) {
        self.announced = false;
    }

    /// Nothing can be sent or received any more.
    pub(super) fn fail(&mut self, failure: &Error) {
        self.failure.get_or_insert_with(|| failure.clone());
        self.wake();
    }

    /// Wakes the tasks that wait for data or for room.
    pub(super) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Number of bytes that the driver has not taken.
    fn waiting(&self) -> usize {
        self.to_send.iter().map(Vec::len).sum()
    }

    /// Adds as many bytes as fit into a record. Returns how many.
    fn add(&mut self, bytes: &[u8]) -> usize {
        let room = self.to_send.last().map_or(0, |last| MAX_DATA.saturating_sub(last.len()));
        let accepted = bytes.get(..bytes.len().min(if room == 0 { MAX_DATA } else { room }));
        let accepted = accepted.unwrap_or_default();
        match self.to_send.last_mut().filter(|_| room > 0) {
            Some(last) => last.extend_from_slice(accepted),
            None => self.to_send.push(accepted.to_vec()),
        }
        accepted.len()
    }

    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> usize {
        let before = buffer.filled().len();
        while let Some(first) = self.received.front() {
            let rest = first.get(self.used..).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.used += now.len();
            if !later.is_empty() || (now.is_empty() && buffer.remaining() == 0) {
                break;
            }
            self.received.pop_front();
            self.used = 0;
        }
        buffer.filled().len() - before
    }
}

impl Subchannel {
    /// Waits for data, and returns it without copying it; `None` at the end.
    ///
    /// # Errors
    /// The dilated wormhole has ended.
    pub(crate) async fn read_chunk(&self) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&self, cx: &Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        let shared = &mut *self.state.lock();
        while let Some(mut chunk) = shared.received.pop_front() {
            chunk.drain(..std::mem::take(&mut shared.used));
            if chunk.is_empty() {
                continue;
            }
            shared.consumed += chunk.len();
            if shared.received.is_empty() || shared.consumed >= REPORT {
                self.announce(shared);
            }
            return Poll::Ready(Ok(Some(chunk)));
        }
        if shared.ended {
            return Poll::Ready(Ok(None));
        }
        if let Some(failure) = &shared.failure {
            return Poll::Ready(Err(to_io(failure)));
        }
        shared.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Writes data without copying it. Returns when it is accepted. More than [`MAX_DATA`] bytes are copied once, into several records.
    ///
    /// # Errors
    /// The dilated wormhole or this direction has ended.
    pub(crate) async fn write_chunk(&self, chunk: Vec<u8>) -> io::Result<()> {
        let mut chunk = Some(chunk);
        poll_fn(|cx| self.poll_write_chunk(cx, &mut chunk)).await
    }

    fn poll_write_chunk(
        &self,
        cx: &Context<'_>,
        chunk: &mut Option<Vec<u8>>,
    ) -> Poll<io::Result<()>> {
        let shared = &mut *self.state.lock();
        if let Some(failure) = &shared.failure {
            return Poll::Ready(Err(to_io(failure)));
        }
        if shared.finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if shared.waiting() >= MAX_TO_SEND {
            shared.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        shared.to_send.extend(chunk.take());
        self.announce(shared);
        Poll::Ready(Ok(()))
    }

    /// Ends our direction. What was written before is still delivered.
    pub(crate) fn finish(&self) {
        let shared = &mut *self.state.lock();
        if !std::mem::replace(&mut shared.finished, true) {
            self.announce(shared);
        }
    }

    /// Announces a change to the driver.
    fn announce(&self, shared: &mut Shared) {
        if std::mem::replace(&mut shared.announced, true) {
            return;
        }
        if let Some(requests) = self.requests.upgrade() {
            // A driver that has ended has set the failure of its streams.
            let _ended = requests.send(Request::Changed(Arc::clone(&self.state)));
        }
    }
}

impl AsyncRead for Subchannel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let shared = &mut *self.state.lock();
        let read = shared.read(buffer);
        if read > 0 {
            shared.consumed += read;
            // Not for every read: the driver only needs to know roughly.
            if shared.received.is_empty() || shared.consumed >= REPORT {
                self.announce(shared);
            }
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 || shared.ended {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = &shared.failure {
            return Poll::Ready(Err(to_io(failure)));
        }
        shared.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Subchannel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let shared = &mut *self.state.lock();
        if let Some(failure) = &shared.failure {
            return Poll::Ready(Err(to_io(failure)));
        }
        if shared.finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if shared.waiting() >= MAX_TO_SEND {
            shared.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let accepted = shared.add(bytes);
        self.announce(shared);
        Poll::Ready(Ok(accepted))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.state.lock();
        if shared.to_send.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = &shared.failure {
            return Poll::Ready(Err(to_io(failure)));
        }
        shared.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let shared = &mut *self.state.lock();
            if !std::mem::replace(&mut shared.finished, true) {
                self.announce(shared);
            }
        }
        self.poll_flush(cx)
    }
}

impl Drop for Subchannel {
    fn drop(&mut self) {
        let shared = &mut *self.state.lock();
        shared.dropped = true;
        shared.finished = true;
        self.announce(shared);
    }
}

impl fmt::Debug for Subchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subchannel").field("id", &self.state.lock().id).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamState").field(&self.lock().id).finish()
    }
}

fn to_io(failure: &Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, failure.clone())
}

/// Data in bytes that a stream keeps until the driver takes it. Then writers wait.
const MAX_TO_SEND: usize = 4 * MAX_DATA;

/// Number of read bytes after which the driver is notified.
const REPORT: usize = 256 << 10;
