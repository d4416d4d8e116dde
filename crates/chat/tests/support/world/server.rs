//! The server of a simulated world: it keeps devices, keys, lists, messages and group logs, and answers requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::group::{AccessHashes, GroupAccess, GroupId};
use wormhole_chat::{
    AccountDevices, AccountId, Address, CertifiedSender, CiphertextKind, Delivery,
    DeviceCiphertext, DeviceId, Envelope, EnvelopeKind, KeyPair, LeftOut, MultiRecipientMessage,
    NewDeviceList, OwnDevice, OwnDeviceList, PreKeyBundle, Publication, Request, Response,
    SenderCertificate, ServerCertificate, Timestamp,
};

/// The server's state of a device.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(super) registration_id: u32,
    pub(super) keys: Option<Publication>,
    pub(super) queue: VecDeque<(Delivery, Envelope)>,
    /// How often the first message of the queue was skipped.
    pub(super) passed_over: u32,
}

/// The log of a group.
#[derive(Debug)]
pub(crate) struct GroupLog {
    pub(crate) keys: AccessHashes,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Who has appended with which link.
    pub(super) joined: BTreeSet<(AccountId, [u8; 32])>,
}

/// Delivers a message to all devices of an account or to none, and only once.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) devices: BTreeMap<Address, Registered>,
    pub(super) taken: BTreeSet<(Address, Timestamp)>,
    /// Messages to groups. Each time that one is sealed, it is another one.
    pub(super) taken_sealed: BTreeSet<(Address, Timestamp, Vec<u8>)>,
    /// What was sent to single devices: sender, recipient, timestamp and content.
    pub(super) taken_bytes: BTreeSet<(Address, Address, Timestamp, Vec<u8>)>,
    pub(crate) groups: BTreeMap<GroupId, GroupLog>,
    /// The keys of the trust root and of the server.
    pub(super) certifiers: Option<(KeyPair, KeyPair)>,
    /// Number of sealed messages for groups.
    #[allow(dead_code, reason = "only the tests of groups use it")]
    pub(crate) group_messages: usize,
    /// Number of requests for entries of the logs of groups.
    pub(crate) log_reads: usize,
    pub(super) last_delivery: u64,
    /// Whether it attacks: it hands out no post-quantum keys.
    pub(crate) strips_post_quantum_keys: bool,
    /// Whether it answers nothing.
    pub(crate) is_down: bool,
    /// Whether it says that the sender has other devices.
    pub(crate) reports_other_devices: bool,
    /// Whether it delivers messages and answers that the devices differ, without naming any.
    pub(crate) lies_about_devices: bool,
    /// Who has sent something to whom that accepts the recipient.
    pub(crate) accepted: BTreeSet<(AccountId, AccountId)>,
    /// An account for whose devices it has no room.
    pub(crate) full: Option<AccountId>,
    /// Whether it stores lists of devices. Set it before devices are added.
    pub(crate) has_lists: bool,
    /// The newest list of each account, and its revision.
    pub(crate) lists: BTreeMap<AccountId, (u64, Vec<u8>)>,
    /// Whether it does not know that devices may be left out.
    pub(crate) insists: bool,
    /// Number of messages for devices that do not exist.
    pub(crate) in_vain: usize,
    /// How it changes the bundles that it hands out.
    pub(crate) edits_bundles: Option<fn(&mut Vec<PreKeyBundle>)>,
    /// Which account has asked for the keys of which.
    pub(crate) asked_for_keys: Vec<(AccountId, AccountId)>,
}

impl Server {
    pub(crate) fn register(&mut self, address: Address, registration_id: u32) {
        let (keys, queue) = (None, VecDeque::new());
        self.devices.insert(address, Registered { registration_id, keys, queue, passed_over: 0 });
    }

    pub(crate) fn answer(&mut self, from: Address, request: Request) -> Response {
        if self.is_down {
            return Response::Unavailable;
        }
        if let Request::Send { to, wants_answers: true, .. } = &request {
            self.accepted.insert((from.account, *to));
        }
        match request {
            Request::Publish(keys) => {
                self.devices.get_mut(&from).unwrap().keys = Some(*keys);
                Response::Done
            }
            Request::Bundles(account) => {
                self.asked_for_keys.push((from.account, account));
                self.bundles(account)
            }
            Request::DeviceList if self.has_lists => self.own_list(from.account),
            Request::PublishDeviceList(new) if self.has_lists => self.put_list(from.account, *new),
            Request::DeviceList | Request::PublishDeviceList(_) => Response::NotFound,
            Request::Send { to, .. } if self.full == Some(to) => Response::NoRoom,
            Request::AppendGroupEntry { group, revision, access, next, entry } => {
                self.append(from.account, (group, revision), &access, next, &entry)
            }
            Request::GroupEntries { group, access, from } => {
                self.log_reads += 1;
                self.group_entries(group, &access, from)
            }
            Request::SendGroup { timestamp, message, left_out, .. } => {
                self.send_group(from, timestamp, &message, &left_out)
            }
            Request::Certificate => self.certify(from),
            Request::Send { to, timestamp, messages, left_out, .. } => {
                self.send(from, (to, timestamp), &messages, left_out)
            }
            Request::SendToDevice { to, registration_id, timestamp, kind, bytes } => {
                let Some(device) = self.devices.get(&to) else {
                    self.in_vain += 1;
                    return Response::Mismatched { missing: Vec::new(), extra: vec![to.device] };
                };
                if registration_id.is_some_and(|expected| expected != device.registration_id) {
                    return Response::Stale(vec![to.device]);
                }
                self.deliver_once(from, to, kind, timestamp, bytes)
            }
        }
    }

    /// Puts a message into the queues of all devices of an account, or of none.
    pub(super) fn send(
        &mut self,
        from: Address,
        (to, timestamp): (AccountId, Timestamp),
        messages: &[DeviceCiphertext],
        left_out: Option<LeftOut>,
    ) -> Response {
        let stored = self.lists.get(&to).map(|(revision, _)| *revision);
        let insists = self.insists;
        let left_out = left_out.filter(|it| Some(it.revision) == stored && !insists);
        let left_out = left_out.map(|it| it.devices).unwrap_or_default();
        // A device without keys cannot receive messages, so it does not count yet.
        let known = self.devices.iter().filter(|(address, device)| {
            let is_left_out = left_out.contains(&address.device);
            let is_current = device.keys.is_some() && !is_left_out;
            address.account == to && is_current && **address != from
        });
        let known: BTreeMap<_, _> =
            known.map(|(address, device)| (address.device, device.registration_id)).collect();
        let given: BTreeSet<_> = messages.iter().map(|message| message.device).collect();
        let is_missing = |device: &DeviceId| !given.contains(device);
        let missing: Vec<_> = known.keys().copied().filter(is_missing).collect();
        let is_extra = |device: &DeviceId| !known.contains_key(device);
        let extra: Vec<_> = given.iter().copied().filter(is_extra).collect();
        if !missing.is_empty() || !extra.is_empty() {
            return Response::Mismatched { missing, extra };
        }
        let stale =
            messages.iter().filter(|message| known[&message.device] != message.registration_id);
        let stale: Vec<_> = stale.map(|message| message.device).collect();
        if !stale.is_empty() {
            return Response::Stale(stale);
        }
        if !self.taken.insert((from, timestamp)) {
            return self.accepted(from);
        }
        for message in messages.iter().cloned() {
            let kind = match message.ciphertext.kind {
                CiphertextKind::PreKey => EnvelopeKind::PreKeyBundle,
                _ => EnvelopeKind::Ciphertext,
            };
            let address = Address { account: to, device: message.device };
            self.deliver(from, address, kind, timestamp, message.ciphertext.bytes);
        }
        if self.lies_about_devices {
            self.taken.clear();
            return Response::Mismatched { missing: Vec::new(), extra: Vec::new() };
        }
        self.accepted(from)
    }

    /// Puts a message into the queue of a device, unless it was there before.
    pub(super) fn deliver_once(
        &mut self,
        from: Address,
        to: Address,
        kind: EnvelopeKind,
        timestamp: Timestamp,
        bytes: Vec<u8>,
    ) -> Response {
        if self.taken_bytes.insert((from, to, timestamp, bytes.clone())) {
            self.deliver(from, to, kind, timestamp, bytes);
        }
        self.accepted(from)
    }

    /// Puts a message into the queue of a device.
    pub(super) fn deliver(
        &mut self,
        from: Address,
        to: Address,
        kind: EnvelopeKind,
        timestamp: Timestamp,
        bytes: Vec<u8>,
    ) {
        let mut envelope = Envelope::new(kind, timestamp);
        envelope.source_account = Some(from.account);
        envelope.source_device = Some(from.device);
        envelope.content = Some(bytes);
        let envelope = Envelope::decode(&envelope.encode()).unwrap();
        self.last_delivery += 1;
        let delivery = Delivery(self.last_delivery);
        self.devices.get_mut(&to).unwrap().queue.push_back((delivery, envelope));
    }

    /// Appends an entry, with the rules of the real service.
    pub(crate) fn append(
        &mut self,
        from: AccountId,
        (group, revision): (GroupId, u64),
        access: &GroupAccess,
        next: Option<AccessHashes>,
        entry: &[u8],
    ) -> Response {
        let index = usize::try_from(revision).unwrap();
        let Some(log) = self.groups.get_mut(&group) else {
            if revision > 0 {
                return Response::NotFound;
            }
            let (entries, joined) = (vec![entry.to_vec()], BTreeSet::new());
            self.groups.insert(group, GroupLog { keys: next.unwrap(), entries, joined });
            return Response::Done;
        };
        if log.entries.get(index).is_some_and(|known| known == entry) {
            return Response::Done;
        }
        let shown = access.hash();
        let is_link = log.keys.link == Some(shown);
        if shown != log.keys.member && shown != log.keys.admin && !is_link {
            return Response::NotFound;
        }
        if index != log.entries.len() {
            let latest = u64::try_from(log.entries.len() - 1).unwrap();
            return Response::GroupConflict { latest };
        }
        if next.is_some() && shown != log.keys.admin || is_link && !log.joined.insert((from, shown))
        {
            return Response::Refused;
        }
        log.entries.push(entry.to_vec());
        log.keys = next.unwrap_or(log.keys);
        Response::Done
    }

    pub(super) fn group_entries(
        &self,
        group: GroupId,
        access: &GroupAccess,
        from: u64,
    ) -> Response {
        let is_right = |log: &&GroupLog| {
            let AccessHashes { member, admin, link } = log.keys;
            [Some(member), Some(admin), link].contains(&Some(access.hash()))
        };
        let Some(log) = self.groups.get(&group).filter(is_right) else {
            return Response::NotFound;
        };
        let entries = (0_u64..).zip(log.entries.iter().cloned());
        // As if each answer had room for three.
        let entries = entries.filter(|(revision, _)| *revision >= from).take(3).collect();
        let latest = u64::try_from(log.entries.len() - 1).unwrap();
        Response::GroupEntries { entries, latest }
    }

    pub(super) fn certify(&self, from: Address) -> Response {
        let Some((root, server)) = &self.certifiers else { return Response::Unavailable };
        let Some(keys) = self.devices[&from].keys.as_ref() else { return Response::Unavailable };
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let server_certificate = ServerCertificate::issue(1, *server.public(), root, &mut rng);
        let sender = CertifiedSender { address: from, identity: keys.identity, number: None };
        let expires = Timestamp(u64::MAX);
        let certificate =
            SenderCertificate::issue(sender, expires, server_certificate, server, &mut rng);
        Response::Certificate(Box::new(certificate))
    }

    pub(super) fn send_group(
        &mut self,
        from: Address,
        timestamp: Timestamp,
        message: &[u8],
        left_out: &[(AccountId, LeftOut)],
    ) -> Response {
        let taken = (from, timestamp, message.to_vec());
        let message = MultiRecipientMessage::decode(message).unwrap();
        let mut wrong = Vec::new();
        let mut queues = Vec::new();
        for (account, given) in message.recipients() {
            let known = self.devices.iter().filter(|(address, device)| {
                let stored = self.lists.get(&account).map(|(revision, _)| *revision);
                let mut left_out = left_out.iter().filter(|(of, it)| {
                    *of == account && Some(it.revision) == stored && !self.insists
                });
                let is_left_out = left_out.any(|(_, it)| it.devices.contains(&address.device));
                let is_current = device.keys.is_some() && !is_left_out;
                address.account == account && is_current && **address != from
            });
            let known: BTreeMap<_, _> =
                known.map(|(address, device)| (address.device, device.registration_id)).collect();
            let is_given = |id: &DeviceId| given.iter().any(|device| device.device == *id);
            let missing: Vec<_> = known.keys().copied().filter(|id| !is_given(id)).collect();
            let given_ids = given.iter().map(|device| device.device);
            let extra: Vec<_> = given_ids.filter(|id| !known.contains_key(id)).collect();
            let is_stale = |device: &&wormhole_chat::SealedDevice| {
                let id = known.get(&device.device);
                id.is_some_and(|id| *id != u32::from(device.registration_id))
            };
            let stale: Vec<_> = given.iter().filter(is_stale).map(|device| device.device).collect();
            if !missing.is_empty() || !extra.is_empty() || !stale.is_empty() {
                wrong.push(AccountDevices { account, missing, extra, stale });
            }
            queues.extend(known.keys().map(|device| Address { account, device: *device }));
        }
        if !wrong.is_empty() {
            return Response::GroupMismatched(wrong);
        }
        if self.taken_sealed.contains(&taken) {
            return Response::GroupSent { gone: Vec::new(), full: Vec::new() };
        }
        self.group_messages += 1;
        let full: BTreeSet<_> = queues.iter().map(|it| it.account).collect();
        let full: Vec<_> = full.into_iter().filter(|it| Some(*it) == self.full).collect();
        queues.retain(|address| !full.contains(&address.account));
        // A repetition must reach those who had no room.
        if full.is_empty() {
            self.taken_sealed.insert(taken);
        }
        for address in queues {
            let mut envelope = Envelope::new(EnvelopeKind::UnidentifiedSender, timestamp);
            envelope.content = message.for_account(address.account);
            self.last_delivery += 1;
            let delivery = Delivery(self.last_delivery);
            self.devices.get_mut(&address).unwrap().queue.push_back((delivery, envelope));
        }
        Response::GroupSent { gone: Vec::new(), full }
    }

    /// The answer to a message.
    pub(super) fn accepted(&self, from: Address) -> Response {
        let is_other = |(address, device): (&Address, &Registered)| {
            address.account == from.account && *address != from && device.keys.is_some()
        };
        let needs_sync = self.devices.iter().any(is_other);
        if self.reports_other_devices { Response::Sent { needs_sync } } else { Response::Done }
    }

    pub(crate) fn own_list(&self, account: AccountId) -> Response {
        let of_account = self.devices.iter().filter(|(address, _)| address.account == account);
        let devices = of_account.map(|(address, device)| OwnDevice {
            device: address.device,
            registration_id: device.registration_id,
            has_keys: device.keys.is_some(),
        });
        let stored = self.lists.get(&account).cloned();
        Response::DeviceList(OwnDeviceList { stored, devices: devices.collect() })
    }

    pub(super) fn put_list(&mut self, account: AccountId, new: NewDeviceList) -> Response {
        let stored = self.lists.get(&account).map(|(revision, _)| *revision);
        if stored != new.previous {
            return Response::DeviceListConflict;
        }
        self.lists.insert(account, (new.revision, new.list));
        Response::Done
    }

    pub(super) fn bundles(&mut self, account: AccountId) -> Response {
        let strips = self.strips_post_quantum_keys;
        let devices = self.devices.iter_mut().filter(|(address, _)| address.account == account);
        let mut bundles: Vec<_> = devices
            .filter_map(|(address, device)| {
                let keys = device.keys.as_mut()?;
                Some(PreKeyBundle {
                    device: address.device,
                    registration_id: device.registration_id,
                    identity: keys.identity,
                    signed: keys.signed,
                    one_time: keys.one_time.pop(),
                    kem: Some(keys.kem.clone()).filter(|_| !strips),
                })
            })
            .collect();
        if let Some(edit) = self.edits_bundles {
            edit(&mut bundles);
        }
        let exists = self.devices.keys().any(|address| address.account == account);
        match bundles.is_empty() {
            false => {
                let list = self.lists.get(&account).map(|(_, list)| list.clone());
                Response::Bundles(bundles, list)
            }
            true if exists => Response::Unavailable,
            true => Response::NotFound,
        }
    }
}

#[allow(dead_code, reason = "only the tests of groups use it")]
impl Registered {
    /// Number of messages that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Number of messages of an account that wait.
    pub(crate) fn waiting_from(&self, account: AccountId) -> usize {
        let sources = self.queue.iter().map(|(_, envelope)| envelope.source_account);
        sources.filter(|source| *source == Some(account)).count()
    }
}
