//! The Double Ratchet: the key for each message (Double Ratchet §3).
//!
//! It does not encrypt anything itself. Receiving has two steps, so that nothing changes before the
//! MAC is verified: [`Ratchet::find`] computes on copies, and [`Ratchet::commit`] assigns them.
//!
//! Like deployed clients, we read late messages of an earlier chain by advancing that chain, so
//! `previous_counter` is sent but never used.

mod chain;
mod receiver;

use std::collections::VecDeque;

use rand_core::CryptoRngCore;

use crate::key::{KeyError, KeyPair, PublicKey};

pub(crate) use chain::{ChainKey, MessageKeys, MessageSeed, RootKey};
pub(crate) use receiver::{MAX_SKIPPED, ReceiverChain, Skipped};

/// The state of one session's ratchet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ratchet {
    pub(crate) root: RootKey,
    /// Our current ratchet key; the peer replies to it.
    pub(crate) ours: KeyPair,
    /// Our sending chain.
    pub(crate) sender: ChainKey,
    /// The chains of the peer's latest ratchet keys, newest last.
    pub(crate) receivers: VecDeque<ReceiverChain>,
    /// The length of our previous chain, for `previous_counter`.
    pub(crate) previous_counter: u32,
}

/// The changes from receiving a message. Pass them to [`Ratchet::commit`] once the MAC is verified.
#[derive(Debug)]
pub(crate) enum Step {
    /// The message comes later in a known chain: the chain after it, and the skipped messages.
    Advance { receiver: usize, chain: ChainKey, skipped: Skipped },
    /// The message was skipped before.
    Late { receiver: usize, position: usize },
    /// The peer has a new ratchet key: the root key after the first of the two Diffie-Hellman steps, and the new
    /// receiving chain.
    DhRatchet { root: RootKey, receiver: ReceiverChain },
}

impl Ratchet {
    /// Creates the initiator's ratchet after the key agreement, with a Diffie-Hellman step to the
    /// responder's key.
    ///
    /// # Errors
    /// The responder's key is of low order.
    pub(crate) fn initiator(
        root: &RootKey,
        theirs: &PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, KeyError> {
        let ours = KeyPair::random(rng);
        let (root, sender) = root.dh_step(&ours, theirs)?;
        Ok(Self { root, ours, sender, receivers: VecDeque::new(), previous_counter: 0 })
    }

    /// Creates the responder's ratchet after the key agreement: its first key is the signed prekey.
    pub(crate) const fn responder(root: RootKey, ours: KeyPair, sender: ChainKey) -> Self {
        Self { root, ours, sender, receivers: VecDeque::new(), previous_counter: 0 }
    }

    /// Whether this ratchet key belongs to a known chain.
    pub(crate) fn knows(&self, theirs: &PublicKey) -> bool {
        self.position(theirs).is_some()
    }

    /// Whether this may be the peer's first ratchet key: we know none before it.
    pub(crate) fn may_be_first(&self, theirs: &PublicKey) -> bool {
        self.receivers.front().is_none_or(|oldest| oldest.theirs == *theirs)
    }

    /// Number of skipped messages whose seeds are kept.
    pub(crate) fn skipped_len(&self) -> usize {
        self.receivers.iter().map(|receiver| receiver.skipped.len()).sum()
    }

    fn position(&self, theirs: &PublicKey) -> Option<usize> {
        self.receivers.iter().rposition(|chain| chain.theirs == *theirs)
    }

    /// The seed of our next message, and our chain after it.
    ///
    /// # Errors
    /// The chain is exhausted: the peer has not replied to 2^32 - 1 messages.
    pub(crate) fn next(&self) -> Result<(MessageSeed, ChainKey), ChainEnded> {
        self.sender.step().ok_or(ChainEnded)
    }

    /// Finds the seed of message `counter` under the peer's ratchet key. Changes nothing. It may
    /// skip at most `limit` messages.
    ///
    /// # Errors
    /// The message cannot be decrypted with this ratchet.
    pub(crate) fn find(
        &self,
        theirs: &PublicKey,
        counter: u32,
        limit: u32,
    ) -> Result<(Step, MessageSeed), FindError> {
        if let Some(receiver) = self.position(theirs) {
            let chain = self.receivers.get(receiver).ok_or(FindError::Duplicate)?;
            return chain.find(receiver, counter, limit);
        }
        if counter > limit {
            return Err(FindError::TooFarAhead(counter));
        }
        let (root, chain) = self.root.dh_step(&self.ours, theirs)?;
        let mut receiver = ReceiverChain::new(*theirs, chain);
        let (step, seed) = receiver.find(0, counter, limit)?;
        receiver.commit(step);
        Ok((Step::DhRatchet { root, receiver }, seed))
    }

    /// Applies a step. After a Diffie-Hellman step we have a new ratchet key of our own.
    ///
    /// # Errors
    /// The peer's key is of low order. Nothing has changed.
    pub(crate) fn commit(
        &mut self,
        step: Step,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), KeyError> {
        match step {
            Step::Advance { receiver: index, .. } | Step::Late { receiver: index, .. } => {
                if let Some(receiver) = self.receivers.get_mut(index) {
                    receiver.commit(step);
                }
            }
            Step::DhRatchet { root, receiver } => {
                let ours = KeyPair::random(rng);
                let (root, sender) = root.dh_step(&ours, &receiver.theirs)?;
                self.previous_counter = self.sender.index.saturating_sub(1);
                self.root = root;
                self.ours = ours;
                self.sender = sender;
                self.receivers.push_back(receiver);
                if self.receivers.len() > MAX_RECEIVERS {
                    self.receivers.pop_front();
                }
            }
        }
        Ok(())
    }
}

/// Why a ratchet has no key for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FindError {
    /// Its key was deleted, because too many messages were skipped. Or it is a duplicate from before that.
    Deleted,
    /// It is a duplicate.
    Duplicate,
    /// Its ratchet key is invalid.
    Key(KeyError),
    /// More messages would be skipped than permitted.
    TooFarAhead(u32),
}

impl From<KeyError> for FindError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// A chain has no keys left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ChainEnded;

/// Maximum number of receiving chains, the same as in deployed clients. Late messages of older
/// ratchet keys are lost.
pub(crate) const MAX_RECEIVERS: usize = 5;

#[cfg(test)]
mod tests;
