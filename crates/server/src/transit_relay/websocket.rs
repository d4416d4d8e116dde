//! A WebSocket whose binary messages contain the data of a connection.
//!
//! Only the first message, the request to relay, is collected before it is handled. All others are forwarded in parts as
//! they arrive, so that long messages need no more memory than a plain connection. Libraries do not offer this. Spec:
//! RFC 6455; the framing is in [`crate::http::websocket`].
//!
//! There is no minimum speed ([`Outgoing::is_stuck`] is not used): as on a plain link, a client that reads slowly only
//! slows its partner.

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

/// The server side of a WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    stream: Stream,
    decoder: Decoder,
    /// Received bytes; the first `decoded` have been decoded.
    read: Vec<u8>,
    decoded: usize,
    /// Whether the first message has been received.
    has_request: bool,
    /// Whether no more data will arrive.
    ended: bool,
    out: Outgoing,
    /// Whether an outgoing message has begun but not ended.
    in_message: bool,
    /// The pong to send.
    pong: Option<Vec<u8>>,
}

/// A part of a message, or a complete message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    /// Whether the message ends here.
    pub(super) last: bool,
}

impl Part {
    /// A complete message.
    pub(super) const fn complete(bytes: Vec<u8>) -> Self {
        Self { bytes, last: true }
    }
}

impl WebSocket {
    /// A WebSocket whose handshake is complete.
    pub(super) fn new(Upgraded { stream, early }: Upgraded) -> Self {
        Self {
            stream,
            decoder: Decoder::binary_only(MAX_PART),
            read: early,
            decoded: 0,
            has_request: false,
            ended: false,
            out: Outgoing::default(),
            in_message: false,
            pong: None,
        }
    }

    /// The underlying TCP connection.
    pub(super) fn tcp(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// Number of bytes that wait to be sent.
    pub(super) const fn unsent(&self) -> usize {
        self.out.unsent()
    }

    /// Waits for the next part; the first message is returned as one part. `None` at the end: the connection was closed,
    /// or failed, or the client sent text, which the Python relay does not accept either.
    ///
    /// Also sends waiting bytes.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        // Errors of sending are reported to senders. Received data can still be read.
        let _sent: Poll<io::Result<()>> = self.poll_send(cx);
        loop {
            if let Some(part) = self.received_part() {
                return Poll::Ready(Some(part));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            // The bytes that were received together with the handshake may contain a ping.
            let _sent: Poll<io::Result<()>> = self.poll_send(cx);
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
            // Send a new pong at once.
            let _sent: Poll<io::Result<()>> = self.poll_send(cx);
            if part.is_some() {
                return Poll::Ready(part);
            }
        }
    }

    /// The next part, if it has already been received.
    pub(super) fn received_part(&mut self) -> Option<Part> {
        let read = std::mem::take(&mut self.read);
        let mut left = read.get(self.decoded..).unwrap_or_default();
        let part = self.decode(&mut left);
        (self.read, self.decoded) = match left.len() {
            0 => (Vec::new(), 0),
            left => {
                let decoded = read.len().saturating_sub(left);
                (read, decoded)
            }
        };
        part
    }

    /// Consumes bytes of `input` until there is a part.
    fn decode(&mut self, input: &mut &[u8]) -> Option<Part> {
        while !self.ended {
            let part = match self.decoder.next(input) {
                Ok(Some(Received::Message(bytes))) => Part::complete(bytes),
                // Only the first message can be too long, and then it is not a valid line.
                Ok(Some(Received::Oversized(_) | Received::Skipped)) => Part::complete(Vec::new()),
                Ok(Some(Received::Ping(content))) => {
                    self.pong = Some(content);
                    continue;
                }
                Ok(Some(Received::Pong)) => continue,
                Ok(None) if !self.has_request => return None,
                Ok(None) => {
                    return self.decoder.take_part().map(|bytes| Part { bytes, last: false });
                }
                Ok(Some(Received::Close)) | Err(_) => break,
            };
            self.has_request = true;
            return Some(part);
        }
        self.ended = true;
        *input = &[];
        None
    }

    /// Whether the next part is the first message.
    pub(super) const fn expects_request(&self) -> bool {
        !self.has_request
    }

    /// Queues a part. It uses memory until it is sent.
    pub(super) fn push(&mut self, part: &Part) {
        websocket::part(self.out.end(), !self.in_message, part.last, &part.bytes);
        self.in_message = !part.last;
    }

    /// Queues the close frame.
    pub(super) fn push_close(&mut self) {
        websocket::close(self.out.end(), websocket::CLOSE_NORMAL);
    }

    /// Waits until the system has accepted all queued bytes.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Only the latest ping is answered, so that the memory is limited.
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

/// Number of bytes to read at once, on the stack, and therefore maximum size of a part and of the first message. Large
/// enough to be fast, and small compared with the buffers of the socket.
const MAX_PART: usize = 64 << 10;
