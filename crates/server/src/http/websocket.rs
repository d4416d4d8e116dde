//! The server's end of WebSocket framing: bytes in any pieces in, messages out, and back.
//!
//! Between messages a [`Decoder`] holds no buffer. A message over the limit is passed over as its
//! bytes arrive and reported, so that its sender can be answered instead of cut off; that, and the
//! memory of idle links, is why this is not a library. No sockets here. (RFC 6455, sections 4.2,
//! 5 and 7)

use data_encoding::BASE64;
use sha1::{Digest, Sha1};

/// Takes a client's frames apart.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: usize,
    /// Bytes of a header that is not whole yet, and how many of them have come.
    header: [u8; MAX_HEADER],
    header_length: usize,
    payload: Option<Payload>,
    /// What has come of a data message.
    message: Vec<u8>,
    /// Whether a data message has begun and not ended.
    inside: bool,
    /// Whether that message has exceeded the limit.
    oversized: bool,
    /// What has come of a control frame.
    control: Vec<u8>,
}

/// A frame whose header is known.
#[derive(Clone, Copy, Debug)]
struct Payload {
    opcode: u8,
    last: bool,
    left: u64,
    mask: [u8; 4],
    /// Which byte of the mask is next.
    turn: usize,
}

/// One thing that a client sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// The client closes the link.
    Close,
    /// A whole text or binary message.
    Message(Vec<u8>),
    /// A message over the limit has ended; its content is gone.
    Oversized,
    /// To be sent back as [`pong`].
    Ping(Vec<u8>),
    /// A sign of life.
    Pong,
}

/// The client does not speak WebSocket. The link cannot go on: nobody knows where the next frame
/// begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a WebSocket frame")]
pub(crate) struct NotWebSocket;

impl Decoder {
    /// A decoder for messages of at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; MAX_HEADER],
            header_length: 0,
            payload: None,
            message: Vec::new(),
            inside: false,
            oversized: false,
            control: Vec::new(),
        }
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
            *self.header.get_mut(self.header_length).ok_or(NotWebSocket)? = *byte;
            self.header_length += 1;
            *input = rest;
        }
    }

    fn parse_header(&self) -> Result<Option<Payload>, NotWebSocket> {
        let header = self.header.get(..self.header_length).unwrap_or_default();
        let [first, second, extended @ ..] = header else { return Ok(None) };
        let (opcode, last) = (first & 0x0f, first & 0x80 != 0);
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
            TEXT | BINARY => !self.inside,
            CLOSE | PING | PONG => last && left <= MAX_CONTROL,
            _ => false,
        };
        if !expected || left > MAX_PAYLOAD {
            return Err(NotWebSocket);
        }
        Ok(Some(Payload { opcode, last, left, mask: *mask, turn: 0 }))
    }

    /// Unmasks bytes into where they belong.
    fn take_payload(&mut self, payload: &mut Payload, bytes: &[u8]) {
        let is_control = payload.opcode >= CLOSE;
        if !is_control && self.message.len() + bytes.len() > self.limit {
            self.oversized = true;
            self.message = Vec::new();
        }
        payload.left -= u64::try_from(bytes.len()).unwrap_or(payload.left);
        if !is_control && self.oversized {
            return;
        }
        let target = if is_control { &mut self.control } else { &mut self.message };
        payload.mask.rotate_left(payload.turn % 4);
        payload.turn = bytes.len();
        let start = target.len();
        target.extend_from_slice(bytes);
        for chunk in target.get_mut(start..).unwrap_or_default().chunks_mut(4) {
            for (byte, mask) in chunk.iter_mut().zip(payload.mask) {
                *byte ^= mask;
            }
        }
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
                let oversized = std::mem::take(&mut self.oversized);
                Some(if oversized { Received::Oversized } else { Received::Message(message) })
            }
        }
    }
}

/// What a server says to become a WebSocket. (RFC 6455, section 4.2.2)
pub(crate) fn handshake(key: &str, server: &str) -> String {
    let accept = BASE64.encode(&Sha1::new().chain_update(key).chain_update(GUID).finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nServer: {server}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Appends a text message.
pub(crate) fn text(out: &mut Vec<u8>, message: &str) {
    frame(out, TEXT, message.as_bytes());
}

/// Appends a ping without content.
pub(crate) fn ping(out: &mut Vec<u8>) {
    frame(out, PING, &[]);
}

/// Appends the answer to a ping.
pub(crate) fn pong(out: &mut Vec<u8>, content: &[u8]) {
    frame(out, PONG, content);
}

/// Appends the end of the link. (RFC 6455, section 7.4.1)
pub(crate) fn close(out: &mut Vec<u8>, code: u16) {
    frame(out, CLOSE, &code.to_be_bytes());
}

fn frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
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

/// What the key is hashed with.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests;
