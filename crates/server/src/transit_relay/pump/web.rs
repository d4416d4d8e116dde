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
        let part = match source.next().await {
            Ok(part) => part,
            Err(stopped) => return stopped,
        };
        let count = part.bytes.len();
        if let Err(stopped) = sink.send(part).await {
            return stopped;
        }
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

    /// Says the first words. A failure shows again when bytes are to be carried.
    pub(super) async fn greet(self, words: Vec<Vec<u8>>) {
        for message in words {
            let _: Result<(), Stopped> = self.send(Part::whole(message)).await;
        }
    }

    /// Hands bytes on, and waits until the system has taken them.
    async fn send(self, part: Part) -> Result<(), Stopped> {
        let sent = match self {
            Self::Tcp(stream) => link::write_all(stream, &part.bytes).await,
            Self::WebSocket(socket) => {
                link::lock(socket).push(&part);
                // Held twice no longer than that takes.
                drop(part);
                poll_fn(|cx| link::lock(socket).poll_send(cx)).await
            }
        };
        sent.map_err(|_| Stopped::SinkGone)
    }
}
