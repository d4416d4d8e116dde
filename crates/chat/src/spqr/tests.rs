//! Two sides that exchange messages, without a session around them.

mod limits;
mod negotiation;
mod replay;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_kit::Reader;

use super::braid::State;
use super::*;

/// As many skipped messages as a session permits.
const LIMIT: u32 = 25_000;

/// A message in transit.
#[derive(Clone, Debug)]
struct Sent {
    field: Vec<u8>,
    key: Option<Secret<32>>,
    /// The sender's epoch.
    epoch: u64,
}

fn auth_key() -> Secret<32> {
    Secret::new([5; 32])
}

/// Both sides of a session, the initiator first.
fn pair(required: bool, rng: &mut ChaCha20Rng) -> [Spqr; 2] {
    [Spqr::initiator(auth_key(), required, rng), Spqr::responder(auth_key())]
}

fn send(side: &mut Spqr) -> Sent {
    let epoch = side.braid.epoch;
    let (field, key) = side.send().unwrap();
    Sent { field, key, epoch }
}

/// Receives a message: its key.
fn receive(
    side: &mut Spqr,
    sent: &Sent,
    rng: &mut ChaCha20Rng,
) -> Result<Option<Secret<32>>, SpqrError> {
    let incoming = IncomingField { field: &sent.field, is_first: sent.key.is_none(), limit: LIMIT };
    let (step, key) = side.receive(incoming, rng)?;
    match step {
        SpqrStep::Received(changes) => side.commit(*changes),
        SpqrStep::Failed(error) => return Err(error),
        SpqrStep::FellBack => panic!("both sides have the ratchet"),
    }
    Ok(key)
}

fn deliver(side: &mut Spqr, sent: &Sent, rng: &mut ChaCha20Rng) {
    assert_eq!(receive(side, sent, rng).unwrap(), sent.key);
}

/// A message that must be refused, and does not change anything.
fn refuse(side: &mut Spqr, sent: &Sent, rng: &mut ChaCha20Rng) -> SpqrError {
    let before = stored(side);
    let error = receive(side, sent, rng).unwrap_err();
    assert_eq!(stored(side), before);
    error
}

fn stored(side: &Spqr) -> Vec<u8> {
    let mut bytes = Vec::new();
    side.write(&mut bytes);
    assert!(bytes.len() <= side.stored_size());
    bytes
}

fn restored(bytes: &[u8]) -> Spqr {
    let mut reader = Reader::new(bytes);
    let side = Spqr::read(&mut reader).unwrap();
    assert!(reader.is_empty());
    side
}

/// One message in each direction.
fn exchange(pair: &mut [Spqr; 2], rng: &mut ChaCha20Rng) {
    let [alice, bob] = pair;
    let sent = send(alice);
    deliver(bob, &sent, rng);
    let sent = send(bob);
    deliver(alice, &sent, rng);
}

#[test]
fn in_a_conversation_every_87_messages_exchange_a_key() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(true, &mut rng);
    for _ in 0..500 {
        exchange(&mut pair, &mut rng);
    }
    assert_eq!(pair[0].braid.epoch, 1000 / 87 + 1);
    assert!(pair.iter().all(|side| stored(side).len() < 4096));
}

#[test]
fn four_turns_of_many_messages_exchange_a_key() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, mut bob] = pair(true, &mut rng);
    for (from_alice, count) in [(true, 3), (false, 31), (true, 40), (false, 6)] {
        for _ in 0..count {
            let (from, to) =
                if from_alice { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
            let sent = send(from);
            deliver(to, &sent, &mut rng);
        }
    }
    assert_eq!(alice.braid.epoch, 2);
}

#[test]
fn one_side_may_send_thousands_of_messages_alone() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [mut alice, mut bob] = pair(true, &mut rng);
    for _ in 0..2 {
        for _ in 0..3000 {
            let sent = send(&mut alice);
            deliver(&mut bob, &sent, &mut rng);
        }
        for _ in 0..3000 {
            let sent = send(&mut bob);
            deliver(&mut alice, &sent, &mut rng);
        }
    }
    assert_eq!((alice.braid.epoch, bob.braid.epoch), (2, 1));
}

/// A conversation with losses, duplicates, other orders and restarts.
struct Talk {
    sides: [Spqr; 2],
    /// Messages on their way to each side, and whether they arrived before.
    to: [Vec<(Sent, bool)>; 2],
    /// Percent of the messages that are lost, and of those that overtake others.
    lost: u32,
    late: u32,
    rng: ChaCha20Rng,
}

impl Talk {
    fn new(required: bool, lost: u32, late: u32, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        Self { sides: pair(required, &mut rng), to: Default::default(), lost, late, rng }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    fn step(&mut self) {
        let side = usize::from(self.chance(50));
        if self.sides[side].is_agreed() || side == 0 {
            let sent = send(&mut self.sides[side]);
            if !self.chance(self.lost) {
                self.to[1 - side].push((sent, false));
            }
        }
        let to = usize::from(self.chance(50));
        let waiting = u32::try_from(self.to[to].len()).unwrap();
        if waiting > 0 && !self.chance(self.late) {
            let place = if self.chance(self.late) { self.rng.next_u32() % waiting } else { 0 };
            self.arrive(to, usize::try_from(place).unwrap());
        }
        if self.chance(5) {
            self.sides[side] = restored(&stored(&self.sides[side]));
        }
    }

    fn arrive(&mut self, to: usize, place: usize) {
        let (sent, is_duplicate) = self.to[to][place].clone();
        // One in ten arrives once more.
        match self.chance(10) {
            true => self.to[to][place].1 = true,
            false => drop(self.to[to].remove(place)),
        }
        let side = &mut self.sides[to];
        if is_duplicate && sent.key.is_some() {
            let error = refuse(side, &sent, &mut self.rng);
            assert!(matches!(
                error,
                SpqrError::KeyReused | SpqrError::EpochTooOld | SpqrError::KeyTrimmed
            ));
        } else if side.braid.epoch > sent.epoch + 1 {
            let key = receive(side, &sent, &mut self.rng);
            assert!(key == Err(SpqrError::EpochTooOld) || key == Ok(sent.key));
        } else {
            deliver(side, &sent, &mut self.rng);
        }
    }
}

#[test]
fn both_sides_agree_on_every_key_despite_losses_and_other_orders() {
    for seed in 0..12 {
        let (lost, late) =
            [(0, 0), (30, 15), (0, 60), (60, 30)][usize::try_from(seed % 4).unwrap()];
        let mut talk = Talk::new(seed < 6, lost, late, seed);
        let mut epochs = [1, 1];
        for _ in 0..4000 {
            talk.step();
            for (before, side) in epochs.iter_mut().zip(&talk.sides) {
                let after = side.braid.epoch;
                assert!(after == *before || after == *before + 1, "seed {seed}");
                *before = after;
            }
        }
        assert!(epochs.iter().all(|epoch| *epoch > 2), "seed {seed}: {epochs:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_sides_agree_on_every_key(
        required: bool,
        lost in 0_u32..70,
        late in 0_u32..70,
        seed: u64,
        steps in 1..600,
    ) {
        let mut talk = Talk::new(required, lost, late, seed);
        (0..steps).for_each(|_| talk.step());
    }

    /// Messages of a peer that has the keys of the session, and breaks the rules.
    #[test]
    fn no_field_breaks_anything(
        before in 0..200,
        epoch in 0_u64..4,
        index in 0_u32..100,
        kind in 0_u8..8,
        chunk in 0_u8..40,
        data: [u8; 32],
        seed: u64,
    ) {
        let mut talk = Talk::new(true, 0, 0, seed);
        (0..before).for_each(|_| talk.step());
        let head = [1, u8::try_from(epoch).unwrap(), u8::try_from(index).unwrap(), kind, chunk];
        let sent = Sent { field: [&head[..], &data].concat(), key: None, epoch };
        for side in &mut talk.sides {
            let copy = stored(side);
            if receive(side, &sent, &mut talk.rng).is_err() {
                prop_assert_eq!(&stored(side), &copy);
            }
            let restored = restored(&stored(side));
            prop_assert_eq!(&restored, &*side);
            side.send().unwrap();
        }
    }
}

#[test]
fn shortened_and_changed_bytes_are_not_a_ratchet_or_another_one() {
    let mut talk = Talk::new(true, 10, 30, 7);
    for _ in 0..20 {
        (0..40).for_each(|_| talk.step());
        let bytes = stored(&talk.sides[0]);
        for end in 0..bytes.len() {
            assert!(Spqr::read(&mut Reader::new(&bytes[..end])).is_err(), "{end}");
        }
        // Numbers and kinds at the start and at the end of the stored form.
        for at in (0..8).chain(bytes.len().saturating_sub(200)..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x81;
            if let Ok(mut side) = Spqr::read(&mut Reader::new(&changed)) {
                assert_eq!(restored(&stored(&side)), side);
                let _ = side.send();
            }
        }
    }
}

#[test]
fn the_secrets_of_an_exchange_are_gone_after_it() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut pair = pair(true, &mut rng);
    let State::KeyOwner(braid::KeyOwner::KeysUnsampled { seed: kem::KeySeed::Random(seed) }) =
        &pair[0].braid.state
    else {
        panic!("the initiator begins with a key pair");
    };
    let secret = seed.expose().to_vec();
    let holds = |side: &Spqr| stored(side).windows(64).any(|bytes| bytes == secret);
    assert!(holds(&pair[0]));
    while pair[0].braid.epoch == 1 {
        exchange(&mut pair, &mut rng);
    }
    assert!(!holds(&pair[0]));
}

#[test]
fn a_ratchet_prints_no_secret() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let key = Secret::new([0x41; 32]);
    let side = Spqr::initiator(key.clone(), false, &mut rng);
    let printed = format!("{side:?} {:?}", Spqr::responder(key));
    assert!(!printed.contains("65, 65, 65"), "{printed}");
}
