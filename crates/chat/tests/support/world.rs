//! A server and any number of devices, with a network that loses and duplicates messages, and
//! devices that crash between any two steps. The seed determines everything.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_chat::group::{AccessHashes, GroupAccess, GroupId};
use wormhole_chat::{
    AccountDevices, AccountId, Address, CertifiedSender, CiphertextKind, Client, ClientEvent,
    ClientInput, ClientOutput, CommitId, Content, DataMessage, Delivery, DeviceId, Envelope,
    EnvelopeKind, Identity, IdentitySync, KeyPair, KnownIdentity, LeftOut, MultiRecipientMessage,
    NewDeviceList, OwnDevice, OwnDeviceList, PreKeyBundle, PublicKey, Publication, Received,
    Request, RequestId, Response, SealedMessage, SenderCertificate, ServerCertificate, StoreKey,
    Timestamp,
};
use zeroize::Zeroizing;

/// The server's state of a device.
#[derive(Debug)]
pub(crate) struct Registered {
    registration_id: u32,
    keys: Option<Publication>,
    queue: VecDeque<(Delivery, Envelope)>,
    /// How often the first message of the queue was skipped.
    passed_over: u32,
}

/// The log of a group.
#[derive(Debug)]
pub(crate) struct GroupLog {
    pub(crate) keys: AccessHashes,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Who has appended with which link.
    joined: BTreeSet<(AccountId, [u8; 32])>,
}

/// Delivers a message to all devices of an account or to none, and only once.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) devices: BTreeMap<Address, Registered>,
    taken: BTreeSet<(Address, Timestamp)>,
    /// Messages to groups. Each time that one is sealed, it is another one.
    taken_sealed: BTreeSet<(Address, Timestamp, Vec<u8>)>,
    /// What was sent to single devices: sender, recipient, timestamp and content.
    taken_bytes: BTreeSet<(Address, Address, Timestamp, Vec<u8>)>,
    pub(crate) groups: BTreeMap<GroupId, GroupLog>,
    /// The keys of the trust root and of the server.
    certifiers: Option<(KeyPair, KeyPair)>,
    /// Number of sealed messages for groups.
    #[allow(dead_code, reason = "only the tests of groups use it")]
    pub(crate) group_messages: usize,
    last_delivery: u64,
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
    /// How it changes the bundles that it hands out.
    pub(crate) edits_bundles: Option<fn(&mut Vec<PreKeyBundle>)>,
}

impl Server {
    pub(crate) fn register(&mut self, address: Address, registration_id: u32) {
        let (keys, queue) = (None, VecDeque::new());
        self.devices.insert(address, Registered { registration_id, keys, queue, passed_over: 0 });
    }

    fn answer(&mut self, from: Address, request: Request) -> Response {
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
            Request::Bundles(account) => self.bundles(account),
            Request::DeviceList if self.has_lists => self.own_list(from.account),
            Request::PublishDeviceList(new) if self.has_lists => self.put_list(from.account, *new),
            Request::DeviceList | Request::PublishDeviceList(_) => Response::NotFound,
            Request::Send { to, .. } if self.full == Some(to) => Response::NoRoom,
            Request::AppendGroupEntry { group, revision, access, next, entry } => {
                self.append(from.account, (group, revision), &access, next, &entry)
            }
            Request::GroupEntries { group, access, from } => {
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
    fn send(
        &mut self,
        from: Address,
        (to, timestamp): (AccountId, Timestamp),
        messages: &[SealedMessage],
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
    fn deliver_once(
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
    fn deliver(
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

    fn group_entries(&self, group: GroupId, access: &GroupAccess, from: u64) -> Response {
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

    fn certify(&self, from: Address) -> Response {
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

    fn send_group(
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
    fn accepted(&self, from: Address) -> Response {
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

    fn put_list(&mut self, account: AccountId, new: NewDeviceList) -> Response {
        let stored = self.lists.get(&account).map(|(revision, _)| *revision);
        if stored != new.previous {
            return Response::DeviceListConflict;
        }
        self.lists.insert(account, (new.revision, new.list));
        Response::Done
    }

    fn bundles(&mut self, account: AccountId) -> Response {
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

/// A device with its storage.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) address: Address,
    pub(crate) client: Client,
    /// The durable rows.
    store: BTreeMap<StoreKey, Zeroizing<Vec<u8>>>,
    pub(crate) inbox: Vec<Received>,
    /// Inputs in transit to the client.
    inputs: VecDeque<ClientInput>,
    pub(crate) accepted: BTreeMap<Timestamp, (AccountId, String)>,
    /// Messages that were cancelled: they may have been sent before.
    pub(crate) cancelled: BTreeSet<Timestamp>,
    /// Texts that the client received, which may or may not be durable.
    tried: VecDeque<String>,
    pub(crate) events: Vec<ClientEvent>,
}

/// The whole simulation.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) devices: Vec<Device>,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha8Rng,
    written: u32,
    /// Whether faults have stopped.
    calm: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1 << 32));
        let certifiers = Some((KeyPair::random(&mut rng), KeyPair::random(&mut rng)));
        Self {
            server: Server { certifiers, ..Server::default() },
            devices: Vec::new(),
            now: Timestamp(1_600_000_000_000),
            rng: ChaCha8Rng::seed_from_u64(seed),
            written: 0,
            calm: false,
        }
    }

    /// Registers a device.
    pub(crate) fn join(&mut self, account: u8, device: u32, identity: &KeyPair) -> usize {
        let address = Address {
            account: AccountId::from_bytes([account; 16]),
            device: DeviceId::new(device).unwrap(),
        };
        let registration_id = self.rng.next_u32() % 16380 + 1;
        self.server.register(address, registration_id);
        let identity = Identity { pair: identity.clone(), registration_id };
        let mut client = Client::new(address, identity, self.now, &mut self.rng);
        client.set_roots(self.roots());
        if self.server.has_lists {
            client.manage_device_list();
        }
        let mut device = Device {
            address,
            client,
            store: BTreeMap::new(),
            inbox: Vec::new(),
            inputs: VecDeque::new(),
            accepted: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            tried: VecDeque::new(),
            events: Vec::new(),
        };
        // Registering includes the first commit: without it there is no device.
        let Some(ClientOutput::Commit(id, changes)) = device.client.poll() else { unreachable!() };
        device.apply(changes);
        device.inputs.push_back(ClientInput::Committed(id));
        self.devices.push(device);
        self.devices.len() - 1
    }

    fn roots(&self) -> Vec<PublicKey> {
        self.server.certifiers.iter().map(|(root, _)| *root.public()).collect()
    }

    /// True with a probability of 1 in `times`.
    pub(crate) fn chance(&mut self, times: u32) -> bool {
        self.rng.next_u32().is_multiple_of(times)
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.rng.next_u64() % u64::try_from(length).unwrap()).unwrap()
    }

    /// Runs one random step of one random device.
    pub(crate) fn step(&mut self) {
        self.now.0 += 1 + u64::from(self.rng.next_u32() % 1000);
        let which = self.index(self.devices.len());
        match self.rng.next_u32() % 12 {
            0 => self.write(which),
            1 | 2 if !self.calm || self.chance(4) => self.hand_out(which),
            3 if !self.calm && self.chance(3) => self.crash(which),
            4 if self.chance(4) => self.input(which, ClientInput::Connected),
            5..=7 => {
                if let Some(input) = self.devices[which].inputs.pop_front() {
                    self.input(which, input);
                }
            }
            8 if self.chance(16) => self.cancel(which),
            _ => self.output(which),
        }
    }

    /// A person cancels the newest message that waits.
    fn cancel(&mut self, which: usize) {
        let newest = self.devices[which].client.outbox().last();
        if let Some((timestamp, _)) = newest {
            self.devices[which].cancelled.insert(timestamp);
            self.input(which, ClientInput::Cancel(timestamp));
        }
    }

    /// A random person writes to another one.
    pub(crate) fn write(&mut self, which: usize) {
        let from = self.devices[which].address.account;
        let others: Vec<_> = self.devices.iter().map(|device| device.address.account).collect();
        let others: Vec<_> = others.into_iter().filter(|account| *account != from).collect();
        let to = others[self.index(others.len())];
        self.written += 1;
        let text = format!("text {}", self.written);
        let mut data = DataMessage::default();
        data.body = Some(text.clone());
        self.devices[which].tried.push_back(text);
        self.input(which, ClientInput::Send(to, Content::Data(Box::new(data))));
    }

    pub(crate) fn input(&mut self, which: usize, input: ClientInput) {
        self.devices[which].client.handle(self.now, input, &mut self.rng);
    }

    /// The server reports how many one-time prekeys of a device it has.
    pub(crate) fn keys_left(&mut self, which: usize, count: usize) {
        self.devices[which].client.keys_left(self.now, count, &mut self.rng);
    }

    /// The signed prekey that the server hands out for a device.
    pub(crate) fn published(&self, which: usize) -> (u32, PublicKey) {
        let keys = self.server.devices[&self.devices[which].address].keys.as_ref().unwrap();
        (keys.signed.0, keys.signed.1)
    }

    /// The server says which signed prekey of a device it hands out.
    pub(crate) fn check_published(&mut self, which: usize, id: u32, key: &PublicKey) {
        self.devices[which].client.check_published(self.now, id, key, &mut self.rng);
    }

    /// The server delivers one of the first messages of a queue, and may deliver it again.
    pub(crate) fn hand_out(&mut self, which: usize) {
        let address = self.devices[which].address;
        let late = self.chance(4);
        let offset = self.index(4);
        let registered = self.server.devices.get_mut(&address).unwrap();
        let late = late && registered.passed_over < 6 && offset < registered.queue.len();
        let index = if late { offset } else { 0 };
        registered.passed_over = if index == 0 { 0 } else { registered.passed_over + 1 };
        if let Some((delivery, envelope)) = registered.queue.get(index).cloned() {
            let input = ClientInput::Envelope(delivery, Box::new(envelope));
            self.devices[which].inputs.push_back(input);
        }
    }

    /// The versions of the messages that wait for a device at the server: 3 (X3DH) or 4 (PQXDH).
    pub(crate) fn waiting_versions(&self, which: usize) -> Vec<u8> {
        let registered = &self.server.devices[&self.devices[which].address];
        let contents = registered.queue.iter().map(|(_, envelope)| envelope.content.as_ref());
        contents.map(|content| content.unwrap()[0] >> 4).collect()
    }

    /// The kinds and timestamps of the messages that wait for a device at the server.
    pub(crate) fn waiting_kinds(&self, which: usize) -> Vec<(EnvelopeKind, Timestamp)> {
        let registered = &self.server.devices[&self.devices[which].address];
        registered.queue.iter().map(|(_, envelope)| (envelope.kind, envelope.timestamp)).collect()
    }

    /// The server delivers everything that waits for a device, changed like this.
    pub(crate) fn deliver_changed(&mut self, which: usize, change: impl Fn(&mut Envelope)) {
        let address = self.devices[which].address;
        let registered = self.server.devices.get_mut(&address).unwrap();
        for (_, envelope) in &mut registered.queue {
            change(envelope);
        }
        let waiting: Vec<_> = registered.queue.iter().cloned().collect();
        for (delivery, envelope) in waiting {
            self.input(which, ClientInput::Envelope(delivery, Box::new(envelope)));
            self.run(which);
        }
    }

    /// The server delivers everything that waits for a device.
    pub(crate) fn deliver(&mut self, which: usize) {
        self.deliver_changed(which, |_| {});
    }

    /// The server delivers everything that waits for a device, the latest first.
    #[allow(dead_code, reason = "only some tests use it")]
    pub(crate) fn deliver_backwards(&mut self, which: usize) {
        let address = self.devices[which].address;
        let queue = &mut self.server.devices.get_mut(&address).unwrap().queue;
        *queue = std::mem::take(queue).into_iter().rev().collect();
        self.deliver(which);
    }

    /// The durable rows of a device are replaced, and it starts again.
    pub(crate) fn restore(&mut self, which: usize, rows: BTreeMap<StoreKey, Zeroizing<Vec<u8>>>) {
        self.devices[which].store = rows;
        self.crash(which);
        self.run(which);
    }

    /// The device loses everything that is not durable.
    pub(crate) fn crash(&mut self, which: usize) {
        let roots = self.roots();
        let has_lists = self.server.has_lists;
        let device = &mut self.devices[which];
        let rows = device.store.iter().map(|(key, value)| (*key, value.clone()));
        device.client = Client::restore(rows).unwrap();
        if has_lists {
            device.client.manage_device_list();
        }
        device.client.set_roots(roots);
        device.inputs.clear();
        device.tried.clear();
        self.input(which, ClientInput::Connected);
    }

    /// Executes the next output of a client, or loses it.
    fn output(&mut self, which: usize) {
        let Some(output) = self.devices[which].client.poll() else { return };
        let lost = !self.calm && self.chance(6);
        match output {
            ClientOutput::Commit(id, changes) => self.store(which, id, changes),
            ClientOutput::Request(id, request) => self.request(which, id, request, lost),
            ClientOutput::Acknowledge(delivery) => {
                if !lost {
                    let address = self.devices[which].address;
                    let registered = self.server.devices.get_mut(&address).unwrap();
                    registered.queue.retain(|(id, _)| *id != delivery);
                }
            }
            ClientOutput::Event(event) => self.devices[which].tell(event),
            ClientOutput::ReadAgain(delivery, envelope) => {
                self.devices[which].inputs.push_back(ClientInput::Envelope(delivery, envelope));
            }
        }
    }

    fn store(&mut self, which: usize, id: CommitId, changes: wormhole_chat::Changes) {
        self.devices[which].apply(changes);
        self.devices[which].inputs.push_back(ClientInput::Committed(id));
    }

    fn request(&mut self, which: usize, id: RequestId, request: Request, lost: bool) {
        let answer_lost = !self.calm && self.chance(6);
        let response = if lost {
            Response::Unavailable
        } else {
            self.server.answer(self.devices[which].address, request)
        };
        if !answer_lost {
            self.devices[which].inputs.push_back(ClientInput::Response(id, response));
        }
    }

    /// Each device connects once, sends what it can, and reads what has arrived.
    pub(crate) fn exchange(&mut self) {
        for which in 0..self.devices.len() {
            self.input(which, ClientInput::Connected);
            self.run(which);
            let waiting = self.server.devices[&self.devices[which].address].queue.len();
            for _ in 0..waiting {
                self.hand_out(which);
                self.run(which);
            }
        }
    }

    /// Delivers everything that is pending.
    pub(crate) fn settle(&mut self) {
        self.calm = true;
        for round in 0..200 {
            self.exchange();
            let empty = |device: &Registered| device.queue.is_empty();
            let idle = |device: &Device| {
                let is_changing = |id| device.client.is_changing_group(id);
                device.client.outbox_len() == 0
                    && device.client.group_outbox().next().is_none()
                    && !device.client.groups().any(is_changing)
            };
            if self.devices.iter().all(idle) && self.server.devices.values().all(empty) {
                return;
            }
            let left = |it: &Device| (it.outbox_len(), it.client.group_outbox().count());
            let left: Vec<_> = self.devices.iter().map(left).collect();
            assert!(round < 199, "it never settles, because messages are left: {left:?}");
        }
    }

    /// Runs a device until only copies for its other devices are in its outbox.
    pub(crate) fn run_until_copy_waits(&mut self, which: usize) {
        while self.devices[which].waiting() > 0 {
            match self.devices[which].inputs.pop_front() {
                Some(input) => self.input(which, input),
                None => match self.devices[which].client.poll().unwrap() {
                    ClientOutput::Commit(id, changes) => self.store(which, id, changes),
                    ClientOutput::Request(id, request) => self.request(which, id, request, false),
                    ClientOutput::Event(event) => self.devices[which].tell(event),
                    ClientOutput::Acknowledge(_) | ClientOutput::ReadAgain(..) => {}
                },
            }
        }
    }

    /// Runs a device until it makes a request of this kind, which is returned and not answered.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) fn run_until(
        &mut self,
        which: usize,
        is_wanted: fn(&Request) -> bool,
    ) -> (RequestId, Request) {
        loop {
            match self.devices[which].client.poll() {
                Some(ClientOutput::Request(id, request)) if is_wanted(&request) => {
                    return (id, request);
                }
                Some(ClientOutput::Request(id, request)) => self.request(which, id, request, false),
                Some(ClientOutput::Commit(id, changes)) => self.store(which, id, changes),
                Some(ClientOutput::Event(event)) => self.devices[which].tell(event),
                Some(ClientOutput::Acknowledge(_) | ClientOutput::ReadAgain(..)) => {}
                None => {
                    let input = self.devices[which].inputs.pop_front().unwrap();
                    self.input(which, input);
                }
            }
        }
    }

    /// The server answers a request.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) fn answer(&mut self, which: usize, (id, request): (RequestId, Request)) {
        let response = self.server.answer(self.devices[which].address, request);
        self.devices[which].inputs.push_back(ClientInput::Response(id, response));
    }

    /// Runs all steps of a device that need no other device.
    pub(crate) fn run(&mut self, which: usize) {
        loop {
            let before = self.devices[which].inputs.len();
            while let Some(input) = self.devices[which].inputs.pop_front() {
                self.input(which, input);
            }
            let mut worked = before > 0;
            while let Some(output) = self.devices[which].client.poll() {
                worked = true;
                match output {
                    ClientOutput::Commit(id, changes) => self.store(which, id, changes),
                    ClientOutput::Request(id, request) => self.request(which, id, request, false),
                    ClientOutput::Acknowledge(delivery) => {
                        let address = self.devices[which].address;
                        let registered = self.server.devices.get_mut(&address).unwrap();
                        registered.queue.retain(|(id, _)| *id != delivery);
                    }
                    ClientOutput::Event(event) => self.devices[which].tell(event),
                    ClientOutput::ReadAgain(delivery, envelope) => {
                        let input = ClientInput::Envelope(delivery, envelope);
                        self.devices[which].inputs.push_back(input);
                    }
                }
            }
            if !worked {
                return;
            }
        }
    }
}

impl Device {
    fn apply(&mut self, changes: wormhole_chat::Changes) {
        for (key, value) in changes.rows {
            match value {
                Some(value) => {
                    self.store.insert(key, value);
                }
                None => {
                    self.store.remove(&key);
                }
            }
        }
        self.inbox.extend(changes.received);
    }

    fn tell(&mut self, event: ClientEvent) {
        if let ClientEvent::Accepted(timestamp, to) = &event
            && let Some(text) = self.tried.pop_front()
        {
            self.accepted.insert(*timestamp, (*to, text));
        }
        self.events.push(event);
    }

    pub(crate) fn outbox_len(&self) -> usize {
        self.client.outbox_len()
    }

    /// Number of messages of the user in the outbox.
    pub(crate) fn waiting(&self) -> usize {
        self.client.outbox().count()
    }

    /// Bytes of the user's messages in the outbox.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) fn outbox_bytes(&self) -> usize {
        self.client.outbox_bytes().map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn poll(&mut self) -> Option<ClientOutput> {
        self.client.poll()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let visible = self.inbox.iter().filter(|received| received.content.is_visible());
        let bodies = visible.map(|received| match &received.content {
            Content::Data(data) => data.body.clone().unwrap(),
            other => panic!("{other:?}"),
        });
        bodies.collect()
    }

    pub(crate) fn identity_of(&self, account: AccountId) -> Option<KnownIdentity> {
        self.client.identity_of(account)
    }

    /// What the user has decided about a key of an account, as far as this device knows.
    #[allow(dead_code, reason = "only some tests use it")]
    pub(crate) fn identity_decision(
        &self,
        account: AccountId,
        key: &PublicKey,
    ) -> Option<IdentitySync> {
        self.client.identity_decision(account, key)
    }

    /// The keys of an account that the user has refused.
    #[allow(dead_code, reason = "only some tests use it")]
    pub(crate) fn refused(&self, account: AccountId) -> Vec<PublicKey> {
        self.client.refused_identities(account)
    }

    /// The durable rows.
    pub(crate) fn rows(&self) -> &BTreeMap<StoreKey, Zeroizing<Vec<u8>>> {
        &self.store
    }
}

#[allow(dead_code, reason = "only the tests of groups use them")]
impl World {
    /// No more faults.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
    }

    /// Faults begin again.
    pub(crate) fn stir(&mut self) {
        self.calm = false;
    }

    /// Like [`World::step`], but nobody writes or cancels anything.
    pub(crate) fn step_group(&mut self) {
        self.now.0 += 1 + u64::from(self.rng.next_u32() % 1000);
        let which = self.index(self.devices.len());
        match self.rng.next_u32() % 10 {
            0 | 1 => self.hand_out(which),
            2 if self.chance(4) => self.crash(which),
            3 if self.chance(4) => self.input(which, ClientInput::Connected),
            4..=6 => {
                if let Some(input) = self.devices[which].inputs.pop_front() {
                    self.input(which, input);
                }
            }
            _ => self.output(which),
        }
    }
}

#[allow(dead_code, reason = "only the tests of groups use it")]
impl Registered {
    /// Number of messages that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }
}
