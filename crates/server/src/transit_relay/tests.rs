//! Tests the relay with real sockets: every answer, every kind of pair, every limit.

mod answers;
mod bulk;
mod limits;
mod records;
mod survivors;
mod web;

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::host::testing;
use crate::net::Tls;

/// A relay on loopback.
struct World {
    address: SocketAddr,
    web: SocketAddr,
    host: Host,
    running: JoinHandle<()>,
}

/// A configuration without limits and records.
fn config() -> Config {
    let loopback = "127.0.0.1:0".parse().unwrap();
    Config {
        listen: loopback,
        listen_ws: Some(loopback),
        usage_db: None,
        usage_log: None,
        usage_bytes: 0,
        blur_usage: 0,
        waiting_limit: 0,
        links_per_address: 0,
        max_links: 0,
        limit_loopback: true,
        trust_proxy: ProxyHeader::Off,
        bytes_per_second: 0,
    }
}

impl World {
    async fn new() -> Self {
        Self::with(&config(), Timeouts::default(), |_| {})
    }

    /// A relay with TLS for WebSocket clients.
    fn with_tls() -> Self {
        Self::start(&config(), Timeouts::default(), Some(crate::net::testing::tls()), |_| {})
    }

    fn with(config: &Config, timeouts: Timeouts, adjust: impl FnOnce(&mut Service)) -> Self {
        Self::start(config, timeouts, None, adjust)
    }

    fn start(
        config: &Config,
        timeouts: Timeouts,
        tls: Option<Tls>,
        adjust: impl FnOnce(&mut Service),
    ) -> Self {
        let host = testing::host(tls);
        let tcp = crate::net::listen(config.listen).unwrap();
        let web = crate::net::listen(config.listen_ws.unwrap()).unwrap();
        let mut service = Service::start(config, timeouts, host.clone()).unwrap();
        adjust(&mut service);
        let (address, web_address) = (tcp.local_addr().unwrap(), web.local_addr().unwrap());
        let running = tokio::spawn(service.run(tcp, Some(web)));
        Self { address, web: web_address, host, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Opens a link and sends `text`.
    async fn connect_and_send(&self, text: &str) -> TcpStream {
        let mut link = self.connect().await;
        link.write_all(text.as_bytes()).await.unwrap();
        link
    }

    /// Opens a link that waits for a partner. Returns when the relay has received its line.
    async fn waiting(&self, line: &str) -> TcpStream {
        let before = self.waiting_links();
        let link = self.connect_and_send(line).await;
        self.until(|world| world.waiting_links() > before).await;
        link
    }

    async fn pair(&self) -> (TcpStream, TcpStream) {
        let mut one = self.connect_and_send(&line("1")).await;
        let mut two = self.connect_and_send(&line("2")).await;
        for link in [&mut one, &mut two] {
            assert_eq!(receive(link, 3).await, b"ok\n");
        }
        (one, two)
    }

    /// A number from the metrics page.
    fn metric(&self, name: &str) -> u64 {
        let page = self.host.metrics.render();
        let value = page.lines().find_map(|line| line.strip_prefix(&format!("wormhole_{name} ")));
        value.unwrap().parse().unwrap()
    }

    fn waiting_links(&self) -> u64 {
        self.metric("transit_relay_waiting_links")
    }

    fn ended(&self, mood: &str) -> u64 {
        self.metric(&format!("transit_relay_ended_total{{mood=\"{mood}\"}}"))
    }

    /// Waits until `condition` is true.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            tokio::task::yield_now().await;
        }
    }

    /// Drains the relay and waits until it has stopped.
    async fn stop(self) {
        self.host.draining.cancel();
        self.running.await.unwrap();
    }
}

fn line(side: &str) -> String {
    format!("please relay {} for side {}\n", "a".repeat(64), side.repeat(16))
}

async fn receive(link: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    link.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Receives bytes until the relay closes the link.
async fn receive_to_end(link: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    link.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Bytes with a pattern that is not aligned to any buffer size.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i / 251 + i) % 253).unwrap()).collect()
}

/// A temporary directory of one test, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _: io::Result<()> = std::fs::remove_dir_all(&self.0);
    }
}
