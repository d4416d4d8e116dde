//! The server side of WebSocket framing: decodes the frames of clients, and encodes frames for them. No I/O.
//! (RFC 6455, sections 5 and 7)
//!
//! The received bytes may be split at any position. Between messages, a [`Decoder`] has no buffer. It skips and
//! reports a message over the limit, so that the sender can get an error instead of a closed connection. A caller can
//! also take a message in parts. Libraries do not offer this, and they need more memory for idle connections.

use std::num::NonZeroUsize;

/// Decodes the frames of a client.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: NonZeroUsize,
    text: Text,
    /// The received bytes of an incomplete header.
    header: [u8; MAX_HEADER],
    /// Number of received bytes in `header`.
    header_length: u8,
    /// The frame whose payload is being received.
    payload: Option<Payload>,
    /// The received part of an incomplete data message.
    message: Vec<u8>,
    /// Whether a data message has begun and not ended.
    in_message: bool,
    /// Why the current message is being skipped; `None` if it is not.
    skipped: Option<SkipReason>,
    /// The received part of an incomplete control frame.
    control: Vec<u8>,
}

/// A frame whose header has been received.
#[derive(Clone, Copy, Debug)]
struct Payload {
    opcode: u8,
    /// Whether this is the last frame of its message.
    last: bool,
    /// Number of bytes that have not been received yet.
    left: u64,
    /// The mask, rotated so that its first byte applies to the next payload byte.
    mask: [u8; 4],
}

/// The handling of text messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Text {
    Accepted,
    Ignored,
    /// They end the connection.
    Refused,
}

/// Why a message is skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SkipReason {
    /// The caller skips it with [`Decoder::skip_message`].
    Caller,
    /// It is longer than the limit.
    TooLong,
}

/// A decoded message or control frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// The client closes the connection.
    Close,
    /// A complete text or binary message.
    Message(Vec<u8>),
    /// The end of a message that was longer than this limit in bytes. Its content was dropped.
    Oversized(usize),
    /// A ping. The caller must answer with [`pong`] and this content.
    Ping(Vec<u8>),
    /// A pong. It only shows that the client is alive.
    Pong,
    /// The end of a message whose content was dropped by [`Decoder::skip_message`], or of a text message that is ignored.
    Skipped,
}

/// The bytes are not valid WebSocket frames. The connection must be closed, because the start of the next frame is
/// unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid WebSocket frame")]
pub(crate) struct InvalidFrame;

impl Decoder {
    /// A decoder for messages of at most `limit` bytes; a limit of 0 counts as 1.
    pub(crate) const fn new(limit: usize) -> Self {
        Self::with_text(limit, Text::Accepted)
    }

    /// A decoder for binary messages only: a text message is an error.
    pub(crate) const fn binary_only(limit: usize) -> Self {
        Self::with_text(limit, Text::Refused)
    }

    /// A decoder for binary messages that ignores text messages.
    pub(crate) const fn ignoring_text(limit: usize) -> Self {
        Self::with_text(limit, Text::Ignored)
    }

    const fn with_text(limit: usize, text: Text) -> Self {
        let limit = match NonZeroUsize::new(limit) {
            Some(limit) => limit,
            None => NonZeroUsize::MIN,
        };
        Self {
            limit,
            text,
            header: [0; MAX_HEADER],
            header_length: 0,
            payload: None,
            message: Vec::new(),
            in_message: false,
            skipped: None,
            control: Vec::new(),
        }
    }

    /// Number of received bytes of an incomplete message. The capacity of the buffer may be twice as large.
    pub(crate) const fn buffered(&self) -> usize {
        self.message.len()
    }

    /// Whether no message or control frame has begun that is not complete.
    pub(crate) const fn is_between_messages(&self) -> bool {
        self.header_length == 0 && self.payload.is_none() && !self.in_message
    }

    /// Drops the received part of an incomplete message, and skips the rest of it.
    pub(crate) fn skip_message(&mut self) {
        self.skipped = Some(SkipReason::Caller);
        self.message = Vec::new();
    }

    /// Removes and returns the received part of an incomplete message. [`Received::Message`] will contain only the
    /// bytes after it, and the limit applies to these bytes.
    pub(crate) fn take_part(&mut self) -> Option<Vec<u8>> {
        (!self.message.is_empty()).then(|| std::mem::take(&mut self.message))
    }

    /// Removes bytes from the front of `input` and decodes them until a message or control frame is complete. Returns
    /// `None` if `input` ends before that.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Received>, InvalidFrame> {
        loop {
            let Some(mut payload) = self.payload.take() else {
                if !self.read_header(input)? {
                    return Ok(None);
                }
                continue;
            };
            let length = usize::try_from(payload.left).unwrap_or(usize::MAX).min(input.len());
            let Some((bytes, rest)) = input.split_at_checked(length) else { return Ok(None) };
            *input = rest;
            self.take_payload(&mut payload, bytes);
            if payload.left > 0 {
                self.payload = Some(payload);
                return Ok(None);
            }
            if let Some(received) = self.end_frame(payload) {
                return Ok(Some(received));
            }
        }
    }

    /// Collects the bytes of a header; returns false while it is incomplete.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, InvalidFrame> {
        loop {
            if let Some(payload) = self.parse_header()? {
                self.header_length = 0;
                if payload.opcode == TEXT && self.text == Text::Ignored {
                    self.skip_message();
                }
                self.payload = Some(payload);
                return Ok(true);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            let next = self.header.get_mut(usize::from(self.header_length));
            *next.ok_or(InvalidFrame)? = *byte;
            self.header_length += 1;
            *input = rest;
        }
    }

    fn parse_header(&self) -> Result<Option<Payload>, InvalidFrame> {
        let header = self.header.get(..usize::from(self.header_length)).unwrap_or_default();
        let [first, second, extended @ ..] = header else { return Ok(None) };
        let (opcode, last) = (first & 0x0f, first & LAST != 0);
        // Reserved bits are only used by extensions, which this server does not support. Clients must use a mask.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(InvalidFrame);
        }
        let (left, mask) = match (second & 0x7f, extended) {
            (126, [a, b, mask @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), mask),
            (127, [a, b, c, d, e, f, g, h, mask @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), mask)
            }
            (126 | 127, _) => return Ok(None),
            (short, mask) => (u64::from(short), mask),
        };
        let Some(mask) = mask.first_chunk() else { return Ok(None) };
        let expected = match opcode {
            CONTINUATION => self.in_message,
            BINARY => !self.in_message,
            TEXT => !self.in_message && self.text != Text::Refused,
            CLOSE | PING | PONG => last && left <= MAX_CONTROL,
            _ => false,
        };
        if !expected || left > MAX_PAYLOAD {
            return Err(InvalidFrame);
        }
        Ok(Some(Payload { opcode, last, left, mask: *mask }))
    }

    /// Unmasks payload bytes and appends them to the message or control frame.
    fn take_payload(&mut self, payload: &mut Payload, bytes: &[u8]) {
        let is_control = payload.opcode >= CLOSE;
        if !is_control && self.message.len() + bytes.len() > self.limit.get() {
            self.skipped.get_or_insert(SkipReason::TooLong);
            self.message = Vec::new();
        }
        payload.left -= u64::try_from(bytes.len()).unwrap_or(payload.left);
        if !is_control && self.skipped.is_some() {
            return;
        }
        let target = if is_control { &mut self.control } else { &mut self.message };
        let start = target.len();
        target.extend_from_slice(bytes);
        unmask(target.get_mut(start..).unwrap_or_default(), payload.mask);
        payload.mask.rotate_left(bytes.len() % 4);
    }

    fn end_frame(&mut self, payload: Payload) -> Option<Received> {
        match payload.opcode {
            CLOSE => {
                self.control = Vec::new();
                Some(Received::Close)
            }
            PING => Some(Received::Ping(std::mem::take(&mut self.control))),
            PONG => {
                self.control = Vec::new();
                Some(Received::Pong)
            }
            _ => {
                self.in_message = !payload.last;
                if self.in_message {
                    return None;
                }
                let message = std::mem::take(&mut self.message);
                Some(match self.skipped.take() {
                    Some(SkipReason::Caller) => Received::Skipped,
                    Some(SkipReason::TooLong) => Received::Oversized(self.limit.get()),
                    None => Received::Message(message),
                })
            }
        }
    }
}

/// Removes the mask from payload bytes. (RFC 6455, section 5.3)
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    // In blocks: byte by byte, this would take half of a relay's processor time.
    let wide = [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d];
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(wide)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(wide) {
        *byte ^= mask;
    }
}

/// Appends a text message.
pub(crate) fn text(out: &mut Vec<u8>, message: &str) {
    frame(out, LAST | TEXT, message.as_bytes());
}

/// Appends one frame of a binary message. `first` and `last` mark its first and its last frame.
pub(crate) fn part(out: &mut Vec<u8>, first: bool, last: bool, part: &[u8]) {
    let opcode = if first { BINARY } else { CONTINUATION };
    frame(out, if last { LAST | opcode } else { opcode }, part);
}

/// Appends a ping without content.
pub(crate) fn ping(out: &mut Vec<u8>) {
    frame(out, LAST | PING, &[]);
}

/// Appends the answer to a ping.
pub(crate) fn pong(out: &mut Vec<u8>, content: &[u8]) {
    frame(out, LAST | PONG, content);
}

/// Appends a close frame. (RFC 6455, section 7.4.1)
pub(crate) fn close(out: &mut Vec<u8>, code: u16) {
    frame(out, LAST | CLOSE, &code.to_be_bytes());
}

/// Appends a frame. `first` is its first byte: the opcode, and [`LAST`] for the last frame of a message.
fn frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Normal closure.
pub(crate) const CLOSE_NORMAL: u16 = 1000;
/// The server is shutting down; the client may reconnect later.
pub(crate) const CLOSE_GOING_AWAY: u16 = 1001;
/// The client violated the WebSocket protocol.
pub(crate) const CLOSE_PROTOCOL_ERROR: u16 = 1002;

/// Set on the last frame of a message.
const LAST: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Maximum length of a frame header, in bytes.
const MAX_HEADER: usize = 14;

/// Maximum payload length of a control frame, in bytes.
const MAX_CONTROL: u64 = 125;

/// Maximum payload length that a frame header can contain, in bytes.
const MAX_PAYLOAD: u64 = u64::MAX >> 1;

#[cfg(test)]
mod tests;
