//! A device that waits to be linked to an account: it gets an address, and then the message that is sent to this address.

use std::sync::Arc;
use std::time::Instant;

use wormhole_chat::{WebSocketMessage, WebSocketRequest, WebSocketResponse};

use super::io::FrameIo;
use super::{ProvisioningRegistration, Socket, now};
use crate::messaging::store::rules::linking::PROVISIONING_LIFE;
use crate::messaging::store::{ProvisioningAddress, Rows, StoreError};
use crate::messaging::store_thread::Storage;

/// What is known of the address.
#[derive(Debug)]
pub(super) struct Provisioning {
    registration: ProvisioningRegistration,
    opened: Instant,
    state: State,
    /// Whether there may be a message.
    may_have_message: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The address is being stored.
    Opening,
    /// The client knows the address.
    Waiting,
    /// The message is being read.
    Reading,
    /// The client has got the message, and has not confirmed it.
    Delivered,
}

impl Provisioning {
    /// A device that does not know its address yet.
    pub(super) fn new(registration: ProvisioningRegistration) -> Self {
        Self { registration, opened: now(), state: State::Opening, may_have_message: false }
    }

    pub(super) const fn address(&self) -> ProvisioningAddress {
        self.registration.address()
    }

    /// Where other tasks wake the socket.
    pub(super) fn socket(&self) -> Arc<Socket> {
        Arc::clone(self.registration.socket())
    }

    /// The address is stored: tells the client.
    pub(super) fn announce(&mut self, io: &mut FrameIo) {
        self.state = State::Waiting;
        let address = self.address().to_text();
        let length = u8::try_from(address.len()).unwrap_or_default();
        // The message of the protocol buffers has one field: 1, a text. (docs/chat-service.md "Linking a device")
        let body = [&[0x0a, length][..], address.as_bytes()].concat();
        io.send(&request("/v1/address", ADDRESS_REQUEST, body));
    }

    /// Something was stored.
    pub(super) const fn may_have_message(&mut self) {
        self.may_have_message = true;
    }

    /// Whether the message should be read now.
    pub(super) fn can_read(&self) -> bool {
        self.may_have_message && self.state == State::Waiting
    }

    /// The message is going to be read.
    pub(super) const fn begin_reading(&mut self) {
        self.may_have_message = false;
        self.state = State::Reading;
    }

    /// Sends the message that was read, if there was one.
    pub(super) fn deliver(&mut self, message: Option<Vec<u8>>, io: &mut FrameIo) {
        match message {
            Some(message) => {
                self.state = State::Delivered;
                io.send(&request("/v1/message", MESSAGE_REQUEST, message));
            }
            None => self.state = State::Waiting,
        }
    }

    /// Whether the client has answered that it has the message.
    pub(super) fn is_confirmed(&self, response: &WebSocketResponse) -> bool {
        self.state == State::Delivered && response.id == MESSAGE_REQUEST
    }

    /// Whether the device has waited for too long.
    pub(super) fn has_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) >= PROVISIONING_LIFE
    }

    /// Removes what is stored, after the end of the connection.
    pub(super) async fn forget(self, storage: &Storage) {
        if self.state == State::Delivered {
            return;
        }
        let address = self.address();
        let delete = move |rows: &mut dyn Rows, _| rows.delete_provisioning(address);
        // Otherwise, it expires.
        let _deleted: Result<(), StoreError> = storage.execute(delete).await;
    }
}

fn request(path: &str, id: u64, body: Vec<u8>) -> WebSocketMessage {
    WebSocketMessage::Request(WebSocketRequest {
        verb: "PUT".into(),
        path: path.into(),
        body: Some(body),
        id: Some(id),
        headers: Vec::new(),
    })
}

/// The id of the request that tells the client its address.
const ADDRESS_REQUEST: u64 = 1;

/// The id of the request with the message.
const MESSAGE_REQUEST: u64 = 2;
