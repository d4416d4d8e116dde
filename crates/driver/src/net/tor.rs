//! Tor: finds the SOCKS port of a running Tor, or starts one.

use super::Route;
use super::socks::Proxy;

/// A way through Tor.
#[derive(Clone, Debug)]
pub struct Tor {
    proxy: Proxy,
}

impl Tor {
    /// The way, for whoever opens links.
    pub(crate) const fn route(&self) -> Route {
        Route { proxy: Some(self.proxy) }
    }
}
