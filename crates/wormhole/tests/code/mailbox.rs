//! A mailbox server of the least kind: no limits, no errors, nothing ever deleted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use wormhole::code::{AppId, Config};

/// A running server.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    /// How often every link was cut.
    cuts: watch::Sender<u32>,
}

#[derive(Default)]
struct Shared {
    messages: BTreeMap<String, Vec<Value>>,
    listeners: Vec<(String, mpsc::UnboundedSender<Value>)>,
    /// Everything that any client said.
    heard: Vec<Value>,
    watchers: Vec<mpsc::UnboundedSender<()>>,
}

impl Mailbox {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, shared: Arc::default(), cuts: watch::Sender::new(0) };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    /// Settings that lead here.
    pub(crate) fn config(&self) -> Config {
        let url = format!("ws://{}/v1", self.address);
        let app_id = AppId::new("example.com/test");
        Config { app_id, servers: vec![url.parse().unwrap()], ..Config::default() }
    }

    /// Cuts every link without a word.
    pub(crate) fn cut_all(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Waits until some client has said something of this type.
    pub(crate) async fn hears(&self, kind: &str) -> Value {
        let (watcher, mut changes) = mpsc::unbounded_channel();
        self.shared.lock().unwrap().watchers.push(watcher);
        loop {
            let heard = self.shared.lock().unwrap().heard.clone();
            if let Some(message) = heard.into_iter().find(|message| message["type"] == kind) {
                return message;
            }
            changes.recv().await.unwrap();
        }
    }

    async fn serve(self, stream: TcpStream) {
        let mut cuts = self.cuts.subscribe();
        let Ok(mut socket) = accept_async(stream).await else { return };
        let (listener, mut shown) = mpsc::unbounded_channel();
        let mut side = Value::Null;
        let mut replies = vec![json!({"type": "welcome", "welcome": {"motd": "hi"}})];
        loop {
            for reply in replies.drain(..) {
                if socket.send(Message::text(reply.to_string())).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        if message["type"] == "bind" {
                            side = message["side"].clone();
                        }
                        replies = self.answer(&message, &side, &listener);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                Some(message) = shown.recv() => replies.push(message),
                _ = cuts.changed() => return,
            }
        }
    }

    fn answer(
        &self,
        message: &Value,
        side: &Value,
        listener: &mpsc::UnboundedSender<Value>,
    ) -> Vec<Value> {
        let mut shared = self.shared.lock().unwrap();
        shared.heard.push(message.clone());
        shared.watchers.retain(|watcher| watcher.send(()).is_ok());
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap() {
            "allocate" => vec![json!({"type": "allocated", "nameplate": "7"})],
            "claim" => vec![json!({"type": "claimed", "mailbox": text("nameplate")})],
            "list" => vec![json!({"type": "nameplates", "nameplates": [{"id": "7"}]})],
            "release" => vec![json!({"type": "released"})],
            "close" => vec![json!({"type": "closed"})],
            "open" => {
                shared.listeners.push((text("mailbox"), listener.clone()));
                shared.messages.get(&text("mailbox")).cloned().unwrap_or_default()
            }
            "add" => {
                let place =
                    |(_, other): &&(_, mpsc::UnboundedSender<_>)| other.same_channel(listener);
                let mailbox = shared.listeners.iter().find(place).unwrap().0.clone();
                let mut added = message.clone();
                added["type"] = json!("message");
                added["side"] = side.clone();
                shared.messages.entry(mailbox.clone()).or_default().push(added.clone());
                for (_, other) in shared.listeners.iter().filter(|(at, _)| *at == mailbox) {
                    // Links that are gone do not listen.
                    let _ = other.send(added.clone());
                }
                vec![]
            }
            _ => vec![],
        }
    }
}
