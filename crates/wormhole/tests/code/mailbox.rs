//! The real mailbox server, behind a proxy that records and cuts.

use wormhole::code::{AppId, Config};
use wormhole_server::testing::TestServers;

use crate::proxy::Proxy;

/// A running server.
pub(crate) struct Mailbox {
    pub(crate) servers: TestServers,
    pub(crate) proxy: Proxy,
}

impl Mailbox {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with these options of `wormhole-server run`.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let servers = TestServers::start(options).await;
        let proxy = Proxy::start(servers.mailbox()).await;
        Self { servers, proxy }
    }

    /// Settings of a client that connects through the proxy.
    pub(crate) fn config(&self) -> Config {
        let url = format!("ws://{}/v1", self.proxy.address);
        let app_id = AppId::new("example.com/test");
        Config { app_id, servers: vec![url.parse().unwrap()], ..Config::default() }
    }
}
