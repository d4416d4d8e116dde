//! The two ends of a pair of any kind, and forwarding when at least one of them is a WebSocket: message part by
//! message part.

use std::future::poll_fn;
use std::io;
use std::sync::Mutex;
use std::task::Context;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Meter, Stopped, copy};
use crate::transit_relay::link::{self, RelayLink};
use crate::transit_relay::websocket::{Part, WebSocket};

/// An end of a pair: the source of one direction and the sink of the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    Tcp(&'a TcpStream),
    WebSocket(&'a Mutex<WebSocket>),
}

/// Forwards one direction.
pub(super) async fn forward(source: End<'_>, sink: End<'_>, meter: &Meter<'_>) -> Stopped {
    loop {
        let mut next = match source.next().await {
            Ok(part) => Some(part),
            Err(stopped) => return stopped,
        };
        // Forward everything that is available in one write.
        let (mut bytes, mut count) = (Vec::new(), 0);
        while let Some(part) = next {
            count += part.bytes.len();
            sink.add(&mut bytes, part);
            next = source.next_received();
        }
        // Boxed, because it contains timers and usually nothing waits.
        if let Err(stopped) = Box::pin(
            meter.write_within_limit(source, sink.send(&bytes, || meter.record_progress(source))),
        )
        .await
        {
            return stopped;
        }
        drop(bytes);
        meter.count_and_pause(count, source).await;
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

    /// Waits for data: a part of a message, or bytes of a plain connection.
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
                    return Ok(Part::complete(buffer));
                }
            },
        }
    }

    /// Whether the client has closed its direction or the connection has failed, even with unread data.
    pub(super) fn has_closed(self) -> bool {
        match self {
            Self::Tcp(stream) => link::has_closed(stream),
            Self::WebSocket(socket) => link::has_closed(link::lock(socket).tcp()),
        }
    }

    /// Waits until the client [has closed](Self::has_closed), for a connection that is not being read.
    pub(super) async fn closed(self) {
        // Unread bytes make a connection readable all the time, so there is no event to wait for.
        while !self.has_closed() {
            tokio::time::sleep(CLOSED_CHECK_PERIOD).await;
        }
    }

    /// Reads and discards data until the client has closed.
    pub(super) async fn discard(self) {
        while self.next().await.is_ok() {
            while self.next_received().is_some() {}
            tokio::task::consume_budget().await;
        }
    }

    /// The next part, if it has already been received.
    fn next_received(self) -> Option<Part> {
        match self {
            Self::WebSocket(socket) => link::lock(socket).received_part(),
            Self::Tcp(_) => None,
        }
    }

    /// Sends the first messages. An error occurs again when data is forwarded.
    pub(super) async fn greet(self, messages: Vec<Vec<u8>>) {
        let mut bytes = Vec::new();
        for message in messages {
            self.add(&mut bytes, Part::complete(message));
        }
        let _: io::Result<()> = self.send(&bytes, || {}).await;
    }

    /// Adds a part to the output: to `bytes`, unless it needs a frame.
    fn add(self, bytes: &mut Vec<u8>, part: Part) {
        match self {
            Self::WebSocket(socket) => link::lock(socket).push(&part),
            Self::Tcp(_) if bytes.is_empty() => *bytes = part.bytes,
            Self::Tcp(_) => bytes.extend_from_slice(&part.bytes),
        }
    }

    /// Sends the output and waits until the system has accepted it; calls `on_progress` whenever it accepts
    /// some of it.
    async fn send(self, bytes: &[u8], on_progress: impl Fn()) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => link::write_all(stream, bytes, on_progress).await,
            Self::WebSocket(socket) => {
                let mut left = link::lock(socket).unsent();
                let send = |cx: &mut Context<'_>| {
                    let (sent, now_left) = {
                        let mut socket = link::lock(socket);
                        (socket.poll_send(cx), socket.unsent())
                    };
                    if now_left < left {
                        on_progress();
                    }
                    left = now_left;
                    sent
                };
                poll_fn(send).await
            }
        }
    }
}

/// Time between two checks whether the client of a connection that is not being read has closed.
const CLOSED_CHECK_PERIOD: Duration = Duration::from_secs(1);
