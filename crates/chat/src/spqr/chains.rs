//! The keys of single messages: for each exchanged key and each direction a chain, of which every message uses one key.

use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::braid::Exchanged;
use super::skipped::{Skipped, SkippedKey, SkippedStep};
use super::{Role, SpqrError};
use crate::kdf::{halves, hkdf, thirds};

/// The chains of the latest exchanged keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chains {
    pub(super) root: Secret<32>,
    /// The epoch of the chain with which we sent last.
    pub(super) sending: u64,
    /// Consecutive epochs, oldest first.
    pub(super) epochs: Vec<Epoch>,
}

/// Both chains of an epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Epoch {
    pub(super) number: u64,
    /// `None`: we have sent with a newer one.
    pub(super) send: Option<Chain>,
    pub(super) receive: Chain,
}

/// A chain, after `index` of its keys were given out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chain {
    pub(super) key: Secret<32>,
    pub(super) index: u32,
}

impl Chain {
    const fn new(key: Secret<32>) -> Self {
        Self { key, index: 0 }
    }

    /// The next chain key and the message key. `None` after 2^32 - 1 messages.
    fn step(&self) -> Option<(Self, Secret<32>)> {
        let index = self.index.checked_add(1)?;
        let (key, message_key) = halves(&self.derive(index));
        Some((Self { key, index }, message_key))
    }

    /// The next chain, for a message whose key is not needed.
    fn skip(&self) -> Option<Self> {
        let index = self.index.checked_add(1)?;
        let key = self.derive(index);
        Some(Self { key: Secret::new(*key), index })
    }

    fn derive<const N: usize>(&self, index: u32) -> Zeroizing<[u8; N]> {
        let mut info = [0; 4 + NEXT.len()];
        info.iter_mut()
            .zip(index.to_be_bytes().iter().chain(NEXT))
            .for_each(|(to, from)| *to = *from);
        hkdf(&[0; 32], self.key.expose(), &info)
    }
}

impl Chains {
    /// The chains of epoch 0, from the first agreement.
    pub(super) fn new(role: Role, auth_key: &Secret<32>) -> Self {
        let (root, epoch) = derive(role, 0, &[0; 32], auth_key, START);
        Self { root, sending: 0, epochs: vec![epoch] }
    }

    /// Adds the chains of a new key.
    pub(super) fn add(&mut self, role: Role, exchanged: &Exchanged) {
        let (root, epoch) =
            derive(role, exchanged.epoch, self.root.expose(), &exchanged.key, ADD_EPOCH);
        self.root = root;
        self.epochs.push(epoch);
    }

    /// The next key for sending in an epoch, and its index. Older keys for sending are deleted, and chains from before the
    /// last epoch.
    ///
    /// # Errors
    /// The chain has ended. Discard this copy.
    pub(super) fn send(&mut self, number: u64) -> Result<(u32, Secret<32>), SpqrError> {
        let epoch = self.epochs.iter_mut().find(|epoch| epoch.number == number);
        let chain = epoch.and_then(|epoch| epoch.send.as_mut()).ok_or(SpqrError::EpochTooOld)?;
        let (next, key) = chain.step().ok_or(SpqrError::ChainEnded)?;
        let index = next.index;
        *chain = next;
        self.sending = number;
        self.epochs.retain(|epoch| epoch.number.saturating_add(1) >= number);
        for epoch in self.epochs.iter_mut().filter(|epoch| epoch.number < number) {
            epoch.send = None;
        }
        Ok((index, key))
    }

    /// The key of a received message, and how the skipped keys change. It may skip at most `limit` messages.
    ///
    /// # Errors
    /// There is no such key. Discard this copy.
    pub(super) fn receive(
        &mut self,
        number: u64,
        index: u32,
        limit: u32,
        skipped: &Skipped,
    ) -> Result<(Secret<32>, SkippedStep), SpqrError> {
        if self.epochs.first().is_some_and(|oldest| number < oldest.number) {
            return Err(SpqrError::EpochTooOld);
        }
        let epoch = self.epochs.iter_mut().find(|epoch| epoch.number == number);
        let chain = &mut epoch.ok_or(SpqrError::EpochTooNew)?.receive;
        let Some(jump) = index.checked_sub(chain.index).and_then(|ahead| ahead.checked_sub(1))
        else {
            return skipped.find(number, index);
        };
        if jump > limit {
            return Err(SpqrError::KeyJump(jump));
        }
        // Keys that would be deleted at once are not derived.
        let kept_from = index.saturating_sub(Skipped::MAX);
        let mut keys =
            Vec::with_capacity(usize::try_from(jump.min(Skipped::MAX)).unwrap_or_default());
        let first = chain.index.saturating_add(1);
        for index in first..index {
            if index < kept_from {
                *chain = chain.skip().ok_or(SpqrError::ChainEnded)?;
            } else {
                let (next, key) = chain.step().ok_or(SpqrError::ChainEnded)?;
                keys.push(SkippedKey { epoch: number, index, key });
                *chain = next;
            }
        }
        let (next, key) = chain.step().ok_or(SpqrError::ChainEnded)?;
        *chain = next;
        let is_deleted = first < kept_from;
        Ok((
            key,
            SkippedStep::Add { keys, deleted_before: is_deleted.then_some((number, kept_from)) },
        ))
    }

    /// How many messages this one would skip. Each costs one derivation.
    pub(super) fn jump(&self, number: u64, index: u32) -> u32 {
        let epoch = self.epochs.iter().find(|epoch| epoch.number == number);
        epoch.map_or(0, |epoch| index.saturating_sub(epoch.receive.index))
    }
}

/// The next root and the chains of an epoch.
fn derive(
    role: Role,
    number: u64,
    salt: &[u8; 32],
    key: &Secret<32>,
    info: &[u8],
) -> (Secret<32>, Epoch) {
    let derived = hkdf(salt, key.expose(), info);
    let (root, from_initiator, from_responder) = thirds(&derived);
    let (from_initiator, from_responder) = (Chain::new(from_initiator), Chain::new(from_responder));
    let (send, receive) = match role {
        Role::Initiator => (from_initiator, from_responder),
        Role::Responder => (from_responder, from_initiator),
    };
    (root, Epoch { number, send: Some(send), receive })
}

// Two spaces, as deployed clients have it.
const START: &[u8] = b"Signal PQ Ratchet V1 Chain  Start";
const ADD_EPOCH: &[u8] = b"Signal PQ Ratchet V1 Chain Add Epoch";
const NEXT: &[u8] = b"Signal PQ Ratchet V1 Chain Next";
