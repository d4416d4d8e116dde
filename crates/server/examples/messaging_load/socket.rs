//! A WebSocket of a device, with as little as possible around the frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wormhole_chat::{WebSocketMessage, WebSocketRequest, WebSocketResponse};

use crate::Failure;
use crate::accounts::Account;

/// An open WebSocket.
pub(crate) struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
    /// Bytes of `read` that are used up.
    used: usize,
    out: Vec<u8>,
}

impl Socket {
    /// Connects as the device of an account.
    pub(crate) async fn connect(authority: &str, account: &Account) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "GET /v1/websocket/ HTTP/1.1\r\nHost: {authority}\r\n{}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            account.headers
        );
        stream.write_all(head.as_bytes()).await?;
        let mut socket = Self { stream, read: Vec::new(), used: 0, out: Vec::new() };
        loop {
            if let Some(end) = socket.read.windows(4).position(|four| four == b"\r\n\r\n") {
                socket.used = end + 4;
                break;
            }
            socket.fill().await?;
        }
        if socket.read.starts_with(b"HTTP/1.1 101") {
            Ok(socket)
        } else {
            Err(String::from_utf8_lossy(&socket.read).lines().next().unwrap_or_default().into())
        }
    }

    /// Queues a request; [`Socket::flush`] sends it.
    pub(crate) fn request(&mut self, id: u64, verb: &str, path: String, body: Option<Vec<u8>>) {
        let (id, headers) = (Some(id), Vec::new());
        let request = WebSocketRequest { verb: verb.to_owned(), path, body, id, headers };
        frame(&mut self.out, &WebSocketMessage::Request(request).encode());
    }

    /// Queues the confirmation of a message.
    pub(crate) fn confirm(&mut self, id: u64) {
        let response = WebSocketResponse { id, status: 200, ..WebSocketResponse::default() };
        frame(&mut self.out, &WebSocketMessage::Response(response).encode());
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// The next message that was read completely.
    pub(crate) fn next(&mut self) -> Result<Option<WebSocketMessage>, Failure> {
        loop {
            let unread = self.read.get(self.used..).unwrap_or_default();
            let Some((opcode, start, end)) = whole_frame(unread) else { return Ok(None) };
            let payload = unread.get(start..end).unwrap_or_default();
            let message = match opcode {
                2 => Some(WebSocketMessage::decode(payload)?),
                8 => return Err(format!("the server closed the WebSocket: {payload:?}").into()),
                _ => None,
            };
            self.used += end;
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Reads more. It may be cancelled.
    pub(crate) async fn fill(&mut self) -> Result<(), Failure> {
        self.read.drain(..self.used);
        self.used = 0;
        self.read.reserve(READ_SIZE);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    /// Releases memory that an idle socket does not need.
    pub(crate) fn shrink(&mut self) {
        self.read.drain(..self.used);
        self.used = 0;
        self.read.shrink_to_fit();
        self.out.shrink_to_fit();
    }
}

/// Appends a client's frame. Its mask is zero, because nothing has to be protected here.
fn frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x82);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Opcode and place of the payload of a server's frame, once it is complete.
fn whole_frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (start, length): (usize, usize) = match bytes {
        [_, 127, length @ ..] => {
            (10, usize::try_from(u64::from_be_bytes(*length.first_chunk()?)).ok()?)
        }
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        [_, length @ ..=125, ..] => (2, usize::from(*length)),
        _ => return None,
    };
    let end = start.checked_add(length)?;
    (bytes.len() >= end).then_some((bytes.first()? & 0x0f, start, end))
}

/// Bytes read at once.
const READ_SIZE: usize = 16 << 10;
