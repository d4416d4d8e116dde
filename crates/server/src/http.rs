//! The pages and WebSockets of the mailbox and the relay, and the listener for metrics (`metrics-listen`), on top of
//! `wormhole-http`.
//!
//! A connection carries one request. Then it is closed, or it becomes a WebSocket, and the service continues with the
//! frames of [`websocket`]. The frame decoder is our own, because a library keeps buffers for each connection, and most
//! connections are idle.

mod acceptor;
mod monitor;
mod pages;
pub(crate) mod websocket;

use std::time::Duration;

use wormhole_http::{Requests, Settings};

pub(crate) use acceptor::{AcceptedWebSocket, WebSocketAcceptor};
pub(crate) use monitor::Monitor;
pub(crate) use pages::Pages;

use crate::net::Stream;

/// A connection that is a WebSocket now.
pub(crate) type Upgraded = wormhole_http::Upgraded<Stream>;

/// How each connection is served.
const SETTINGS: Settings = Settings {
    head_time: Duration::from_secs(10),
    requests: Requests::One { time: Duration::from_secs(20) },
};
