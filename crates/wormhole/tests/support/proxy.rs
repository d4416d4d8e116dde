//! A WebSocket proxy between clients and a real mailbox server. It records what the clients send, and cuts their
//! links.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

/// A running proxy. It ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Everything that any client has sent.
    received: watch::Sender<Vec<Value>>,
    /// Every change cuts all links.
    network: watch::Sender<Network>,
    /// The message that is lost next.
    trap: Arc<Mutex<Option<Trap>>>,
}

/// A message of the mailbox protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// From a client: its type, and its phase unless that is empty.
    Request(&'static str, &'static str),
    /// To a client: its type, and its phase unless that is empty.
    Answer(&'static str, &'static str),
}

impl Lost {
    fn matches(self, is_request: bool, message: &Value) -> bool {
        let (expected, kind, phase) = match self {
            Self::Request(kind, phase) => (is_request, kind, phase),
            Self::Answer(kind, phase) => (!is_request, kind, phase),
        };
        expected && message["type"] == kind && (phase.is_empty() || message["phase"] == phase)
    }
}

struct Trap {
    lost: Lost,
    sprung: oneshot::Sender<()>,
}

#[derive(Clone, Copy)]
struct Network {
    server: SocketAddr,
    /// Otherwise new links are closed at once.
    is_up: bool,
}

impl Proxy {
    /// Starts a proxy for the server at this address.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            received: watch::Sender::default(),
            network: watch::Sender::new(Network { server, is_up: true }),
            trap: Arc::default(),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().forward(stream));
            }
        });
        proxy
    }

    /// Cuts every link, without a closing handshake. New links work.
    pub(crate) fn cut_all(&self) {
        self.network.send_modify(|network| network.is_up = true);
    }

    /// Cuts every link, and each new one, until [`cut_all`](Self::cut_all).
    pub(crate) fn stay_down(&self) {
        self.network.send_modify(|network| network.is_up = false);
    }

    /// Cuts every link, and connects new ones to another server.
    pub(crate) fn move_to(&self, server: SocketAddr) {
        self.network.send_replace(Network { server, is_up: true });
    }

    /// Does not pass on the next such message: instead, cuts every link and each new one, until
    /// [`cut_all`](Self::cut_all) or [`move_to`](Self::move_to). Returns a future that waits for it.
    pub(crate) fn lose(&self, lost: Lost) -> impl Future<Output = ()> + use<> {
        let (sprung, waiting) = oneshot::channel();
        *self.trap.lock().unwrap() = Some(Trap { lost, sprung });
        async { waiting.await.unwrap() }
    }

    /// Waits until some client has sent a message of this type, and returns the first one.
    pub(crate) async fn received(&self, kind: &str) -> Value {
        let find = |messages: &[Value]| messages.iter().find(|it| it["type"] == kind).cloned();
        let mut received = self.received.subscribe();
        let messages = received.wait_for(|messages| find(messages).is_some()).await.unwrap();
        find(&messages).unwrap()
    }

    async fn forward(self, stream: TcpStream) {
        let mut network = self.network.subscribe();
        let Network { server, is_up } = *network.borrow_and_update();
        if !is_up {
            return;
        }
        let Ok(mut client) = accept_async(stream).await else { return };
        let stream = TcpStream::connect(server).await.unwrap();
        let (mut server, _) = client_async(format!("ws://{server}/v1"), stream).await.unwrap();
        loop {
            tokio::select! {
                message = client.next() => {
                    let Some(Ok(message)) = message else { return };
                    self.record(&message);
                    if self.is_lost(true, &message) || server.send(message).await.is_err() {
                        return;
                    }
                }
                message = server.next() => {
                    let Some(Ok(message)) = message else { return };
                    if self.is_lost(false, &message) || client.send(message).await.is_err() {
                        return;
                    }
                }
                _ = network.changed() => return,
            }
        }
    }

    /// Whether this message is the one to lose.
    fn is_lost(&self, is_request: bool, message: &Message) -> bool {
        let Message::Text(text) = message else { return false };
        let message = serde_json::from_str(text).unwrap();
        let is_it = |trap: &mut Trap| trap.lost.matches(is_request, &message);
        let Some(trap) = self.trap.lock().unwrap().take_if(is_it) else { return false };
        self.stay_down();
        // The test may have ended.
        let _ended = trap.sprung.send(());
        true
    }

    fn record(&self, message: &Message) {
        if let Message::Text(text) = message {
            let message = serde_json::from_str(text).unwrap();
            self.received.send_modify(|received| received.push(message));
        }
    }
}
