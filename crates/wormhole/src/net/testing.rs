//! Links in memory, for tests with a paused clock.

use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Duplex, Frames, NetLink, WebSocket};

/// The server's end of a link.
pub(crate) type ServerEnd = WebSocketStream<DuplexStream>;

/// An open WebSocket between a client and a server.
pub(crate) async fn link(frames: Frames) -> (NetLink, ServerEnd) {
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let ours: Box<dyn Duplex> = Box::new(ours);
    let ours = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
    (NetLink::WebSocket(Box::new(WebSocket::over(ours, frames))), theirs)
}

/// Bytes that one end can write before the other one reads.
const BUFFER: usize = 1 << 16;
