//! The devices that are connected to this node, so that new messages wake their sockets. Other nodes that share the
//! database are notified of the same events, for the devices that are connected to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use wormhole_chat::Timestamp;

use super::store::{DeviceKey, ProvisioningAddress};
use crate::database::notifications::{Publisher, Receiver};

/// The open sockets, by device.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Mutex<HashMap<DeviceKey, Arc<Socket>>>,
    /// Sockets of devices that wait to be linked.
    provisioning: Mutex<HashMap<ProvisioningAddress, Arc<Socket>>>,
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
    opened: Timestamp,
}

/// The socket of a device that waits to be linked. Removes it when it is dropped.
#[derive(Debug)]
pub(super) struct ProvisioningRegistration {
    sockets: Arc<Sockets>,
    address: ProvisioningAddress,
    socket: Arc<Socket>,
}

/// Removes the socket when it is dropped.
#[derive(Debug)]
pub(super) struct SocketRegistration {
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
    pub(super) fn register(
        self: &Arc<Self>,
        device: DeviceKey,
        opened: Timestamp,
    ) -> SocketRegistration {
        let socket = Arc::new(Socket { opened, ..Socket::default() });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = open.insert(device, Arc::clone(&socket)) {
            earlier.displaced.cancel();
        }
        drop(open);
        if let Some(publisher) = &self.publisher {
            publisher.publish([Opening { device, opened }.to_text()].into_iter());
        }
        SocketRegistration { sockets: Arc::clone(self), device, socket }
    }

    /// Adds the socket of a device that waits to be linked.
    pub(super) fn register_address(
        self: &Arc<Self>,
        address: ProvisioningAddress,
    ) -> ProvisioningRegistration {
        let socket = Arc::new(Socket::default());
        self.provisioning().insert(address, Arc::clone(&socket));
        ProvisioningRegistration { sockets: Arc::clone(self), address, socket }
    }

    /// Wakes the socket of the device that waits at this address, on all nodes.
    pub(super) fn notify_address(&self, address: ProvisioningAddress) {
        let start = address.start();
        self.wake_addresses(&[start]);
        if let Some(publisher) = &self.publisher {
            publisher.publish([format!("{PROVISIONED}{start:016x}")].into_iter());
        }
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

    /// The number of devices that wait to be linked.
    pub(super) fn count_addresses(&self) -> usize {
        self.provisioning().len()
    }

    /// Closes the sockets of these devices, on all nodes: they do not exist any more.
    pub(super) fn close(&self, devices: &[DeviceKey]) {
        if !devices.is_empty() {
            self.displace(devices);
            self.publish(REMOVED, devices);
        }
    }

    fn wake(&self, devices: &[DeviceKey]) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(|device| open.get(device)).for_each(|it| it.changed.notify_one());
    }

    /// Wakes the sockets at the addresses that start so.
    fn wake_addresses(&self, starts: &[u64]) {
        if !starts.is_empty() {
            let open = self.provisioning();
            let woken = open.iter().filter(|(address, _)| starts.contains(&address.start()));
            woken.for_each(|(_, socket)| socket.changed.notify_one());
        }
    }

    fn provisioning(&self) -> MutexGuard<'_, HashMap<ProvisioningAddress, Arc<Socket>>> {
        self.provisioning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn displace(&self, devices: &[DeviceKey]) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(|device| open.get(device)).for_each(|it| it.displaced.cancel());
    }

    /// Closes the sockets of devices that have connected to another node since.
    fn displace_earlier(&self, openings: impl Iterator<Item = Opening>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for Opening { device, opened } in openings {
            if let Some(socket) = open.get(&device).filter(|socket| socket.opened < opened) {
                socket.displaced.cancel();
            }
        }
    }

    fn publish(&self, event: char, devices: &[DeviceKey]) {
        if let Some(publisher) = &self.publisher {
            publisher.publish(devices.iter().map(|device| format!("{event}{}", device.to_text())));
        }
    }
}

/// Handles the notifications of other nodes. A notification can only wake sockets, which then read their queues, and close sockets, whose
/// clients then connect again.
impl Receiver for Arc<Sockets> {
    fn receive(&self, entries: &[&str]) {
        let devices = |event| -> Vec<DeviceKey> {
            let texts = entries.iter().filter_map(|entry| entry.strip_prefix(event));
            texts.filter_map(DeviceKey::parse).collect()
        };
        self.wake(&devices(NEW_MESSAGES));
        self.displace(&devices(REMOVED));
        self.displace_earlier(entries.iter().filter_map(|entry| Opening::parse(entry)));
        let starts = entries.iter().filter_map(|entry| entry.strip_prefix(PROVISIONED));
        let starts = starts.filter_map(|start| u64::from_str_radix(start, 16).ok());
        self.wake_addresses(&starts.collect::<Vec<_>>());
    }

    fn check_all(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().for_each(|socket| socket.changed.notify_one());
        drop(open);
        self.provisioning().values().for_each(|socket| socket.changed.notify_one());
    }
}

/// A device has opened a socket. The notification may arrive late, when the device has already opened another one elsewhere,
/// so it contains the time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Opening {
    device: DeviceKey,
    /// By the clock of the node.
    opened: Timestamp,
}

impl Opening {
    /// The entry of a notification, at most 34 characters.
    fn to_text(self) -> String {
        format!("{OPENED}{}:{:x}", self.device.to_text(), self.opened.0)
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    fn parse(entry: &str) -> Option<Self> {
        let (device, opened) = entry.strip_prefix(OPENED)?.split_once(':')?;
        let opened = Timestamp(u64::from_str_radix(opened, 16).ok()?);
        Some(Self { device: DeviceKey::parse(device)?, opened })
    }
}

impl SocketRegistration {
    /// The registered socket.
    pub(super) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}

impl Drop for SocketRegistration {
    fn drop(&mut self) {
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A later socket of the same device stays.
        if open.get(&self.device).is_some_and(|it| Arc::ptr_eq(it, &self.socket)) {
            open.remove(&self.device);
        }
    }
}

impl ProvisioningRegistration {
    pub(super) const fn address(&self) -> ProvisioningAddress {
        self.address
    }

    /// The registered socket.
    pub(super) const fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}

impl Drop for ProvisioningRegistration {
    fn drop(&mut self) {
        self.sockets.provisioning().remove(&self.address);
    }
}

/// The channel of the notifications.
pub(super) const CHANNEL: &str = "wormhole_messaging";

/// The first character of a notification about a device with new messages.
const NEW_MESSAGES: char = '+';

/// The first character of a notification about a device that does not exist any more.
const REMOVED: char = '-';

/// The first character of a notification about a device that has opened a socket.
const OPENED: char = '~';

/// The first character of a notification about a device that waits to be linked. The first 8 bytes of its address follow, so
/// the notification does not contain the secret.
const PROVISIONED: char = '=';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_of_other_nodes_wake_and_close_sockets() {
        let sockets = Arc::new(Sockets::default());
        let devices = ["1", "a0", "7fffffffffffffff"];
        let keys = devices.map(|text| DeviceKey::parse(text).unwrap());
        assert_eq!(keys.map(DeviceKey::to_text), devices);
        let registrations = keys.map(|key| sockets.register(key, Timestamp(0)));
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

    #[test]
    fn a_socket_is_closed_by_a_later_one_at_another_node_but_not_by_an_earlier_one() {
        let sockets = Arc::new(Sockets::default());
        let device = DeviceKey::parse("a0").unwrap();
        let registration = sockets.register(device, Timestamp(0x1_0000));
        let is_closed = |entry: &str| {
            sockets.receive(&[entry]);
            registration.socket().displaced.is_cancelled()
        };
        let opening = |opened| Opening { device, opened: Timestamp(opened) }.to_text();
        // The device has connected to the other node first, and its notification comes late.
        for earlier in [&opening(0xffff), "~a0", "~a0:", "~a0:-1", "~:20000", "~b0:20000"] {
            assert!(!is_closed(earlier), "{earlier}");
        }
        assert!(is_closed(&opening(0x1_0001)));
        let device = DeviceKey::parse("7fffffffffffffff").unwrap();
        let longest = Opening { device, opened: Timestamp(u64::MAX) };
        assert_eq!(longest.to_text().len(), 34);
        assert_eq!(Opening::parse(&longest.to_text()), Some(longest));
    }

    #[test]
    fn a_notification_of_another_node_wakes_the_device_that_waits_at_an_address() {
        let sockets = Arc::new(Sockets::default());
        let [one, two] = [[1; 16], [2; 16]].map(ProvisioningAddress);
        let registrations = [one, two].map(|address| sockets.register_address(address));
        let is_woken = |number: usize| {
            let mut woken = std::pin::pin!(registrations[number].socket().changed.notified());
            woken.as_mut().enable()
        };
        sockets.receive(&["=0202020202020202", "=", "=x", "0101010101010101"]);
        assert_eq!([is_woken(0), is_woken(1)], [false, true]);
        sockets.notify_address(one);
        assert_eq!([is_woken(0), is_woken(1)], [true, false]);
        sockets.check_all();
        assert_eq!([is_woken(0), is_woken(1)], [true, true]);
        drop(registrations);
        assert!(sockets.provisioning().is_empty());
    }
}
