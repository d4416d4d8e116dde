//! The addresses of the relays of a test, as the settings of a client name them.

use wormhole::transit::{Priority, RelayAddress, RelayHint, TcpHint};
use wormhole_server::testing::TestServers;

/// The transit relay, over TCP.
pub(crate) fn relay(servers: &TestServers) -> RelayHint {
    let address = servers.relay();
    RelayHint::tcp(TcpHint::new(address.ip().to_string(), address.port()))
}

/// The transit relay, over WebSockets.
pub(crate) fn websocket_relay(servers: &TestServers) -> RelayHint {
    let url = format!("ws://{}/", servers.websocket_relay());
    RelayHint {
        name: None,
        addresses: vec![RelayAddress::WebSocket { url, priority: Priority::default() }],
    }
}
