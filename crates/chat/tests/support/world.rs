//! A server and any number of devices, with a network that loses and duplicates messages, and
//! devices that crash between any two steps. The seed determines everything.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "world/device.rs"]
mod device;
#[path = "world/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_chat::{
    AccountId, Address, Client, ClientInput, ClientOutput, CommitId, Content, DataMessage,
    DeviceId, Envelope, EnvelopeKind, Identity, KeyPair, PublicKey, Request, RequestId, Response,
    StoreKey, Timestamp,
};
use zeroize::Zeroizing;

pub(crate) use device::Device;
pub(crate) use server::{Registered, Server};

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
