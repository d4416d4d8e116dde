//! The exchange of one key after the other, in small pieces that travel in both directions (ML-KEM Braid).
//!
//! In each epoch, one side owns the key pair, and the other side encapsulates. In the next epoch they change places. Nothing
//! here changes in place: a caller keeps the new value once it knows that the message is authentic.

mod encapsulator;
mod key_owner;

use rand_core::CryptoRngCore;
use wormhole_kit::Secret;

use super::SpqrError;
use super::authenticator::Authenticator;
use super::kem::KeySeed;
use super::wire::{SpqrMessage, SpqrPayload};

pub(super) use encapsulator::Encapsulator;
pub(super) use key_owner::KeyOwner;

/// One side of the exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Braid {
    /// The current epoch, from 1.
    pub(super) epoch: u64,
    pub(super) authenticator: Authenticator,
    pub(super) state: State,
}

/// The part of this side in the current epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum State {
    KeyOwner(KeyOwner),
    Encapsulator(Encapsulator),
}

/// A key that both sides have exchanged.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) epoch: u64,
    pub(super) key: Secret<32>,
}

impl Braid {
    /// The side that begins: it owns the first key pair.
    pub(super) fn initiator(auth_key: &Secret<32>, rng: &mut impl CryptoRngCore) -> Self {
        let seed = KeySeed::random(rng);
        Self::new(auth_key, State::KeyOwner(KeyOwner::KeysUnsampled { seed }))
    }

    /// The other side.
    pub(super) fn responder(auth_key: &Secret<32>) -> Self {
        Self::new(auth_key, State::Encapsulator(Encapsulator::new()))
    }

    fn new(auth_key: &Secret<32>, state: State) -> Self {
        Self { epoch: 1, authenticator: Authenticator::new(auth_key), state }
    }

    /// The state after a message was sent, what the message carries, and perhaps a new key.
    pub(super) fn sent(&self) -> (Self, SpqrPayload, Option<Exchanged>) {
        match self.state.clone() {
            State::KeyOwner(owner) => {
                let (owner, payload) = owner.send(self.epoch, &self.authenticator);
                (self.with(State::KeyOwner(owner)), payload, None)
            }
            State::Encapsulator(encapsulator) => {
                let sent = encapsulator.send(self.epoch, &self.authenticator);
                let (authenticator, exchanged) = self.exchange(sent.exchanged);
                let state = State::Encapsulator(sent.state);
                (Self { epoch: self.epoch, authenticator, state }, sent.payload, exchanged)
            }
        }
    }

    /// The state after a message was received, and perhaps a new key.
    pub(super) fn received(
        &self,
        message: &SpqrMessage,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Self, Option<Exchanged>), SpqrError> {
        if message.epoch > self.epoch {
            return self.next_epoch(message.epoch, rng).map(|next| (next, None));
        }
        if message.epoch < self.epoch {
            return Ok((self.clone(), None));
        }
        match self.state.clone() {
            State::KeyOwner(owner) => {
                let received = owner.receive(self.epoch, &self.authenticator, &message.payload)?;
                Ok(match received {
                    key_owner::Received::Still(owner) => (self.with(State::KeyOwner(owner)), None),
                    key_owner::Received::Finished(authenticator, key) => {
                        let (epoch, next) = (self.epoch, self.epoch.saturating_add(1));
                        let state = State::Encapsulator(Encapsulator::new());
                        let exchanged = Exchanged { epoch, key };
                        (Self { epoch: next, authenticator, state }, Some(exchanged))
                    }
                })
            }
            State::Encapsulator(encapsulator) => {
                let (epoch, authenticator) = (self.epoch, &self.authenticator);
                let state = encapsulator.receive(epoch, authenticator, &message.payload, rng)?;
                Ok((self.with(State::Encapsulator(state)), None))
            }
        }
    }

    /// The peer is in the next epoch: it has the second part of the ciphertext.
    fn next_epoch(&self, epoch: u64, rng: &mut impl CryptoRngCore) -> Result<Self, SpqrError> {
        let awaits = matches!(self.state, State::Encapsulator(Encapsulator::Ct2Sampled { .. }));
        if !awaits || epoch != self.epoch.saturating_add(1) {
            return Err(SpqrError::EpochTooNew);
        }
        let state = State::KeyOwner(KeyOwner::KeysUnsampled { seed: KeySeed::random(rng) });
        Ok(Self { epoch, ..self.with(state) })
    }

    /// The same epoch with another state.
    fn with(&self, state: State) -> Self {
        Self { epoch: self.epoch, authenticator: self.authenticator.clone(), state }
    }

    fn exchange(
        &self,
        exchanged: Option<(Authenticator, Secret<32>)>,
    ) -> (Authenticator, Option<Exchanged>) {
        match exchanged {
            None => (self.authenticator.clone(), None),
            Some((authenticator, key)) => {
                (authenticator, Some(Exchanged { epoch: self.epoch, key }))
            }
        }
    }
}

/// The start of restored bytes, which are long enough.
fn first<const N: usize>(bytes: &[u8]) -> Box<[u8; N]> {
    debug_assert!(bytes.len() >= N, "the decoder was made for this length");
    Box::new(bytes.first_chunk().copied().unwrap_or([0; N]))
}

/// The end of restored bytes, which are long enough.
fn last<const N: usize>(bytes: &[u8]) -> [u8; N] {
    debug_assert!(bytes.len() >= N, "the decoder was made for this length");
    bytes.last_chunk().copied().unwrap_or([0; N])
}
