//! The server: it stores a message for all devices of an account or for none, as the real one does.

use std::collections::BTreeMap;

use wormhole_chat::service::{
    CurrentDevice, Mismatch, Recipient, check_recipients, check_some_recipients,
};
use wormhole_chat::{
    AccountId, Address, CiphertextKind, Delivery, DeviceId, Envelope, EnvelopeKind, OwnDevice,
    OwnDeviceList, PreKeyBundle, Request, Response, Timestamp,
};

use super::{Counts, Installation, Registered, Server, installations};

impl Server {
    pub(super) fn has_mail(&self, address: Address) -> bool {
        self.devices.get(&address).is_some_and(|device| !device.queue.is_empty())
    }

    pub(super) fn mail(&self, address: Address) -> usize {
        self.devices.get(&address).map_or(0, |device| device.queue.len())
    }

    pub(super) fn answer(
        &mut self,
        from: Installation,
        request: Request,
        counts: &mut Counts,
        accepted: &BTreeMap<(Installation, Timestamp), (AccountId, String)>,
    ) -> Response {
        match request {
            Request::Publish(keys) => {
                self.devices.get_mut(&from.0).unwrap().keys = Some(*keys);
                Response::Done
            }
            Request::Bundles(account) => self.bundles(account),
            Request::DeviceList => self.own_list(from.0.account),
            Request::PublishDeviceList(new) => {
                let stored = self.lists.get(&from.0.account).map(|(revision, _)| *revision);
                if stored != new.previous {
                    return Response::DeviceListConflict;
                }
                self.lists.insert(from.0.account, (new.revision, new.list));
                counts.lists += 1;
                Response::Done
            }
            Request::Send { to, timestamp, messages, .. } => {
                let parts = messages.iter().map(|message| {
                    let kind = match message.ciphertext.kind {
                        CiphertextKind::PreKey => EnvelopeKind::PreKeyBundle,
                        _ => EnvelopeKind::Ciphertext,
                    };
                    let id = Some(message.registration_id);
                    (message.device, id, kind, message.ciphertext.bytes.clone())
                });
                self.submit(from, to, timestamp, parts.collect(), false, counts, accepted)
            }
            Request::SendToDevice { to, registration_id, timestamp, kind, bytes } => {
                let part = (to.device, registration_id, kind, bytes);
                self.submit(from, to.account, timestamp, vec![part], true, counts, accepted)
            }
            Request::AppendGroupEntry { .. }
            | Request::Certificate
            | Request::GroupEntries { .. }
            | Request::SendGroup { .. } => panic!("there are no groups: {request:?}"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    fn submit(
        &mut self,
        from: Installation,
        to: AccountId,
        timestamp: Timestamp,
        parts: Vec<(DeviceId, Option<u32>, EnvelopeKind, Vec<u8>)>,
        is_partial: bool,
        counts: &mut Counts,
        accepted: &BTreeMap<(Installation, Timestamp), (AccountId, String)>,
    ) -> Response {
        let content: Vec<u8> = parts.iter().flat_map(|part| part.3.iter().copied()).collect();
        let key = (from, to, timestamp, content);
        let needs_sync = !self.current(from.0.account, from.0).is_empty();
        if self.taken.contains(&key) {
            return Response::Sent { needs_sync };
        }
        let current = self.current(to, from.0);
        let recipient = |part: &(DeviceId, Option<u32>, EnvelopeKind, Vec<u8>)| Recipient {
            device: part.0,
            registration_id: part.1,
        };
        let recipients: Vec<_> = parts.iter().map(recipient).collect();
        let checked = match is_partial {
            true => check_some_recipients(&current, &recipients),
            false => check_recipients(&current, &recipients),
        };
        match checked {
            Ok(()) => {}
            Err(Mismatch::Devices { missing, extra }) => {
                return Response::Mismatched { missing, extra };
            }
            Err(Mismatch::Stale(devices)) => return Response::Stale(devices),
        }
        self.taken.insert(key);
        if !is_partial {
            let is_new = !self.stored.contains_key(&(from, timestamp));
            counts.messages += usize::from(is_new && accepted.contains_key(&(from, timestamp)));
            if is_new {
                let others = installations(from.0.account, &self.current(from.0.account, from.0));
                self.copies.insert((from, timestamp), others);
            }
            let stored = self.stored.entry((from, timestamp)).or_default();
            stored.extend(installations(to, &current));
        }
        for (device, _, kind, bytes) in parts {
            self.put(from.0, Address { account: to, device }, kind, timestamp, Some(bytes));
        }
        Response::Sent { needs_sync }
    }

    /// The devices of an account that can receive, without one.
    fn current(&self, account: AccountId, without: Address) -> Vec<CurrentDevice> {
        let can = |(address, device): &(&Address, &Registered)| {
            address.account == account && **address != without && device.keys.is_some()
        };
        let devices = self.devices.iter().filter(can);
        devices
            .map(|(address, device)| CurrentDevice {
                device: address.device,
                registration_id: device.registration_id,
            })
            .collect()
    }

    fn put(
        &mut self,
        from: Address,
        to: Address,
        kind: EnvelopeKind,
        timestamp: Timestamp,
        content: Option<Vec<u8>>,
    ) {
        let mut envelope = Envelope::new(kind, timestamp);
        envelope.source_account = Some(from.account);
        envelope.source_device = Some(from.device);
        envelope.content = content;
        self.last_delivery += 1;
        let delivery = Delivery(self.last_delivery);
        if let Some(device) = self.devices.get_mut(&to) {
            device.queue.push_back((delivery, envelope));
        }
    }

    pub(super) fn acknowledge(&mut self, address: Address, delivery: Delivery) {
        let Some(device) = self.devices.get_mut(&address) else { return };
        let Some(index) = device.queue.iter().position(|(id, _)| *id == delivery) else { return };
        let (_, envelope) = device.queue.remove(index).unwrap();
        if envelope.kind != EnvelopeKind::Receipt {
            let account = envelope.source_account.unwrap();
            let to = Address { account, device: envelope.source_device.unwrap() };
            self.put(address, to, EnvelopeKind::Receipt, envelope.timestamp, None);
        }
    }

    fn own_list(&self, account: AccountId) -> Response {
        let of_account = self.devices.iter().filter(|(address, _)| address.account == account);
        let devices = of_account.map(|(address, device)| OwnDevice {
            device: address.device,
            registration_id: device.registration_id,
            has_keys: device.keys.is_some(),
        });
        let stored = self.lists.get(&account).cloned();
        Response::DeviceList(OwnDeviceList { stored, devices: devices.collect() })
    }

    fn bundles(&mut self, account: AccountId) -> Response {
        let devices = self.devices.iter_mut().filter(|(address, _)| address.account == account);
        let bundles: Vec<_> = devices
            .filter_map(|(address, device)| {
                let keys = device.keys.as_mut()?;
                Some(PreKeyBundle {
                    device: address.device,
                    registration_id: device.registration_id,
                    identity: keys.identity,
                    signed: keys.signed,
                    one_time: keys.one_time.pop(),
                    kem: Some(keys.kem.clone()),
                })
            })
            .collect();
        // A device that has just been installed has no keys yet.
        if bundles.is_empty() {
            return Response::Unavailable;
        }
        Response::Bundles(bundles, self.lists.get(&account).map(|(_, list)| list.clone()))
    }
}
