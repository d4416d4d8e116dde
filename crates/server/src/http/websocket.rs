//! The server's end of WebSocket framing: decodes frames from bytes in any pieces, and encodes frames. No I/O.
//! (RFC 6455, sections 5 and 7)
//!
//! Between messages a [`Decoder`] holds no buffer. It skips and reports a message over the limit, so that the sender
//! gets an error instead of a closed connection. A caller can also take messages in parts. Libraries do not offer
//! this, and they need more memory for idle connections.

use std::num::NonZeroUsize;

/// Takes a client's frames apart.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: NonZeroUsize,
    /// Whether text is taken, and not binary messages alone.
    takes_text: bool,
    /// Bytes of a header that is not whole yet, and how many of them have come.
    header: [u8; MAX_HEADER],
    header_length: u8,
    payload: Option<Payload>,
    /// What has come of a data message.
    message: Vec<u8>,
    /// Whether a data message has begun and not ended.
    inside: bool,
    /// Whether that message is being passed over, and why.
    passed_over: Option<PassedOver>,
    /// What has come of a control frame.
    control: Vec<u8>,
}

/// A frame whose header is known.
#[derive(Clone, Copy, Debug)]
struct Payload {
    opcode: u8,
    last: bool,
    left: u64,
    /// Its first byte is for the next byte.
    mask: [u8; 4],
}

/// Why a message is passed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PassedOver {
    /// It is longer than a message may be.
    TooLong,
    /// It was not wanted.
    Unwanted,
}

/// One thing that a client sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// The client closes the link.
    Close,
    /// A message has ended whose content was dropped by [`Decoder::pass_over`].
    Dropped,
    /// A whole text or binary message.
    Message(Vec<u8>),
    /// A message has ended that was longer than so many bytes; its content is gone.
    Oversized(usize),
    /// To be sent back as [`pong`].
    Ping(Vec<u8>),
    /// A sign of life.
    Pong,
}

/// The client does not speak WebSocket. The link cannot go on: nobody knows where the next frame
/// begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid WebSocket frame")]
pub(crate) struct NotWebSocket;

impl Decoder {
    /// A decoder for messages of at most `limit` bytes, and of one byte in any case.
    pub(crate) const fn new(limit: usize) -> Self {
        Self::of_kinds(limit, true)
    }

    /// The same for binary messages; whoever sends text is refused.
    pub(crate) const fn of_binary(limit: usize) -> Self {
        Self::of_kinds(limit, false)
    }

    const fn of_kinds(limit: usize, takes_text: bool) -> Self {
        let limit = match NonZeroUsize::new(limit) {
            Some(limit) => limit,
            None => NonZeroUsize::MIN,
        };
        Self {
            limit,
            takes_text,
            header: [0; MAX_HEADER],
            header_length: 0,
            payload: None,
            message: Vec::new(),
            inside: false,
            passed_over: None,
            control: Vec::new(),
        }
    }

    /// What is held of a message that is not whole yet, in bytes. The buffer may be twice as large.
    pub(crate) const fn held(&self) -> usize {
        self.message.len()
    }

    /// Drops what has come of a message that is not whole yet, and what is still to come of it.
    pub(crate) fn pass_over(&mut self) {
        self.passed_over = Some(PassedOver::Unwanted);
        self.message = Vec::new();
    }

    /// Takes out what has come of a message that is not whole yet; only what comes after it will be
    /// in the message. The limit counts from here.
    pub(crate) fn take_part(&mut self) -> Option<Vec<u8>> {
        (!self.message.is_empty()).then(|| std::mem::take(&mut self.message))
    }

    /// Takes bytes off the front of `input` until something is whole; nothing if all are taken.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Received>, NotWebSocket> {
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

    /// Collects a header; false if it is not whole yet.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, NotWebSocket> {
        loop {
            if let Some(payload) = self.parse_header()? {
                self.header_length = 0;
                self.payload = Some(payload);
                return Ok(true);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            let place = self.header.get_mut(usize::from(self.header_length));
            *place.ok_or(NotWebSocket)? = *byte;
            self.header_length += 1;
            *input = rest;
        }
    }

    fn parse_header(&self) -> Result<Option<Payload>, NotWebSocket> {
        let header = self.header.get(..usize::from(self.header_length)).unwrap_or_default();
        let [first, second, extended @ ..] = header else { return Ok(None) };
        let (opcode, last) = (first & 0x0f, first & LAST != 0);
        // Reserved bits are for extensions, and none was agreed upon; clients always mask.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(NotWebSocket);
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
            CONTINUATION => self.inside,
            BINARY => !self.inside,
            TEXT => !self.inside && self.takes_text,
            CLOSE | PING | PONG => last && left <= MAX_CONTROL,
            _ => false,
        };
        if !expected || left > MAX_PAYLOAD {
            return Err(NotWebSocket);
        }
        Ok(Some(Payload { opcode, last, left, mask: *mask }))
    }

    /// Unmasks bytes into where they belong.
    fn take_payload(&mut self, payload: &mut Payload, bytes: &[u8]) {
        let is_control = payload.opcode >= CLOSE;
        if !is_control && self.message.len() + bytes.len() > self.limit.get() {
            self.passed_over.get_or_insert(PassedOver::TooLong);
            self.message = Vec::new();
        }
        payload.left -= u64::try_from(bytes.len()).unwrap_or(payload.left);
        if !is_control && self.passed_over.is_some() {
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
                self.inside = !payload.last;
                if self.inside {
                    return None;
                }
                let message = std::mem::take(&mut self.message);
                Some(match self.passed_over.take() {
                    Some(PassedOver::TooLong) => Received::Oversized(self.limit.get()),
                    Some(PassedOver::Unwanted) => Received::Dropped,
                    None => Received::Message(message),
                })
            }
        }
    }
}

/// Takes a mask off. (RFC 6455, section 5.3)
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    // In blocks: byte by byte would be half of all the work of a relay.
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

/// Appends a part of a binary message: the `first` begins it, the `last` ends it.
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

/// Appends the end of the link. (RFC 6455, section 7.4.1)
pub(crate) fn close(out: &mut Vec<u8>, code: u16) {
    frame(out, LAST | CLOSE, &code.to_be_bytes());
}

/// Appends a frame that begins with this byte: the opcode, with [`LAST`] or without.
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

/// The link ends because it was meant to.
pub(crate) const CLOSE_NORMAL: u16 = 1000;
/// The link ends because the server stops; come back later.
pub(crate) const CLOSE_GOING_AWAY: u16 = 1001;
/// The link ends because the other end does not speak WebSocket.
pub(crate) const CLOSE_PROTOCOL_ERROR: u16 = 1002;

/// Set on the last frame of a message.
const LAST: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Longest header of a frame, in bytes.
const MAX_HEADER: usize = 14;

/// Longest payload of a control frame, in bytes.
const MAX_CONTROL: u64 = 125;

/// Longest payload that the protocol can express, in bytes.
const MAX_PAYLOAD: u64 = u64::MAX >> 1;

#[cfg(test)]
mod tests;
