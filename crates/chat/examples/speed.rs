//! Measures the cost of messages: `cargo run --release -p wormhole-chat --features fast-x25519 --example speed`.
//!
//! Each line is the median of 9 runs, in microseconds per operation. The last line has the same as JSON, for scripts/bench.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark measures, prints and may panic"
)]

use std::hint::black_box;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::{
    AccountId, Address, AttachmentKey, AttachmentSealer, Ciphertext, CiphertextKind, DeviceId,
    Identity, KemPreKey, KeyPair, OneTimePreKey, PreKeyBundle, PreKeySignalMessage,
    ReferencedPreKeys, Route, SessionRecord, SignalMessage, SignedPreKey, Timestamp, Trust,
};

const NOW: Timestamp = Timestamp(1_600_000_000_000);
const TEXT: [u8; 256] = [7; 256];

struct Side {
    identity: Identity,
    signed: SignedPreKey,
    one_time: OneTimePreKey,
    kem: KemPreKey,
    record: SessionRecord,
}

impl Side {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        let identity = Identity { pair: KeyPair::random(rng), registration_id: 1 };
        Self {
            signed: SignedPreKey::random(1, &identity.pair, NOW, rng),
            one_time: OneTimePreKey { id: 1, pair: KeyPair::random(rng) },
            kem: KemPreKey::random(1, true, &identity.pair, NOW, rng),
            record: SessionRecord::default(),
            identity,
        }
    }

    fn bundle(&self, kem: bool) -> PreKeyBundle {
        let key = &self.kem;
        PreKeyBundle {
            device: DeviceId::PRIMARY,
            registration_id: 1,
            identity: *self.identity.pair.public(),
            signed: (1, *self.signed.pair.public(), self.signed.signature),
            one_time: Some((1, *self.one_time.pair.public())),
            kem: kem.then(|| (1, key.pair.public().clone(), key.signature)),
        }
    }

    fn write(&mut self, route: Route) -> Ciphertext {
        self.record.encrypt(&self.identity, route, &TEXT, NOW).unwrap()
    }

    fn read(&mut self, route: Route, sent: &Ciphertext, rng: &mut ChaCha20Rng) {
        if sent.kind == CiphertextKind::Signal {
            let message = SignalMessage::decode(&sent.bytes).unwrap();
            black_box(self.record.decrypt(route, &message, rng).unwrap());
            return;
        }
        let message = PreKeySignalMessage::decode(&sent.bytes).unwrap();
        let (signed, one_time) = (Some(&self.signed), Some(&self.one_time));
        let keys = ReferencedPreKeys { signed, one_time, kem: Some(&self.kem) };
        let us = &self.identity;
        black_box(self.record.decrypt_first(us, route, &message, keys, Trust::Any, rng).unwrap());
    }
}

/// The results so far, by their keys in the JSON.
#[derive(Default)]
struct Results(serde_json::Map<String, serde_json::Value>);

impl Results {
    /// Prints the median of 9 runs of `count` operations each, and keeps it.
    fn measure(&mut self, key: &str, name: &str, count: u32, run: impl FnMut(u32)) {
        let median = measure(count, run);
        println!("{name:<44} {median:>9.2} µs");
        self.0.insert(key.to_owned(), median.into());
    }
}

/// The median of 9 runs of `count` operations each, in microseconds per operation.
fn measure(count: u32, mut run: impl FnMut(u32)) -> f64 {
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run(count);
            start.elapsed().as_secs_f64() * 1e6 / f64::from(count)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    *times.get(4).unwrap()
}

/// The cost with the post-quantum ratchet, averaged over two of its epochs in strict turns; and when one side sends alone, so
/// that its chunks are computed.
fn measure_ratchet(
    results: &mut Results,
    alice: &mut Side,
    bob: &mut Side,
    [there, back]: [Route; 2],
    rng: &mut ChaCha20Rng,
) {
    assert!(alice.record.has_post_quantum_ratchet());
    let name = "a DH step with the post-quantum ratchet";
    results.measure("ratchet_dh_step", name, 174, |count| {
        for _ in 0..count / 2 {
            let sent = alice.write(there);
            bob.read(there, &sent, rng);
            let sent = bob.write(back);
            alice.read(back, &sent, rng);
        }
    });
    let mut sent = Vec::new();
    results.measure("ratchet_encrypt", "encrypt 256 B with the ratchet", 500, |count| {
        sent.extend((0..count).map(|_| alice.write(there)));
    });
    let mut next = sent.iter();
    results.measure("ratchet_decrypt", "decrypt 256 B with the ratchet", 500, |count| {
        let batch = usize::try_from(count).unwrap();
        next.by_ref().take(batch).for_each(|sent| bob.read(there, sent, rng));
    });
}

fn main() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [from, to] = [1, 2].map(|byte| AccountId::from_bytes([byte; 16]));
    let [from, to] = [from, to].map(|account| Address { account, device: DeviceId::PRIMARY });
    let (there, back) = (Route { from, to }, Route { from: to, to: from });

    let mut results = Results::default();
    for kem in [false, true] {
        let (key, name) = if kem { ("pqxdh", "PQXDH") } else { ("x3dh", "X3DH") };
        let (mut alice, bob) = (Side::new(&mut rng), Side::new(&mut rng));
        let begin = format!("{name}: check a bundle, begin, encrypt");
        results.measure(&format!("{key}_begin"), &begin, 100, |count| {
            for _ in 0..count {
                alice.record = SessionRecord::default();
                let bundle = bob.bundle(kem).verify().unwrap();
                alice.record.initiate(&alice.identity, &bundle, NOW, &mut rng).unwrap();
                black_box(alice.write(there));
            }
        });
        let sent = alice.write(there);
        let mut bob = bob;
        let receive = format!("{name}: decrypt a first message");
        results.measure(&format!("{key}_receive"), &receive, 100, |count| {
            for _ in 0..count {
                bob.record = SessionRecord::default();
                bob.read(there, &sent, &mut rng);
            }
        });
        let answer = bob.write(back);
        alice.read(back, &answer, &mut rng);
        if kem {
            measure_ratchet(&mut results, &mut alice, &mut bob, [there, back], &mut rng);
            continue;
        }
        let mut sent = Vec::new();
        results.measure("encrypt", "encrypt 256 B", 2000, |count| {
            sent.extend((0..count).map(|_| alice.write(there)));
        });
        let mut next = sent.iter();
        results.measure("decrypt", "decrypt 256 B", 2000, |count| {
            let batch = usize::try_from(count).unwrap();
            next.by_ref().take(batch).for_each(|sent| bob.read(there, sent, &mut rng));
        });
        results.measure("dh_step", "encrypt and decrypt 256 B with a DH step", 200, |count| {
            for _ in 0..count / 2 {
                let sent = alice.write(there);
                bob.read(there, &sent, &mut rng);
                let sent = bob.write(back);
                alice.read(back, &sent, &mut rng);
            }
        });
        results.measure("store", "store and load a record", 2000, |count| {
            for _ in 0..count {
                black_box(SessionRecord::decode(&bob.record.encode()).unwrap());
            }
        });
    }

    let (key, file) = (AttachmentKey::random(&mut rng), vec![7; 1 << 20]);
    results.measure("attachment", "seal 1 MiB of an attachment", 20, |count| {
        for _ in 0..count {
            let mut blob = Vec::with_capacity(2 << 20);
            let mut sealer = AttachmentSealer::new(&key, &mut rng, &mut blob);
            sealer.update(&file, &mut blob);
            black_box(sealer.finish(&mut blob));
        }
    });
    println!("{}", serde_json::Value::Object(results.0));
}
