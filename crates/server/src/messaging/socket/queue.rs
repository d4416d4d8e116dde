//! The messages of a device on their way to its client.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_core::OsRng;
use wormhole_chat::{SignalingKey, WebSocketMessage, WebSocketRequest, WebSocketResponse};

use super::io::FrameIo;
use super::role::Role;
use super::{
    DeviceSocket, Done, MAX_PAGE_BYTES, MAX_UNCONFIRMED, MIN_PAGE_BYTES, Socket, SocketRegistration,
};
use crate::http::websocket;
use crate::messaging::store::{
    Acknowledgement, DeviceKey, MessageName, PageRequest, QueueDelivery,
};

/// The state of a device's queue, as the socket knows it.
#[derive(Debug)]
pub(super) struct DeviceQueue {
    registration: SocketRegistration,
    device: DeviceKey,
    /// Position of the last message that was sent.
    sent: i64,
    /// Positions of messages that the client has not confirmed, by request.
    unconfirmed: BTreeMap<u64, i64>,
    last_request: u64,
    /// Whether the queue may have messages after `sent`.
    may_have_more: bool,
    is_reading: bool,
    /// Whether the client knows that it has got everything that was stored before it connected.
    is_announced: bool,
}

impl DeviceQueue {
    /// The queue of a device, of which nothing is sent yet.
    pub(super) const fn new(registration: SocketRegistration, device: DeviceKey) -> Self {
        Self {
            registration,
            device,
            sent: i64::MIN,
            unconfirmed: BTreeMap::new(),
            last_request: 0,
            may_have_more: true,
            is_reading: false,
            is_announced: false,
        }
    }

    pub(super) const fn device(&self) -> DeviceKey {
        self.device
    }

    /// Where other tasks wake the socket.
    pub(super) fn socket(&self) -> Arc<Socket> {
        Arc::clone(self.registration.socket())
    }

    /// Marks the queue for reading: something was stored.
    pub(super) const fn may_have_more(&mut self) {
        self.may_have_more = true;
    }

    /// How many messages may be sent before the client confirms one.
    fn room(&self) -> usize {
        MAX_UNCONFIRMED.saturating_sub(self.unconfirmed.len())
    }

    /// Whether there may be something to read, and the client has confirmed enough.
    pub(super) fn can_read(&self) -> bool {
        // In large steps: each page costs a request to the database.
        self.may_have_more && !self.is_reading && self.room() >= MAX_UNCONFIRMED / 2
    }

    /// Returns the next request: a page that ends after so many bytes.
    pub(super) fn next_page(&mut self, max_bytes: usize) -> PageRequest {
        self.may_have_more = false;
        self.is_reading = true;
        PageRequest {
            device: self.device,
            after: self.sent,
            max_messages: u32::try_from(self.room()).unwrap_or(u32::MAX),
            max_bytes,
        }
    }

    /// Sends the messages that were read.
    pub(super) fn deliver(&mut self, delivery: QueueDelivery, io: &mut FrameIo) {
        let QueueDelivery { page, signaling_key } = delivery;
        // The device may have got another key since it has connected.
        let signaling_key = signaling_key.as_deref().and_then(SignalingKey::from_slice);
        self.is_reading = false;
        self.may_have_more |= page.has_more;
        for (position, envelope) in page.messages {
            self.sent = position;
            let (body, is_sealed) = match &signaling_key {
                Some(key) => (key.seal(&envelope, &mut OsRng), "true"),
                None => (envelope, "false"),
            };
            let id = self.send(io, "/api/v1/message", Some(body), is_sealed);
            self.unconfirmed.insert(id, position);
        }
        if !self.may_have_more && !self.is_announced {
            self.is_announced = true;
            self.send(io, "/api/v1/queue/empty", None, "false");
        }
    }

    fn send(&mut self, io: &mut FrameIo, path: &str, body: Option<Vec<u8>>, sealed: &str) -> u64 {
        self.last_request += 1;
        io.send(&WebSocketMessage::Request(WebSocketRequest {
            verb: "PUT".into(),
            path: path.into(),
            body,
            id: Some(self.last_request),
            headers: vec![("X-Signal-Key".into(), sealed.into())],
        }));
        self.last_request
    }

    /// Returns the position of the message that the client has confirmed. A message that it refuses stays in the queue until the
    /// client connects again.
    pub(super) fn confirmed(&mut self, response: &WebSocketResponse) -> Option<i64> {
        let position = self.unconfirmed.remove(&response.id)?;
        (200..300).contains(&response.status).then_some(position)
    }
}

impl DeviceSocket {
    /// Reads more of the queue, if there may be more, and the client has read and confirmed enough.
    pub(super) fn read_queue(&mut self) {
        if self.is_ending || self.io.is_full() {
            return;
        }
        let Some(queue) = self.role.queue().filter(|queue| queue.can_read()) else { return };
        // With little memory, there are small steps.
        let mut sizes = [MAX_PAGE_BYTES, MIN_PAGE_BYTES].into_iter();
        let Some(bytes) = sizes.find(|bytes| self.io.reserve(*bytes)) else { return };
        self.page_bytes = bytes;
        let page = queue.next_page(bytes);
        let api = Arc::clone(&self.api);
        self.tasks
            .push(Box::pin(async move { Done::Page(api.service.storage.messages(page).await) }));
    }

    /// Sends the messages that were read.
    pub(super) fn deliver(&mut self, delivery: QueueDelivery) {
        self.io.release(std::mem::take(&mut self.page_bytes));
        if let Role::Device(queue) = &mut self.role {
            queue.deliver(delivery, &mut self.io);
        }
        self.read_queue();
    }

    /// Handles the client's response to a delivered message.
    pub(super) fn confirm(&mut self, response: &WebSocketResponse) {
        match &mut self.role {
            Role::Device(queue) => {
                let confirmed = queue.confirmed(response).map(MessageName::Position);
                let device = queue.device();
                if let Some(message) = confirmed {
                    self.acknowledge(Acknowledgement { device, message });
                }
            }
            Role::Nobody => {}
            Role::Unlinked(it) if it.is_confirmed(response) => {
                self.end(websocket::CLOSE_GOING_AWAY);
            }
            Role::Unlinked(_) => {}
        }
    }

    /// Removes a message that the client has confirmed.
    fn acknowledge(&self, acknowledgement: Acknowledgement) {
        let api = Arc::clone(&self.api);
        self.tasks.push(Box::pin(async move {
            let acknowledged = api.service.storage.acknowledge(acknowledgement).await;
            Done::Acknowledged(acknowledged.map(drop))
        }));
    }
}
