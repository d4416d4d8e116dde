//! A client of a mailbox server.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A connection that has sent `bind`. Each method returns `None` if the connection is lost.
pub(crate) struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    pub(crate) async fn bound(url: &str, side: &str) -> Option<Self> {
        let address = url.strip_prefix("ws://")?.strip_suffix("/v1")?;
        let stream = TcpStream::connect(address).await.ok()?;
        let (link, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
        let mut peer = Self(link);
        peer.say(&json!({"type": "bind", "appid": "app", "side": side})).await?;
        peer.hear("ack").await?;
        Some(peer)
    }

    pub(crate) async fn say(&mut self, message: &Value) -> Option<()> {
        self.0.send(Message::text(message.to_string())).await.ok()
    }

    /// The next frame of any type. Fails the test if nothing arrives for a long time.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let frame = timeout(PATIENCE, self.0.next()).await.expect("the server is silent");
        serde_json::from_str(frame?.ok()?.to_text().ok()?).ok()
    }

    /// The next frame of this type. Fails the test if there is an error first.
    pub(crate) async fn hear(&mut self, kind: &str) -> Option<Value> {
        loop {
            let frame = self.next().await?;
            assert!(kind == "error" || frame["type"] != "error", "{frame}");
            if frame["type"] == kind {
                return Some(frame);
            }
        }
    }

    pub(crate) async fn ask(&mut self, message: &Value, kind: &str) -> Option<Value> {
        self.say(message).await?;
        self.hear(kind).await
    }

    /// Claims a nameplate, and opens its mailbox.
    pub(crate) async fn enter(&mut self, nameplate: &str) -> Option<String> {
        let claim = json!({"type": "claim", "nameplate": nameplate});
        let mailbox = self.ask(&claim, "claimed").await?["mailbox"].as_str()?.to_owned();
        self.say(&json!({"type": "open", "mailbox": mailbox})).await?;
        Some(mailbox)
    }

    /// Adds a message. The server repeats its id.
    pub(crate) async fn add(&mut self, id: &str) -> Option<()> {
        self.say(&json!({"type": "add", "phase": "0", "body": "00ff", "id": id})).await
    }

    /// The id of the next message in the mailbox.
    pub(crate) async fn message(&mut self) -> Option<String> {
        Some(self.hear("message").await?["id"].as_str()?.to_owned())
    }
}

/// Maximum time without a frame from a server: longer than it may wait for its database.
const PATIENCE: Duration = Duration::from_secs(40);
