//! The post-quantum ratchet in sessions, and with a peer whose program does not have it.

use super::*;
use crate::address::{AccountId, Address, DeviceId};
use crate::message::CiphertextKind;
use crate::prekey::PreKeyBundle;
use crate::spqr::{SpqrError, SpqrMessage, SpqrPayload};

/// A device.
pub(super) struct Side {
    us: Identity,
    signed: SignedPreKey,
    kem: KemPreKey,
    pub(super) record: SessionRecord,
    route: Route,
    /// Whether its program does not have the ratchet.
    is_old: bool,
    /// Who has encrypted the message that was read last.
    pub(super) peer: Option<SessionPeer>,
    rng: ChaCha20Rng,
}

pub(super) const NOW: Timestamp = Timestamp(1_600_000_000_000);

impl Side {
    pub(super) fn new(number: u8, is_old: bool) -> Self {
        Self::with_keys(number, number.into(), is_old)
    }

    /// The seed determines its keys.
    pub(super) fn with_keys(number: u8, seed: u64, is_old: bool) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let us = Identity { pair: KeyPair::random(&mut rng), registration_id: 1 };
        let [from, to] = [number, 3 - number].map(|byte| Address {
            account: AccountId::from_bytes([byte; 16]),
            device: DeviceId::PRIMARY,
        });
        Self {
            signed: SignedPreKey::random(1, &us.pair, NOW, &mut rng),
            kem: KemPreKey::random(1, true, &us.pair, NOW, &mut rng),
            us,
            record: SessionRecord::default(),
            route: Route { from, to },
            is_old,
            peer: None,
            rng,
        }
    }

    pub(super) fn initiate(&mut self, other: &Self) {
        let bundle = PreKeyBundle {
            device: DeviceId::PRIMARY,
            registration_id: other.us.registration_id,
            identity: *other.us.pair.public(),
            signed: (1, *other.signed.pair.public(), other.signed.signature),
            one_time: None,
            kem: Some((1, other.kem.pair.public().clone(), other.kem.signature)),
        };
        let bundle = bundle.verify().unwrap();
        self.record.initiate(&self.us, &bundle, NOW, &mut self.rng).unwrap();
        self.forget();
    }

    /// An old program ignores the field, and does not know what follows from it.
    fn forget(&mut self) {
        if self.is_old {
            self.record.had_spqr = None;
            if let Some(session) = &mut self.record.current {
                session.spqr = None;
            }
        }
    }

    pub(super) const fn identity(&self) -> PublicKey {
        *self.us.pair.public()
    }

    pub(super) fn write(&mut self) -> Ciphertext {
        self.record.encrypt(&self.us, self.route, b"text", NOW).unwrap()
    }

    pub(super) fn read(&mut self, sent: &Ciphertext) -> Result<(), DecryptError> {
        let route = Route { from: self.route.to, to: self.route.from };
        let plaintext = match sent.kind {
            CiphertextKind::PreKey => {
                let message = PreKeySignalMessage::decode(&sent.bytes)?;
                let keys = ReferencedPreKeys {
                    signed: Some(&self.signed),
                    one_time: None,
                    kem: Some(&self.kem),
                };
                let (record, rng) = (&mut self.record, &mut self.rng);
                let first =
                    record.decrypt_first(&self.us, route, &message, keys, Trust::Any, rng)?;
                self.peer = Some(first.peer);
                first.plaintext
            }
            CiphertextKind::Signal => {
                let mut message = SignalMessage::decode(&sent.bytes)?;
                if self.is_old {
                    message.spqr.clear();
                }
                let rng = &mut self.rng;
                let (plaintext, peer) =
                    self.record.decrypt_preferring(route, &message, None, rng)?;
                self.peer = Some(peer);
                plaintext
            }
        };
        assert_eq!(*plaintext, b"text");
        self.forget();
        Ok(())
    }

    /// A message that must be refused, and does not change anything.
    pub(super) fn refuse(&mut self, sent: &Ciphertext) -> DecryptError {
        let before = self.record.encode();
        let error = self.read(sent).unwrap_err();
        assert_eq!(self.record.encode(), before);
        error
    }
}

/// The field of the ratchet in a message.
fn field(sent: &Ciphertext) -> Option<SpqrMessage> {
    let field = match sent.kind {
        CiphertextKind::PreKey => PreKeySignalMessage::decode(&sent.bytes).unwrap().message.spqr,
        CiphertextKind::Signal => SignalMessage::decode(&sent.bytes).unwrap().spqr,
    };
    SpqrMessage::decode(&field).unwrap()
}

/// One message in each direction.
pub(super) fn exchange(one: &mut Side, other: &mut Side) {
    let sent = one.write();
    other.read(&sent).unwrap();
    let sent = other.write();
    one.read(&sent).unwrap();
}

/// A message from the second to the first, which has written before.
fn exchange_back(one: &mut Side, other: &mut Side) {
    let sent = other.write();
    one.read(&sent).unwrap();
}

fn talking(old: [bool; 2]) -> (Side, Side) {
    let (mut alice, mut bob) = (Side::new(1, old[0]), Side::new(2, old[1]));
    alice.initiate(&bob);
    exchange(&mut alice, &mut bob);
    (alice, bob)
}

#[test]
fn two_programs_with_the_ratchet_use_it_from_the_first_answer() {
    let (mut alice, mut bob) = (Side::new(1, false), Side::new(2, false));
    alice.initiate(&bob);
    let first = alice.write();
    assert_eq!(field(&first).unwrap().index, 0);
    bob.read(&first).unwrap();
    let answer = bob.write();
    assert_eq!(field(&answer).unwrap().index, 1);
    alice.read(&answer).unwrap();
    assert_eq!(field(&alice.write()).unwrap().index, 1);
    for side in [&alice, &bob] {
        assert!(side.record.has_post_quantum_ratchet());
        assert_eq!(side.record.version(), Some(Version::Pqxdh));
    }
}

#[test]
fn a_peer_without_the_ratchet_gets_version_4_whoever_begins() {
    for old in [[true, false], [false, true]] {
        let (mut alice, mut bob) = talking(old);
        for _ in 0..3 {
            exchange(&mut alice, &mut bob);
        }
        for side in [&mut alice, &mut bob] {
            assert_eq!(field(&side.write()), None);
            assert!(!side.record.has_post_quantum_ratchet());
            assert_eq!(side.record.version(), Some(Version::Pqxdh));
            let stored = side.record.encode();
            assert_eq!(SessionRecord::decode(&stored).as_ref(), Ok(&side.record));
        }
    }
}

#[test]
fn attack_7_a_session_with_the_post_quantum_ratchet_is_never_downgraded() {
    let (mut alice, mut bob) = talking([false; 2]);
    for _ in 0..100 {
        // Bob's keys, in a program that does not use the ratchet any more.
        let mut old = Side::new(2, true);
        old.record = bob.record.clone();
        old.forget();
        let sent = old.write();
        assert_eq!(field(&sent), None);
        assert_eq!(alice.refuse(&sent), DecryptError::BadMac);
        assert_eq!(old.refuse(&alice.write()), DecryptError::BadMac);
        exchange(&mut alice, &mut bob);
    }
    assert!(alice.record.has_post_quantum_ratchet());
}

#[test]
fn attack_7_a_session_without_the_ratchet_does_not_replace_one_with_it() {
    let (mut alice, bob) = talking([false; 2]);
    // Bob's keys, in an older program that begins another session.
    let mut old = Side::new(2, true);
    old.initiate(&alice);
    let sent = old.write();
    alice.read(&sent).unwrap();
    // It was read, but the answer goes through the session with the ratchet.
    assert!(alice.record.has_post_quantum_ratchet());
    assert!(field(&alice.write()).is_some());
    drop(bob);
}

#[test]
fn attack_7_a_device_that_had_the_ratchet_must_have_it_in_later_sessions() {
    let (mut alice, mut bob) = talking([false; 2]);
    alice.record.delete_sessions();
    alice.record = SessionRecord::decode(&alice.record.encode()).unwrap();
    alice.initiate(&bob);
    // Protected from the first message.
    let sent = alice.write();
    assert_eq!(field(&sent).unwrap().index, 1);
    let mut old = Side::new(2, true);
    old.initiate(&alice);
    bob.read(&sent).unwrap();
    old.record = bob.record.clone();
    old.forget();
    assert_eq!(alice.refuse(&old.write()), DecryptError::BadMac);
    exchange(&mut bob, &mut alice);
    // Until the user accepts another identity key.
    alice.record.accept_identity(KeyPair::random(&mut alice.rng).public());
    alice.initiate(&bob);
    assert_eq!(field(&alice.write()).unwrap().index, 0);
}

#[test]
fn another_program_that_gets_the_number_of_a_removed_device_need_not_have_the_ratchet() {
    let (mut alice, mut bob) = talking([false; 2]);
    alice.record.delete_sessions();
    alice.record = SessionRecord::decode(&alice.record.encode()).unwrap();
    let mut other = Side::new(2, true);
    other.us.registration_id = 2;
    alice.initiate(&other);
    let sent = alice.write();
    assert_eq!(field(&sent).unwrap().index, 0, "it can be read without the ratchet");
    other.read(&sent).unwrap();
    exchange_back(&mut alice, &mut other);
    exchange(&mut alice, &mut other);
    // The pin of the first device stays, and a device with its number is pinned when it shows the ratchet.
    alice.record.delete_sessions();
    alice.initiate(&bob);
    let sent = alice.write();
    assert_eq!(field(&sent).unwrap().index, 1);
    bob.us.registration_id = 3;
    alice.record.delete_sessions();
    bob.record.delete_sessions();
    alice.initiate(&bob);
    exchange(&mut alice, &mut bob);
    alice.record.delete_sessions();
    alice.initiate(&bob);
    assert_eq!(field(&alice.write()).unwrap().index, 1);
}

#[test]
fn a_stored_pin_without_a_device_is_for_each_device() {
    let (mut alice, mut bob) = talking([false; 2]);
    alice.record.delete_sessions();
    // As earlier versions of this program have stored it.
    let stored = alice.record.encode();
    assert_eq!(stored[..], [1, 2 | 16 | 32, 0, 0, 0, 0, 1]);
    alice.record = SessionRecord::decode(&[1, 2 | 16, 0]).unwrap();
    assert_eq!(alice.record.encode()[..], [1, 2 | 16, 0]);
    assert!(SessionRecord::decode(&[1, 2 | 32, 0, 0, 0, 0, 1]).is_err());
    bob.us.registration_id = 2;
    alice.initiate(&bob);
    assert_eq!(field(&alice.write()).unwrap().index, 1);
}

#[test]
fn a_stored_session_without_the_ratchet_reads_and_does_not_get_it() {
    // A record as earlier versions of this program have stored it.
    let (mut alice, mut bob) = talking([true; 2]);
    for side in [&mut alice, &mut bob] {
        let stored = side.record.encode();
        assert_eq!(stored[1] & 24, 0, "no flag that earlier versions do not know");
        side.record = SessionRecord::decode(&stored).unwrap();
        side.is_old = false;
    }
    for _ in 0..3 {
        exchange(&mut alice, &mut bob);
    }
    assert!(!alice.record.has_post_quantum_ratchet());
}

#[test]
fn a_stored_session_without_the_ratchet_continues_with_a_peer_that_offers_it() {
    let (mut alice, mut bob) = (Side::new(1, false), Side::new(2, true));
    alice.initiate(&bob);
    let sent = alice.write();
    bob.read(&sent).unwrap();
    // Bob gets a new program before he answers. Alice still offers the ratchet.
    let stored = bob.record.encode();
    assert_eq!(stored[1] & 24, 0, "no flag that earlier versions do not know");
    bob.record = SessionRecord::decode(&stored).unwrap();
    bob.is_old = false;
    for _ in 0..2 {
        let sent = alice.write();
        assert_eq!(field(&sent).unwrap().index, 0);
        bob.read(&sent).unwrap();
    }
    for _ in 0..3 {
        let sent = bob.write();
        assert_eq!(field(&sent), None);
        alice.read(&sent).unwrap();
        let sent = alice.write();
        assert_eq!(field(&sent), None);
        bob.read(&sent).unwrap();
    }
}

#[test]
fn attack_7_a_session_without_the_ratchet_accepts_only_an_offer_in_a_first_message() {
    let (mut alice, mut bob) = (Side::new(1, false), Side::new(2, true));
    alice.initiate(&bob);
    let sent = alice.write();
    bob.read(&sent).unwrap();
    bob.is_old = false;
    let message = PreKeySignalMessage::decode(&sent.bytes).unwrap().message;
    let offer = SpqrMessage { epoch: 1, index: 0, payload: SpqrPayload::None };
    let receive = |bob: &mut Side, is_first, field: &SpqrMessage| {
        let mut message = message.clone();
        (message.is_first, message.spqr) = (is_first, field.encode());
        let session = bob.record.current.as_ref().unwrap();
        session.receive_spqr(&message, 10, &mut bob.rng).map(|(_, key)| key)
    };
    let refused = Err(SpqrError::NotAgreed);
    assert_eq!(receive(&mut bob, true, &offer), Ok(None));
    assert_eq!(receive(&mut bob, false, &offer), refused);
    for (epoch, index) in [(1, 1), (2, 0)] {
        assert_eq!(
            receive(&mut bob, true, &SpqrMessage { epoch, index, ..offer.clone() }),
            refused
        );
    }
    // Not if we have started the session, or with version 3.
    let session = |bob: &mut Side| bob.record.current.take().unwrap();
    let kept = session(&mut bob);
    bob.record.current = Some(Session { version: Version::X3dh, ..kept.clone() });
    assert_eq!(receive(&mut bob, true, &offer), refused);
    let pending = Pending { pre_key_id: None, signed_pre_key_id: 1, kem: None, since: NOW };
    bob.record.current = Some(Session { pending: Some(pending), ..kept });
    assert_eq!(receive(&mut bob, true, &offer), refused);
}

#[test]
fn attack_7_only_under_the_first_ratchet_key_may_a_message_lack_a_key() {
    let (mut alice, mut bob) = (Side::new(1, false), Side::new(2, false));
    alice.initiate(&bob);
    let first = alice.write();
    let late = alice.write();
    bob.read(&first).unwrap();
    exchange_back(&mut alice, &mut bob);
    let (PreKeySignalMessage { message: mut forged, .. }, second) = (
        PreKeySignalMessage::decode(&late.bytes).unwrap(),
        SignalMessage::decode(&alice.write().bytes).unwrap(),
    );
    // A late first message is read, although Bob knows a second ratchet key of Alice.
    let sent = alice.write();
    bob.read(&sent).unwrap();
    let session = bob.record.current.as_ref().unwrap();
    assert_eq!(session.ratchet.receivers.len(), 2);
    assert!(matches!(session.receive_spqr(&forged, 10, &mut bob.rng), Ok((_, None))));
    forged.ratchet_key = second.ratchet_key;
    let refused = session.receive_spqr(&forged, 10, &mut bob.rng).map(|(_, key)| key);
    assert_eq!(refused, Err(SpqrError::NoKey));
    bob.read(&late).unwrap();
}

#[test]
fn the_keys_of_skipped_messages_count_like_their_seeds() {
    let (mut alice, mut bob) = talking([false; 2]);
    let sent: Vec<_> = (0..50).map(|_| alice.write()).collect();
    bob.read(&sent[49]).unwrap();
    assert_eq!(bob.record.skipped_len(), 49);
    bob.record.limit_skipped(10, None);
    assert_eq!(bob.record.skipped_len(), 10);
    let session = bob.record.current.as_ref().unwrap();
    assert_eq!(session.spqr.as_ref().map(Spqr::skipped_len), Some(10));
    assert_eq!(bob.refuse(&sent[38]), DecryptError::DeletedKey);
    bob.read(&sent[39]).unwrap();
}

#[test]
fn sessions_that_refuse_a_message_at_once_leave_steps_to_the_right_one() {
    let (mut alice, mut bob) = (Side::new(1, false), Side::new(2, false));
    alice.initiate(&bob);
    exchange(&mut alice, &mut bob);
    let sent = (0..=MAX_ARCHIVED_STEPS).map(|_| alice.write()).last().unwrap();
    bob.read(&sent).unwrap();
    let sent = bob.write();
    alice.read(&sent).unwrap();
    // Two other sessions come before the one with Alice.
    let mut mallory = Side { route: alice.route, ..Side::new(3, false) };
    for _ in 0..2 {
        mallory.initiate(&bob);
        bob.read(&mallory.write()).unwrap();
    }
    let _late = alice.write();
    let sent = alice.write();
    bob.read(&sent).unwrap();
}
