//! One link of a client: cut when the other end takes nothing for too long, or when the service has
//! waited long enough for what was under way.
//!
//! It stands below HTTP and WebSocket, which wait for ever for whoever does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// Comes when all links are to be cut: its sender is dropped.
pub(super) type ForcedClose = Shared<oneshot::Receiver<()>>;

/// A link.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    /// `None` once it has come. Reader and writer may be two tasks, and each is to be woken.
    reading: Option<ForcedClose>,
    writing: Option<ForcedClose>,
    /// Over when the other end has taken nothing for too long.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(stream: S, cut: &ForcedClose) -> Self {
        let (reading, writing) = (Some(cut.clone()), Some(cut.clone()));
        Self { stream, reading, writing, stalled: None }
    }

    /// What came of writing; failed if nothing has come of it for too long.
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

/// Fails when the link is to be cut, and wakes the task when it is so later.
fn check(cut: &mut Option<ForcedClose>, context: &mut Context<'_>) -> io::Result<()> {
    if cut.as_mut().is_some_and(|cut| cut.poll_unpin(context).is_pending()) {
        return Ok(());
    }
    *cut = None;
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

/// Flushing and closing a TCP socket wait for nobody.
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

/// Time in which the other end has to take something of what it is sent.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_cut_and_whoever_takes_something_is_not() {
        let (_alive, cut) = oneshot::channel();
        let (ours, mut theirs) = duplex(1);
        let mut link = TimeoutStream::new(ours, &cut.shared());
        let begun = Instant::now();
        let slow = async {
            for _ in 0..3 {
                sleep(WRITE_TIME / 2).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(link.write_all(b"abcdefgh"), slow);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), WRITE_TIME / 2 * 3 + WRITE_TIME);
    }

    #[tokio::test]
    async fn a_link_that_is_cut_ends_for_those_who_read_and_those_who_write() {
        let (alive, cut) = oneshot::channel();
        let (ours, _theirs) = duplex(1);
        let (mut reading, mut writing) = split(TimeoutStream::new(ours, &cut.shared()));
        let cutting = async { drop(alive) };
        let (read, written, ()) =
            tokio::join!(reading.read_u8(), writing.write_all(b"abcdefgh"), cutting);
        for error in [read.unwrap_err(), written.unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    }
}
