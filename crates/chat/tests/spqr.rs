//! The post-quantum ratchet in long conversations, through the whole session.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/person.rs"]
mod person;

use person::{PQXDH, Person};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_chat::{Ciphertext, CiphertextKind, DecryptError, SpqrMessage};

/// A message in transit.
#[derive(Clone)]
struct OnItsWay {
    text: Vec<u8>,
    sent: Ciphertext,
    has_arrived: bool,
}

/// Two people whose messages are lost, duplicated and delayed, and whose programs crash.
struct Talk {
    people: [Person; 2],
    to: [Vec<OnItsWay>; 2],
    written: u32,
    read: usize,
    rng: ChaCha20Rng,
}

impl Talk {
    fn new(seed: u64) -> Self {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        alice.meet(&mut bob, PQXDH);
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { people: [alice, bob], to: Default::default(), written: 0, read: 0, rng }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    fn write(&mut self, by: usize) {
        let to = self.people[1 - by].address;
        self.written += 1;
        let text = self.written.to_be_bytes().to_vec();
        // Bob may not have a session yet.
        if let Ok(sent) = self.people[by].try_write(to, &text) {
            self.to[1 - by].push(OnItsWay { text, sent, has_arrived: false });
        }
    }

    fn arrive(&mut self, to: usize, place: usize) {
        let from = self.people[1 - to].address;
        let message = self.to[to][place].clone();
        let before = self.people[to].clone();
        let read = self.people[to].read(from, &message.sent);
        if message.has_arrived {
            assert_eq!(read, Err(DecryptError::Duplicate));
            assert_eq!(self.people[to].stored(from), before.stored(from));
            self.to[to].remove(place);
            return;
        }
        assert_eq!(read, Ok(message.text));
        if self.chance(5) {
            // It crashes before it has stored anything. The server delivers the message again.
            self.people[to] = before;
            return;
        }
        self.read += 1;
        match self.chance(10) {
            true => self.to[to][place].has_arrived = true,
            false => drop(self.to[to].remove(place)),
        }
    }

    fn step(&mut self) {
        let by = usize::from(self.chance(50));
        for _ in 0..=self.rng.next_u32() % 3 {
            self.write(by);
            if self.chance(20) {
                self.to[1 - by].pop();
            }
        }
        let to = usize::from(self.chance(50));
        for _ in 0..4 {
            let waiting = self.to[to].len();
            if waiting > 0 {
                // Only among the oldest: each side keeps five chains of the other.
                let place = self.rng.next_u32() % 3;
                self.arrive(to, usize::try_from(place).unwrap().min(waiting - 1));
            }
        }
        if self.chance(10) {
            self.people[by].restart();
        }
    }

    /// The epoch in which someone would write now.
    fn epoch(&self, by: usize) -> u64 {
        let to = self.people[1 - by].address;
        let sent = self.people[by].clone().write(to, b"");
        assert_eq!(sent.kind, CiphertextKind::Signal);
        field(&sent.bytes[1..]).unwrap().epoch
    }
}

/// The fifth field of a message.
fn field(mut fields: &[u8]) -> Option<SpqrMessage> {
    loop {
        let (tag, rest) = fields.split_first()?;
        let (value, rest) = number(rest)?;
        fields = rest;
        if tag & 7 == 2 {
            let (bytes, rest) = fields.split_at(value);
            fields = rest;
            if tag >> 3 == 5 {
                return SpqrMessage::decode(bytes).unwrap();
            }
        }
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    let value = number.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    Some((value, rest))
}

#[test]
fn every_message_is_read_once_despite_losses_duplicates_other_orders_and_crashes() {
    for seed in 0..4 {
        let mut talk = Talk::new(seed);
        (0..1000).for_each(|_| talk.step());
        assert!(talk.read > 1000, "seed {seed}: {}", talk.read);
        for by in [0, 1] {
            assert!(talk.epoch(by) > 4, "seed {seed}: {}", talk.epoch(by));
        }
    }
}

#[test]
fn a_conversation_of_a_thousand_messages_survives_a_restart_after_each() {
    let mut talk = Talk::new(1);
    for _ in 0..500 {
        for by in [0, 1] {
            let to = talk.people[1 - by].address;
            let from = talk.people[by].address;
            let sent = talk.people[by].write(to, b"text");
            talk.people[by].restart();
            assert_eq!(talk.people[1 - by].read(from, &sent).unwrap(), b"text");
            talk.people[1 - by].restart();
        }
    }
    let [alice, bob] = &talk.people;
    assert!(alice.sessions[&bob.address].has_post_quantum_ratchet());
    assert_eq!(talk.epoch(0), 12);
}
