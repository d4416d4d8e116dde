//! A client that sends to the real mailbox server whatever a test wants.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use futures_util::{SinkExt, StreamExt};
use rand_core::OsRng;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use wormhole::code::{AppId, Code, Key};
use wormhole_magic::secretbox;
use wormhole_magic::spake2::Spake2;

use crate::mailbox::Mailbox;

/// The peer of a wormhole.
pub(crate) struct RawPeer {
    socket: WebSocketStream<TcpStream>,
    side: String,
}

impl RawPeer {
    /// Connects, claims a nameplate and opens its mailbox.
    pub(crate) async fn join(server: &Mailbox, nameplate: &str, side: &str) -> Self {
        let address = server.servers.mailbox();
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = client_async(format!("ws://{address}/v1"), stream).await.unwrap();
        let mut peer = Self { socket, side: side.to_owned() };
        peer.send(json!({"type": "bind", "appid": "example.com/test", "side": side})).await;
        peer.send(json!({"type": "claim", "nameplate": nameplate})).await;
        let mailbox = peer.receive("claimed").await["mailbox"].clone();
        peer.send(json!({"type": "open", "mailbox": mailbox})).await;
        peer
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: Value) {
        self.socket.send(Message::text(request.to_string())).await.unwrap();
    }

    /// Waits for a message of this type.
    pub(crate) async fn receive(&mut self, kind: &str) -> Value {
        loop {
            let message = self.socket.next().await.unwrap().unwrap();
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Waits for the other side's message of a phase, and returns its body.
    pub(crate) async fn receive_phase(&mut self, phase: &str) -> Vec<u8> {
        loop {
            let message = self.receive("message").await;
            if message["phase"] == phase && message["side"] != self.side.as_str() {
                let body = message["body"].as_str().unwrap();
                return HEXLOWER_PERMISSIVE.decode(body.as_bytes()).unwrap();
            }
        }
    }

    /// Adds a message with this body, which should be in hex.
    pub(crate) async fn add(&mut self, phase: &str, body: &str) {
        self.send(json!({"type": "add", "phase": phase, "body": body})).await;
    }

    /// Adds a message with these bytes.
    pub(crate) async fn add_bytes(&mut self, phase: &str, body: &[u8]) {
        self.add(phase, &HEXLOWER.encode(body)).await;
    }

    /// Exchanges keys as the protocol demands.
    pub(crate) async fn exchange_keys(&mut self, code: &str) -> Key {
        let code: Code = code.parse().unwrap();
        let (spake2, message) = Spake2::start(&code, &AppId::new("example.com/test"), &mut OsRng);
        let body = json!({"pake_v1": HEXLOWER.encode(&message)}).to_string();
        self.add_bytes("pake", body.as_bytes()).await;
        let body: Value = serde_json::from_slice(&self.receive_phase("pake").await).unwrap();
        let theirs = HEXLOWER.decode(body["pake_v1"].as_str().unwrap().as_bytes()).unwrap();
        spake2.finish(&theirs).unwrap()
    }

    /// Adds an encrypted message.
    pub(crate) async fn add_sealed(&mut self, key: &Key, phase: &str, plaintext: &[u8]) {
        let key = key.phase_key(&self.side, phase);
        self.add_bytes(phase, &secretbox::seal(&key, plaintext, &mut OsRng)).await;
    }
}
