//! Frames of a WebSocket, read and written in pieces, and the memory that they use.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};
use wormhole_chat::{MAX_FRAME, WebSocketMessage};

use super::now;
use crate::http::Upgraded;
use crate::http::websocket::{self, Decoder, Received};
use crate::memory::{GUARANTEED, Share};
use crate::net::{Outgoing, Progress, Stream};

/// The connection, with what is read but not complete, and what is not written yet.
#[derive(Debug)]
pub(super) struct FrameIo {
    stream: Stream,
    decoder: Decoder,
    /// Received bytes, of which the first `decoded` are decoded.
    received: Vec<u8>,
    decoded: usize,
    out: Outgoing,
    /// Whether [`FrameIo::next`] returns once the client has read enough.
    reports_room: bool,
    /// The progress of a message that is not complete.
    partial: Option<Progress>,
    /// When the client last sent something.
    heard: Instant,
    share: Share,
    /// Bytes of the share for work that has begun.
    reserved: usize,
}

/// An event of [`FrameIo::next`].
#[derive(Debug)]
pub(super) enum Event {
    /// The client is sending a long message, but its address uses too much memory.
    OutOfMemory,
    /// A message or a control frame is complete.
    Received(Received),
    /// The client has read enough.
    Room,
}

impl FrameIo {
    /// A connection whose handshake is complete, and the memory that it uses.
    pub(super) fn new(Upgraded { stream, early }: Upgraded, share: Share) -> Self {
        Self {
            stream,
            decoder: Decoder::ignoring_text(MAX_FRAME),
            received: early,
            decoded: 0,
            out: Outgoing::default(),
            reports_room: false,
            partial: None,
            heard: now(),
            share,
            reserved: 0,
        }
    }

    /// Writes what waits, and waits for something complete from the client if `can_read`; otherwise until everything is
    /// written. Also returns when [`FrameIo::is_full`] was true and is not any more. `None` if the connection has ended,
    /// or the client sent something else than frames.
    pub(super) async fn next(&mut self, can_read: bool) -> Option<Event> {
        let event = poll_fn(|cx| self.poll(cx, can_read)).await;
        self.recount();
        event
    }

    fn poll(&mut self, cx: &mut Context<'_>, can_read: bool) -> Poll<Option<Event>> {
        if !self.out.is_idle() {
            match self.out.poll_write(cx, Pin::new(&mut self.stream), now()) {
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) if !can_read && self.out.is_idle() => {
                    return Poll::Ready(Some(Event::Room));
                }
                Poll::Ready(Ok(())) if !self.out.is_idle() => cx.waker().wake_by_ref(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.out.is_idle() {
                self.out.caught_up();
            }
            if self.reports_room && self.out.unsent() < HIGH_WATER {
                self.reports_room = false;
                return Poll::Ready(Some(Event::Room));
            }
        }
        if can_read && self.out.unsent() < HIGH_WATER {
            return self.poll_read(cx);
        }
        // The client cannot go on meanwhile.
        self.partial = self.partial.map(|_| Progress::new(now()));
        Poll::Pending
    }

    /// Reads until something is complete.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match self.decode() {
                Err(_) => return Poll::Ready(None),
                Ok(Some(received)) => return Poll::Ready(Some(Event::Received(received))),
                Ok(None) if self.decoder.buffered() > GUARANTEED && !self.has_memory(0) => {
                    return Poll::Ready(Some(Event::OutOfMemory));
                }
                Ok(None) => {}
            }
            let mut space = [MaybeUninit::uninit(); PIECE];
            let mut buffer = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(None),
            }
            self.heard = now();
            if let Some(partial) = &mut self.partial {
                partial.made(buffer.filled().len(), self.heard);
            }
            self.received = buffer.filled().to_vec();
        }
    }

    /// The next message or control frame, if it has been received completely.
    fn decode(&mut self) -> Result<Option<Received>, websocket::InvalidFrame> {
        let mut left = self.received.get(self.decoded..).unwrap_or_default();
        let received = self.decoder.next(&mut left)?;
        self.decoded = self.received.len().saturating_sub(left.len());
        if left.is_empty() {
            // Free the memory of an idle connection.
            (self.received, self.decoded) = (Vec::new(), 0);
        }
        if self.decoder.is_between_messages() {
            self.partial = None;
        } else {
            self.partial.get_or_insert_with(|| Progress::new(now()));
        }
        Ok(received)
    }

    /// Whether the client must read before more is sent to it. Then [`FrameIo::next`] returns when it has.
    pub(super) const fn is_full(&mut self) -> bool {
        self.reports_room = self.out.unsent() >= HIGH_WATER;
        self.reports_room
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &WebSocketMessage) {
        websocket::part(self.out.end(), true, true, &message.encode());
        self.recount();
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

    /// Whether the client reads or sends too slowly, or has sent nothing for too long.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.out.is_stuck(now)
            || self.partial.is_some_and(|partial| partial.is_stuck(now))
            || now.saturating_duration_since(self.heard) >= super::MAX_SILENCE
    }

    /// Reserves memory for work, until [`FrameIo::release`]. False if the client's address uses too much.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        let has_memory = self.has_memory(bytes);
        if has_memory {
            self.reserved = self.reserved.saturating_add(bytes);
        }
        has_memory
    }

    /// Ends a reservation.
    pub(super) fn release(&mut self, bytes: usize) {
        self.reserved = self.reserved.saturating_sub(bytes);
        self.recount();
    }

    /// A share of the same address for so many bytes that are in use.
    pub(super) fn share(&self, bytes: usize) -> Share {
        self.share.for_same_address(bytes)
    }

    fn has_memory(&mut self, more: usize) -> bool {
        let bytes = self.bytes().saturating_add(more);
        self.share.try_resize(bytes, 0)
    }

    fn recount(&mut self) {
        self.share.set(self.bytes());
    }

    const fn bytes(&self) -> usize {
        let (unread, unsent) = (self.received.len(), self.out.buffered());
        self.decoder
            .buffered()
            .saturating_add(unread)
            .saturating_add(unsent)
            .saturating_add(self.reserved)
    }
}

/// Bytes that are read at once.
const PIECE: usize = 8192;

/// Unwritten bytes above which nothing more is read, neither from the client nor from its queue.
const HIGH_WATER: usize = 256 << 10;
