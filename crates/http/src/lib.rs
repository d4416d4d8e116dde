//! HTTP/1 connections within limits, for every server of this project.
//!
//! [`serve`] serves one connection with hyper: one request or many, each answered by an async function, until the
//! connection is closed or becomes a WebSocket. [`handshake`] decides which requests may open a WebSocket, and [`body`]
//! reads the body of a request within limits. Accepting connections, TLS and WebSocket frames are the business of the
//! callers.
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::Router;
//! use axum::routing::get;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use wormhole_http::{Requests, Routes, Settings, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let settings = Settings {
//!     head_time: Duration::from_secs(10),
//!     requests: Requests::One { time: Duration::from_secs(20) },
//! };
//! let routes = Routes::new(Router::new().route("/health", get("ok\n")));
//! let (mut client, stream) = tokio::io::duplex(1024);
//! client.write_all(b"GET /health HTTP/1.1\r\nHost: example.org\r\n\r\n").await?;
//! let never = std::future::pending();
//! let web_socket = serve(stream, &settings, never, |request| routes.answer(request)).await;
//! assert!(web_socket.is_none(), "no request asked for a WebSocket");
//!
//! let mut response = String::new();
//! client.read_to_string(&mut response).await?;
//! assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nok\n"));
//! # Ok(())
//! # }
//! ```

pub mod body;
mod connection;
pub mod handshake;
mod pace;
mod routes;
mod settings;
mod write_timeout;

/// A response with any body.
pub use axum::response::Response;
pub use connection::{Upgraded, serve};
pub use pace::Pace;
pub use routes::Routes;
pub use settings::{MAX_HEAD_BYTES, MAX_HEADERS, Requests, Settings};
pub use write_timeout::WriteTimeout;

/// A request whose body has not been read yet.
pub type Request = hyper::Request<hyper::body::Incoming>;
