//! The WebSocket of one device: requests of the client go through the API, and the messages of the device's queue go to
//! the client. (docs/chat-service.md "WebSocket")
//!
//! A message stays in the queue until the client has confirmed it, so nothing is lost when either side crashes; the
//! client recognises duplicates. At most [`MAX_UNCONFIRMED`] messages are sent before a confirmation, and none while the
//! client does not read, so a slow client costs little memory.

mod io;
mod provisioning;
mod queue;
mod request;
mod role;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use wormhole_chat::{CLOSE_MALFORMED, WebSocketMessage, WebSocketRequest, WebSocketResponse};

use super::api::{ApiError, AppProof, BaseUrl, ClientAddress, Principal};
use super::context::Api;
use super::presence::{ProvisioningRegistration, Socket, SocketRegistration};
use super::request_memory::{OutOfMemory, RequestMemory};
use super::store::{Found, QueueDelivery, StoreError};
use crate::http::Upgraded;
use crate::http::websocket::{self, Received};
use crate::limits::LinkPermit;
use crate::memory::Share;
use io::{Event, FrameIo};
use role::Role;

/// The client that opens a WebSocket.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) principal: Principal,
    /// Whether the client is a device that waits to be linked to an account.
    pub(super) is_provisioning: bool,
    /// How the client has proven that it may use its app.
    pub(super) app: Arc<AppProof>,
    pub(super) address: ClientAddress,
    pub(super) base: BaseUrl,
}

/// A WebSocket whose client is known.
#[derive(Debug)]
pub(super) struct DeviceSocket {
    api: Arc<Api>,
    opener: Opener,
    #[expect(dead_code, reason = "one of the client's connections until it is dropped")]
    permit: LinkPermit,
    io: FrameIo,
    role: Role,
    /// Work that has begun.
    tasks: FuturesUnordered<Task>,
    /// Requests of the client among the tasks.
    requests: usize,
    /// Memory for the part of the queue that is being read.
    page_bytes: usize,
    /// When the device and its app were last read from the database.
    checked: Instant,
    is_ending: bool,
}

type Task = Pin<Box<dyn Future<Output = Done> + Send>>;

/// The result of a [`Task`].
#[derive(Debug)]
enum Done {
    /// A message is removed from the queue, or stays there because the database is not available.
    Acknowledged(Result<(), StoreError>),
    /// The device and its app have been read again.
    Checked(Result<Arc<Found>, ApiError>),
    /// The address of a device that waits to be linked is stored.
    Listening(Result<(), StoreError>),
    /// The message for a device that waits to be linked has been read.
    Provisioned(Result<Option<Vec<u8>>, StoreError>),
    /// More of the queue has been read.
    Page(Result<Option<QueueDelivery>, StoreError>),
    /// A request of the client is answered; without an id, there is no answer.
    Request(Option<WebSocketResponse>),
}

/// An event of the socket.
#[derive(Debug)]
enum Woken {
    Changed,
    Displaced,
    Done(Done),
    Draining,
    Io(Event),
    Tick,
    /// The connection has ended.
    Ended,
}

impl DeviceSocket {
    /// A socket of a device, or of a client without credentials.
    pub(super) fn new(
        api: Arc<Api>,
        opener: Opener,
        permit: LinkPermit,
        upgraded: Upgraded,
    ) -> Self {
        let role = Role::new(&opener, &api.service);
        let share = Share::new(Arc::clone(&api.budget), Arc::clone(permit.usage()));
        Self {
            api,
            opener,
            permit,
            io: FrameIo::new(upgraded, share),
            role,
            tasks: FuturesUnordered::new(),
            requests: 0,
            page_bytes: 0,
            checked: now(),
            is_ending: false,
        }
    }

    /// Serves the client until one end closes the connection.
    pub(super) async fn serve(mut self) {
        self.run().await;
        let Self { api, role, io, .. } = self;
        drop(io);
        role.forget(&api.service.storage).await;
    }

    async fn run(&mut self) {
        let socket = self.role.socket();
        let draining = self.api.service.host.draining.clone();
        let mut timer = pin!(tokio::time::sleep(TICK));
        self.read_queue();
        self.listen();
        loop {
            let can_read = !self.is_ending && self.requests < MAX_REQUESTS;
            let woken = tokio::select! {
                event = self.io.next(can_read) => event.map_or(Woken::Ended, Woken::Io),
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
                self.role.changed();
                self.read_queue();
                self.read_message();
            }
            Woken::Displaced => self.end(CLOSE_DISPLACED),
            Woken::Done(done) => self.finish(done),
            Woken::Draining => self.end(websocket::CLOSE_GOING_AWAY),
            Woken::Ended => return false,
            Woken::Io(Event::OutOfMemory) => self.end(CLOSE_TRY_LATER),
            Woken::Io(Event::Received(received)) => {
                self.receive(received);
                self.read_queue();
            }
            Woken::Io(Event::Room) => self.read_queue(),
            Woken::Tick => return self.tick(now()),
        }
        true
    }

    /// Does what is done now and then; false if the client is too slow.
    fn tick(&mut self, now: Instant) -> bool {
        // There may have been no memory for it.
        self.read_queue();
        self.read_message();
        self.check_again(now);
        if self.role.provisioning().is_some_and(|it| it.has_expired(now)) {
            self.end(websocket::CLOSE_NORMAL);
        }
        !self.io.is_stuck(now)
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
                Ok(WebSocketMessage::Request(request)) => self.answer(request),
                Ok(WebSocketMessage::Response(response)) => self.confirm(&response),
                Err(_) => self.end(CLOSE_MALFORMED),
            },
        }
    }

    /// Starts to answer a request.
    fn answer(&mut self, request: WebSocketRequest) {
        if !self.io.reserve(REQUEST_BYTES) {
            if let Some(response) = request::refuse(request.id, OutOfMemory.into()) {
                self.io.send(&WebSocketMessage::Response(response));
            }
            return;
        }
        let body = request.body.as_ref().map_or(0, Vec::len);
        let memory = RequestMemory::new(self.io.share(body));
        let task = request::answer(&self.api, &self.opener, memory, request);
        self.requests += 1;
        self.tasks.push(Box::pin(async { Done::Request(task.await) }));
    }

    /// Sends the answer to a request, if the client wants one.
    fn send_response(&mut self, response: Option<WebSocketResponse>) {
        self.requests = self.requests.saturating_sub(1);
        self.io.release(REQUEST_BYTES);
        if let Some(response) = response {
            self.io.send(&WebSocketMessage::Response(response));
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Acknowledged(Ok(())) => {}
            Done::Checked(Ok(found)) => self.opener.principal = Principal::Device(found),
            Done::Checked(Err(error)) if error.is_unauthorized() => self.end(CLOSE_UNAUTHORIZED),
            // The database is not available now.
            Done::Checked(Err(_)) => {}
            Done::Request(response) => self.send_response(response),
            Done::Page(Ok(Some(delivery))) => self.deliver(delivery),
            Done::Listening(Ok(())) => self.announce(),
            Done::Provisioned(Ok(message)) => self.deliver_message(message),
            // The device was removed before its socket was registered.
            Done::Page(Ok(None)) => self.end(CLOSE_DISPLACED),
            // The client connects again and gets everything that is still in the queue.
            Done::Acknowledged(Err(_))
            | Done::Listening(Err(_))
            | Done::Page(Err(_))
            | Done::Provisioned(Err(_)) => self.end(CLOSE_FAILED),
        }
    }

    /// Now and then, reads the device and its app again: a token may have been revoked.
    fn check_again(&mut self, now: Instant) {
        let Principal::Device(found) = &self.opener.principal else { return };
        if self.is_ending || now.saturating_duration_since(self.checked) < CHECK_PERIOD {
            return;
        }
        self.checked = now;
        let (api, found) = (Arc::clone(&self.api), Arc::clone(found));
        let app = Arc::clone(&self.opener.app);
        self.tasks.push(Box::pin(async move {
            Done::Checked(api.service.check_again(&found, &app).await)
        }));
    }

    /// Closes the connection once everything is answered and written.
    fn end(&mut self, code: u16) {
        if !self.is_ending {
            self.is_ending = true;
            self.io.close(code);
        }
    }
}

/// The clock of the runtime, so that tests can change the time.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Another socket of the same device has been opened, or the device does not exist any more.
const CLOSE_DISPLACED: u16 = 4409;

/// The device may not use its app any more; it must log in again.
const CLOSE_UNAUTHORIZED: u16 = 4401;

/// The client sent a frame that is too long. (RFC 6455, section 7.4.1)
const CLOSE_TOO_LONG: u16 = 1009;

/// The database is not available. (RFC 6455, section 7.4.1)
const CLOSE_FAILED: u16 = 1011;

/// The address of the client uses too much memory. (RFC 6455, section 11.7)
const CLOSE_TRY_LATER: u16 = 1013;

/// Maximum number of messages that are sent before the client confirms one.
const MAX_UNCONFIRMED: usize = 256;

/// Maximum number of requests of a client at the same time. It may send more, but they are not read.
const MAX_REQUESTS: usize = 16;

/// Memory that a request needs, in addition to its body and to a long answer.
const REQUEST_BYTES: usize = 8 << 10;

/// Bytes after which a part of the queue ends.
const MAX_PAGE_BYTES: usize = 256 << 10;

/// The limit of a part if the address of the client uses much memory.
const MIN_PAGE_BYTES: usize = 8 << 10;

/// Silence after which the connection is closed. Clients send something every 55 s.
const MAX_SILENCE: Duration = Duration::from_secs(90);

/// How long a revoked token of an app stays valid on an open WebSocket.
const CHECK_PERIOD: Duration = Duration::from_secs(60);

/// How often silent and slow clients are looked for.
const TICK: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
