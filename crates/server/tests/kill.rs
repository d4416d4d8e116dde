//! The real binary, killed without warning at random moments: nothing that a client was told is
//! lost, and the server starts again on what it left.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, reason = "JSON values do not panic")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A server process; killed when dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(db: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_wormhole-server"))
            .args(["mailbox", "--listen", "127.0.0.1:0", "--db"])
            .arg(db)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once(" listening on ").map(|(_, url)| url.to_owned()))
            .expect("the server did not start");
        Self { process, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that remembers what it was told.
struct Peer {
    link: WebSocketStream<TcpStream>,
}

impl Peer {
    /// Connects and binds; nothing if the server is gone.
    async fn bound(url: &str, side: &str) -> Option<Self> {
        let address = url.strip_prefix("ws://")?.strip_suffix("/v1")?;
        let stream = TcpStream::connect(address).await.ok()?;
        let (link, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
        let mut peer = Self { link };
        peer.ask(&json!({"type": "bind", "appid": "app", "side": side}), "ack").await?;
        Some(peer)
    }

    /// Says something and waits for the answer; nothing if the server is gone.
    async fn ask(&mut self, message: &Value, kind: &str) -> Option<Value> {
        self.link.send(Message::text(message.to_string())).await.ok()?;
        self.hear(kind).await
    }

    async fn hear(&mut self, kind: &str) -> Option<Value> {
        loop {
            let text = self.link.next().await?.ok()?.into_text().ok()?;
            let frame: Value = serde_json::from_str(&text).ok()?;
            assert_ne!(frame["type"], "error", "{frame}");
            if frame["type"] == kind {
                return Some(frame);
            }
        }
    }

    async fn claim(&mut self, nameplate: &str) -> Option<String> {
        let claim = json!({"type": "claim", "nameplate": nameplate});
        Some(self.ask(&claim, "claimed").await?["mailbox"].as_str()?.to_owned())
    }
}

/// What one client knows for sure.
#[derive(Debug, Default)]
struct Told {
    mailbox: Option<String>,
    /// Messages that were echoed.
    echoed: usize,
}

/// Claims a nameplate and adds numbered messages until the server is gone.
async fn work(url: &str, nameplate: &str, told: &mut Told, done: &AtomicUsize) -> Option<()> {
    let mut peer = Peer::bound(url, nameplate).await?;
    let mailbox = peer.claim(nameplate).await?;
    assert_eq!(*told.mailbox.get_or_insert_with(|| mailbox.clone()), mailbox, "another mailbox");
    let mut phases = Vec::new();
    peer.link
        .send(Message::text(json!({"type": "open", "mailbox": mailbox}).to_string()))
        .await
        .ok()?;
    peer.ask(&json!({"type": "ping", "ping": 1}), "ack").await?;
    // All that was echoed before the kill is replayed, in order. A message may be there twice: it
    // was stored, but its echo did not get through, so it was added again.
    while phases.len() < told.echoed {
        phases.push(peer.hear("message").await?["phase"].as_str()?.to_owned());
        phases.dedup();
    }
    let expected: Vec<String> = (0..told.echoed).map(|number| number.to_string()).collect();
    assert_eq!(phases, expected, "nameplate {nameplate}");
    loop {
        let phase = told.echoed.to_string();
        let add = json!({"type": "add", "phase": phase, "body": "00ff"});
        while peer.ask(&add, "message").await?["phase"] != phase.as_str() {}
        told.echoed += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed_at_any_moment() {
    let folder = std::env::temp_dir().join(format!("wormhole-kill-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let folder = Folder(folder);
    let db = folder.0.join("mailbox.sqlite");
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut known: Vec<Told> = (0..8).map(|_| Told::default()).collect();
    for _round in 0..6 {
        let server = Server::start(&db);
        let done = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for (number, mut told) in known.drain(..).enumerate() {
            let (url, done) = (server.url.clone(), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                let gone = work(&url, &number.to_string(), &mut told, &done).await;
                assert!(gone.is_none());
                told
            }));
        }
        // A moment that differs from round to round, and in the middle of the work.
        let enough = 1 + usize::try_from(rng.next_u32() % 200).unwrap();
        while done.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
        drop(server);
        for task in tasks {
            known.push(task.await.unwrap());
        }
    }
    assert!(known.iter().all(|told| told.mailbox.is_some()));
}
