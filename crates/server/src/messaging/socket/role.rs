//! The purpose of a WebSocket.

use std::sync::Arc;

use super::provisioning::Provisioning;
use super::queue::DeviceQueue;
use super::{Opener, Principal, Socket};
use crate::messaging::context::Service;
use crate::messaging::random;
use crate::messaging::store::ProvisioningAddress;
use crate::messaging::store_thread::{Storage, unix_now};

/// The user of a WebSocket, and the requests that the server sends on it.
#[derive(Debug)]
pub(super) enum Role {
    /// A device, which gets its messages.
    Device(DeviceQueue),
    /// A client without credentials, which gets only answers.
    Nobody,
    /// A device that waits to be linked, which gets its address and then one message.
    Unlinked(Provisioning),
}

impl Role {
    /// The role of a new WebSocket. From now on, other tasks can wake it.
    pub(super) fn new(opener: &Opener, service: &Service) -> Self {
        let sockets = &service.sockets;
        match &opener.principal {
            Principal::Device(found) => {
                let device = found.device.key;
                Self::Device(DeviceQueue::new(sockets.register(device, unix_now()), device))
            }
            Principal::Nobody if opener.is_provisioning => {
                let address = ProvisioningAddress(random::bytes());
                Self::Unlinked(Provisioning::new(sockets.register_address(address)))
            }
            Principal::Nobody => Self::Nobody,
        }
    }

    /// Where other tasks wake the socket.
    pub(super) fn socket(&self) -> Arc<Socket> {
        match self {
            Self::Device(queue) => queue.socket(),
            Self::Nobody => Arc::default(),
            Self::Unlinked(provisioning) => provisioning.socket(),
        }
    }

    /// Reads again soon: something was stored for the client.
    pub(super) const fn changed(&mut self) {
        match self {
            Self::Device(queue) => queue.may_have_more(),
            Self::Nobody => {}
            Self::Unlinked(provisioning) => provisioning.may_have_message(),
        }
    }

    /// The queue of a device.
    pub(super) const fn queue(&mut self) -> Option<&mut DeviceQueue> {
        match self {
            Self::Device(queue) => Some(queue),
            Self::Nobody | Self::Unlinked(_) => None,
        }
    }

    /// The address of a device that waits to be linked.
    pub(super) const fn provisioning(&mut self) -> Option<&mut Provisioning> {
        match self {
            Self::Device(_) | Self::Nobody => None,
            Self::Unlinked(provisioning) => Some(provisioning),
        }
    }

    /// Removes what is stored for this connection, after its end.
    pub(super) async fn forget(self, storage: &Storage) {
        match self {
            Self::Device(_) | Self::Nobody => {}
            Self::Unlinked(provisioning) => provisioning.forget(storage).await,
        }
    }
}
