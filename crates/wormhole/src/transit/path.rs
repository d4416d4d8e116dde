//! How two sides are connected.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use wormhole_magic::transit::{Address, Endpoint, Route};

use crate::net::NetLink;

/// How two sides are connected. Displayed as in other clients: `->tcp:192.0.2.7:4000`.
///
/// ```
/// use wormhole::transit::{Endpoint, Path};
///
/// let path = Path::Direct(Endpoint::new("192.168.1.20", 4000));
/// assert_eq!(path.to_string(), "->tcp:192.168.1.20:4000");
/// assert!(path.is_direct() && path.is_local());
/// let path = Path::Relay("tcp:relay.example.org:4001".into());
/// assert!(!path.is_direct() && !path.is_local());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Path {
    /// The peer connected to us; its address, if the system still knows it.
    Accepted(Option<SocketAddr>),
    /// We connected to the peer.
    Direct(Endpoint),
    /// Both sides connected to a relay: its `tcp:host:port` or URL.
    Relay(String),
}

impl Path {
    pub(crate) fn new(route: Route, link: &NetLink) -> Self {
        match route {
            Route::Direct(endpoint) => Self::Direct(endpoint),
            Route::Relay(address) => Self::Relay(self::address(&address)),
            Route::Accepted => Self::Accepted(match link {
                NetLink::Tcp(stream) => stream.peer_addr().ok(),
                NetLink::WebSocket(_) => None,
            }),
        }
    }

    /// Whether both sides are on one computer or in one local network, according to the addresses.
    pub fn is_local(&self) -> bool {
        let address = match self {
            Self::Accepted(peer) => peer.map(|peer| peer.ip()),
            Self::Direct(endpoint) => endpoint.host.parse().ok(),
            Self::Relay(_) => None,
        };
        address.is_some_and(is_private)
    }

    /// Whether no relay is used.
    pub const fn is_direct(&self) -> bool {
        !matches!(self, Self::Relay(_))
    }
}

/// An address in the format of other clients.
pub(super) fn address(address: &Address) -> String {
    match address {
        Address::Tcp(endpoint) => format!("tcp:{endpoint}"),
        Address::WebSocket(url) => url.clone(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_private() || address.is_loopback() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
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
