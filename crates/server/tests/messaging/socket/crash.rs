//! Servers that are killed again and again while clients send and receive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::Message;
use wormhole_chat::{
    Envelope, EnvelopeKind, WebSocketMessage, WebSocketRequest, WebSocketResponse,
};

use super::{Socket, request};
use crate::client::Client;
use crate::messages::{message, with_keys};
use crate::server::Server;

/// Sender, recipient and timestamp: no two messages have the same.
type Sent = (String, String, u64);

/// What the clients have done.
struct World {
    clients: Vec<Client>,
    /// Where the servers run now.
    addresses: watch::Receiver<Vec<String>>,
    /// Messages that the server has accepted.
    accepted: Mutex<BTreeSet<Sent>>,
    /// How often each message arrived.
    arrived: Mutex<BTreeMap<Sent, u32>>,
    progress: AtomicU64,
    changed: Notify,
    is_ending: AtomicBool,
}

/// One client, which sends one message after the other. It repeats a message until it is answered, as every client does.
struct Sender {
    world: Arc<World>,
    number: usize,
    /// The recipient and the timestamp of the message that is not answered yet.
    current: Option<(usize, u64)>,
    last_timestamp: u64,
}

impl World {
    /// Waits until the server has accepted so many messages.
    async fn wait(&self, accepted: u64) {
        while self.progress.load(Ordering::SeqCst) < accepted {
            let waited = tokio::time::timeout(Duration::from_secs(60), self.changed.notified());
            assert!(waited.await.is_ok(), "the server accepts nothing");
        }
    }

    /// Accepted messages that have not arrived.
    fn missing(&self) -> Vec<Sent> {
        let arrived = self.arrived.lock().unwrap();
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().filter(|sent| !arrived.contains_key(sent)).cloned().collect()
    }
}

impl Sender {
    /// Connects again whenever the connection ends.
    async fn run(mut self) {
        let mut addresses = self.world.addresses.clone();
        for attempt in 0.. {
            let current = addresses.borrow_and_update().clone();
            let address = &current[(self.number + attempt) % current.len()];
            if let Ok(socket) = Socket::connect(address, &self.world.clients[self.number]).await {
                self.serve(socket).await;
            } else if current.len() == 1 && addresses.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends and receives until the connection ends.
    async fn serve(&mut self, mut socket: Socket) {
        let mut id = 0;
        if self.send(&mut socket, &mut id).await.is_none() {
            return;
        }
        while let Some(Ok(frame)) = socket.stream.next().await {
            let Message::Binary(bytes) = frame else { continue };
            let sent = match WebSocketMessage::decode(&bytes).unwrap() {
                WebSocketMessage::Request(request) => self.receive(&mut socket, request).await,
                WebSocketMessage::Response(response) => {
                    self.answered(&response, id).await;
                    self.send(&mut socket, &mut id).await
                }
            };
            if sent.is_none() {
                return;
            }
        }
    }

    /// Sends the message that is not answered yet, or else a new one. `None` if the connection has ended.
    async fn send(&mut self, socket: &mut Socket, id: &mut u64) -> Option<()> {
        if self.current.is_none() {
            if self.world.is_ending.load(Ordering::SeqCst) {
                return Some(());
            }
            self.last_timestamp += 1;
            let others = self.world.clients.len() - 1;
            let step = 1 + usize::try_from(self.last_timestamp).unwrap() % others;
            let to = (self.number + step) % self.world.clients.len();
            self.current = Some((to, self.last_timestamp));
        }
        let (to, timestamp) = self.current?;
        *id += 1;
        let path = format!("/v1/messages/{}", self.world.clients[to].uuid);
        let body = message("hello", timestamp).to_string();
        let frame = request("PUT", &path, &body, Some(*id)).encode();
        socket.stream.send(Message::Binary(frame.into())).await.ok()
    }

    async fn answered(&mut self, response: &WebSocketResponse, id: u64) {
        assert_eq!(response.id, id);
        match response.status {
            200 => {
                let (to, timestamp) = self.current.take().unwrap();
                let clients = &self.world.clients;
                let sent = (clients[self.number].uuid.clone(), clients[to].uuid.clone(), timestamp);
                self.world.accepted.lock().unwrap().insert(sent);
                self.world.progress.fetch_add(1, Ordering::SeqCst);
                self.world.changed.notify_one();
            }
            // More than the limit per minute.
            413 => tokio::time::sleep(Duration::from_millis(300)).await,
            status => panic!("{status}: {:?}", response.body),
        }
    }

    async fn receive(&self, socket: &mut Socket, request: WebSocketRequest) -> Option<()> {
        if request.path == "/api/v1/message" {
            let envelope = Envelope::decode(&request.body?).unwrap();
            if envelope.kind != EnvelopeKind::Receipt {
                assert_eq!(envelope.content.as_deref(), Some(&b"hello"[..]));
                let from = envelope.source_account.unwrap().to_string();
                let to = self.world.clients[self.number].uuid.clone();
                let sent = (from, to, envelope.timestamp.0);
                *self.world.arrived.lock().unwrap().entry(sent).or_default() += 1;
                self.world.changed.notify_one();
            }
        }
        let response = WebSocketResponse {
            id: request.id?,
            status: 200,
            message: Some("OK".to_owned()),
            ..WebSocketResponse::default()
        };
        let frame = WebSocketMessage::Response(response).encode();
        socket.stream.send(Message::Binary(frame.into())).await.ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_messages_arrive_although_the_server_is_killed() {
    kill_while_clients_send(vec![Server::start(&[])], kills()).await;
}

/// Kills servers with one database at random moments, and starts them again.
pub(super) async fn kill_while_clients_send(mut servers: Vec<Server>, kills: u32) {
    let numbers = ["+14155550101", "+14155550102", "+14155550103"];
    let register = |(number, seed)| with_keys(&servers[0], number, seed);
    let clients = numbers.into_iter().zip(1..).map(register).collect();
    let urls = |servers: &[Server]| servers.iter().map(|server| server.address.clone()).collect();
    let (moved, addresses) = watch::channel(urls(&servers));
    let world = Arc::new(World {
        clients,
        addresses,
        accepted: Mutex::default(),
        arrived: Mutex::default(),
        progress: AtomicU64::new(0),
        changed: Notify::new(),
        is_ending: AtomicBool::new(false),
    });
    let senders: Vec<_> = (0..numbers.len())
        .map(|number| Sender {
            world: Arc::clone(&world),
            number,
            current: None,
            last_timestamp: 0,
        })
        .map(|sender| tokio::spawn(sender.run()))
        .collect();
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    for _ in 0..kills {
        let more = 1 + u64::from(rng.next_u32() % 40);
        world.wait(world.progress.load(Ordering::SeqCst) + more).await;
        tokio::time::sleep(Duration::from_micros(u64::from(rng.next_u32() % 5000))).await;
        let killed = usize::try_from(rng.next_u32()).unwrap() % servers.len();
        let server = servers.remove(killed);
        let server = tokio::task::block_in_place(|| server.restart());
        servers.insert(killed, server);
        moved.send_replace(urls(&servers));
    }
    world.is_ending.store(true, Ordering::SeqCst);
    while !world.missing().is_empty() {
        let waited = tokio::time::timeout(Duration::from_secs(30), world.changed.notified()).await;
        assert!(waited.is_ok(), "lost: {:?}", world.missing());
    }
    assert!(senders.iter().all(|sender| !sender.is_finished()), "a client has stopped");
    senders.iter().for_each(tokio::task::JoinHandle::abort);
    let accepted = world.accepted.lock().unwrap().len();
    let (distinct, times) = {
        let arrived = world.arrived.lock().unwrap();
        (arrived.len(), arrived.values().sum::<u32>())
    };
    println!("{kills} kills, {accepted} messages accepted, {distinct} arrived, {times} deliveries");
    assert!(accepted >= usize::try_from(kills).unwrap(), "{accepted} messages");
}

/// How often the server is killed: `WORMHOLE_KILLS` times, or 30.
fn kills() -> u32 {
    std::env::var("WORMHOLE_KILLS").map_or(30, |kills| kills.parse().unwrap())
}
