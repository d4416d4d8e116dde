//! Client WebSockets over TCP or TLS, kept alive with pings, and closed when the other end stops
//! answering.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::{Host, Url};
use wormhole_kit::is_deceptive;

use super::link::Outbox;
use super::{Duplex, LinkFailure, Route, tcp, tls};

/// The kind of frames that we send. Both kinds are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Frames {
    /// Text frames: the mailbox protocol.
    Text,
    /// Binary frames: the transit relay.
    Binary,
}

/// An open WebSocket.
pub(crate) struct WebSocket {
    stream: WebSocketStream<Box<dyn Duplex>>,
    socket: Option<Arc<std::net::TcpStream>>,
    frames: Frames,
    keepalive: Interval,
    /// Whether any data arrived since the last ping.
    heard: bool,
    said_goodbye: bool,
}

impl WebSocket {
    /// Opens a WebSocket that accepts messages of up to `max_message` bytes.
    ///
    /// # Errors
    /// The error says at which stage it failed.
    pub(crate) async fn connect(
        url: &str,
        route: &Route,
        frames: Frames,
        max_message: usize,
    ) -> Result<Self, LinkFailure> {
        Self::connect_with(url, &[], route, frames, max_message).await
    }

    /// Opens a WebSocket like [`WebSocket::connect`], with further headers in the request.
    ///
    /// # Errors
    /// The error says at which stage it failed.
    pub(crate) async fn connect_with(
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        route: &Route,
        frames: Frames,
        max_message: usize,
    ) -> Result<Self, LinkFailure> {
        let opening = Self::open(url, headers, route, max_message);
        let opened = timeout(OPEN_TIMEOUT, opening).await.map_err(|_| LinkFailure::TimedOut)?;
        let (stream, socket) = opened?;
        Ok(Self { socket, ..Self::over(stream, frames) })
    }

    /// Creates a WebSocket from a stream after the upgrade.
    pub(super) fn over(stream: WebSocketStream<Box<dyn Duplex>>, frames: Frames) -> Self {
        let mut keepalive = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { stream, socket: None, frames, keepalive, heard: true, said_goodbye: false }
    }

    /// The socket below TLS and WebSocket, for querying the system. The reference is weak, so the
    /// connection ends with the WebSocket even if others still hold it.
    ///
    /// Behind a SOCKS proxy such as Tor there is no useful socket: our TCP connection ends at the
    /// proxy on this computer, which acknowledges everything even if the path behind it fails.
    pub(super) fn socket(&self) -> Weak<std::net::TcpStream> {
        self.socket.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    async fn open(
        text: &str,
        headers: &[(HeaderName, HeaderValue)],
        route: &Route,
        max_message: usize,
    ) -> Result<Opened, LinkFailure> {
        let bad_url = || LinkFailure::BadUrl(text.to_owned());
        let url = Url::parse(text).map_err(|_| bad_url())?;
        let host = match url.host().ok_or_else(bad_url)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let (secure, port) = match url.scheme() {
            "ws" => (false, url.port().unwrap_or(80)),
            "wss" => (true, url.port().unwrap_or(443)),
            _ => return Err(bad_url()),
        };
        let tcp = route.connect(&host, port).await?;
        // Without the second handle everything works, but a dead link is noticed later.
        let socket = match route.proxy {
            Some(_) => None,
            None => tcp::duplicate(&tcp).ok().map(Arc::new),
        };
        let mut speaks_tls = Arc::default();
        let stream: Box<dyn Duplex> = if secure {
            Box::new(tls::connect(&host, tcp).await?)
        } else {
            let stream = FirstByte::new(tcp);
            speaks_tls = Arc::clone(&stream.is_tls);
            Box::new(stream)
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let mut request = url.as_str().into_client_request().map_err(failure)?;
        request.headers_mut().extend(headers.iter().cloned());
        let opened = client_async_with_config(request, stream, Some(config)).await;
        opened.map(|(stream, _response)| (stream, socket)).map_err(|error| {
            if speaks_tls.load(Relaxed) { LinkFailure::TlsExpected } else { failure(error) }
        })
    }

    /// Waits for one message and puts it into `buffer`.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<Result<(), LinkFailure>> {
        if let Poll::Ready(Err(failure)) = self.poll_keepalive(cx) {
            return Poll::Ready(Err(failure));
        }
        loop {
            let message = ready!(Pin::new(&mut self.stream).poll_next(cx));
            self.heard = true;
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Err(failure(error))),
                None => return Poll::Ready(Err(LinkFailure::Closed)),
            };
            if message.is_text() || message.is_binary() {
                buffer.clear();
                buffer.extend_from_slice(&message.into_data());
                return Poll::Ready(Ok(()));
            }
            if let Message::Close(frame) = message {
                let reason =
                    frame.and_then(|frame| CloseReason::new(frame.code.into(), &frame.reason));
                let failure = reason.map_or(LinkFailure::Closed, LinkFailure::ClosedBecause);
                return Poll::Ready(Err(failure));
            }
            // Receiving a pong is enough to show that the peer is alive. The library answers pings.
        }
    }

    /// Writes all messages of the outbox.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
    ) -> Poll<Result<(), LinkFailure>> {
        loop {
            ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(failure)?;
            let Some(bytes) = outbox.pop() else { break };
            let message = match self.frames {
                Frames::Binary => Message::Binary(Bytes::from(bytes)),
                // Sessions of text protocols only put UTF-8 into the outbox.
                Frames::Text => Message::Text(Utf8Bytes::try_from(bytes).unwrap_or_default()),
            };
            Pin::new(&mut self.stream).start_send(message).map_err(failure)?;
        }
        Pin::new(&mut self.stream).poll_flush(cx).map_err(failure)
    }

    /// Sends a close frame and waits for the answer.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.said_goodbye {
            let said = ready!(Pin::new(&mut self.stream).poll_close(cx));
            if said.is_err() {
                return Poll::Ready(());
            }
            self.said_goodbye = true;
        }
        // Reads remaining data; otherwise the system would answer it with a reset, which could
        // overtake the last data that we sent.
        while let Some(Ok(message)) = ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            if message.is_close() {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Pings periodically while nothing is received. The answers are not read, so their absence means nothing. Ready only
    /// if the link is lost.
    pub(super) fn poll_without_reading(&mut self, cx: &mut Context<'_>) -> Poll<LinkFailure> {
        self.heard = true;
        let pinged = self.poll_keepalive(cx);
        self.heard = true;
        match ready!(pinged) {
            Ok(()) => Poll::Pending,
            Err(failure) => Poll::Ready(failure),
        }
    }

    /// Pings periodically; returns an error if nothing arrives for a whole period.
    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkFailure>> {
        ready!(self.keepalive.poll_tick(cx));
        // Starts the timer for the next tick.
        cx.waker().wake_by_ref();
        if !std::mem::take(&mut self.heard) {
            return Poll::Ready(Err(LinkFailure::TimedOut));
        }
        ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(failure)?;
        let ping = Pin::new(&mut self.stream).start_send(Message::Ping(Bytes::new()));
        Poll::Ready(ping.map_err(failure))
    }
}

/// An open stream and a second handle of the socket below it.
type Opened = (WebSocketStream<Box<dyn Duplex>>, Option<Arc<std::net::TcpStream>>);

/// The reason that the other end gave for closing a WebSocket, escaped for display.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloseReason(String);

impl CloseReason {
    /// `None` if there is no reason: no text, and a code for an ordinary close.
    fn new(code: u16, words: &str) -> Option<Self> {
        let safe = |c: char| if is_deceptive(c) { ' ' } else { c };
        let words: String = words.trim().chars().take(MAX_REASON).map(safe).collect();
        match (code, words.is_empty()) {
            (_, false) => Some(Self(words)),
            // Normal closure, going away, no code (RFC 6455 section 7.4.1).
            (1000 | 1001 | 1005, true) => None,
            (code, true) => Some(Self(format!("code {code}"))),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A TCP stream that detects whether the other end answers with TLS.
struct FirstByte {
    stream: TcpStream,
    is_first: bool,
    is_tls: Arc<AtomicBool>,
}

impl FirstByte {
    fn new(stream: TcpStream) -> Self {
        Self { stream, is_first: true, is_tls: Arc::default() }
    }
}

impl AsyncRead for FirstByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if std::mem::take(&mut self.is_first) {
            // Types of TLS records: alert and handshake.
            let is_tls = matches!(buffer.filled().get(before), Some(0x15 | 0x16));
            self.is_tls.store(is_tls, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FirstByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("frames", &self.frames).finish_non_exhaustive()
    }
}

fn failure(error: Error) -> LinkFailure {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(
            ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
        ) => LinkFailure::Closed,
        Error::Io(error) => error.kind().into(),
        Error::Capacity(CapacityError::MessageTooLong { .. }) => LinkFailure::MessageTooLong,
        Error::Http(response) => LinkFailure::NotAWebSocket(response.status().as_u16()),
        Error::AttackAttempt
        | Error::Capacity(_)
        | Error::HttpFormat(_)
        | Error::Protocol(_)
        | Error::Tls(_)
        | Error::Url(_)
        | Error::Utf8(_)
        | Error::WriteBufferFull(_) => LinkFailure::NotHttp,
    }
}

/// Time limit for opening a link: name lookup, TCP, TLS and upgrade together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of the pings, and time limit for an answer. NAT devices drop idle connections after
/// some minutes; the reference client uses the same interval.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Maximum number of characters kept of a close reason.
const MAX_REASON: usize = 123;

/// Initial size of the read buffer in bytes. It grows with longer messages.
const BUFFER: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// A WebSocket and the stream at its other end.
    async fn open() -> (WebSocket, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let ours: Box<dyn Duplex> = Box::new(ours);
        let stream = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        (WebSocket::over(stream, Frames::Text), theirs)
    }

    /// Waits for a message like [`super::super::Links`]: writes before it reads.
    async fn receive(socket: &mut WebSocket) -> Result<Vec<u8>, LinkFailure> {
        let mut buffer = Vec::new();
        let received = poll_fn(|cx| {
            let _ = socket.poll_send(cx, &mut Outbox::default())?;
            socket.poll_receive(cx, &mut buffer)
        });
        received.await.map(|()| buffer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_falls_silent_is_given_up_after_a_minute() {
        let (mut socket, _theirs) = open().await;
        let start = Instant::now();
        assert_eq!(receive(&mut socket).await, Err(LinkFailure::TimedOut));
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_pings_is_kept() {
        let (mut socket, theirs) = open().await;
        let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let serve = async {
            let mut pings = 0;
            while pings < 20 {
                if let Some(Ok(Message::Ping(_))) = theirs.next().await {
                    pings += 1;
                }
            }
            theirs.send(Message::text("still here")).await.unwrap();
        };
        let start = Instant::now();
        let (received, ()) = tokio::join!(receive(&mut socket), serve);
        assert_eq!(received.unwrap(), b"still here");
        assert_eq!(start.elapsed().as_secs(), 600);
    }

    #[tokio::test]
    async fn queued_messages_are_sent_before_the_close_frame() {
        let (mut socket, theirs) = open().await;
        let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let mut outbox = Outbox::default();
        outbox.push(b"one".to_vec());
        outbox.push(b"two".to_vec());
        let close = async {
            poll_fn(|cx| socket.poll_send(cx, &mut outbox)).await.unwrap();
            poll_fn(|cx| socket.poll_close(cx)).await;
        };
        let listen = async {
            let mut heard = Vec::new();
            while let Some(Ok(message)) = theirs.next().await {
                heard.push(message);
            }
            heard
        };
        let ((), heard) = tokio::join!(close, listen);
        assert_eq!(heard[..2], [Message::text("one"), Message::text("two")]);
        assert!(heard[2].is_close() && heard.len() == 3);
    }

    #[tokio::test]
    async fn binary_messages_are_taken_in_like_text() {
        let (mut socket, theirs) = open().await;
        let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        theirs.send(Message::binary(&b"bytes"[..])).await.unwrap();
        assert_eq!(receive(&mut socket).await.unwrap(), b"bytes");
        theirs.close(None).await.unwrap();
        assert_eq!(receive(&mut socket).await, Err(LinkFailure::Closed));
    }
}
