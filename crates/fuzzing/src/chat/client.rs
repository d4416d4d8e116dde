//! A client whose server and peers are hostile: the fuzzer chooses what they say, and in which order.
//!
//! After each input, everything that the client wants to store is stored, and it must stop asking for something. At the end,
//! the rows must be those of a client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use wormhole_chat::{
    AccountId, Address, CiphertextKind, Client, ClientInput, ClientOutput, Content, DataMessage,
    DecryptionErrorMessage, Delivery, DeviceId, DeviceList, Envelope, EnvelopeKind, Identity,
    KemPreKey, KeyPair, OwnDevice, OwnDeviceList, PreKeyBundle, PublicKey, Publication, Request,
    RequestId, Response, Route, SessionRecord, SignedPreKey, StoreKey, Timestamp, pad,
};
use zeroize::Zeroizing;

type Rows = BTreeMap<StoreKey, Zeroizing<Vec<u8>>>;

/// Runs the steps that the bytes describe.
pub fn client(bytes: &[u8]) {
    let mut world = World::new();
    let mut choices = bytes.iter().copied();
    for _ in 0..MAX_STEPS {
        let Some(step) = choices.next() else { break };
        world.step(step, &mut choices);
        world.run();
    }
    world.restart();
    // Most are one-time prekeys. The others are for a few accounts and their sessions, and for the messages in the outbox.
    let bound = 6_000 + world.client.outbox_len();
    assert!(world.rows.len() <= bound, "{} rows", world.rows.len());
}

struct World {
    client: Client,
    rows: Rows,
    now: Timestamp,
    /// Requests without a response, the newest of them.
    requests: VecDeque<(RequestId, Request)>,
    rng: ChaCha8Rng,
}

impl World {
    fn new() -> Self {
        let rows = FIXTURE.rows.clone();
        let client = Client::restore(rows.clone()).expect("its own rows");
        Self { client, rows, now: NOW, requests: VecDeque::new(), rng: super::rng() }
    }

    fn step(&mut self, step: u8, choices: &mut impl Iterator<Item = u8>) {
        let mut next = || choices.next().unwrap_or_default();
        if step > 248 {
            return self.client.manage_device_list();
        }
        let input = match step % 13 {
            0 => ClientInput::Send(account(next()), text("text")),
            1 => ClientInput::AcceptIdentity(account(next()), identity(next())),
            2 => ClientInput::RefuseIdentity(account(next()), identity(next())),
            3 => ClientInput::Connected,
            4 => return self.restart(),
            5 => ClientInput::Keep(account(next())),
            6 => {
                // Up to 8 months.
                self.now.0 += u64::from(next()) * 86_400_000;
                let count = usize::from(next());
                return self.client.keys_left(self.now, count, &mut self.rng);
            }
            7 => {
                self.now.0 += u64::from(next()) * 60_000;
                ClientInput::Timeout
            }
            8..=10 => ClientInput::Envelope(Delivery(1), Box::new(envelope(&mut next))),
            _ => {
                let Some((id, request)) = self.requests.pop_front() else { return };
                ClientInput::Response(id, response(&request, &mut next))
            }
        };
        self.client.handle(self.now, input, &mut self.rng);
    }

    /// Stores what the client wants to be stored.
    fn run(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.client.poll() {
            outputs += 1;
            assert!(outputs < 10_000, "it never stops");
            match output {
                ClientOutput::Commit(id, changes) => {
                    assert!(changes.rows.len() < 1_000, "{} rows", changes.rows.len());
                    for (key, value) in changes.rows {
                        match value {
                            Some(value) => self.rows.insert(key, value),
                            None => self.rows.remove(&key),
                        };
                    }
                    self.client.handle(self.now, ClientInput::Committed(id), &mut self.rng);
                }
                ClientOutput::Request(id, request) => {
                    self.requests.push_back((id, request));
                    if self.requests.len() > 64 {
                        self.requests.pop_front();
                    }
                }
                ClientOutput::ReadAgain(delivery, envelope) => {
                    let input = ClientInput::Envelope(delivery, envelope);
                    self.client.handle(self.now, input, &mut self.rng);
                }
                ClientOutput::Acknowledge(_) | ClientOutput::Event(_) => {}
            }
        }
    }

    fn restart(&mut self) {
        self.client = Client::restore(self.rows.clone()).expect("its own rows");
        self.client.handle(self.now, ClientInput::Connected, &mut self.rng);
        self.run();
    }
}

/// An answer of the server to a request. It may be the answer to another request.
fn response(request: &Request, next: &mut impl FnMut() -> u8) -> Response {
    let devices = |next: &mut dyn FnMut() -> u8| -> Vec<DeviceId> {
        let count = next() % 8;
        (0..count).filter_map(|_| DeviceId::new(u32::from(next()))).collect()
    };
    match next() % 11 {
        0 => Response::Mismatched { missing: devices(next), extra: devices(next) },
        1 => Response::Stale(devices(next)),
        2 => Response::NotFound,
        3 => Response::Unavailable,
        4 => Response::Refused,
        5 => Response::IntraApp,
        6 => Response::Sent { needs_sync: true },
        7 => bundles(next),
        10 => Response::NoRoom,
        8 => own_list(next),
        _ if matches!(request, Request::Bundles(_)) => bundles(next),
        _ if matches!(request, Request::DeviceList) => own_list(next),
        _ => Response::Done,
    }
}

fn bundles(next: &mut impl FnMut() -> u8) -> Response {
    let bundles = (0..next() % 20).map(|_| {
        let mut bundle = choose(&FIXTURE.bundles, next()).clone();
        match next() {
            device @ 1..=127 => bundle.device = DeviceId::new(device.into()).expect("1 to 127"),
            128..=140 => bundle.kem = None,
            141..=150 => bundle.identity = identity(next()),
            151..=160 => bundle.registration_id = next().into(),
            _ => {}
        }
        bundle
    });
    let bundles = bundles.collect();
    let list = next().is_multiple_of(2).then(|| choose(&FIXTURE.lists, next()).clone());
    Response::Bundles(bundles, list)
}

/// A list of our devices, or one of somebody else.
fn own_list(next: &mut impl FnMut() -> u8) -> Response {
    let devices = (0..next() % 20).filter_map(|_| {
        let device = DeviceId::new(u32::from(next()))?;
        Some(OwnDevice {
            device,
            registration_id: next().into(),
            has_keys: next().is_multiple_of(2),
        })
    });
    let devices = devices.collect();
    let stored = (!next().is_multiple_of(4))
        .then(|| (u64::from(next()), choose(&FIXTURE.lists, next()).clone()));
    Response::DeviceList(OwnDeviceList { stored, devices })
}

/// A real message, perhaps changed, in the name of somebody.
fn envelope(next: &mut impl FnMut() -> u8) -> Envelope {
    let mut envelope = choose(&FIXTURE.envelopes, next()).clone();
    match next() {
        device @ 1..=127 => envelope.source_device = DeviceId::new(device.into()),
        128..=140 => envelope.source_account = Some(account(next())),
        141..=180 => {
            let (place, change) = (usize::from(next()) * usize::from(next()), next());
            let content = envelope.content.iter_mut().flatten();
            content.skip(place).take(1).for_each(|byte| *byte ^= change);
        }
        181..=190 => envelope.timestamp = Timestamp(u64::MAX - u64::from(next())),
        191 => envelope.kind = EnvelopeKind::Ciphertext,
        192 => envelope.kind = EnvelopeKind::PreKeyBundle,
        193..=215 => {
            // A request for a message of ours: one that is in the rows, perhaps.
            let ratchet_key = None;
            let timestamp = Timestamp(NOW.0 + u64::from(next() % 8));
            let device = DeviceId::PRIMARY;
            let error = DecryptionErrorMessage { ratchet_key, timestamp, device };
            envelope.kind = EnvelopeKind::PlaintextContent;
            envelope.content = Some(error.to_plaintext());
        }
        216..=220 => {
            envelope.kind = EnvelopeKind::Receipt;
            envelope.timestamp = Timestamp(NOW.0 + u64::from(next()));
        }
        _ => {}
    }
    envelope
}

fn choose<T>(from: &[T], choice: u8) -> &T {
    &from[usize::from(choice) % from.len()]
}

/// Few accounts, so that inputs meet. The first is the client's own.
fn account(choice: u8) -> AccountId {
    AccountId::from_bytes([choice % 4; 16])
}

fn identity(choice: u8) -> PublicKey {
    choose(&FIXTURE.bundles, choice).identity
}

fn text(text: &str) -> Content {
    let mut data = DataMessage::default();
    data.body = Some(text.to_owned());
    data.timestamp = Some(NOW);
    Content::Data(Box::new(data))
}

/// Published keys and messages of honest devices.
struct Fixture {
    /// The rows of a client with few prekeys.
    rows: Rows,
    bundles: Vec<PreKeyBundle>,
    envelopes: Vec<Envelope>,
    /// Signed lists of devices.
    lists: Vec<Vec<u8>>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let mut rng = super::rng();
    let ours = Identity { pair: KeyPair::random(&mut rng), registration_id: 1 };
    let us = Address { account: account(0), device: DeviceId::PRIMARY };
    let (rows, keys) = registered(us, ours.clone(), &mut rng);
    let (bundles, envelopes) = (Vec::new(), Vec::new());
    let mut fixture = Fixture { rows, bundles, envelopes, lists: Vec::new() };
    // Accounts 1 to 3, each also with a key that is not the first one; and our own account.
    let strangers = (0..6).map(|number| (number % 3 + 1, KeyPair::random(&mut rng)));
    let mut people: Vec<_> = strangers.collect();
    people.push((0, ours.pair));
    for (number, pair) in people {
        fixture.lists.extend(lists(account(number), &pair, &mut rng));
        for device in [2, 1] {
            let device = DeviceId::new(device).expect("1 or 2");
            let from = Address { account: account(number), device };
            let identity = Identity { pair: pair.clone(), registration_id: 2 };
            fixture.bundles.push(bundle(&identity, device, &mut rng));
            for (kem, one_time) in [(true, Some(0)), (true, None), (false, Some(1)), (false, None)]
            {
                let theirs = PreKeyBundle {
                    device: us.device,
                    registration_id: 1,
                    identity: keys.identity,
                    signed: keys.signed,
                    one_time: one_time.map(|index: usize| keys.one_time[index]),
                    kem: kem.then(|| keys.kem.clone()),
                };
                let messages = messages(&identity, Route { from, to: us }, theirs, &mut rng);
                fixture.envelopes.extend(messages);
            }
        }
    }
    fixture
});

/// A registered client with two one-time prekeys, and what it has published.
fn registered(us: Address, identity: Identity, rng: &mut ChaCha8Rng) -> (Rows, Publication) {
    let mut client = Client::new(us, identity, NOW, rng);
    let (mut rows, mut published) = (Rows::new(), None);
    while let Some(output) = client.poll() {
        match output {
            ClientOutput::Commit(id, changes) => {
                let written = changes.rows.into_iter();
                rows.extend(written.filter_map(|(key, value)| Some((key, value?))));
                client.handle(NOW, ClientInput::Committed(id), rng);
            }
            ClientOutput::Request(_, Request::Publish(keys)) => published = Some(*keys),
            other => panic!("{other:?}"),
        }
    }
    let keys = published.expect("the first keys");
    let kept = [keys.one_time[0].0, keys.one_time[1].0];
    rows.retain(|key, _| match key {
        StoreKey::OneTimePreKey(id) => kept.contains(id),
        StoreKey::Unpublished => false,
        _ => true,
    });
    (rows, keys)
}

/// A list with the first device, and one with two.
fn lists(account: AccountId, pair: &KeyPair, rng: &mut ChaCha8Rng) -> [Vec<u8>; 2] {
    let devices = [1, 2].map(|number| OwnDevice {
        device: DeviceId::new(number).expect("1 or 2"),
        registration_id: 2,
        has_keys: true,
    });
    let [first, second] = devices.map(|device| (device.device, device.registration_id));
    let one = DeviceList::next(None, account, &devices[..1], &[], NOW).expect("the first");
    let two = DeviceList::next(Some(&one), account, &devices, &[first, second], NOW);
    [one.sign(pair, rng), two.expect("the second").sign(pair, rng)]
}

fn bundle(identity: &Identity, device: DeviceId, rng: &mut ChaCha8Rng) -> PreKeyBundle {
    let signed = SignedPreKey::random(1, &identity.pair, NOW, rng);
    let kem = KemPreKey::random(1, true, &identity.pair, NOW, rng);
    PreKeyBundle {
        device,
        registration_id: identity.registration_id,
        identity: *identity.pair.public(),
        signed: (1, *signed.pair.public(), signed.signature),
        one_time: None,
        kem: Some((1, kem.pair.public().clone(), kem.signature)),
    }
}

/// Three messages of a device, which skip others.
fn messages(
    identity: &Identity,
    route: Route,
    bundle: PreKeyBundle,
    rng: &mut ChaCha8Rng,
) -> Vec<Envelope> {
    let mut record = SessionRecord::default();
    let bundle = bundle.verify().expect("signed above");
    record.initiate(identity, &bundle, NOW, rng).expect("the keys are good");
    let plaintext = pad(&text("text").encode());
    let sent = (0..12).map(|_| record.encrypt(identity, route, &plaintext, NOW).expect("short"));
    let sent: Vec<_> = sent.collect();
    let envelopes = [0, 1, 11].into_iter().map(|index| {
        let sent = &sent[index];
        let kind = match sent.kind {
            CiphertextKind::PreKey => EnvelopeKind::PreKeyBundle,
            CiphertextKind::Signal => EnvelopeKind::Ciphertext,
        };
        let mut envelope = Envelope::new(kind, NOW);
        envelope.source_account = Some(route.from.account);
        envelope.source_device = Some(route.from.device);
        envelope.content = Some(sent.bytes.clone());
        envelope
    });
    envelopes.collect()
}

const NOW: Timestamp = Timestamp(1_600_000_000_000);

/// More steps find nothing new, and take long.
const MAX_STEPS: usize = 200;
