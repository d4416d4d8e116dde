//! Connections to other machines: TCP and WebSockets, TLS, SOCKS and Tor.
//!
//! This module does not interpret the bytes.

pub(crate) mod addresses;
#[cfg(feature = "chat")]
pub(crate) mod http;
mod link;
mod links;
mod permit;
mod socks;
pub(crate) mod tcp;
mod tcp_info;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
pub mod tor;
mod websocket;

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wormhole_magic::transit::Permit;

pub(crate) use link::{NetLink, Outbox};
pub(crate) use links::{LinkEvent, Links};
pub use socks::SocksRefusal;
pub(crate) use tcp_info::TcpInfo;
pub use tls::TlsFailure;
pub use websocket::CloseReason;
pub(crate) use websocket::{Frames, WebSocket};

/// A link that is being opened.
pub(crate) type Dialing = Pin<Box<dyn Future<Output = Result<NetLink, LinkFailure>> + Send>>;

/// A bidirectional byte stream.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// How to reach other machines: directly, or through a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// A SOCKS5 proxy, if direct connections are not allowed.
    pub(crate) proxy: Option<socks::Proxy>,
    /// The addresses to which we may connect. A proxy resolves names itself, so with one only an
    /// address without a name is checked.
    pub(crate) permit: Permit,
    /// Whether attempts to connect are repeated, see [`tcp::Effort`].
    pub(crate) effort: tcp::Effort,
}

impl Route {
    /// Opens a TCP link to `host`, a name or an address without brackets.
    ///
    /// # Errors
    /// The reason why the link could not be opened.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, LinkFailure> {
        match self.proxy {
            Some(proxy) => {
                permit::check_host(self.permit, host)?;
                proxy.connect(host, port).await
            }
            None => tcp::connect_permitted(host, port, self.permit, self.effort).await,
        }
    }
}

/// Why a link could not be opened, or was lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFailure {
    /// The text is not a URL that this program supports.
    #[error("{0:?} is not a ws:// or wss:// URL")]
    BadUrl(String),
    /// The other end closed the link. Not always a failure.
    #[error("the connection was closed")]
    Closed,
    /// The other end closed the link and gave a reason.
    #[error("the server closed the connection: {0}")]
    ClosedBecause(CloseReason),
    /// An error of the operating system or the network.
    #[error("{}", describe(*.0))]
    Io(io::ErrorKind),
    /// A frame exceeds the size limit.
    #[error("the server sent too much at once")]
    MessageTooLong,
    /// The name is unknown, or no name server could be asked.
    #[error("the name {0:?} could not be resolved")]
    NameNotFound(String),
    /// The answer is this HTTP status instead of a WebSocket.
    #[error("{}", describe_status(*.0))]
    NotAWebSocket(u16),
    /// The answer violates HTTP or the WebSocket protocol.
    #[error("the server violates the WebSocket protocol")]
    NotHttp,
    /// The peer named an address that only this computer or a private network can reach.
    #[error("not tried, because the other side gave a private address")]
    PrivateAddress,
    /// The SOCKS proxy refused the connection.
    #[error("the proxy reports: {0}")]
    ProxyRefused(#[from] SocksRefusal),
    /// No data was received for too long.
    #[error("no answer in time")]
    TimedOut,
    /// The server requires TLS, but we connected without it.
    #[error("the server requires TLS here: use wss://")]
    TlsExpected,
    /// The server's certificate was rejected, or TLS failed for another reason.
    #[error("TLS failed: {0}")]
    Tls(TlsFailure),
}

/// Describes an HTTP status received instead of a WebSocket.
fn describe_status(status: u16) -> String {
    match status {
        429 => "too many connections from your address".to_owned(),
        502..=504 => format!("the server is not available at the moment (HTTP status {status})"),
        _ => format!("the server answered with HTTP status {status} instead of a WebSocket"),
    }
}

/// Describes an I/O error for users.
fn describe(kind: io::ErrorKind) -> String {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    if kind == ConnectionRefused {
        "connection refused".to_owned()
    } else if matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof) {
        "the connection was lost".to_owned()
    } else {
        kind.to_string()
    }
}

impl From<io::ErrorKind> for LinkFailure {
    fn from(kind: io::ErrorKind) -> Self {
        if kind == io::ErrorKind::TimedOut { Self::TimedOut } else { Self::Io(kind) }
    }
}
