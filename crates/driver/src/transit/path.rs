//! How two sides are connected.

use std::fmt;
use std::net::SocketAddr;

use wormhole_magic::transit::{Address, Endpoint, Route};

use crate::net::Link;

/// How two sides are connected. Prints as the other clients do: `->tcp:192.0.2.7:4000`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Path {
    /// The peer connected to us; from where, if the system still knows.
    Accepted(Option<SocketAddr>),
    /// We connected to the peer.
    Direct(Endpoint),
    /// Both connected to a relay: its `tcp:host:port` or URL.
    Relay(String),
}

impl Path {
    pub(super) fn new(route: Route, link: &Link) -> Self {
        match route {
            Route::Direct(endpoint) => Self::Direct(endpoint),
            Route::Relay(Address::Tcp(endpoint)) => Self::Relay(format!("tcp:{endpoint}")),
            Route::Relay(Address::WebSocket(url)) => Self::Relay(url),
            Route::Accepted => Self::Accepted(match link {
                Link::Tcp(stream) => stream.peer_addr().ok(),
                Link::WebSocket(_) => None,
            }),
        }
    }

    /// Whether no relay is involved.
    pub const fn is_direct(&self) -> bool {
        !matches!(self, Self::Relay(_))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(Some(peer)) => write!(f, "<-{peer}"),
            Self::Accepted(None) => f.write_str("<-"),
            Self::Direct(endpoint) => write!(f, "->tcp:{endpoint}"),
            Self::Relay(relay) => write!(f, "->relay:{relay}"),
        }
    }
}
