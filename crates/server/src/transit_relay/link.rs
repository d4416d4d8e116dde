//! A connection of a client: plain TCP, or a WebSocket whose binary messages contain the bytes.
//!
//! This file reads the first data and closes connections; [`super::pump`] does the rest. A silent connection has no
//! buffer.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;
use wormhole_magic::relay::MAX_LINE;

use super::websocket::{Part, WebSocket};
use crate::http::Upgraded;

/// A connection of a client.
#[derive(Debug)]
pub(super) enum RelayLink {
    /// Plain bytes.
    Tcp(TcpStream),
    /// Binary messages. Boxed, because its state is large; shared by the two directions of a pair.
    WebSocket(Box<Mutex<WebSocket>>),
}

impl RelayLink {
    /// A WebSocket whose handshake is complete.
    pub(super) fn web(upgraded: Upgraded) -> Self {
        Self::WebSocket(Box::new(Mutex::new(WebSocket::new(upgraded))))
    }

    /// Reads data before there is a partner. `None` if the client has closed.
    ///
    /// No data is lost if the future is dropped.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn read_early(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Tcp(stream) => read_some(stream).await,
            Self::WebSocket(socket) => {
                let first = lock(socket).expects_request();
                let part = poll_fn(|cx| lock(socket).poll_part(cx)).await;
                let data = |bytes: Vec<u8>| if first { as_line(&bytes) } else { bytes };
                Ok(part.map(|part| data(part.bytes)))
            }
        }
    }

    /// Sends these messages and closes the connection.
    pub(super) async fn finish(self, last_messages: Vec<Vec<u8>>) {
        let send_and_close = async {
            match &self {
                Self::Tcp(stream) => write_all(stream, &last_messages.concat(), || {}).await?,
                // `close` sends them.
                Self::WebSocket(socket) => {
                    let mut socket = lock(socket);
                    last_messages.into_iter().for_each(|bytes| socket.push(&Part::complete(bytes)));
                }
            }
            self.close().await
        };
        // The connection ends, whether or not the client receives the messages.
        let _: Result<io::Result<()>, _> =
            tokio::time::timeout(CLOSE_TIMEOUT, send_and_close).await;
    }

    /// Closes our direction and waits until the client has closed its own; its data is discarded.
    ///
    /// Closing at once would reset the connection if unread data had arrived, and a reset may overtake the
    /// last bytes for the client.
    async fn close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                limit_unread(stream);
                SockRef::from(stream).shutdown(Shutdown::Write)?;
                while let Some(_unread) = read_some(stream).await? {}
            }
            Self::WebSocket(socket) => {
                limit_unread(lock(socket).tcp());
                lock(socket).push_close();
                poll_fn(|cx| lock(socket).poll_send(cx)).await?;
                while poll_fn(|cx| lock(socket).poll_part(cx)).await.is_some() {}
            }
        }
        Ok(())
    }

    /// Closes at once. The system discards bytes that the client has not received.
    pub(super) fn reset(self) {
        let reset = |stream: &TcpStream| SockRef::from(stream).set_linger(Some(Duration::ZERO));
        // If this fails, the system retries for a while.
        let _: io::Result<()> = match &self {
            Self::Tcp(stream) => reset(stream),
            Self::WebSocket(socket) => reset(lock(socket).tcp()),
        };
    }
}

/// Enables keepalive, to detect clients that vanished on a connection that may be silent for hours.
pub(super) fn keep_alive(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "could not turn on TCP keepalive");
    }
}

/// Locks a WebSocket for a moment. No code panics or waits while it is locked.
pub(super) fn lock(socket: &Mutex<WebSocket>) -> MutexGuard<'_, WebSocket> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until there is data, or the end.
///
/// A tenth of the size of tokio's own future, which matters because most connections wait here most of the time. Only
/// one task may wait at a time.
pub(super) async fn readable(stream: &TcpStream) -> io::Result<()> {
    poll_fn(|cx| stream.poll_read_ready(cx)).await
}

/// Writes all bytes, and calls `on_progress` whenever the system accepts some of them. Only one task may
/// write at a time.
pub(super) async fn write_all(
    stream: &TcpStream,
    mut bytes: &[u8],
    on_progress: impl Fn(),
) -> io::Result<()> {
    while !bytes.is_empty() {
        poll_fn(|cx| stream.poll_write_ready(cx)).await?;
        match stream.try_write(bytes) {
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                on_progress();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the client has closed its direction or the connection has failed, even with unread data.
pub(super) fn has_closed(stream: &TcpStream) -> bool {
    let ready = pin!(stream.ready(Interest::READABLE));
    match ready.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(ready)) => ready.is_read_closed(),
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}

/// Limits how long the system keeps a closed connection whose client does not read.
fn limit_unread(stream: &TcpStream) {
    // Other systems have their own limits.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD_TIME)) {
        tracing::debug!(%error, "could not limit unread bytes");
    }
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = stream;
}

/// Reads the next few bytes; allocates no buffer before bytes arrive. `None` at the end.
async fn read_some(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
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

/// The first message as a line with one newline at the end. If the message contains another newline, the line is empty,
/// which is invalid.
fn as_line(message: &[u8]) -> Vec<u8> {
    let line = message.strip_suffix(b"\n").unwrap_or(message);
    let line = if line.contains(&b'\n') { b"" } else { line };
    [line, b"\n"].concat()
}

/// Time limit for a client to close the connection after the relay has closed its direction.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the system keeps bytes for a client that does not read after we have closed.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNREAD_TIME: Duration = Duration::from_secs(30);

/// Silence before the system checks whether the client is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between such checks; their number is the system's default (9 on Linux).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_is_added_unless_the_message_ends_with_one() {
        assert_eq!(as_line(b"please relay"), b"please relay\n");
        assert_eq!(as_line(b"please relay\n"), b"please relay\n");
    }

    #[test]
    fn a_message_of_several_lines_becomes_an_invalid_line() {
        assert_eq!(as_line(b"please relay\nearly\n"), b"\n");
        assert_eq!(as_line(b"\n\n"), b"\n");
    }
}
