//! Carries bytes when at least one of the two links is a WebSocket: one message at a time.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{Meter, Stopped, copy};
use crate::transit_relay::link::{self, Link, WebSocket};

/// Where bytes come from.
pub(super) enum Source<'a> {
    Tcp(&'a TcpStream),
    WebSocket(SplitStream<&'a mut WebSocket>),
}

/// Where bytes go.
pub(super) enum Sink<'a> {
    Tcp(&'a TcpStream),
    WebSocket(SplitSink<&'a mut WebSocket, Message>),
}

/// Splits a link into its two directions.
pub(super) fn split(link: &mut Link) -> (Source<'_>, Sink<'_>) {
    match link {
        Link::Tcp(stream) => (Source::Tcp(stream), Sink::Tcp(stream)),
        Link::WebSocket { socket, .. } => {
            let (sink, source) = socket.as_mut().split();
            (Source::WebSocket(source), Sink::WebSocket(sink))
        }
    }
}

/// Carries one direction.
pub(super) async fn carry(
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    meter: &Meter<'_>,
) -> Stopped {
    loop {
        let bytes = match source.next().await {
            Ok(bytes) => bytes,
            Err(stopped) => return stopped,
        };
        let count = bytes.len();
        if let Err(stopped) = sink.send(bytes).await {
            return stopped;
        }
        meter.carried(count).await;
        tokio::task::consume_budget().await;
    }
}

impl Source<'_> {
    /// Waits for bytes: a message, or what a plain link has.
    async fn next(&mut self) -> Result<Bytes, Stopped> {
        match self {
            Self::WebSocket(messages) => {
                link::next_message(messages).await.ok_or(Stopped::SourceEnded)
            }
            Self::Tcp(stream) => loop {
                link::readable(stream).await.map_err(|_| Stopped::SourceEnded)?;
                let mut buffer = vec![0; copy::BUFFER];
                if let Some(bytes) = copy::read_now(stream, &mut buffer)? {
                    let count = bytes.len();
                    buffer.truncate(count);
                    return Ok(buffer.into());
                }
            },
        }
    }
}

impl Sink<'_> {
    /// Says the first words. A failure shows again when bytes are to be carried.
    pub(super) async fn greet(&mut self, words: Vec<Vec<u8>>) {
        for message in words {
            let _: Result<(), Stopped> = self.send(message.into()).await;
        }
    }

    /// Hands bytes on, and waits until the system has taken them.
    async fn send(&mut self, bytes: Bytes) -> Result<(), Stopped> {
        match self {
            Self::Tcp(stream) => {
                link::write_all(stream, &bytes).await.map_err(|_| Stopped::SinkGone)
            }
            Self::WebSocket(messages) => {
                messages.send(Message::Binary(bytes)).await.map_err(|_| Stopped::SinkGone)
            }
        }
    }
}
