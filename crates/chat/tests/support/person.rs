//! A device with everything it needs to exchange messages without a server.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::{
    AccountId, Address, Ciphertext, CiphertextKind, DecryptError, DeviceId, EncryptError, Identity,
    KemPreKey, KeyPair, OneTimePreKey, PreKeyBundle, PreKeySignalMessage, PublicKey,
    ReferencedPreKeys, Route, SessionRecord, SignalMessage, SignedPreKey, Timestamp, Trust,
};

/// The optional prekeys of a bundle, in addition to the signed one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct With {
    pub(crate) one_time: bool,
    pub(crate) kem: bool,
}

pub(crate) const X3DH: With = With { one_time: true, kem: false };
pub(crate) const PQXDH: With = With { one_time: true, kem: true };
pub(crate) const NO_ONE_TIME: With = With { one_time: false, kem: false };

#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    pub(crate) signed: SignedPreKey,
    pub(crate) one_time: BTreeMap<u32, OneTimePreKey>,
    /// The last one-time prekey in a bundle.
    pub(crate) given: u32,
    pub(crate) kem: KemPreKey,
    pub(crate) sessions_without_one_time_prekey: BTreeSet<(u32, Option<u32>, PublicKey)>,
    pub(crate) sessions: BTreeMap<Address, SessionRecord>,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha20Rng,
}

impl Person {
    pub(crate) fn new(number: u8) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(number.into());
        let identity = Identity { pair: KeyPair::random(&mut rng), registration_id: number.into() };
        let now = Timestamp(1_600_000_000_000);
        let one_time =
            (1..=20).map(|id| (id, OneTimePreKey { id, pair: KeyPair::random(&mut rng) }));
        Self {
            address: address(number),
            one_time: one_time.collect(),
            signed: SignedPreKey::random(1, &identity.pair, now, &mut rng),
            kem: KemPreKey::random(1, true, &identity.pair, now, &mut rng),
            given: 0,
            sessions_without_one_time_prekey: BTreeSet::new(),
            sessions: BTreeMap::new(),
            identity,
            now,
            rng,
        }
    }

    /// The bundle that the server would hand out; it would hand out each one-time prekey only once.
    pub(crate) fn bundle(&self, with: With) -> PreKeyBundle {
        let one_time = self.one_time.first_key_value().filter(|_| with.one_time);
        let kem = &self.kem;
        PreKeyBundle {
            device: self.address.device,
            registration_id: self.identity.registration_id,
            identity: *self.identity.pair.public(),
            signed: (self.signed.id, *self.signed.pair.public(), self.signed.signature),
            one_time: one_time.map(|(id, key)| (*id, *key.pair.public())),
            kem: with.kem.then(|| (kem.id, kem.pair.public().clone(), kem.signature)),
        }
    }

    /// Starts a session with the other's next unused one-time prekey.
    pub(crate) fn meet(&mut self, other: &mut Self, with: With) {
        let mut bundle = other.bundle(with);
        if let Some(id) = other.given.checked_add(1).filter(|_| with.one_time) {
            other.given = id;
            bundle.one_time = other.one_time.get(&id).map(|key| (id, *key.pair.public()));
        }
        let bundle = bundle.verify().unwrap();
        let record = self.sessions.entry(other.address).or_default();
        record.initiate(&self.identity, &bundle, self.now, &mut self.rng).unwrap();
    }

    pub(crate) fn try_write(
        &mut self,
        to: Address,
        text: &[u8],
    ) -> Result<Ciphertext, EncryptError> {
        let route = Route { from: self.address, to };
        let record = self.sessions.entry(to).or_default();
        record.encrypt(&self.identity, route, text, self.now)
    }

    pub(crate) fn write(&mut self, to: Address, text: &[u8]) -> Ciphertext {
        self.try_write(to, text).unwrap()
    }

    /// Decrypts, and updates the prekeys as required.
    pub(crate) fn read(
        &mut self,
        from: Address,
        sent: &Ciphertext,
    ) -> Result<Vec<u8>, DecryptError> {
        self.read_trusting(from, sent, None)
    }

    pub(crate) fn read_trusting(
        &mut self,
        from: Address,
        sent: &Ciphertext,
        trusted: Option<&PublicKey>,
    ) -> Result<Vec<u8>, DecryptError> {
        match sent.kind {
            CiphertextKind::Signal => self.read_signal(from, &SignalMessage::decode(&sent.bytes)?),
            CiphertextKind::PreKey => {
                self.read_first(from, &PreKeySignalMessage::decode(&sent.bytes)?, trusted)
            }
        }
    }

    pub(crate) fn read_signal(
        &mut self,
        from: Address,
        message: &SignalMessage,
    ) -> Result<Vec<u8>, DecryptError> {
        let route = Route { from, to: self.address };
        let record = self.sessions.entry(from).or_default();
        record.decrypt(route, message, &mut self.rng).map(|text| text.to_vec())
    }

    pub(crate) fn read_first(
        &mut self,
        from: Address,
        message: &PreKeySignalMessage,
        trusted: Option<&PublicKey>,
    ) -> Result<Vec<u8>, DecryptError> {
        let route = Route { from, to: self.address };
        let record = self.sessions.entry(from).or_default();
        let named = ReferencedPreKeys {
            signed: Some(&self.signed),
            one_time: message.pre_key_id().and_then(|id| self.one_time.get(&id)),
            kem: Some(&self.kem),
        };
        let trust = trusted.map_or(Trust::Any, Trust::Only);
        let mut copy = record.clone();
        let first =
            copy.decrypt_first(&self.identity, route, message, named, trust, &mut self.rng)?;
        if let Some(used) = first.used {
            match used.one_time {
                Some(id) => {
                    self.one_time.remove(&id);
                }
                None => {
                    if !self.sessions_without_one_time_prekey.insert((
                        used.signed,
                        used.kem,
                        used.base_key,
                    )) {
                        return Err(DecryptError::Duplicate);
                    }
                }
            }
        }
        *record = copy;
        Ok(first.plaintext.to_vec())
    }

    /// The stored bytes of the sessions with a peer.
    pub(crate) fn stored(&self, peer: Address) -> Vec<u8> {
        self.sessions.get(&peer).cloned().unwrap_or_default().encode().to_vec()
    }

    /// Stores and loads all state.
    pub(crate) fn restart(&mut self) {
        for record in self.sessions.values_mut() {
            *record = SessionRecord::decode(&record.encode()).unwrap();
        }
    }
}

pub(crate) fn address(number: u8) -> Address {
    Address { account: AccountId::from_bytes([number; 16]), device: DeviceId::PRIMARY }
}

/// Two people in a conversation: Alice has written, and Bob has replied.
pub(crate) fn talking(with: With) -> (Person, Person) {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    alice.meet(&mut bob, with);
    let sent = alice.write(bob.address, b"hello");
    assert_eq!(bob.read(alice.address, &sent).unwrap(), b"hello");
    let sent = bob.write(alice.address, b"hi");
    assert_eq!(alice.read(bob.address, &sent).unwrap(), b"hi");
    (alice, bob)
}
