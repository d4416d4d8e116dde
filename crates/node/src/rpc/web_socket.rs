//! A connection that has become a WebSocket (RFC 6455). The handshake is in `wormhole-http`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream, unfold};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use wormhole_http::Upgraded;

use super::RpcServer;
use super::connection::{outgoing_queue, serve_connection};
use super::http::ClientStream;

/// Serves a client on the WebSocket that its connection has become.
pub(super) async fn serve(
    upgraded: Upgraded<ClientStream>,
    service: RpcServer,
    network: IpAddr,
    stopping: watch::Receiver<()>,
) {
    let Upgraded { stream, early } = upgraded;
    let limit = usize::try_from(service.settings.max_request_bytes).ok();
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(limit)
        .max_frame_size(limit);
    let link =
        WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await;
    let (writing, reading) = link.split();
    let signals = Arc::new(Signals::default());
    let (out, queue) = outgoing_queue();
    let reading = unfold((reading, Arc::clone(&signals)), async |(mut reading, signals)| {
        let text = read(&mut reading, &signals).await?;
        Some((text, (reading, signals)))
    });
    let writing = write(writing, queue, &signals);
    serve_connection(service, Some(network), reading, out, writing, stopping).await;
}

type ServerWebSocket = WebSocketStream<ClientStream>;

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
async fn read(reading: &mut SplitStream<ServerWebSocket>, signals: &Signals) -> Option<Vec<u8>> {
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
    mut writing: SplitSink<ServerWebSocket, Message>,
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
