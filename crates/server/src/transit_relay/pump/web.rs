//! The ends of a pair, whatever their kind, and how bytes are carried when at least one of the two is a
//! WebSocket: part by part of its messages.

use std::future::poll_fn;
use std::io;
use std::sync::Mutex;
use std::task::Context;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Meter, Stopped, copy};
use crate::transit_relay::link::{self, RelayLink};
use crate::transit_relay::websocket::{Part, WebSocket};

/// Where bytes come from, or go: one end of a direction, and of the opposite one, too.
#[derive(Clone, Copy, Debug)]
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
        // Boxed: it has timers, and most of the time nothing waits to be handed on.
        if let Err(stopped) =
            Box::pin(meter.hand_on(source, sink.send(&bytes, || meter.taken(source)))).await
        {
            return stopped;
        }
        drop(bytes);
        meter.carried(count, source).await;
        tokio::task::consume_budget().await;
    }
}

impl<'a> End<'a> {
    pub(super) fn of(link: &'a RelayLink) -> Self {
        match link {
            RelayLink::Tcp(stream) => Self::Tcp(stream),
            RelayLink::WebSocket(socket) => Self::WebSocket(socket),
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

    /// Whether the client has ended its half or the link has failed, even if there is more to read.
    pub(super) fn has_closed(self) -> bool {
        match self {
            Self::Tcp(stream) => link::has_closed(stream),
            Self::WebSocket(socket) => link::has_closed(link::lock(socket).tcp()),
        }
    }

    /// Waits until the client [has closed](Self::has_closed). For a link whose bytes nobody reads at the moment.
    pub(super) async fn closed(self) {
        // Unread bytes make a link readable all the time: there is no event to wait for.
        while !self.has_closed() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Reads and discards what comes, until the client has gone.
    pub(super) async fn discard(self) {
        while self.next().await.is_ok() {
            while self.next_at_hand().is_some() {}
            tokio::task::consume_budget().await;
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
        let _: io::Result<()> = self.send(&bytes, || {}).await;
    }

    /// Adds a part to what is to be sent: to the `bytes`, unless they need a frame.
    fn add(self, bytes: &mut Vec<u8>, part: Part) {
        match self {
            Self::WebSocket(socket) => link::lock(socket).push(&part),
            Self::Tcp(_) if bytes.is_empty() => *bytes = part.bytes,
            Self::Tcp(_) => bytes.extend_from_slice(&part.bytes),
        }
    }

    /// Hands on what was added, and waits until the system has taken it; says each time when it has
    /// `taken` some of it.
    async fn send(self, bytes: &[u8], taken: impl Fn()) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => link::write_all(stream, bytes, taken).await,
            Self::WebSocket(socket) => {
                let mut left = link::lock(socket).unsent();
                let send = |cx: &mut Context<'_>| {
                    let (sent, now_left) = {
                        let mut socket = link::lock(socket);
                        (socket.poll_send(cx), socket.unsent())
                    };
                    if now_left < left {
                        taken();
                    }
                    left = now_left;
                    sent
                };
                poll_fn(send).await
            }
        }
    }
}

/// How often a link whose bytes nobody reads is asked whether its client is still there.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
