//! Tests the mailbox server with real sockets, from the point of view of its clients.
//!
//! The error messages are tested in `wormhole_magic::mailbox::server`. The tests here need several clients, a socket, a
//! clock or a restart.

mod conversation;
mod limits;
mod malformed;
mod pages;
mod partial;
mod restart;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::host::testing;
use crate::net::Tls;

/// A temporary folder of one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-mailbox-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A server on loopback, with its own temporary folder.
struct World {
    folder: Folder,
    options: Vec<String>,
    address: SocketAddr,
    host: Host,
    running: JoinHandle<Result<(), ServerError>>,
}

/// The options as a command line.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    config: Config,
}

impl World {
    /// Starts a server with these options.
    fn new(name: &str, options: &[&str]) -> Self {
        Self::start(Folder::new(name), options, None)
    }

    /// Starts a server with TLS.
    fn with_tls(name: &str) -> Self {
        Self::start(Folder::new(name), &[], Some(crate::net::testing::tls()))
    }

    fn start(folder: Folder, options: &[&str], tls: Option<Tls>) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let db = folder.0.join("mailbox.sqlite").display().to_string();
        let fixed = ["mailbox", "--listen", "127.0.0.1:0", "--db", &db].map(ToOwned::to_owned);
        let config = Line::parse_from(fixed.into_iter().chain(options.clone())).config;
        let host = testing::host(tls);
        let listener = crate::net::listen(config.listen).unwrap();
        let address = listener.local_addr().unwrap();
        let task_host = host.clone();
        let mailbox = Mailbox::start(&config, task_host).unwrap();
        let running = tokio::spawn(mailbox.run(listener));
        Self { folder, options, address, host, running }
    }

    /// Drains the server and starts it again with the same files.
    async fn restarted(self) -> Self {
        self.host.draining.cancel();
        self.running.await.unwrap().unwrap();
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        Self::start(self.folder, &options, self.host.tls)
    }

    async fn stop(self) {
        self.host.draining.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// A client that has received the welcome message.
    async fn connected(&self) -> Peer {
        Peer::connect(self.address).await.unwrap()
    }

    /// A client that has sent `bind` with this side.
    async fn bound(&self, side: &str) -> Peer {
        let mut peer = self.connected().await;
        peer.send_json(json!({"type": "bind", "appid": "app", "side": side})).await;
        peer.expect("ack").await;
        peer
    }

    /// A number from the metrics page.
    fn metric(&self, name: &str) -> u64 {
        let page = self.host.metrics.render();
        let value =
            page.lines().find_map(|line| line.strip_prefix(&format!("wormhole_mailbox_{name} ")));
        value.unwrap().parse().unwrap()
    }

    /// Waits until a metric has this value.
    async fn until(&self, name: &str, value: u64) {
        while self.metric(name) != value {
            tokio::task::yield_now().await;
        }
    }
}

/// A client.
struct Peer {
    link: WebSocketStream<TcpStream>,
    welcome: Value,
}

impl Peer {
    async fn connect(address: SocketAddr) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let stream = TcpStream::connect(address).await?;
        let (link, _) =
            tokio_tungstenite::client_async(format!("ws://{address}/v1"), stream).await?;
        let mut peer = Self { link, welcome: Value::Null };
        peer.welcome = peer.receive().await["welcome"].clone();
        Ok(peer)
    }

    async fn send_json(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    async fn send(&mut self, message: Message) {
        self.link.send(message).await.unwrap();
    }

    /// The next frame, without the server's time.
    async fn receive(&mut self) -> Value {
        let message = self.link.next().await.unwrap().unwrap();
        assert!(message.is_text(), "{message:?}");
        let mut frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        let stamp = frame.as_object_mut().unwrap().remove("server_tx").unwrap();
        assert!(stamp.as_f64().unwrap() > 1.6e9);
        frame
    }

    /// The next frame, which must be of this type.
    async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.receive().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// Sends a message, and returns the answer after its `ack`. The answer must be of this type.
    async fn request(&mut self, message: Value, kind: &str) -> Value {
        self.send_json(message).await;
        self.expect("ack").await;
        self.expect(kind).await
    }

    /// Asserts that a message is acknowledged and answered with this error.
    async fn assert_refused(&mut self, message: Value, error: &str) {
        let answer = self.request(message.clone(), "error").await;
        assert_eq!(answer, json!({"type": "error", "error": error, "orig": message}));
    }

    async fn claim(&mut self, nameplate: &str) -> String {
        let claim = json!({"type": "claim", "nameplate": nameplate});
        self.request(claim, "claimed").await["mailbox"].as_str().unwrap().to_owned()
    }

    async fn open(&mut self, mailbox: &str) {
        self.send_json(json!({"type": "open", "mailbox": mailbox})).await;
        self.expect("ack").await;
    }

    /// Adds a message and waits for its echo.
    async fn add(&mut self, phase: &str) {
        self.request(json!({"type": "add", "phase": phase, "body": "00"}), "message").await;
    }

    /// Receives a message, and returns its phase.
    async fn phase(&mut self) -> String {
        self.expect("message").await["phase"].as_str().unwrap().to_owned()
    }

    /// All frames until the server closes the link, and its close code, if any.
    async fn receive_to_end(mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames = Vec::new();
        while let Some(Ok(message)) = self.link.next().await {
            if let Message::Close(Some(close)) = message {
                return (frames, Some(close.code.into()));
            }
            if message.is_text() {
                frames.push(serde_json::from_str(message.to_text().unwrap()).unwrap());
            }
        }
        (frames, None)
    }

    /// Checks that the server still answers.
    async fn ping(&mut self) {
        let pong = self.request(json!({"type": "ping", "ping": 1}), "pong").await;
        assert_eq!(pong["pong"], 1);
    }
}
