//! Frames of a WebSocket, read and written in pieces.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};
use wormhole_chat::{MAX_FRAME, WebSocketMessage};

use crate::http::Upgraded;
use crate::http::websocket::{self, Decoder, Received};
use crate::net::{Outgoing, Stream};

/// The connection, with what is read but not complete, and what is not written yet.
#[derive(Debug)]
pub(super) struct FrameIo {
    stream: Stream,
    decoder: Decoder,
    /// What the client sent directly after the handshake.
    early: Vec<u8>,
    out: Outgoing,
    /// Whether [`FrameIo::next`] returns once the client has read enough.
    reports_room: bool,
}

impl FrameIo {
    /// A connection whose handshake is complete.
    pub(super) fn new(Upgraded { stream, early }: Upgraded) -> Self {
        let (decoder, out) = (Decoder::ignoring_text(MAX_FRAME), Outgoing::default());
        Self { stream, decoder, early, out, reports_room: false }
    }

    /// Writes what waits, and waits for something complete from the client if `can_read`; otherwise until everything is
    /// written. Returns nothing also when [`FrameIo::is_full`] was true and is not any more. `None` if the connection has ended, or the client sent something else than frames.
    pub(super) async fn next(&mut self, can_read: bool) -> Option<Vec<Received>> {
        poll_fn(|cx| self.poll(cx, can_read)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, can_read: bool) -> Poll<Option<Vec<Received>>> {
        if !self.out.is_idle() {
            let now = Instant::now();
            match self.out.poll_write(cx, Pin::new(&mut self.stream), now) {
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) if !can_read && self.out.is_idle() => {
                    return Poll::Ready(Some(Vec::new()));
                }
                Poll::Ready(Ok(())) if !self.out.is_idle() => cx.waker().wake_by_ref(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.out.is_idle() {
                self.out.caught_up();
            }
            if self.reports_room && self.out.unsent() < HIGH_WATER {
                self.reports_room = false;
                return Poll::Ready(Some(Vec::new()));
            }
        }
        while can_read && self.out.unsent() < HIGH_WATER {
            let mut space = [MaybeUninit::uninit(); PIECE];
            let mut buffer = ReadBuf::uninit(&mut space);
            let early = std::mem::take(&mut self.early);
            if early.is_empty() {
                match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(None),
                }
            }
            let bytes = if early.is_empty() { buffer.filled() } else { &early };
            match decode(&mut self.decoder, bytes) {
                None => return Poll::Ready(None),
                Some(received) if received.is_empty() => {}
                Some(received) => return Poll::Ready(Some(received)),
            }
        }
        Poll::Pending
    }

    /// Whether the client must read before more is sent to it. Then [`FrameIo::next`] returns when it has.
    pub(super) const fn is_full(&mut self) -> bool {
        self.reports_room = self.out.unsent() >= HIGH_WATER;
        self.reports_room
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &WebSocketMessage) {
        websocket::part(self.out.end(), true, true, &message.encode());
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, content: &[u8]) {
        // A client that sends pings and reads nothing gets no more of them.
        if self.out.unsent() < HIGH_WATER {
            websocket::pong(self.out.end(), content);
        }
    }

    /// Sends the end of the connection.
    pub(super) fn close(&mut self, code: u16) {
        websocket::close(self.out.end(), code);
    }

    /// Whether everything is written.
    pub(super) fn is_idle(&self) -> bool {
        self.out.is_idle()
    }

    /// Whether the client reads too slowly.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.out.is_stuck(now)
    }
}

/// Everything that is complete; `None` if the client does not speak WebSocket.
fn decode(decoder: &mut Decoder, mut bytes: &[u8]) -> Option<Vec<Received>> {
    let mut all = Vec::new();
    while let Some(received) = decoder.next(&mut bytes).ok()? {
        all.push(received);
    }
    Some(all)
}

/// Bytes that are read at once.
const PIECE: usize = 8192;

/// Unwritten bytes above which nothing more is read, neither from the client nor from its queue.
const HIGH_WATER: usize = 256 << 10;
