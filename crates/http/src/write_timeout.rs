//! A stream whose writes fail when the client reads too slowly. Without it, a connection would wait for such a client for
//! ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::Pace;

/// A stream whose writes fail when the client reads too slowly: less than 8 KiB per second while something waits for it.
#[derive(Debug)]
pub struct WriteTimeout<S> {
    stream: S,
    pace: Pace,
    blocked: Option<Blocked>,
}

/// A write that the stream does not accept yet.
#[derive(Debug)]
struct Blocked {
    since: Instant,
    /// Completes when the client has become too slow.
    end: Pin<Box<Sleep>>,
}

impl<S> WriteTimeout<S> {
    /// A stream whose client may be this far behind: its writes may be blocked for this long, and for another second for
    /// each 8 KiB that it accepts. Time in which nothing waits for the client does not count.
    pub const fn new(stream: S, time: Duration) -> Self {
        Self { stream, pace: Pace::new(time), blocked: None }
    }

    /// The stream, without a limit.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The result of a write; an error if the client reads too slowly.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(result) = written else {
            let left = self.pace.left();
            let blocked = self.blocked.get_or_insert_with(|| Blocked {
                since: Instant::now(),
                end: Box::pin(sleep(left)),
            });
            ready!(blocked.end.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        let waited = self.blocked.take().map_or(Duration::ZERO, |blocked| blocked.since.elapsed());
        self.pace.waited(waited, result.as_ref().map_or(0, bytes));
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Flushing and closing a TCP socket never block, but a TLS stream still has bytes to send then.
impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(context, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(context, closed, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const TIME: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_disconnected() {
        let (ours, mut theirs) = duplex(1);
        let mut stream = WriteTimeout::new(ours, TIME);
        let begun = Instant::now();
        let late = async {
            sleep(TIME / 2).await;
            theirs.read_u8().await.unwrap();
        };
        let (written, ()) = tokio::join!(stream.write_all(b"abc"), late);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // A single byte is worth almost nothing.
        assert_eq!(begun.elapsed().as_secs(), TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_gets_everything_but_not_a_slower_one() {
        for (pause, is_fast_enough) in [(1800, true), (2200, false)] {
            let (ours, mut theirs) = duplex(16 << 10);
            let mut stream = WriteTimeout::new(ours, TIME);
            let read = async {
                let mut piece = vec![0; 16 << 10];
                for _ in 0..1000 {
                    sleep(Duration::from_millis(pause)).await;
                    if theirs.read_exact(&mut piece).await.is_err() {
                        return;
                    }
                }
            };
            let write = async {
                let result = stream.write_all(&vec![0; 1000 * (16 << 10)]).await;
                drop(stream);
                result
            };
            let (written, ()) = tokio::join!(write, read);
            assert_eq!(written.is_ok(), is_fast_enough, "{pause} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_between_writes_do_not_count() {
        let (ours, mut theirs) = duplex(1);
        let mut stream = WriteTimeout::new(ours, TIME);
        for _ in 0..10 {
            stream.write_all(b"a").await.unwrap();
            stream.flush().await.unwrap();
            sleep(TIME * 10).await;
            theirs.read_u8().await.unwrap();
        }
    }
}
