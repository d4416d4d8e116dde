//! One link: a TCP byte stream or a WebSocket, with the same interface.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::{LinkFailure, WebSocket};

/// One open link.
pub(crate) enum NetLink {
    /// A byte stream.
    Tcp(TcpStream),
    /// A stream of complete messages.
    WebSocket(Box<WebSocket>),
}

impl NetLink {
    /// Waits for bytes (on a WebSocket, for one message) and puts them into the empty `buffer`.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<Result<(), LinkFailure>> {
        match self {
            Self::Tcp(stream) => poll_read(stream, cx, buffer),
            Self::WebSocket(socket) => socket.poll_receive(cx, buffer),
        }
    }

    /// Keeps the link alive while nothing is received. Ready only if the link is lost.
    pub(crate) fn poll_without_reading(&mut self, cx: &mut Context<'_>) -> Poll<LinkFailure> {
        match self {
            Self::Tcp(_) => Poll::Pending,
            Self::WebSocket(socket) => socket.poll_without_reading(cx),
        }
    }

    /// Writes the contents of the outbox; ready once everything is written.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
    ) -> Poll<Result<(), LinkFailure>> {
        match self {
            Self::Tcp(stream) => poll_write(stream, cx, outbox).map_err(|e| e.kind().into()),
            Self::WebSocket(socket) => socket.poll_send(cx, outbox),
        }
    }

    /// A handle of the socket below a WebSocket, see [`WebSocket::socket`]. Empty for TCP, which
    /// needs no second handle.
    pub(crate) fn inner_socket(&self) -> Weak<std::net::TcpStream> {
        match self {
            Self::Tcp(_) => Weak::new(),
            Self::WebSocket(socket) => socket.socket(),
        }
    }

    /// The address of this computer that the link uses, if the system knows it.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        let address = match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::WebSocket(socket) => socket.socket().upgrade()?.local_addr(),
        };
        address.ok().map(|address| address.ip())
    }

    /// Makes the system reset the connection when the link is dropped, instead of delivering what is still unsent.
    pub(crate) fn reset_on_drop(&self) {
        let linger = Some(std::time::Duration::ZERO);
        // Without it, the connection is closed in the usual way.
        let _closes = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(linger),
            Self::WebSocket(socket) => match socket.socket().upgrade() {
                Some(stream) => SockRef::from(&*stream).set_linger(linger),
                None => Ok(()),
            },
        };
    }

    /// Closes the link and waits until the other end has confirmed that.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx).map(|_| ()),
            Self::WebSocket(socket) => socket.poll_close(cx),
        }
    }
}

/// Data waiting to be written to a link. The session bounds it: a session requests no more input
/// while much of its output is unanswered.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: VecDeque<Vec<u8>>,
    /// Number of bytes of the first message that are already written (byte streams only).
    written: usize,
}

impl Outbox {
    /// Queues a message.
    pub(crate) fn push(&mut self, message: Vec<u8>) {
        self.messages.push_back(message);
    }

    /// Number of bytes that are not written.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(Vec::len).sum::<usize>().saturating_sub(self.written)
    }

    /// Removes the next complete message.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    /// Number of messages that are not completely written.
    #[cfg(feature = "chat")]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The unwritten rest of the first message; `None` when everything is written.
    fn front(&mut self) -> Option<&[u8]> {
        while self.messages.front().is_some_and(|message| self.written >= message.len()) {
            self.messages.pop_front();
            self.written = 0;
        }
        self.messages.front().and_then(|message| message.get(self.written..))
    }
}

fn poll_read(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<Result<(), LinkFailure>> {
    buffer.reserve(READ);
    loop {
        ready!(stream.poll_read_ready(cx)).map_err(|e| e.kind())?;
        // Unlike `poll_read`, it fills memory that is not initialized.
        match stream.try_read_buf(buffer) {
            Ok(0) => return Poll::Ready(Err(LinkFailure::Closed)),
            Ok(length) => {
                if length < SMALL {
                    acknowledge(stream);
                }
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error.kind().into())),
        }
    }
}

/// Acknowledges at once what was received; usually the system waits up to 40 ms. The other end, or a relay, may use Nagle's
/// algorithm, as the Python programs do: then it keeps the next small packet back until the acknowledgement, and a sender that
/// waits for a message in that packet stops for this time.
#[cfg(target_os = "linux")]
fn acknowledge(stream: &TcpStream) {
    // It is only slower without.
    let _delayed = SockRef::from(stream).set_tcp_quickack(true);
}

/// Only Linux can do this.
#[cfg(not(target_os = "linux"))]
fn acknowledge(_: &TcpStream) {}

fn poll_write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    outbox: &mut Outbox,
) -> Poll<io::Result<()>> {
    while let Some(bytes) = outbox.front() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        outbox.written += written;
    }
    Poll::Ready(Ok(()))
}

/// Fewer bytes are a small message, not part of a large one: even a packet of those has more.
const SMALL: usize = 1 << 10;

/// Bytes read at once, unless the buffer has more capacity. Sessions exchange a few hundred.
const READ: usize = 4 << 10;

/// Only Linux can acknowledge at once.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::future::poll_fn;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_keeps_small_packets_back_does_not_wait_for_our_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        theirs.set_nodelay(false).unwrap();
        let mut link = NetLink::Tcp(listener.accept().await.unwrap().0);
        let start = Instant::now();
        for _ in 0..100 {
            theirs.write_all(b"1").await.unwrap();
            // The system of the peer sends this when the first byte is acknowledged.
            theirs.write_all(b"2").await.unwrap();
            let mut received = Vec::new();
            while received.len() < 2 {
                poll_fn(|cx| link.poll_receive(cx, &mut received)).await.unwrap();
            }
            let mut answer = Outbox::default();
            answer.push(b"3".to_vec());
            poll_fn(|cx| link.poll_send(cx, &mut answer)).await.unwrap();
            theirs.read_exact(&mut [0]).await.unwrap();
        }
        // Otherwise each round takes 40 ms.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
