//! The output buffer of one client.
//!
//! It stores little more than the unsent bytes, and detects clients that read too slowly. Bytes that TLS has
//! accepted but not sent also count as waiting. The owner decides when to write and how much to add, and reports when
//! the client has caught up, because more data may be waiting elsewhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::AsyncWrite;

use super::progress::Progress;

/// Output for a client.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The first `sent` bytes have been sent.
    bytes: Vec<u8>,
    sent: usize,
    /// Whether the stream may still contain written bytes.
    unflushed: bool,
    /// The progress of a slow client: from the first write until [`Outgoing::caught_up`].
    progress: Option<Progress>,
}

impl Outgoing {
    #[cfg(test)]
    const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0, unflushed: false, progress: None }
    }

    /// Number of unsent bytes.
    pub(crate) const fn unsent(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Number of stored bytes, including sent ones that have not been removed yet.
    pub(crate) const fn buffered(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a write has begun and its bytes are still in this buffer or in the stream.
    pub(crate) const fn is_behind(&self) -> bool {
        self.unflushed
    }

    /// Whether everything has been sent.
    pub(crate) const fn is_idle(&self) -> bool {
        self.unsent() == 0 && !self.is_behind()
    }

    /// The buffer to which frames are appended.
    pub(crate) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes as much as the stream accepts. Pending if it accepts nothing, or has accepted everything but not sent
    /// it.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut impl AsyncWrite>,
        now: Instant,
    ) -> Poll<io::Result<()>> {
        if self.unsent() > 0 {
            self.unflushed = true;
            let progress = self.progress.get_or_insert_with(|| Progress::new(now));
            let bytes = self.bytes.get(self.sent..).unwrap_or_default();
            let count = ready!(stream.as_mut().poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            progress.made(count, now);
        }
        if self.unsent() == 0 {
            // Free the memory of an idle connection.
            (self.bytes, self.sent) = (Vec::new(), 0);
            ready!(stream.poll_flush(cx))?;
            self.unflushed = false;
        } else if self.sent >= SLACK.max(self.unsent()) {
            self.bytes = self.bytes.split_off(self.sent);
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the measurement of the client's speed: no more data waits for the client, here or elsewhere. This is not
    /// automatic, because a client that reads one buffer per minute would seem to catch up each time.
    pub(crate) const fn caught_up(&mut self) {
        self.progress = None;
    }

    /// Whether the client is too slow.
    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        self.progress.is_some_and(|progress| progress.is_stuck(now))
    }
}

/// Maximum number of sent bytes in the buffer.
const SLACK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, BufWriter, DuplexStream};

    use super::*;
    use crate::net::{PACE, PATIENCE};

    /// Writes once; the stream has free space.
    async fn write(out: &mut Outgoing, stream: &mut DuplexStream, now: Instant) {
        poll_fn(|cx| out.poll_write(cx, Pin::new(stream), now)).await.unwrap();
    }

    #[tokio::test]
    async fn sent_bytes_are_removed_even_if_more_bytes_always_wait() {
        let (mut stream, mut client) = tokio::io::duplex(1024);
        let (mut out, now) = (Outgoing::new(vec![0; 8 << 10]), Instant::now());
        for turn in 0..10_000_usize {
            out.end().extend_from_slice(&turn.to_be_bytes().repeat(128));
            write(&mut out, &mut stream, now).await;
            let mut read = [0; 1024];
            client.read_exact(&mut read).await.unwrap();
            let expected = turn.checked_sub(8).map_or([0; 8], usize::to_be_bytes).repeat(128);
            assert_eq!(read[..], expected);
            assert!(out.unsent() == 8 << 10 && out.bytes.capacity() < 4 * SLACK);
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_one_byte_per_second_is_stuck() {
        let (mut stream, mut client) = tokio::io::duplex(1);
        let (mut out, start) = (Outgoing::new(vec![0; 1000]), Instant::now());
        assert!(!out.is_stuck(start + PATIENCE), "nothing was tried yet");
        for second in 0..60 {
            assert!(!out.is_stuck(start + Duration::from_secs(second)));
            write(&mut out, &mut stream, start + Duration::from_secs(second)).await;
            client.read_u8().await.unwrap();
        }
        assert!(out.is_stuck(start + PATIENCE));
    }

    #[tokio::test]
    async fn a_client_that_keeps_the_pace_or_has_caught_up_is_not_stuck() {
        let (mut stream, mut client) = tokio::io::duplex(PACE);
        let (mut out, start) = (Outgoing::new(vec![0; 3 * PACE]), Instant::now());
        let mut read = vec![0; PACE];
        for minute in 0..3 {
            let now = start + PATIENCE * minute;
            write(&mut out, &mut stream, now).await;
            assert!(!out.is_stuck(now));
            client.read_exact(&mut read).await.unwrap();
        }
        assert!(out.is_idle());
        out.caught_up();
        assert!(!out.is_stuck(start + 10 * PATIENCE));
    }

    #[tokio::test]
    async fn a_client_that_reads_one_buffer_every_ten_seconds_is_stuck_while_more_waits() {
        let (mut stream, mut client) = tokio::io::duplex(64 << 10);
        let (mut out, start) = (Outgoing::new(Vec::new()), Instant::now());
        let mut read = vec![0; 64 << 10];
        for second in 0..6 {
            out.end().extend_from_slice(&read);
            write(&mut out, &mut stream, start + Duration::from_secs(10 * second)).await;
            assert!(out.is_idle());
            client.read_exact(&mut read).await.unwrap();
        }
        assert!(out.is_stuck(start + PATIENCE), "64 KiB every ten seconds");
    }

    #[tokio::test]
    async fn bytes_that_the_stream_has_buffered_count_as_waiting() {
        let (stream, mut client) = tokio::io::duplex(10);
        // Accepts all bytes at once, as TLS does, and sends only as many as the client can receive.
        let mut stream = BufWriter::with_capacity(1000, stream);
        let (mut out, start) = (Outgoing::new(vec![7; 100]), Instant::now());
        let mut poll = |out: &mut Outgoing| {
            out.poll_write(&mut Context::from_waker(Waker::noop()), Pin::new(&mut stream), start)
        };
        assert!(poll(&mut out).is_pending());
        assert!(out.unsent() == 0 && !out.is_idle());
        assert!(out.is_stuck(start + PATIENCE), "a client that reads nothing is not caught up");
        for _ in 0..9 {
            client.read_exact(&mut [0; 10]).await.unwrap();
            assert!(!out.is_idle());
            let _moved_on = poll(&mut out);
        }
        assert!(out.is_idle());
        client.read_exact(&mut [0; 10]).await.unwrap();
    }
}
