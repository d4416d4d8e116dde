//! Measures what one message of a hostile server or peer can cost, and what an answer costs when many messages wait:
//! `cargo run --release -p wormhole-chat --features fast-x25519 --example hostile`.
//!
//! docs/chat-protocol.md "Cost of a hostile message" has the results. Each line is the median of 9 runs, in milliseconds.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark measures, prints and may panic"
)]

use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::{
    AccountId, Address, Client, ClientInput, ClientOutput, Content, DeviceId, Identity, KemPreKey,
    KeyPair, OneTimePreKey, PreKeyBundle, PreKeySignalMessage, ReferencedPreKeys, Request,
    RequestId, Response, Route, SessionRecord, SignalMessage, SignedPreKey, Timestamp, Trust,
};

const NOW: Timestamp = Timestamp(1_600_000_000_000);

/// A device with its prekeys.
struct Device {
    address: Address,
    identity: Identity,
    signed: SignedPreKey,
    one_time: OneTimePreKey,
    kem: KemPreKey,
    record: SessionRecord,
}

impl Device {
    fn new(account: u8, device: u32, pair: KeyPair, rng: &mut ChaCha20Rng) -> Self {
        let account = AccountId::from_bytes([account; 16]);
        Self {
            address: Address { account, device: DeviceId::new(device).unwrap() },
            signed: SignedPreKey::random(1, &pair, NOW, rng),
            one_time: OneTimePreKey { id: 1, pair: KeyPair::random(rng) },
            kem: KemPreKey::random(1, true, &pair, NOW, rng),
            record: SessionRecord::default(),
            identity: Identity { pair, registration_id: 1 },
        }
    }

    fn bundle(&self) -> PreKeyBundle {
        PreKeyBundle {
            device: self.address.device,
            registration_id: 1,
            identity: *self.identity.pair.public(),
            signed: (1, *self.signed.pair.public(), self.signed.signature),
            one_time: Some((1, *self.one_time.pair.public())),
            kem: Some((1, self.kem.pair.public().clone(), self.kem.signature)),
        }
    }

    fn meet(&mut self, other: &Self, rng: &mut ChaCha20Rng) {
        let bundle = other.bundle().verify().unwrap();
        self.record.initiate(&self.identity, &bundle, NOW, rng).unwrap();
    }

    fn write(&mut self, to: &Self) -> Vec<u8> {
        let route = Route { from: self.address, to: to.address };
        self.record.encrypt(&self.identity, route, b"text", NOW).unwrap().bytes
    }

    fn read(&mut self, from: &Self, sent: &[u8], rng: &mut ChaCha20Rng) -> bool {
        let route = Route { from: from.address, to: self.address };
        SignalMessage::decode(sent)
            .is_ok_and(|message| self.record.decrypt(route, &message, rng).is_ok())
    }

    fn read_first(&mut self, from: &Self, sent: &[u8], rng: &mut ChaCha20Rng) -> bool {
        let route = Route { from: from.address, to: self.address };
        let message = PreKeySignalMessage::decode(sent).unwrap();
        let (signed, one_time) = (Some(&self.signed), Some(&self.one_time));
        let keys = ReferencedPreKeys { signed, one_time, kem: Some(&self.kem) };
        let (us, trust) = (&self.identity, Trust::Any);
        self.record.decrypt_first(us, route, &message, keys, trust, rng).is_ok()
    }
}

/// Changes the counter of a message that has one byte for it, and perhaps the ratchet key.
fn forge(sent: &[u8], counter: u32, key: Option<&KeyPair>) -> Vec<u8> {
    let mut forged = sent[..37].to_vec();
    if let Some(key) = key {
        forged[3..36].copy_from_slice(&key.public().encode());
    }
    let mut rest = counter;
    while rest >= 0x80 {
        forged.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
        rest /= 0x80;
    }
    forged.push(u8::try_from(rest).unwrap());
    forged.extend(&sent[38..]);
    forged
}

/// Prints the median of 9 runs.
fn measure(name: &str, mut run: impl FnMut()) {
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<64} {:>8.2} ms", times[4]);
}

/// Forged messages of a device with which there are as many sessions as possible.
fn messages(rng: &mut ChaCha20Rng) {
    for (whose, account, limit) in [("another account", 1, 25_000), ("our own account", 2, 100_000)]
    {
        let pair = KeyPair::random(rng);
        let their_pair = if account == 2 { pair.clone() } else { KeyPair::random(rng) };
        let mut bob = Device::new(2, 1, pair, rng);
        let mut alice = Device::new(account, 2, their_pair, rng);
        for _ in 0..41 {
            bob.meet(&alice, rng);
        }
        let sent = bob.write(&alice);
        assert!(alice.read_first(&bob, &sent, rng));
        let sent = alice.write(&bob);
        assert!(bob.read(&alice, &sent, rng));
        let sent = alice.write(&bob);
        let known = forge(&sent, limit, None);
        measure(&format!("a device of {whose}, a chain that we know"), || {
            assert!(!bob.read(&alice, &known, rng));
        });
        let unknown = forge(&sent, limit, Some(&KeyPair::random(rng)));
        measure(&format!("a device of {whose}, a new chain"), || {
            assert!(!bob.read(&alice, &unknown, rng));
        });
        let unknown = forge(&sent, 48, Some(&KeyPair::random(rng)));
        measure(&format!("a device of {whose}, a new chain, with all 41 sessions"), || {
            assert!(!bob.read(&alice, &unknown, rng));
        });
    }
    let [alices, bobs] = [(); 2].map(|()| KeyPair::random(rng));
    let (mut alice, mut bob) = (Device::new(1, 1, alices, rng), Device::new(2, 1, bobs, rng));
    alice.meet(&bob, rng);
    for _ in 0..2_000 {
        alice.write(&bob);
    }
    let mut first = alice.write(&bob);
    *first.last_mut().unwrap() ^= 1;
    measure("a message that starts a session", || {
        assert!(!bob.read_first(&alice, &first, rng));
    });
}

/// An account of which the server says, of one message after the other, that its device was registered again.
fn answers(waiting: usize, rng: &mut ChaCha20Rng) {
    let [alices, bobs] = [(); 2].map(|()| KeyPair::random(rng));
    let us = Device::new(1, 1, alices, rng);
    let bob = Device::new(2, 1, bobs, rng);
    let mut client = Client::new(us.address, us.identity, NOW, rng);
    let mut sends = Vec::new();
    for _ in 0..waiting {
        client.handle(NOW, ClientInput::Send(bob.address.account, Content::Null), rng);
        run(&mut client, &bob, &mut sends, rng);
    }
    assert_eq!(sends.len(), waiting);
    let mut answered = sends.clone().into_iter();
    measure(&format!("the answer that a device is new, {waiting} messages wait"), || {
        let response = Response::Stale(vec![bob.address.device]);
        let id = answered.next().unwrap();
        client.handle(NOW, ClientInput::Response(id, response), rng);
        run(&mut client, &bob, &mut sends, rng);
    });
}

/// Answers the requests of a client except for those to send messages.
fn run(client: &mut Client, bob: &Device, sends: &mut Vec<RequestId>, rng: &mut ChaCha20Rng) {
    while let Some(output) = client.poll() {
        match output {
            ClientOutput::Commit(id, _) => client.handle(NOW, ClientInput::Committed(id), rng),
            ClientOutput::Request(id, Request::Bundles(_)) => {
                let response = Response::Bundles(vec![bob.bundle()], None);
                client.handle(NOW, ClientInput::Response(id, response), rng);
            }
            ClientOutput::Request(id, Request::Send { .. }) => sends.push(id),
            ClientOutput::Request(
                _,
                Request::Publish(_)
                | Request::AppendGroupEntry { .. }
                | Request::Certificate
                | Request::DeviceList
                | Request::PublishDeviceList(_)
                | Request::GroupEntries { .. }
                | Request::SendGroup { .. }
                | Request::SendToDevice { .. },
            )
            | ClientOutput::Acknowledge(_)
            | ClientOutput::ReadAgain(..)
            | ClientOutput::Event(_) => {}
        }
    }
}

fn main() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    messages(&mut rng);
    for waiting in [10, 1_000, 10_000] {
        answers(waiting, &mut rng);
    }
}
