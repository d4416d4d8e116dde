//! The devices that are connected to this node, so that new messages wake their sockets. Other nodes that share the
//! database are notified of the same events, for the devices that are connected to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::store::DeviceKey;
use crate::database::notifications::{Publisher, Receiver};

/// The open sockets, by device.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Mutex<HashMap<DeviceKey, Arc<Socket>>>,
    /// Notifies other nodes, if there can be any.
    publisher: Option<Publisher>,
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
    /// No sockets. Events are also published to other nodes.
    pub(super) fn with_publisher(publisher: Option<Publisher>) -> Self {
        Self { publisher, ..Self::default() }
    }

    /// Adds the socket of a device, and displaces an earlier one, on this node or another one.
    pub(super) fn register(self: &Arc<Self>, device: DeviceKey) -> Registration {
        let socket = Arc::new(Socket::default());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = open.insert(device, Arc::clone(&socket)) {
            earlier.displaced.cancel();
        }
        drop(open);
        self.publish(CLOSED, &[device]);
        Registration { sockets: Arc::clone(self), device, socket }
    }

    /// Wakes the sockets of these devices, on all nodes.
    pub(super) fn notify(&self, devices: &[DeviceKey]) {
        if !devices.is_empty() {
            self.wake(devices);
            self.publish(NEW_MESSAGES, devices);
        }
    }

    /// The number of open sockets.
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes the sockets of these devices, on all nodes: they do not exist any more.
    pub(super) fn close(&self, devices: &[DeviceKey]) {
        if !devices.is_empty() {
            self.displace(devices);
            self.publish(CLOSED, devices);
        }
    }

    fn wake(&self, devices: &[DeviceKey]) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(|device| open.get(device)).for_each(|it| it.changed.notify_one());
    }

    fn displace(&self, devices: &[DeviceKey]) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(|device| open.get(device)).for_each(|it| it.displaced.cancel());
    }

    fn publish(&self, event: char, devices: &[DeviceKey]) {
        if let Some(publisher) = &self.publisher {
            publisher.publish(devices.iter().map(|device| format!("{event}{}", device.to_text())));
        }
    }
}

/// What other nodes have done. A notification can only wake sockets, which then read their queues, and close sockets, whose
/// clients then connect again.
impl Receiver for Arc<Sockets> {
    fn receive(&self, entries: &[&str]) {
        let devices = |event| -> Vec<DeviceKey> {
            let texts = entries.iter().filter_map(|entry| entry.strip_prefix(event));
            texts.filter_map(DeviceKey::parse).collect()
        };
        self.wake(&devices(NEW_MESSAGES));
        self.displace(&devices(CLOSED));
    }

    fn check_all(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().for_each(|socket| socket.changed.notify_one());
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

/// The channel of the notifications.
pub(super) const CHANNEL: &str = "wormhole_messaging";

/// The first character of a notification about a device with new messages.
const NEW_MESSAGES: char = '+';

/// The first character of a notification about a device that does not exist any more, or has connected to another node.
const CLOSED: char = '-';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_of_other_nodes_wake_and_close_sockets() {
        let sockets = Arc::new(Sockets::default());
        let devices = ["1", "a0", "7fffffffffffffff"];
        let keys = devices.map(|text| DeviceKey::parse(text).unwrap());
        assert_eq!(keys.map(DeviceKey::to_text), devices);
        let registrations = keys.map(|key| sockets.register(key));
        sockets.receive(&["+1", "-a0", "+7", "-", "+x", "", "1", "+-1", "-fffffffffffffffff"]);
        let is_closed = registrations.each_ref().map(|it| it.socket().displaced.is_cancelled());
        assert_eq!(is_closed, [false, true, false]);
        let is_woken = |number: usize| {
            let mut woken = std::pin::pin!(registrations[number].socket().changed.notified());
            woken.as_mut().enable()
        };
        assert_eq!([is_woken(0), is_woken(1), is_woken(2)], [true, false, false]);
        sockets.check_all();
        assert_eq!([is_woken(0), is_woken(1), is_woken(2)], [true, true, true]);
    }
}
