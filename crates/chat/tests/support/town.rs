//! People with several devices each, whose network, clocks, disks and lists of devices are unreliable (Sesame).
//!
//! The server behaves like the real one: it stores a message for all devices of an account or for none, recognises repetitions, and
//! tells a sender when one of its messages was delivered. It records which installation of a device each message was stored for.

#![allow(dead_code, reason = "each program uses a part")]

#[path = "town/check.rs"]
mod check;
#[path = "town/device.rs"]
mod device;
#[path = "town/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_chat::service::CurrentDevice;
use wormhole_chat::{
    AccountId, Address, Client, ClientEvent, ClientInput, ClientOutput, Content, DataMessage,
    Delivery, DeviceId, Envelope, EnvelopeKind, Identity, KeyPair, Publication, Request, Response,
    StoreKey, Timestamp,
};
use zeroize::Zeroizing;

type Rows = BTreeMap<StoreKey, Zeroizing<Vec<u8>>>;

/// A device, and which installation of it.
type Installation = (Address, u32);

/// What the server knows of a device.
struct Registered {
    registration_id: u32,
    keys: Option<Publication>,
    queue: VecDeque<(Delivery, Envelope)>,
}

#[derive(Default)]
struct Server {
    devices: BTreeMap<Address, Registered>,
    /// What it has stored: sender, recipient, timestamp, and the messages.
    taken: BTreeSet<(Installation, AccountId, Timestamp, Vec<u8>)>,
    last_delivery: u64,
    /// The signed list of the devices of each account, and its revision.
    lists: BTreeMap<AccountId, (u64, Vec<u8>)>,
    /// Messages that are for all devices of an account, and the installations for which they were stored.
    stored: BTreeMap<(Installation, Timestamp), BTreeSet<Installation>>,
    /// The other devices of the sender at that time, which must get a copy.
    copies: BTreeMap<(Installation, Timestamp), BTreeSet<Installation>>,
}

/// A device with its store, and what the person has seen on it.
struct Device {
    address: Address,
    registration_id: u32,
    client: Client,
    rows: Rows,
    /// Rows of an earlier time.
    backup: Option<(u64, Rows)>,
    inputs: VecDeque<ClientInput>,
    /// Milliseconds by which its clock is wrong.
    skew: i64,
    /// How often each message was shown: its sender and its timestamp.
    shown: BTreeMap<(Address, Timestamp), usize>,
    /// How often each text was shown, and whether as a copy of what another device of the account has sent.
    texts: BTreeMap<(String, bool), usize>,
    /// What the store recognises: sender, timestamp and content.
    seen: BTreeSet<(Address, Timestamp, Vec<u8>)>,
    not_read: Vec<(Option<Address>, Timestamp)>,
    /// Texts that the person has written, and that may not be durable yet.
    tried: VecDeque<String>,
    has_noticed_rollback: bool,
}

/// What has happened in a town.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Messages that people have written, and that the server has accepted.
    pub(crate) messages: usize,
    /// Readings of messages and of copies by devices.
    pub(crate) readings: usize,
    /// Envelopes that could not be decrypted at first.
    pub(crate) retries: usize,
    pub(crate) crashes: usize,
    /// Devices that were added, removed or installed again.
    pub(crate) changes: usize,
    /// Lists of devices that were published.
    pub(crate) lists: usize,
    pub(crate) restored: usize,
    /// Messages that a device had sent before its store was replaced, and that could neither be read nor sent again.
    pub(crate) forgotten: usize,
    /// Copies of messages that had arrived before, which the store has dropped.
    pub(crate) copies: usize,
}

impl Counts {
    pub(crate) const fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.readings += more.readings;
        self.retries += more.retries;
        self.crashes += more.crashes;
        self.changes += more.changes;
        self.lists += more.lists;
        self.restored += more.restored;
        self.forgotten += more.forgotten;
        self.copies += more.copies;
    }
}

/// The whole simulation. The seed determines everything.
pub(crate) struct Town {
    server: Server,
    devices: Vec<Device>,
    identities: Vec<KeyPair>,
    now: u64,
    rng: ChaCha8Rng,
    is_calm: bool,
    last_registration_id: u32,
    written: u32,
    /// The text of each message that a device has accepted.
    accepted: BTreeMap<(Installation, Timestamp), (AccountId, String)>,
    /// The device whose store is sometimes replaced with an older copy.
    forgetful: Option<Address>,
    /// Between these times, by its clock, it has forgotten what it has sent.
    forgotten: Option<[Timestamp; 2]>,
    /// Milliseconds by which the clock of each device is wrong.
    skews: Vec<i64>,
    pub(crate) counts: Counts,
}

impl Town {
    /// Three people with 1 to 6 devices each.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let identities = (0..PEOPLE).map(|_| KeyPair::random(&mut rng)).collect();
        let mut town = Self {
            server: Server::default(),
            devices: Vec::new(),
            identities,
            now: 1_600_000_000_000,
            rng,
            is_calm: false,
            last_registration_id: 0,
            written: 0,
            accepted: BTreeMap::new(),
            forgetful: None,
            forgotten: None,
            skews: Vec::new(),
            counts: Counts::default(),
        };
        for _ in 0..PEOPLE * 6 {
            let skew = [0, 0, 300_000, -300_000, 3 * DAY, -3 * DAY][town.below(6)];
            town.skews.push(skew);
        }
        for person in 0..PEOPLE {
            for device in 1..=1 + town.below(6) {
                town.install(address(person, u32::try_from(device).unwrap()));
            }
        }
        town
    }

    /// The first device of the first person sometimes gets an older copy of its store. Nothing that it has shown is forgotten.
    ///
    /// It knows the other people, because it asks strangers for few of the messages that it cannot read.
    pub(crate) fn with_backups(mut self) -> Self {
        self.forgetful = Some(address(0, 1));
        let which = self.devices.iter().position(|it| Some(it.address) == self.forgetful);
        self.know_everybody(which.unwrap());
        self
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.next_u64() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn chance(&mut self, times: u32) -> bool {
        self.rng.next_u32().is_multiple_of(times)
    }

    /// Sets a device up: registered, and without keys at the server until it runs.
    fn install(&mut self, address: Address) {
        self.last_registration_id += 1;
        let registration_id = self.last_registration_id;
        let registered = Registered { registration_id, keys: None, queue: VecDeque::new() };
        self.server.devices.insert(address, registered);
        let person = usize::from(address.account.as_bytes()[0]) - 1;
        let identity = Identity { pair: self.identities[person].clone(), registration_id };
        let skew = self.skews[usize::from(address.device.number() - 1) * PEOPLE + person];
        let now = clock(self.now, skew);
        let mut device = Device {
            address,
            registration_id,
            client: Client::new(address, identity, now, &mut self.rng),
            rows: Rows::new(),
            backup: None,
            inputs: VecDeque::new(),
            skew,
            shown: BTreeMap::new(),
            texts: BTreeMap::new(),
            seen: BTreeSet::new(),
            not_read: Vec::new(),
            tried: VecDeque::new(),
            has_noticed_rollback: false,
        };
        device.client.manage_device_list();
        let Some(ClientOutput::Commit(id, changes)) = device.client.poll() else { unreachable!() };
        device.store(changes, &mut self.counts);
        device.inputs.push_back(ClientInput::Committed(id));
        self.devices.retain(|it| it.address != address);
        self.devices.push(device);
    }

    /// Lets a device do something, until at least so many messages were accepted.
    pub(crate) fn run(&mut self, messages: usize) {
        while self.counts.messages < messages {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.now += 1 + u64::from(self.rng.next_u32() % 1000);
        if self.chance(100) {
            self.change_devices();
        }
        let which = self.below(self.devices.len());
        self.maybe_back_up(which);
        if self.chance(3) {
            self.write(which);
        }
        for _ in 0..self.below(12) {
            self.hand_out(which);
        }
        if self.chance(4) {
            self.input(which, ClientInput::Connected);
        }
        if self.chance(40) {
            self.count_keys(which);
        }
        self.check_time(which);
        self.work(which);
    }

    /// The forgetful device makes one copy of its store, and gets it back some time later.
    fn maybe_back_up(&mut self, which: usize) {
        if Some(self.devices[which].address) != self.forgetful || self.counts.restored > 0 {
            return;
        }
        if self.devices[which].backup.is_some() {
            if self.chance(20) {
                self.crash(which);
            }
        } else if self.chance(10) {
            self.devices[which].backup = Some((self.now, self.devices[which].rows.clone()));
        }
    }

    fn know_everybody(&mut self, which: usize) {
        for person in 0..PEOPLE {
            self.input(which, ClientInput::Keep(address(person, 1).account));
        }
    }

    fn check_time(&mut self, which: usize) {
        let device = &self.devices[which];
        if device.client.deadline().is_some_and(|at| at <= clock(self.now, device.skew)) {
            self.input(which, ClientInput::Timeout);
        }
    }

    fn count_keys(&mut self, which: usize) {
        let device = &mut self.devices[which];
        let keys = self.server.devices[&device.address].keys.as_ref();
        if let Some(keys) = keys.filter(|_| !device.client.is_publishing()) {
            let now = clock(self.now, device.skew);
            let (id, key, _) = keys.signed;
            device.client.check_published(now, id, &key, &mut self.rng);
            device.client.keys_left(now, keys.one_time.len(), &mut self.rng);
        }
    }

    /// A device is added, removed, or installed again.
    fn change_devices(&mut self) {
        let person = self.below(PEOPLE);
        let first = address(person, 1);
        let of_person = self.devices.iter().map(|device| device.address);
        let mut of_person: Vec<_> =
            of_person.filter(|address| address.account == first.account).collect();
        of_person.retain(|address| Some(*address) != self.forgetful);
        self.counts.changes += 1;
        let choice = self.below(3);
        let other = (1..=6).map(|number| address(person, number));
        let free = other.clone().find(|it| !self.server.devices.contains_key(it));
        match (choice, free) {
            (0, Some(free)) => self.install(free),
            (1, _) if of_person.len() > 1 => {
                let gone = of_person[self.below(of_person.len())];
                self.server.devices.remove(&gone);
                self.devices.retain(|device| device.address != gone);
            }
            _ if !of_person.is_empty() => {
                let again = of_person[self.below(of_person.len())];
                self.install(again);
            }
            _ => {}
        }
    }

    fn write(&mut self, which: usize) {
        let from = self.devices[which].address;
        let to = loop {
            let to = address(self.below(PEOPLE), 1).account;
            if to != from.account {
                break to;
            }
        };
        self.written += 1;
        let body = Some(format!("{} from {}", self.written, from_name(from)));
        self.devices[which].tried.extend(body.clone());
        let data = DataMessage { body, ..DataMessage::default() };
        self.input(which, ClientInput::Send(to, Content::Data(Box::new(data))));
    }

    fn input(&mut self, which: usize, input: ClientInput) {
        let device = &mut self.devices[which];
        device.client.handle(clock(self.now, device.skew), input, &mut self.rng);
    }

    /// The server delivers one of the first messages of a queue, and may deliver it again.
    fn hand_out(&mut self, which: usize) {
        let address = self.devices[which].address;
        let offset = if self.is_calm || self.chance(2) { 0 } else { self.below(8) };
        let queue = &self.server.devices[&address].queue;
        let next = queue.get(offset).or_else(|| queue.front()).cloned();
        if let Some((delivery, envelope)) = next {
            let input = ClientInput::Envelope(delivery, Box::new(envelope));
            self.devices[which].inputs.push_back(input);
        }
    }

    /// A device works until it has nothing to do, or crashes. Requests, responses and acknowledgements may be lost.
    fn work(&mut self, which: usize) {
        loop {
            if let Some(output) = self.devices[which].client.poll() {
                if !self.is_calm && self.chance(800) {
                    return self.crash(which);
                }
                self.output(which, output);
            } else if let Some(input) = self.devices[which].inputs.pop_front() {
                self.input(which, input);
            } else {
                return;
            }
        }
    }

    fn output(&mut self, which: usize, output: ClientOutput) {
        let is_lost = !self.is_calm && self.chance(20);
        let device = &mut self.devices[which];
        match output {
            ClientOutput::Commit(id, changes) => {
                device.store(changes, &mut self.counts);
                if !self.is_calm && self.chance(800) {
                    return self.crash(which);
                }
                self.devices[which].inputs.push_back(ClientInput::Committed(id));
            }
            ClientOutput::Request(id, request) => {
                let from = (device.address, device.registration_id);
                let is_report = matches!(
                    request,
                    Request::SendToDevice { kind: EnvelopeKind::PlaintextContent, .. }
                );
                self.counts.retries += usize::from(is_report);
                let answered = if is_lost {
                    Response::Unavailable
                } else {
                    self.server.answer(from, request, &mut self.counts, &self.accepted)
                };
                if self.is_calm || !self.chance(20) {
                    self.devices[which].inputs.push_back(ClientInput::Response(id, answered));
                }
            }
            ClientOutput::Acknowledge(delivery) if !is_lost => {
                self.server.acknowledge(device.address, delivery);
            }
            ClientOutput::Acknowledge(_) => {}
            ClientOutput::Event(event) => self.event(which, event),
            ClientOutput::ReadAgain(delivery, envelope) => {
                self.devices[which].inputs.push_back(ClientInput::Envelope(delivery, envelope));
            }
        }
    }

    fn event(&mut self, which: usize, event: ClientEvent) {
        match event {
            ClientEvent::Accepted(timestamp, to) => {
                let device = &mut self.devices[which];
                let text = device.tried.pop_front().unwrap();
                let installation = (device.address, device.registration_id);
                self.accepted.insert((installation, timestamp), (to, text));
            }
            ClientEvent::NotSent(..)
            | ClientEvent::IdentityChanged(..)
            | ClientEvent::ListsDiffer
            | ClientEvent::UnsignedDevice(_) => panic!("{event:?}"),
            ClientEvent::StoreIsOlder => self.devices[which].has_noticed_rollback = true,
            _ => {}
        }
    }

    /// The device loses everything that is not durable, and sometimes also what it has stored lately.
    fn crash(&mut self, which: usize) {
        self.counts.crashes += 1;
        let is_forgetful = Some(self.devices[which].address) == self.forgetful;
        let device = &mut self.devices[which];
        if let Some((since, rows)) = device.backup.take().filter(|_| is_forgetful) {
            device.rows = rows;
            self.counts.restored += 1;
            self.forgotten = Some([since, self.now].map(|time| clock(time, device.skew)));
        }
        let rows = device.rows.iter().map(|(key, value)| (*key, value.clone()));
        device.client = Client::restore(rows).unwrap();
        device.client.manage_device_list();
        device.inputs.clear();
        device.tried.clear();
        if is_forgetful {
            self.know_everybody(which);
        }
        self.input(which, ClientInput::Connected);
    }

    /// Delivers everything that waits, without faults.
    pub(crate) fn settle(&mut self) {
        self.is_calm = true;
        for round in 0.. {
            assert!(round < 500, "it never settles");
            self.now += 1000;
            for which in 0..self.devices.len() {
                self.input(which, ClientInput::Connected);
                self.work(which);
                // What waits for the list of another account stays in the queue until the next round.
                for _ in 0..self.server.mail(self.devices[which].address) {
                    self.hand_out(which);
                    self.work(which);
                }
            }
            let is_idle = |device: &Device| {
                device.client.outbox_len() == 0 && !self.server.has_mail(device.address)
            };
            if self.devices.iter().all(is_idle) {
                break;
            }
        }
        // What nobody has sent again is reported now.
        self.now += 3_600_000;
        for which in 0..self.devices.len() {
            self.check_time(which);
            self.work(which);
        }
    }
}

fn address(person: usize, device: u32) -> Address {
    let account = AccountId::from_bytes([u8::try_from(person).unwrap() + 1; 16]);
    Address { account, device: DeviceId::new(device).unwrap() }
}

fn installations(account: AccountId, devices: &[CurrentDevice]) -> BTreeSet<Installation> {
    let installation = |device: &CurrentDevice| {
        (Address { account, device: device.device }, device.registration_id)
    };
    devices.iter().map(installation).collect()
}

fn from_name(address: Address) -> String {
    format!("{} {}", address.account, address.device.number())
}

fn clock(now: u64, skew: i64) -> Timestamp {
    Timestamp(now.saturating_add_signed(skew))
}

const PEOPLE: usize = 3;

const DAY: i64 = 86_400_000;
