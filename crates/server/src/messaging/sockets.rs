//! The devices that are connected to this node, so that new messages wake their sockets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::store::DeviceKey;

/// The open sockets, by device.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Mutex<HashMap<DeviceKey, Arc<Socket>>>,
}

/// The socket of one device.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Is notified when the device may have new messages.
    pub(super) changed: Notify,
    /// Is cancelled when the same device opens another socket, or does not exist any more.
    pub(super) displaced: CancellationToken,
}

/// Removes the socket when it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    sockets: Arc<Sockets>,
    device: DeviceKey,
    socket: Arc<Socket>,
}

impl Sockets {
    /// Adds the socket of a device, and displaces an earlier one.
    pub(super) fn register(self: &Arc<Self>, device: DeviceKey) -> Registration {
        let socket = Arc::new(Socket::default());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = open.insert(device, Arc::clone(&socket)) {
            earlier.displaced.cancel();
        }
        drop(open);
        Registration { sockets: Arc::clone(self), device, socket }
    }

    /// Wakes the sockets of these devices.
    pub(super) fn notify(&self, devices: &[DeviceKey]) {
        if devices.is_empty() {
            return;
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(|device| open.get(device)).for_each(|it| it.changed.notify_one());
    }

    /// The number of open sockets.
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes the sockets of these devices: they do not exist any more.
    pub(super) fn close(&self, devices: &[DeviceKey]) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(|device| open.get(device)).for_each(|it| it.displaced.cancel());
    }
}

impl Registration {
    /// The registered socket.
    pub(super) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A later socket of the same device stays.
        if open.get(&self.device).is_some_and(|it| Arc::ptr_eq(it, &self.socket)) {
            open.remove(&self.device);
        }
    }
}
