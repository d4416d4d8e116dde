//! Carries bytes when at least one of the two links is a WebSocket: part by part of its messages.

use std::future::poll_fn;
use std::sync::Mutex;

use tokio::net::TcpStream;

use super::{Meter, Stopped, copy};
use crate::transit_relay::link::{self, Link};
use crate::transit_relay::websocket::{Part, WebSocket};

/// Where bytes come from, or go: one end of a direction, and of the opposite one, too.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    Tcp(&'a TcpStream),
    WebSocket(&'a Mutex<WebSocket>),
}

/// Carries one direction.
pub(super) async fn carry(source: End<'_>, sink: End<'_>, meter: &Meter<'_>) -> Stopped {
    loop {
        let mut next = match source.next().await {
            Ok(part) => Some(part),
            Err(stopped) => return stopped,
        };
        // What came at once goes on at once, however small its parts are.
        let (mut bytes, mut count) = (Vec::new(), 0);
        while let Some(part) = next {
            count += part.bytes.len();
            sink.add(&mut bytes, part);
            next = source.next_at_hand();
        }
        if let Err(stopped) = sink.send(&bytes).await {
            return stopped;
        }
        drop(bytes);
        meter.carried(count).await;
        tokio::task::consume_budget().await;
    }
}

impl<'a> End<'a> {
    pub(super) fn of(link: &'a Link) -> Self {
        match link {
            Link::Tcp(stream) => Self::Tcp(stream),
            Link::WebSocket(socket) => Self::WebSocket(socket),
        }
    }

    /// Waits for bytes: a part of a message, or what a plain link has.
    async fn next(self) -> Result<Part, Stopped> {
        match self {
            Self::WebSocket(socket) => {
                let part = poll_fn(|cx| link::lock(socket).poll_part(cx)).await;
                part.ok_or(Stopped::SourceEnded)
            }
            Self::Tcp(stream) => loop {
                link::readable(stream).await.map_err(|_| Stopped::SourceEnded)?;
                let mut buffer = vec![0; copy::BUFFER];
                if let Some(bytes) = copy::read_now(stream, &mut buffer)? {
                    let count = bytes.len();
                    buffer.truncate(count);
                    return Ok(Part::whole(buffer));
                }
            },
        }
    }

    /// The next part, if it has been read already.
    fn next_at_hand(self) -> Option<Part> {
        match self {
            Self::WebSocket(socket) => link::lock(socket).part_at_hand(),
            Self::Tcp(_) => None,
        }
    }

    /// Says the first words. A failure shows again when bytes are to be carried.
    pub(super) async fn greet(self, words: Vec<Vec<u8>>) {
        let mut bytes = Vec::new();
        for message in words {
            self.add(&mut bytes, Part::whole(message));
        }
        let _: Result<(), Stopped> = self.send(&bytes).await;
    }

    /// Adds a part to what is to be sent: to the `bytes`, unless they need a frame.
    fn add(self, bytes: &mut Vec<u8>, part: Part) {
        match self {
            Self::WebSocket(socket) => link::lock(socket).push(&part),
            Self::Tcp(_) if bytes.is_empty() => *bytes = part.bytes,
            Self::Tcp(_) => bytes.extend_from_slice(&part.bytes),
        }
    }

    /// Hands on what was added, and waits until the system has taken it.
    async fn send(self, bytes: &[u8]) -> Result<(), Stopped> {
        let sent = match self {
            Self::Tcp(stream) => link::write_all(stream, bytes).await,
            Self::WebSocket(socket) => poll_fn(|cx| link::lock(socket).poll_send(cx)).await,
        };
        sent.map_err(|_| Stopped::SinkGone)
    }
}
