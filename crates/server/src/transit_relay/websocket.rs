//! A WebSocket whose binary messages are the bytes of a link.
//!
//! Only the first message, the request to relay, is taken whole. All others are taken and passed on
//! in parts as they come, so that a message of any length costs no more memory than a plain link's
//! bytes do; that is why this is not a library. Spec: RFC 6455; the framing is in
//! [`crate::http::websocket`].

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::http::Upgraded;
use crate::http::websocket::{self, Decoder, Received};
use crate::net::{Outgoing, Stream};

/// The server's end of a WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    stream: Stream,
    decoder: Decoder,
    /// What was read and not decoded yet: `taken` bytes of it were.
    read: Vec<u8>,
    taken: usize,
    /// Whether the first message has come.
    asked: bool,
    /// Whether nothing more will come.
    ended: bool,
    out: Outgoing,
    /// Whether a message was begun and not ended towards the client.
    inside: bool,
    /// To be sent back to a client that has asked for a sign of life.
    pong: Option<Vec<u8>>,
}

/// Some bytes of a message, or a whole one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    /// Whether the message ends here.
    pub(super) last: bool,
}

impl Part {
    /// A whole message.
    pub(super) const fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, last: true }
    }
}

impl WebSocket {
    /// A WebSocket whose handshake is complete.
    pub(super) fn new(Upgraded { stream, early }: Upgraded) -> Self {
        Self {
            stream,
            decoder: Decoder::of_binary(MAX_PART),
            read: early,
            taken: 0,
            asked: false,
            ended: false,
            out: Outgoing::default(),
            inside: false,
            pong: None,
        }
    }

    /// The TCP link below.
    pub(super) fn tcp(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// Bytes that wait to be sent.
    pub(super) const fn unsent(&self) -> usize {
        self.out.unsent()
    }

    /// Waits for the next part: the whole message, if it is the first. `None` if there will be none:
    /// the link has closed, failed, or carried text, which the reference does not put up with either.
    ///
    /// Whatever is to be sent moves on meanwhile.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        // That it cannot be sent is for those to know who send. What has come can be read.
        let _sent: Poll<io::Result<()>> = self.poll_send(cx);
        loop {
            if let Some(part) = self.part_at_hand() {
                return Poll::Ready(Some(part));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let mut space = [MaybeUninit::uninit(); MAX_PART];
            let mut buffer = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
            let mut bytes = buffer.filled();
            let part = self.decode(&mut bytes);
            self.read = bytes.to_vec();
            // An answer that came due must not wait for the next time.
            let _sent: Poll<io::Result<()>> = self.poll_send(cx);
            if part.is_some() {
                return Poll::Ready(part);
            }
        }
    }

    /// The next part, if it has been read already.
    pub(super) fn part_at_hand(&mut self) -> Option<Part> {
        let read = std::mem::take(&mut self.read);
        let mut left = read.get(self.taken..).unwrap_or_default();
        let part = self.decode(&mut left);
        (self.read, self.taken) = match left.len() {
            0 => (Vec::new(), 0),
            left => {
                let taken = read.len().saturating_sub(left);
                (read, taken)
            }
        };
        part
    }

    /// Takes bytes off the front of `input` until there is a part; all of them, if there is none.
    fn decode(&mut self, input: &mut &[u8]) -> Option<Part> {
        while !self.ended {
            let part = match self.decoder.next(input) {
                Ok(Some(Received::Message(bytes))) => Part::whole(bytes),
                // Only the first message can be: and so long a line is none.
                Ok(Some(Received::Oversized(_) | Received::Dropped)) => Part::whole(Vec::new()),
                Ok(Some(Received::Ping(content))) => {
                    self.pong = Some(content);
                    continue;
                }
                Ok(Some(Received::Pong)) => continue,
                Ok(None) if !self.asked => return None,
                Ok(None) => {
                    return self.decoder.take_part().map(|bytes| Part { bytes, last: false });
                }
                Ok(Some(Received::Close)) | Err(_) => break,
            };
            self.asked = true;
            return Some(part);
        }
        self.ended = true;
        *input = &[];
        None
    }

    /// Whether the next part will be the first message.
    pub(super) const fn expects_request(&self) -> bool {
        !self.asked
    }

    /// Puts a part behind all that is to be sent. Each costs memory until it is.
    pub(super) fn push(&mut self, part: &Part) {
        websocket::part(self.out.end(), !self.inside, part.last, &part.bytes);
        self.inside = !part.last;
    }

    /// Puts the end behind all that is to be sent.
    pub(super) fn push_close(&mut self) {
        websocket::close(self.out.end(), websocket::CLOSE_NORMAL);
    }

    /// Waits until the system has taken everything that is to be sent.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Only the latest is answered, so that nobody can make us hold more.
            if self.out.unsent() == 0
                && let Some(content) = self.pong.take()
            {
                websocket::pong(self.out.end(), &content);
            }
            if self.out.is_idle() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.out.poll_write(cx, Pin::new(&mut self.stream), Instant::now()))?;
        }
    }
}

/// Bytes read at once, on the stack, and therefore in a part; and the longest first message. As much
/// as pays, and still small beside the socket's own buffers.
const MAX_PART: usize = 64 << 10;
