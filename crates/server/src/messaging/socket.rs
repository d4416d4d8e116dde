//! The WebSocket of one device: requests of the client go through the API, and the messages of the device's queue go to
//! the client. (docs/chat-service.md "WebSocket")
//!
//! A message stays in the queue until the client has confirmed it, so nothing is lost when either side crashes; the
//! client recognises duplicates. At most [`MAX_UNCONFIRMED`] messages are sent before a confirmation, and none while the
//! client does not read, so a slow client costs little memory.

mod io;
mod queue;
mod request;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use wormhole_chat::{CLOSE_MALFORMED, WebSocketMessage, WebSocketResponse};

use super::api::Principal;
use super::server::{Front, Opener};
use super::sockets::{Registration, Socket};
use super::store::{Acknowledgement, Delivery, StoreError, Which};
use crate::http::Upgraded;
use crate::http::websocket::{self, Received};
use crate::limits::LinkPermit;
use io::FrameIo;
use queue::DeviceQueue;

/// A WebSocket whose client is known.
#[derive(Debug)]
pub(super) struct DeviceSocket {
    front: Arc<Front>,
    opener: Opener,
    #[expect(dead_code, reason = "one of the client's connections until it is dropped")]
    permit: LinkPermit,
    io: FrameIo,
    /// What waits for the device; `None` for a socket without credentials.
    queue: Option<DeviceQueue>,
    /// Work that has begun.
    tasks: FuturesUnordered<Task>,
    /// Requests of the client among the tasks.
    requests: usize,
    /// When the client last sent something.
    heard: Instant,
    is_ending: bool,
}

type Task = Pin<Box<dyn Future<Output = Done> + Send>>;

/// The result of a [`Task`].
#[derive(Debug)]
enum Done {
    /// A message is removed from the queue, or stays there because the database is not available.
    Acknowledged(Result<(), StoreError>),
    /// More of the queue has been read.
    Page(Result<Option<Delivery>, StoreError>),
    /// A request of the client is answered; without an id, there is no answer.
    Request(Option<WebSocketResponse>),
}

/// What woke the socket.
#[derive(Debug)]
enum Woken {
    Changed,
    Displaced,
    Done(Done),
    Draining,
    Received(Vec<Received>),
    Tick,
    /// The connection has ended.
    Ended,
}

impl DeviceSocket {
    /// A socket of a device, or of a client without credentials.
    pub(super) fn new(
        front: Arc<Front>,
        opener: Opener,
        permit: LinkPermit,
        upgraded: Upgraded,
    ) -> Self {
        let queue = match &opener.principal {
            Principal::Device(found) => {
                let registration = front.service.sockets.register(found.device.key);
                Some(DeviceQueue::new(registration, found.device.key))
            }
            Principal::Nobody => None,
        };
        Self {
            front,
            opener,
            permit,
            io: FrameIo::new(upgraded),
            queue,
            tasks: FuturesUnordered::new(),
            requests: 0,
            heard: Instant::now(),
            is_ending: false,
        }
    }

    /// Serves the client until one end closes the connection.
    pub(super) async fn serve(mut self) {
        let socket = self.queue.as_ref().map(DeviceQueue::socket).unwrap_or_default();
        let draining = self.front.service.host.draining.clone();
        let mut timer = pin!(tokio::time::sleep(TICK));
        self.read_queue();
        loop {
            let can_read = !self.is_ending && self.requests < MAX_REQUESTS;
            let woken = tokio::select! {
                received = self.io.next(can_read) => received.map_or(Woken::Ended, Woken::Received),
                Some(done) = self.tasks.next() => Woken::Done(done),
                () = socket.changed.notified() => Woken::Changed,
                () = socket.displaced.cancelled(), if !self.is_ending => Woken::Displaced,
                () = draining.cancelled(), if !self.is_ending => Woken::Draining,
                () = timer.as_mut() => Woken::Tick,
            };
            if matches!(woken, Woken::Tick) {
                timer.as_mut().reset(tokio::time::Instant::now() + TICK);
            }
            if !self.handle(woken) || (self.is_ending && self.tasks.is_empty() && self.io.is_idle())
            {
                return;
            }
        }
    }

    /// Reacts; false if the connection has ended.
    fn handle(&mut self, woken: Woken) -> bool {
        match woken {
            Woken::Changed => {
                if let Some(queue) = &mut self.queue {
                    queue.may_have_more();
                }
                self.read_queue();
            }
            Woken::Displaced => self.end(CLOSE_DISPLACED),
            Woken::Done(done) => self.finish(done),
            Woken::Draining => self.end(websocket::CLOSE_GOING_AWAY),
            Woken::Ended => return false,
            Woken::Received(received) => {
                if !received.is_empty() {
                    self.heard = Instant::now();
                }
                received.into_iter().for_each(|received| self.receive(received));
                self.read_queue();
            }
            Woken::Tick => {
                let now = Instant::now();
                let is_silent = now.saturating_duration_since(self.heard) >= MAX_SILENCE;
                return !is_silent && !self.io.is_stuck(now);
            }
        }
        true
    }

    fn receive(&mut self, received: Received) {
        if self.is_ending {
            return;
        }
        match received {
            Received::Close => self.end(websocket::CLOSE_NORMAL),
            Received::Ping(content) => self.io.pong(&content),
            Received::Pong | Received::Skipped => {}
            Received::Oversized(_) => self.end(CLOSE_TOO_LONG),
            Received::Message(bytes) => match WebSocketMessage::decode(&bytes) {
                Ok(WebSocketMessage::Request(request)) => {
                    let task = request::answer(&self.front, &self.opener, request);
                    self.requests += 1;
                    self.tasks.push(Box::pin(async { Done::Request(task.await) }));
                }
                Ok(WebSocketMessage::Response(response)) => self.confirm(&response),
                Err(_) => self.end(CLOSE_MALFORMED),
            },
        }
    }

    /// The client has stored a message, or refuses it for now.
    fn confirm(&mut self, response: &WebSocketResponse) {
        let Some(queue) = &mut self.queue else { return };
        let Some(position) = queue.confirmed(response) else { return };
        let acknowledgement =
            Acknowledgement { device: queue.device(), message: Which::Position(position) };
        let front = Arc::clone(&self.front);
        self.tasks.push(Box::pin(async move {
            let acknowledged = front.service.storage.acknowledge(acknowledgement).await;
            Done::Acknowledged(acknowledged.map(drop))
        }));
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Acknowledged(Ok(())) => {}
            Done::Request(response) => {
                self.requests = self.requests.saturating_sub(1);
                if let Some(response) = response {
                    self.io.send(&WebSocketMessage::Response(response));
                }
            }
            Done::Page(Ok(Some(delivery))) => {
                if let Some(queue) = &mut self.queue {
                    queue.deliver(delivery, &mut self.io);
                }
                self.read_queue();
            }
            // The device was removed before its socket was registered.
            Done::Page(Ok(None)) => self.end(CLOSE_DISPLACED),
            // The client connects again and gets everything that is still in the queue.
            Done::Acknowledged(Err(_)) | Done::Page(Err(_)) => self.end(CLOSE_FAILED),
        }
    }

    /// Reads more of the queue, if there may be more, and the client has read and confirmed enough.
    fn read_queue(&mut self) {
        if self.is_ending || self.io.is_full() {
            return;
        }
        let page = self.queue.as_mut().and_then(DeviceQueue::next_page);
        let Some(page) = page else { return };
        let front = Arc::clone(&self.front);
        self.tasks
            .push(Box::pin(async move { Done::Page(front.service.storage.messages(page).await) }));
    }

    /// Closes the connection once everything is answered and written.
    fn end(&mut self, code: u16) {
        if !self.is_ending {
            self.is_ending = true;
            self.io.close(code);
        }
    }
}

/// Another socket of the same device has been opened, or the device does not exist any more.
const CLOSE_DISPLACED: u16 = 4409;

/// The client sent a frame that is too long. (RFC 6455, section 7.4.1)
const CLOSE_TOO_LONG: u16 = 1009;

/// The database is not available. (RFC 6455, section 7.4.1)
const CLOSE_FAILED: u16 = 1011;

/// Most messages that are sent before the client confirms one.
const MAX_UNCONFIRMED: usize = 256;

/// Most requests of a client at the same time. It may send more, but they are not read.
const MAX_REQUESTS: usize = 16;

/// Silence after which the connection is closed. Clients send something every 55 s.
const MAX_SILENCE: Duration = Duration::from_secs(90);

/// How often silent and slow clients are looked for.
const TICK: Duration = Duration::from_secs(15);
