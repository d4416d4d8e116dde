//! Transit: the direct or relayed connection to the peer that carries sealed records.

use std::fmt;
use std::net::SocketAddr;

use wormhole_magic::transit::Endpoint;

/// How two sides are connected. Prints as the other clients do: `->tcp:192.0.2.7:4000`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Path {
    /// The peer connected to us.
    Accepted(SocketAddr),
    /// We connected to the peer.
    Dialed(Endpoint),
    /// Both connected to a relay: its `host:port` or URL.
    Relay(String),
    /// We connected to the peer through Tor.
    Tor(Endpoint),
}

impl Path {
    /// Whether no relay is involved.
    pub const fn is_direct(&self) -> bool {
        !matches!(self, Self::Relay(_))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(peer) => write!(f, "<-{peer}"),
            Self::Dialed(endpoint) => write!(f, "->tcp:{endpoint}"),
            Self::Relay(relay) => write!(f, "->relay:{relay}"),
            Self::Tor(endpoint) => write!(f, "tor->tcp:{endpoint}"),
        }
    }
}

/// Why no connection to the peer came about.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither side told the other of any way.
    #[error("there is no way to reach the other side")]
    NoWay,
}
