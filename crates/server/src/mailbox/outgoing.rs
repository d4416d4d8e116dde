//! Bytes on their way to one client.
//!
//! Holds little more than what is unsent, however the client reads, and knows when a client reads
//! too slowly to be waited for. When to write and how much to put in is the link's decision.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

/// What a client has not taken yet.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Of these, `sent` are gone.
    bytes: Vec<u8>,
    sent: usize,
    /// Set as long as the client is behind.
    behind: Option<Behind>,
}

/// How a client that is behind catches up.
#[derive(Clone, Copy, Debug)]
struct Behind {
    since: Instant,
    taken: usize,
}

impl Outgoing {
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0, behind: None }
    }

    /// Bytes that are not sent yet.
    pub(super) const fn unsent(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Where to append frames.
    pub(super) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes what the stream takes at once. There must be something to write.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: Pin<&mut impl AsyncWrite>,
        now: Instant,
    ) -> Poll<io::Result<()>> {
        let behind = self.behind.get_or_insert(Behind { since: now, taken: 0 });
        let bytes = self.bytes.get(self.sent..).unwrap_or_default();
        let count = ready!(stream.poll_write(cx, bytes))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += count;
        behind.taken += count;
        if behind.taken >= PACE {
            *behind = Behind { since: now, taken: 0 };
        }
        if self.unsent() == 0 {
            // An idle link holds no buffer.
            *self = Self::new(Vec::new());
        } else if self.sent >= SLACK.max(self.unsent()) {
            self.bytes = self.bytes.split_off(self.sent);
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client is behind and has taken less than [`PACE`] for [`PATIENCE`].
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.behind.is_some_and(|behind| now.saturating_duration_since(behind.since) >= PATIENCE)
    }
}

/// Sent bytes that may stay in the buffer.
const SLACK: usize = 64 << 10;

/// Bytes that a client that is behind has to take in every [`PATIENCE`]: one kilobyte per second.
const PACE: usize = 64 << 10;

const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    /// Writes once; the stream has room.
    async fn write(out: &mut Outgoing, stream: &mut DuplexStream, now: Instant) {
        poll_fn(|cx| out.poll_write(cx, Pin::new(stream), now)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_sent_is_forgotten_even_if_something_always_waits() {
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
    async fn a_client_that_takes_a_byte_now_and_then_is_stuck() {
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
        assert!(out.unsent() == 0 && !out.is_stuck(start + 10 * PATIENCE));
    }
}
