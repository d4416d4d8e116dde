//! The TCP stream of a client. It fails when the client reads nothing for too long, or when the server stops
//! and has waited long enough for running calls.
//!
//! HTTP and WebSocket run on top of it, because they would wait for a client that does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// Completes when all connections are to be closed: its sender is dropped.
pub(super) type ForcedClose = Shared<oneshot::Receiver<()>>;

/// A stream with these two timeouts.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    /// `None` once it has completed. Reader and writer may be two tasks, and each must be woken.
    reading: Option<ForcedClose>,
    writing: Option<ForcedClose>,
    /// Completes when the client has read nothing for too long.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(stream: S, close: &ForcedClose) -> Self {
        let (reading, writing) = (Some(close.clone()), Some(close.clone()));
        Self { stream, reading, writing, stalled: None }
    }

    /// The result of a write; fails if writing has been blocked for too long.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Fails when the connection is to be closed, and wakes the task when that happens later.
fn check(close: &mut Option<ForcedClose>, context: &mut Context<'_>) -> io::Result<()> {
    if close.as_mut().is_some_and(|close| close.poll_unpin(context).is_pending()) {
        return Ok(());
    }
    *close = None;
    Err(io::ErrorKind::ConnectionAborted.into())
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        check(&mut self.reading, context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Flushing and closing a TCP socket never block.
impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        check(&mut self.writing, context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        check(&mut self.writing, context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A client that reads nothing for this long is disconnected.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_disconnected_and_a_slow_one_is_not() {
        let (_alive, close) = oneshot::channel();
        let (ours, mut theirs) = duplex(1);
        let mut stream = TimeoutStream::new(ours, &close.shared());
        let begun = Instant::now();
        let slow = async {
            for _ in 0..3 {
                sleep(WRITE_TIME / 2).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(b"abcdefgh"), slow);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), WRITE_TIME / 2 * 3 + WRITE_TIME);
    }

    #[tokio::test]
    async fn a_forced_close_ends_reading_and_writing() {
        let (alive, close) = oneshot::channel();
        let (ours, _theirs) = duplex(1);
        let (mut reading, mut writing) = split(TimeoutStream::new(ours, &close.shared()));
        let closing = async { drop(alive) };
        let (read, written, ()) =
            tokio::join!(reading.read_u8(), writing.write_all(b"abcdefgh"), closing);
        for error in [read.unwrap_err(), written.unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    }
}
