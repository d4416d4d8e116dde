//! The addresses of the servers of a test, as the settings of a client name them.

use wormhole::code::MailboxUrl;
use wormhole::transit::{Priority, RelayAddress, RelayHint, TcpHint};
use wormhole_server::testing::TestServers;

/// The mailbox server.
pub(crate) fn mailbox(servers: &TestServers) -> MailboxUrl {
    format!("ws://{}/v1", servers.mailbox()).parse().unwrap()
}

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
