//! A device that waits to be linked to an account: it gets an address, and then the message that is sent to this address.

use std::sync::Arc;
use std::time::Instant;

use wormhole_chat::{WebSocketMessage, WebSocketRequest, WebSocketResponse};

use super::io::FrameIo;
use super::role::Role;
use super::{DeviceSocket, Done, ProvisioningRegistration, Socket, now};
use crate::messaging::api::MAX_PROVISIONING_MESSAGE;
use crate::messaging::store::rules::linking::PROVISIONING_LIFE;
use crate::messaging::store::{ProvisioningAddress, Rows, StoreError};
use crate::messaging::store_thread::Storage;

/// The state of the address.
#[derive(Debug)]
pub(super) struct Provisioning {
    registration: ProvisioningRegistration,
    opened: Instant,
    state: State,
    /// Whether there may be a message.
    may_have_message: bool,
}

/// The next event.
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

    /// Sends the address, which is stored, to the client.
    pub(super) fn announce(&mut self, io: &mut FrameIo) {
        self.state = State::Waiting;
        let address = self.address().to_text();
        let length = u8::try_from(address.len()).unwrap_or_default();
        // The message of the protocol buffers has one field: 1, a text. (docs/chat-service.md "Linking a device")
        let body = [&[0x0a, length][..], address.as_bytes()].concat();
        io.send(&request("/v1/address", ADDRESS_REQUEST, body));
    }

    /// Marks the address for reading: something was stored.
    pub(super) const fn may_have_message(&mut self) {
        self.may_have_message = true;
    }

    /// Whether the message should be read now.
    pub(super) fn can_read(&self) -> bool {
        self.may_have_message && self.state == State::Waiting
    }

    /// Records that the message is being read.
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
        let _deleted: Result<(), StoreError> = storage.execute_shared(delete).await;
    }
}

impl DeviceSocket {
    /// Stores the address of a device that waits to be linked.
    pub(super) fn listen(&self) {
        let Role::Unlinked(provisioning) = &self.role else { return };
        let address = provisioning.address();
        let api = Arc::clone(&self.api);
        self.tasks.push(Box::pin(async move {
            let insert = move |rows: &mut dyn Rows, now| rows.insert_provisioning(address, now);
            Done::Listening(api.service.storage.execute_shared(insert).await)
        }));
    }

    /// Reads the message for a device that waits to be linked, if there may be one.
    pub(super) fn read_message(&mut self) {
        let Role::Unlinked(provisioning) = &mut self.role else { return };
        if self.is_ending || !provisioning.can_read() || !self.io.reserve(MAX_PROVISIONING_MESSAGE)
        {
            return;
        }
        provisioning.begin_reading();
        let (api, address) = (Arc::clone(&self.api), provisioning.address());
        self.tasks.push(Box::pin(async move {
            let take = move |rows: &mut dyn Rows, _| rows.take_provisioning_message(address);
            Done::Provisioned(api.service.storage.execute_shared(take).await)
        }));
    }

    /// Sends the address, which is stored, to the client.
    pub(super) fn announce(&mut self) {
        if let Role::Unlinked(provisioning) = &mut self.role {
            provisioning.announce(&mut self.io);
        }
        self.read_message();
    }

    /// Sends the message that was read, if there was one.
    pub(super) fn deliver_message(&mut self, message: Option<Vec<u8>>) {
        self.io.release(MAX_PROVISIONING_MESSAGE);
        if let Role::Unlinked(provisioning) = &mut self.role {
            provisioning.deliver(message, &mut self.io);
        }
        self.read_message();
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
