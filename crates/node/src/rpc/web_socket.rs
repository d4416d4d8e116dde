//! WebSocket (RFC 6455): the handshake, and the connection after it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt, stream};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use super::connection::{outgoing_queue, serve_connection};
use super::{HttpResponse, RpcServer};

/// Whether a request is a WebSocket handshake.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Handshake {
    /// It is an ordinary request.
    None,
    /// It is a handshake; the response needs this `Sec-WebSocket-Accept`.
    Valid(String),
    /// It is an invalid handshake; the response has this status and text.
    Invalid(StatusCode, &'static str),
}

/// Looks for a handshake (RFC 6455, section 4.2.1). HTTP/1.0 has no upgrades, so its `Upgrade` headers are
/// ignored (RFC 9110, section 7.8).
pub(super) fn handshake(method: &Method, version: Version, headers: &HeaderMap) -> Handshake {
    if version < Version::HTTP_11 || !has_token(headers, header::UPGRADE, "websocket") {
        return Handshake::None;
    }
    if method != Method::GET {
        return Handshake::Invalid(StatusCode::METHOD_NOT_ALLOWED, "open a WebSocket with GET\n");
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Handshake::Invalid(
            StatusCode::BAD_REQUEST,
            "the header \"Connection: Upgrade\" is missing\n",
        );
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Handshake::Invalid(
            StatusCode::UPGRADE_REQUIRED,
            "only WebSocket version 13 is supported\n",
        );
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY);
    let decoded = key.and_then(|key| BASE64.decode(key.as_bytes()).ok());
    match key.filter(|_| decoded.is_some_and(|bytes| bytes.len() == 16)) {
        Some(key) => Handshake::Valid(derive_accept_key(key.as_bytes())),
        None => {
            Handshake::Invalid(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or invalid\n")
        }
    }
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// The value of a header that occurs exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok().map(str::trim)
}

/// The response that turns a connection into a WebSocket.
pub(super) fn switching(accept: &str) -> HttpResponse {
    let mut response = HttpResponse::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Serves a client on the WebSocket that its connection becomes.
pub(super) async fn serve(
    upgrade: OnUpgrade,
    service: RpcServer,
    network: IpAddr,
    stopping: watch::Receiver<()>,
) {
    let Ok(upgraded) = upgrade.await else { return };
    let limit = usize::try_from(service.settings.max_request_bytes).ok();
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(limit)
        .max_frame_size(limit);
    let link = TokioIo::new(upgraded);
    let link = WebSocketStream::from_raw_socket(link, Role::Server, Some(config)).await;
    let (writing, reading) = link.split();
    let signals = Arc::new(Signals::default());
    let (out, queue) = outgoing_queue();
    let reading =
        stream::unfold((reading, Arc::clone(&signals)), async |(mut reading, signals)| {
            let text = read(&mut reading, &signals).await?;
            Some((text, (reading, signals)))
        });
    let writing = write(writing, queue, &signals);
    serve_connection(service, Some(network), reading, out, writing, stopping).await;
}

type ServerWebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Signals from the reader of a connection to its writer.
#[derive(Debug, Default)]
struct Signals {
    /// A message arrived.
    alive: Notify,
    /// A message was too large.
    too_long: Notify,
    /// We wait for a message. If not, the silence of the client means nothing.
    waiting: AtomicBool,
}

/// Reads the next request. `None` when the connection ends.
async fn read(
    reading: &mut stream::SplitStream<ServerWebSocket>,
    signals: &Signals,
) -> Option<Vec<u8>> {
    loop {
        signals.waiting.store(true, Ordering::Relaxed);
        let message = reading.next().await?;
        signals.waiting.store(false, Ordering::Relaxed);
        signals.alive.notify_one();
        match message {
            Ok(Message::Text(text)) => return Some(Bytes::from(text).into()),
            Ok(Message::Binary(bytes)) => return Some(bytes.into()),
            // The library responds to pings.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(Error::Capacity(_)) => {
                signals.too_long.notify_one();
                return std::future::pending().await;
            }
            Ok(Message::Close(_)) | Err(_) => return None,
        }
    }
}

/// Writes outgoing messages, pings the client, and sends the final close frame.
async fn write(
    mut writing: stream::SplitSink<ServerWebSocket, Message>,
    mut queue: mpsc::Receiver<String>,
    signals: &Signals,
) {
    let (mut next_ping, mut silent) = (Instant::now() + PING_EVERY, false);
    let code = loop {
        let message = tokio::select! {
            text = queue.recv() => match text {
                Some(text) => Message::Text(Utf8Bytes::from(text)),
                None => break CloseCode::Away,
            },
            () = signals.too_long.notified() => break CloseCode::Size,
            () = signals.alive.notified() => {
                silent = false;
                continue;
            }
            () = sleep_until(next_ping) => {
                if silent && signals.waiting.load(Ordering::Relaxed) {
                    return;
                }
                (next_ping, silent) = (Instant::now() + PING_EVERY, true);
                Message::Ping(Bytes::new())
            }
        };
        if writing.send(message).await.is_err() {
            return;
        }
    };
    // A client that has disconnected does not need it.
    let frame = CloseFrame { code, reason: Utf8Bytes::default() };
    let _gone = writing.send(Message::Close(Some(frame))).await;
}

/// Time between two pings. A client that sends nothing between them is disconnected.
const PING_EVERY: Duration = Duration::from_secs(30);

/// First size of the read buffer, in bytes. It grows with longer messages.
const BUFFER: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn refused(method: &Method, pairs: &[(&'static str, &'static str)]) -> u16 {
        match handshake(method, Version::HTTP_11, &headers(pairs)) {
            Handshake::Invalid(status, _) => status.as_u16(),
            other @ (Handshake::None | Handshake::Valid(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_valid_handshake_is_answered_as_the_rfc_says() {
        let accept = Handshake::Valid("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert_eq!(handshake(&Method::GET, Version::HTTP_11, &headers(&WHOLE)), accept);
    }

    #[test]
    fn an_invalid_handshake_is_refused_with_the_right_status() {
        assert_eq!(refused(&Method::HEAD, &WHOLE), 405);
        assert_eq!(refused(&Method::POST, &WHOLE), 405);
        let without = |name: &str| -> Vec<_> {
            WHOLE.into_iter().filter(|(other, _)| *other != name).collect()
        };
        assert_eq!(refused(&Method::GET, &without("connection")), 400);
        assert_eq!(refused(&Method::GET, &without("sec-websocket-version")), 426);
        assert_eq!(refused(&Method::GET, &without("sec-websocket-key")), 400);
        let twice = [WHOLE.as_slice(), &[WHOLE[3]]].concat();
        assert_eq!(refused(&Method::GET, &twice), 400);
        let short = [&WHOLE[..3], &[("sec-websocket-key", "AAAA")]].concat();
        assert_eq!(refused(&Method::GET, &short), 400);
    }

    #[test]
    fn without_an_upgrade_or_before_http_1_1_it_is_an_ordinary_request() {
        assert_eq!(handshake(&Method::GET, Version::HTTP_10, &headers(&WHOLE)), Handshake::None);
        assert_eq!(
            handshake(&Method::GET, Version::HTTP_11, &headers(&WHOLE[1..])),
            Handshake::None
        );
    }
}
