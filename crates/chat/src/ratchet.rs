//! The Double Ratchet: which key a message is read or written with (Double Ratchet §3).
//!
//! It encrypts nothing itself. Reading has two moves, so that nothing changes before the MAC has
//! been checked: [`Ratchet::find`] computes on copies, [`Ratchet::commit`] assigns.
//!
//! As deployed clients do it, late messages of an earlier chain are read by advancing that chain,
//! so `previous_counter` is sent but never needed.

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
    /// Our current ratchet key; the peer answers to it.
    pub(crate) ours: KeyPair,
    /// The chain we send with.
    pub(crate) sender: ChainKey,
    /// The chains of the peer's latest ratchet keys, newest last.
    pub(crate) receivers: VecDeque<ReceiverChain>,
    /// What our messages say about our chain before this one.
    pub(crate) previous_counter: u32,
}

/// What reading a message would change. Hand it to [`Ratchet::commit`] once the MAC holds.
#[derive(Debug)]
pub(crate) enum Step {
    /// The message comes later in a known chain: the chain after it, and what it skips.
    Advance { receiver: usize, chain: ChainKey, skipped: Skipped },
    /// The message had been skipped.
    Late { receiver: usize, position: usize },
    /// The peer has a new ratchet key: the root between the two new chains, and the first of them.
    Turn { root: RootKey, receiver: ReceiverChain },
}

impl Ratchet {
    /// The initiator's ratchet after the key agreement: it turns to the responder's key at once.
    ///
    /// # Errors
    /// The responder's key is of low order.
    pub(crate) fn initiator(
        root: &RootKey,
        theirs: &PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, KeyError> {
        let ours = KeyPair::random(rng);
        let (root, sender) = root.turn(&ours, theirs)?;
        Ok(Self { root, ours, sender, receivers: VecDeque::new(), previous_counter: 0 })
    }

    /// The responder's ratchet after the key agreement: its first key is the signed prekey.
    pub(crate) const fn responder(root: RootKey, ours: KeyPair, sender: ChainKey) -> Self {
        Self { root, ours, sender, receivers: VecDeque::new(), previous_counter: 0 }
    }

    /// Whether a message with this ratchet key belongs to a chain that we know.
    pub(crate) fn knows(&self, theirs: &PublicKey) -> bool {
        self.position(theirs).is_some()
    }

    fn position(&self, theirs: &PublicKey) -> Option<usize> {
        self.receivers.iter().rposition(|chain| chain.theirs == *theirs)
    }

    /// The seed of our next message, and our chain after it.
    ///
    /// # Errors
    /// The chain is at its end: the peer has not answered 2^32 - 1 messages.
    pub(crate) fn next(&self) -> Result<(MessageSeed, ChainKey), ChainEnded> {
        self.sender.step().ok_or(ChainEnded)
    }

    /// Finds the seed of message `counter` under the peer's ratchet key. Changes nothing.
    /// `limit` is how many messages it may skip.
    ///
    /// # Errors
    /// The message cannot be read with this ratchet.
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
        let (root, chain) = self.root.turn(&self.ours, theirs)?;
        let mut receiver = ReceiverChain::new(*theirs, chain);
        let (step, seed) = receiver.find(0, counter, limit)?;
        receiver.commit(step);
        Ok((Step::Turn { root, receiver }, seed))
    }

    /// Makes a step. After a turn we have a new ratchet key of our own.
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
            Step::Turn { root, receiver } => {
                let ours = KeyPair::random(rng);
                let (root, sender) = root.turn(&ours, &receiver.theirs)?;
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
    /// It was read before, or was skipped so long ago that its key is gone.
    Duplicate,
    /// Its ratchet key is unusable.
    Key(KeyError),
    /// More messages would be skipped than allowed.
    TooFarAhead(u32),
}

impl From<KeyError> for FindError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// A chain gave all the keys it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ChainEnded;

/// Receiving chains kept: late messages of older ratchet keys are lost. What deployed clients keep.
pub(crate) const MAX_RECEIVERS: usize = 5;

#[cfg(test)]
mod tests;
