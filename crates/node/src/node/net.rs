//! Socket options of the links to peers.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Sends packets without delay, and notices within about a minute that a silent peer lost its network.
pub(super) fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Silence after which the system checks whether the peer is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Time between two checks.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Failed checks that end a connection. Windows has a number of its own.
#[cfg(not(windows))]
const KEEPALIVE_PROBES: u32 = 3;
