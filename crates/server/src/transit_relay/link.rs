//! One link to a client: plain TCP, or a WebSocket whose binary messages are the bytes.
//!
//! Here is how a link begins and ends; [`super::pump`] does what lies between. Nothing is buffered
//! for a link that is silent.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use wormhole_magic::relay::MAX_LINE;

use crate::net::Stream;

/// A WebSocket, with TLS or without.
pub(super) type WebSocket = WebSocketStream<Stream>;

/// One link.
#[derive(Debug)]
pub(super) enum Link {
    /// Bytes as they are.
    Tcp(TcpStream),
    /// Binary messages.
    WebSocket {
        /// Boxed, as its state is large.
        socket: Box<WebSocket>,
        /// Whether the first message, the request to relay, has come.
        asked: bool,
    },
}

impl Link {
    /// Reads what a client says before it has a partner. `None` if it has closed.
    ///
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The link is broken.
    pub(super) async fn read_early(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Tcp(stream) => read_little(stream).await,
            Self::WebSocket { socket, asked } => {
                let message = next_message(socket).await;
                let first = !std::mem::replace(asked, true);
                Ok(message.map(|bytes| if first { as_line(&bytes) } else { bytes.into() }))
            }
        }
    }

    /// Says `farewell`, message by message, and closes.
    pub(super) async fn finish(self, farewell: Vec<Vec<u8>>) {
        let goodbye = async {
            match self {
                Self::Tcp(stream) => {
                    write_all(&stream, &farewell.concat()).await?;
                    part(&stream).await
                }
                Self::WebSocket { mut socket, .. } => {
                    for words in farewell {
                        let message = Message::Binary(words.into());
                        socket.send(message).await.map_err(io::Error::other)?;
                    }
                    // By its full name: the box is a sink of its own, with a `close` of its own.
                    let closed = WebSocketStream::close(&mut socket, Some(normal_close())).await;
                    closed.map_err(io::Error::other)?;
                    while next_message(&mut socket).await.is_some() {}
                    Ok(())
                }
            }
        };
        // Whether the client hears it or not, the link is over.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(PARTING_TIME, goodbye).await;
    }
}

/// Makes the system find out about clients that vanished, on a link that may be silent for hours.
pub(super) fn keep_alive(stream: &TcpStream) {
    let often = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&often) {
        tracing::debug!(%error, "no keepalive");
    }
}

/// Makes a link of a stream whose client asked for a WebSocket: says `answer`, then takes messages,
/// beginning with what came `early`. `None` if the client is gone.
pub(super) async fn upgrade(mut stream: Stream, answer: &str, early: Vec<u8>) -> Option<Link> {
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let (role, config) = (Role::Server, Some(config));
    let socket = WebSocketStream::from_partially_read(stream, early, role, config).await;
    Some(Link::WebSocket { socket: Box::new(socket), asked: false })
}

/// Waits for the next binary message. `None` if there will be none: the link has closed, failed, or
/// carried text, which the reference does not put up with either.
pub(super) async fn next_message<S>(messages: &mut S) -> Option<Bytes>
where
    S: futures_util::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        match messages.next().await? {
            Ok(Message::Binary(bytes)) => return Some(bytes),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_)) | Err(_) => return None,
        }
    }
}

/// The close frame of a link that ends as it should.
pub(super) const fn normal_close() -> CloseFrame {
    CloseFrame {
        code: CloseCode::Normal,
        reason: tokio_tungstenite::tungstenite::Utf8Bytes::from_static(""),
    }
}

/// Waits until there is something to read, or nothing more to come.
///
/// A tenth of the size of tokio's own future for this, which counts: most links wait here most of
/// the time. Only one task may wait at a time.
pub(super) async fn readable(stream: &TcpStream) -> io::Result<()> {
    poll_fn(|cx| stream.poll_read_ready(cx)).await
}

/// Writes everything. Only one task may write at a time.
pub(super) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        poll_fn(|cx| stream.poll_write_ready(cx)).await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends our half and waits until the client has ended its own.
///
/// Closing at once would reset the link if anything had come unread, and a reset can overtake the
/// bytes that are still on their way to the client.
pub(super) async fn part(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).shutdown(Shutdown::Write)?;
    while let Some(_unread) = read_little(stream).await? {}
    Ok(())
}

/// Reads the next few bytes, without a buffer while there are none. `None` at the end.
async fn read_little(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    loop {
        readable(stream).await?;
        let mut buffer = [0; MAX_LINE];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => return Ok(buffer.get(..count).map(<[u8]>::to_vec)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The first message as the line it stands for: with its newline, and without any inside, which
/// would end the line too early.
fn as_line(message: &[u8]) -> Vec<u8> {
    let line = message.strip_suffix(b"\n").unwrap_or(message);
    let whole = if line.contains(&b'\n') { b"" } else { line };
    [whole, b"\n"].concat()
}

/// Longest WebSocket message in bytes. Our choice: clients send records of up to 1 MiB.
const MAX_MESSAGE: usize = 4 << 20;

/// Bytes that a WebSocket reads at once.
const READ_BUFFER: usize = 16 << 10;

/// How long a client may take to close after we have. It has all the bytes by then, or never will.
const PARTING_TIME: Duration = Duration::from_secs(2);

/// Silence after which the system asks whether the client is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between such questions; the system's number of them (9 on Linux) remains.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_or_without_its_newline() {
        assert_eq!(as_line(b"please relay"), b"please relay\n");
        assert_eq!(as_line(b"please relay\n"), b"please relay\n");
    }

    #[test]
    fn a_message_of_several_lines_is_no_line() {
        assert_eq!(as_line(b"please relay\nearly\n"), b"\n");
        assert_eq!(as_line(b"\n\n"), b"\n");
    }
}
