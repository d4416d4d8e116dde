//! A persistent connection, independent of its transport: requests come in, responses and subscribed
//! messages go out.
//!
//! Everything that a client can make us hold is limited: running calls, waiting requests, and responses
//! that the client has not read. All of it ends with the connection.

use std::collections::VecDeque;
use std::net::IpAddr;

use futures_util::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::RpcServer;
use super::session::ClientSession;
use super::subscribe::Subscriptions;

/// Creates the queue of outgoing messages of a connection.
pub(super) fn outgoing_queue() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel(MAX_UNREAD)
}

/// Serves a client until the connection closes, or until the service stops and all running calls are
/// answered. `writing` must write what `out` receives, and must end when `out` or the connection ends.
pub(super) async fn serve_connection(
    service: RpcServer,
    network: Option<IpAddr>,
    reading: impl Stream<Item = Vec<u8>>,
    out: mpsc::Sender<String>,
    writing: impl Future<Output = ()>,
    stopping: watch::Receiver<()>,
) {
    let subscriptions = Subscriptions::new(out.clone());
    let session = ClientSession::new(service, network).with_subscriptions(subscriptions);
    let mut calls = Calls::new(session, out);
    let stopped = stopped(stopping);
    tokio::pin!(reading, writing, stopped);
    let mut draining = false;
    while !draining || calls.are_running() {
        tokio::select! {
            () = &mut writing => return,
            () = &mut stopped, if !draining => draining = true,
            text = reading.next(), if !draining && calls.have_room() => match text {
                Some(text) => calls.take(text),
                None => return,
            },
            () = calls.progress(), if calls.are_running() => {}
        }
    }
    // Closes the queue: the writer ends after the messages in it.
    drop(calls);
    writing.await;
}

/// Waits until the service stops.
pub(super) async fn stopped(mut stopping: watch::Receiver<()>) {
    // Nothing is ever sent; the sender is dropped.
    while stopping.changed().await.is_ok() {}
}

/// The calls of one connection.
struct Calls {
    session: ClientSession,
    out: mpsc::Sender<String>,
    running: JoinSet<usize>,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of all waiting and running requests.
    bytes: usize,
}

impl Calls {
    fn new(session: ClientSession, out: mpsc::Sender<String>) -> Self {
        Self { session, out, running: JoinSet::new(), waiting: VecDeque::new(), bytes: 0 }
    }

    fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether the next request may be read.
    fn have_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING && self.bytes < MAX_BYTES
    }

    /// Starts a request, or queues it.
    fn take(&mut self, text: Vec<u8>) {
        self.bytes += text.len();
        self.waiting.push_back(text);
        self.begin();
    }

    fn begin(&mut self) {
        while self.running.len() < MAX_CALLS
            && let Some(text) = self.waiting.pop_front()
        {
            let (session, out) = (self.session.clone(), self.out.clone());
            self.running.spawn(async move {
                if let Some(answer) = session.reply(&text).await {
                    // If the client has disconnected, nobody needs the response.
                    let _gone = out.send(answer).await;
                }
                text.len()
            });
        }
    }

    /// Waits until a call ends, then starts waiting ones. Cancelling loses nothing.
    async fn progress(&mut self) {
        if let Some(done) = self.running.join_next().await {
            // A task fails only by a panic, which has been reported.
            self.bytes = self.bytes.saturating_sub(done.unwrap_or(0));
            self.begin();
        }
    }
}

/// Maximum number of running calls of one connection. Further calls wait.
const MAX_CALLS: usize = 16;

/// Maximum number of waiting requests of one connection. Reading pauses when there are more.
const MAX_WAITING: usize = 1024;

/// Maximum number of bytes of waiting and running requests. Reading pauses when there are more.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Maximum number of outgoing messages that wait until the client reads.
const MAX_UNREAD: usize = 16;
